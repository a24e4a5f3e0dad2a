"""Machines that have just become nodes, or are about to, from their first request to their first answer."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from bootserver.cluster.view import View
from bootserver.netboot.dhcp.link import Link
from bootserver.netboot.dhcp.request import Registration
from bootserver.values.mac import MacAddress

MAX_WAITING: Final = 384
MAX_ON_ONE_WAY: Final = 256
"""Of one device or relay: a flood there leaves room for machines elsewhere."""
WAIT: Final = 10.0
"""Seconds that a request is kept for a machine that is being registered: iPXE gives up after some 10 s, others ask again."""
ASK_AGAIN: Final = 1.0
MAX_HANDED_ON: Final = 4_096
"""Machines that are handed on within one discovery. It takes 64 unless it is told otherwise; what is more than this is a flood
of invented MACs, and whoever keeps a list of them must not have to keep a longer one."""
MOVES: Final = 8
"""Addresses that are tried for one machine. Where all are in use, somebody answers for every address."""
WITHHELD: Final = 600.0
MAX_WITHHELD: Final = 1_024
MAX_NEW: Final = 4_096
"""Nodes that were added while the server runs, and have not been answered yet. Those of a larger import are taken for known."""
_GIADDR: Final = slice(24, 28)


@dataclass(slots=True)
class Waiting:
    """:ivar checking: the address that is being asked for, or that was found to be in use."""

    datagram: bytes
    link: Link
    since: float
    asked: float
    checking: IPv4Address | None = None
    moves: int = 0

    @property
    def way(self) -> tuple[str, bytes]:
        return self.link.device, self.datagram[_GIADDR]


class Registering:
    """:param register: hands a machine on to be registered; must not block.
    :ivar idle: there is no reason to call :meth:`keeps` and :meth:`begins`. Asked for every message, so it is no method.
    """

    def __init__(self, register: Callable[[Registration], None]) -> None:
        self._register = register
        self._waiting: dict[bytes, Waiting] = {}
        self._withheld: dict[bytes, tuple[bytes, float]] = {}
        self._new: set[bytes] = set()
        self._discovery = 0
        self._handed_on: set[bytes] = set()
        self.idle = True

    def _changed(self) -> None:
        self.idle = not (self._waiting or self._withheld or self._new)

    def hold(self, machine: Registration, datagram: bytes, link: Link, discovery: int, now: float) -> bool:
        """Keep a request, and hand its machine on unless that was done within the last second.

        :param discovery: the open one's number.
        :param now: a monotonic clock.
        :returns: it was handed on.
        """
        waiting = self._waiting.get(machine.mac)
        if waiting is not None:
            waiting.datagram, waiting.link = datagram, link
            if now - waiting.asked < ASK_AGAIN:
                return False
            waiting.asked = now
        elif not self._has_room(machine.mac, datagram, link, discovery):
            return False
        else:
            self._waiting[machine.mac] = Waiting(datagram, link, now, now)
            self._changed()
        self._register(machine)
        return True

    def _has_room(self, mac: MacAddress, datagram: bytes, link: Link, discovery: int) -> bool:
        if discovery != self._discovery:
            self._discovery = discovery
            self._handed_on.clear()
        if len(self._waiting) >= MAX_WAITING:
            return False
        if len(self._waiting) >= MAX_ON_ONE_WAY:
            way = link.device, datagram[_GIADDR]
            if sum(each.way == way for each in self._waiting.values()) >= MAX_ON_ONE_WAY:
                return False
        if mac not in self._handed_on:
            if len(self._handed_on) >= MAX_HANDED_ON:
                return False
            self._handed_on.add(mac)
        return True

    def of(self, mac: bytes) -> Waiting | None:
        return self._waiting.get(mac)

    def known_by(self, view: View) -> list[bytes]:
        """Those that the view knows by now."""
        return [mac for mac in self._waiting if mac in view.by_mac] if self._waiting else []

    def added(self, macs: Collection[bytes]) -> None:
        """Nodes that were not there before."""
        if len(self._new) + len(macs) <= MAX_NEW:
            self._new.update(macs)
            self._changed()

    def begins(self, mac: bytes, datagram: bytes, link: Link, now: float) -> bool:
        """Is this a new node's first request? Then it waits from now on."""
        if mac not in self._new:
            return False
        self._new.discard(mac)
        if len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting[mac] = Waiting(datagram, link, now, now)
        return True

    def begins_check(self, mac: bytes, address: IPv4Address) -> bool:
        """Is this an address that was not asked for yet?"""
        waiting = self._waiting[mac]
        if waiting.checking == address:
            return False
        waiting.checking = address
        return True

    def withhold(self, mac: bytes, address: IPv4Address, now: float) -> bool:
        """The address is in use: the machine must not get it. :returns: another one may be tried."""
        self._withheld.pop(mac, None)
        if len(self._withheld) >= MAX_WITHHELD:
            del self._withheld[next(iter(self._withheld))]
        self._withheld[mac] = address.packed, now + WITHHELD
        self._changed()
        waiting = self._waiting.get(mac)
        if waiting is None:
            return True
        waiting.moves += 1
        return waiting.moves <= MOVES

    def keeps(self, mac: bytes, address: bytes, datagram: bytes, now: float) -> bool:
        """Must this machine wait for its answer? Then its newest request is kept."""
        waiting = self._waiting.get(mac)
        if waiting is not None:
            waiting.datagram = datagram
            return True
        withheld, until = self._withheld.get(mac, (b"", 0.0))
        return withheld == address and now < until

    def release(self, mac: bytes) -> Waiting | None:
        """It waits no longer."""
        self._new.discard(mac)
        waiting = self._waiting.pop(mac, None)
        self._changed()
        return waiting

    def forget_overdue(self, now: float) -> None:
        """Nobody waits for longer than :data:`WAIT`."""
        if self._waiting:
            for mac in [mac for mac, waiting in self._waiting.items() if now - waiting.since > WAIT]:
                del self._waiting[mac]
        if self._withheld:
            for mac in [mac for mac, (_, until) in self._withheld.items() if now >= until]:
                del self._withheld[mac]
        self._changed()
