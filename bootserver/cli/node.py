"""``bootserver node``: the machines that the cluster knows."""

from __future__ import annotations

import re
import time
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import click

from bootserver.cli.arguments import IP, MAC, complete_appliances, complete_networks, complete_nodes, nodes_argument
from bootserver.cli.session import Session, change_options, confirm_options, pass_session
from bootserver.cli.table import format_option, show
from bootserver.errors import Refused, UsageError
from bootserver.values import grammar
from bootserver.values.mac import MacAddress

if TYPE_CHECKING:
    from bootserver.cluster.change import Change
    from bootserver.cluster.nodes import Position
    from bootserver.cluster.status import Facts, Heard
    from bootserver.db.rows import InterfaceRow, NodeRow

LIST = ("NODE", "APPLIANCE", "RACK", "RANK", "CPUS", "MAC", "IP", "ACTION", "STATE")
_PLACE_IN_NAME = re.compile(r"(.+)-(\d{1,4})-(\d{1,5})")


@click.group()
def node() -> None:
    """List, show, add, alter and remove nodes.

    NODE is a name, several, a range (compute-0-[0-31]), an appliance, rack0, an IP or a MAC address.
    """


@node.command("list")
@nodes_argument(required=False)
@click.option("--interfaces", is_flag=True, help="A line for each interface instead: its name, address and network.")
@format_option
@pass_session
def list_(session: Session, nodes: tuple[str, ...], interfaces: bool, format_: str) -> None:
    """List nodes, and what they are doing.

    STATE: new, discovered, armed (the next boot installs), waiting (it should install and can't: `bootserver why`),
    installing, stuck (silent for long), failed, parked (stopped by an alarm), installed, up. MAC and IP are those of the
    first interface.

    \b
    bootserver node list
    bootserver node list rack0 compute-1-[0-31]
    bootserver node list --format json
    bootserver node list --interfaces rack0
    """
    from bootserver.cluster import selection, status

    if interfaces:
        from bootserver.cli import interface_list

        interface_list.show_interfaces(session, nodes, format_)
        return
    with session.read() as reader:
        found = status.facts(reader, selection.select(reader, nodes))
    heard = _heard(session, found)
    now, stuck_seconds = time.time(), session.config.install.stuck_seconds
    rows = []
    for each in found:
        nic = each.interfaces[0] if each.interfaces else None
        state = "?"
        if heard is not None:
            state = str(status.status(each.node, each.install, heard.get(each.node.name), now=now, stuck_seconds=stuck_seconds))
        rows.append(
            (
                each.node.name,
                each.appliance,
                each.node.rack,
                each.node.rank,
                each.node.cpus,
                _text(nic.mac) if nic else None,
                _text(nic.ip) if nic else None,
                each.node.action or "os",
                state,
            )
        )
    show(LIST, rows, format_)


def _heard(session: Session, known: list[Facts]) -> dict[str, Heard] | None:
    """The events that states are read off, or None where the journal is away: the list is shown all the same."""
    from bootserver.cluster import status
    from bootserver.db.connection import DatabaseError

    try:
        return status.heard(session.databases.journal, known)
    except DatabaseError as error:
        session.warn(f"no states: {error}")
        return None


def _text(value: MacAddress | IPv4Address | None) -> str | None:
    return None if value is None else str(value)


@node.command("show")
@nodes_argument(required=True)
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to print.")
@pass_session
def show_(session: Session, nodes: tuple[str, ...], format_: str) -> None:
    """Show all that is known of NODES.

    \b
    bootserver node show compute-0-0
    bootserver node show 10.1.255.254 --format json
    """
    from bootserver.cli import facts

    facts.show(session, nodes, format_)


