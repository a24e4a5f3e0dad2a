"""Which address a site's own DHCP server gave a node: seen on the wire, and believed only where it can be checked.

A node says so in the REQUEST that everybody hears, and at port 4011 by where it asks from. Both can be invented by anybody, so
the address is asked for by ARP: only if the node's own MAC answers is it learned, since menus with tickets go to the node's
own address. Behind a relay there is no ARP: there the REQUEST must have come by the relay, and the question at port 4011 from
the same address. A REQUEST that takes the offer of a server that is not allowed is not believed at all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address
from typing import Final

from bootserver.cluster.addresses import Given
from bootserver.netboot.dhcp.probe import Prober
from bootserver.values.mac import MacAddress

AFTER_REQUEST: Final = (0.03, 0.1, 0.2, 0.4, 0.8, 1.5, 1.0)
"""Seconds to each question. The server's ACK has yet to come, and an installed system to run its DHCP client's script."""
MAX_CLAIMS: Final = 2_048
BELIEVED: Final = 120.0
"""Seconds that a REQUEST by a relay is remembered."""
LEARNED_PER_HOUR: Final = 24
"""Of one node. ROM and installed system may well have an address each; one that changes it more often is up to something, and
each change is kept in the change log."""

Conflict = Callable[[bytes, IPv4Address, MacAddress], None]


class Learning:
    """:param learned: told of an address that was found true.
    :param conflict: told of a MAC, the address that it says to have, and who has it.
    """

    def __init__(self, learned: Callable[[Given], None], conflict: Conflict) -> None:
        self._learned = learned
        self._conflict = conflict
        self._asked: dict[bytes, IPv4Address] = {}
        self._relayed: dict[bytes, tuple[IPv4Address, IPv4Address | None, float]] = {}
        self._hour = 0
        self._this_hour: dict[bytes, int] = {}
        self._now = 0.0

    def by_wire(
        self, mac: bytes, address: IPv4Address, server: IPv4Address | None, prober: Prober, sender: bytes, now: float
    ) -> None:
        """A node on this very wire says to have, or to be given, an address."""
        self._now = now
        if self._asked.get(mac) == address:
            prober.nudge(address.packed)
            return
        if len(self._asked) >= MAX_CLAIMS:
            return
        self._asked[mac] = address
        found = partial(self._found, mac, address, server)
        prober.ask(address.packed, found, now, pauses=AFTER_REQUEST, sender=sender)

    def by_relay(self, mac: bytes, address: IPv4Address, server: IPv4Address | None, now: float) -> None:
        """A REQUEST came by a relay."""
        self._relayed.pop(mac, None)
        if len(self._relayed) >= MAX_CLAIMS:
            del self._relayed[next(iter(self._relayed))]
        self._relayed[mac] = address, server, now

    def from_afar(self, mac: bytes, address: IPv4Address, now: float) -> None:
        """A question at port 4011 from another subnet."""
        self._now = now
        claimed, server, at = self._relayed.get(mac, (None, None, 0.0))
        if claimed == address and now - at < BELIEVED:
            self._learn(mac, address, server)

    def _found(self, mac: bytes, address: IPv4Address, server: IPv4Address | None, holder: bytes | None) -> None:
        if self._asked.get(mac) == address:
            del self._asked[mac]
        if holder == mac:
            self._learn(mac, address, server)
        elif holder is not None:
            self._conflict(mac, address, MacAddress(holder))

    def _learn(self, mac: bytes, address: IPv4Address, server: IPv4Address | None) -> None:
        hour = int(self._now // 3600)
        if hour != self._hour:
            self._hour = hour
            self._this_hour.clear()
        count = self._this_hour[mac] = self._this_hour.get(mac, 0) + 1
        if count <= LEARNED_PER_HOUR:
            self._learned(Given(MacAddress(mac), address, server))
