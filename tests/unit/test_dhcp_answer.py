"""Who is answered and what: a table of situations, each a view, a message and what becomes of it."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.cluster.events import Kind
from bootserver.cluster.view import InterfaceView, View
from bootserver.netboot.dhcp import request, wire
from bootserver.netboot.dhcp.answer import Answer, Outcome, Register, Responder, Silence
from bootserver.netboot.dhcp.reply import Route, Via, frame, route
from bootserver.netboot.dhcp.request import MessageType
from bootserver.netboot.dhcp.tail import BootFile
from bootserver.netboot.dhcp.wire import NO_ADDRESS, DhcpPacket
from bootserver.values.firmware import Firmware
from bootserver.values.mac import MacAddress
from tests import views

CAPTURED = Path(__file__).parent.parent / "data" / "dhcp"
OWN = "10.1.255.254"
OTHER = "10.1.2.3"
FRONTEND = "10.1.1.1"
ELSEWHERE = "192.0.2.1"
STRANGER = MacAddress.parse("52:54:00:99:99:99")
PXE = {60: b"PXEClient:Arch:00000:UNDI:002001", 93: b"\0\0"}


def octets(address: str) -> bytes:
    return socket.inet_aton(address)


def message(
    kind: MessageType | None = MessageType.DISCOVER,
    options: dict[int, bytes] | None = None,
    *,
    mac: bytes = views.MAC,
    ciaddr: str = "0.0.0.0",
    giaddr: str = "0.0.0.0",
    flags: int = 0,
    op: int = 1,
) -> DhcpPacket:
    said = {} if kind is None else {53: bytes((kind.value,))}
    return DhcpPacket(
        op, 1, 6, 0, 0x0A0B0C0D, 7, flags, octets(ciaddr), NO_ADDRESS, NO_ADDRESS, octets(giaddr), mac.ljust(16, b"\0"),
        bytes(64), bytes(128), said | (options or {}),
    )  # fmt: skip


def request_for(address: str | None = None, *, server: str | None = None, ciaddr: str = "0.0.0.0", **fields) -> DhcpPacket:
    options = {}
    if address is not None:
        options[50] = octets(address)
    if server is not None:
        options[54] = octets(server)
    return message(MessageType.REQUEST, options, ciaddr=ciaddr, **fields)


def pxelinux(node, interface, asked):
    """The boot file of these tests."""
    if asked.wants_http_boot:
        return BootFile("http://10.1.1.1/boot/grubx64.efi", url=True, http_boot=True)
    return BootFile("script.ipxe" if asked.is_ipxe else "pxelinux.0")


def ask(packet: DhcpPacket, view: View, *, device: str = "eth1", now: float = 1e9, **settings) -> Outcome:
    return Responder(pxelinux, **settings)(packet, device, view, now)


def answered(packet: DhcpPacket, view: View | None = None, **how) -> DhcpPacket:
    outcome = ask(packet, view or views.view([views.node()]), **how)
    assert isinstance(outcome, Answer), outcome
    return wire.decode(outcome.datagram)


# --- a node of ours --------------------------------------------------------------------------------------------------

OFFER, ACK, NAK = MessageType.OFFER, MessageType.ACK, MessageType.NAK


@pytest.mark.parametrize(
    ("situation", "packet", "expected"),
    [
        ("DISCOVER", message(), OFFER),
        ("DISCOVER asking for another address", message(options={50: octets(OTHER)}), OFFER),
        ("SELECTING us", request_for(OWN, server=FRONTEND), ACK),
        ("SELECTING us with a wrong address", request_for(OTHER, server=FRONTEND), NAK),
        ("SELECTING another server", request_for(OTHER, server=ELSEWHERE), None),
        ("SELECTING another server with our address", request_for(OWN, server=ELSEWHERE), None),
        ("INIT-REBOOT with its address", request_for(OWN), ACK),
        ("INIT-REBOOT with an old address", request_for(OTHER), NAK),
        ("RENEWING its address", request_for(ciaddr=OWN), ACK),
        ("RENEWING an old address", request_for(ciaddr=OTHER), NAK),
        ("RENEWING with both, as some clients do", request_for(OWN, ciaddr=OWN), ACK),
        ("a REQUEST for nothing", request_for(), None),
        ("a REQUEST for three octets", message(MessageType.REQUEST, {50: b"\x0a\x01\x02"}), None),
        ("INFORM from its address", message(MessageType.INFORM, ciaddr=OWN), ACK),
        ("INFORM from another address of the network", message(MessageType.INFORM, ciaddr=OTHER), ACK),
        ("INFORM that points out of the network", message(MessageType.INFORM, ciaddr=ELSEWHERE), None),
        ("INFORM from nowhere", message(MessageType.INFORM), None),
        ("an OFFER", message(OFFER), None),
        ("a message type that there is not", message(options={53: b"\x63"}), None),
        ("a message type of two octets", message(options={53: b"\x01\x01"}), None),
        ("a reply", message(op=2), None),
        ("by a relay of its network", message(giaddr="10.1.0.9"), OFFER),
        ("by a relay of a network that is nobody's", message(giaddr=ELSEWHERE), None),
        ("with relay information that is too long", message(giaddr="10.1.0.9", options={82: bytes(256)}), None),
    ],
)
def test_a_known_machine_is_answered(situation, packet, expected):
    outcome = ask(packet, views.view([views.node()]))
    if expected is None:
        assert isinstance(outcome, Silence), situation
        assert outcome.kind is Kind.IGNORED
        return
    assert isinstance(outcome, Answer), situation
    reply = wire.decode(outcome.datagram)
    assert request.message_type(reply) is expected
    address = NO_ADDRESS if expected is NAK or request.message_type(packet) is MessageType.INFORM else octets(OWN)
    assert reply.yiaddr == address
    assert outcome.kind is {OFFER: Kind.OFFERED, ACK: Kind.ACKNOWLEDGED, NAK: Kind.REFUSED}[expected]
    assert bool(outcome.why) == (expected is NAK)
    assert (reply.op, reply.xid, reply.chaddr) == (2, packet.xid, packet.chaddr)


def test_an_offer_holds_what_a_machine_needs_to_know():
    reply = answered(message(options=PXE | {55: bytes((1, 3, 6, 12, 15, 28, 66, 67))}))
    assert reply.siaddr == octets(FRONTEND)
    assert reply.file.rstrip(b"\0") == b"pxelinux.0"
    assert reply.options == {
        53: b"\x02",
        54: octets(FRONTEND),
        51: (86_400).to_bytes(4),
        58: (43_200).to_bytes(4),
        59: (75_600).to_bytes(4),
        1: octets("255.255.0.0"),
        3: octets(FRONTEND),
        6: octets(FRONTEND),
        12: b"compute-0-0",
        15: b"local",
        28: octets("10.1.255.255"),
        66: b"10.1.1.1\0",
        67: b"pxelinux.0\0",
    }


def test_a_network_without_gateway_and_name_servers_has_none():
    bare = views.network(gateway=None, nameservers=())
    reply = answered(message(), views.view([views.node(on=bare)], networks=[bare]))
    assert not reply.options.keys() & {3, 6}


def test_informed_machines_get_no_lease():
    reply = answered(message(MessageType.INFORM, ciaddr=OWN))
    assert not reply.options.keys() & {51, 58, 59}
    assert (reply.ciaddr, reply.options[1]) == (octets(OWN), octets("255.255.0.0"))


def test_bootp_is_answered_without_a_word_of_dhcp():
    reply = answered(message(None))
    assert reply.yiaddr == octets(OWN)
    assert not reply.options.keys() & {51, 53, 54, 58, 59}
    assert reply.file.startswith(b"pxelinux.0\0")


def test_syslinux_efi_gets_its_file_and_server_though_it_asks_for_neither():
    packet = wire.decode(bytes.fromhex((CAPTURED / "syslinux-efi-discover.hex").read_text()))
    reply = answered(packet, views.view([views.node(mac=MacAddress(packet.chaddr[:6]))]))
    assert (reply.siaddr, reply.file.rstrip(b"\0")) == (octets(FRONTEND), b"pxelinux.0")
    assert not reply.options.keys() & {66, 67}


def test_http_boot_gets_a_url_and_its_vendor_class_back():
    packet = wire.decode(bytes.fromhex((CAPTURED / "ovmf-http-boot-discover.hex").read_text()))
    reply = answered(packet, views.view([views.node(mac=MacAddress(packet.chaddr[:6]))]))
    assert reply.options[60] == b"HTTPClient"
    assert reply.options[67] == b"http://10.1.1.1/boot/grubx64.efi\0"
    assert reply.options[97] == packet.options[97]
    assert 66 not in reply.options


def test_a_pxe_client_is_not_told_that_we_speak_pxe():
    assert 60 not in answered(message(options=PXE)).options


@pytest.mark.parametrize(("told", "option"), [(True, b"\xb0\x01\x01"), (False, None)])
def test_ipxe_is_told_not_to_wait_for_a_proxy_unless_that_is_off(told, option):
    packet = wire.decode(bytes.fromhex((CAPTURED / "ipxe-rom-bios-discover.hex").read_text()))
    reply = answered(packet, views.view([views.node(mac=MacAddress(packet.chaddr[:6]))]), no_proxy_wait=told)
    assert reply.options.get(175) == option
    assert 175 not in answered(message(options=PXE)).options


def test_what_a_client_is_known_by_comes_back():
    identity = {61: b"\xffDUID", 97: b"\0" + bytes(range(16))}
    reply = answered(message(options=identity))
    assert {code: reply.options[code] for code in identity} == identity
    assert answered(request_for(OTHER)._replace(options={53: b"\3", 50: octets(OTHER), 61: b"x"})).options[61] == b"x"


def test_relay_information_comes_back_as_the_last_option():
    for packet in (message(options={82: b"\1\4eth7"}, giaddr="10.1.0.9"), request_for(OTHER, giaddr="10.1.0.9")):
        packet.options[82] = b"\1\4eth7"  # type: ignore[index]
        outcome = ask(packet, views.view([views.node()]))
        assert outcome.datagram.rstrip(b"\0").endswith(b"\x52\x06\1\4eth7\xff")


def test_a_node_that_never_installs_gets_no_boot_file():
    reply = answered(message(options=PXE | {55: b"\x43"}), views.view([views.node(appliance=views.SWITCH)]))
    assert not any(reply.file)
    assert 67 not in reply.options


def test_a_long_url_goes_into_an_option_even_for_those_who_do_not_ask():
    url = "http://10.1.1.1/" + "a" * 180
    responder = Responder(lambda *_: BootFile(url, url=True))
    reply = wire.decode(responder(message(options={55: b"\1"}), "eth1", views.view([views.node()]), 0).datagram)
    assert reply.options[67] == url.encode() + b"\0"
    assert not any(reply.file)


@pytest.mark.parametrize(("max_size", "limit"), [(None, 548), (300, 548), (576, 548), (1472, 1444), (65280, 1472), (0, 548)])
def test_a_reply_is_as_large_as_its_client_takes(max_size, limit):
    packet = message(options={61: b"x" * 255, 97: bytes(17)} | ({} if max_size is None else {57: max_size.to_bytes(2)}))
    far = replace(views.network(), domain="d" * 60 + ".local", nameservers=(IPv4Address(FRONTEND),) * 60)
    outcome = ask(packet, views.view([views.node(on=far)], networks=[far]))
    assert 300 <= len(outcome.datagram) <= limit


def test_ovmf_s_boast_of_65280_octets_is_not_believed():
    asked = request.read(wire.decode(bytes.fromhex((CAPTURED / "ovmf-pxe-request.hex").read_text())))
    assert asked.max_size == 65280
    assert asked.firmware is Firmware.UEFI_X64


@pytest.mark.parametrize(
    ("kind", "options", "event", "says"),
    [
        (MessageType.DECLINE, {50: octets(OWN), 56: b"ARP\nprobe"}, Kind.DECLINED, "ARP.probe"),
        (MessageType.DECLINE, {50: octets(OWN), 54: octets(ELSEWHERE)}, Kind.IGNORED, "another server"),
        (MessageType.RELEASE, {54: octets(FRONTEND)}, Kind.RELEASED, "keeps it"),
    ],
)
def test_declining_and_releasing_are_told_and_change_nothing(kind, options, event, says):
    view = views.view([views.node()])
    outcome = ask(message(kind, options, ciaddr=OWN), view)
    assert isinstance(outcome, Silence)
    assert (outcome.kind, outcome.node.name) == (event, "compute-0-0")
    assert says in outcome.why
    assert answered(message(), view).yiaddr == octets(OWN)


def test_a_known_mac_on_a_foreign_network_is_not_answered():
    here, there = views.network(), views.network(2, name="storage", subnet="10.2.0.0/16", device="eth2", frontend="10.2.1.1")
    view = views.view([views.node(on=here)], networks=[here, there])
    outcome = ask(message(), view, device="eth2")
    assert isinstance(outcome, Silence)
    assert "belongs on network private" in outcome.why
    assert isinstance(ask(message(giaddr="10.2.0.1"), view), Silence)


def test_an_interface_without_an_address_is_not_answered():
    assert isinstance(ask(message(), views.view([views.node(ip=None)])), Silence)


def test_a_machine_behind_a_relay_gets_what_its_own_network_has():
    far = views.network(2, name="far", subnet="10.9.0.0/24", device=None, frontend=FRONTEND, gateway="10.9.0.1")
    view = views.view([views.node(ip="10.9.0.50", on=far)], networks=[views.network(), far])
    reply = answered(message(giaddr="10.9.0.1"), view)
    assert (reply.yiaddr, reply.options[3], reply.options[1]) == (
        octets("10.9.0.50"), octets("10.9.0.1"), octets("255.255.255.0"),
    )  # fmt: skip


# --- behind routers --------------------------------------------------------------------------------------------------

FAR_IP, ROUTER, UPLINK = "10.9.0.50", "10.9.0.1", "10.1.0.9"


def far_away(*, ip: str | None = FAR_IP, device: str | None = None) -> View:
    """A node on a network that only a relay reaches, and another one on ours."""
    far = views.network(2, name="far", subnet="10.9.0.0/24", device=device, frontend=FRONTEND, gateway=ROUTER)
    other = views.node(1, mac=MacAddress.parse("52:54:00:00:00:02"))
    return views.view([views.node(ip=ip, on=far), other], networks=[views.network(), far])


@pytest.mark.parametrize("device", ["eth1", "eth0"])
@pytest.mark.parametrize(
    ("situation", "packet", "expected"),
    [
        ("RENEWING past its relay", request_for(ciaddr=FAR_IP), ACK),
        ("RENEWING another's address past its relay", request_for(ciaddr="10.9.0.51"), None),
        ("RENEWING an address elsewhere", request_for(ciaddr=ELSEWHERE), None),
        ("RENEWING an address of this very wire", request_for(ciaddr=OWN), None),
        ("RENEWING by its relay", request_for(ciaddr=FAR_IP, giaddr=ROUTER), ACK),
        ("RENEWING an old address by its relay", request_for(ciaddr="10.9.0.51", giaddr=ROUTER), NAK),
        ("RENEWING by a relay elsewhere", request_for(ciaddr=FAR_IP, giaddr=UPLINK), None),
        ("INIT-REBOOT without its relay", request_for(FAR_IP), None),
        ("SELECTING us without its relay", request_for(FAR_IP, server=FRONTEND), None),
        ("INFORM past its relay", message(MessageType.INFORM, ciaddr=FAR_IP), ACK),
        ("INFORM that points to a neighbour of its", message(MessageType.INFORM, ciaddr="10.9.0.51"), None),
        ("DISCOVER by its relay", message(giaddr=ROUTER), OFFER),
        ("DISCOVER that says where it is", message(ciaddr=FAR_IP), None),
        ("DECLINE that says where it is", message(MessageType.DECLINE, ciaddr=FAR_IP), None),
        ("BOOTP that says where it is", message(None, ciaddr=FAR_IP), None),
    ],
)
def test_a_node_behind_a_router_is_answered_by_its_relay_and_when_it_speaks_to_us_alone(situation, packet, expected, device):
    outcome = ask(packet, far_away(), device=device)
    if expected is None:
        assert isinstance(outcome, Silence), situation
        assert outcome.kind is Kind.IGNORED
        return
    assert isinstance(outcome, Answer), outcome
    reply = wire.decode(outcome.datagram)
    assert request.message_type(reply) is expected
    assert expected is NAK or reply.options[3] == octets(ROUTER)
    way = route(packet, address=reply.yiaddr, refused=expected is NAK)
    assert way == ((Via.UNICAST, ROUTER, 67) if packet.giaddr != NO_ADDRESS else (Via.UNICAST, FAR_IP, 68))


def test_a_node_behind_a_router_gives_its_address_back_past_its_relay():
    outcome = ask(message(MessageType.RELEASE, {54: octets(FRONTEND)}, ciaddr=FAR_IP), far_away(), device="eth0")
    assert isinstance(outcome, Silence)
    assert outcome.kind is Kind.RELEASED


def test_a_node_of_a_network_on_a_device_renews_there_and_nowhere_else():
    view = far_away(device="eth2")
    assert isinstance(ask(request_for(ciaddr=FAR_IP), view, device="eth2"), Answer)
    outcome = ask(request_for(ciaddr=FAR_IP), view, device="eth1")
    assert isinstance(outcome, Silence)
    assert outcome.why == "it belongs on network far, and asks elsewhere"


def test_who_renews_what_is_not_its_own_behind_a_router_is_told_why_it_hears_nothing():
    outcome = ask(request_for(ciaddr="10.9.0.51"), far_away())
    assert isinstance(outcome, Silence)
    assert (outcome.why, outcome.node.name) == (
        "it says that it is 10.9.0.51 and is 10.9.0.50: it is refused when it asks by its relay again", "compute-0-0",
    )  # fmt: skip


LINK = b"\5\4" + octets(ROUTER)
"""RFC 3527: the machine is on the relay's link with this address."""
OVERRIDE = b"\x0b\4" + octets(ROUTER)
"""RFC 5107: the machine shall take the relay for its server."""


