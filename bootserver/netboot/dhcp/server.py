"""The DHCP server's loop: one process, one epoll, one datagram after the other.

One process, because ``SO_REUSEPORT`` gives every worker a copy of each broadcast, and all of them would answer. The loop
queries nothing and waits for nobody: it answers from the view, hands events to a reporter that never blocks, and hands
machines to be registered to somebody else, in whose view they turn up some ten milliseconds later.
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bootserver.cluster.events import Event, Kind, Reporter
from bootserver.cluster.view import View
from bootserver.netboot.dhcp import wire
from bootserver.netboot.dhcp.advertise import Advertiser
from bootserver.netboot.dhcp.answer import Answer, Register, Responder, Silence
from bootserver.netboot.dhcp.link import Link
from bootserver.netboot.dhcp.reply import route
from bootserver.netboot.dhcp.request import VENDOR_CLASS, Registration, printable
from bootserver.netboot.dhcp.sightings import Sightings, Throttle
from bootserver.values.mac import MacAddress

log = logging.getLogger(__name__)

TICK: Final = 0.025
"""Seconds between two looks at the view while nothing comes in."""
BATCH: Final = 128
"""Datagrams of one device that are read before the others, and the view, have their turn."""
MAX_WAITING: Final = 256
WAIT: Final = 10.0
"""Seconds that a request is kept for a machine that is being registered: iPXE gives up after some 10 s, others ask again."""
ASK_AGAIN: Final = 1.0
_CHADDR: Final = slice(28, 34)


@dataclass(slots=True)
class Counters:
    """What the server did since it started; read by the metrics."""

    received: int = 0
    malformed: int = 0
    throttled: int = 0
    silent: int = 0
    sent: int = 0
    unsent: int = 0
    registering: int = 0
    defects: int = 0


@dataclass(slots=True)
class _Waiting:
    datagram: bytes
    link: Link
    since: float
    asked: float


class DhcpServer:
    """:param links: sockets that are open already, one set for each device.
    :param view: gives the newest view; called for every datagram, so it must be cheap.
    :param register: takes a machine that an open discovery wants; must not block.
    :param advertisers: IPv6 router solicitations are answered in the same loop.
    :param on_tick: called every :data:`TICK` seconds or so.
    """

    def __init__(
        self,
        links: Sequence[Link],
        view: Callable[[], View],
        respond: Responder,
        reporter: Reporter,
        register: Callable[[Registration], None],
        *,
        advertisers: Sequence[Advertiser] = (),
        on_tick: Callable[[], None] | None = None,
    ) -> None:
        self.counters = Counters()
        self._links = {link.udp.fileno(): link for link in links}
        self._advertisers = {advertiser.fileno(): advertiser for advertiser in advertisers}
        self._newest = view
        self._view = view()
        self._respond = respond
        self._report = reporter.report
        self._register = register
        self._on_tick = on_tick
        self._throttle = Throttle()
        self._sightings = Sightings()
        self._waiting: dict[bytes, _Waiting] = {}
        self._now = time.monotonic()
        self._clock = time.time()
        self._stopping = False

    def stop(self) -> None:
        """End :meth:`serve` within a tick; may be called from a signal handler."""
        self._stopping = True

    def serve(self) -> None:
        """Answer until :meth:`stop` is called. The sockets stay open: they are their opener's."""
        with select.epoll() as poll:
            for number in (*self._links, *self._advertisers):
                poll.register(number, select.EPOLLIN)
            ticked = 0.0
            while not self._stopping:
                ready = poll.poll(TICK)
                self._now = now = time.monotonic()
                self._clock = time.time()
                self._look()
                for number, _ in ready:
                    if number in self._links:
                        self._drain(self._links[number])
                    else:
                        self._advertisers[number].receive(now)
                if now - ticked >= TICK:
                    ticked = now
                    self._tick()

    def _look(self) -> None:
        newest = self._newest()
        if newest is not self._view:
            self._view = newest
            if self._waiting:
                self._answer_waiting()

    def _tick(self) -> None:
        for advertiser in self._advertisers.values():
            advertiser.advertise_owed(self._now)
        if self._waiting:
            overdue = [mac for mac, waiting in self._waiting.items() if self._now - waiting.since > WAIT]
            for mac in overdue:
                del self._waiting[mac]
        if self._on_tick is not None:
            self._on_tick()

    def _drain(self, link: Link) -> None:
        receive = link.udp.recv
        admits = self._throttle.admits
        now = self._now
        for _ in range(BATCH):
            try:
                datagram = receive(wire.MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:  # an ICMP error about an earlier reply, or the device went away
                log.debug("nothing received device=%s error=%s", link.device, error)
                return
            self.counters.received += 1
            self._look()  # each time, not once a batch: what was changed before a machine asked, it is told
            if not admits(datagram[_CHADDR], now):
                self.counters.throttled += 1
                continue
            self._take(datagram, link)

    def _take(self, datagram: bytes, link: Link) -> None:
        try:
            self._handle(datagram, link)
        except Exception:
            # A defect of ours. It costs this machine an answer, and nobody else anything.
            self.counters.defects += 1
            if self._sightings.is_news(b"", "defect", self._now):
                log.exception("defect in the DHCP server datagram=%s", datagram[:600].hex())

    def _handle(self, datagram: bytes, link: Link) -> None:
        try:
            packet = wire.decode(datagram)
        except wire.WireError as error:
            self.counters.malformed += 1
            if self._sightings.is_news(datagram[_CHADDR], "malformed", self._now):
                log.info("malformed DHCP message device=%s mac=%s why=%s", link.device, datagram[_CHADDR].hex(":"), error)
            return
        outcome = self._respond(packet, link.device, self._view, self._clock)
        if isinstance(outcome, Answer):
            self._send(packet, outcome, link)
        else:
            self._hold_back(packet, datagram, outcome, link)

    def _send(self, packet: wire.DhcpPacket, answer: Answer, link: Link) -> None:
        address = answer.datagram[16:20]  # yiaddr
        way = route(packet, address=address, refused=answer.kind is Kind.REFUSED)
        ready = answer.ready
        if link.send(answer.datagram, way, to_mac=packet.chaddr[:6], to=address, source=ready.server):
            self.counters.sent += 1
        else:
            self.counters.unsent += 1
            return
        detail = {**ready.detail, "because": answer.why} if answer.why else ready.detail
        self._report(Event(answer.kind, self._clock, answer.node.name, answer.interface.mac, detail))

    def _hold_back(self, packet: wire.DhcpPacket, datagram: bytes, outcome: Silence | Register, link: Link) -> None:
        if isinstance(outcome, Register):
            self._wait_for(outcome.registration, datagram, link)
            return
        self.counters.silent += 1
        mac = MacAddress(packet.chaddr[:6])
        node = outcome.node.name if outcome.node else None
        # A machine that the cluster knows and that declines or releases is always told of; one that is ignored, once in
        # a while; and of those that nobody knows not too many at once.
        if outcome.kind is Kind.IGNORED and not self._sightings.is_news(mac, outcome.why, self._now, stranger=node is None):
            return
        detail = {"because": outcome.why, "device": link.device}
        if node is None and (vendor_class := packet.options.get(VENDOR_CLASS)):
            detail["vendor class"] = printable(vendor_class)
        self._report(Event(outcome.kind, self._clock, node, mac, detail))

    def _wait_for(self, machine: Registration, datagram: bytes, link: Link) -> None:
        """Have a machine registered, and keep its request until the view knows it: its first offer then comes at once."""
        waiting = self._waiting.get(machine.mac)
        if waiting is None:
            if len(self._waiting) >= MAX_WAITING:
                self.counters.silent += 1  # it asks again; and a flood of invented MACs registers no more than this
                return
            self._waiting[machine.mac] = _Waiting(datagram, link, self._now, self._now)
        else:
            waiting.datagram, waiting.link = datagram, link
            if self._now - waiting.asked < ASK_AGAIN:
                return
            waiting.asked = self._now
        self.counters.registering += 1
        if self._sightings.is_news(machine.mac, "registering", self._now):
            firmware = None if machine.firmware is None else machine.firmware.name
            detail = {"network": machine.network.name, "firmware": firmware, "vendor class": machine.vendor_class}
            self._report(Event(Kind.SEEN, self._clock, None, machine.mac, detail))
        self._register(machine)

    def _answer_waiting(self) -> None:
        known = [mac for mac in self._waiting if mac in self._view.by_mac]
        for mac in known:
            waiting = self._waiting.pop(mac)
            self._take(waiting.datagram, waiting.link)
