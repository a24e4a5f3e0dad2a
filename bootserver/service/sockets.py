"""Opens what the service listens on, and says who has a port that is taken."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from bootserver.errors import Unavailable

RECEIVE_BUFFER = 4 << 20
"""Bytes. 1,000 nodes that are powered on together send their first packets within milliseconds (PERF: no client repeats)."""
SEND_BUFFER = 256 << 10
"""Bytes of kernel memory for each HTTP download: 1,000 slow readers then hold 256 MB at most, not 2 GB."""


class SocketPair(list[socket.socket]):
    """The sockets of one TFTP worker, IPv4 and IPv6."""

    def close(self) -> None:
        for each in self:
            each.close()


def tftp(port: int, setting: str) -> SocketPair:
    """One worker's sockets, IPv4 and IPv6; several workers share the port.

    :raises Unavailable: the port is taken, or may not be used.
    """
    sockets = SocketPair()
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104  # the cluster's nodes
        try:
            listener = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            if family == socket.AF_INET6 and error.errno == errno.EAFNOSUPPORT:  # a kernel without IPv6
                continue
            raise
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        enlarge(listener)
        bind(listener, address, port, "TFTP", setting)
        sockets.append(listener)
    return sockets


def tcp(port: int, what: str, setting: str) -> socket.socket:
    """A listening socket for IPv4 and IPv6. :raises Unavailable: the port is taken, or may not be used."""
    try:
        listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        address = "::"
    except OSError:  # a kernel without IPv6
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        address = "0.0.0.0"  # noqa: S104
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # accepted connections inherit it
    bind(listener, address, port, what, setting)
    listener.listen(4096)
    return listener


class DnsPair(tuple[socket.socket, socket.socket]):
    """UDP and TCP of one address that names are answered on."""

    def close(self) -> None:
        for each in self:
            each.close()


def dns(address: str, port: int, setting: str) -> DnsPair:
    """Both sockets of one address of ours: an answer must come from where it was asked, and a resolver of the frontend's own
    may have the port on other addresses. The address may come later than we (IP_FREEBIND, ip(7)).

    :raises Unavailable: the port is taken, or may not be used.
    """
    ip_freebind = 15  # linux/in.h; Python has no name for it
    opened: list[socket.socket] = []
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        listener = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        listener.setsockopt(socket.IPPROTO_IP, ip_freebind, 1)
        if kind == socket.SOCK_STREAM:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            enlarge(listener)
        try:
            bind(listener, address, port, "DNS", setting)
        except Unavailable:
            for each in opened:
                each.close()
            raise
        opened.append(listener)
    opened[1].listen(1024)
    return DnsPair(opened)


class Channel(tuple[socket.socket, socket.socket]):
    """Two ends of a conversation between two parts; both outlive the processes that use them."""

    def close(self) -> None:
        for each in self:
            each.close()


def channel() -> Channel:
    """Messages arrive whole and in order (unix(7), SOCK_SEQPACKET)."""
    return Channel(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))


def enlarge(listener: socket.socket) -> None:
    """A receive buffer for a mass boot; beyond net.core.rmem_max where we may (CAP_NET_ADMIN)."""
    so_rcvbufforce = 33  # socket(7); Python has no name for it
    try:
        listener.setsockopt(socket.SOL_SOCKET, so_rcvbufforce, RECEIVE_BUFFER)
    except PermissionError:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


def bind(listener: socket.socket, address: str, port: int, what: str, setting: str) -> None:
    """:raises Unavailable: with who has the port, and the way out."""
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise taken(error, listener.type, port, what, setting) from error


def taken(error: OSError, kind: int, port: int, what: str, setting: str) -> Unavailable:
    """Why a port can't be bound, in one line with the way out."""
    if error.errno == errno.EADDRINUSE:
        owner = next(owners(kind, port), None)
        who = "another process" if owner is None else f"{owner[0]} (pid {owner[1]})"
        stop = "stop it" if owner is None else f"stop it (systemctl disable --now {owner[0]})"
        return Unavailable(f"port {port} ({what}) is taken by {who}: {stop}, or set {setting}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return Unavailable(f"port {port} ({what}) may not be used by this user: run the service as root, or set {setting}")
    return Unavailable(f"port {port} ({what}) can't be opened: {error.strerror}")


def owners(kind: int, port: int) -> Iterator[tuple[str, int]]:
    """Name and process id of those that hold a local port (proc(5), /proc/net/udp and /proc/net/tcp)."""
    inodes = set()
    for table in ("udp", "udp6") if kind & 0xF == socket.SOCK_DGRAM else ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        fields = (line.split() for line in lines)
        inodes |= {f"socket:[{each[9]}]" for each in fields if int(each[1].rpartition(":")[2], 16) == port}
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            with os.scandir(process / "fd") as descriptors:
                if any(_link(descriptor.path) in inodes for descriptor in descriptors):
                    yield (process / "comm").read_text().strip(), int(process.name)
        except OSError:
            continue


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115
    except OSError:
        return ""