@node.command("add")
@click.argument("name", required=False)
@click.option("--appliance", metavar="NAME", help="Its kind [from the name, else compute].", shell_complete=complete_appliances)
@click.option("--rack", type=int, metavar="N", help="[from the name, else 0]")
@click.option("--rank", type=int, metavar="N", help="[from the name, else the next free one]")
@click.option("--mac", type=MAC, help="Of its first interface.")
@click.option("--ip", type=IP, help="[the first free one of the network, from the top]")
@click.option("--network", metavar="NAME", help="[that of the address, else the first]", shell_complete=complete_networks)
@click.option("--device", metavar="DEVICE", help="The interface's name on the node [eth0].")
@click.option("--cpus", type=int, default=1, show_default=True)
@click.option("--comment", default="", help="A note for people.")
@change_options
@pass_session
def add(
    session: Session,
    name: str | None,
    appliance: str | None,
    rack: int | None,
    rank: int | None,
    mac: MacAddress | None,
    ip: IPv4Address | None,
    network: str | None,
    device: str | None,
    cpus: int,
    comment: str,
) -> None:
    """Add a node by hand. Without NAME it is called <appliance>-<rack>-<rank>; it boots its disk until told otherwise.

    \b
    bootserver node add --mac 52:54:00:12:34:56
    bootserver node add compute-1-7 --mac 52:54:00:12:34:56 --ip 10.1.200.7
    bootserver node add switch-0-0 --appliance switch --ip 10.1.255.253
    """
    from bootserver.cluster import interfaces, nodes

    with session.change() as change:
        position = _position(change, name, appliance, rack, rank)
        if name is None and position.rank is not None:
            # A rank that was asked for is that one or none; only discovery goes on to the next.
            name = position.name(position.rank)
        row = nodes.add(change, position, name=name, cpus=cpus, comment=comment)
        told = f"Added node {row.name}"
        if mac is not None or ip is not None or network is not None or device is not None:
            nic = _add_interface(change, row, device=device, mac=mac, ip=ip, network=network)
            told += f" ({nic.ip})"
            further = interfaces.add_wanted(change, row)
            told += "".join(f", {each.device} {each.ip}" for each in further)
        session.tell(told)


def _position(change: Change, name: str | None, appliance: str | None, rack: int | None, rank: int | None) -> Position:
    """Where a new node goes: as the options say, else as its name does (``compute-1-7``)."""
    from bootserver.cluster import appliances, nodes
    from bootserver.db.rows import ApplianceRow

    kind: ApplianceRow | None = None
    match = None if name is None else _PLACE_IN_NAME.fullmatch(name)
    if match is not None:
        rack = int(match.group(2)) if rack is None else rack
        rank = int(match.group(3)) if rank is None else rank
        if appliance is None:
            kind = change.one(ApplianceRow, "base_name = :base", base=match.group(1))
    if rank is not None and not 0 <= rank <= nodes.MAX_RANK:
        raise UsageError(f"a rank is a number from 0 to {nodes.MAX_RANK}, not {rank}")
    return nodes.Position(kind or appliances.get(change, appliance or "compute"), rack or 0, rank)


def _add_interface(
    change: Change,
    row: NodeRow,
    *,
    device: str | None,
    mac: MacAddress | None,
    ip: IPv4Address | None,
    network: str | None,
) -> InterfaceRow:
    from bootserver.cluster import networks, nodes

    where = networks.get(change, network) if network else networks.first(change)
    if ip is not None and network is not None and ip not in where.subnet:
        raise UsageError(f"{ip} is not in network {network} ({where.subnet})")
    return nodes.add_interface(change, row, mac=mac, ip=ip, network=where, device=device)


