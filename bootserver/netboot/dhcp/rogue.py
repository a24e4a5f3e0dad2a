"""Other DHCP servers on our networks: heard when they answer others, and asked for now and then.

A second server gives nodes wrong addresses and boot files, and is mostly somebody's mistake (a router at home, a forgotten
test). Its broadcast replies reach us; what it sends to one machine alone does not, so a DISCOVER of our own, whose reply is
to be broadcast (RFC 2131 section 4.1), makes it show itself. It asks by a MAC that is nobody's and takes no offer, so each
server that answers keeps at most one address for it, for some seconds.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from bootserver.netboot.dhcp import request as options
from bootserver.netboot.dhcp import wire
from bootserver.netboot.dhcp.reply import CLIENT_PORT, SERVER_PORT, frame
from bootserver.netboot.dhcp.request import MessageType
from bootserver.netboot.dhcp.wire import BROADCAST_FLAG, NO_ADDRESS, DhcpPacket, WireError
from bootserver.values.mac import MacAddress

TELL_AGAIN: Final = 3600.0
MAX_KNOWN: Final = 256
TOLD_PER_HOUR: Final = 32
"""Servers told of within an hour: whoever invents server identifiers fills no event log."""

_ETHERNET_HEADER: Final = 14
_UDP_HEADER: Final = 8
_FROM_SERVERS: Final = frozenset({MessageType.OFFER, MessageType.ACK, MessageType.NAK})


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's reply, overheard.

    :ivar server: its server identifier (option 54), or where the datagram came from.
    :ivar mac: who sent the frame: the server, or the router on the way.
    :ivar client: whom it is for.
    :ivar offered: the address that it gives, or None (a proxyDHCP server's offer, a refusal).
    """

    server: IPv4Address
    mac: MacAddress
    client: bytes
    offered: IPv4Address | None


def read(captured: bytes) -> Reply | None:
    """:param captured: a frame that the filter let through. :returns: None where it is no server's reply."""
    ip_at = _ETHERNET_HEADER
    if len(captured) < ip_at + 20:
        return None
    udp_at = ip_at + (captured[ip_at] & 15) * 4
    try:
        packet = wire.decode(captured[udp_at + _UDP_HEADER :])
        if packet.op != 2 or options.message_type(packet) not in _FROM_SERVERS:
            return None
    except WireError:
        return None
    named = packet.options.get(options.SERVER_ID, b"")
    server = IPv4Address(named if len(named) == 4 else captured[ip_at + 12 : ip_at + 16])
    offered = None if packet.yiaddr == NO_ADDRESS else IPv4Address(packet.yiaddr)
    return Reply(server, MacAddress(captured[6:12]), packet.chaddr[:6], offered)


def nobodys_mac() -> bytes:
    """A random MAC, locally administered (IEEE 802: second lowest bit of the first octet) and no group's."""
    octets = os.urandom(6)
    return bytes((octets[0] & 0xFC | 0x02,)) + octets[1:]


def discover(mac: bytes, own_mac: bytes) -> bytes:
    """The frame with our DISCOVER.

    The frame itself comes from our own MAC, so that switches which count MACs on a port see no new one.
    """
    asks = {options.MESSAGE_TYPE: bytes((MessageType.DISCOVER.value,)), options.PARAMETERS: bytes((options.SUBNET, 3, 6))}
    number = int.from_bytes(os.urandom(4))
    addresses = (NO_ADDRESS,) * 4
    packet = DhcpPacket(
        1, 1, 6, 0, number, 0, BROADCAST_FLAG, *addresses, mac.ljust(16, b"\0"), bytes(64), bytes(128), asks
    )  # fmt: skip
    return frame(
        wire.encode(packet),
        to_mac=b"\xff" * 6,
        from_mac=own_mac,
        to=b"\xff" * 4,
        source=NO_ADDRESS,
        ports=(CLIENT_PORT, SERVER_PORT),
    )


def receive(overhears: socket.socket) -> bytes | None:
    """The next frame; None where there is no more."""
    try:
        return overhears.recv(wire.MAX_DATAGRAM)
    except OSError:
        return None


class Rogues:
    """Which servers were told of already.

    :param allowed: those that may answer here.
    """

    def __init__(self, allowed: frozenset[IPv4Address]) -> None:
        self.allowed = allowed
        self._told: dict[tuple[IPv4Address, bytes], float] = {}
        self._hour = 0
        self._this_hour = 0

    def knows(self, server: IPv4Address) -> bool:
        """It may answer, or was told of."""
        return server in self.allowed or any(known == server for known, _ in self._told)

    def is_news(self, server: IPv4Address, mac: bytes, now: float) -> bool:
        """Is this to be told? Once an hour for each address and MAC.

        :param now: a monotonic clock.
        """
        if server in self.allowed:
            return False
        last = self._told.get((server, mac))
        if last is not None and now - last < TELL_AGAIN:
            return False
        hour = int(now // TELL_AGAIN)
        if hour != self._hour:
            self._hour, self._this_hour = hour, 0
        self._this_hour += 1
        if self._this_hour > TOLD_PER_HOUR:
            return False
        self._told.pop((server, mac), None)
        if len(self._told) >= MAX_KNOWN:
            del self._told[next(iter(self._told))]
        self._told[server, mac] = now
        return True
