"""Views of small clusters, made by hand: what tests of the data path answer from instead of a database."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from bootserver.cluster.actions import SHIPPED, BootAction
from bootserver.cluster.view import ApplianceView, DiscoveryView, InterfaceView, NetworkView, NodeView, View
from bootserver.values.mac import MacAddress

FRONTEND = IPv4Address("10.1.1.1")
COMPUTE = ApplianceView(1, "compute", installs=True)
SWITCH = ApplianceView(2, "switch", installs=False)
MAC = MacAddress.parse("52:54:00:00:00:01")


def network(
    number: int = 1,
    *,
    name: str = "private",
    subnet: str = "10.1.0.0/16",
    device: str | None = "eth1",
    frontend: str = "10.1.1.1",
    gateway: str | None = "10.1.1.1",
    nameservers: tuple[str, ...] = ("10.1.1.1",),
    domain: str = "local",
    lease_seconds: int = 86_400,
    vlan: int | None = None,
) -> NetworkView:
    return NetworkView(
        id=number,
        name=name,
        subnet=IPv4Network(subnet),
        device=device,
        frontend=IPv4Address(frontend),
        gateway=None if gateway is None else IPv4Address(gateway),
        nameservers=tuple(IPv4Address(address) for address in nameservers),
        domain=domain,
        lease_seconds=lease_seconds,
        vlan=vlan,
    )


def node(
    rank: int = 0,
    *,
    mac: MacAddress | None = MAC,
    ip: str | None = "10.1.255.254",
    on: NetworkView | None = None,
    appliance: ApplianceView = COMPUTE,
    action: BootAction = SHIPPED["os"],
    uuid: bytes | None = None,
    rack: int = 0,
) -> NodeView:
    interface = InterfaceView("eth0", mac, None if ip is None else IPv4Address(ip), on or network())
    name = f"{appliance.name}-{rack}-{rank}"
    return NodeView(rank + 1, name, appliance, rack, rank, uuid, (interface,), {}, action, None)


def view(
    nodes: Iterable[NodeView] = (), *, networks: Iterable[NetworkView] | None = None, discovery: DiscoveryView | None = None
) -> View:
    nodes = tuple(nodes)
    pairs = [(one, interface) for one in nodes for interface in one.interfaces]
    return View(
        sequence=1,
        networks=(network(),) if networks is None else tuple(networks),
        nodes={one.name: one for one in nodes},
        by_mac={interface.mac: (one, interface) for one, interface in pairs if interface.mac is not None},
        by_ip={interface.ip: (one, interface) for one, interface in pairs if interface.ip is not None},
        by_uuid={one.uuid: one for one in nodes if one.uuid is not None},
        discovery=discovery,
    )


def discovery(
    *, installs: bool = True, network: int = 1, mac: MacAddress | None = None, confirm: bool = False, expires: float = 2e9
) -> DiscoveryView:
    return DiscoveryView(1, "compute", installs, network, mac, confirm, expires)
