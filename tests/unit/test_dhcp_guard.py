"""Limits that hold whatever comes in: they count, they forget, and nodes that are known are not under them."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.netboot.dhcp import guard, probe, rogue, sightings, waiting
from bootserver.netboot.dhcp.guard import Guard
from bootserver.netboot.dhcp.link import Link
from bootserver.netboot.dhcp.request import Registration
from bootserver.netboot.dhcp.rogue import Rogues
from bootserver.netboot.dhcp.sightings import Sightings
from bootserver.netboot.dhcp.waiting import Registering
from bootserver.values.mac import MacAddress
from tests import views
from tests.unit.test_dhcp_proxy import Ether

HERE = ("eth1", bytes(4))
THERE = ("eth1", b"\x0a\x02\0\1")


def mac(number: int) -> MacAddress:
    return MacAddress(b"\x02" + number.to_bytes(5))


def test_strangers_are_read_so_often_a_second_by_each_way() -> None:
    limits = Guard()
    assert sum(limits.admits(HERE, 5.0) for _ in range(10_000)) == guard.STRANGERS_PER_SECOND
    assert limits.floods(5.0) == [HERE]
    assert sum(limits.admits(HERE, 6.0) for _ in range(500)) == 500


def test_a_flood_by_one_relay_leaves_room_for_another() -> None:
    limits = Guard()
    for _ in range(guard.STRANGERS_PER_SECOND + 500):
        limits.admits(THERE, 5.0)
    assert limits.admits(HERE, 5.0)
    assert limits.floods(5.1) == [THERE]


def test_invented_relays_do_not_lift_the_limit() -> None:
    limits = Guard()
    ways = [("eth1", number.to_bytes(4)) for number in range(guard.ALL_STRANGERS_PER_SECOND * 2)]
    assert sum(limits.admits(way, 5.0) for way in ways) == guard.ALL_STRANGERS_PER_SECOND


def test_a_flood_is_told_of_once_an_hour() -> None:
    limits = Guard()

    def told(now: float) -> int:
        for _ in range(guard.STRANGERS_PER_SECOND + 1):
            limits.admits(HERE, now)
        return len(limits.floods(now))

    assert [told(now) for now in (1.0, 2.0, 3000.0, 3700.0)] == [1, 0, 0, 1]


def test_events_of_one_node_are_counted_anew_in_each_window() -> None:
    limits = Guard()
    assert [limits.events_of(views.MAC, 1.0) for _ in range(3)] == [1, 2, 3]
    assert limits.events_of(mac(2), 1.0) == 1
    assert limits.events_of(views.MAC, 1.0 + guard.WINDOW) == 1


def test_a_days_flood_of_invented_machines_is_told_of_some_thousand_times() -> None:
    heard = Sightings()
    told = sum(heard.is_news(mac(number), "unknown", float(number)) for number in range(86_400))
    assert told <= sightings.TOLD_AT_ONCE + sightings.TOLD_PER_HOUR * 24 + 1


# --- machines that wait ------------------------------------------------------------------------------------------------


def held(registering: Registering, number: int, *, way: bytes = bytes(4), discovery: int = 1, now: float = 0.0) -> bool:
    machine = Registration(mac(number), views.network(), None, None, None, True, "")
    datagram = bytes(24) + way + mac(number) + bytes(200)
    return registering.hold(machine, datagram, Link("eth1", None), discovery, now)  # type: ignore[arg-type]


def test_one_way_in_can_not_take_all_the_room_there_is() -> None:
    registering = Registering(lambda _machine: None)
    assert sum(held(registering, number) for number in range(2000)) == waiting.MAX_ON_ONE_WAY
    assert held(registering, 5000, way=b"\x0a\2\0\1")


def test_a_discovery_hands_on_so_many_machines_and_the_next_begins_anew() -> None:
    registering = Registering(lambda _machine: None)
    handed = 0
    for number in range(3 * waiting.MAX_HANDED_ON):
        now = number * (waiting.WAIT + 1)
        registering.forget_overdue(now)
        handed += held(registering, number, now=now)
    assert handed == waiting.MAX_HANDED_ON
    registering.forget_overdue(1e9)
    assert held(registering, 1, discovery=2, now=1e9)


def test_a_machine_whose_address_is_in_use_is_kept_from_it_until_it_has_another() -> None:
    registering = Registering(lambda _machine: None)
    held(registering, 1)
    first, second = IPv4Address("10.1.255.254"), IPv4Address("10.1.255.253")
    assert registering.begins_check(mac(1), first) and not registering.begins_check(mac(1), first)
    assert registering.withhold(mac(1), first, 0.0)
    registering.release(mac(1))
    assert registering.keeps(mac(1), first.packed, b"", 1.0)
    assert not registering.keeps(mac(1), second.packed, b"", 1.0)
    assert not registering.keeps(mac(1), first.packed, b"", waiting.WITHHELD + 1)


def test_where_somebody_answers_for_every_address_it_is_given_up() -> None:
    registering = Registering(lambda _machine: None)
    held(registering, 1)
    tried = [registering.withhold(mac(1), IPv4Address(f"10.1.2.{number}"), 0.0) for number in range(20)]
    assert tried.count(True) == waiting.MOVES


# --- ARP ---------------------------------------------------------------------------------------------------------------


def test_a_question_is_asked_three_times_and_then_nobody_has_it() -> None:
    ether, answers = Ether(), []
    prober = probe.Prober(ether, ether, bytes(6))  # type: ignore[arg-type]
    prober.ask(b"\x0a\1\1\7", answers.append, 0.0, pauses=probe.CONFLICT)
    for hundredth in range(60):
        prober.tick(hundredth / 100)
    assert (len(ether.asked), answers) == (3, [None])


def test_everybody_who_asks_for_an_address_is_told() -> None:
    ether, answers = Ether(), []
    prober = probe.Prober(ether, ether, bytes(6))  # type: ignore[arg-type]
    for _ in range(3):
        prober.ask(b"\x0a\1\1\7", answers.append, 0.0, pauses=probe.CONFLICT)
    ether.answers("10.1.1.8", mac(3))
    ether.answers("10.1.1.7", mac(2))
    prober.receive()
    assert answers == [mac(2)] * 3


def test_one_question_too_many_is_not_asked() -> None:
    ether, answers = Ether(), []
    prober = probe.Prober(ether, ether, bytes(6))  # type: ignore[arg-type]
    for number in range(probe.MAX_QUESTIONS + 1):
        prober.ask(number.to_bytes(4), answers.append, 0.0, pauses=probe.CONFLICT)
    assert (prober.busy, answers) == (probe.MAX_QUESTIONS, [None])


@given(st.binary(max_size=80))
def test_no_frame_is_a_defect(frame: bytes) -> None:
    probe.answer(frame)
    rogue.read(frame)


@given(st.binary(max_size=300), st.integers(0, 15))
def test_no_datagram_of_another_server_is_a_defect(rest: bytes, length: int) -> None:
    rogue.read(bytes(12) + b"\x08\0" + bytes((0x40 | length,)) + rest)


# --- other servers -----------------------------------------------------------------------------------------------------


def test_another_server_is_told_of_once_an_hour_for_each_mac_and_never_where_it_is_allowed() -> None:
    rogues = Rogues(frozenset({IPv4Address("10.1.0.5")}))
    other = IPv4Address("10.1.0.66")
    assert [rogues.is_news(other, mac(1), now) for now in (0.0, 1.0, 3599.0, 3601.0)] == [True, False, False, True]
    assert rogues.is_news(other, mac(2), 1.0)
    assert not rogues.is_news(IPv4Address("10.1.0.5"), mac(3), 1.0)


def test_invented_servers_fill_no_event_log() -> None:
    rogues = Rogues(frozenset())
    assert sum(rogues.is_news(IPv4Address(number), mac(1), 1.0) for number in range(10_000)) == rogue.TOLD_PER_HOUR


def test_our_question_is_nobodys_and_wants_a_broadcast() -> None:
    own = rogue.nobodys_mac()
    assert own[0] & 3 == 2, "locally administered, no group's"
    frame = rogue.discover(own, mac(9))
    assert (frame[:6], frame[6:12]) == (b"\xff" * 6, mac(9))
    assert struct.unpack_from("!HH", frame, 34) == (68, 67)
    assert (frame[52:54], frame[70:76]) == (b"\x80\0", own)


@pytest.mark.parametrize("device", ["lo"])
def test_a_filter_is_a_program_that_the_kernel_takes(device: str) -> None:
    from bootserver.netboot.dhcp import filters

    for protocol, program in (
        (filters.ETHERNET_ARP, filters.ARP_REPLIES),
        (filters.ETHERNET_IPV4, filters.DHCP_REPLIES),
    ):
        try:
            filters.open_filtered(device, protocol, program).close()
        except PermissionError:
            pytest.skip("needs CAP_NET_RAW")
