"""A node's network interfaces, as its image's own tool wants to be told: systemd.network(5), interfaces(5) of ifupdown, or
NetworkManager's keyfile format (nm-settings-keyfile(5)).

Interfaces are matched by their MAC addresses, since their names in the installed system are its own choice. Addresses are
static: a node keeps its own while the frontend is away.
"""

from __future__ import annotations

from ipaddress import IPv4Interface

from bootserver.cluster.view import InterfaceView, NodeView
from bootserver.install.entries import Entry
from bootserver.install.target import Network, Target

_UNITS = "usr/lib/systemd/system"


def network_files(node: NodeView, target: Target) -> list[Entry]:
    """The files for a node's interfaces that have a MAC and an address."""
    nics = [nic for nic in node.interfaces if nic.ip is not None and nic.mac is not None]
    match target.network:
        case Network.NETWORKD:
            return _networkd(nics)
        case Network.IFUPDOWN:
            return [Entry.text("etc/network/interfaces", _ifupdown(nics)), *_resolv_conf(nics)]
        case Network.NETWORK_MANAGER:
            return [
                Entry.text(f"etc/NetworkManager/system-connections/bootserver-{nic.device}.nmconnection", _keyfile(nic), 0o600)
                for nic in nics
            ]


def address(nic: InterfaceView) -> IPv4Interface:
    return IPv4Interface(f"{nic.ip}/{nic.network.subnet.prefixlen}")


def _networkd(nics: list[InterfaceView]) -> list[Entry]:
    entries = []
    for nic in nics:
        lines = ["[Match]", f"MACAddress={nic.mac}", "", "[Network]", f"Address={address(nic)}", f"Domains={nic.network.domain}"]
        if nic.network.gateway is not None:
            lines.append(f"Gateway={nic.network.gateway}")
        lines += [f"DNS={server}" for server in nic.network.nameservers]
        entries.append(Entry.text(f"etc/systemd/network/10-bootserver-{nic.device}.network", "\n".join(lines) + "\n"))
    wanted = f"/{_UNITS}/systemd-networkd.service"
    entries.append(Entry("etc/systemd/system/multi-user.target.wants/systemd-networkd.service", link=wanted))
    return entries + _resolv_conf(nics)


def _ifupdown(nics: list[InterfaceView]) -> str:
    lines = ["auto lo", "iface lo inet loopback"]
    for number, nic in enumerate(nics):
        # "mac/ADDRESS=NAME" matches an interface and calls it by a logical name (interfaces(5), PATTERN MATCHING).
        lines += [
            "",
            f"auto mac/{nic.mac}=bootserver{number}",
            f"iface bootserver{number} inet static",
            f"\taddress {address(nic)}",
        ]
        if nic.network.gateway is not None:
            lines.append(f"\tgateway {nic.network.gateway}")
    return "\n".join(lines) + "\n"


def _resolv_conf(nics: list[InterfaceView]) -> list[Entry]:
    servers = dict.fromkeys(server for nic in nics for server in nic.network.nameservers)
    if not servers:
        return []
    lines = [f"search {nics[0].network.domain}", *(f"nameserver {server}" for server in servers)]
    return [Entry.text("etc/resolv.conf", "\n".join(lines) + "\n")]


def _keyfile(nic: InterfaceView) -> str:
    gateway = f",{nic.network.gateway}" if nic.network.gateway is not None else ""
    lines = [
        "[connection]", f"id=bootserver-{nic.device}", "type=ethernet", "autoconnect=true", "",
        "[ethernet]", f"mac-address={str(nic.mac).upper()}", "",
        "[ipv4]", "method=manual", f"address1={address(nic)}{gateway}", f"dns-search={nic.network.domain};",
        *(["dns=" + "".join(f"{server};" for server in nic.network.nameservers)] if nic.network.nameservers else []),
        "", "[ipv6]", "method=auto",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
