"""What a DHCP server of either kind is: sockets, limits, and what is told.

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
from functools import partial
from ipaddress import IPv4Address
from typing import Final

from bootserver.cluster.events import Detail, Event, Kind, Reporter
from bootserver.cluster.view import View
from bootserver.netboot.dhcp import wire
from bootserver.netboot.dhcp.advertise import Advertiser
from bootserver.netboot.dhcp.answer import Silence
from bootserver.netboot.dhcp.guard import TOLD_OF_ONE, WINDOW, Guard
from bootserver.netboot.dhcp.link import Link
from bootserver.netboot.dhcp.neighbourhood import Neighbourhood
from bootserver.netboot.dhcp.probe import Prober
from bootserver.netboot.dhcp.request import VENDOR_CLASS, Registration, printable
from bootserver.netboot.dhcp.rogue import Rogues
from bootserver.netboot.dhcp.sightings import Sightings, Throttle
from bootserver.netboot.dhcp.waiting import Registering
from bootserver.values.mac import MacAddress

log = logging.getLogger(__name__)

TICK: Final = 0.025
"""Seconds between two looks at the view while nothing comes in."""
BATCH: Final = 128
"""Datagrams of one device that are read before the others, and the view, have their turn."""
_CHADDR: Final = slice(28, 34)
_GIADDR: Final = slice(24, 28)


@dataclass(slots=True)
class Counters:
    """What the server did since it started; read by the metrics."""

    received: int = 0
    malformed: int = 0
    throttled: int = 0
    flooded: int = 0
    silent: int = 0
    sent: int = 0
    unsent: int = 0
    registering: int = 0
    defects: int = 0


class Loop:
    """Receives, and leaves the rest to a kind of server.

    That says what to do with a datagram (:meth:`handle`), and what a new view brings (:meth:`changed`).

    :param links: sockets that are open already, one set for each device.
    :param view: gives the newest view; called for every datagram, so it must be cheap.
    :param register: takes a machine that an open discovery wants; must not block.
    :param advertisers: IPv6 router solicitations are answered in the same loop.
    :param on_tick: called every :data:`TICK` seconds or so.
    :param rogues: which other servers may answer; None: others are no matter.
    :param look_seconds: how often other servers are asked for; 0: never.
    """

    def __init__(
        self,
        links: Sequence[Link],
        view: Callable[[], View],
        reporter: Reporter,
        register: Callable[[Registration], None],
        *,
        advertisers: Sequence[Advertiser] = (),
        on_tick: Callable[[], None] | None = None,
        rogues: Rogues | None = None,
        look_seconds: float = 0,
    ) -> None:
        self.counters = Counters()
        self._newest = view
        self._view = view()
        self._report = reporter.report
        self._on_tick = on_tick
        self._throttle = Throttle()
        self._guard = Guard()
        self._told_of = self._guard.told_of
        self._sightings = Sightings()
        self._registering = Registering(register)
        self._now = time.monotonic()
        self._clock = time.time()
        self._stopping = False
        self._advertisers = advertisers
        self._neighbours = {
            link.device: Neighbourhood(
                link, self._report, None if link.routers_only else rogues, look_seconds=look_seconds, is_ours=self._is_ours
            )
            for link in links
        }
        self._sources: dict[int, Callable[[float, float], object]] = {}
        for link in links:
            self._sources[link.udp.fileno()] = partial(self._drain, link)
        for advertiser in advertisers:
            self._sources[advertiser.fileno()] = partial(_advertise, advertiser)
        for neighbourhood in self._neighbours.values():
            self._sources.update(neighbourhood.handlers())

    def handle(self, packet: wire.DhcpPacket, datagram: bytes, link: Link) -> None:
        """Answer a message that came in by a device, or don't."""
        raise NotImplementedError

    def changed(self, before: View) -> None:
        """There is a new view. :param before: the one until now."""

    def stop(self) -> None:
        """End :meth:`serve` within a tick; may be called from a signal handler."""
        self._stopping = True

    def serve(self) -> None:
        """Answer until :meth:`stop` is called. The sockets stay open: they are their opener's."""
        with select.epoll() as poll:
            for number in self._sources:
                poll.register(number, select.EPOLLIN)
            ticked = 0.0
            while not self._stopping:
                ready = poll.poll(TICK)
                self._now = now = time.monotonic()
                self._clock = time.time()
                self._look()
                for number, _ in ready:
                    self._sources[number](now, self._clock)
                if now - ticked >= TICK:
                    ticked = now
                    self.tick()

    def tick(self) -> None:
        """Some forty times a second."""
        for advertiser in self._advertisers:
            advertiser.advertise_owed(self._now)
        for neighbourhood in self._neighbours.values():
            neighbourhood.tick(self._now, self._clock)
        self._registering.forget_overdue(self._now)
        self._guard.turn(self._now)
        for device, relay in self._guard.floods(self._now):
            where = f"{device}, relay {IPv4Address(relay)}" if any(relay) else device
            detail = {"because": f"a flood from machines that nobody knows, on {where}: not all of it is read", "device": device}
            self._report(Event(Kind.ALARM, self._clock, detail=detail))
        if self._on_tick is not None:
            self._on_tick()

    def _look(self) -> None:
        newest = self._newest()
        if newest is not self._view:
            before, self._view = self._view, newest
            self.changed(before)

    def _is_ours(self, address: IPv4Address) -> bool:
        return any(network.frontend == address for network in self._view.networks)

    def _prober(self, device: str) -> Prober | None:
        return self._neighbours[device].prober

    def _drain(self, link: Link, now: float, _clock: float) -> None:
        receive = link.udp.recv
        admits, take = self._throttle.admits, self.take
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
            mac = datagram[_CHADDR]
            if mac not in self._view.by_mac and not self._guard.admits((link.device, datagram[_GIADDR]), now):
                self.counters.flooded += 1
                continue
            if not admits(mac, now):
                self.counters.throttled += 1
                continue
            take(datagram, link)

    def take(self, datagram: bytes, link: Link) -> None:
        """Read and answer one datagram. Nothing that is in it makes this raise."""
        try:
            packet = wire.decode(datagram)
            self.handle(packet, datagram, link)
        except wire.WireError as error:
            self._malformed(datagram, link, error)
        except Exception:  # ours, whatever it is: the loop goes on for everybody else
            self._defect(datagram)

    def _defect(self, datagram: bytes) -> None:
        # A defect of ours. It costs this machine an answer, and nobody else anything.
        self.counters.defects += 1
        if self._sightings.is_news(b"", "defect", self._now):
            log.exception("defect in the DHCP server datagram=%s", datagram[:600].hex())

    def _malformed(self, datagram: bytes, link: Link, error: wire.WireError) -> None:
        self.counters.malformed += 1
        if self._sightings.is_news(datagram[_CHADDR], "malformed", self._now):
            log.info("malformed DHCP message device=%s mac=%s why=%s", link.device, datagram[_CHADDR].hex(":"), error)

    # -- what is told ------------------------------------------------------------------------------------------------

    def tell(self, kind: Kind, node: str, mac: MacAddress | None, detail: Detail) -> None:
        """An event of a node, unless there were too many of it: a machine that asks without end fills no journal."""
        count = self._guard.events_of(mac or b"", self._now)
        if count < TOLD_OF_ONE:
            self._report(Event(kind, self._clock, node, mac, detail))
        elif count == TOLD_OF_ONE:
            why = f"it asks so often that it is not told of any more for up to {WINDOW:.0f} s"
            self._report(Event(Kind.IGNORED, self._clock, node, mac, {"because": why}))

    def hold_back(self, packet: wire.DhcpPacket, silence: Silence, link: Link) -> None:
        """Tell of a machine that gets no answer."""
        self.counters.silent += 1
        mac = MacAddress(packet.chaddr[:6])
        node = silence.node.name if silence.node else None
        # A machine that the cluster knows and that declines or releases is always told of; one that is ignored, once in
        # a while; and of those that nobody knows not too many at once.
        if silence.kind is Kind.IGNORED and not self._sightings.is_news(mac, silence.why, self._now, stranger=node is None):
            return
        detail = {"because": silence.why, "device": link.device}
        if node is not None:
            self.tell(silence.kind, node, mac, detail)
            return
        if vendor_class := packet.options.get(VENDOR_CLASS):
            detail["vendor class"] = printable(vendor_class)
        self._report(Event(silence.kind, self._clock, None, mac, detail))

    def register(self, machine: Registration, datagram: bytes, link: Link) -> None:
        """Have a machine registered, and keep its request until the view knows it: its first offer then comes at once."""
        discovery = self._view.discovery
        number = 0 if discovery is None else discovery.id
        if not self._registering.hold(machine, datagram, link, number, self._now):
            self.counters.silent += 1  # it asks again; and a flood of invented MACs registers no more than this
            return
        self.counters.registering += 1
        if self._sightings.is_news(machine.mac, "registering", self._now):
            firmware = None if machine.firmware is None else machine.firmware.name
            detail = {"network": machine.network.name, "firmware": firmware, "vendor class": machine.vendor_class}
            if machine.host_name:
                detail["host name"] = machine.host_name
            self._report(Event(Kind.SEEN, self._clock, None, machine.mac, detail))


def _advertise(advertiser: Advertiser, now: float, _clock: float) -> None:
    advertiser.receive(now)
