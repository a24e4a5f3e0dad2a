"""What a proxyDHCP server says, read as firmware reads it, and which addresses it believes."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.cluster.addresses import Given
from bootserver.cluster.view import View
from bootserver.netboot.content import Content, Denied, Resolution, Served
from bootserver.netboot.dhcp import wire
from bootserver.netboot.dhcp.answer import Register, Silence
from bootserver.netboot.dhcp.learning import LEARNED_PER_HOUR, Learning
from bootserver.netboot.dhcp.neighbours import OwnAddress
from bootserver.netboot.dhcp.probe import Prober
from bootserver.netboot.dhcp.proxy import Boot, Claim, Offer, ProxyResponder
from bootserver.netboot.dhcp.request import MessageType, message_type
from bootserver.netboot.dhcp.tail import BootFile
from bootserver.netboot.dhcp.wire import DhcpPacket
from bootserver.values.mac import MacAddress
from tests import views
from tests.unit.test_dhcp_answer import FRONTEND, STRANGER, message, octets, request_for

BIOS = {60: b"PXEClient:Arch:00000:UNDI:002001", 93: b"\0\0", 55: bytes((1, 3, 43, 60, 66, 67)), 97: b"\0" + bytes(range(16))}
UEFI = BIOS | {60: b"PXEClient:Arch:00007:UNDI:003000", 93: b"\0\7"}
IPXE = BIOS | {77: b"iPXE", 175: b"\xb1\x05\x01\x1a\xf4\x10\x00\x13\x01\x01"}
HTTP = BIOS | {60: b"HTTPClient:Arch:00016:UNDI:003000", 93: b"\0\x10"}
SITE = "10.1.0.5"
LEASE = "10.1.77.7"
CLIENTS = {"BIOS": BIOS, "UEFI": UEFI, "iPXE": IPXE}


def boot_file(_node: object, _interface: object, asked: object) -> BootFile:
    if getattr(asked, "wants_http_boot", False):
        return BootFile("http://10.1.1.1/grubnetx64.efi", url=True, http_boot=True)
    if getattr(asked, "is_ipxe", False):
        return BootFile("http://10.1.1.1/ipxe/pcbios/01-52-54-00-00-00-01", url=True)
    return BootFile("loader.0")


RESPOND = ProxyResponder(boot_file)
KNOWN = views.view([views.node()])


def at_67(packet: DhcpPacket, view: View = KNOWN, device: str = "eth1") -> Offer | Claim | Silence | Register | None:
    return RESPOND.offer(packet, device, view, 0.0)


def at_4011(packet: DhcpPacket, source: str = LEASE, view: View = KNOWN) -> Boot | Silence:
    return RESPOND.boot(packet, octets(source), "eth1", view)


def offered(options: dict[int, bytes]) -> DhcpPacket:
    outcome = at_67(message(options=options))
    assert isinstance(outcome, Offer)
    return wire.decode(outcome.datagram)


def acknowledged(options: dict[int, bytes], ciaddr: str = LEASE) -> DhcpPacket:
    outcome = at_4011(message(MessageType.REQUEST, options, ciaddr=ciaddr))
    assert isinstance(outcome, Boot)
    return wire.decode(outcome.datagram)


# --- the offer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", CLIENTS.values(), ids=CLIENTS)
def test_an_offer_sends_firmware_to_port_4011(options: dict[int, bytes]) -> None:
    offer = offered(options)
    assert message_type(offer) is MessageType.OFFER
    # edk2, PxeBcParseDhcp4Packet: no address and "PXEClient", neither boot menu nor multicast in option 43: ProxyBinl.
    assert offer.yiaddr == wire.NO_ADDRESS
    assert offer.options[60] == b"PXEClient"
    assert 43 not in offer.options
    # PxeBcRetryBinlOffer goes to siaddr; iPXE to option 54.
    assert (offer.siaddr, offer.options[54]) == (octets(FRONTEND), octets(FRONTEND))
    # iPXE, dhcp_has_pxeopts: with a file it would not ask.
    assert not offer.file.strip(b"\0") and 67 not in offer.options
    assert not {1, 3, 6, 51, 58, 59} & offer.options.keys(), "addresses are the site's matter"


def test_an_http_boot_offer_holds_the_url_for_it_asks_no_second_time() -> None:
    offer = offered(HTTP)
    assert (offer.yiaddr, offer.options[60]) == (wire.NO_ADDRESS, b"HTTPClient")
    assert offer.options[67] == b"http://10.1.1.1/grubnetx64.efi\0"


def test_a_machines_uuid_comes_back() -> None:
    assert offered(UEFI)[14][97] == UEFI[97]


def test_a_relay_gets_its_information_back() -> None:
    outcome = at_67(message(options=UEFI | {82: b"\1\4eth7"}, giaddr="10.1.0.2"), device="eth9")
    assert isinstance(outcome, Offer)
    reply = wire.decode(outcome.datagram)
    assert (reply.giaddr, reply.options[82]) == (octets("10.1.0.2"), b"\1\4eth7")


@pytest.mark.parametrize(
    "packet",
    [
        message(),
        message(options={60: b"MSFT 5.0"}),
        message(options={60: b"MSFT 5.0"}, mac=STRANGER),
        message(MessageType.REQUEST, UEFI, mac=STRANGER),
        message(MessageType.INFORM),
        message(None),
        message(None, mac=STRANGER),
        message(op=2, options=UEFI),
        message(MessageType.RELEASE),
        message(MessageType.DECLINE, {50: octets(LEASE)}),
    ],
    ids=str,
)
def test_what_is_the_sites_matter_is_not_even_spoken_of(packet: DhcpPacket) -> None:
    assert at_67(packet) is None


def test_an_unknown_machine_is_registered_while_a_discovery_is_open_and_only_then() -> None:
    asks = message(options=UEFI, mac=STRANGER)
    assert isinstance(at_67(asks, views.view(discovery=views.discovery())), Register)
    assert at_67(asks, views.view()) == Silence("unknown, and no discovery is open")


def test_a_discovery_beside_a_sites_server_is_for_one_network_too() -> None:
    near, far = views.network(), views.network(2, name="far", subnet="10.9.0.0/24", device=None, frontend=FRONTEND)
    view = views.view([], networks=[near, far], discovery=views.discovery(network=2))
    relayed = at_67(message(options=UEFI, mac=STRANGER, giaddr="10.9.0.1"), view)
    assert isinstance(relayed, Register)
    assert relayed.registration.network is far
    why = "unknown, and the open discovery takes machines on far, not on private"
    assert at_67(message(options=UEFI, mac=STRANGER), view) == Silence(why)
    switches = views.view([], discovery=views.discovery(installs=False))
    assert at_67(message(options=UEFI, mac=STRANGER), switches) == Silence("unknown, and it asks to netboot, as no compute does")


def test_a_relay_s_link_selection_counts_and_its_server_identifier_is_the_sites_matter() -> None:
    far = views.network(2, name="far", subnet="10.9.0.0/24", device=None, frontend=FRONTEND)
    view = views.view([views.node(on=far, ip=None)], networks=[views.network(), far])
    said = b"\5\4" + octets("10.9.0.1") + b"\x0b\4" + octets("10.9.0.1")
    outcome = at_67(message(options=UEFI | {82: said}, giaddr="10.1.0.2"), view)
    assert isinstance(outcome, Offer)
    reply = wire.decode(outcome.datagram)
    # Whoever takes this offer asks option 54's address at port 4011: no relay listens there.
    assert (reply.giaddr, reply.options[54], reply.options[82]) == (octets("10.1.0.2"), octets(FRONTEND), said)
    assert isinstance(at_67(message(options=UEFI, giaddr="10.1.0.2"), view), Silence)
    garbled = at_67(message(options=UEFI | {82: b"\5\4"}, giaddr="10.1.0.2"), view)
    assert garbled == Silence("option 5 at byte 0 has 4 octets, 0 are there")


def test_a_node_without_a_boot_file_gets_no_offer() -> None:
    respond = ProxyResponder(lambda *_: None)
    assert isinstance(respond.offer(message(options=UEFI), "eth1", KNOWN, 0.0), Silence)
    assert isinstance(respond.boot(message(MessageType.REQUEST, UEFI), octets(LEASE), "eth1", KNOWN), Silence)


def test_a_node_is_offered_nothing_on_a_network_that_is_not_its_own() -> None:
    assert isinstance(at_67(message(options=UEFI), device="eth7"), Silence)


# --- port 4011 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("client", "file"), [("BIOS", "loader.0"), ("UEFI", "loader.0"), ("iPXE", "http://10.1.1.1/ipxe/")])
def test_port_4011_names_the_boot_file(client: str, file: str) -> None:
    reply = acknowledged(CLIENTS[client])
    assert message_type(reply) is MessageType.ACK
    assert (reply.siaddr, reply.options[54], reply.options[60]) == (octets(FRONTEND), octets(FRONTEND), b"PXEClient")
    assert reply.file.startswith(file.encode()) and reply.options[67].startswith(file.encode())
    assert (reply.yiaddr, reply.ciaddr) == (wire.NO_ADDRESS, octets(LEASE))
    assert 43 not in reply.options


def test_ipxe_is_told_that_our_file_goes_before_the_sites() -> None:
    assert acknowledged(IPXE).options[175] == b"\x01\x01\x10"
    assert 175 not in acknowledged(UEFI).options


def test_a_boot_menus_item_is_echoed_and_nothing_else_of_option_43() -> None:
    assert acknowledged(BIOS | {43: b"\x47\x04\0\1\0\0\x0a\2ab\xff"}).options[43] == b"\x47\x04\0\1\0\0\xff"
    assert 43 not in acknowledged(BIOS | {43: b"\x47\x09\0\1"}).options


def test_the_address_is_where_the_question_came_from() -> None:
    outcome = at_4011(message(MessageType.REQUEST, UEFI))
    assert isinstance(outcome, Boot) and outcome.address == IPv4Address(LEASE)
    outcome = at_4011(message(MessageType.REQUEST, UEFI, ciaddr=LEASE), source="0.0.0.0")
    assert isinstance(outcome, Boot) and outcome.address == IPv4Address(LEASE)


def test_who_says_to_be_elsewhere_than_it_asks_from_gets_nothing() -> None:
    assert isinstance(at_4011(message(MessageType.REQUEST, UEFI, ciaddr="10.1.9.9")), Silence)


def test_strangers_get_nothing_at_port_4011() -> None:
    assert isinstance(at_4011(message(MessageType.REQUEST, UEFI, mac=STRANGER)), Silence)


@given(st.binary(max_size=80), st.binary(max_size=40), st.binary(max_size=20), st.sampled_from([*MessageType, None]))
def test_nothing_that_a_machine_says_is_a_defect(
    vendor: bytes, architecture: bytes, item: bytes, kind: MessageType | None
) -> None:
    options = {60: b"PXEClient" + vendor[:40], 93: architecture, 43: item, 77: vendor, 97: item, 61: vendor, 57: item[:2]}
    at_67(message(kind, options))
    outcome = at_4011(message(kind, options))
    if isinstance(outcome, Boot):
        assert len(outcome.datagram) <= wire.ETHERNET_LIMIT
        assert wire.decode(outcome.datagram).file.startswith(b"loader.0") or b"iPXE" in vendor or 175 in options


# --- which addresses are believed --------------------------------------------------------------------------------------


def test_a_request_to_the_sites_server_claims_an_address() -> None:
    selecting = request_for(LEASE, server=SITE)
    assert at_67(selecting) == Claim(*KNOWN.by_mac[views.MAC], IPv4Address(LEASE), IPv4Address(SITE))
    rebinding = message(MessageType.REQUEST, ciaddr=LEASE)
    assert at_67(rebinding) == Claim(*KNOWN.by_mac[views.MAC], IPv4Address(LEASE), None)


def test_the_address_that_we_know_is_no_news() -> None:
    assert at_67(request_for(str(views.node().interfaces[0].ip), server=SITE)) is None
    assert at_67(message(MessageType.REQUEST, {50: b"\x0a\x01"})) is None


class Ether:
    """Two packet sockets with nothing between them: what is asked, and what comes in."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self._answers: list[bytes] = []

    def send(self, frame: bytes) -> int:
        self.asked.append(frame[38:42])
        return len(frame)

    def recv(self, _size: int) -> bytes:
        if not self._answers:
            raise BlockingIOError
        return self._answers.pop(0)

    def answers(self, address: str, mac: bytes) -> None:
        head = b"\2\0\0\0\0\1" + mac + b"\x08\x06\0\1\x08\0\6\4\0\2"
        self._answers.append(head + mac + octets(address) + b"\2\0\0\0\0\1" + bytes(4))


