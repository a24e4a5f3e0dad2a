"""What a template of an answer file is told beside the node, its attributes and the frontend (docs/reference/templates.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bootserver.cluster import attributes
from bootserver.cluster.change import MASK
from bootserver.cluster.passwords import Password
from bootserver.cluster.view import NodeView
from bootserver.db.rows import DistributionRow
from bootserver.errors import Refused, UsageError
from bootserver.install import links, stages
from bootserver.install.answer_file import netplan
from bootserver.values import grammar, system
from bootserver.values.secret import Secret

T = TypeVar("T")

NEWEST = 999
"""The release of a distribution whose version is not known: the newest syntax is tried."""

_CODENAMES = {
    ("debian", 10): "buster",
    ("debian", 11): "bullseye",
    ("debian", 12): "bookworm",
    ("debian", 13): "trixie",
    ("debian", 14): "forky",
    ("ubuntu", 18): "bionic",
    ("ubuntu", 20): "focal",
    ("ubuntu", 22): "jammy",
    ("ubuntu", 24): "noble",
}


@dataclass(frozen=True, slots=True)
class Given:
    """What an answer file is made from; see :func:`bootserver.install.answer_file.answer_file`.

    :ivar masked: secrets are shown as ``****``: it is for a person's eyes, or a validator's.
    """

    node: NodeView
    distribution: DistributionRow
    frontend_url: str
    token: Secret
    authorized_keys: str
    password: Password | None
    masked: bool = False

    def show(self, secret: Secret) -> str:
        return MASK if self.masked else secret.reveal()


def facts(given: Given) -> Mapping[str, object]:
    """By the name that templates use. :raises Refused: an attribute that can't be read, or something that is missing."""
    node, distribution = given.node, given.distribution
    release = _release(distribution.version)
    made = links.links(node)
    users = _read(node, system.USERS, system.users, "")
    keys = {user.name: _keys(node, user.name) for user in users}
    keys["root"] = [line for line in _lines(given.authorized_keys) if not line.startswith("#")] + _keys(node, "root")
    repositories = _read(node, system.REPOSITORIES, system.repositories, "")
    codename = _CODENAMES.get((distribution.family, release), "")
    for repository in repositories:
        if distribution.kind == "preseed" and not (repository.suite or codename):
            raise Refused(f"attribute {system.REPOSITORIES}: {repository.name} needs a suite: NAME=URL,SUITE,COMPONENT")
    if given.password is not None and not _can_read(distribution.family, release, given.password):
        raise Refused(
            f"{distribution.title or distribution.name} knows no yescrypt, which root's password is hashed with:"
            " `bootserver kickstart password --method sha512 ...`"
        )
    return {
        "token": given.show(given.token),
        "ask_script": stages.ask_script(),
        "distribution": distribution,
        "family": distribution.family,
        "release": release,
        "codename": codename,
        "tree": f"{given.frontend_url}distro/{distribution.name}/" if distribution.tree else "",
        "mirror": _mirror(given),
        "repositories": repositories,
        "packages": _read(node, system.PACKAGES, system.packages, ""),
        "services": _read(node, system.SERVICES, system.services, ""),
        "users": users,
        "keys": keys,
        "timezone": _read(node, system.TIME_ZONE, system.time_zone, "Etc/UTC"),
        "language": _read(node, system.LANGUAGE, system.language, "en_US.UTF-8"),
        "keyboard": _read(node, system.KEYBOARD, system.keyboard, "us"),
        "firewall": _read(node, system.FIREWALL, system.firewall, "ssh"),
        "selinux": attributes.choice(node.attributes, "selinux"),
        "bootflags": _read(node, attributes.BOOTFLAGS, grammar.kernel_args, ""),
        "post": _read(node, system.POST, system.templates, ""),
        "after_install": attributes.choice(node.attributes, "after_install"),
        "on_failure": attributes.choice(node.attributes, "on_failure"),
        "links": made,
        "bonds": [link for link in made if link.members],
        "netplan": netplan.netplan(made),
        "asking": netplan.asking(made),
        "domain": next((link.domain for link in made if link.domain), ""),
        "password": None if given.password is None else given.show(given.password.hashed),
        "one_time": given.password is not None and given.password.one_time,
    }


def _read(node: NodeView, key: str, reader: Callable[[str], T], default: str) -> T:
    """An attribute as the value that it means; what an old dump brought in is refused here."""
    try:
        return reader(grammar.attribute_value(node.attributes.get(key) or default))
    except UsageError as error:
        raise Refused(f"attribute {key}: {error}") from error


def _keys(node: NodeView, user: str) -> list[str]:
    wanted = f"{system.KEYS}{user}"
    found = []
    for key, value in sorted(node.attributes.items()):
        if key == wanted or key.startswith(f"{wanted}."):
            try:
                found.append(system.ssh_key(value))
            except UsageError as error:
                raise Refused(f"attribute {key}: {error}") from error
    return found


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _release(version: str) -> int:
    """Its first number: 9 of ``9.4``, 24 of ``24.04``."""
    number = version.partition(".")[0]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 4 else NEWEST


def _mirror(given: Given) -> str:
    """Where packages come from: the attribute, else the tree on the frontend if it has any; empty: where the installer thinks."""
    distribution = given.distribution
    if wanted := _read(given.node, system.MIRROR, lambda text: system.mirror(text) if text else "", ""):
        return wanted
    is_debian = distribution.kind in ("preseed", "autoinstall")
    if distribution.tree and (not is_debian or (Path(distribution.tree) / "dists").is_dir()):
        return f"{given.frontend_url}distro/{distribution.name}"
    return ""


def _can_read(family: str, release: int, password: Password) -> bool:
    """Red Hat's 7 has glibc's own crypt(3), which knows SHA-512; all later ones have libxcrypt."""
    return not (family in ("rhel", "centos") and release <= 7 and password.hashed.reveal().startswith("$y$"))