def test_a_relay_that_asks_by_its_uplink_says_which_link_the_machine_is_on():
    packet = message(options={82: b"\1\4eth7" + LINK}, giaddr=UPLINK)
    reply = answered(packet, far_away())
    assert (reply.yiaddr, reply.giaddr, reply.options[82]) == (octets(FAR_IP), octets(UPLINK), packet.options[82])
    assert route(packet, address=reply.yiaddr, refused=False) == Route(Via.UNICAST, UPLINK, 67)
    assert isinstance(ask(message(giaddr=UPLINK), far_away()), Silence)


def test_a_machine_s_own_link_selection_is_nobody_s_word():
    assert isinstance(ask(message(options={82: LINK}), far_away()), Silence)
    assert answered(message(options={82: OVERRIDE})).options[54] == octets(FRONTEND)


@pytest.mark.parametrize(
    ("information", "says"),
    [
        (b"\5\4" + octets("10.8.0.0"), "no network holds 10.8.0.0, the link that relay 10.1.0.9 asks for"),
        (b"\5\3\x0a\x09\0", "relay information: suboption 5 is no address of a host, but 0a0900"),
        (b"\5\0", "relay information: suboption 5 is no address of a host, but nothing"),
        (LINK + LINK, "relay information: suboption 5 is no address of a host, but 0a0900010a090001"),
        (b"\5\4" + bytes(4), "relay information: suboption 5 is no address of a host, but 00000000"),
        (LINK + b"\x0b\4\xe0\0\0\1", "relay information: suboption 11 is no address of a host, but e0000001"),
        (LINK + b"\x0b\4" + b"\xff" * 4, "relay information: suboption 11 is no address of a host, but ffffffff"),
        (b"\5\4\x0a\x09", "option 5 at byte 0 has 4 octets, 2 are there"),
        (LINK + b"\x0b", "option 11 at byte 6 has no length"),
        (LINK + b"\1\xff" + b"x", "option 1 at byte 6 has 255 octets, 1 are there"),
    ],
)
def test_a_garbled_selection_has_no_answer_and_a_reason(information, says):
    for kind in (message, request_for):
        outcome = ask(kind(giaddr=UPLINK)._replace(options={53: b"\1", 82: information}), far_away())
        assert isinstance(outcome, Silence)
        assert outcome.why == says