class Learner:
    def __init__(self) -> None:
        self.ether = Ether()
        self.prober = Prober(self.ether, self.ether, b"\2\0\0\0\0\1")  # type: ignore[arg-type]
        self.learned: list[Given] = []
        self.conflicts: list[tuple[bytes, IPv4Address, MacAddress]] = []
        self.learning = Learning(self.learned.append, lambda *conflict: self.conflicts.append(conflict))

    def claim(self, address: str = LEASE, mac: bytes = views.MAC, now: float = 0.0) -> None:
        self.learning.by_wire(mac, IPv4Address(address), IPv4Address(SITE), self.prober, octets(FRONTEND), now)
        self.prober.tick(now + 0.1)

    def answer(self, address: str, mac: bytes) -> None:
        self.ether.answers(address, mac)
        self.prober.receive()


def test_an_address_is_learned_where_the_nodes_own_mac_answers_for_it() -> None:
    learner = Learner()
    learner.claim()
    assert learner.ether.asked == [octets(LEASE)]
    learner.answer(LEASE, views.MAC)
    assert learner.learned == [Given(views.MAC, IPv4Address(LEASE), IPv4Address(SITE))]


def test_an_address_is_not_learned_where_another_answers_and_that_is_told() -> None:
    learner = Learner()
    learner.claim()
    learner.answer(LEASE, STRANGER)
    assert learner.learned == []
    assert learner.conflicts == [(views.MAC, IPv4Address(LEASE), STRANGER)]


