"""What the cluster's zones hold, worked out from the view: names of nodes and of the frontend, and their reverse names.

========================  ==========================================================================================
``compute-0-0.DOMAIN``    the address of a node's first interface that has one
``compute-0-0-ib0.DOMAIN``  that of a further interface: the node's name and the device
``frontend.DOMAIN``       the frontend, as nodes of the first network reach it; ``frontend-NETWORK`` on a further one
the attribute `aliases`   words that are further names of a node (CNAME)
``compute-0-0-bmc``       the BMC of a node (:mod:`bootserver.cluster.pairing`), whatever it is called itself (CNAME)
========================  ==========================================================================================

A network with a domain of its own has its interfaces' names in there, too. Reverse zones are cut at octets (RFC 1035 section
3.5); of a network smaller than 256 addresses the enclosing zone is answered as far as its addresses are ours.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Final, NamedTuple

from bootserver.cluster import pairing
from bootserver.cluster.view import NetworkView, NodeView, View
from bootserver.errors import BootserverError
from bootserver.values import grammar

ALIASES: Final = "aliases"
"""The attribute with a node's further names: words below the cluster's domain."""
REVERSE: Final = "in-addr.arpa"

_MOST_LABEL = 63  # RFC 1035 section 2.3.4


class Kind(enum.Enum):
    """What a name is; the value is the record's type."""

    ADDRESS = "A"
    POINTER = "PTR"
    ALIAS = "CNAME"


class Entry(NamedTuple):
    """All that a name has: one set of records.

    :ivar values: addresses, or full names without the last dot.
    :ivar owner: the node that it is of, or the frontend's name.
    """

    kind: Kind
    values: tuple[str, ...]
    owner: str


@dataclass(frozen=True, slots=True)
class Zone:
    """What is answered with authority.

    :ivar apex: its name, without the last dot.
    :ivar parts: of a reverse zone that is not all ours, the networks that are.
    """

    apex: str
    parts: tuple[IPv4Network, ...] = ()

    @property
    def reverse(self) -> bool:
        return self.apex.endswith(REVERSE)


@dataclass(frozen=True, slots=True)
class Names:
    """All names that the cluster has at one moment.

    :ivar serial: the change log's number (RFC 1035's SERIAL).
    :ivar domain: the cluster's own, in which a name without dots is looked for.
    :ivar primary: the frontend's full name.
    :ivar entries: by full name, in lower case, without the last dot.
    :ivar inner: names that only have others below them (RFC 8020: they exist).
    :ivar networks: whose machines are the cluster's own.
    :ivar troubles: what could not be done as it was asked for, in words.
    """

    serial: int
    domain: str
    primary: str
    zones: Mapping[str, Zone] = field(default_factory=dict)
    entries: Mapping[str, Entry] = field(default_factory=dict)
    inner: frozenset[str] = frozenset()
    networks: tuple[IPv4Network, ...] = ()
    troubles: tuple[str, ...] = ()

    def zone_of(self, name: str) -> Zone | None:
        """The zone that a name belongs to, or None if it is none of ours."""
        apex = name
        while apex not in self.zones:
            _, _, apex = apex.partition(".")
            if not apex:
                return None
        zone = self.zones[apex]
        if zone.parts and name != apex and not _is_part(name, zone):
            return None
        return zone

    def find(self, name: str) -> tuple[str, Entry] | None:
        """An entry, and its full name. A name without dots is looked for in the cluster's domain."""
        entry = self.entries.get(name)
        if entry is None and "." not in name and name not in self.zones:
            name = f"{name}.{self.domain}"
            entry = self.entries.get(name)
        return None if entry is None else (name, entry)

    def of_zone(self, zone: Zone) -> Iterator[tuple[str, Entry]]:
        """The entries of one zone."""
        end = f".{zone.apex}"
        return ((name, entry) for name, entry in self.entries.items() if name.endswith(end) or name == zone.apex)

    def says_the_same(self, other: Names) -> bool:
        """Whether both hold the same records, whatever their numbers."""
        return self.entries == other.entries and self.zones == other.zones and self.primary == other.primary