def test_what_a_relay_says_of_its_ports_is_not_read():
    """Switches number their ports as they like; that some of it looks like a suboption must cost no machine its answer."""
    for port in (b"\1\6\0\4\0\5\0\x0b", b"\1\xff", b"\1"):
        assert answered(message(options={82: port}, giaddr=ROUTER), far_away()).options[82] == port


def test_a_relay_that_wants_renewals_to_go_by_it_is_the_machine_s_server():
    responder, view = Responder(pxelinux), far_away()
    said = {82: LINK + OVERRIDE}

    def told(packet: DhcpPacket) -> DhcpPacket:
        outcome = responder(packet, "eth1", view, 0)
        assert isinstance(outcome, Answer), outcome
        return wire.decode(outcome.datagram)

    def asks(address: str | None = None, *, server: str | None = None, ciaddr: str = "0.0.0.0") -> DhcpPacket:
        asked = request_for(address, server=server, ciaddr=ciaddr, giaddr=UPLINK)
        return asked._replace(options={**asked.options, **said})

    offer = told(message(options=PXE | said, giaddr=UPLINK))
    assert (offer.options[54], offer.siaddr, offer.yiaddr) == (octets(ROUTER), octets(FRONTEND), octets(FAR_IP))
    for packet in (
        asks(FAR_IP, server=ROUTER),
        asks(FAR_IP, server=FRONTEND),  # it had its offer before the relay was told to say so
        asks(ciaddr=FAR_IP),
    ):
        answer = told(packet)
        assert (request.message_type(answer), answer.options[54]) == (ACK, octets(ROUTER))
    assert told(asks("10.9.0.51", server=ROUTER)).options[54] == octets(ROUTER)  # a NAK
    assert told(message(MessageType.INFORM, said, ciaddr=FAR_IP, giaddr=UPLINK)).options[54] == octets(ROUTER)
    assert isinstance(responder(asks(FAR_IP, server=ELSEWHERE), "eth1", view, 0), Silence)
    given_back = responder(
        message(MessageType.RELEASE, said | {54: octets(ROUTER)}, ciaddr=FAR_IP, giaddr=UPLINK), "eth1", view, 0
    )
    assert isinstance(given_back, Silence)
    assert given_back.kind is Kind.RELEASED
    # Past its relay, and by one that says nothing of it, our own name is what there is.
    assert told(message(options=PXE | {82: LINK}, giaddr=UPLINK)).options[54] == octets(FRONTEND)
    assert told(request_for(ciaddr=FAR_IP)).options[54] == octets(FRONTEND)


