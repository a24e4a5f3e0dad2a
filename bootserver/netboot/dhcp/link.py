"""The sockets of one network device. The supervisor, which is root, opens them; the server is handed them."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from bootserver.errors import Unavailable
from bootserver.netboot.dhcp import filters
from bootserver.netboot.dhcp.reply import CLIENT_PORT, EVERYBODY, SERVER_PORT, Route, Via, frame

log = logging.getLogger(__name__)

RECEIVE_BUFFER: Final = 4 << 20
"""Octets: some 5,000 machines may ask in the same moment while the server is busy."""
PXE_PORT: Final = 4011
"""Where a proxyDHCP server is asked for the boot file: PXE 2.1 section 2.2.3, "Boot Information Negotiation"."""
_SO_RCVBUFFORCE: Final = 33  # Linux asm-generic/socket.h; beyond net.core.rmem_max, needs CAP_NET_ADMIN
_IP_PKTINFO: Final = 8  # linux/in.h; Python has no name for it
_IN_PKTINFO: Final = struct.Struct("=I4s4s")  # ip(7)


@dataclass(frozen=True, slots=True)
class Link:
    """:ivar udp: bound to the DHCP port on this device alone; it receives, and sends unicasts and broadcasts.
    :ivar raw: AF_PACKET, sends frames to machines that have no address yet; None: such replies are broadcast.
    :ivar mac: the device's own hardware address.
    :ivar arp: AF_PACKET, gets ARP replies; None: nobody is asked for an address.
    :ivar overhears: AF_PACKET, gets the broadcast replies of DHCP servers; None: others are not seen.
    :ivar routers_only: no network of ours is on this device: relays and machines behind routers reach us by it. Nothing is
        broadcast there, and who else serves there is no matter of ours.
    """

    device: str
    udp: socket.socket
    raw: socket.socket | None = None
    mac: bytes = bytes(6)
    arp: socket.socket | None = None
    overhears: socket.socket | None = None
    routers_only: bool = False

    def send(self, payload: bytes, way: Route, *, to_mac: bytes, to: bytes, source: bytes, routed: bool = False) -> bool:
        """Send one reply. A reply that can't be sent is lost, as any datagram may be: the client asks again.

        :param to: the client's future address, for a frame.
        :param source: our address, for a frame.
        :param routed: routers are between us: a unicast comes from `source`, too, since others on the way may look for the
            address that was asked.
        :returns: it was sent.
        """
        # That address may be none of this machine's, where the way here is translated: then as the kernel does it.
        if routed and way.via is Via.UNICAST and self.answer(payload, (way.address, way.port), source):
            return True
        try:
            if self.routers_only and way.via is not Via.UNICAST:
                return False
            if way.via is Via.FRAME:
                if self.raw is not None:
                    # No raw socket left, device changed, frame too long: the broadcast below tries again.
                    with contextlib.suppress(OSError):
                        self.raw.send(frame(payload, to_mac=to_mac, from_mac=self.mac, to=to, source=source))
                        return True
                self.udp.sendto(payload, (EVERYBODY, CLIENT_PORT))
                return True
            self.udp.sendto(payload, (way.address, way.port))
        except OSError as error:
            log.debug("reply not sent device=%s to=%s port=%d error=%s", self.device, way.address, way.port, error)
            return False
        return True

    def answer(self, payload: bytes, to: tuple[str, int], source: bytes) -> bool:
        """Send an answer to where the question came from.

        :param source: which of our addresses it comes from: firmware takes it from the one that it asked only.
        :returns: it was sent.
        """
        # The interface is the one that the socket is bound to; ipi_spec_dst is what chooses the source (ip(7)).
        chosen = _IN_PKTINFO.pack(0, source, bytes(4))
        try:
            self.udp.sendmsg([payload], [(socket.IPPROTO_IP, _IP_PKTINFO, chosen)], 0, to)
        except OSError as error:
            log.debug("answer not sent device=%s to=%s error=%s", self.device, to, error)
            return False
        return True

    def close(self) -> None:
        for each in (self.udp, self.raw, self.arp, self.overhears):
            if each is not None:
                each.close()


def open_link(device: str, port: int = SERVER_PORT) -> Link:
    """Open the sockets for DHCP on a device; needs CAP_NET_BIND_SERVICE, CAP_NET_RAW and CAP_NET_ADMIN.

    :raises Unavailable: the device does not exist, or another server has the port.
    """
    udp = _open_udp(device, "DHCP", port)
    raw, mac = _open_raw(device)
    if raw is None:
        return Link(device, udp)
    arp = _open_filtered(device, filters.ETHERNET_ARP, filters.ARP_REPLIES)
    overhears = _open_filtered(device, filters.ETHERNET_IPV4, filters.DHCP_REPLIES)
    return Link(device, udp, raw, mac, arp, overhears)


def open_router_link(device: str, address: IPv4Address, port: int = SERVER_PORT) -> Link:
    """Open the socket for what comes by routers to an address of ours on a device that has no network of ours.

    Whatever else is said there, the kernel keeps from us: the socket has that address, so it gets no broadcasts, and a filter.

    :raises Unavailable: the device does not exist, or another server has the port there.
    """
    return Link(device, _open_udp(device, "DHCP", port, address, filters.FROM_ROUTERS), routers_only=True)


def open_pxe_link(device: str, address: IPv4Address | None = None) -> Link:
    """Open port 4011 on a device, where firmware asks a proxyDHCP server for its boot file.

    :param address: the one that routers reach us by, where no network of ours is on the device.
    :raises Unavailable: the device does not exist, or another server has the port.
    """
    return Link(device, _open_udp(device, "proxyDHCP", PXE_PORT, address), routers_only=address is not None)


def _open_udp(
    device: str, what: str, port: int, address: IPv4Address | None = None, program: filters.Program = ()
) -> socket.socket:
    if not Path("/sys/class/net", device).exists() and device not in {name for _, name in socket.if_nameindex()}:
        raise Unavailable(f"there is no network device {device}: set [network] interface to one that `ip link` shows")
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        # Each device has a socket of its own, bound before the port so that several can have the port. No SO_REUSEADDR:
        # another DHCP server that would share it must be an error now, not a riddle later.
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        try:
            udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if program:
            filters.attach(udp, program)
        # Bound to no address: a broadcast to 255.255.255.255 must arrive as well as a unicast to renew a lease.
        udp.bind(("0.0.0.0" if address is None else str(address), port))  # noqa: S104
    except OSError as error:
        udp.close()
        if error.errno == errno.EADDRINUSE:
            raise Unavailable(
                f"port {port} ({what}) on {device} is taken: stop the other DHCP server (ss -ulpn 'sport = {port}' names it),"
                " or set dhcp.mode to off"
            ) from error
        raise Unavailable(f"port {port} ({what}) on {device} can't be opened: {error.strerror}") from error
    return udp


def _open_raw(device: str) -> tuple[socket.socket | None, bytes]:
    try:
        # Protocol 0: it sends, and receives nothing.
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    except OSError as error:
        log.warning("no raw socket, replies will be broadcast device=%s error=%s", device, error)
        return None, bytes(6)
    try:
        mac = filters.hardware_address(raw, device)
        raw.bind((device, 0))
    except OSError as error:
        raw.close()
        log.warning("no raw socket, replies will be broadcast device=%s error=%s", device, error)
        return None, bytes(6)
    return raw, mac


def _open_filtered(device: str, protocol: int, program: filters.Program) -> socket.socket | None:
    try:
        return filters.open_filtered(device, protocol, program)
    except OSError as error:
        log.warning("neighbours are not watched device=%s error=%s", device, error)
        return None
