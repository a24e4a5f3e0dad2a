"""What a node's system is to be like, as attributes say it in a few words: packages, services, users, repositories, bonds.

Each reader returns a value or raises :class:`~bootserver.errors.UsageError`; what passed here holds no white space, quote or
control character, so it is one word for every installer. It is encoded once more for where it goes (two locks on one door).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from bootserver.errors import UsageError
from bootserver.values import grammar

_PACKAGE = re.compile(r"[A-Za-z0-9*][A-Za-z0-9+._:/=~*-]*")
_GROUP = re.compile(r"\^?[A-Za-z0-9][A-Za-z0-9+._-]*")
_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9@:._-]*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")  # useradd(8), NAME_REGEX
_SHELL = re.compile(r"(?:/[A-Za-z0-9._+-]+)+")
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,2}")
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:_[A-Z]{2})?(?:\.[A-Za-z0-9-]+)?(?:@[a-z]+)?")
_KEYBOARD = re.compile(r"[a-z][a-z0-9_-]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?/(tcp|udp|sctp)")
_SUITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9./_-]*")
# sshd(8), AUTHORIZED_KEYS FILE FORMAT, without options: they are a file's (keys/authorized_keys), not an attribute's.
_SSH_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[a-z0-9@.-]{2,60} [A-Za-z0-9+/=]{40,3000}(?: [^\x00-\x1f\x7f]{0,200})?")
_OPTION_VALUE = re.compile(r"[A-Za-z0-9+._:,-]+")

MAX_ID = 2**32 - 2


@dataclass(frozen=True, slots=True)
class Packages:
    """:ivar groups: of yum's and dnf's, with ``^`` an environment; Debian's tasks."""

    wanted: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Services:
    enabled: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class User:
    name: str
    uid: int | None = None
    groups: tuple[str, ...] = ()
    shell: str = "/bin/bash"


@dataclass(frozen=True, slots=True)
class Firewall:
    """:ivar services: as firewalld calls them. :ivar ports: ``8080/tcp``, ``6000-6010/udp``."""

    enabled: bool = True
    services: tuple[str, ...] = ("ssh",)
    ports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Repository:
    """:ivar suite: of Debian's; empty: that of the distribution."""

    name: str
    url: str
    suite: str = ""
    components: tuple[str, ...] = ("main",)


@dataclass(frozen=True, slots=True)
class Bond:
    """:ivar options: as the kernel's driver calls them (Documentation/networking/bonding.rst)."""

    members: tuple[str, ...]
    options: Mapping[str, str]


class BondOption(Enum):
    """The options that all installers have a word for; the value is netplan's (netplan-yaml(5), "bonds")."""

    mode = "mode"
    miimon = "mii-monitor-interval"
    updelay = "up-delay"
    downdelay = "down-delay"
    lacp_rate = "lacp-rate"
    xmit_hash_policy = "transmit-hash-policy"
    ad_select = "ad-select"
    min_links = "min-links"
    primary = "primary"
    primary_reselect = "primary-reselect-policy"
    fail_over_mac = "fail-over-mac-policy"
    arp_interval = "arp-interval"


def packages(text: str) -> Packages:
    """``vim tmux -nano @development``."""
    wanted: list[str] = []
    groups: list[str] = []
    unwanted: list[str] = []
    for word in text.split():
        if word[0] == "@":
            groups.append(_word(word[1:], _GROUP, "group of packages"))
        elif word[0] == "-":
            unwanted.append(_word(word[1:], _PACKAGE, "package"))
        else:
            wanted.append(_word(word, _PACKAGE, "package"))
    return Packages(tuple(wanted), tuple(groups), tuple(unwanted))


def services(text: str) -> Services:
    """``chronyd -postfix``."""
    words = text.split()
    return Services(
        tuple(_word(word, _SERVICE, "service") for word in words if word[0] != "-"),
        tuple(_word(word[1:], _SERVICE, "service") for word in words if word[0] == "-"),
    )


def users(text: str) -> tuple[User, ...]:
    """``alice:1001:wheel,video bob``: name, then uid, groups and shell, each of which may be left out."""
    found = tuple(_user(word) for word in text.split())
    names = [user.name for user in found]
    if len(set(names)) < len(names):
        raise UsageError(f"a user is named twice: {text!r}")
    return found


def _user(word: str) -> User:
    name, uid, groups, shell = (*word.split(":"), "", "", "")[:4]
    if word.count(":") > 3 or name == "root":
        raise UsageError(f"{word!r} is no user: NAME[:UID[:GROUP,GROUP[:SHELL]]], and root is one already")
    _word(name, _USER, "user's name")
    if uid and not (uid.isascii() and uid.isdecimal() and 0 < int(uid) <= MAX_ID):
        raise UsageError(f"{uid!r} is no user's number: 1 to {MAX_ID}")
    return User(
        name,
        int(uid) if uid else None,
        tuple(_word(group, _USER, "group's name") for group in groups.split(",") if group),
        _word(shell, _SHELL, "shell's path") if shell else "/bin/bash",
    )