def test_an_address_is_not_learned_where_nobody_answers() -> None:
    learner = Learner()
    learner.claim()
    for tenth in range(100):
        learner.prober.tick(tenth / 10)
    assert (learner.learned, learner.conflicts, learner.prober.busy) == ([], [], 0)
    learner.answer(LEASE, views.MAC)
    assert learner.learned == [], "an answer that nobody waits for"


def test_an_address_that_changes_all_the_time_is_not_written_down_all_the_time() -> None:
    learner = Learner()
    for number in range(LEARNED_PER_HOUR + 20):
        learner.claim(f"10.1.8.{number}")
        learner.answer(f"10.1.8.{number}", views.MAC)
    assert len(learner.learned) == LEARNED_PER_HOUR


def test_behind_a_relay_request_and_question_must_agree() -> None:
    learner = Learner()
    learner.learning.from_afar(views.MAC, IPv4Address(LEASE), 1.0)
    learner.learning.by_relay(views.MAC, IPv4Address(LEASE), None, 2.0)
    learner.learning.from_afar(views.MAC, IPv4Address("10.1.9.9"), 3.0)
    learner.learning.from_afar(views.MAC, IPv4Address(LEASE), 500.0)
    assert learner.learned == []
    learner.learning.from_afar(views.MAC, IPv4Address(LEASE), 4.0)
    assert learner.learned == [Given(views.MAC, IPv4Address(LEASE), None)]


