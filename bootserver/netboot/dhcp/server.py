"""The DHCP server that gives nodes their addresses.

The address of a node that has just been added is asked for by ARP before it is offered for the first time (RFC 2131 section
4.4.1, RFC 5227); that takes 0.4 s, in which others are answered. Nodes that are known wait for nothing: theirs is asked for
once, behind their back, and who has it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address
from typing import Final

from bootserver.cluster.addresses import InUse
from bootserver.cluster.events import Event, Kind, Reporter
from bootserver.cluster.view import NodeView, View
from bootserver.netboot.dhcp import request as options
from bootserver.netboot.dhcp import wire
from bootserver.netboot.dhcp.advertise import Advertiser
from bootserver.netboot.dhcp.answer import TOOK_ANOTHER, Answer, Register, Responder, Silence
from bootserver.netboot.dhcp.guard import TOLD_OF_ONE
from bootserver.netboot.dhcp.link import Link
from bootserver.netboot.dhcp.loop import Loop
from bootserver.netboot.dhcp.probe import CONFLICT
from bootserver.netboot.dhcp.reply import route
from bootserver.netboot.dhcp.request import Registration
from bootserver.netboot.dhcp.rogue import Rogues
from bootserver.values.mac import MacAddress

MAX_CHECKED: Final = 65_536
CHECKED_AT_ONCE: Final = 64
"""Addresses of known nodes that are asked for at the same time; the rest have their turn at their next boot."""
_GIADDR: Final = slice(24, 28)


class DhcpServer(Loop):
    """Answers nodes with their addresses.

    :param respond: decides.
    :param in_use: told that an address that was about to be given is another machine's; another one is then looked for.
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
        rogues: Rogues | None = None,
        look_seconds: float = 0,
        in_use: Callable[[InUse], None] | None = None,
    ) -> None:
        super().__init__(
            links,
            view,
            reporter,
            register,
            advertisers=advertisers,
            on_tick=on_tick,
            rogues=rogues,
            look_seconds=look_seconds,
        )
        self._respond = respond
        self._in_use = in_use
        self._checked: set[bytes] = set()

    def handle(self, packet: wire.DhcpPacket, datagram: bytes, link: Link) -> None:
        outcome = self._respond(packet, link.device, self._view, self._clock)
        if isinstance(outcome, Answer):
            if not self._registering.idle and self._must_wait(packet, datagram, outcome, link):
                self.counters.silent += 1
            else:
                self._send(packet, outcome, link)
        elif isinstance(outcome, Register):
            self.register(outcome.registration, datagram, link)
        else:
            self._after_silence(packet, outcome, link)
            self.hold_back(packet, outcome, link)

    def _send(self, packet: wire.DhcpPacket, answer: Answer, link: Link) -> None:
        address = answer.datagram[16:20]  # yiaddr
        way = route(packet, address=address, refused=answer.kind is Kind.REFUSED)
        ready = answer.ready
        mac = packet.chaddr[:6]
        routed = answer.interface.network.device is None
        if link.send(answer.datagram, way, to_mac=mac, to=address, source=ready.server, routed=routed):
            self.counters.sent += 1
        else:
            self.counters.unsent += 1
            return
        detail = {**ready.detail, "because": answer.why} if answer.why else ready.detail
        count = self._told_of.get(mac, 0)
        if count < TOLD_OF_ONE - 1:  # as :meth:`tell` does it, without the call: this is the busiest line of all
            self._told_of[mac] = count + 1
            self._report(Event(answer.kind, self._clock, answer.node.name, answer.interface.mac, detail))
        else:
            self.tell(answer.kind, answer.node.name, answer.interface.mac, detail)
        if packet.giaddr == wire.NO_ADDRESS and answer.kind is Kind.OFFERED and mac + address not in self._checked:
            self._check_behind_its_back(mac, address, answer.node, link)

    def _after_silence(self, packet: wire.DhcpPacket, silence: Silence, link: Link) -> None:
        """What a message that is not answered says of the neighbourhood."""
        if silence.node is None or packet.giaddr != wire.NO_ADDRESS:
            return
        if silence.why == TOOK_ANOTHER and packet.ciaddr == wire.NO_ADDRESS:
            server = IPv4Address(packet.options[options.SERVER_ID]) if len(packet.options[options.SERVER_ID]) == 4 else None
            if server is not None:
                self._neighbours[link.device].suspect(server, self._now, self._clock)
        elif silence.kind is Kind.DECLINED:
            address = self._view.by_mac[packet.chaddr[:6]][1].ip
            if address is not None:
                self._checked.discard(packet.chaddr[:6] + address.packed)
                self._check_behind_its_back(packet.chaddr[:6], address.packed, silence.node, link)

    # -- is an address anybody else's? --------------------------------------------------------------------------------

    def changed(self, before: View) -> None:
        if before.sequence >= 0:
            self._registering.added(self._view.by_mac.keys() - before.by_mac.keys())
        for mac in self._registering.known_by(self._view):
            self._check_first(mac)

    def _must_wait(self, packet: wire.DhcpPacket, datagram: bytes, answer: Answer, link: Link) -> bool:
        mac = packet.chaddr[:6]
        if self._registering.keeps(mac, answer.ready.address, datagram, self._now):
            return True
        if answer.kind is not Kind.OFFERED or not self._registering.begins(mac, datagram, link, self._now):
            return False
        self._check_first(mac)
        return True

    def _check_first(self, mac: bytes) -> None:
        """Answer a node that waits, once it is known that nobody has its address."""
        waiting = self._registering.of(mac)
        if waiting is None:
            return
        node, interface = self._view.by_mac[mac]
        prober = self._prober(waiting.link.device)
        if interface.ip is None or prober is None or waiting.datagram[_GIADDR] != wire.NO_ADDRESS:
            self._answer_waiting(mac)
        elif self._registering.begins_check(mac, interface.ip):
            prober.ask(interface.ip.packed, partial(self._found, mac, node, interface.ip), self._now, pauses=CONFLICT)

    def _found(self, mac: bytes, node: NodeView, address: IPv4Address, holder: bytes | None) -> None:
        if holder is None or _is_of(node, holder):
            self._answer_waiting(mac)
            return
        self._conflict(mac, node, address, MacAddress(holder))
        if self._registering.withhold(mac, address, self._now) and self._in_use is not None:
            self._in_use(InUse(MacAddress(mac), address, MacAddress(holder)))

    def _answer_waiting(self, mac: bytes) -> None:
        waiting = self._registering.release(mac)
        if waiting is not None:
            self.take(waiting.datagram, waiting.link)

    def _check_behind_its_back(self, mac: bytes, address: bytes, node: NodeView, link: Link) -> None:
        prober = self._prober(link.device)
        if prober is None or prober.busy >= CHECKED_AT_ONCE:
            return
        if len(self._checked) >= MAX_CHECKED:
            self._checked.clear()
        self._checked.add(mac + address)
        prober.ask(address, partial(self._known_found, mac, node, IPv4Address(address)), self._now, pauses=CONFLICT)

    def _known_found(self, mac: bytes, node: NodeView, address: IPv4Address, holder: bytes | None) -> None:
        if holder is not None and not _is_of(node, holder):
            self._conflict(mac, node, address, MacAddress(holder))

    def _conflict(self, mac: bytes, node: NodeView, address: IPv4Address, holder: MacAddress) -> None:
        if self._sightings.is_news(mac, f"{address} is in use by {holder}", self._now, stranger=False):
            detail = {"because": f"{address} is in use by {holder}", "address": str(address), "by": str(holder)}
            self.tell(Kind.ALARM, node.name, MacAddress(mac), detail)


def _is_of(node: NodeView, mac: bytes) -> bool:
    """Linux answers for an address of its own by any of its cards."""
    return any(interface.mac == mac for interface in node.interfaces)
