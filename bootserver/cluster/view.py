"""The view: an immutable picture of the cluster in memory, which the data path answers from.

DHCP, TFTP and boot menus never query the database. Each process has a view of its own, kept up to date by
:mod:`bootserver.cluster.keeper`; so an answer costs the same at 10 and at 100,000 nodes, and when the database is away,
known nodes still boot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from bootserver.cluster.actions import BootAction
from bootserver.values.mac import MacAddress
from bootserver.values.secret import Secret

_NOT_IN_LABELS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class NetworkView:
    """A network that nodes are on.

    :ivar device: the frontend's interface on it, or None where only a relay reaches it.
    :ivar frontend: the frontend's own address as nodes of this network reach it.
    :ivar vlan: the tag that nodes' frames carry there (IEEE 802.1Q); None: none. The frontend's own is `device`'s business.
    """

    id: int
    name: str
    subnet: IPv4Network
    device: str | None
    frontend: IPv4Address
    gateway: IPv4Address | None
    nameservers: tuple[IPv4Address, ...]
    domain: str
    lease_seconds: int
    vlan: int | None = None


@dataclass(frozen=True, slots=True)
class InterfaceView:
    device: str
    mac: MacAddress | None
    ip: IPv4Address | None
    network: NetworkView


@dataclass(frozen=True, slots=True)
class ApplianceView:
    """:ivar installs: its nodes netboot and install; a switch or a power unit never does."""

    id: int
    name: str
    installs: bool


@dataclass(frozen=True, slots=True)
class InstallView:
    """An armed install: see :mod:`bootserver.cluster.tickets`.

    :ivar secret: what boot tickets of this install are signed with.
    :ivar parked: why it was stopped, or None.
    """

    id: int
    secret: Secret
    parked: str | None


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node with all that is inherited already worked out.

    :ivar uuid: its SMBIOS UUID as on the wire (DHCP option 97), or None.
    :ivar attributes: global < appliance < rack < node, the most specific one of each.
    :ivar action: what it boots next, an override for this node already taken into account, an install resolved.
    :ivar unresolved: why its install can't be resolved, or None.
    """

    id: int
    name: str
    appliance: ApplianceView
    rack: int
    rank: int
    uuid: bytes | None
    interfaces: tuple[InterfaceView, ...]
    attributes: Mapping[str, str]
    action: BootAction
    install: InstallView | None
    unresolved: str | None = None

    def name_of(self, interface: InterfaceView) -> str:
        """What one of its interfaces is called."""
        first = next((each for each in self.interfaces if each.ip is not None), None)
        return interface_name(self.name, interface.device, is_first=interface is first)


@dataclass(frozen=True, slots=True)
class DiscoveryView:
    """An open discovery: unknown machines become nodes.

    :ivar installs: its appliance installs, so only machines that ask to netboot are taken.
    :ivar network: the number of the network that it takes machines on.
    :ivar mac: only this machine is taken, if set.
    :ivar confirm: a person is asked for each machine first.
    """

    id: int
    appliance: str
    installs: bool
    network: int
    mac: MacAddress | None
    confirm: bool
    expires: float


@dataclass(frozen=True, slots=True)
class View:
    """:ivar sequence: the change log's number that it shows."""

    sequence: int
    networks: tuple[NetworkView, ...] = ()
    nodes: Mapping[str, NodeView] = field(default_factory=dict)
    by_mac: Mapping[bytes, tuple[NodeView, InterfaceView]] = field(default_factory=dict)
    by_ip: Mapping[IPv4Address, tuple[NodeView, InterfaceView]] = field(default_factory=dict)
    by_uuid: Mapping[bytes, NodeView] = field(default_factory=dict)
    discovery: DiscoveryView | None = None

    def network_of(self, address: IPv4Address) -> NetworkView | None:
        """The network that an address is in (there are few networks: a scan is the index)."""
        return next((network for network in self.networks if address in network.subnet), None)


def interface_name(node: str, device: str, *, is_first: bool) -> str:
    """``compute-0-0`` or ``compute-0-0-ib0``: the first interface that has an address is called as the node."""
    return node if is_first else f"{node}-{_NOT_IN_LABELS.sub('-', device.lower()).strip('-')}"
