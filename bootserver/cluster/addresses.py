"""What the wire tells of nodes' addresses: one that is in use by another machine, one that a site's own DHCP server gave.

The DHCP part sees it and says so; :mod:`bootserver.service.addresses` has it written down. Each is a line of JSON, which is
checked again by who reads it.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from ipaddress import IPv4Address

from bootserver.cluster import networks
from bootserver.cluster.change import Change, Reader
from bootserver.cluster.events import Event, Kind
from bootserver.db.rows import InterfaceRow, NetworkRow, NodeRow
from bootserver.errors import BootserverError, Refused
from bootserver.values.mac import MacAddress

MAX_LINE = 512


@dataclass(frozen=True, slots=True)
class InUse:
    """A node was about to be given an address for the first time, and another machine has it.

    :ivar holder: that machine's MAC.
    """

    mac: MacAddress
    address: IPv4Address
    holder: MacAddress


@dataclass(frozen=True, slots=True)
class Given:
    """A site's own DHCP server gave a node this address.

    :ivar server: which server, where the machine said so.
    """

    mac: MacAddress
    address: IPv4Address
    server: IPv4Address | None


News = InUse | Given


def encode(news: News) -> bytes:
    """One line of at most :data:`MAX_LINE` bytes."""
    fields = {"mac": str(news.mac), "address": str(news.address)}
    match news:
        case InUse():
            fields["holder"] = str(news.holder)
        case Given(server=IPv4Address()):
            fields["server"] = str(news.server)
    return json.dumps(fields).encode()


def decode(line: bytes) -> News | None:
    """:returns: None where it is no such line."""
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, BootserverError):
        fields = json.loads(line)
        mac, address = MacAddress.parse(fields["mac"]), IPv4Address(fields["address"])
        if "holder" in fields:
            return InUse(mac, address, MacAddress.parse(fields["holder"]))
        return Given(mac, address, IPv4Address(fields["server"]) if "server" in fields else None)
    return None


def is_new(reader: Reader, news: News) -> bool:
    """Would it change anything?"""
    interface = reader.one(InterfaceRow, "mac = :mac", mac=news.mac)
    if interface is None:
        return False
    return (interface.ip == news.address) is isinstance(news, InUse)


def note(change: Change, news: News) -> None:
    """Write it down.

    :raises Refused: it can't be; the text says why.
    """
    interface = change.one(InterfaceRow, "mac = :mac", mac=news.mac)
    node = None if interface is None else change.one(NodeRow, "id = :id", id=interface.node_id)
    if interface is None or node is None:
        return
    if isinstance(news, InUse):
        _move(change, node, interface, news)
    else:
        _take(change, node, interface, news)


def _move(change: Change, node: NodeRow, interface: InterfaceRow, news: InUse) -> None:
    """The next free address below; the one that is in use is free for the cluster again when whoever has it gives it up."""
    network = change.one(NetworkRow, "id = :id", id=interface.network_id)
    if interface.ip != news.address or network is None:
        return
    lowest = network.subnet.network_address + 1
    below = networks.free_address(change, network, max(news.address - 1, lowest), 1)
    change.update(interface, ip=below)
    detail = {"address": str(below), "device": interface.device, "because": f"{news.address} is in use by {news.holder}"}
    change.report(Event(Kind.REGISTERED, time.time(), node.name, news.mac, detail))


def _take(change: Change, node: NodeRow, interface: InterfaceRow, news: Given) -> None:
    if interface.ip == news.address:
        return
    network = next((row for row in change.rows(NetworkRow) if news.address in row.subnet), None)
    by = f"the site's DHCP server{'' if news.server is None else f' {news.server}'}"
    if network is None:
        raise Refused(f"{by} gave {node.name} {news.address}, which is in no network of the cluster: `bootserver network add`")
    own = (network.subnet.network_address, network.subnet.broadcast_address, network.frontend, network.gateway)
    if news.address in own:
        raise Refused(f"{by} gave {node.name} {news.address}, which is no node's address in network {network.name}")
    other = change.one(InterfaceRow, "ip = :ip", ip=news.address)
    if other is not None:
        # Either ours was a guess, or a lease that ended: what the server says now is true.
        change.update(other, ip=None)
        loser = change.one(NodeRow, "id = :id", id=other.node_id)
        if loser is not None:
            detail = {"because": f"{by} gave {news.address} to {node.name}", "device": other.device}
            change.report(Event(Kind.RELEASED, time.time(), loser.name, other.mac, detail))
    change.update(interface, ip=news.address, network_id=network.id)
    detail = {"address": str(news.address), "because": f"{by} gave it"}
    change.report(Event(Kind.ACKNOWLEDGED, time.time(), node.name, news.mac, detail))