def test_relays_that_are_invented_fill_no_memory():
    responder, view = Responder(pxelinux), far_away()
    for number in range(5_000):
        responder(message(options={82: LINK + b"\x0b\4\x0a" + number.to_bytes(3)}, giaddr=UPLINK), "eth1", view, 0)
        responder(message(giaddr=f"10.9.{number >> 8}.{number & 255}"), "eth1", view, 0)
    assert len(responder._arrivals._found) <= 1_024


def test_a_changed_view_changes_the_answer():
    responder = Responder(pxelinux)
    before, after = views.view([views.node()]), views.view([views.node(ip=OTHER)])
    addresses = [wire.decode(responder(message(), "eth1", view, 0).datagram).yiaddr for view in (before, after, before)]
    assert addresses == [octets(OWN), octets(OTHER), octets(OWN)]


def test_a_machine_that_changes_its_identifiers_fills_no_memory():
    responder, view = Responder(pxelinux), views.view([views.node()])
    for number in range(20_000):
        responder(message(options={61: number.to_bytes(4)}), "eth1", view, 0)
    assert len(responder._ready) <= 16_384


# --- a machine that nobody knows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, *MessageType])
def test_an_unknown_machine_gets_nothing_when_no_discovery_is_open(kind):
    packet = message(kind, PXE | {50: octets(OTHER)}, mac=STRANGER, ciaddr=OTHER)
    assert isinstance(ask(packet, views.view([views.node()])), Silence)


