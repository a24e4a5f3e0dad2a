"""What the DHCP part learned of addresses, and what becomes of it in the cluster."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.cluster import addresses, networks
from bootserver.cluster.addresses import Given, InUse, News
from bootserver.cluster.events import Event, Kind
from bootserver.errors import Refused
from bootserver.service.addresses import Scribe, Teller
from tests.cluster import Cluster, mac

SITE = IPv4Address("10.1.0.5")
TOP = IPv4Address("10.1.255.254")


@pytest.mark.parametrize(
    "news", [InUse(mac(1), TOP, mac(2)), Given(mac(1), TOP, SITE), Given(mac(1), TOP, None)], ids=lambda news: type(news).__name__
)
def test_what_is_said_arrives(news: News) -> None:
    line = addresses.encode(news)
    assert len(line) <= addresses.MAX_LINE and addresses.decode(line) == news


@given(st.binary(max_size=100) | st.dictionaries(st.text(), st.text() | st.integers()).map(lambda each: repr(each).encode()))
def test_nonsense_is_nothing(line: bytes) -> None:
    assert addresses.decode(line) is None


def note(cluster: Cluster, news: News) -> None:
    with cluster.change() as change:
        addresses.note(change, news)


def test_a_node_has_the_address_that_the_site_gave_it(cluster: Cluster) -> None:
    cluster.add(1)
    note(cluster, Given(mac(1), IPv4Address("10.1.7.7"), SITE))
    assert cluster.addresses("compute-0-0") == ["10.1.7.7"]
    [event] = [event for event in cluster.events if event.kind is Kind.ACKNOWLEDGED]
    assert (event.node, event.detail["address"]) == ("compute-0-0", "10.1.7.7")


def test_who_had_it_has_it_no_longer(cluster: Cluster) -> None:
    cluster.add(1)
    cluster.add(2)
    note(cluster, Given(mac(2), TOP, None))
    assert (cluster.addresses("compute-0-0"), cluster.addresses("compute-0-1")) == (["None"], [str(TOP)])
    assert [event.node for event in cluster.events if event.kind is Kind.RELEASED] == ["compute-0-0"]
    note(cluster, Given(mac(1), IPv4Address("10.1.7.8"), None))
    assert cluster.addresses("compute-0-0") == ["10.1.7.8"]


def test_an_address_on_another_network_takes_the_node_there(cluster: Cluster) -> None:
    cluster.add(1)
    with cluster.change() as change:
        where = IPv4Network("10.2.0.0/16")
        networks.add(change, "far", where, frontend=SITE, device=None, gateway=None, nameservers=[], domain="local")
    note(cluster, Given(mac(1), IPv4Address("10.2.7.7"), None))
    assert cluster.seen("compute-0-0").interfaces[0].network.name == "far"


@pytest.mark.parametrize("address", ["192.0.2.1", "10.1.1.1", "10.1.0.0", "10.1.255.255"])
def test_what_is_no_nodes_address_is_refused(cluster: Cluster, address: str) -> None:
    cluster.add(1)
    with pytest.raises(Refused, match=address):
        note(cluster, Given(mac(1), IPv4Address(address), SITE))


def test_an_address_in_use_makes_place_for_the_next(cluster: Cluster) -> None:
    cluster.add(1)
    note(cluster, InUse(mac(1), TOP, mac(9)))
    assert cluster.addresses("compute-0-0") == ["10.1.255.253"]
    note(cluster, InUse(mac(1), TOP, mac(9)))
    assert cluster.addresses("compute-0-0") == ["10.1.255.253"], "that is old news"


def test_of_strangers_nothing_is_written(cluster: Cluster) -> None:
    before = cluster.dump()
    note(cluster, Given(mac(5), TOP, None))
    note(cluster, InUse(mac(5), TOP, mac(6)))
    assert cluster.dump() == before


# --- who writes it down ------------------------------------------------------------------------------------------------


class Desk:
    def __init__(self, cluster: Cluster) -> None:
        self.ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.tell = Teller(self.ends[0])
        self.events: list[Event] = []
        self.scribe = Scribe(self.ends[1], cluster.database, self.events.append)


@pytest.fixture
def desk(cluster: Cluster) -> Iterator[Desk]:
    desk = Desk(cluster)
    yield desk
    for end in desk.ends:
        end.close()


def changes(cluster: Cluster) -> int:
    with cluster.read() as reader:
        return int(reader.connection.rows("SELECT count(*) AS n FROM change", {})[0]["n"])


def test_what_comes_together_is_one_change_and_old_news_are_none(cluster: Cluster, desk: Desk) -> None:
    for number in range(20):
        cluster.add(number)
    before = changes(cluster)
    for _ in range(2):
        for number in range(20):
            desk.tell(Given(mac(number), IPv4Address(f"10.1.9.{number + 1}"), SITE))
        desk.scribe.step()
    with cluster.read() as reader:
        assert {row["ip"] for row in reader.connection.rows("SELECT ip FROM interface", {})} >= {"10.1.9.1", "10.1.9.20"}
    assert changes(cluster) == before + 1
    assert len(desk.events) == 20


def test_one_that_is_refused_is_told_of_once_and_keeps_nobody_else_waiting(cluster: Cluster, desk: Desk) -> None:
    cluster.add(1)
    cluster.add(2)
    for _ in range(3):
        desk.tell(Given(mac(1), IPv4Address("192.0.2.1"), SITE))
        desk.tell(Given(mac(2), IPv4Address("10.1.7.7"), SITE))
        desk.scribe.step()
    assert cluster.addresses("compute-0-1") == ["10.1.7.7"]
    [refused] = [event for event in desk.events if event.kind is Kind.IGNORED]
    assert "no network of the cluster" in str(refused.detail["because"])


def test_what_the_channel_does_not_take_costs_nobody_anything(cluster: Cluster, desk: Desk) -> None:
    for number in range(20_000):
        desk.tell(Given(mac(number), TOP, None))