# --- who gets a ticket -------------------------------------------------------------------------------------------------


def armed() -> View:
    from bootserver.cluster.view import InstallView
    from bootserver.values.secret import Secret

    return views.view([replace(views.node(), install=InstallView(1, Secret("s"), None))])


@pytest.mark.parametrize(
    ("holder", "asker"),
    [(views.MAC, "10.1.255.254"), (STRANGER, "0.0.0.0"), (None, "0.0.0.0")],
    ids=["the node itself", "another machine", "nobody knows who"],
)
def test_while_an_install_is_armed_a_nodes_address_is_worth_what_its_mac_says(holder: MacAddress | None, asker: str) -> None:
    asked: list[str] = []

    def resolve(_path: str, client: object) -> Resolution:
        asked.append(str(client))
        return Denied("") if asker == "0.0.0.0" else Content(b"", Served.MENU)

    door = OwnAddress(resolve, armed, lambda _address, _device: holder)
    door("pxelinux.cfg/default", IPv4Address("10.1.255.254"))
    assert asked == [asker]


def test_others_are_not_looked_at() -> None:
    def never(_address: IPv4Address, _device: str) -> MacAddress | None:
        raise AssertionError("no ticket is at stake")

    def resolve(_path: str, client: object) -> Resolution:
        return Content(str(client).encode(), Served.FILE)

    for view, address in ((KNOWN, "10.1.255.254"), (armed(), "10.1.0.9")):
        found = OwnAddress(resolve, lambda view=view: view, never)("x", IPv4Address(address))
        assert isinstance(found, Content) and found.body == address.encode()


def test_a_kernel_that_knows_no_such_neighbour_says_so() -> None:
    from bootserver.netboot.dhcp.neighbours import mac_of

    assert mac_of(IPv4Address("192.0.2.77"), "lo") is None
    assert mac_of(IPv4Address("192.0.2.77"), "no-such-device") is None
    assert socket.if_nametoindex("lo")
