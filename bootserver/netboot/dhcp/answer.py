"""Who is answered, and what: an authoritative DHCP server for machines that the cluster knows (RFC 2131 section 4.3).

It decides and does no I/O. A node's address is its own for ever: the lease is a formality that lets the machine notice a
change, so there is no lease table, and DECLINE and RELEASE are only told. A machine that the cluster does not know is
never answered, not even with a NAK: it may well be another server's client.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from bootserver.cluster import admission
from bootserver.cluster.events import Kind
from bootserver.cluster.view import InterfaceView, NetworkView, NodeView, View
from bootserver.netboot.dhcp import request as options
from bootserver.netboot.dhcp import wire
from bootserver.netboot.dhcp.arrival import MAX_RELAY_INFORMATION, Arrival, Arrivals, nowhere
from bootserver.netboot.dhcp.request import MessageType, Registration
from bootserver.netboot.dhcp.site_options import SiteOptionsReader
from bootserver.netboot.dhcp.tail import BootFiles, Form, Names, Ready, prepare
from bootserver.netboot.dhcp.wire import NO_ADDRESS, DhcpPacket, WireError
from bootserver.values.mac import MacAddress

_HEAD: Final = struct.Struct("!BBBBIHH4s4s4s4s16s")
_REPLY: Final = 2
MAX_READY: Final = 16_384
"""Replies kept encoded, about 1.5 kB each, 3.5 at most. A client makes more of them by changing its identifiers; when
there are so many, all are dropped and made anew as they are asked for."""
TOOK_ANOTHER: Final = "it took another server's offer"

_PAST_RELAYS: Final = frozenset({MessageType.REQUEST, MessageType.INFORM, MessageType.RELEASE})
"""What a machine that has an address sends to its server alone (RFC 2131 sections 4.4.3 to 4.4.6): no relay takes part in it."""


class Answer(NamedTuple):
    """A reply to send.

    :ivar kind: OFFERED, ACKNOWLEDGED or REFUSED (then `why` says what was wrong).
    :ivar ready: what the reply was made from.
    """

    datagram: bytes
    kind: Kind
    node: NodeView
    interface: InterfaceView
    ready: Ready
    why: str = ""


class Silence(NamedTuple):
    """Nothing to send, but something to tell: IGNORED, DECLINED or RELEASED."""

    why: str
    kind: Kind = Kind.IGNORED
    node: NodeView | None = None


class Register(NamedTuple):
    """A machine that the open discovery takes. Its request is answered when the view knows it."""

    registration: Registration


Outcome = Answer | Silence | Register


class Responder:
    """:param boot_files: which boot file a node's firmware gets; asked once for each kind of request in a view.
    :param no_proxy_wait: tell iPXE not to wait for a proxyDHCP server.
    """

    def __init__(self, boot_files: BootFiles, *, no_proxy_wait: bool = True) -> None:
        self._boot_files = boot_files
        self._no_proxy_wait = no_proxy_wait
        self._site_options = SiteOptionsReader()
        self._view: View | None = None
        self._ready: dict[tuple[Form | bytes | None, ...], Ready] = {}
        self._arrivals = Arrivals()

    def __call__(self, packet: DhcpPacket, device: str, view: View, now: float) -> Outcome:
        """What to do about a message.

        :param device: the network device that it came in by.
        :param now: seconds since the epoch, which a discovery's end is compared with.
        """
        if view is not self._view:
            self._view = view
            self._ready.clear()
            self._arrivals.clear()
        if packet.op != 1:
            return Silence("a reply, not a request")
        if packet.htype != 1 or packet.hlen != 6:
            return Silence(f"hardware type {packet.htype} with an address of {packet.hlen} octets is no Ethernet")
        if len(packet.options.get(wire.RELAY_INFORMATION, b"")) > MAX_RELAY_INFORMATION:
            return Silence("relay information that would leave no room for an answer")
        known = view.by_mac.get(packet.chaddr[:6])
        try:
            arrival = self._arrivals.of(packet, device, view)
            if known is None:
                return stranger(packet, arrival.networks, view, now) if arrival.networks else Silence(nowhere(packet, device))
            node, interface = known
            if interface.network.id not in arrival.networks and (silence := _elsewhere(packet, device, arrival, node, interface)):
                return silence
            if interface.ip is None:
                return Silence(f"its interface {interface.device} has no address", node=node)
            return self._known(packet, node, interface, interface.ip, arrival.server)
        except WireError as error:
            return Silence(str(error), node=None if known is None else known[0])

    def _known(
        self, packet: DhcpPacket, node: NodeView, interface: InterfaceView, address: IPv4Address, server: bytes | None
    ) -> Outcome:
        """:param server: what it takes for its server's address, if not ours."""
        match options.message_type(packet):
            case MessageType.DISCOVER:
                ready = self._prepared(Form.LEASE, packet, node, interface, address, server)
                head = _head(packet, NO_ADDRESS, ready.address, ready.next_server)
                return Answer(head + ready.offer, Kind.OFFERED, node, interface, ready)
            case MessageType.REQUEST:
                ready = self._prepared(Form.LEASE, packet, node, interface, address, server)
                return _requested(packet, node, interface, ready, server)
            case None:
                ready = self._prepared(Form.BOOTP, packet, node, interface, address, None)
                head = _head(packet, NO_ADDRESS, ready.address, ready.next_server)
                return Answer(head + ready.answer, Kind.ACKNOWLEDGED, node, interface, ready)
            case MessageType.INFORM:
                # An answer goes to ciaddr, which is whatever the datagram says: never let it point out of our network.
                if packet.ciaddr == NO_ADDRESS or IPv4Address(packet.ciaddr) not in interface.network.subnet:
                    return Silence("INFORM from an address that is not of its network", node=node)
                ready = self._prepared(Form.INFORMED, packet, node, interface, address, server)
                head = _head(packet, packet.ciaddr, NO_ADDRESS, ready.next_server)
                return Answer(head + ready.answer, Kind.ACKNOWLEDGED, node, interface, ready)
            case MessageType.DECLINE | MessageType.RELEASE as message:
                return _gives_back(packet, message, node, interface, address, server)
            case message:
                return Silence(f"{message.name} is a server's message", node=node)

    def _prepared(
        self,
        form: Form,
        packet: DhcpPacket,
        node: NodeView,
        interface: InterfaceView,
        address: IPv4Address,
        server: bytes | None,
    ) -> Ready:
        get = packet.options.get
        # What a reply depends on besides the node itself: a machine that says these alike is told the same.
        key = (
            form,
            server,
            packet.chaddr[:6],
            get(options.PARAMETERS),
            get(options.VENDOR_CLASS),
            get(options.ARCHITECTURE),
            get(options.USER_CLASS),
            get(options.IPXE),
            get(options.CLIENT_ID),
            get(options.MACHINE_ID),
            get(options.MAX_SIZE),
            get(wire.RELAY_INFORMATION),
        )
        ready = self._ready.get(key)
        if ready is None:
            request = options.read(packet)
            boot = self._boot_files(node, interface, request) if node.appliance.installs else None
            names = Names(node.name, interface.network)
            site = self._site_options(node, interface.network, request.mac)
            wait = self._no_proxy_wait
            ready = prepare(form, names, address, packet, request, boot, no_proxy_wait=wait, site=site, server=server)
            if len(self._ready) >= MAX_READY:
                self._ready.clear()
            self._ready[key] = ready
        return ready


