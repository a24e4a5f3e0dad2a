"""Nodes as host entries of a site's own DHCP server: MAC, address, name, and the boot file of each kind of firmware.

Which boot file a node needs depends on its attribute `loader`, on where its frontend is, and on the firmware that asks. The first
two are a group, which an entry names; the rules say what each firmware gets in each group. The three servers' words for both are
in :mod:`bootserver.netboot.dhcp_events.formats`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from bootserver.cluster.view import NetworkView, NodeView, View
from bootserver.errors import BootserverError
from bootserver.netboot import loaders
from bootserver.values import grammar
from bootserver.values.firmware import Firmware
from bootserver.values.mac import MacAddress

PREFIX: Final = "bootserver"
CODES: Final[dict[Firmware, tuple[int, ...]]] = {
    Firmware.BIOS: (0x00,),
    Firmware.UEFI_IA32: (0x06,),
    Firmware.UEFI_X64: (0x07, 0x09),
    Firmware.UEFI_ARM64: (0x0B,),
    Firmware.UEFI_IA32_HTTP: (0x0F,),
    Firmware.UEFI_X64_HTTP: (0x10,),
    Firmware.UEFI_ARM64_HTTP: (0x13,),
}
"""What each says in DHCP option 93 (:class:`~bootserver.values.firmware.Firmware`)."""
_ANY_MAC: Final = MacAddress(bytes(6))
_ITS_OWN: Final = "${netX/mac:hexhyp}"
"""iPXE puts its own MAC there (https://ipxe.org/cfg): one file name does for all."""


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """:ivar loader: the attribute of its nodes. :ivar network: whose frontend has the boot files."""

    loader: str
    network: str
    server: IPv4Address

    @property
    def name(self) -> str:
        return f"{PREFIX}-{self.loader}-{self.network}"


@dataclass(frozen=True, slots=True)
class Host:
    """:ivar node: whose interface it is. :ivar name: what this one is called.
    :ivar group: None for what boots nothing: a switch, a power unit."""

    node: str
    mac: MacAddress
    address: IPv4Address
    name: str
    group: Group | None


@dataclass(frozen=True, slots=True)
class Rule:
    """What a kind of firmware gets in a group.

    :ivar ipxe: for iPXE, or for all else; None: for both.
    """

    group: Group
    firmware: Firmware
    ipxe: bool | None
    file: str


@dataclass(frozen=True, slots=True)
class Hosts:
    """:ivar troubles: what could not be made an entry, in words."""

    hosts: tuple[Host, ...]
    rules: tuple[Rule, ...]
    troubles: tuple[str, ...] = ()


def hosts(view: View, *, http_port: int = 80, by_http: bool = True, supplied: Container[str] | None = None) -> Hosts:
    """Entries and rules for all nodes.

    :param by_http: as :func:`bootserver.netboot.loaders.boot_file`, likewise `supplied`.
    """
    found: list[Host] = []
    troubles: list[str] = []
    groups: dict[Group, None] = {}
    names: set[str] = set()
    for node in sorted(view.nodes.values(), key=lambda each: (each.appliance.name, each.rack, each.rank, each.name)):
        for interface in node.interfaces:
            if interface.mac is None:
                continue
            label = node.name_of(interface)
            if interface.ip is None:
                troubles.append(f"{node.name} {interface.device} has no address, so no entry")
                continue
            try:
                grammar.host_label(label)
                group = _group(node, interface.network)
            except BootserverError as error:
                troubles.append(f"{node.name} {interface.device} has no entry: {error}")
                continue
            if label in names:
                troubles.append(f"{node.name} {interface.device} has no entry: there is another {label}")
                continue
            names.add(label)
            found.append(Host(node.name, interface.mac, interface.ip, label, group))
            if group is not None:
                groups[group] = None
    rules = _rules(sorted(groups), http_port, by_http, supplied)
    return Hosts(tuple(found), tuple(rules), tuple(troubles))


def _group(node: NodeView, network: NetworkView) -> Group | None:
    if not node.appliance.installs:
        return None
    return Group(loaders.wanted_loader(node.attributes).value, network.name, network.frontend)


def _rules(groups: Iterable[Group], http_port: int, by_http: bool, supplied: Container[str] | None) -> Iterable[Rule]:
    for group in groups:
        for firmware in CODES:
            files = {}
            for ipxe in (True, False):
                if ipxe and firmware.is_http:
                    continue  # iPXE says what it was built for, not how it was started
                try:
                    name = loaders.boot_file(
                        {"loader": group.loader}, firmware, mac=_ANY_MAC, is_ipxe=ipxe, ipxe_http=True,
                        frontend=group.server, http_port=http_port, by_http=by_http, supplied=supplied,
                    )  # fmt: skip
                except loaders.NoLoader:
                    continue
                files[ipxe] = name.replace(_ANY_MAC.dashed, _ITS_OWN)
            if len(set(files.values())) == 1 and len(files) == 2:
                yield Rule(group, firmware, None, files[True])
            else:
                yield from (Rule(group, firmware, ipxe, name) for ipxe, name in files.items())
