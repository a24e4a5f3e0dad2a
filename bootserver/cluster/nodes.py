"""Nodes: names, ranks, addresses; added by hand or by discovery, renamed, removed. One place gives them out."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from bootserver.cluster import attributes, boot_actions, installs, networks
from bootserver.cluster.change import Change, Reader, timestamp
from bootserver.db.rows import ApplianceRow, InterfaceRow, NetworkRow, NodeRow, Scope, SecretRow
from bootserver.errors import NotFound, Refused, UsageError
from bootserver.values import grammar
from bootserver.values.mac import MacAddress

MAX_RACK = 9999
MAX_RANK = 99999


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the cluster a new node goes.

    :ivar base_name: instead of the appliance's own.
    :ivar rank: the lowest that it may get; None: the highest of its appliance and rack, and one more.
    """

    appliance: ApplianceRow
    rack: int = 0
    rank: int | None = None
    base_name: str | None = None

    def name(self, rank: int) -> str:
        return grammar.host_label(f"{self.base_name or self.appliance.base_name}-{self.rack}-{rank}")


def get(reader: Reader, name: str) -> NodeRow:
    """:raises NotFound: there is none of that name."""
    row = reader.one(NodeRow, "name = :name", name=name)
    if row is None:
        raise NotFound(f"no node {name!r}: `bootserver node list` shows them")
    return row


def interfaces(reader: Reader, node: NodeRow) -> list[InterfaceRow]:
    return reader.rows(InterfaceRow, "node_id = :node ORDER BY id", node=node.id)


def next_rank(reader: Reader, position: Position) -> int:
    """The first rank whose name is free: one above the highest of that appliance and rack, or from the given one."""
    if not 0 <= position.rack <= MAX_RACK:
        raise UsageError(f"a rack is a number from 0 to {MAX_RACK}, not {position.rack}")
    rank = position.rank
    if rank is None:
        last = reader.connection.rows(
            'SELECT max("rank") AS last FROM node WHERE appliance_id = :appliance AND rack = :rack',
            {"appliance": position.appliance.id, "rack": position.rack},
        )[0]["last"]
        rank = 0 if last is None else last + 1
    while reader.one(NodeRow, "name = :name", name=position.name(rank)):
        rank += 1
    if not 0 <= rank <= MAX_RANK:
        raise UsageError(f"a rank is a number from 0 to {MAX_RANK}, not {rank}")
    return rank


def add(
    change: Change,
    position: Position,
    *,
    name: str | None = None,
    uuid: bytes | None = None,
    cpus: int = 1,
    comment: str = "",
    discovery_id: int | None = None,
) -> NodeRow:
    """A new node, without interfaces.

    :param name: instead of ``<appliance>-<rack>-<rank>``.
    :raises Refused: the name is taken.
    """
    rank = next_rank(change, position)
    name = position.name(rank) if name is None else grammar.host_label(name)
    if change.one(NodeRow, "name = :name", name=name):
        raise Refused(f"Node {name} already exists. Select another name, rack or rank.")
    if not 1 <= cpus <= 65536:
        raise UsageError(f"a node has 1 to 65536 CPUs, not {cpus}")
    return change.insert(
        NodeRow(
            0, name, position.appliance.id, position.rack, rank, cpus, None, None if uuid is None else uuid.hex(),
            grammar.attribute_value(comment), discovery_id, timestamp(),
        )
    )  # fmt: skip


def add_interface(
    change: Change,
    node: NodeRow,
    *,
    mac: MacAddress | None,
    ip: IPv4Address | None,
    network: NetworkRow,
    device: str | None = None,
    start: IPv4Address | None = None,
    step: int = 1,
) -> InterfaceRow:
    """A NIC of a node. Without `ip` it gets the first free address of the network, from `start` or the top downwards; a further
    one of a node gets, if it can, the address that stands in its network where the node's first stands in its own.

    :param device: the name it has on the node; None: eth0, eth1 ...
    :raises Refused: MAC, address or device are taken.
    """
    if mac is not None:
        check_mac(change, mac)
    others = interfaces(change, node)
    if ip is not None:
        network = networks.check_address(change, ip)
    else:
        ip = _like_first(change, others, network) if start is None else None
        ip = ip or networks.free_address(change, network, start, step)
    taken = {row.device for row in others}
    if device is None:
        device = next(name for number in range(len(taken) + 1) if (name := f"eth{number}") not in taken)
    elif grammar.device_name(device) in taken:
        raise Refused(f"{node.name} has an interface {device} already")
    return change.insert(InterfaceRow(0, node.id, device, mac, ip, network.id))


def _like_first(reader: Reader, others: list[InterfaceRow], network: NetworkRow) -> IPv4Address | None:
    first = next((row for row in others if row.ip is not None), None)
    home = None if first is None else reader.one(NetworkRow, "id = :id", id=first.network_id)
    if first is None or first.ip is None or home is None or home.id == network.id:
        return None
    return networks.mirrored(reader, network, first.ip, home)


def check_mac(reader: Reader, mac: MacAddress) -> None:
    """:raises Refused: it is another node's, or nobody's."""
    if mac.is_group:
        raise UsageError(f"{mac} is a group address, not a machine's")
    other = reader.one(InterfaceRow, "mac = :mac", mac=mac)
    if other is not None:
        owner = reader.one(NodeRow, "id = :id", id=other.node_id)
        raise Refused(f"Duplicate MAC '{mac}' Specified: it is {owner.name if owner else 'another node'}'s")


def rename(change: Change, node: NodeRow, name: str) -> NodeRow:
    """:raises Refused: the name is taken."""
    if name != node.name and change.one(NodeRow, "name = :name", name=grammar.host_label(name)):
        raise Refused(f"Node {name} already exists. Select another name, rack or rank.")
    return change.update(node, name=name)


def remove(change: Change, node: NodeRow) -> None:
    """A node and all that belongs to it; its key is worth nothing from then on."""
    installs.disarm(change, node)
    for secret in change.rows(SecretRow, "name LIKE :names", names=f"node/{node.id}/%"):
        change.delete(secret)
    attributes.remove_all(change, attributes.Place(Scope.NODE, node.id))
    boot_actions.forget(change, [node])
    for interface in interfaces(change, node):
        change.delete(interface)
    change.delete(node)
