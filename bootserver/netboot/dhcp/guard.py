"""What keeps known nodes served while others shout: limits for each way in, and for what is told of one machine.

A starvation attack or a BOOTP flood comes with a new MAC in each message. Such a message is counted by where it came in (the
device, or the relay) and dropped before it is read any further once there were too many in that second; machines that the
cluster knows are never counted here, so they have the rest of the processor to themselves. Nothing here grows with what
strangers say.
"""

from __future__ import annotations

from typing import Final

STRANGERS_PER_SECOND: Final = 1_000
"""Messages of machines that nobody knows, read within a second for one way in. Those of a thousand new machines that are
switched on together are as many; each asks again a second or more later."""
ALL_STRANGERS_PER_SECOND: Final = 4_000
"""The same for all ways in: a relay's address can be invented, too."""
MAX_WAYS: Final = 4_096
TOLD_OF_ONE: Final = 120
WINDOW: Final = 600.0
"""At most so many events of one node within so many seconds. A boot has some ten."""
MAX_FLOODS: Final = 64
TELL_AGAIN: Final = 3600.0

Way = tuple[str, bytes]
"""A device, and the relay's address or zeros."""


class Guard:
    """All limits of one server.

    :ivar told_of: events of each node in this window (:meth:`events_of`).
    """

    __slots__ = ("_all", "_flooded", "_read", "_second", "_told_floods", "_window", "told_of")

    def __init__(self) -> None:
        self._read: dict[Way, int] = {}
        self._all = 0
        self._second = 0
        self._flooded: set[Way] = set()
        self._told_floods: dict[Way, float] = {}
        self.told_of: dict[bytes, int] = {}
        self._window = 0

    def admits(self, way: Way, now: float) -> bool:
        """May this message of a machine that nobody knows be read?

        :param now: a monotonic clock.
        """
        second = int(now)
        if second != self._second:
            self._read.clear()
            self._all = 0
            self._second = second
        self._all += 1
        if self._all > ALL_STRANGERS_PER_SECOND:
            self._flooded.add((way[0], bytes(4)))
            return False
        count = self._read.get(way, 0)
        if count < STRANGERS_PER_SECOND and (count or len(self._read) < MAX_WAYS):
            self._read[way] = count + 1
            return True
        if len(self._flooded) < MAX_FLOODS:
            self._flooded.add(way)
        return False

    def floods(self, now: float) -> list[Way]:
        """Ways in that had more than is read, and have not been told of within the last hour."""
        if not self._flooded:
            return []
        news = [way for way in self._flooded if now - self._told_floods.get(way, float("-inf")) >= TELL_AGAIN]
        self._flooded.clear()
        for way in news:
            self._told_floods.pop(way, None)
            if len(self._told_floods) >= MAX_FLOODS:
                del self._told_floods[next(iter(self._told_floods))]
            self._told_floods[way] = now
        return news

    def turn(self, now: float) -> None:
        """Begin a new window where the last is over; some times a second."""
        window = int(now / WINDOW)
        if window != self._window:
            self.told_of.clear()
            self._window = window

    def events_of(self, mac: bytes, now: float) -> int:
        """Count one more event of a node. :returns: how many it were in this window, this one included."""
        self.turn(now)
        count = self.told_of[mac] = self.told_of.get(mac, 0) + 1
        return count
