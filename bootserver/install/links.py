"""A node's network as its installer is to make it: cards, bonds of cards, VLANs on either; addresses are static.

Cards are matched by their MAC addresses. A bond is an attribute (``bond.bond0 = "eth0 eth1 mode=802.3ad"``); a VLAN is an
interface whose device says so (``eth0.100``, ``bond0.100``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Interface
from typing import Any

from bootserver.cluster.view import InterfaceView, NodeView
from bootserver.errors import Refused, UsageError
from bootserver.values import grammar, system
from bootserver.values.system import BondOption

_VLAN = re.compile(r"(?P<parent>.+)\.(?P<number>\d{1,4})")


@dataclass(frozen=True, slots=True)
class Link:
    """:ivar device: as the cluster calls it; a card may have another name in the installed system.
    :ivar mac: of a card, in lower case. :ivar address: with its prefix; None: it has none of its own.
    :ivar gateway: of one link only, the first that has one. :ivar nameservers: of its network.
    :ivar members: of a bond. :ivar options: likewise, as the kernel calls them.
    :ivar parent: what a VLAN is on. :ivar vlan: its number.
    """

    device: str
    mac: str | None = None
    address: IPv4Interface | None = None
    gateway: str | None = None
    nameservers: tuple[str, ...] = ()
    domain: str = ""
    members: tuple[Link, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    parent: Link | None = None
    vlan: int | None = None

    @property
    def by_name(self) -> bool:
        """It is made of cards that an installer wants named, and not by MAC address: a bond, or on one."""
        return bool(self.members or (self.parent is not None and self.parent.members))


def links(node: NodeView) -> tuple[Link, ...]:
    """What is made, each after what it is made of. :raises Refused: a bond or VLAN of what the node has not."""
    nics = {_device(nic.device): nic for nic in node.interfaces}
    bonds = _bonds(node, nics)
    bonded = {member: name for name, bond in bonds.items() for member in bond.members}
    default = _Gateway()
    made: dict[str, Link] = {}

    def addressed(nic: InterfaceView) -> dict[str, Any]:
        if nic.ip is None:
            return {}
        return {
            "address": IPv4Interface(f"{nic.ip}/{nic.network.subnet.prefixlen}"),
            "gateway": default.of(nic),
            "nameservers": tuple(map(str, nic.network.nameservers)),
            "domain": grammar.domain_name(nic.network.domain),
        }

    for device, nic in nics.items():
        if device in bonds or _is_vlan(device, nic):
            continue
        if device not in bonded:
            made[device] = Link(device, _mac(nic), **addressed(nic))
        else:
            made[device] = Link(device, _mac(nic))  # its address is its bond's
    for name, bond in bonds.items():
        # A bond without an interface of its own has the address that its first card installs with.
        own = nics.get(name) or next((nics[each] for each in bond.members if nics[each].ip is not None), None)
        members = tuple(made[member] for member in bond.members)
        made[name] = Link(name, members=members, options=bond.options, **({} if own is None else addressed(own)))
    for device, nic in nics.items():
        if _is_vlan(device, nic) and (match := _VLAN.fullmatch(device)):
            parent, number = match["parent"], int(match["number"])
            if parent not in made or not 0 < number <= grammar.MAX_VLAN or parent in bonded:
                raise Refused(f"interface {device} is VLAN {number} on {parent}, which the node does not have for it")
            made[device] = Link(device, parent=made[parent], vlan=number, **addressed(nic))
    return tuple(made.values())


def netplan(made: Sequence[Link]) -> dict[str, Any]:
    """netplan-yaml(5), version 2."""
    kinds: dict[str, dict[str, Any]] = {"ethernets": {}, "bonds": {}, "vlans": {}}
    for link in made:
        facts: dict[str, Any] = {}
        if link.address is not None:
            facts["addresses"] = [str(link.address)]
            if link.gateway is not None:
                facts["routes"] = [{"to": "default", "via": link.gateway}]
            if link.nameservers:
                facts["nameservers"] = {"addresses": list(link.nameservers), "search": [link.domain]}
        else:
            facts["dhcp4"] = False
        if link.members:
            facts["interfaces"] = [member.device for member in link.members]
            facts["parameters"] = {BondOption[key].value: _number(value) for key, value in link.options.items()}
        elif link.parent is not None:
            facts |= {"id": link.vlan, "link": link.parent.device}
        elif link.mac is not None:
            facts["match"] = {"macaddress": link.mac}
        kinds["bonds" if link.members else "vlans" if link.parent is not None else "ethernets"][link.device] = facts
    return {"version": 2, **{kind: each for kind, each in kinds.items() if each}}


def _bonds(node: NodeView, nics: Mapping[str, InterfaceView]) -> dict[str, system.Bond]:
    bonds: dict[str, system.Bond] = {}
    taken: set[str] = set()
    for key, value in node.attributes.items():
        if not key.startswith(system.BOND):
            continue
        try:
            bond = system.bond(value)
        except UsageError as error:
            raise Refused(f"attribute {key}: {error}") from error
        for member in bond.members:
            if member not in nics or nics[member].mac is None:
                raise Refused(f"attribute {key}: the node has no card {member}, or its MAC address is not known")
            if member in taken:
                raise Refused(f"attribute {key}: {member} is in another bond already")
        taken.update(bond.members)
        bonds[_device(key.removeprefix(system.BOND))] = bond
    if clash := taken & bonds.keys():
        raise Refused(f"bond {min(clash)} is in a bond itself")
    return dict(sorted(bonds.items()))


def _device(name: str) -> str:
    """The lock of the target itself: names stand in scripts as they are."""
    try:
        return grammar.device_name(name)
    except UsageError as error:
        raise Refused(str(error)) from error


def _is_vlan(device: str, nic: InterfaceView) -> bool:
    return nic.mac is None and _VLAN.fullmatch(device) is not None


def _mac(nic: InterfaceView) -> str | None:
    return None if nic.mac is None else str(nic.mac)


class _Gateway:
    """The first link whose network has a gateway gets the default route: two of them would be a matter of luck."""

    def __init__(self) -> None:
        self._given = False

    def of(self, nic: InterfaceView) -> str | None:
        if self._given or nic.network.gateway is None:
            return None
        self._given = True
        return str(nic.network.gateway)


def _number(value: str) -> int | str:
    return int(value) if value.isdecimal() else value