def stranger(packet: DhcpPacket, networks: Mapping[int, NetworkView], view: View, now: float) -> Silence | Register:
    """A MAC that is nobody's, on one of `networks`.

    A discovery is for one network. A further card of a machine that is known by its UUID may be on any: the registrar makes it
    that node's next interface. And it is the registrar that asks a person where the discovery wants that.
    """
    discovery, mac = view.discovery, packet.chaddr[:6]
    if (why := admission.closed(discovery, mac, now)) is not None:
        return Silence(why)
    assert discovery is not None
    request = options.read(packet)
    if request.message not in {MessageType.DISCOVER, None}:
        return Silence("unknown, and it does not begin with a DISCOVER")
    if why := admission.unfit(discovery, request.mac, netboots=request.netboots):
        return Silence(why)
    network = _of_a_further_card(request.uuid, networks, view) or networks.get(discovery.network)
    if network is None and request.uuid in view.by_uuid:
        network = next(iter(networks.values()))
    if network is None:
        return Silence(admission.elsewhere(discovery, view, networks.values()))
    return Register(
        Registration(
            mac=MacAddress(mac),
            network=network,
            uuid=request.uuid,
            firmware=request.firmware,
            architecture=request.architecture,
            netboots=request.netboots,
            vendor_class=request.vendor_class,
            host_name=request.host_name,
        )
    )


def _of_a_further_card(uuid: bytes | None, networks: Mapping[int, NetworkView], view: View) -> NetworkView | None:
    """Where a card of a node that is known by its UUID is: on the network where the node has an interface without a MAC."""
    node = None if uuid is None else view.by_uuid.get(uuid)
    waiting = () if node is None else (each.network.id for each in node.interfaces if each.mac is None)
    return next((networks[number] for number in waiting if number in networks), None)


