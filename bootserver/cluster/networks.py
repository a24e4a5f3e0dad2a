"""Networks: where nodes are, and which of the frontend's addresses they reach it by."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from bootserver.cluster.change import Change, Reader
from bootserver.db.rows import DiscoveryRow, InterfaceRow, NetworkRow
from bootserver.errors import NotFound, Refused, UsageError
from bootserver.values import grammar

_PROBES = (4, 256)
"""Addresses looked up in one query when a free one is searched: the first is mostly free, else it may be far."""


def get(reader: Reader, name: str) -> NetworkRow:
    """:raises NotFound: there is none of that name."""
    row = reader.one(NetworkRow, "name = :name", name=name)
    if row is None:
        raise NotFound(f"no network {name!r}; there are {', '.join(each.name for each in reader.rows(NetworkRow))}")
    return row


def first(reader: Reader) -> NetworkRow:
    """The network that nodes boot in (made by ``init``)."""
    rows = reader.rows(NetworkRow)
    if not rows:
        raise NotFound("there is no network yet: run `bootserver init`")
    return rows[0]


def devices(reader: Reader) -> frozenset[str]:
    """The frontend's devices that have networks."""
    return frozenset(row.device for row in reader.rows(NetworkRow) if row.device is not None)


def add(
    change: Change,
    name: str,
    subnet: IPv4Network,
    *,
    frontend: IPv4Address,
    device: str | None,
    gateway: IPv4Address | None,
    nameservers: list[IPv4Address],
    domain: str,
    vlan: int | None = None,
) -> NetworkRow:
    """:param vlan: the tag that nodes' frames carry there.
    :raises Refused: the name is taken, or another network overlaps.
    """
    grammar.host_label(name)
    grammar.domain_name(domain)
    if device is not None:
        grammar.device_name(device)
    for other in change.rows(NetworkRow):
        if other.name == name:
            raise Refused(f"network {name} exists already: `bootserver network set {name} ...` alters it")
        if other.subnet.overlaps(subnet):
            raise Refused(f"{subnet} overlaps network {other.name} ({other.subnet})")
    check(subnet, frontend, device, gateway)
    return change.insert(NetworkRow(0, name, subnet, device, frontend, gateway, _join(nameservers), domain, vlan))


def alter(
    change: Change,
    name: str,
    *,
    frontend: IPv4Address | None = None,
    device: str | None = None,
    gateway: IPv4Address | None = None,
    nameservers: list[IPv4Address] | None = None,
    domain: str | None = None,
    vlan: int | None = None,
) -> NetworkRow:
    """Alter what is given. The subnet stays: nodes have addresses in it.

    :param vlan: 0: nodes' frames carry no tag there.
    """
    row = get(change, name)
    row = change.update(
        row,
        frontend=frontend or row.frontend,
        device=grammar.device_name(device) if device else row.device,
        gateway=gateway or row.gateway,
        nameservers=row.nameservers if nameservers is None else _join(nameservers),
        domain=grammar.domain_name(domain) if domain else row.domain,
        vlan=row.vlan if vlan is None else vlan or None,
    )
    check(row.subnet, row.frontend, row.device, row.gateway)
    return row


def remove(change: Change, name: str) -> None:
    """:raises Refused: a node has an interface on it."""
    row = get(change, name)
    if change.one(InterfaceRow, "network_id = :network", network=row.id):
        raise Refused(f"network {name} is in use: move or remove its nodes first")
    for discovery in change.rows(DiscoveryRow, "network_id = :network", network=row.id):
        if discovery.open:
            raise Refused(f"a discovery is open on network {name}: `bootserver insert-ethers --close` ends it")
        change.delete(discovery)
    change.delete(row)


def free_address(reader: Reader, network: NetworkRow, start: IPv4Address | None, step: int) -> IPv4Address:
    """The first free address, from `start` (or the top) downwards, in steps.

    An indexed query for every few candidates: a search that goes on from where the last one ended costs one query,
    however many nodes there are.

    :raises Refused: the network is full.
    """
    lowest, highest = int(network.subnet.network_address) + 1, int(network.subnet.broadcast_address) - 1
    position = highest if start is None else min(highest, int(start))
    probe, more = _PROBES
    while position >= lowest:
        candidates = [IPv4Address(each) for each in range(position, max(lowest - 1, position - probe * step), -step)]
        marks = ", ".join(f":a{index}" for index in range(len(candidates)))
        names = {f"a{index}": str(address) for index, address in enumerate(candidates)}
        taken = {row["ip"] for row in reader.connection.rows(f"SELECT ip FROM interface WHERE ip IN ({marks})", names)}
        taken |= {str(network.frontend), str(network.gateway), *network.nameservers.split()}
        for candidate in candidates:
            if str(candidate) not in taken:
                return candidate
        position -= probe * step
        probe = more
    raise Refused(f"network {network.name} ({network.subnet}) has no free address left below {start or 'its top'}")


def mirrored(reader: Reader, network: NetworkRow, address: IPv4Address, home: NetworkRow) -> IPv4Address | None:
    """The address in `network` that is as far from its top as `address` is in `home`: a node is then easily known on each.

    :returns: None where there is none, or it is taken.
    """
    lowest = network.subnet.network_address + 1
    distance = int(home.subnet.broadcast_address) - int(address)
    if distance < 1 or distance > int(network.subnet.broadcast_address) - int(lowest):
        return None
    found = network.subnet.broadcast_address - distance
    own = {str(network.frontend), str(network.gateway), *network.nameservers.split()}
    return None if str(found) in own or reader.one(InterfaceRow, "ip = :ip", ip=found) else found


def check_address(reader: Reader, address: IPv4Address) -> NetworkRow:
    """The network that an address is in. :raises Refused: it is in none, or taken."""
    network = next((row for row in reader.rows(NetworkRow) if address in row.subnet), None)
    if network is None:
        raise Refused(f"{address} is in no network of the cluster: `bootserver network list` shows them")
    if address in (network.subnet.network_address, network.subnet.broadcast_address):
        raise Refused(f"{address} is the network or broadcast address of {network.subnet}")
    if address in (network.frontend, network.gateway) or reader.one(InterfaceRow, "ip = :ip", ip=address):
        raise Refused(f"Duplicate IP '{address}' Specified")
    return network


def check(subnet: IPv4Network, frontend: IPv4Address, device: str | None, gateway: IPv4Address | None) -> None:
    """:raises UsageError: these don't fit together."""
    if subnet.prefixlen > 30:
        raise UsageError(f"{subnet} has no room for nodes: a prefix of 30 or shorter")
    if device is not None and frontend not in subnet:
        raise UsageError(f"the frontend's address {frontend} is not in {subnet}")
    if gateway is not None and gateway not in subnet:
        raise UsageError(f"gateway {gateway} is not in {subnet}")


def _join(addresses: list[IPv4Address]) -> str:
    return " ".join(map(str, addresses))
