"""What follows from a sighting: registrations, events, addresses."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

import pytest

from bootserver.cluster.addresses import Given
from bootserver.cluster.discovery import Machine
from bootserver.cluster.events import Event, Kind
from bootserver.cluster.view import View
from bootserver.netboot.dhcp.guard import TOLD_OF_ONE
from bootserver.netboot.dhcp.learning import LEARNED_PER_HOUR
from bootserver.netboot.dhcp_events.learner import MAX_WAITING, PATIENCE, REPEAT, Learner
from bootserver.netboot.dhcp_events.sighting import Program, Sighting, What
from bootserver.values.mac import MacAddress
from tests import views

NEW = MacAddress.parse("52:54:00:00:00:99")
CLOCK = 1_000_000_000.0
OTHER = views.network(2, name="other", subnet="10.2.0.0/16", device="eth2", frontend="10.2.1.1")


@dataclass
class Heard:
    """What a learner told, and whom."""

    view: View
    events: list[Event] = field(default_factory=list)
    machines: list[Machine] = field(default_factory=list)
    given: list[Given] = field(default_factory=list)
    now: float = 100.0

    def __post_init__(self) -> None:
        self.learner = Learner(self, self.machines.append, self.given.append)

    def report(self, event: Event) -> None:
        self.events.append(event)

    def see(self, what: What, mac: MacAddress = NEW, address: str | None = None, **more: Any) -> None:
        place = None if address is None else IPv4Address(address)
        self.learner.see(Sighting(what, mac, Program.ISC, place, **more), self.view, self.now, CLOCK)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.learner.tick(self.view, self.now, CLOCK)

    @property
    def kinds(self) -> list[Kind]:
        return [event.kind for event in self.events]


def opened(**options: Any) -> Heard:
    return Heard(views.view(networks=[views.network(), OTHER], discovery=views.discovery(**options)))


def test_an_unknown_machine_is_registered_on_the_network_of_what_it_is_given() -> None:
    heard = opened(network=OTHER.id)
    heard.see(What.ASKS)
    heard.see(What.OFFERED, address="10.2.0.7")
    assert heard.machines == [Machine(NEW, None, "other", netboots=True)]
    assert heard.kinds == [Kind.SEEN]


def test_one_that_gets_no_offer_is_registered_after_a_while_on_the_first_network() -> None:
    heard = opened()
    heard.see(What.ASKS)
    heard.wait(PATIENCE / 2)
    assert heard.machines == []
    heard.wait(PATIENCE)
    assert [each.network for each in heard.machines] == ["private"]


@pytest.mark.parametrize("where", [{"device": "eth2"}, {"relay": IPv4Address("10.2.0.1")}])
def test_or_on_that_of_its_device_or_relay(where: dict[str, Any]) -> None:
    heard = opened(network=OTHER.id)
    heard.see(What.ASKS, **where)
    heard.wait(2 * PATIENCE)
    assert [each.network for each in heard.machines] == ["other"]


def test_a_machine_of_the_sites_other_networks_is_not_registered() -> None:
    heard = opened()
    heard.see(What.ASKS)
    heard.see(What.OFFERED, address="192.168.0.5")
    heard.wait(2 * PATIENCE)
    assert heard.machines == []
    assert heard.kinds == [Kind.IGNORED]
    assert "192.168.0.5" in str(heard.events[0].detail["because"])


def test_the_registrar_is_told_once_and_again_while_the_machine_stays_unknown() -> None:
    heard = opened()
    for what in (What.OFFERED, What.GIVEN, What.GIVEN):
        heard.see(what, address="10.1.0.7")
    assert len(heard.machines) == 1
    heard.now += REPEAT
    heard.see(What.GIVEN, address="10.1.0.7")
    assert len(heard.machines) == 2
    assert heard.kinds == [Kind.SEEN]


def test_the_address_that_a_new_node_was_given_is_its_own_from_the_start() -> None:
    heard = opened()
    heard.see(What.GIVEN, address="10.1.0.7")
    heard.wait(0.1)
    assert heard.given == []
    heard.view = views.view([views.node(mac=NEW)])
    heard.wait(0.1)
    heard.wait(0.1)
    assert heard.given == [Given(NEW, IPv4Address("10.1.0.7"), None)]


@pytest.mark.parametrize(
    ("options", "more", "why"),
    [
        ({"mac": views.MAC}, {}, "waits for another machine"),
        ({"expires": CLOCK - 1}, {}, "no discovery is open"),
        ({}, {"netboots": False}, "does not netboot"),
        ({"installs": False}, {"netboots": True}, "asks to netboot, as no compute does"),
        ({"network": OTHER.id}, {}, "takes machines on other, not on private"),
    ],
)
def test_who_is_not_wanted_is_told_of_with_the_reason(options: dict[str, Any], more: dict[str, Any], why: str) -> None:
    heard = opened(**options)
    heard.see(What.GIVEN, address="10.1.0.7", **more)
    heard.wait(2 * PATIENCE)
    assert heard.machines == []
    assert why in str(heard.events[0].detail["because"])


def test_a_switch_need_not_netboot() -> None:
    heard = opened(installs=False)
    heard.see(What.GIVEN, address="10.1.0.7", netboots=False)
    assert [each.netboots for each in heard.machines] == [False]


@pytest.mark.parametrize("installs", [True, False])
def test_a_log_that_does_not_say_whether_it_netboots_keeps_nobody_out(installs: bool) -> None:
    heard = opened(installs=installs)
    heard.see(What.GIVEN, address="10.1.0.7")
    assert [each.netboots for each in heard.machines] == [installs], "what the registrar wants of such an appliance"


def test_a_group_address_is_no_machine() -> None:
    heard = opened()
    heard.see(What.GIVEN, MacAddress(b"\xff" * 6), "10.1.0.7")
    assert heard.machines == []


@pytest.mark.parametrize("what", [What.HAS, What.RELEASED, What.REFUSED, What.DECLINED])
def test_what_is_no_request_registers_nobody(what: What) -> None:
    heard = opened()
    heard.see(what, address="10.1.0.7")
    heard.wait(2 * PATIENCE)
    assert (heard.machines, heard.events) == ([], [])


def test_without_a_discovery_strangers_are_told_of_once() -> None:
    heard = Heard(views.view())
    for _ in range(3):
        heard.see(What.ASKS)
    assert heard.kinds == [Kind.IGNORED]


def test_a_node_has_the_story_that_it_would_have_with_us() -> None:
    heard = Heard(views.view([views.node()]))
    for what in (What.ASKS, What.OFFERED, What.ASKS, What.GIVEN, What.RELEASED, What.DECLINED, What.REFUSED):
        heard.see(what, views.MAC, "10.1.255.254" if what in (What.OFFERED, What.GIVEN) else None)
    assert heard.kinds == [Kind.SEEN, Kind.OFFERED, Kind.ACKNOWLEDGED, Kind.RELEASED, Kind.DECLINED, Kind.REFUSED]
    assert {event.node for event in heard.events} == {"compute-0-0"}
    assert heard.events[1].detail == {"by": "dhcpd", "address": "10.1.255.254"}
    assert heard.given == []


@pytest.mark.parametrize("what", [What.GIVEN, What.HAS])
def test_another_address_that_a_node_was_given_is_learned(what: What) -> None:
    heard = Heard(views.view([views.node()]))
    heard.see(what, views.MAC, "10.1.0.7")
    assert heard.given == [Given(views.MAC, IPv4Address("10.1.0.7"), None)]


def test_an_offer_is_nothing_that_a_node_has() -> None:
    heard = Heard(views.view([views.node()]))
    heard.see(What.OFFERED, views.MAC, "10.1.0.7")
    assert heard.given == []


def test_a_node_that_changes_its_address_all_the_time_fills_neither_change_log_nor_events() -> None:
    heard = Heard(views.view([views.node()]))
    for number in range(500):
        heard.see(What.GIVEN, views.MAC, str(IPv4Address("10.1.0.0") + number))
    assert len(heard.given) == LEARNED_PER_HOUR
    assert len(heard.events) == TOLD_OF_ONE
    assert heard.kinds[-1] is Kind.IGNORED


def test_a_flood_of_invented_machines_is_bounded() -> None:
    heard = opened()
    for number in range(3 * MAX_WAITING):
        heard.see(What.ASKS, MacAddress((0x020000000000 + number).to_bytes(6)))
        heard.see(What.GIVEN, MacAddress((0x024000000000 + number).to_bytes(6)), "10.1.0.7")
    heard.wait(2 * PATIENCE)
    assert len(heard.machines) <= 2 * MAX_WAITING
    assert len(heard.events) < 2 * MAX_WAITING