def _elsewhere(packet: DhcpPacket, device: str, arrival: Arrival, node: NodeView, interface: InterfaceView) -> Silence | None:
    """Why a node that asks where it does not belong is not answered; None: it belongs behind a router, and speaks to us alone.

    RFC 2131 section 4.4.5: it renews its lease by unicast, which no relay sees.
    """
    network = interface.network
    past = network.device is None and packet.giaddr == NO_ADDRESS and IPv4Address(packet.ciaddr) in network.subnet
    if not past or options.message_type(packet) not in _PAST_RELAYS:
        if not arrival.networks:
            return Silence(nowhere(packet, device))
        return Silence(f"it belongs on network {network.name}, and asks elsewhere", node=node)
    if interface.ip is not None and packet.ciaddr != interface.ip.packed:
        # An answer would go to ciaddr, a refusal to everybody on this wire: the one is not its own, the other not where it is.
        said = f"it says that it is {IPv4Address(packet.ciaddr)} and is {interface.ip}"
        return Silence(f"{said}: it is refused when it asks by its relay again", node=node)
    return None


def _requested(
    packet: DhcpPacket, node: NodeView, interface: InterfaceView, ready: Ready, server: bytes | None
) -> Answer | Silence:
    kind, why = _judge(packet, ready, server)
    if kind is Kind.ACKNOWLEDGED:
        head = _head(packet, packet.ciaddr, ready.address, ready.next_server)
        return Answer(head + ready.answer, kind, node, interface, ready)
    if kind is Kind.REFUSED:
        return Answer(_refusal(packet, server or ready.server), kind, node, interface, ready, why)
    return Silence(why, node=node)


def _judge(packet: DhcpPacket, ready: Ready, server: bytes | None) -> tuple[Kind, str]:
    """A REQUEST in each of its four forms (RFC 2131 section 4.3.2, table 4)."""
    named = packet.options.get(options.SERVER_ID)
    requested = packet.options.get(options.REQUESTED_ADDRESS)
    if named is not None and named != ready.server and named != server:
        return Kind.IGNORED, TOOK_ANOTHER  # SELECTING
    # RENEWING and REBINDING fill ciaddr; SELECTING and INIT-REBOOT ask by option 50.
    asked = packet.ciaddr if packet.ciaddr != NO_ADDRESS else requested
    if asked is None or len(asked) != 4:
        return Kind.IGNORED, "it asks for no address"
    if asked != ready.address:
        return Kind.REFUSED, f"it asked for {IPv4Address(asked)}; its address is {IPv4Address(ready.address)}"
    return Kind.ACKNOWLEDGED, ""


def _gives_back(
    packet: DhcpPacket,
    message: MessageType,
    node: NodeView,
    interface: InterfaceView,
    address: IPv4Address,
    server: bytes | None,
) -> Silence:
    named = packet.options.get(options.SERVER_ID)
    if named is not None and named not in (interface.network.frontend.packed, server):
        return Silence(f"{message.name} is meant for another server", node=node)
    if message is MessageType.RELEASE:
        return Silence(f"it gave {address} back, and keeps it", Kind.RELEASED, node)
    text = options.printable(packet.options.get(options.MESSAGE, b"")) or "no message"
    return Silence(f"it found {address} in use by another machine ({text})", Kind.DECLINED, node)


def _head(packet: DhcpPacket, ciaddr: bytes, yiaddr: bytes, siaddr: bytes) -> bytes:
    """The reply's fixed part up to ``sname``; RFC 2131 section 4.3.1, table 3."""
    flags, giaddr = packet.flags, packet.giaddr
    return _HEAD.pack(_REPLY, 1, 6, 0, packet.xid, 0, flags, ciaddr, yiaddr, siaddr, giaddr, packet.chaddr)


def _refusal(packet: DhcpPacket, server: bytes) -> bytes:
    """A NAK. Through a relay it carries the broadcast flag: the client has no address that a unicast would reach
    (RFC 2131 section 4.3.2)."""
    facts = [(options.MESSAGE_TYPE, bytes((MessageType.NAK.value,))), (options.SERVER_ID, server)]
    client = packet.options.get(options.CLIENT_ID)
    if client is not None:
        facts.append((options.CLIENT_ID, client))
    tail = wire.encode_tail(facts, relay_information=packet.options.get(wire.RELAY_INFORMATION))
    if packet.giaddr != NO_ADDRESS:
        packet = packet._replace(flags=packet.flags | wire.BROADCAST_FLAG)
    return _head(packet, NO_ADDRESS, NO_ADDRESS, NO_ADDRESS) + tail.octets
