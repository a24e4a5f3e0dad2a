"""The loop of a proxyDHCP server: offers at port 67, boot files at port 4011, and addresses learned on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from typing import Final

from bootserver.cluster.addresses import Given
from bootserver.cluster.events import Kind, Reporter
from bootserver.cluster.view import View
from bootserver.netboot.dhcp import wire
from bootserver.netboot.dhcp.advertise import Advertiser
from bootserver.netboot.dhcp.answer import Register, Silence
from bootserver.netboot.dhcp.learning import Learning
from bootserver.netboot.dhcp.link import Link
from bootserver.netboot.dhcp.loop import BATCH, Loop
from bootserver.netboot.dhcp.proxy import Boot, Claim, Offer, ProxyResponder
from bootserver.netboot.dhcp.reply import CLIENT_PORT, EVERYBODY, route
from bootserver.netboot.dhcp.request import Registration
from bootserver.netboot.dhcp.rogue import Rogues
from bootserver.values.mac import MacAddress

log = logging.getLogger(__name__)

MAX_HELD: Final = 1_024
PATIENCE: Final = 1.2
"""Seconds that a question at port 4011 waits for its address to be found true: iPXE gives up after 2. Then it is answered all
the same, for a boot file is no secret; a menu with a ticket is, and is refused where the address is not the node's."""
SETTLE: Final = 0.2
"""Seconds from a new view to the answer: TFTP and HTTP have views of their own, and may see the address a little later."""
_CHADDR: Final = slice(28, 34)
_GIADDR: Final = slice(24, 28)


@dataclass(slots=True)
class _Held:
    """A question at port 4011 that waits. :ivar due: when it is answered, whatever is known by then."""

    datagram: bytes
    source: tuple[str, int]
    link: Link
    address: IPv4Address
    due: float
    settled: bool = False


