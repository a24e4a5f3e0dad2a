"""The TFTP server: one epoll loop, a port for each transfer (RFC 1350, 2347-2349, 7440).

What a packet costs is nearly all the kernel's: two system calls a block. So the loop does nothing else for the one datagram
in a thousand cases that matters, the awaited ACK; whatever else arrives takes the long way through
:class:`~bootserver.netboot.tftp.transfer.Transfer`. Nothing that a datagram holds, and nothing that the resolver or the
reporter raises, ends the loop.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from time import monotonic
from typing import Final

from bootserver.netboot.content import Content, Denied, Missing, Resolve
from bootserver.netboot.files import FileStore
from bootserver.netboot.tftp.packet import (
    DEFAULT_BLKSIZE,
    Agreed,
    Error,
    ErrorCode,
    Mode,
    Opcode,
    PacketError,
    Request,
    decode,
    negotiate,
)
from bootserver.netboot.tftp.ports import RECEIVE_SIZE, PeerAddress, Port, Ports, announce_destination
from bootserver.netboot.tftp.source import Netascii, Source, Text
from bootserver.netboot.tftp.transfer import Outcome, Patience, Transfer

log = logging.getLogger(__name__)

_MAX_DATAGRAM: Final = 2048
_ANCILLARY_SIZE: Final = socket.CMSG_SPACE(20)  # struct in6_pktinfo, the larger one
_REQUESTS_AT_ONCE: Final = 128  # so that a storm of requests leaves room for the transfers under way
_EVENTS_AT_ONCE: Final = 256
_SCAN_EACH: Final = 0.02  # seconds between two looks for what to repeat
_IDLE: Final = 60.0
_REQUEST_OPCODES: Final = frozenset({struct.pack("!H", Opcode.RRQ), struct.pack("!H", Opcode.WRQ)})
_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class TftpLimits:
    """What one server spends.

    :ivar transfers: at once; the next request is told to come again later.
    :ivar transfers_per_client: the same, for one address.
    :ivar windowsize: blocks (RFC 7440) that go out before an ACK, at most.
    :ivar burst: bytes that they have, at most.
    :ivar idle_ports: sockets kept for the next transfers.
    :ivar restart_silence: a request from the port of a transfer under way is the client's repetition; after this many
        seconds without an ACK it is a machine that was reset and happens to choose the same port again.
    """

    transfers: int = 8000
    transfers_per_client: int = 64
    windowsize: int = 64
    burst: int = 128 * 1024
    idle_ports: int = 256
    restart_silence: float = 1.0
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True)
class TransferEnd:
    """What became of a request.

    :ivar path: as the client wrote it; empty if the request could not be read.
    :ivar content: what it was answered with; None if there was nothing to send.
    :ivar sent: bytes that the client has acknowledged.
    :ivar why: for people, where the outcome alone doesn't tell.
    """

    path: str
    address: IPv4Address | IPv6Address
    port: int
    content: Content | None
    outcome: Outcome
    sent: int
    seconds: float
    blksize: int
    windowsize: int
    retransmissions: int
    why: str


@dataclass(slots=True)
class _Ticket:
    """What the server keeps of a request while its transfer lasts."""

    request: Request
    datagram: bytes
    key: PeerAddress
    address: IPv4Address | IPv6Address
    content: Content
    begun_at: float
    blksize: int
    windowsize: int


@dataclass(slots=True)
class _Tick:
    call: Callable[[], object]
    seconds: float
    due: float


@dataclass(slots=True)
class _Visitor:
    """Who sent a request, and to which of our addresses."""

    listener: socket.socket
    destination: bytes
    peer: PeerAddress
    address: IPv4Address | IPv6Address


class TftpServer:
    """Serves files and rendered texts, read-only.

    :param sockets: bound UDP sockets (IPv4, IPv6 or both), non-blocking from here on; whoever made them closes them.
    :param resolve: what a path means for a client.
    :param files: where contents that are paths are read from.
    :param on_end: told of each request that has ended, in the loop: it must be quick.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        resolve: Resolve,
        files: FileStore,
        on_end: Callable[[TransferEnd], None],
        limits: TftpLimits | None = None,
    ) -> None:
        self._resolve = resolve
        self._files = files
        self._on_end = on_end
        self._limits = limits or TftpLimits()
        self._poller = select.epoll()
        self._ports = Ports(self._poller, self._limits.idle_ports)
        self._busy: dict[PeerAddress, Port] = {}
        self._per_client: dict[str, int] = {}
        self._ticks: list[_Tick] = []
        self._stop_at: float | None = None
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller.register(self._wake, select.EPOLLIN)
        self._listeners: dict[int, socket.socket] = {}
        for listener in sockets:
            listener.setblocking(False)
            announce_destination(listener)
            self._listeners[listener.fileno()] = listener
            self._poller.register(listener, select.EPOLLIN)

    @property
    def transfers(self) -> int:
        """How many are under way."""
        return len(self._busy)

    def add_tick(self, call: Callable[[], object], seconds: float) -> None:
        """Have the loop call something again and again; for what takes well under a millisecond."""
        self._ticks.append(_Tick(call, seconds, monotonic() + seconds))

    def stop(self, grace_seconds: float) -> None:
        """Take no more requests and end :meth:`run` when the transfers under way are done, or after the grace.

        May be called from another thread or a signal handler.
        """
        self._stop_at = monotonic() + grace_seconds
        os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        """Serve until :meth:`stop`."""
        poll = self._poller.poll
        scan_at = monotonic()
        try:
            while True:
                now = monotonic()
                if now >= scan_at:
                    self._scan(now)
                    scan_at = now + _SCAN_EACH
                timeout = scan_at - now if self._busy else _IDLE
                for tick in self._ticks:
                    if tick.due <= now:
                        self._run_tick(tick, now)
                    timeout = min(timeout, tick.due - now)
                if self._stop_at is not None:
                    if not self._busy or now >= self._stop_at:
                        return
                    timeout = min(timeout, self._stop_at - now)
                self._serve(poll(max(timeout, 0.0), _EVENTS_AT_ONCE))
        finally:
            self._close()

    def _serve(self, ready: list[tuple[int, int]]) -> None:
        """Handle what has arrived."""
        now = monotonic()
        ports = self._ports.by_fileno
        for fileno, _ in ready:
            port = ports.get(fileno)
            if port is None:
                self._serve_other(fileno, now)
                continue
            try:
                datagram = port.receive(RECEIVE_SIZE)
                transfer = port.transfer
                if transfer is None:
                    continue  # a late word of a client whose transfer is over
                if datagram == transfer.awaited:
                    wire = transfer.proceed(now)
                else:
                    wire = transfer.receive(datagram, now)
                if transfer.outcome is not None:
                    self._finish(port, wire, now)
                elif transfer.count == 1:
                    if wire:
                        port.send(wire)
                elif wire:
                    port.send_window(wire, transfer.segment)
            except ConnectionRefusedError:
                self._unreachable(port, now)
            except OSError:
                pass  # nothing there, or no room in the send buffer: what was lost is repeated by time
            except Exception:
                self._defect(port, now)

    def _serve_other(self, fileno: int, now: float) -> None:
        listener = self._listeners.get(fileno)
        if listener is not None:
            self._take_requests(listener, now)
        elif fileno == self._wake:
            os.eventfd_read(self._wake)
            for each in self._listeners.values():
                self._poller.unregister(each)
            self._listeners.clear()

    def _take_requests(self, listener: socket.socket, now: float) -> None:
        for _ in range(_REQUESTS_AT_ONCE):
            try:
                datagram, ancillary, _, peer = listener.recvmsg(_MAX_DATAGRAM, _ANCILLARY_SIZE)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP message about an earlier answer
            try:
                self._take_request(listener, datagram, ancillary, peer, now)
            except OSError as error:
                log.debug("no answer to %s: %s", peer[0], error)
            except Exception:
                log.exception("defect: a request from %s was not answered", peer[0])

    def _take_request(
        self, listener: socket.socket, datagram: bytes, ancillary: list[tuple[int, int, bytes]], peer: PeerAddress, now: float
    ) -> None:
        # Anything but a request is dropped: to answer an ERROR with an ERROR would make two servers talk for ever.
        if datagram[:2] not in _REQUEST_OPCODES or not ancillary or not peer[1]:
            return
        destination = ancillary[0][2]
        if not self._ports.accepts(destination):
            return
        busy = self._busy.get(peer)
        if busy is not None and self._is_repetition(busy, datagram, now):
            return
        visitor = _Visitor(listener, destination, peer, _address(peer[0]))
        try:
            request = _read(datagram)
        except PacketError as error:
            self._refuse(visitor, "", Outcome.REFUSED, ErrorCode.ILLEGAL_OPERATION, str(error))
            return
        if request.opcode is Opcode.WRQ:
            self._refuse(visitor, request.filename, Outcome.REFUSED, ErrorCode.ACCESS_VIOLATION, "this server is read-only")
        elif len(self._busy) >= self._limits.transfers:
            self._refuse(visitor, request.filename, Outcome.REFUSED, ErrorCode.UNDEFINED, "busy, try again later")
        elif self._per_client.get(peer[0], 0) >= self._limits.transfers_per_client:
            self._refuse(visitor, request.filename, Outcome.REFUSED, ErrorCode.UNDEFINED, "busy, too many transfers at once")
        else:
            self._answer(visitor, request, datagram, now)

    def _is_repetition(self, port: Port, datagram: bytes, now: float) -> bool:
        """A request comes from the very port of a transfer under way. If it begins a new one, the old one is ended here."""
        transfer, ticket = port.transfer, port.ticket
        assert transfer is not None and isinstance(ticket, _Ticket)
        # Its last word may wait in its own port while the next request comes by ours: OVMF aborts and asks again at once.
        self._serve([(port.fileno, 0)])
        if port.transfer is not transfer:
            return False
        if datagram == ticket.datagram and not (transfer.is_answered and transfer.is_silent(now, self._limits.restart_silence)):
            wire = transfer.repeated(now)
            if wire:
                port.send(wire)  # before the first ACK a window never is on the wire: it takes an OACK to agree on one
            return True
        transfer.stop("the client began anew")
        self._finish(port, b"", now)
        return False

    def _answer(self, visitor: _Visitor, request: Request, datagram: bytes, now: float) -> None:
        resolution = self._resolve(request.filename, visitor.address)
        if isinstance(resolution, Missing):
            self._refuse(visitor, request.filename, Outcome.MISSING, ErrorCode.NOT_FOUND, "file not found", resolution.why)
            return
        if isinstance(resolution, Denied):
            self._refuse(visitor, request.filename, Outcome.DENIED, ErrorCode.ACCESS_VIOLATION, "access denied", resolution.why)
            return
        source: Source
        try:
            if isinstance(resolution.body, bytes):
                source, size = Text(resolution.body), len(resolution.body)
            else:
                source = file = self._files.open(resolution.body)
                size = file.size
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS:
                self._refuse(visitor, request.filename, Outcome.REFUSED, ErrorCode.UNDEFINED, "busy, try again later", str(error))
            else:
                self._refuse(visitor, request.filename, Outcome.MISSING, ErrorCode.NOT_FOUND, "file not found", str(error))
            return
        if request.mode is Mode.NETASCII:
            source = Netascii(source)
        limits = self._limits
        agreed = _agree(datagram, size, limits.windowsize, limits.burst)
        try:
            port = self._ports.take(visitor.destination, visitor.peer)
        except OSError as error:
            self._out_of_ports(visitor, request.filename, error)
            return
        transfer = Transfer(source, agreed, limits.patience, now)
        port.transfer = transfer
        port.ticket = _Ticket(
            request, datagram, visitor.peer, visitor.address, resolution, now, agreed.blksize, agreed.windowsize
        )
        self._busy[visitor.peer] = port
        self._per_client[visitor.peer[0]] = self._per_client.get(visitor.peer[0], 0) + 1
        if transfer.outcome is not None:  # the file can't be read
            self._finish(port, transfer.wire, now)
            return
        port.send(transfer.wire)

    def _refuse(self, visitor: _Visitor, path: str, outcome: Outcome, code: ErrorCode, text: str, why: str | None = None) -> None:
        """Answer with an ERROR, and forget it: nobody acknowledges one (RFC 1350 section 7)."""
        try:
            port = self._ports.take(visitor.destination, visitor.peer)
        except OSError as error:
            self._out_of_ports(visitor, path, error)
            return
        try:
            port.send(Error(code, text).encode())
        except OSError as error:
            log.debug("no way to %s: %s", visitor.address, error)
        finally:
            self._ports.give_back(port)
        self._report_refusal(visitor, path, outcome, why or text)

    def _out_of_ports(self, visitor: _Visitor, path: str, error: OSError) -> None:
        """No socket of its own for this client: say so from the port that it asked."""
        if error.errno in _NO_DESCRIPTORS:
            level = socket.IPPROTO_IPV6 if visitor.listener.family == socket.AF_INET6 else socket.IPPROTO_IP
            kind = socket.IPV6_PKTINFO if level == socket.IPPROTO_IPV6 else 8  # IP_PKTINFO
            text = Error(ErrorCode.UNDEFINED, "busy, try again later").encode()
            try:
                visitor.listener.sendmsg([text], [(level, kind, visitor.destination)], 0, visitor.peer)
            except OSError as second:
                log.debug("no way to %s: %s", visitor.address, second)
        self._report_refusal(visitor, path, Outcome.REFUSED, str(error))

    def _report_refusal(self, visitor: _Visitor, path: str, outcome: Outcome, why: str) -> None:
        self._report(TransferEnd(path, visitor.address, visitor.peer[1], None, outcome, 0, 0.0, DEFAULT_BLKSIZE, 1, 0, why))

    def _scan(self, now: float) -> None:
        """Repeat what was not acknowledged in time, and give up those who have gone."""
        late = [port for port in self._busy.values() if port.transfer and now - port.transfer.sent_at >= port.transfer.wait]
        # Under load the late one may be us: what already waits in a port's buffer is read first, so that a server with more
        # to do than it can does not repeat what has arrived long ago.
        self._serve([(port.fileno, 0) for port in late])
        for port in late:
            transfer = port.transfer
            if transfer is None:
                continue
            wire = transfer.on_time(now)
            if transfer.outcome is not None:
                self._finish(port, wire, now)
            elif wire:
                try:
                    port.send_window(wire, transfer.segment) if transfer.count > 1 else port.send(wire)
                except ConnectionRefusedError:
                    self._unreachable(port, now)
                except OSError as error:
                    log.debug("nothing sent to %s: %s", port.ticket.address, error)

    def _unreachable(self, port: Port, now: float) -> None:
        if port.transfer is not None:
            port.transfer.unreachable()
            if port.transfer.outcome is not None:
                self._finish(port, b"", now)

    def _defect(self, port: Port, now: float) -> None:
        log.exception("defect: a transfer was ended")
        if port.transfer is not None:
            self._finish(port, port.transfer.stop("internal error"), now)

    def _finish(self, port: Port, last_words: bytes, now: float) -> None:
        transfer, ticket = port.transfer, port.ticket
        assert transfer is not None and isinstance(ticket, _Ticket) and transfer.outcome is not None
        if last_words:
            try:
                port.send(last_words)
            except OSError as error:
                log.debug("no way to %s: %s", ticket.address, error)
        self._ports.give_back(port)
        self._busy.pop(ticket.key, None)
        count = self._per_client.pop(ticket.key[0], 1) - 1
        if count:
            self._per_client[ticket.key[0]] = count
        self._report(
            TransferEnd(
                ticket.request.filename,
                ticket.address,
                ticket.key[1],
                ticket.content,
                transfer.outcome,
                transfer.acknowledged_bytes,
                now - ticket.begun_at,
                ticket.blksize,
                ticket.windowsize,
                transfer.retransmissions,
                transfer.why,
            )
        )

    def _report(self, end: TransferEnd) -> None:
        try:
            self._on_end(end)
        except Exception:
            log.exception("defect: the end of a transfer was not reported")

    def _run_tick(self, tick: _Tick, now: float) -> None:
        tick.due = now + tick.seconds
        try:
            tick.call()
        except Exception:
            log.exception("defect: a periodic task failed")

    def _close(self) -> None:
        now = monotonic()
        for port in list(self._busy.values()):
            assert port.transfer is not None
            self._finish(port, port.transfer.stop("the server is stopping"), now)
        self._ports.close()
        self._poller.close()
        os.close(self._wake)


# In a mass boot a thousand machines send the same request, byte for byte; reading it once saves a third of what a small
# file costs.
@lru_cache(maxsize=2048)
def _read(datagram: bytes) -> Request:
    request = decode(datagram)
    assert isinstance(request, Request)  # the opcode was looked at before
    return request


@lru_cache(maxsize=2048)
def _agree(datagram: bytes, size: int, max_windowsize: int, max_burst: int) -> Agreed:
    return negotiate(_read(datagram), size, max_windowsize=max_windowsize, max_burst=max_burst)


@lru_cache(maxsize=65536)
def _address(text: str) -> IPv4Address | IPv6Address:
    """An address as the socket module writes it; IPv4 on a dual-stack socket is IPv4."""
    address = ip_address(text.partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
