"""The UDP ports that transfers are sent from (RFC 1350's transfer identifiers), and how a window goes out at once.

Each transfer has a port of its own, connected to its client: the kernel then drops every stranger's datagram, and answers
with what it costs least. Ports are kept for the next transfer; a kept one is emptied after it is connected anew, so that
nothing meant for the last client is taken for the next one's.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
from collections import deque
from typing import Any, Final

from bootserver.netboot.tftp.transfer import Transfer

PeerAddress = tuple[str, int] | tuple[str, int, int, int]
"""What the socket module calls an address, for IPv4 and IPv6."""

# Linux' numbers that Python 3.11 has no names for: linux/in.h, linux/udp.h.
_IP_MTU_DISCOVER: Final = 10
_IP_PMTUDISC_DONT: Final = 0
_IP_PMTUDISC_DO: Final = 2
_IP_PKTINFO: Final = 8
_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103

_PKTINFO_V4: Final = struct.Struct("=I4s4s")  # struct in_pktinfo: interface, our address, the destination in the header
_PKTINFO_V6: Final = struct.Struct("=16sI")  # struct in6_pktinfo: the destination, interface
_SEGMENT_SIZE: Final = struct.Struct("=H")

RECEIVE_SIZE: Final = 128
"""An ACK has 4 bytes, an ERROR may have more; nobody needs the rest of its text, and a small buffer is a cheap one."""
MAX_JOINED: Final = 65507  # bytes in one send: the largest UDP payload over IPv4
MAX_SEGMENTS: Final = 64  # UDP_MAX_SEGMENTS, linux/udp.h
_MAX_KNOWN_ADDRESSES: Final = 1024
_MAX_STALE: Final = 64  # datagrams; a client that floods its own next transfer harms only that

# What sendmsg says where segmentation can't be had: a segment larger than the MTU (EMSGSIZE, EINVAL in older kernels), a
# device without checksum offload (EIO), a kernel before 4.18 (EINVAL).
_CANT_SEGMENT: Final = frozenset({errno.EMSGSIZE, errno.EINVAL, errno.EIO, errno.EOPNOTSUPP})


def announce_destination(listener: socket.socket) -> None:
    """Have the kernel tell with each request which of our addresses it came to."""
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        # A dual-stack socket gets IPv4 requests, too; for those the address comes mapped (::ffff:192.0.2.1).
    else:
        listener.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def send_from_listener(listener: socket.socket, destination: bytes, peer: PeerAddress, packet: bytes) -> None:
    """Answer from the port that was asked, and the address: for when there is no other port to be had."""
    is_ipv6 = listener.family == socket.AF_INET6
    level, kind = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO) if is_ipv6 else (socket.IPPROTO_IP, _IP_PKTINFO)
    with contextlib.suppress(OSError):  # no way to the client either
        listener.sendmsg([packet], [(level, kind, destination)], 0, peer)


class Port:
    """One UDP port and what it is used for just now.

    :ivar transfer: None while it is kept for later.
    :ivar ticket: whatever the server wants to find again when the transfer ends.
    :ivar may_fragment: its packets may be fragmented on their way.
    """

    __slots__ = ("_sendmsg", "destination", "fileno", "joins", "may_fragment", "receive", "send", "socket", "ticket", "transfer")

    def __init__(self, endpoint: socket.socket, destination: bytes) -> None:
        self.socket = endpoint
        self.destination = destination
        self.fileno = endpoint.fileno()
        # Bound once: a lookup saved for each packet.
        self.receive = endpoint.recv
        self.send = endpoint.send
        self._sendmsg = endpoint.sendmsg
        self.joins = True
        self.may_fragment = True
        self.forbid_fragments()
        self.transfer: Transfer | None = None
        self.ticket: Any = None

    def forbid_fragments(self) -> None:
        """Send with DF set (IPv4): the kernel then needs no unique number for each packet, which saves it 5 % of the way."""
        if self.may_fragment and self.socket.family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
            self.may_fragment = False

    def allow_fragments(self) -> None:
        """A packet did not get through: a loader on the far side of a tunnel can't tell us about the smaller MTU."""
        if not self.may_fragment:
            self.socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
            self.may_fragment = True

    def send_window(self, wire: bytes, segment: int) -> None:
        """Send packets that lie one behind the other, as few system calls as possible (UDP segmentation offload).

        :raises OSError: the rest can't be sent now; it is repeated like what was lost on the way.
        """
        packets = memoryview(wire)
        position = 0
        if self.joins:
            step = min(MAX_SEGMENTS, MAX_JOINED // segment) * segment
            control = [(_SOL_UDP, _UDP_SEGMENT, _SEGMENT_SIZE.pack(segment))]
            try:
                while step > segment and position < len(packets):
                    self._sendmsg([packets[position : position + step]], control)
                    position += step
            except OSError as error:
                if error.errno not in _CANT_SEGMENT:
                    raise
                self.joins = False  # until the end of this transfer; the next one may go another way
        for begin in range(position, len(packets), segment):
            self.send(packets[begin : begin + segment])


class Ports:
    """The ports that are open, each bound to the address of ours that its requests come to (multi-homed frontends).

    :param poller: where a port is registered as long as it is open, idle or not: registering for each transfer would cost
        two more system calls.
    :ivar by_fileno: all of them.
    """

    def __init__(self, poller: select.epoll, max_idle: int) -> None:
        self._poller = poller
        self._max_idle = max_idle
        self._idle: dict[bytes, deque[Port]] = {}
        self._idle_count = 0
        self._bind_to: dict[bytes, tuple[socket.AddressFamily, PeerAddress] | None] = {}
        self.by_fileno: dict[int, Port] = {}

    def accepts(self, destination: bytes) -> bool:
        """Whether a request to this destination is answered: to an address of ours, and no broadcast or multicast one.

        RFC 1123 section 4.2.3.4: a TFTP request to a broadcast address is silently ignored.
        """
        try:
            return self._bind_to[destination] is not None
        except KeyError:
            if len(self._bind_to) >= _MAX_KNOWN_ADDRESSES:
                self._bind_to.clear()
            where = self._bind_to[destination] = _address_of(destination)
            return where is not None

    def take(self, destination: bytes, peer: PeerAddress) -> Port:
        """A port that is connected to the client and empty.

        :raises OSError: there are no more descriptors, or no way to the client.
        """
        idle = self._idle.get(destination)
        if not idle:
            return self._open(destination, peer)
        port = idle.popleft()  # the one unused for longest: its number is not soon met again
        self._idle_count -= 1
        try:
            port.socket.connect(peer)
        except OSError:
            self.give_back(port)
            raise
        _empty(port)
        port.forbid_fragments()
        port.joins = True
        return port

    def give_back(self, port: Port) -> None:
        """The transfer is over."""
        port.transfer = port.ticket = None
        if self._idle_count < self._max_idle:
            idle = self._idle.get(port.destination)
            if idle is None:
                idle = self._idle[port.destination] = deque()
            idle.append(port)
            self._idle_count += 1
        else:
            del self.by_fileno[port.fileno]
            port.socket.close()  # which takes it out of the epoll set, too

    def close(self) -> None:
        """Close them all."""
        for port in self.by_fileno.values():
            port.socket.close()
        self.by_fileno.clear()
        self._idle.clear()
        self._idle_count = 0

    def _open(self, destination: bytes, peer: PeerAddress) -> Port:
        where = self._bind_to[destination] if self.accepts(destination) else None
        if where is None:
            raise OSError(errno.EADDRNOTAVAIL, "not an address of ours")
        family, address = where
        endpoint = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            endpoint.bind(address)
            endpoint.connect(peer)
            self._poller.register(endpoint, select.EPOLLIN)
        except OSError:
            endpoint.close()
            raise
        port = self.by_fileno[endpoint.fileno()] = Port(endpoint, destination)
        return port


def _empty(port: Port) -> None:
    """Throw away what arrived before the port was connected to its present client."""
    for _ in range(_MAX_STALE):
        try:
            port.receive(1)
        except BlockingIOError:
            return
        except ConnectionRefusedError:
            continue  # an ICMP message about the last client


def _address_of(destination: bytes) -> tuple[socket.AddressFamily, PeerAddress] | None:
    """Where to bind to be seen as the destination of a request, given as the kernel's struct in_pktinfo or in6_pktinfo."""
    if len(destination) == _PKTINFO_V4.size:
        _, ours, asked = _PKTINFO_V4.unpack(destination)
        return (socket.AF_INET, (socket.inet_ntop(socket.AF_INET, ours), 0)) if ours == asked else None
    if len(destination) != _PKTINFO_V6.size:
        return None
    ours, interface = _PKTINFO_V6.unpack(destination)
    if ours[0] == 0xFF:
        return None  # multicast
    is_link_local = ours[0] == 0xFE and ours[1] & 0xC0 == 0x80
    text = socket.inet_ntop(socket.AF_INET6, ours)
    return socket.AF_INET6, (text, 0, 0, interface if is_link_local else 0)