@node.command("set", short_help="Alter facts of nodes and their interfaces.")
@nodes_argument(required=True)
@click.option("--comment", help="A note for people.")
@click.option("--cpus", type=int)
@click.option("--rack", type=int, metavar="N", help="It inherits that rack's attributes; its name stays.")
@click.option("--rank", type=int, metavar="N")
@click.option("--device", metavar="DEVICE", help="The interface that --mac and --ip are for [the first].")
@click.option("--mac", type=MAC, help="The interface's MAC address.")
@click.option("--ip", type=IP, help="The interface's address.")
@click.option("--add-interface", "added", metavar="DEVICE", help="A further one, with --mac, --ip, --network.")
@click.option("--network", metavar="NAME", help="Of the added interface.", shell_complete=complete_networks)
@click.option("--remove-interface", "removed", metavar="DEVICE")
@change_options
@pass_session
def set_(
    session: Session,
    nodes: tuple[str, ...],
    comment: str | None,
    cpus: int | None,
    rack: int | None,
    rank: int | None,
    device: str | None,
    mac: MacAddress | None,
    ip: IPv4Address | None,
    added: str | None,
    network: str | None,
    removed: str | None,
) -> None:
    """Alter facts of NODES; a MAC, an address and the rank for one node at a time.

    An added interface gets, unless --ip says so, the address in its network that is where the node's first one is in its own.

    \b
    bootserver node set rack0 --comment "the old ones"
    bootserver node set compute-0-0 --mac 52:54:00:12:34:57
    bootserver node set compute-0-0 --add-interface eth1 --ip 10.2.0.7
    bootserver node set compute --add-interface ib0 --network fabric
    bootserver node set compute-0-0 --remove-interface eth1
    """
    from bootserver.cluster import selection

    asked: dict[str, str | int | None] = {"comment": comment, "cpus": cpus, "rack": rack, "rank": rank}
    values = {key: value for key, value in asked.items() if value is not None}
    one_only = (rank, device, mac, ip)
    if not values and all(value is None for value in (*one_only, added, network, removed)):
        raise UsageError("say what to set, such as --comment or --mac")
    if network is not None and added is None:
        raise UsageError("--network goes with --add-interface: an interface's network is that of its address")
    if added is not None and device is not None:
        raise UsageError("--add-interface names the device: leave --device out")
    _check_facts(values)
    with session.change() as change:
        found = selection.select(change, nodes)
        if len(found) > 1 and any(value is not None for value in one_only):
            raise UsageError(f"ranks, MACs and addresses are set for one node at a time; that are {len(found)} nodes")
        for row in found:
            row = change.update(row, **values)
            if removed is not None:
                change.delete(_interface(change, row, removed))
            if added is not None:
                _add_interface(change, row, device=added, mac=mac, ip=ip, network=network)
            elif mac is not None or ip is not None:
                _set_interface(change, row, device, mac, ip)
        session.tell(f"{names(found)}: set" if change.records else f"{names(found)}: was so already")


def _check_facts(values: dict[str, str | int]) -> None:
    from bootserver.cluster.nodes import MAX_RACK, MAX_RANK

    grammar.attribute_value(str(values.get("comment", "")))
    for key, low, high in (("cpus", 1, 65536), ("rack", 0, MAX_RACK), ("rank", 0, MAX_RANK)):
        value = values.get(key, low)
        if not isinstance(value, int) or not low <= value <= high:
            raise UsageError(f"--{key} is a number from {low} to {high}, not {value}")


def _interface(change: Change, row: NodeRow, device: str | None) -> InterfaceRow:
    from bootserver.cluster import nodes

    for nic in nodes.interfaces(change, row):
        if device is None or nic.device == device:
            return nic
    raise Refused(f"{row.name} has no interface {device or ''}: `bootserver node set {row.name} --add-interface eth0` adds one")


def _set_interface(change: Change, row: NodeRow, device: str | None, mac: MacAddress | None, ip: IPv4Address | None) -> None:
    from bootserver.cluster import networks, nodes

    nic = _interface(change, row, device)
    if mac is not None and mac != nic.mac:
        nodes.check_mac(change, mac)
        nic = change.update(nic, mac=mac)
    if ip is not None and ip != nic.ip:
        network = networks.check_address(change, ip)
        change.update(nic, ip=ip, network_id=network.id)


@node.command("rename")
@click.argument("old", shell_complete=complete_nodes)
@click.argument("new")
@change_options
@pass_session
def rename(session: Session, old: str, new: str) -> None:
    """Give a node another name. It keeps its address; attributes and actions of its own go with it.

    \b
    bootserver node rename compute-0-0 login-0-0
    """
    from bootserver.cluster import nodes

    with session.change() as change:
        nodes.rename(change, nodes.get(change, old), new)
        session.tell(f"Renamed node {old} to {new}")


@node.command("remove", short_help="Forget nodes.")
@nodes_argument(required=True)
@confirm_options
@change_options
@pass_session
def remove(session: Session, nodes: tuple[str, ...]) -> None:
    """Forget NODES: their names, addresses, attributes and keys. Their disks are not touched.

    \b
    bootserver node remove compute-0-7
    bootserver node remove rack3 --yes
    """
    from bootserver.cluster import nodes as cluster_nodes
    from bootserver.cluster import selection

    with session.read() as reader:  # asked outside of the change: nobody waits for a person's answer
        asked = selection.select(reader, nodes)
    session.confirm(f"Remove {names(asked)}?")
    with session.change() as change:
        for row in selection.select(change, [row.name for row in asked]):
            cluster_nodes.remove(change, row)
            session.tell(f"Removed node {row.name}")


def names(nodes: list[NodeRow]) -> str:
    """Nodes as people write them; folded only where there are several."""
    from bootserver.cluster.selection import fold

    return nodes[0].name if len(nodes) == 1 else fold(row.name for row in nodes)
