"""Where a reply goes and in what: RFC 2131 section 4.1, decided and built here, sent by :mod:`link`."""

from __future__ import annotations

import enum
import socket
import struct
from typing import Final, NamedTuple

from bootserver.netboot.dhcp.wire import BROADCAST_FLAG, NO_ADDRESS, DhcpPacket

SERVER_PORT: Final = 67
CLIENT_PORT: Final = 68
EVERYBODY: Final = "255.255.255.255"

_ETHERNET_IPV4: Final = b"\x08\x00"
_IP: Final = struct.Struct("!BBHHHBBH4s4s")
_UDP: Final = struct.Struct("!HHHH")
_UDP_PROTOCOL: Final = 17
_DO_NOT_FRAGMENT: Final = 0x4000
_TTL: Final = 64


class Via(enum.Enum):
    UNICAST = "unicast"  # to an address that answers ARP: a relay, or a client that has one
    BROADCAST = "broadcast"
    FRAME = "frame"  # to a client's MAC, for an address that it does not have yet


class Route(NamedTuple):
    """:ivar address: IPv4 destination."""

    via: Via
    address: str
    port: int


_BROADCAST: Final = Route(Via.BROADCAST, EVERYBODY, CLIENT_PORT)


def route(packet: DhcpPacket, *, address: bytes, refused: bool) -> Route:
    """The way of the answer to `packet`.

    :param address: the client's address in the answer (yiaddr); zeros where it has none.
    :param refused: it is a NAK.
    """
    if packet.giaddr != NO_ADDRESS:
        return Route(Via.UNICAST, socket.inet_ntoa(packet.giaddr), SERVER_PORT)
    if refused:
        return _BROADCAST
    # What ciaddr says is believed where it is the address that is answered with, or where an INFORM was checked: else one
    # could have us send datagrams to any address in the world.
    if packet.ciaddr != NO_ADDRESS and address in (packet.ciaddr, NO_ADDRESS):
        return Route(Via.UNICAST, socket.inet_ntoa(packet.ciaddr), CLIENT_PORT)
    # Plain unicast to yiaddr would fail: nobody answers ARP for it. A frame to the MAC spares all others the packet.
    if packet.flags & BROADCAST_FLAG or address == NO_ADDRESS:
        return _BROADCAST
    return Route(Via.FRAME, socket.inet_ntoa(address), CLIENT_PORT)


def frame(
    payload: bytes,
    *,
    to_mac: bytes,
    from_mac: bytes,
    to: bytes,
    source: bytes,
    ports: tuple[int, int] = (SERVER_PORT, CLIENT_PORT),
) -> bytes:
    """An Ethernet frame with an IPv4/UDP datagram.

    :param to: the address that the client will have.
    :param source: our own.
    :param ports: from which, to which.
    """
    length = _UDP.size + len(payload)
    # RFC 768: the sum runs over a pseudo header, the UDP header with a zero sum and the data; 0 would say "no checksum".
    pseudo = source + to + struct.pack("!HHHHHH", _UDP_PROTOCOL, length, *ports, length, 0)
    udp = _UDP.pack(*ports, length, _checksum(pseudo + payload) or 0xFFFF)
    plain = _IP.pack(0x45, 0, _IP.size + length, 0, _DO_NOT_FRAGMENT, _TTL, _UDP_PROTOCOL, 0, source, to)
    header = plain[:10] + _checksum(plain).to_bytes(2) + plain[12:]
    return to_mac + from_mac + _ETHERNET_IPV4 + header + udp + payload


def _checksum(octets: bytes) -> int:
    """RFC 1071. The one's complement sum of 16-bit words is the whole number modulo 65,535, which Python takes in one go."""
    if len(octets) & 1:
        octets += b"\0"
    total = int.from_bytes(octets) % 0xFFFF
    return 0xFFFF - total