def ssh_key(text: str) -> str:
    """One public key: ``ssh-ed25519 AAAA... alice``."""
    text = text.strip()
    if not _SSH_KEY.fullmatch(text) or not text.isprintable():
        raise UsageError("that is no SSH public key: its kind, the key, a comment")
    return text


def time_zone(text: str) -> str:
    """As the tz database calls it: ``Europe/Berlin``."""
    return _word(text, _ZONE, "time zone, such as Europe/Berlin")


def language(text: str) -> str:
    """A locale (setlocale(3)): ``en_US.UTF-8``."""
    return _word(text, _LANGUAGE, "locale, such as en_US.UTF-8")


def keyboard(text: str) -> str:
    """A layout of XKB: ``us``, ``de``."""
    return _word(text, _KEYBOARD, "keyboard layout, such as us")


def firewall(text: str) -> Firewall:
    """``off``, or services and ports that are open: ``ssh nfs 8080/tcp``."""
    words = text.split()
    if words == ["off"]:
        return Firewall(False, (), ())
    names, ports = [], []
    for word in words:
        port = _PORT.fullmatch(word)
        if port is None:
            names.append(_word(word, _NAME, "service or port, such as ssh or 8080/tcp"))
            continue
        low, high = int(port[1]), int(port[2] or port[1])
        if not 0 < low <= high < 65536:
            raise UsageError(f"{word!r} is no port: 1 to 65535")
        ports.append(word)
    return Firewall(True, tuple(names), tuple(ports))


def repositories(text: str) -> tuple[Repository, ...]:
    """``epel=http://mirror/epel/9 extra=http://mirror/debian,bookworm,main,contrib``."""
    found = []
    for word in text.split():
        name, _, rest = word.partition("=")
        url, *more = rest.split(",")
        _word(name, _NAME, "name of a repository; it is NAME=URL[,SUITE[,COMPONENT...]]")
        parts = [_word(each, _SUITE, "suite or component") for each in more]
        found.append(Repository(name, mirror(url), parts[0] if parts else "", tuple(parts[1:]) or ("main",)))
    return tuple(found)


def mirror(text: str) -> str:
    """Where packages come from: ``http://mirror.example.org/debian``."""
    url = grammar.boot_url(text)
    if url.startswith("tftp:"):
        raise UsageError(f"{text!r} is no URL of packages: http or https")
    return url


def bond(text: str) -> Bond:
    """``eth0 eth1 mode=802.3ad miimon=100``: devices, and options of the kernel's bonding driver."""
    members: list[str] = []
    options: dict[str, str] = {}
    for word in text.split():
        key, is_option, value = word.partition("=")
        if not is_option:
            members.append(grammar.device_name(word))
        elif key not in BondOption.__members__:
            raise UsageError(f"{key!r} is no option of a bond: {', '.join(BondOption.__members__)}")
        else:
            options[key] = _word(value, _OPTION_VALUE, f"value for {key}")
    if not members or len(set(members)) < len(members):
        raise UsageError(f"{text!r} is no bond: devices, each once, then options: eth0 eth1 mode=802.3ad")
    if options.get("primary", members[0]) not in members:
        raise UsageError(f"{text!r}: its primary is none of its devices")
    return Bond(tuple(members), options)


def templates(text: str) -> tuple[str, ...]:
    """Names of templates, in their order: ``lustre.sh.j2 slurm.sh.j2``."""
    return tuple(grammar.boot_path(word) for word in text.split())


def _word(text: str, allowed: re.Pattern[str], what: str) -> str:
    if len(text) > 255 or not allowed.fullmatch(text):
        raise UsageError(f"{text!r} is no {what}")
    return text


PACKAGES, SERVICES, USERS, REPOSITORIES = "packages", "services", "users", "repositories"
TIME_ZONE, LANGUAGE, KEYBOARD, FIREWALL, MIRROR, POST = "timezone", "language", "keyboard", "firewall", "mirror", "post"
BOND = "bond."
"""Begins the key of a bond: ``bond.bond0``."""
KEYS = "keys."
"""Begins the key of an SSH key: ``keys.alice``, ``keys.root.laptop``."""

READERS: Mapping[str, Callable[[str], object]] = {
    PACKAGES: packages,
    SERVICES: services,
    USERS: users,
    REPOSITORIES: repositories,
    TIME_ZONE: time_zone,
    LANGUAGE: language,
    KEYBOARD: keyboard,
    FIREWALL: firewall,
    MIRROR: mirror,
    POST: templates,
}
"""By attribute."""


def check(key: str, value: str) -> None:
    """An attribute that says what a system is like. :raises UsageError: it can't be read."""
    if key.startswith(BOND):
        grammar.device_name(key.removeprefix(BOND))
        bond(value)
    elif key.startswith(KEYS):
        name = key.removeprefix(KEYS).partition(".")[0]
        _word(name, _USER, f"user's name (in {key!r})")
        ssh_key(value)
    elif key in READERS:
        READERS[key](value)
