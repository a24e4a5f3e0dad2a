"""Links for NetworkManager: nm-settings-keyfile(5).

A VLAN names the connection that it is on by its UUID, so that no file needs a card's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid5

from bootserver.errors import Refused
from bootserver.install.entries import Entry
from bootserver.install.links import Link

_FOLDER = "etc/NetworkManager/system-connections"
_NAMESPACE = UUID("0f5d8f0e-2c55-4d6c-9a5b-6f4a1f1f7c3b")


def files(made: Sequence[Link], node: str) -> list[Entry]:
    """:param made: each after what it is made of. :raises Refused: a bond's option needs a card's name."""
    entries = []
    for link in made:
        bond = next((each for each in made if link in each.members), None)
        if link.address is None and bond is None and link.is_card and not any(each.parent == link for each in made):
            continue
        path = f"{_FOLDER}/bootserver-{link.device}.nmconnection"
        entries.append(Entry.text(path, "\n".join(_keyfile(link, bond, node)) + "\n", 0o600))  # others are not read
    return entries


def _keyfile(link: Link, bond: Link | None, node: str) -> list[str]:
    lines = [
        "[connection]",
        f"id=bootserver-{link.device}",
        f"uuid={_uuid(node, link)}",
        f"type={_kind(link)}",
        "autoconnect=true",
    ]
    if link.mac is None:
        lines.append(f"interface-name={link.device}")
    if bond is not None:
        lines += [f"master={bond.device}", "slave-type=bond"]
    lines += _settings(link, node)
    return lines if bond is not None else lines + _addresses(link)


def _kind(link: Link) -> str:
    if link.members:
        return "bond"
    if link.parent is not None:
        return "vlan"
    return "infiniband" if link.is_infiniband else "ethernet"


def _settings(link: Link, node: str) -> list[str]:
    if link.mac is not None:
        return ["", "[ethernet]", f"mac-address={link.mac.upper()}"]
    if link.is_infiniband:
        return ["", "[infiniband]", "transport-mode=datagram"]
    if link.parent is not None:
        return ["", "[vlan]", f"id={link.vlan}", f"parent={_uuid(node, link.parent)}"]
    if "primary" in link.options:
        raise Refused(
            f"attribute bond.{link.device}: NetworkManager knows a bond's primary card by the name that the installed system"
            " gives it, which nobody knows: leave primary out for this image"
        )
    if not link.members:
        return []
    # The first card's address, as the kernel has it where udev makes up none (systemd.link(5), MACAddressPolicy).
    address = ["", "[ethernet]", f"cloned-mac-address={(link.members[0].mac or '').upper()}"]
    return [*address, "", "[bond]", *(f"{key}={value}" for key, value in link.options.items())]


def _addresses(link: Link) -> list[str]:
    if link.address is None:
        return ["", "[ipv4]", "method=disabled", "", "[ipv6]", "method=ignore"]
    gateway = f",{link.gateway}" if link.gateway is not None else ""
    lines = ["", "[ipv4]", "method=manual", f"address1={link.address}{gateway}", f"dns-search={link.domain};"]
    if link.nameservers:
        lines.append("dns=" + "".join(f"{server};" for server in link.nameservers))
    return [*lines, "", "[ipv6]", "method=auto"]


def _uuid(node: str, link: Link) -> UUID:
    """The same at each install."""
    return uuid5(_NAMESPACE, f"{node}/{link.device}")
