"""The journal: events and leases as they are kept, and read back."""

from __future__ import annotations

import pytest

from bootserver.cluster import journal
from bootserver.cluster.events import Event, Kind
from bootserver.cluster.journal import JournalReporter
from tests.cluster import Cluster, mac

STORY = [
    Event(Kind.SEEN, 1.0, None, mac(1), {"network": "private"}),
    Event(Kind.REGISTERED, 2.0, "compute-0-0", mac(1), {"address": "10.1.255.254"}),
    Event(Kind.REGISTERED, 3.0, "compute-0-1", mac(2)),
    Event(Kind.MENU_SENT, 4.0, "compute-0-0", mac(1), {"bytes": 400, "seconds": 0.01}),
    Event(Kind.DENIED, 5.0, "compute-0-1", mac(2), {"status": 403}),
    Event(Kind.PHASE, 6.0, "compute-0-0", None, {"phase": "sync"}),
    Event(Kind.PHASE, 7.0, "compute-0-0", None, {"phase": "done"}),
]


@pytest.fixture
def told(cluster: Cluster) -> Cluster:
    with cluster.databases.journal.write() as connection:
        journal.append(connection, STORY)
    return cluster


def read(cluster: Cluster, **wanted: object) -> list[Event]:
    with cluster.databases.journal.read() as connection:
        return [entry.event for entry in journal.read(connection, **wanted)]  # type: ignore[arg-type]


def test_events_are_read_as_they_were_written(told: Cluster) -> None:
    assert read(told) == STORY


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"nodes": ["compute-0-1"]}, [2, 4]),
        ({"nodes": ["compute-0-0", "compute-0-1"]}, [1, 2, 3, 4, 5, 6]),
        ({"nodes": []}, []),
        ({"mac": mac(1)}, [0, 1, 3]),
        ({"kinds": [Kind.PHASE, Kind.SEEN]}, [0, 5, 6]),
        ({"nodes": ["compute-0-0"], "kinds": [Kind.PHASE]}, [5, 6]),
        ({"last": 2}, [5, 6]),
        ({"last": 2, "nodes": ["compute-0-1"]}, [2, 4]),
        ({"after": 5}, [5, 6]),
        ({"nodes": ["'; DROP TABLE event; --"]}, []),
    ],
)
def test_what_is_asked_for_is_found_in_order(told: Cluster, wanted: dict[str, object], found: list[int]) -> None:
    assert read(told, **wanted) == [STORY[number] for number in found]


def test_numbers_go_on(told: Cluster) -> None:
    with told.databases.journal.read() as connection:
        assert [entry.number for entry in journal.read(connection)] == list(range(1, len(STORY) + 1))
        assert journal.newest_number(connection) == len(STORY)


@pytest.mark.parametrize("names", [None, ["compute-0-0", "compute-0-1", "compute-9-9"]])
def test_the_newest_of_each_node_is_found(told: Cluster, names: list[str] | None) -> None:
    with told.databases.journal.read() as connection:
        found = journal.latest(connection, [Kind.REGISTERED, Kind.PHASE], names)
    assert {name: entry.event for name, entry in found.items()} == {"compute-0-0": STORY[6], "compute-0-1": STORY[2]}


def test_old_events_are_forgotten(told: Cluster) -> None:
    with told.databases.journal.write() as connection:
        assert journal.forget_before(connection, 5.0) == 4
    assert read(told) == STORY[4:]


def test_an_acknowledgement_is_a_lease_and_the_newest_counts(cluster: Cluster) -> None:
    def acknowledged(at: float, address: str) -> Event:
        return Event(Kind.ACKNOWLEDGED, at, "compute-0-0", mac(1), {"address": address, "lease": 3600})

    with cluster.databases.journal.write() as connection:
        journal.append(connection, [acknowledged(10.0, "10.1.255.254"), acknowledged(20.0, "10.1.255.253")])
        [lease] = journal.leases(connection)
    assert (lease.mac, lease.ip, lease.node, lease.starts, lease.ends) == (mac(1), "10.1.255.253", "compute-0-0", 20.0, 3620.0)


def test_the_newest_inventory_is_kept(cluster: Cluster) -> None:
    with cluster.databases.journal.write() as connection:
        assert journal.inventory(connection, "compute-0-0") is None
        journal.keep_inventory(connection, "compute-0-0", '{"disks": 1}')
        journal.keep_inventory(connection, "compute-0-0", '{"disks": 2}')
        assert journal.inventory(connection, "compute-0-0") == {"disks": 2}


def test_a_command_s_events_are_written_at_once(cluster: Cluster) -> None:
    JournalReporter(cluster.databases.journal).report(STORY[0])
    assert cluster.journal() == [STORY[0]]


def test_a_flood_of_events_never_moves_the_cluster_s_counter(cluster: Cluster) -> None:
    before, stamp = cluster.dump(), cluster.database.stamp()
    with cluster.databases.journal.write() as connection:
        journal.append(connection, STORY * 100)
    assert cluster.database.stamp() == stamp
    assert cluster.dump() == before
