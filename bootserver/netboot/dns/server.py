"""The DNS server's loop: datagrams in, datagrams out, from encoded answers where there are any.

One process and one epoll. What is asked for the first time takes dnspython some 150 µs, then a dictionary look-up; whatever
waits for others is done in :mod:`bootserver.netboot.dns.backstage`.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from bootserver.cluster.events import Event, Kind, Reporter
from bootserver.netboot.dns.answer import (
    HEADER,
    SMALLEST,
    UDP_PAYLOAD,
    Answerer,
    Elsewhere,
    Outcome,
    Reply,
    Transfer,
    bare,
    encode_udp,
    udp_size,
)
from bootserver.netboot.dns.backstage import Backstage, Site
from bootserver.netboot.dns.hot import Answers
from bootserver.netboot.dns.limits import SLIP, Members, Sayings, Shares
from bootserver.netboot.dns.names import Names

log = logging.getLogger(__name__)

TICK: Final = 0.05
BATCH: Final = 128
"""Datagrams of one socket that are read before the others have their turn."""
MAX_DATAGRAM: Final = 4096
Peer = tuple[str, int]


@dataclass(slots=True)
class Counters:
    """What the loop did since it began."""

    received: int = 0
    ready: int = 0
    made: int = 0
    forwarded: int = 0
    limited: int = 0
    defects: int = 0


class DnsServer:
    """:param sockets: UDP sockets and TCP listeners, open already; each UDP socket is bound to one address of ours.
    :param make: an answerer for new names.
    :param per_client: answers by UDP a second, for one address of the cluster.
    :param on_tick: called every :data:`TICK` seconds or so.
    """

    def __init__(
        self,
        sockets: Sequence[tuple[socket.socket, socket.socket]],
        make: Callable[[Names], Answerer],
        reporter: Reporter,
        site: Site,
        *,
        per_client: int,
        on_tick: Callable[[], None] | None = None,
    ) -> None:
        self.counters = Counters()
        self._udp = {udp.fileno(): udp for udp, _ in sockets}
        self._make = make
        self._reporter = reporter
        self._on_tick = on_tick
        self._answers: Answers | None = None
        self._showing = threading.Lock()
        self._shares = Shares(per_client)
        self._sayings = Sayings()
        self._backstage = Backstage([tcp for _, tcp in sockets], site, self._answerer, self._tell)
        self._stopping = False

    def show(self, names: Names) -> None:
        """Answer by these names from now on. From any thread."""
        for trouble in names.troubles:
            if self._sayings.is_news("names", trouble, time.monotonic()):
                log.warning("DNS: %s", trouble)
        with self._showing:
            before = self._answers
            self._shares.members = self._backstage.members = Members(names.networks)
            if before is not None and names.says_the_same(before.answerer.names):
                return  # the serial stays, too: secondaries need not fetch what they have
            self._answers = answers = Answers(self._make(names), before)
        self._backstage.tell_secondaries(answers.answerer)

    def stop(self) -> None:
        """End :meth:`serve` within a tick; may be called from a signal handler."""
        self._stopping = True

    def serve(self) -> None:
        """Answer until :meth:`stop` is called."""
        self._backstage.start()
        with select.epoll() as poll:
            for number in self._udp:
                poll.register(number, select.EPOLLIN)
            ticked = second = 0.0
            while not self._stopping:
                ready = poll.poll(TICK)
                now = time.monotonic()
                if now - second >= 1:
                    second = now
                    self._shares.begin()
                for number, _ in ready:
                    self._drain(self._udp[number])
                if now - ticked >= TICK:
                    ticked = now
                    if self._on_tick is not None:
                        self._on_tick()
        self._backstage.stop()

    def _answerer(self) -> Answerer:
        answers = self._answers
        return answers.answerer if answers is not None else self._make(Names(1, "invalid", "invalid"))

    def _drain(self, udp: socket.socket) -> None:
        receive, send, take = udp.recvfrom, udp.sendto, self._shares.take
        counters = self.counters
        for _ in range(BATCH):
            try:
                datagram, peer = receive(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:  # an ICMP error about an earlier answer
                log.debug("nothing received: %s", error)
                return
            counters.received += 1
            if (left := take(peer[0])) < 0:
                counters.limited += 1
                if left % SLIP == 0:
                    self._slip(datagram, peer, udp)
                continue
            answers = self._answers  # each time: what was changed before somebody asked, he is told
            ready = answers.ready.get(datagram[2:].lower()) if answers is not None else None
            if ready is None:
                self._take(datagram, peer, udp, answers)
                continue
            counters.ready += 1
            try:
                send(datagram[:2] + ready.head + datagram[HEADER : ready.end] + ready.tail, peer)
            except OSError:  # no way to him, or no room just now: he asks again
                continue

    def _take(self, datagram: bytes, peer: Peer, udp: socket.socket, answers: Answers | None) -> None:
        try:
            self._handle(datagram, peer, udp, answers)
        except Exception:
            # A defect of ours. It costs this client an answer, and nobody else anything.
            self.counters.defects += 1
            if self._sayings.is_news("", "defect", time.monotonic()):
                log.exception("defect in the DNS server datagram=%s", datagram[:600].hex())

    def _handle(self, datagram: bytes, peer: Peer, udp: socket.socket, answers: Answers | None) -> None:
        if answers is None:  # the database was never read: who asks may ask another server
            if len(datagram) >= HEADER and not datagram[2] & 0x80:
                _send(udp, peer, bare(datagram, dns.rcode.SERVFAIL).to_wire())
            return
        ready = answers.again(datagram[2:].lower())
        if ready is not None:
            self.counters.ready += 1
            with contextlib.suppress(OSError):
                udp.sendto(datagram[:2] + ready.head + datagram[HEADER : ready.end] + ready.tail, peer)
            return
        self.counters.made += 1
        outcome = answers.answerer(datagram)
        if isinstance(outcome, Elsewhere) and self._backstage.may_forward(peer[0], outcome.query):
            self.counters.forwarded += 1
            size = udp_size(outcome.query)
            self._backstage.forward(outcome.query, peer[0], lambda message: _send(udp, peer, encode_udp(message, size)))
            return
        self._reply(datagram, peer, udp, answers, outcome)

    def _reply(self, datagram: bytes, peer: Peer, udp: socket.socket, answers: Answers, outcome: Outcome | None) -> None:
        match outcome:
            case None:
                return
            case Elsewhere(query):
                message = answers.answerer.refuse(query, dns.rcode.REFUSED)
                size = udp_size(query)
            case Transfer():
                message = self._datagram_for_transfer(outcome, peer[0], answers.answerer)
                size = udp_size(outcome.query)
            case Reply(message, trouble):
                if trouble:
                    self._tell(peer[0], "a signed question", trouble)
                size = _room(message)
        wire = encode_udp(message, size)
        if isinstance(outcome, Reply) and not outcome.trouble and len(message.question) == 1:
            answers.keep(datagram, message, wire)
        _send(udp, peer, wire)

    def _datagram_for_transfer(self, outcome: Transfer, host: str, answerer: Answerer) -> dns.message.Message:
        """RFC 1995 section 2: an incremental transfer by UDP may be answered with the SOA, which says: come by TCP."""
        refused = self._backstage.refuse_transfer(outcome, host)
        if refused is not None or outcome.zone is None:
            return refused or answerer.refuse(outcome.query, dns.rcode.REFUSED)
        if outcome.query.question[0].rdtype != dns.rdatatype.IXFR:  # RFC 5936 section 4.2: AXFR is TCP's
            return answerer.refuse(outcome.query, dns.rcode.FORMERR)
        response = dns.message.make_response(outcome.query, our_payload=UDP_PAYLOAD)
        response.flags |= dns.flags.AA
        response.answer.append(answerer.soa(outcome.zone))
        return response

    def _slip(self, datagram: bytes, peer: Peer, udp: socket.socket) -> None:
        """An empty answer, marked as truncated: no larger than the query, and made without reading it."""
        end = datagram.find(b"\0", HEADER) + 5  # behind the name: type and class
        if HEADER + 5 <= end <= len(datagram) and not datagram[2] & 0xF8:
            flags = bytes((0x82 | datagram[2] & 1, 0))  # QR and TC, and RD as it was
            _send(udp, peer, datagram[:2] + flags + b"\0\1\0\0\0\0\0\0" + datagram[HEADER:end])

    def _tell(self, host: str, what: str, why: str) -> None:
        """A line in the log and an event, once in a while for each."""
        if self._sayings.is_news(host, f"{what} {why}", time.monotonic()):
            log.warning("DNS: refused to %s: %s: %s", host, what, why)
            self._reporter.report(Event(Kind.DENIED, time.time(), detail={"path": f"dns {what}", "from": host, "why": why}))


def _room(response: dns.message.Message) -> int:
    """Octets that an answer may have: what :func:`udp_size` says, for one whose query is not at hand."""
    return max(SMALLEST, min(response.request_payload, UDP_PAYLOAD)) if response.opt is not None else SMALLEST


def _send(udp: socket.socket, peer: Peer, wire: bytes) -> None:
    with contextlib.suppress(OSError):  # no way to him, or no room just now: he asks again
        udp.sendto(wire, peer)