class ProxyServer(Loop):
    """:param links: port 67 on each device.
    :param pxe: port 4011 on each device.
    :param respond: decides.
    :param learned: told of a node's address that was found true.
    :param allowed: the site's DHCP servers; empty: any.
    """

    def __init__(
        self,
        links: Sequence[Link],
        pxe: Sequence[Link],
        view: Callable[[], View],
        respond: ProxyResponder,
        reporter: Reporter,
        register: Callable[[Registration], None],
        learned: Callable[[Given], None],
        *,
        allowed: frozenset[IPv4Address] = frozenset(),
        advertisers: Sequence[Advertiser] = (),
        on_tick: Callable[[], None] | None = None,
        look_seconds: float = 0,
    ) -> None:
        super().__init__(
            links,
            view,
            reporter,
            register,
            advertisers=advertisers,
            on_tick=on_tick,
            # Where nobody said which servers are the site's, another one is no news.
            rogues=Rogues(allowed) if allowed else None,
            look_seconds=look_seconds,
        )
        self._respond = respond
        self._allowed = allowed
        self._learning = Learning(learned, self._not_its_own)
        self._held: dict[bytes, _Held] = {}
        for link in pxe:
            self._sources[link.udp.fileno()] = partial(self._drain_pxe, link)

    # -- port 67 -----------------------------------------------------------------------------------------------------

    def handle(self, packet: wire.DhcpPacket, datagram: bytes, link: Link) -> None:
        outcome = self._respond.offer(packet, link.device, self._view, self._clock)
        match outcome:
            case Offer():
                self._send(packet, outcome, link)
            case Register():
                self.register(outcome.registration, datagram, link)
            case Claim():
                self._claimed(packet, outcome, link)
            case Silence():
                self.hold_back(packet, outcome, link)
            case None:
                self.counters.silent += 1

    def _send(self, packet: wire.DhcpPacket, offer: Offer, link: Link) -> None:
        # It has no address, so all but a relay's are broadcast.
        way = route(packet, address=wire.NO_ADDRESS, refused=False)
        network = offer.interface.network
        to_mac, server, routed = packet.chaddr[:6], network.frontend.packed, network.device is None
        if not link.send(offer.datagram, way, to_mac=to_mac, to=wire.NO_ADDRESS, source=server, routed=routed):
            self.counters.unsent += 1
            return
        self.counters.sent += 1
        self.tell(Kind.OFFERED, offer.node.name, offer.interface.mac, offer.detail)

    def _claimed(self, packet: wire.DhcpPacket, claim: Claim, link: Link) -> None:
        self.counters.silent += 1
        mac, server = packet.chaddr[:6], claim.server
        if server is not None and self._allowed and server not in self._allowed:
            self._neighbours[link.device].suspect(server, self._now, self._clock)
        elif packet.giaddr != wire.NO_ADDRESS:
            self._learning.by_relay(mac, claim.address, server, self._now)
        elif (prober := self._prober(link.device)) is not None and claim.address in claim.interface.network.subnet:
            frontend = claim.interface.network.frontend.packed
            self._learning.by_wire(mac, claim.address, server, prober, frontend, self._now)

    # -- port 4011 ---------------------------------------------------------------------------------------------------

    def _drain_pxe(self, link: Link, now: float, _clock: float) -> None:
        for _ in range(BATCH):
            try:
                datagram, source = link.udp.recvfrom(wire.MAX_DATAGRAM)
            except OSError:  # nothing more, an ICMP error about an earlier answer, or the device went away
                return
            self.counters.received += 1
            self._look()
            mac = datagram[_CHADDR]
            if mac not in self._view.by_mac and not self._guard.admits((link.device, datagram[_GIADDR]), now):
                self.counters.flooded += 1
            elif not self._throttle.admits(mac, now):
                self.counters.throttled += 1
            else:
                self._asked_for_boot_file(datagram, source, link)

    def _asked_for_boot_file(self, datagram: bytes, source: tuple[str, int], link: Link, *, waits: bool = True) -> None:
        try:
            packet = wire.decode(datagram)
            outcome = self._respond.boot(packet, IPv4Address(source[0]).packed, link.device, self._view)
            if isinstance(outcome, Silence):
                self.hold_back(packet, outcome, link)
            elif waits and outcome.address is not None and outcome.address != outcome.interface.ip:
                self._hold(datagram, source, link, outcome, outcome.address)
            else:
                self._answer(packet, outcome, source, link)
        except wire.WireError as error:
            self._malformed(datagram, link, error)
        except Exception:  # ours, whatever it is: the loop goes on for everybody else
            self._defect(datagram)

    def _answer(self, packet: wire.DhcpPacket, boot: Boot, source: tuple[str, int], link: Link) -> None:
        to = source if boot.address is not None else (EVERYBODY, CLIENT_PORT)
        if source[0] == "0.0.0.0" and boot.address is not None:  # noqa: S104
            to = (str(boot.address), CLIENT_PORT)
        if not link.answer(boot.datagram, to, boot.server):
            self.counters.unsent += 1
            return
        self.counters.sent += 1
        self.tell(Kind.ACKNOWLEDGED, boot.node.name, MacAddress(packet.chaddr[:6]), boot.detail)

    def _hold(self, datagram: bytes, source: tuple[str, int], link: Link, boot: Boot, address: IPv4Address) -> None:
        mac = datagram[_CHADDR]
        held = self._held.get(mac)
        if held is None:
            if len(self._held) >= MAX_HELD:
                self.counters.silent += 1
                return
            self._held[mac] = _Held(datagram, source, link, address, self._now + PATIENCE)
        else:
            held.datagram, held.source, held.link, held.address = datagram, source, link, address
        network = boot.interface.network
        prober = self._prober(link.device)
        if prober is not None and network.device == link.device and address in network.subnet:
            self._learning.by_wire(mac, address, None, prober, network.frontend.packed, self._now)
        else:
            self._learning.from_afar(mac, address, self._now)

    def _not_its_own(self, mac: bytes, address: IPv4Address, holder: MacAddress) -> None:
        known = self._view.by_mac.get(mac)
        if known is not None and self._sightings.is_news(mac, f"{address} is {holder}'s", self._now, stranger=False):
            why = f"it says that it is {address}, and {holder} answers for that address"
            detail = {"because": why, "address": str(address), "by": str(holder)}
            self.tell(Kind.ALARM, known[0].name, MacAddress(mac), detail)

    # -- what comes of it --------------------------------------------------------------------------------------------

    def changed(self, _before: View) -> None:
        for mac in self._registering.known_by(self._view):
            waiting = self._registering.release(mac)
            if waiting is not None:
                self.take(waiting.datagram, waiting.link)
        for mac, held in self._held.items():
            known = self._view.by_mac.get(mac)
            if known is not None and known[1].ip == held.address and not held.settled:
                held.settled, held.due = True, self._now + SETTLE

    def tick(self) -> None:
        super().tick()
        if self._held:
            for mac in [mac for mac, held in self._held.items() if self._now >= held.due]:
                held = self._held.pop(mac)
                self._asked_for_boot_file(held.datagram, held.source, held.link, waits=False)
