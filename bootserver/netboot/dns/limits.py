"""What keeps a flood small: how many answers one address gets in a second, and how often one trouble is spoken of.

Answers to forged addresses are what makes a name server an amplifier. Ours are hardly larger than the questions; beyond its
share an address gets one in :data:`SLIP` empty and marked as truncated, so that who really asks comes again by TCP, whose
addresses can't be forged (as BIND's response rate limiting does it).
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import Final

STRANGER: Final = 50
"""Answers a second for an address outside of the cluster's networks: a resolver of the site's asks far less."""
SLIP: Final = 8
MAX_HEARD: Final = 65_536
REPEAT_AFTER: Final = 300.0
MAX_TOLD: Final = 1024
TOLD_PER_MINUTE: Final = 20


class Members:
    """Which addresses are of the cluster's networks."""

    __slots__ = ("_masks",)

    def __init__(self, networks: Sequence[IPv4Network]) -> None:
        self._masks = [(int(each.netmask), int(each.network_address)) for each in networks]

    def __contains__(self, host: str) -> bool:
        address = int.from_bytes(socket.inet_aton(host))
        return any(address & mask == network for mask, network in self._masks)


class Shares:
    """What is left for each address in this second; all is forgotten at its end."""

    __slots__ = ("_share", "_strangers", "_there", "members")

    def __init__(self, share: int) -> None:
        """:param share: answers a second for an address of the cluster."""
        self._share = share
        self._there: dict[str, int] = {}
        self._strangers: dict[str, int] = {}
        self.members = Members(())

    def begin(self) -> None:
        """A new second."""
        self._there = {}
        self._strangers = {}

    def take(self, host: str) -> int:
        """:returns: what is left for this address: below 0 it has had its share."""
        left = self._there.get(host)
        if left is None:
            return self._other(host)
        self._there[host] = left - 1
        return left - 1

    def _other(self, host: str) -> int:
        left = self._strangers.get(host)
        if left is not None:
            self._strangers[host] = left - 1
            return left - 1
        if host in self.members:
            if len(self._there) < MAX_HEARD:
                self._there[host] = self._share - 1
            return self._share - 1
        if len(self._strangers) >= MAX_HEARD:  # a flood of forged addresses: nobody of the cluster pays for it
            return -1
        self._strangers[host] = STRANGER - 1
        return STRANGER - 1


class Sayings:
    """Whether something is worth a line: not the same again for some minutes, and not too many of whatever kind."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], float] = {}
        self._minute = -1
        self._this_minute = 0

    def is_news(self, who: str, what: str, now: float) -> bool:
        """:param now: a monotonic clock."""
        last = self._told.get((who, what))
        if last is not None and now - last < REPEAT_AFTER:
            return False
        minute = int(now // 60)
        if minute != self._minute:
            self._minute, self._this_minute = minute, 0
        self._this_minute += 1
        if self._this_minute > TOLD_PER_MINUTE:
            return False
        self._told.pop((who, what), None)
        if len(self._told) >= MAX_TOLD:  # the one told of first is the first to be forgotten
            del self._told[next(iter(self._told))]
        self._told[who, what] = now
        return True