def reverse_name(address: IPv4Address) -> str:
    """``10.1.255.254`` as ``254.255.1.10.in-addr.arpa``."""
    first, second, third, fourth = address.packed
    return f"{fourth}.{third}.{second}.{first}.{REVERSE}"


def reverse_zones(subnet: IPv4Network) -> list[Zone]:
    """The zones of a network's reverse names: whole octets, as many as it takes."""
    octets = next(length for length in (8, 16, 24, 32) if subnet.prefixlen <= length)
    if octets == 32:
        enclosing = subnet.supernet(new_prefix=24)
        return [Zone(_octets_name(enclosing, 24), (subnet,))]
    return [Zone(_octets_name(each, octets)) for each in subnet.subnets(new_prefix=octets)]


def names(view: View, *, frontend: str, domain: str, address: IPv4Address) -> Names:
    """What there is to be answered.

    :param frontend: the frontend's host name. :param domain: the cluster's.
    :param address: the frontend's own, as nodes of the first network reach it.
    """
    found = _Collector(domain, {network.domain for network in view.networks})
    found.add_frontend(frontend, address, view.networks)
    for node in view.nodes.values():
        found.add_node(node)
    found.add_aliases(view.nodes.values())
    found.add_controllers(pairing.of_view(view))
    zones = {apex: Zone(apex) for apex in found.apexes}
    for network in view.networks:
        for zone in reverse_zones(network.subnet):
            before = zones.get(zone.apex)
            zones[zone.apex] = zone if before is None else Zone(zone.apex, before.parts + zone.parts)
    return Names(
        max(1, view.sequence),
        domain,
        f"{frontend}.{domain}",
        zones,
        found.entries,
        _inner(found.entries, zones),
        tuple(network.subnet for network in view.networks),
        tuple(found.troubles),
    )