@pytest.mark.parametrize(
    ("situation", "discovery", "packet", "taken"),
    [
        ("it netboots", {}, message(options=PXE, mac=STRANGER), True),
        ("it is iPXE", {}, message(options={77: b"iPXE"}, mac=STRANGER), True),
        ("it does HTTP Boot", {}, message(options={60: b"HTTPClient:Arch:00016"}, mac=STRANGER), True),
        ("it does not netboot", {}, message(mac=STRANGER), False),
        ("it need not netboot", {"installs": False}, message(mac=STRANGER), True),
        ("it must not netboot", {"installs": False}, message(options=PXE, mac=STRANGER), False),
        ("it must not be iPXE", {"installs": False}, message(options={77: b"iPXE"}, mac=STRANGER), False),
        ("BOOTP", {"installs": False}, message(None, mac=STRANGER), True),
        ("it is the one", {"mac": STRANGER}, message(options=PXE, mac=STRANGER), True),
        ("it is another", {"mac": views.MAC}, message(options=PXE, mac=STRANGER), False),
        ("a person decides later", {"confirm": True}, message(options=PXE, mac=STRANGER), True),
        ("it is over", {"expires": 9e8}, message(options=PXE, mac=STRANGER), False),
        ("it wants its old address", {}, request_for(OTHER, mac=STRANGER), False),
        ("a multicast MAC", {"installs": False}, message(mac=b"\1\0\x5e\0\0\1"), False),
        ("no MAC at all", {"installs": False}, message(mac=bytes(6)), False),
        ("by a relay from nowhere", {}, message(options=PXE, mac=STRANGER, giaddr=ELSEWHERE), False),
    ],
)
def test_an_open_discovery_takes_a_machine(situation, discovery, packet, taken):
    outcome = ask(packet, views.view([], discovery=views.discovery(**discovery)))
    assert isinstance(outcome, Register if taken else Silence), situation


