"""What a server hears on one device beside what it is asked: who has which address, and which other DHCP servers answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address
from typing import Final

from bootserver.cluster.events import Event, Kind
from bootserver.netboot.dhcp import rogue
from bootserver.netboot.dhcp.link import Link
from bootserver.netboot.dhcp.probe import OWNER, Prober
from bootserver.netboot.dhcp.rogue import Rogues
from bootserver.values.mac import MacAddress

log = logging.getLogger(__name__)

FIRST_LOOK: Final = 3.0
"""Seconds from the start to the first question for other servers: what was started with us is up by then."""
_BURST: Final = 64

Handler = Callable[[float, float], None]
"""Takes a monotonic clock and the time of day."""


class Neighbourhood:
    """:param rogues: None: other servers are no matter.
    :param look_seconds: from one question for other servers to the next; 0: only what is overheard is told of.
    :param is_ours: an address is one of the frontend's own.
    :ivar prober: None where the device has no packet socket, or no Ethernet.
    """

    def __init__(
        self,
        link: Link,
        report: Callable[[Event], None],
        rogues: Rogues | None,
        *,
        look_seconds: float,
        is_ours: Callable[[IPv4Address], bool],
    ) -> None:
        self.device = link.device
        self.prober = None if link.raw is None or link.arp is None else Prober(link.raw, link.arp, link.mac)
        self._link = link
        self._report = report
        self._rogues = rogues
        self._look_seconds = look_seconds
        self._look_at: float | None = None
        self._mac = rogue.nobodys_mac()  # one for each run of the server: many would use a careless server's addresses up
        self._is_ours = is_ours

    def handlers(self) -> dict[int, Handler]:
        """What to call when a socket of its own can be read."""
        found: dict[int, Handler] = {}
        if self.prober is not None and self._link.arp is not None:
            found[self._link.arp.fileno()] = self._answered
        if self._rogues is not None and self._link.overhears is not None:
            found[self._link.overhears.fileno()] = self._overheard
        return found

    def tick(self, now: float, clock: float) -> None:
        """Some times a second.

        :param now: a monotonic clock.
        :param clock: the time of day, for events.
        """
        if self.prober is not None:
            self.prober.tick(now)
        if self._rogues is None or not self._look_seconds or self._link.raw is None:
            return
        if self._look_at is None:
            self._look_at = now + FIRST_LOOK
        elif now >= self._look_at:
            self._look_at = now + self._look_seconds
            try:
                self._link.raw.send(rogue.discover(self._mac, self._link.mac))
            except OSError as error:
                log.debug("no question for other servers device=%s error=%s", self.device, error)

    def suspect(self, server: IPv4Address, now: float, clock: float) -> None:
        """A machine of ours took the offer of a server that was not overheard: find out its MAC, and tell."""
        rogues = self._rogues
        if rogues is None or self._is_ours(server) or rogues.knows(server):
            return
        if self.prober is None:
            self._named(server, now, clock, None)
            return
        self.prober.ask(server.packed, partial(self._named, server, now, clock), now, pauses=OWNER)

    def _named(self, server: IPv4Address, now: float, clock: float, mac: bytes | None) -> None:
        assert self._rogues is not None
        if self._rogues.is_news(server, mac or b"", now):
            self._tell(server, None if mac is None else MacAddress(mac), clock, None)

    def _answered(self, _now: float, _clock: float) -> None:
        assert self.prober is not None
        self.prober.receive()

    def _overheard(self, now: float, clock: float) -> None:
        assert self._rogues is not None and self._link.overhears is not None
        for _ in range(_BURST):
            frame = rogue.receive(self._link.overhears)
            if frame is None:
                return
            reply = rogue.read(frame)
            if reply is not None and not self._is_ours(reply.server) and self._rogues.is_news(reply.server, reply.mac, now):
                self._tell(reply.server, reply.mac, clock, reply.offered)

    def _tell(self, server: IPv4Address, mac: MacAddress | None, clock: float, offered: IPv4Address | None) -> None:
        detail: dict[str, str | int | float | bool | None] = {
            "because": f"another DHCP server answers on {self.device}: stop {server}, or name it in dhcp.site_servers",
            "server": str(server),
            "device": self.device,
        }
        if offered is not None:
            detail["offers"] = str(offered)
        log.warning("another DHCP server device=%s server=%s mac=%s", self.device, server, mac)
        self._report(Event(Kind.ALARM, clock, None, mac, detail))
