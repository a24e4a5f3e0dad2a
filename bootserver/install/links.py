"""A node's network as its system is to make it: cards, bonds of cards, VLANs on either; addresses are static.

Cards are matched by their MAC addresses, and by their names where nobody knows these (InfiniBand has others). A bond is an
attribute (``bond.bond0 = "eth0 eth1 mode=802.3ad"``). A VLAN (IEEE 802.1Q) is an interface whose device says so (``eth0.100``,
``bond0.100``), or what a card has its address on where its network's frames carry a tag.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface
from typing import Final

from bootserver.cluster.view import InterfaceView, NodeView
from bootserver.errors import Refused, UsageError
from bootserver.install.inventory import Card
from bootserver.values import grammar, system
from bootserver.values.mac import MacAddress

_VLAN = re.compile(r"(?P<parent>.+)\.(?P<number>\d{1,4})")

_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "mode": ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"),
    "lacp_rate": ("slow", "fast"),
    "xmit_hash_policy": ("layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"),
    "ad_select": ("stable", "bandwidth", "count"),
    "primary_reselect": ("always", "better", "failure"),
    "fail_over_mac": ("none", "active", "follow"),
}
"""What the bonding driver also takes as a number (Documentation/networking/bonding.rst), and others don't."""


@dataclass(frozen=True, slots=True)
class Link:
    """:ivar device: as the cluster calls it; a card may have another name in the installed system.
    :ivar mac: of a card, in lower case; None of one that is matched by its name. :ivar address: with its prefix; None: it has
        none of its own.
    :ivar gateway: of one link only, the first interface's that has one. :ivar nameservers: of its network.
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

    @property
    def is_card(self) -> bool:
        """It is none that is made of others."""
        return not self.members and self.parent is None

    @property
    def is_infiniband(self) -> bool:
        """A card of InfiniBand, by its name: a MAC address of Ethernet's kind is one that it can't have (RFC 4391)."""
        return self.is_card and self.mac is None and self.device.startswith("ib")


@dataclass(frozen=True, slots=True)
class _Vlan:
    """:ivar device: what it is on. :ivar nic: whose address it has."""

    device: str
    number: int
    nic: InterfaceView


def links(node: NodeView) -> tuple[Link, ...]:
    """What is made, each after what it is made of.

    :raises Refused: a bond or VLAN of what the node has not, or two ways to say what one network is.
    """
    nics = {_device(nic.device): nic for nic in node.interfaces}
    bonds = _bonds(node, nics)
    bonded = {member for bond in bonds.values() for member in bond.members}
    holders = _holders(nics, bonds)
    vlans = _vlans(nics, bonded, holders)
    # The default route is the first interface's that has one to give: two of them would be a matter of luck.
    givers = [*holders.values(), *(vlan.nic for vlan in vlans.values())]
    default = next((nic for nic in nics.values() if nic.ip and nic.network.gateway and nic in givers), None)

    def made_of(link: Link, nic: InterfaceView | None) -> Link:
        """The link with the address of an interface, if it has any."""
        if nic is None or nic.ip is None:
            return link
        return dataclasses.replace(
            link,
            address=IPv4Interface(f"{nic.ip}/{nic.network.subnet.prefixlen}"),
            gateway=str(nic.network.gateway) if nic is default else None,
            nameservers=tuple(map(str, nic.network.nameservers)),
            domain=grammar.domain_name(nic.network.domain),
        )

    def untagged(name: str) -> InterfaceView | None:
        nic = holders.get(name)
        return nic if nic is not None and nic.network.vlan is None else None

    made: dict[str, Link] = {}
    for device, nic in nics.items():
        if device not in bonds and device not in vlans:
            made[device] = made_of(Link(device, None if nic.mac is None else str(nic.mac)), untagged(device))
    for name, bond in bonds.items():
        link = Link(name, members=tuple(made[member] for member in bond.members), options=_named(bond.options))
        made[name] = made_of(link, untagged(name))
    for name, vlan in vlans.items():
        if vlan.device not in made:
            raise Refused(f"interface {name} is VLAN {vlan.number} on {vlan.device}, which the node does not have for it")
        made[name] = made_of(Link(name, parent=made[vlan.device], vlan=vlan.number), vlan.nic)
    return tuple(made.values())


def with_cards(node: NodeView, cards: Iterable[Card]) -> NodeView:
    """The node with the MAC addresses of those of its interfaces that have none, where its machine has a card of that name.

    :param cards: of its machine's inventory; what is no MAC address, or another interface's already, is passed over.
    """
    taken = {nic.mac for nic in node.interfaces}
    found: dict[str, MacAddress] = {}
    for card in cards:
        try:
            mac = MacAddress.parse(card.mac)
        except UsageError:  # InfiniBand's has 20 octets
            continue
        if not mac.is_group and mac not in taken:
            found[card.name] = mac
    interfaces = tuple(nic if nic.mac else dataclasses.replace(nic, mac=found.get(nic.device)) for nic in node.interfaces)
    return dataclasses.replace(node, interfaces=interfaces)


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


def _holders(nics: Mapping[str, InterfaceView], bonds: Mapping[str, system.Bond]) -> dict[str, InterfaceView]:
    """By the name of a card or bond: the interface that says its address. A card in a bond has none."""
    bonded = {member for bond in bonds.values() for member in bond.members}
    holders = {device: nic for device, nic in nics.items() if device not in bonded and _vlan_of(device, nic) is None}
    for name, bond in bonds.items():
        if name not in holders:
            # A bond without an interface of its own has the address that its first card installs with.
            own = next((nics[each] for each in bond.members if nics[each].ip is not None), None)
            if own is not None:
                holders[name] = own
    return holders


def _vlans(nics: Mapping[str, InterfaceView], bonded: set[str], holders: Mapping[str, InterfaceView]) -> dict[str, _Vlan]:
    """By name, in the order of the interfaces that have their addresses."""
    on = {nic.device: name for name, nic in holders.items()}
    vlans: dict[str, _Vlan] = {}
    for device, nic in nics.items():
        tag = nic.network.vlan
        if (vlan := _vlan_of(device, nic)) is not None:
            name = device
            if not 0 < vlan.number <= grammar.MAX_VLAN or vlan.device in bonded:
                raise Refused(f"interface {name} is VLAN {vlan.number} on {vlan.device}, which the node does not have for it")
            if tag not in (None, vlan.number):
                raise Refused(
                    f"interface {name} is VLAN {vlan.number}, and its network {nic.network.name} is VLAN {tag}:"
                    f" it would be called {vlan.device}.{tag}, or the network has another tag"
                )
        elif tag is not None and nic.ip is not None and device in on:
            vlan = _Vlan(on[device], tag, nic)
            if nic.mac is None and device.startswith("ib"):
                raise Refused(
                    f"interface {device} is InfiniBand, which has no VLANs: network {nic.network.name} has the tag {tag}"
                )
            name = _device(f"{vlan.device}.{tag}")
        else:
            continue
        if name in vlans or any((each.device, each.number) == (vlan.device, vlan.number) for each in vlans.values()):
            raise Refused(f"VLAN {vlan.number} on {vlan.device} is two interfaces': {device}'s and another's before it")
        vlans[name] = vlan
    return vlans


def _vlan_of(device: str, nic: InterfaceView) -> _Vlan | None:
    """What an interface is a VLAN of by its name, or None: a card has a MAC address of its own."""
    match = _VLAN.fullmatch(device)
    return _Vlan(match["parent"], int(match["number"]), nic) if match and nic.mac is None else None


def _named(options: Mapping[str, str]) -> dict[str, str]:
    def name(key: str, value: str) -> str:
        names = _NAMES.get(key, ())
        return names[int(value)] if value.isdecimal() and int(value) < len(names) else value

    return {key: name(key, value) for key, value in options.items()}


def _device(name: str) -> str:
    """The lock of the target itself: names stand in scripts as they are."""
    try:
        return grammar.device_name(name)
    except UsageError as error:
        raise Refused(str(error)) from error