def test_a_registration_holds_what_the_machine_said():
    machine = bytes(range(16))
    packet = message(options=PXE | {97: b"\0" + machine}, mac=STRANGER)
    outcome = ask(packet, views.view([], discovery=views.discovery()))
    assert isinstance(outcome, Register)
    taken = outcome.registration
    assert (taken.mac, taken.uuid, taken.firmware, taken.network.name) == (STRANGER, machine, Firmware.BIOS, "private")


def test_a_second_card_of_a_known_machine_is_taken_by_an_open_discovery():
    machine = bytes(range(16))
    known = views.node(uuid=machine)
    packet = message(options=PXE | {97: b"\0" + machine}, mac=STRANGER)
    assert isinstance(ask(packet, views.view([known], discovery=views.discovery())), Register)
    assert isinstance(ask(packet, views.view([known])), Silence)


def test_a_discovery_is_for_one_network():
    near, far = views.network(), views.network(2, name="far", subnet="10.9.0.0/24", device=None, frontend=FRONTEND)
    here, there = message(options=PXE, mac=STRANGER), message(options=PXE, mac=STRANGER, giaddr=ROUTER)
    for number, taken, not_taken, says in ((1, here, there, "private, not on far"), (2, there, here, "far, not on private")):
        view = views.view([], networks=[near, far], discovery=views.discovery(network=number))
        outcome = ask(taken, view)
        assert isinstance(outcome, Register)
        assert outcome.registration.network.id == number
        assert ask(not_taken, view) == Silence(f"unknown, and the open discovery takes machines on {says}")


