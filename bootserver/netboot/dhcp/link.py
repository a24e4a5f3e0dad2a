"""The sockets of one network device. The supervisor, which is root, opens them; the server is handed them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootserver.errors import Unavailable
from bootserver.netboot.dhcp.reply import CLIENT_PORT, EVERYBODY, SERVER_PORT, Route, Via, frame

log = logging.getLogger(__name__)

RECEIVE_BUFFER: Final = 4 << 20
"""Octets: some 5,000 machines may ask in the same moment while the server is busy."""
_SO_RCVBUFFORCE: Final = 33  # Linux asm-generic/socket.h; beyond net.core.rmem_max, needs CAP_NET_ADMIN
_SIOCGIFHWADDR: Final = 0x8927
_ARPHRD_ETHER: Final = 1


@dataclass(frozen=True, slots=True)
class Link:
    """:ivar udp: bound to the DHCP port on this device alone; it receives, and sends unicasts and broadcasts.
    :ivar raw: AF_PACKET, sends frames to machines that have no address yet; None: such replies are broadcast.
    :ivar mac: the device's own hardware address.
    """

    device: str
    udp: socket.socket
    raw: socket.socket | None = None
    mac: bytes = bytes(6)

    def send(self, payload: bytes, way: Route, *, to_mac: bytes, to: bytes, source: bytes) -> bool:
        """Send one reply. A reply that can't be sent is lost, as any datagram may be: the client asks again.

        :param to: the client's future address, for a frame.
        :param source: our address, for a frame.
        :returns: it was sent.
        """
        try:
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

    def close(self) -> None:
        self.udp.close()
        if self.raw is not None:
            self.raw.close()


def open_link(device: str, port: int = SERVER_PORT) -> Link:
    """Open the sockets for DHCP on a device; needs CAP_NET_BIND_SERVICE, CAP_NET_RAW and CAP_NET_ADMIN.

    :raises Unavailable: the device does not exist, or another server has the port.
    """
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
        # Bound to no address: a broadcast to 255.255.255.255 must arrive as well as a unicast to renew a lease.
        udp.bind(("0.0.0.0", port))  # noqa: S104
    except OSError as error:
        udp.close()
        if error.errno == errno.EADDRINUSE:
            raise Unavailable(
                f"port {port} (DHCP) on {device} is taken: stop the other DHCP server (ss -ulpn 'sport = {port}' names it),"
                " or set dhcp.mode to off"
            ) from error
        raise Unavailable(f"port {port} (DHCP) on {device} can't be opened: {error.strerror}") from error
    raw, mac = _open_raw(device)
    return Link(device, udp, raw, mac)


def _open_raw(device: str) -> tuple[socket.socket | None, bytes]:
    try:
        # Protocol 0: it sends, and receives nothing.
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    except OSError as error:
        log.warning("no raw socket, replies will be broadcast device=%s error=%s", device, error)
        return None, bytes(6)
    try:
        answer = fcntl.ioctl(raw, _SIOCGIFHWADDR, struct.pack("16s16x", device.encode()))
        (family,) = struct.unpack_from("=H", answer, 16)
        if family != _ARPHRD_ETHER:
            raise OSError(errno.EOPNOTSUPP, "no Ethernet device")
        raw.bind((device, 0))
    except OSError as error:
        raw.close()
        log.warning("no raw socket, replies will be broadcast device=%s error=%s", device, error)
        return None, bytes(6)
    return raw, answer[18:24]
