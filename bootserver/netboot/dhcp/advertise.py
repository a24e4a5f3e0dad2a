"""Empty IPv6 router advertisements: RFC 4861 sections 4.1, 4.2 and 6.2.6.

iPXE configures IPv6 beside DHCPv4 and waits some 13 s for a router before it goes on. An advertisement with a lifetime of 0
and without a prefix says "no router here, and no address to be had": iPXE goes on at once, and Linux takes no default
route from it.
"""

from __future__ import annotations

import logging
import socket
import struct
from dataclasses import dataclass, field
from typing import Final

from bootserver.errors import Unavailable

log = logging.getLogger(__name__)

_SOLICITATION: Final = 133
_ADVERTISEMENT: Final = 134
_ALL_NODES: Final = "ff02::1"
_ALL_ROUTERS: Final = "ff02::2"
_ICMP6_FILTER: Final = 1  # linux/icmpv6.h
_HOP_LIMIT: Final = 255
_MIN_SOLICITATION: Final = 8
# type, code, checksum (the kernel's), hop limit for hosts, flags (no DHCPv6), router lifetime, reachable, retransmission
_EMPTY: Final = struct.pack("!BBHBBHII", _ADVERTISEMENT, 0, 0, 64, 0, 0, 0, 0)
_BURST: Final = 64

INTERVAL: Final = 0.05
"""Seconds between two advertisements. They go to everybody, so one answers all who asked meanwhile. RFC 4861 wants 3 s
between those of a router that hosts depend on; nobody depends on this one, and a machine would wait for those 3 s."""


@dataclass(slots=True)
class Advertiser:
    """Answers on one device. :ivar owed: somebody asked, and the interval was not over."""

    device: str
    icmp: socket.socket
    owed: bool = field(default=False, init=False)
    _last: float = field(default=float("-inf"), init=False)

    def fileno(self) -> int:
        return self.icmp.fileno()

    def receive(self, now: float) -> None:
        """Read what has come, and answer it if it may be answered now.

        :param now: a monotonic clock.
        """
        for _ in range(_BURST):
            try:
                message, ancillary, _, _ = self.icmp.recvmsg(256, 64)
            except OSError:  # nothing more, or an ICMP error that belongs to nobody
                break
            self.owed = self.owed or is_solicitation(message, ancillary)
        self.advertise_owed(now)

    def advertise_owed(self, now: float) -> None:
        """Send an advertisement if one is owed and the last was long enough ago; call it on each tick."""
        if not self.owed or now - self._last < INTERVAL:
            return
        self.owed = False
        self._last = now
        try:
            self.icmp.sendto(_EMPTY, (_ALL_NODES, 0, 0, socket.if_nametoindex(self.device)))
        except OSError as error:
            log.debug("router advertisement not sent device=%s error=%s", self.device, error)

    def close(self) -> None:
        self.icmp.close()


def is_solicitation(message: bytes, ancillary: list[tuple[int, int, bytes]]) -> bool:
    """A router solicitation from this very link: a hop limit below 255 came through a router (RFC 4861 section 6.1.1)."""
    if len(message) < _MIN_SOLICITATION or message[0] != _SOLICITATION or message[1] != 0:
        return False
    return any(
        level == socket.IPPROTO_IPV6
        and kind == socket.IPV6_HOPLIMIT
        and len(data) >= 4
        and struct.unpack("=i", data[:4]) == (_HOP_LIMIT,)
        for level, kind, data in ancillary
    )


def open_advertiser(device: str) -> Advertiser:
    """Open the raw ICMPv6 socket; needs CAP_NET_RAW.

    :raises Unavailable: there is no such device, or it has no IPv6.
    """
    try:
        index = socket.if_nametoindex(device)
        icmp = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMPV6)
    except OSError as error:
        raise Unavailable(f"IPv6 router solicitations on {device} can't be answered: {error.strerror}") from error
    try:
        icmp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        # A set bit is a type that the kernel keeps from us: all but solicitations.
        blocked = [0xFFFFFFFF] * 8
        blocked[_SOLICITATION >> 5] &= ~(1 << (_SOLICITATION & 31))
        icmp.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *blocked))
        icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOP_LIMIT)
        icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        group = socket.inet_pton(socket.AF_INET6, _ALL_ROUTERS) + struct.pack("=I", index)
        icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    except OSError as error:
        icmp.close()
        raise Unavailable(f"IPv6 router solicitations on {device} can't be answered: {error.strerror}") from error
    return Advertiser(device, icmp)
