"""Discovery: an open insert-ethers run, in which unknown machines become nodes.

The service registers; the command opens a discovery, shows it and closes it, so a dead terminal loses nothing. One is open
at a time (a unique index says so), and it ends by count, by time, or by hand.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from bootserver.cluster import appliances, installs, interfaces, networks, nodes
from bootserver.cluster.change import Change, Reader, timestamp
from bootserver.cluster.events import Event, Kind
from bootserver.db.rows import ApplianceRow, DiscoveryRow, InterfaceRow, NetworkRow, NodeRow
from bootserver.errors import BootserverError, NotFound, Refused, UsageError
from bootserver.values import grammar
from bootserver.values.mac import MacAddress

MAX_NEW = 64
SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Machine:
    """What is known of an unknown machine: what it said on the wire. Nothing in it is proof.

    :ivar network: the name of the network that it asked on.
    :ivar netboots: it asks to netboot (PXE, HTTP Boot, iPXE).
    :ivar vendor_class: what kind of machine it calls itself (DHCP option 60), printable; so `host_name` (option 12).
    """

    mac: MacAddress
    uuid: bytes | None
    network: str
    netboots: bool
    firmware: str | None = None
    vendor_class: str = ""
    host_name: str = ""

    def said(self) -> dict[str, str]:
        """For events: what tells a person an iDRAC from a switch."""
        return {key: value for key, value in (("vendor class", self.vendor_class), ("host name", self.host_name)) if value}


@dataclass(frozen=True, slots=True)
class Request:
    """What ``insert-ethers`` was asked for; see its ``--help``."""

    appliance: str = "compute"
    network: str | None = None
    rack: int = 0
    rank: int | None = None
    mac: MacAddress | None = None
    replace: str | None = None
    base_name: str | None = None
    base_ip: IPv4Address | None = None
    step: int = 1
    count: int | None = None
    max_new: int = MAX_NEW
    confirm: bool = False
    seconds: float = SECONDS


def current(reader: Reader) -> DiscoveryRow | None:
    """The open discovery, or None; one whose time is over is none."""
    row = reader.one(DiscoveryRow, "open = 1")
    return row if row is not None and row.expires > time.time() else None


def open_discovery(change: Change, request: Request, by: str) -> DiscoveryRow:
    """:raises Refused: another one is open; it says whose."""
    expired = change.one(DiscoveryRow, "open = 1")
    if expired is not None and expired.expires <= time.time():
        close(change, expired)
        expired = None
    if expired is not None:
        raise Refused(
            f"{expired.by} has had a discovery open since {expired.opened}: `bootserver insert-ethers --attach` shows it, "
            "`bootserver insert-ethers --close` ends it"
        )
    appliance = appliances.get(change, request.appliance)
    network = networks.get(change, request.network) if request.network else networks.first(change)
    if request.base_name is not None:
        grammar.host_label(request.base_name)
    if request.base_ip is not None and request.base_ip not in network.subnet:
        raise UsageError(f"{request.base_ip} is not in network {network.name} ({network.subnet})")
    if request.step < 1 or request.max_new < 1 or (request.count is not None and request.count < 1):
        raise UsageError("--inc, --count and --max-new are 1 or more")
    replaced = nodes.get(change, request.replace) if request.replace else None
    if replaced is None:
        position = nodes.Position(appliance, request.rack, request.rank, request.base_name)
        rank = nodes.next_rank(change, position)  # refuses what is no rack and no rank
        if request.rank not in (None, rank):
            raise Refused(f"Node {position.name(request.rank)} already exists. Select another name, rack or rank.")
    return change.insert(
        DiscoveryRow(
            0, 1, appliance.id, network.id, request.rack, request.rank, request.mac, None if replaced is None else replaced.id,
            request.base_name, request.base_ip, request.step, 1 if replaced else request.count, request.max_new,
            request.confirm, by, timestamp(), time.time() + request.seconds, 0, None,
        )
    )  # fmt: skip


def close(change: Change, row: DiscoveryRow) -> DiscoveryRow:
    """End a discovery; what it registered stays."""
    return change.update(row, open=None, closed=timestamp())


def register(change: Change, discovery: DiscoveryRow, machine: Machine, *, tftpboot: Path | None = None) -> NodeRow:
    """Make an unknown machine a node, in this one transaction: name, rank, address, and its appliance's action armed.

    :param tftpboot: where the files that it boots must be, for its install to be armed; None: don't look.
    :raises Refused: the discovery does not take it; the text says why.
    """
    known = change.one(InterfaceRow, "mac = :mac", mac=machine.mac)
    if known is not None:
        node = change.one(NodeRow, "id = :id", id=known.node_id)
        if node is None:
            raise NotFound(f"the node of {machine.mac} is gone")
        return node
    appliance = change.one(ApplianceRow, "id = :id", id=discovery.appliance_id)
    network = change.one(NetworkRow, "name = :name", name=machine.network)
    if appliance is None or network is None:
        raise NotFound(f"the discovery's appliance or the network {machine.network} is gone")
    _check(discovery, appliance, machine)
    twin = None if machine.uuid is None else change.one(NodeRow, "uuid = :uuid", uuid=machine.uuid.hex())
    if twin is not None and twin.id != discovery.replace_id:  # another NIC of a machine that is a node already
        interface = interfaces.of_card(change, twin, machine.mac, network)
        _report(change, twin, machine, interface, {"interface_of": twin.name})
        return twin
    if network.id != discovery.network_id:
        wanted = change.one(NetworkRow, "id = :id", id=discovery.network_id)
        raise Refused(
            f"it asks on network {network.name}, and the open discovery takes machines on {wanted.name if wanted else 'another'}:"
            f" `bootserver insert-ethers --network {network.name}`"
        )
    if discovery.replace_id is not None:
        replaced = change.one(NodeRow, "id = :id", id=discovery.replace_id)
        if replaced is None:
            raise NotFound("the node to be replaced is gone")
        node, interface = _replace(change, replaced, machine, network, discovery.id)
    else:
        position = nodes.Position(appliance, discovery.rack, discovery.rank, discovery.base_name)
        node = nodes.add(change, position, uuid=machine.uuid, discovery_id=discovery.id)
        interface = nodes.add_interface(
            change, node, mac=machine.mac, ip=None, network=network, start=discovery.base_ip, step=discovery.step
        )
    _report(change, node, machine, interface, {})
    _complete(change, node, appliance, tftpboot)
    # The next machine's address is looked for below this one's: no search from the top again.
    inserted = discovery.inserted + 1
    discovery = change.update(discovery, inserted=inserted, base_ip=_next(interface, network, discovery.step))
    if inserted >= min(discovery.count or discovery.max_new, discovery.max_new):
        close(change, discovery)
    return node


def network_of(reader: Reader, request: Request, ip: IPv4Address | None) -> NetworkRow:
    """The network that a machine with this address, or without one yet, is put on."""
    if ip is not None:
        return networks.check_address(reader, ip)
    return networks.get(reader, request.network) if request.network else networks.first(reader)


def register_at_once(
    change: Change,
    request: Request,
    machine: Machine,
    *,
    ip: IPv4Address | None,
    name: str | None,
    cpus: int,
    tftpboot: Path | None = None,
) -> NodeRow:
    """``insert-ethers --batch --mac MAC``: no discovery, the machine is made a node now.

    :raises Refused: MAC, address or name are taken.
    """
    nodes.check_mac(change, machine.mac)
    appliance = appliances.get(change, request.appliance)
    network = networks.get(change, machine.network)
    if request.replace is not None:
        node, interface = _replace(change, nodes.get(change, request.replace), machine, network, None)
    else:
        position = nodes.Position(appliance, request.rack, request.rank, request.base_name)
        node = nodes.add(change, position, name=name, cpus=cpus)
        interface = nodes.add_interface(
            change, node, mac=machine.mac, ip=ip, network=network, start=request.base_ip, step=request.step
        )
    _report(change, node, machine, interface, {})
    _complete(change, node, appliance, tftpboot)
    return node


def _check(discovery: DiscoveryRow, appliance: ApplianceRow, machine: Machine) -> None:
    if machine.mac.is_group:
        raise Refused(f"{machine.mac} is a group address")
    if discovery.mac is not None and discovery.mac != machine.mac:
        raise Refused(f"the open discovery takes only {discovery.mac}")
    if appliance.installs and not machine.netboots:
        raise Refused(f"it does not ask to netboot, and appliance {appliance.name} installs")
    if machine.netboots and not appliance.installs:
        # A server that shares its BMC's port asks in the same minute.
        raise Refused(f"it asks to netboot, as no {appliance.name} does: `bootserver insert-ethers --batch --mac {machine.mac}`")
    if discovery.inserted >= min(discovery.count or discovery.max_new, discovery.max_new):
        raise Refused(f"the discovery has taken its {discovery.inserted} machines")


def _replace(
    change: Change, node: NodeRow, machine: Machine, network: NetworkRow, discovery_id: int | None
) -> tuple[NodeRow, InterfaceRow]:
    """The machine takes a node's name, rack, rank and address; the old machine's key is worth nothing any more."""
    installs.disarm(change, node)
    installs.make_node_key(change, node)
    node = change.update(node, uuid=None if machine.uuid is None else machine.uuid.hex(), discovery_id=discovery_id)
    old = nodes.interfaces(change, node)
    if not old:
        return node, nodes.add_interface(change, node, mac=machine.mac, ip=None, network=network)
    for other in old[1:]:
        change.update(other, mac=None)
    return node, change.update(old[0], mac=machine.mac)


def _complete(change: Change, node: NodeRow, appliance: ApplianceRow, tftpboot: Path | None) -> None:
    """What belongs to a machine that has just become a node. What can't be done does not keep it out; it is told."""
    try:
        interfaces.add_wanted(change, node)
    except BootserverError as error:
        change.report(Event(Kind.FAILED, time.time(), node.name, detail={"why": f"attribute interfaces: {error}"}))
    _arm(change, node, appliance, tftpboot)


def _arm(change: Change, node: NodeRow, appliance: ApplianceRow, tftpboot: Path | None) -> None:
    """Arm the appliance's action. One that can't be resolved does not keep the machine out: it waits and says why."""
    try:
        installs.set_action(change, node, appliance.action, tftpboot=tftpboot)
    except BootserverError as error:
        change.update(node, action=appliance.action)
        change.report(Event(Kind.FAILED, time.time(), node.name, detail={"why": str(error)}))


def _next(interface: InterfaceRow, network: NetworkRow, step: int) -> IPv4Address | None:
    return None if interface.ip is None else max(interface.ip - step, network.subnet.network_address + 1)


def _report(change: Change, node: NodeRow, machine: Machine, interface: InterfaceRow, detail: dict[str, str]) -> None:
    change.report(
        Event(
            Kind.REGISTERED,
            time.time(),
            node.name,
            machine.mac,
            {"address": str(interface.ip), "device": interface.device, "firmware": machine.firmware, **machine.said(), **detail},
        )
    )