class _Collector:
    """Entries as they are found; what was there first stays, and the other is said."""

    def __init__(self, domain: str, domains: set[str]) -> None:
        self.entries: dict[str, Entry] = {}
        self.troubles: list[str] = []
        self._domain = domain
        # A domain below another one is a part of its zone: nobody need be told where it is cut.
        self.apexes = sorted(
            each for each in {domain, *domains} if not any(each.endswith(f".{other}") for other in {domain, *domains})
        )

    def add_frontend(self, name: str, address: IPv4Address, networks: Iterable[NetworkView]) -> None:
        self._add(f"{name}.{self._domain}", Kind.ADDRESS, str(address), name)
        self._point(address, f"{name}.{self._domain}", name)
        for network in networks:
            if network.frontend == address:
                if network.domain != self._domain:
                    self._add(f"{name}.{network.domain}", Kind.ADDRESS, str(address), name)
                continue
            label = f"{name}-{network.name}"
            if len(label) > _MOST_LABEL:
                self.troubles.append(f"{label} is too long for a name: the frontend has none on network {network.name}")
                continue
            self._add_both(label, network, network.frontend, name)
            if network.domain != self._domain:
                self._add(f"{name}.{network.domain}", Kind.ADDRESS, str(network.frontend), name)
            self._point(network.frontend, f"{label}.{network.domain}", name)

    def add_node(self, node: NodeView) -> None:
        seen: set[str] = set()
        for interface in node.interfaces:
            if interface.ip is None:
                continue
            label = node.name_of(interface)
            if len(label) > _MOST_LABEL:
                self.troubles.append(f"{label} is too long for a name: {interface.ip} has none")
                continue
            network = interface.network
            self._add_both(label, network, interface.ip, node.name)
            if network.domain != self._domain and label != node.name and network.domain not in seen:
                self._add(f"{node.name}.{network.domain}", Kind.ADDRESS, str(interface.ip), node.name)
            seen.add(network.domain)
            self._point(interface.ip, f"{label}.{network.domain}", node.name)

    def add_aliases(self, nodes: Iterable[NodeView]) -> None:
        wanted: dict[str, list[str]] = {}
        for node in nodes:
            words = node.attributes.get(ALIASES)
            if words:
                for word in words.replace(",", " ").lower().split():
                    wanted.setdefault(word.removesuffix(".").removesuffix(f".{self._domain}"), []).append(node.name)
        for alias, owners in wanted.items():
            self._add_alias(alias, owners)

    def add_controllers(self, pairs: Mapping[str, str]) -> None:
        """A BMC is called as its node is, too: ``compute-0-0-bmc``. A name that is there already stays."""
        for controller, node in pairs.items():
            name, target = f"{node}{pairing.SUFFIX}.{self._domain}", f"{controller}.{self._domain}"
            if name not in self.entries and target in self.entries and len(name.partition(".")[0]) <= _MOST_LABEL:
                self.entries[name] = Entry(Kind.ALIAS, (target,), controller)

    def _add_alias(self, alias: str, owners: list[str]) -> None:
        target, name = f"{owners[0]}.{self._domain}", f"{alias}.{self._domain}"
        try:
            grammar.domain_name(name)
        except BootserverError:
            self.troubles.append(f"alias {alias!r} of {owners[0]} is no name")
            return
        if len(owners) > 1:
            self.troubles.append(f"alias {alias} is asked for by {len(owners)} nodes: {owners[0]} has it")
        if target not in self.entries:
            self.troubles.append(f"alias {alias} has no address: {owners[0]} has none")
        elif name in self.entries:
            self.troubles.append(f"alias {alias} of {owners[0]} is a name of {self.entries[name].owner}'s already")
        else:
            self.entries[name] = Entry(Kind.ALIAS, (target,), owners[0])

    def _add_both(self, label: str, network: NetworkView, address: IPv4Address, owner: str) -> None:
        """In the cluster's domain, and in the network's own."""
        self._add(f"{label}.{self._domain}", Kind.ADDRESS, str(address), owner)
        if network.domain != self._domain:
            self._add(f"{label}.{network.domain}", Kind.ADDRESS, str(address), owner)

    def _point(self, address: IPv4Address, name: str, owner: str) -> None:
        pointer = reverse_name(address)
        if pointer not in self.entries:  # a frontend that reaches several networks by one address
            self.entries[pointer] = Entry(Kind.POINTER, (name,), owner)

    def _add(self, name: str, kind: Kind, value: str, owner: str) -> None:
        before = self.entries.get(name)
        if before is None:
            self.entries[name] = Entry(kind, (value,), owner)
        elif before.owner == owner and value not in before.values:
            self.entries[name] = Entry(kind, (*before.values, value), owner)
        elif before.owner != owner:
            self.troubles.append(f"{name} is {before.owner}'s already: {value} of {owner} is not reached by it")


def _inner(entries: Iterable[str], zones: Mapping[str, Zone]) -> frozenset[str]:
    """The names between entries and their zones that have no records of their own."""
    inner: set[str] = set()
    for name in entries:
        _, _, above = name.partition(".")
        while above and above not in zones and above not in inner:
            inner.add(above)
            _, _, above = above.partition(".")
    return frozenset(inner)


def _octets_name(network: IPv4Network, octets: int) -> str:
    parts = network.network_address.packed[: octets // 8]
    return ".".join(map(str, reversed(parts))) + f".{REVERSE}"


def _is_part(name: str, zone: Zone) -> bool:
    """Whether a name below a reverse zone is, or is below, an address that is ours."""
    last = name.removesuffix(f".{zone.apex}").rpartition(".")[2]
    if not (last.isascii() and last.isdecimal() and len(last) <= 3 and int(last) <= 255):
        return False
    address = IPv4Address(zone.parts[0].network_address.packed[:3] + bytes((int(last),)))
    return any(address in part for part in zone.parts)
