"""What follows from a sighting: a machine is registered, an event told, a node's address learned.

The same as where we are the DHCP server ourselves (:mod:`bootserver.netboot.dhcp.server`): the registrar makes unknown machines
nodes while a discovery is open, and known ones have a story. The site's server says which address it gave, and is believed,
since it is what gives them; who asks for a menu from there is looked at again before a ticket goes out
(:mod:`bootserver.netboot.dhcp.neighbours`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bootserver.cluster import admission
from bootserver.cluster.addresses import Given
from bootserver.cluster.discovery import Machine
from bootserver.cluster.events import Detail, Event, Kind, Reporter
from bootserver.cluster.view import DiscoveryView, InterfaceView, NetworkView, NodeView, View
from bootserver.netboot.dhcp.guard import TOLD_OF_ONE, WINDOW, Guard
from bootserver.netboot.dhcp.learning import LEARNED_PER_HOUR
from bootserver.netboot.dhcp.sightings import Sightings
from bootserver.netboot.dhcp_events.sighting import Sighting, What

PATIENCE: Final = 1.0
"""Seconds that a machine which asks waits for the server's offer: its address says on which network it is. Where none comes
(dhcpd: "no free leases"), it is registered without."""
REPEAT: Final = 5.0
"""Seconds until a machine that the registrar was told of is told again, if it is still unknown."""
REMEMBERED: Final = 60.0
"""Seconds that the address of a machine is remembered which the registrar was told of: it fetches its menu from there at once."""
MAX_WAITING: Final = 1_024

_KINDS: Final = {
    What.OFFERED: Kind.OFFERED,
    What.GIVEN: Kind.ACKNOWLEDGED,
    What.REFUSED: Kind.REFUSED,
    What.RELEASED: Kind.RELEASED,
    What.DECLINED: Kind.DECLINED,
}
_WANTS: Final = frozenset({What.ASKS, What.OFFERED, What.GIVEN})


class Learner:
    """:param register: takes a machine that the open discovery wants; must not block.
    :param learned: told of an address that a node was given, and that is not the one it has.
    """

    def __init__(self, reporter: Reporter, register: Callable[[Machine], None], learned: Callable[[Given], None]) -> None:
        self._report = reporter.report
        self._register = register
        self._learned = learned
        self._guard = Guard()
        self._sightings = Sightings()
        self._waiting: dict[bytes, tuple[Sighting, float]] = {}
        self._told: dict[bytes, float] = {}
        self._given: dict[bytes, tuple[Given, float]] = {}
        self._hour = 0
        self._this_hour: dict[bytes, int] = {}

    def see(self, sighting: Sighting, view: View, now: float, clock: float) -> None:
        """Act on a sighting.

        :param now: a monotonic clock. :param clock: seconds since the epoch.
        """
        known = view.by_mac.get(sighting.mac)
        if known is not None:
            self._known(sighting, *known, now, clock)
        elif sighting.what in _WANTS:
            self._unknown(sighting, view, now, clock)

    def tick(self, view: View, now: float, clock: float) -> None:
        """Some times a second: register who waited for an offer that did not come, and see who has become a node."""
        for mac, (given, until) in list(self._given.items()):
            if mac in view.by_mac:
                self._learn(given, view.by_mac[mac][1], now)
            if mac in view.by_mac or until < now:
                del self._given[mac]
        for mac, (sighting, due) in list(self._waiting.items()):
            if due > now:
                return  # they are in the order in which they came
            del self._waiting[mac]
            if mac not in view.by_mac:
                self._want(sighting, view, now, clock)

    # -- nodes -------------------------------------------------------------------------------------------------------

    def _known(self, sighting: Sighting, node: NodeView, interface: InterfaceView, now: float, clock: float) -> None:
        kind = _KINDS.get(sighting.what)
        if kind is not None:
            self._tell(kind, sighting, node, now, clock)
        elif sighting.what is What.ASKS and self._sightings.is_news(sighting.mac, "asks", now, stranger=False):
            self._tell(Kind.SEEN, sighting, node, now, clock)
        if sighting.address is not None and sighting.what in (What.GIVEN, What.HAS):
            self._learn(Given(sighting.mac, sighting.address, None), interface, now)

    def _learn(self, given: Given, interface: InterfaceView, now: float) -> None:
        if given.address == interface.ip:
            return
        hour = int(now // 3600)
        if hour != self._hour:
            self._hour = hour
            self._this_hour.clear()
        count = self._this_hour[given.mac] = self._this_hour.get(given.mac, 0) + 1
        if count <= LEARNED_PER_HOUR:
            self._learned(given)

    def _tell(self, kind: Kind, sighting: Sighting, node: NodeView, now: float, clock: float) -> None:
        count = self._guard.events_of(sighting.mac, now)
        if count < TOLD_OF_ONE:
            self._report(Event(kind, clock, node.name, sighting.mac, _detail(sighting)))
        elif count == TOLD_OF_ONE:
            why = f"it asks so often that it is not told of any more for up to {WINDOW:.0f} s"
            self._report(Event(Kind.IGNORED, clock, node.name, sighting.mac, {"because": why}))

    # -- machines that nobody knows ----------------------------------------------------------------------------------

    def _unknown(self, sighting: Sighting, view: View, now: float, clock: float) -> None:
        refused = _refusal(sighting, view.discovery, clock)
        if refused is not None:
            self._ignore(sighting, refused, now, clock)
        elif sighting.what is not What.ASKS:
            self._waiting.pop(sighting.mac, None)
            self._want(sighting, view, now, clock)
        elif sighting.mac not in self._waiting and len(self._waiting) < MAX_WAITING:
            self._waiting[sighting.mac] = sighting, now + PATIENCE

    def _want(self, sighting: Sighting, view: View, now: float, clock: float) -> None:
        mac = sighting.mac
        network = _network(sighting, view)
        refused = _refusal(sighting, view.discovery, clock)
        if refused is None and view.discovery is not None and network is not None and network.id != view.discovery.network:
            refused = admission.elsewhere(view.discovery, view, [network])
        if refused is not None or network is None:
            self._ignore(sighting, refused or _nowhere(sighting), now, clock)
            return
        if (
            sighting.what is What.GIVEN
            and sighting.address is not None
            and (mac in self._given or len(self._given) < MAX_WAITING)
        ):
            self._given[mac] = Given(mac, sighting.address, None), now + REMEMBERED
        if now - self._told.get(mac, float("-inf")) < REPEAT:
            return
        if len(self._told) >= MAX_WAITING:
            self._told = {each: at for each, at in self._told.items() if now - at < REPEAT}
            if len(self._told) >= MAX_WAITING:  # it asks again; and a flood of invented MACs registers no more than this
                return
        self._told[mac] = now
        self._register(Machine(mac, None, network.name, _netboots(sighting, view.discovery)))
        if self._sightings.is_news(mac, "registering", now):
            self._report(Event(Kind.SEEN, clock, None, mac, {"network": network.name, **_detail(sighting)}))

    def _ignore(self, sighting: Sighting, why: str, now: float, clock: float) -> None:
        if self._sightings.is_news(sighting.mac, why, now):
            self._report(Event(Kind.IGNORED, clock, None, sighting.mac, {"because": why, **_detail(sighting)}))


def _refusal(sighting: Sighting, discovery: DiscoveryView | None, clock: float) -> str | None:
    """Why the open discovery does not take a machine, wherever it is."""
    closed = admission.closed(discovery, sighting.mac, clock)
    if closed is not None or discovery is None:
        return closed
    return admission.unfit(discovery, sighting.mac, netboots=sighting.netboots)


def _netboots(sighting: Sighting, discovery: DiscoveryView | None) -> bool:
    """Most logs don't say it: then it is what the discovery wants."""
    if sighting.netboots is not None:
        return sighting.netboots
    return discovery is not None and discovery.installs


def _network(sighting: Sighting, view: View) -> NetworkView | None:
    """Where it is: by what the server gives it, its relay, or the device; else on the cluster's first network."""
    for address in (sighting.address, sighting.relay):
        if address is not None:
            return view.network_of(address)
    on_device = (network for network in view.networks if network.device is not None and network.device == sighting.device)
    return next(on_device, next(iter(view.networks), None))


def _nowhere(sighting: Sighting) -> str:
    where = sighting.address or sighting.relay
    return "the cluster has no network" if where is None else f"no network of the cluster holds {where}: `bootserver network add`"


def _detail(sighting: Sighting) -> Detail:
    detail: dict[str, str | int | float | bool | None] = {"by": sighting.program.value}
    if sighting.address is not None:
        detail["address"] = str(sighting.address)
    if sighting.device is not None:
        detail["device"] = sighting.device
    if sighting.relay is not None:
        detail["relay"] = str(sighting.relay)
    return detail
