"""The TFTP server: one epoll loop, a port for each transfer (RFC 1350, 2347-2349, 7440).

What a packet costs is nearly all the kernel's: two system calls a block. So the loop does nothing else for the one datagram
in a thousand cases that matters, the awaited ACK; whatever else arrives takes the long way through
:class:`~bootserver.netboot.tftp.transfer.Transfer`. Nothing that a datagram holds, and nothing that the resolver or the
reporter raises, ends the loop.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from time import monotonic
from typing import Final

from bootserver.netboot.content import Resolve
from bootserver.netboot.files import FileStore
from bootserver.netboot.tftp.answer import BUSY, NO_DESCRIPTORS, Answer, AnswerDesk, Refusal
from bootserver.netboot.tftp.contract import TftpLimits, TransferEnd
from bootserver.netboot.tftp.packet import DEFAULT_BLKSIZE, Error, ErrorCode, Opcode
from bootserver.netboot.tftp.ports import (
    RECEIVE_SIZE,
    PeerAddress,
    Port,
    Ports,
    announce_destination,
    send_from_listener,
)
from bootserver.netboot.tftp.runs import Runs
from bootserver.netboot.tftp.transfer import Outcome, Transfer

log = logging.getLogger(__name__)

_MAX_DATAGRAM: Final = 2048
_ANCILLARY_SIZE: Final = socket.CMSG_SPACE(20)  # struct in6_pktinfo, the larger one
_REQUESTS_AT_ONCE: Final = 128  # so that a storm of requests leaves room for the transfers under way
_EVENTS_AT_ONCE: Final = 256
_SCAN_EACH: Final = 0.02  # seconds between two looks for what to repeat
_IDLE: Final = 60.0
_LAST_WORDS: Final = 4  # datagrams that may wait in a port when its client asks anew
_REQUEST_OPCODES: Final = frozenset({struct.pack("!H", Opcode.RRQ), struct.pack("!H", Opcode.WRQ)})


@dataclass(slots=True)
class _Ticket:
    """What the server keeps of a request while its transfer lasts."""

    datagram: bytes
    peer: PeerAddress
    answer: Answer
    begun_at: float


@dataclass(slots=True)
class _Tick:
    call: Callable[[], object]
    seconds: float
    due: float


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
        self._on_end = on_end
        self._limits = limits or TftpLimits()
        self._runs = Runs()
        self._desk = AnswerDesk(resolve, files, self._limits)
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

    def __del__(self) -> None:
        # Not when run() ends: stop() may be on its way just then, and would write to whatever has that descriptor next.
        os.close(self._wake)

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
                wire = transfer.proceed(now) if datagram == transfer.awaited else transfer.receive(datagram, now)
                if transfer.outcome is not None:
                    self._finish(port, wire, now)
                elif wire:
                    if transfer.count == 1:
                        port.send(wire)
                    else:
                        port.send_window(wire, transfer.segment)
            except OSError as error:
                self._trouble(port, error, now)
            except Exception:
                self._defect(port, now)

    def _trouble(self, port: Port, error: OSError, now: float) -> None:
        """Nothing there, or no room in the send buffer: what was lost is repeated by time. Two errors say more."""
        if isinstance(error, ConnectionRefusedError):
            self._unreachable(port, now)
        elif error.errno == errno.EMSGSIZE and port.transfer is not None:
            # A block that is larger than the way to the client takes is sent at once, in fragments.
            port.allow_fragments()
            with contextlib.suppress(OSError):
                port.send_window(port.transfer.wire, port.transfer.segment)

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
            if self._stop_at is not None:
                return
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
        port = self._busy.get(peer)
        if port is not None and self._is_repetition(port, datagram, now):
            return
        running = self._per_client.get(peer[0], 0)
        busy = ""
        if len(self._busy) >= self._limits.transfers:
            busy = BUSY
        elif running >= self._limits.transfers_per_client:
            busy = "busy, too many transfers at once"
        answer = self._desk.answer(datagram, _address(peer[0]), busy)
        try:
            port = self._ports.take(destination, peer)
        except OSError as error:
            path = answer.path
            answer = Refusal(path, Outcome.REFUSED, ErrorCode.UNDEFINED, BUSY, str(error))
            if error.errno in NO_DESCRIPTORS:
                send_from_listener(listener, destination, peer, _error(answer))
            self._report_refusal(answer, peer)
            return
        if isinstance(answer, Refusal):
            # Nobody acknowledges an ERROR (RFC 1350 section 7): send it and forget it.
            try:
                port.send(_error(answer))
            finally:
                self._ports.give_back(port)
                self._report_refusal(answer, peer)
            return
        transfer = port.transfer = Transfer(answer.source, answer.agreed, self._limits.patience, now, self._runs)
        port.ticket = _Ticket(datagram, peer, answer, now)
        self._busy[peer] = port
        self._per_client[peer[0]] = running + 1
        if transfer.outcome is None:
            port.send(transfer.wire)
        else:  # the file can't be read
            self._finish(port, transfer.wire, now)

    def _is_repetition(self, port: Port, datagram: bytes, now: float) -> bool:
        """A request comes from the very port of a transfer under way. If it begins a new one, the old one is ended here."""
        transfer, ticket = port.transfer, port.ticket
        assert transfer is not None and isinstance(ticket, _Ticket)
        # The old one's last word may still wait in its own port: OVMF aborts, and asks again at once.
        self._serve([(port.fileno, 0)] * _LAST_WORDS)
        if port.transfer is not transfer:
            return False
        if datagram == ticket.datagram and not (transfer.is_answered and transfer.is_silent(now, self._limits.restart_silence)):
            wire = transfer.repeated(now)
            if wire:
                port.send(wire)  # one packet: before the first ACK no window is agreed on
            return True
        transfer.stop("the client began anew")
        self._finish(port, b"", now)
        return False

    def _report_refusal(self, refusal: Refusal, peer: PeerAddress) -> None:
        self._report(
            TransferEnd(
                refusal.path, _address(peer[0]), peer[1], None, refusal.outcome, 0, 0.0, DEFAULT_BLKSIZE, 1, 0, refusal.why
            )
        )

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
                    port.allow_fragments()
                    port.send_window(wire, transfer.segment) if transfer.count > 1 else port.send(wire)
                except ConnectionRefusedError:
                    self._unreachable(port, now)
                except OSError as error:
                    log.debug("nothing sent to %s: %s", port.ticket.peer[0], error)

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
        peer, answer = ticket.peer, ticket.answer
        if last_words:
            try:
                port.send(last_words)
            except OSError as error:
                log.debug("no way to %s: %s", peer[0], error)
        self._ports.give_back(port)
        del self._busy[peer]
        count = self._per_client[peer[0]] = self._per_client[peer[0]] - 1
        if not count:
            del self._per_client[peer[0]]
        agreed = answer.agreed
        self._report(
            TransferEnd(
                answer.path,
                _address(peer[0]),
                peer[1],
                answer.content,
                transfer.outcome,
                transfer.acknowledged_bytes,
                now - ticket.begun_at,
                agreed.blksize,
                agreed.windowsize,
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


def _error(refusal: Refusal) -> bytes:
    return Error(refusal.code, refusal.text).encode()


@lru_cache(maxsize=65536)
def _address(text: str) -> IPv4Address | IPv6Address:
    """An address as the socket module writes it; IPv4 on a dual-stack socket is IPv4."""
    address = ip_address(text.partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