def test_of_several_networks_on_a_device_the_discovery_s_is_meant():
    beside = views.network(2, name="bmc", subnet="10.4.0.0/16", frontend="10.4.1.1")
    for number in (1, 2):
        view = views.view([], networks=[views.network(), beside], discovery=views.discovery(network=number))
        outcome = ask(message(options=PXE, mac=STRANGER), view)
        assert isinstance(outcome, Register)
        assert outcome.registration.network.id == number


def test_a_further_card_of_a_known_machine_is_taken_on_the_network_where_it_asks():
    machine = bytes(range(16))
    storage = views.network(2, name="storage", subnet="10.2.0.0/16", device="eth2", frontend="10.2.1.1")
    beside = views.network(3, name="beside", subnet="10.5.0.0/16", device="eth2", frontend="10.5.1.1")
    bare = views.node(uuid=machine)
    planned = replace(bare, interfaces=(*bare.interfaces, InterfaceView("eth1", None, IPv4Address("10.5.2.3"), beside)))
    packet = message(options=PXE | {97: b"\0" + machine}, mac=STRANGER)
    for node, name in ((bare, "storage"), (planned, "beside")):
        view = views.view([node], networks=[views.network(), storage, beside], discovery=views.discovery())
        outcome = ask(packet, view, device="eth2")
        assert isinstance(outcome, Register)
        assert outcome.registration.network.name == name
        other = ask(packet._replace(options=PXE | {53: b"\1", 97: b"\0" + machine[::-1]}), view, device="eth2")
        assert other == Silence("unknown, and the open discovery takes machines on private, not on storage, beside")
    on_it = views.view([planned], networks=[views.network(), storage, beside], discovery=views.discovery(network=storage.id))
    outcome = ask(packet, on_it, device="eth2")
    assert isinstance(outcome, Register) and outcome.registration.network.name == "beside", "where the node waits for its card"


