"""What keeps a flood small: how often one machine is heard, and how often it is spoken of. Bounded, whatever comes."""

from __future__ import annotations

from typing import Final

PER_SECOND: Final = 20
"""Datagrams of one MAC that are answered within a second. Real clients send a handful: the most eager firmware asks every
second, and PXE ROM, iPXE and installer each begin anew."""
MAX_HEARD: Final = 65_536
REPEAT_AFTER: Final = 300.0
"""Seconds until a machine that gets no answer is told of again."""
MAX_TOLD: Final = 4_096
TOLD_AT_ONCE: Final = 200
TOLD_PER_HOUR: Final = 600
"""Machines that nobody knows and that are told of, all together; a flood of invented MACs must not fill the event log, which
keeps months. What is beyond is not told of one by one: :mod:`bootserver.netboot.dhcp.guard` tells of the flood."""


class Throttle:
    """At most :data:`PER_SECOND` datagrams of one MAC in a second, counted anew each second.

    A bucket with tokens would hold state for each MAC that was ever heard; this forgets all of it every second.
    """

    __slots__ = ("_heard", "_second")

    def __init__(self) -> None:
        self._heard: dict[bytes, int] = {}
        self._second = 0

    def admits(self, mac: bytes, now: float) -> bool:
        """:param now: a monotonic clock."""
        second = int(now)
        heard = self._heard
        if second != self._second or len(heard) >= MAX_HEARD:
            heard.clear()
            self._second = second
        count = heard.get(mac, 0)
        heard[mac] = count + 1
        return count < PER_SECOND


class Sightings:
    """Tells once in a while about each machine that gets no answer, and again at once if the reason has changed."""

    __slots__ = ("_counted", "_left", "_told")

    def __init__(self) -> None:
        self._told: dict[tuple[bytes, str], float] = {}
        self._left = float(TOLD_AT_ONCE)
        self._counted = 0.0

    def is_news(self, mac: bytes, why: str, now: float, *, stranger: bool = True) -> bool:
        """:param now: a monotonic clock.
        :param stranger: the cluster does not know it: anybody can invent such a MAC, so not too many are told of.
        """
        key = (mac, why)
        last = self._told.get(key)
        if last is not None and now - last < REPEAT_AFTER:
            return False
        if stranger and not self._may_tell(now):
            return False
        # Dictionaries keep the order of insertion: the machine that was told of first is the first to be forgotten.
        self._told.pop(key, None)
        if len(self._told) >= MAX_TOLD:
            del self._told[next(iter(self._told))]
        self._told[key] = now
        return True

    def _may_tell(self, now: float) -> bool:
        gained = max(0.0, now - self._counted) * TOLD_PER_HOUR / 3600
        self._left, self._counted = min(float(TOLD_AT_ONCE), self._left + gained), now
        if self._left < 1:
            return False
        self._left -= 1
        return True