def test_a_known_machine_is_answered_while_a_discovery_is_open():
    assert answered(message(), views.view([views.node()], discovery=views.discovery())).yiaddr == octets(OWN)


# --- where a reply goes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packet", "address", "refused", "expected"),
    [
        (message(giaddr="10.1.0.9", ciaddr=OWN), OWN, False, Route(Via.UNICAST, "10.1.0.9", 67)),
        (message(giaddr="10.1.0.9"), "0.0.0.0", True, Route(Via.UNICAST, "10.1.0.9", 67)),
        (message(ciaddr=OWN), OWN, False, Route(Via.UNICAST, OWN, 68)),
        (message(ciaddr=OWN), "0.0.0.0", False, Route(Via.UNICAST, OWN, 68)),  # INFORM
        (message(ciaddr=OTHER), "0.0.0.0", True, Route(Via.BROADCAST, "255.255.255.255", 68)),
        (message(flags=0x8000), OWN, False, Route(Via.BROADCAST, "255.255.255.255", 68)),
        (message(), OWN, False, Route(Via.FRAME, OWN, 68)),
        (message(ciaddr=ELSEWHERE), OWN, False, Route(Via.FRAME, OWN, 68)),  # a DISCOVER that points elsewhere
    ],
)
def test_a_reply_finds_its_way(packet, address, refused, expected):
    assert route(packet, address=octets(address), refused=refused) == expected


def test_a_nak_through_a_relay_carries_the_broadcast_flag():
    assert answered(request_for(OTHER, giaddr="10.1.0.9")).flags == 0x8000
    assert answered(request_for(OTHER)).flags == 0


def ones_complement_sum(data: bytes) -> int:
    """RFC 1071 as it is written there: word by word."""
    total = 0
    for position in range(0, len(data), 2):
        total += int.from_bytes(data[position : position + 2].ljust(2, b"\0"))
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(st.binary(max_size=600), st.binary(min_size=4, max_size=4))
def test_a_frame_s_checksums_are_right_for_any_payload(payload, address):
    built = frame(payload, to_mac=b"\2" * 6, from_mac=b"\4" * 6, to=address, source=octets(FRONTEND))
    header, udp = built[14:34], built[34:]
    assert built[:14] == b"\2" * 6 + b"\4" * 6 + b"\x08\x00"
    assert ones_complement_sum(header) == 0xFFFF
    pseudo = header[12:20] + b"\0\x11" + len(udp).to_bytes(2)
    assert ones_complement_sum(pseudo + udp) == 0xFFFF
    assert udp[6:8] != b"\0\0"
    assert (udp[:6], udp[8:]) == (b"\0\x43\0\x44" + len(udp).to_bytes(2), payload)


# --- anything --------------------------------------------------------------------------------------------------------


@given(
    st.dictionaries(st.integers(1, 254), st.binary(max_size=40), max_size=10), st.binary(min_size=4, max_size=4), st.booleans()
)
def test_whatever_a_client_says_has_an_outcome(options, ciaddr, known):
    mac = views.MAC if known else STRANGER
    packet = message(None, options, mac=mac)._replace(ciaddr=ciaddr)
    outcome = ask(packet, views.view([views.node()], discovery=views.discovery(installs=False)))
    assert isinstance(outcome, Answer | Silence | Register)
    if isinstance(outcome, Answer):
        wire.decode(outcome.datagram)
        assert known


@given(st.binary(max_size=60), st.sampled_from([ROUTER, UPLINK, ELSEWHERE]), st.binary(min_size=4, max_size=4))
def test_whatever_a_relay_says_its_answer_goes_to_it_and_to_nobody_else(information, relay, ciaddr):
    packet = message(options={82: information}, giaddr=relay)._replace(ciaddr=ciaddr)
    outcome = ask(packet, far_away())
    assert isinstance(outcome, Answer | Silence)
    if isinstance(outcome, Answer):
        reply = wire.decode(outcome.datagram)
        assert reply.options[82] == information
        assert route(packet, address=reply.yiaddr, refused=False) == Route(Via.UNICAST, relay, 67)
