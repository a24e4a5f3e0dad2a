"""The recorder: what nodes do is written down, machines are registered, one-shot actions are taken back."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootserver.cluster import discovery, nodes
from bootserver.cluster.change import open_change
from bootserver.cluster.discovery import Request
from bootserver.cluster.events import Event, Kind
from bootserver.cluster.keeper import ViewKeeper
from bootserver.cluster.reporting import PipeReporter, make_pipe
from bootserver.service.recorder import Recorder
from tests.cluster import LEASE_SECONDS, Cluster, mac, machine, wait_until

NOW = time.time()  # older events are cleaned away


class Running:
    """A recorder at work in a thread, and the protocol server that reports to it."""

    def __init__(self, cluster: Cluster, backup: Callable[[], None] | None = None) -> None:
        self.reading, self.writing = make_pipe()
        self.reporter = PipeReporter(self.writing)
        self.keeper = ViewKeeper(cluster.database, LEASE_SECONDS)
        self.keeper.start()
        self._recorder = Recorder(self.reading, cluster.databases, self.keeper, 90, backup)
        self._thread = threading.Thread(target=self._recorder.run)
        self._thread.start()

    def tell(self, *events: Event) -> None:
        for event in events:
            self.reporter.report(event)
        self.reporter.flush()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._recorder.stop(signal.SIGTERM)
            self._thread.join()
            self.keeper.stop()
            os.close(self.reading)
            os.close(self.writing)


@pytest.fixture
def recorder(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr("bootserver.db.connection.BUSY_SECONDS", 0.1)
    running = Running(cluster)
    yield running
    running.stop()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


def sent(path: str, kind: Kind = Kind.RAMDISK_SENT, node: str = "compute-0-0") -> Event:
    return Event(kind, time.time(), node, mac(1), {"path": path, "bytes": 1})


def told(cluster: Cluster, kind: Kind, count: int = 1) -> list[Event]:
    """The events of a kind, once there are so many."""
    wait_until(f"{count} x {kind.value}", lambda: sum(event.kind is kind for event in cluster.journal()) >= count)
    return [event for event in cluster.journal() if event.kind is kind]


def test_what_is_reported_is_written_down_in_order(cluster: Cluster, recorder: Running) -> None:
    events = [Event(Kind.OFFERED, NOW + number, "compute-0-0") for number in range(500)]
    recorder.tell(*events)
    wait_until("all are written", lambda: cluster.journal() == events)


def test_what_is_still_in_the_pipe_is_written_before_it_ends(cluster: Cluster, recorder: Running) -> None:
    recorder.tell(Event(Kind.UP, NOW, "compute-0-0"))
    recorder.stop()
    assert [event.kind for event in cluster.journal()] == [Kind.UP]


def test_while_the_journal_is_locked_events_are_kept_and_written_later(
    cluster: Cluster, recorder: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with locked(cluster.state / "db" / "journal.sqlite"):
        recorder.tell(Event(Kind.OFFERED, NOW, "compute-0-0"))
        wait_until("the log tells of it", lambda: "events wait in memory" in caplog.text)
        recorder.tell(Event(Kind.ACKNOWLEDGED, NOW + 1, "compute-0-0"))
        time.sleep(1)
        assert cluster.journal() == []
    wait_until("both are written", lambda: [event.at for event in cluster.journal()] == [NOW, NOW + 1])
    assert caplog.text.count("events wait in memory") == 1, "it is said once, not each time that it is tried"


def test_more_than_can_be_kept_is_counted_as_lost(
    cluster: Cluster, recorder: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bootserver.service.recorder.KEEP", 10)
    with locked(cluster.state / "db" / "journal.sqlite"):
        recorder.tell(*(Event(Kind.OFFERED, NOW + number, "compute-0-0") for number in range(25)))
        wait_until("it is tried", lambda: "events wait in memory" in caplog.text)
    [lost] = told(cluster, Kind.LOST)
    assert lost.detail == {"events": 15, "because": "the journal was away"}
    assert [event.at for event in cluster.journal() if event.kind is Kind.OFFERED] == [NOW + number for number in range(15, 25)]


# -- registration ------------------------------------------------------------------------------------------------


def test_a_machine_that_asks_while_a_discovery_is_open_becomes_a_node(cluster: Cluster, recorder: Running) -> None:
    cluster.open_discovery()
    recorder.reporter.register(machine(1))
    [event] = told(cluster, Kind.REGISTERED)
    assert (event.node, event.mac) == ("compute-0-0", mac(1))
    assert cluster.names() == ["compute-0-0"]


def test_without_a_discovery_nobody_is_registered(cluster: Cluster, recorder: Running) -> None:
    recorder.reporter.register(machine(1))
    recorder.tell(Event(Kind.UP, NOW, "x"))
    told(cluster, Kind.UP)
    assert cluster.names() == []


def test_who_is_not_taken_is_told_of_with_why(cluster: Cluster, recorder: Running) -> None:
    cluster.open_discovery(Request(mac=mac(7)))
    recorder.reporter.register(machine(1))
    [event] = told(cluster, Kind.IGNORED)
    assert event.mac == mac(1) and f"takes only {mac(7)}" in str(event.detail["because"])
    assert cluster.names() == []


def test_a_machine_waits_while_the_database_is_locked(
    cluster: Cluster, recorder: Running, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.open_discovery()
    with locked(cluster.database.path):
        recorder.reporter.register(machine(1))
        wait_until("the log tells of it", lambda: "is locked by another process" in caplog.text)
        assert cluster.names() == []
    wait_until("it is registered", lambda: cluster.names() == ["compute-0-0"])


def test_a_discovery_with_confirm_only_asks_once_for_each_machine(cluster: Cluster, recorder: Running) -> None:
    row = cluster.open_discovery(Request(confirm=True))
    for _ in range(3):
        recorder.reporter.register(machine(1))
    recorder.reporter.register(machine(2))
    asked = told(cluster, Kind.ASKS, 2)
    recorder.tell(Event(Kind.UP, NOW, "x"))
    told(cluster, Kind.UP)
    assert [event.mac for event in asked] == [mac(1), mac(2)]
    assert asked[0].detail["discovery"] == row.id and asked[0].detail["network"] == "private"
    assert cluster.names() == []


def test_a_discovery_whose_time_is_over_is_closed(cluster: Cluster, recorder: Running) -> None:
    cluster.open_discovery(Request(seconds=0.2))
    wait_until("it is closed", lambda: _is_closed(cluster))


def _is_closed(cluster: Cluster) -> bool:
    with cluster.read() as reader:
        return reader.connection.rows("SELECT closed FROM discovery")[0]["closed"] is not None


def test_no_more_than_so_many_are_registered_at_once(cluster: Cluster, recorder: Running) -> None:
    cluster.open_discovery(Request(max_new=64))
    for number in range(100):
        recorder.reporter.register(machine(number))
    wait_until("64 are registered", lambda: len(cluster.names()) == 64, 30)
    wait_until("and it is closed", lambda: _is_closed(cluster))
    assert len(set(cluster.names())) == 64


# -- one-shot actions --------------------------------------------------------------------------------------------


@pytest.fixture
def flashing(cluster: Cluster, recorder: Running) -> Running:
    """compute-0-0 is to flash its BIOS."""
    cluster.add(1)
    cluster.set_action("compute-0-0", "pxeflash")
    wait_until("the recorder sees it", lambda: any(node.action.one_shot for node in recorder.keeper.view.nodes.values()))
    return recorder


def test_a_one_shot_action_is_over_when_its_last_file_was_sent(cluster: Cluster, flashing: Running) -> None:
    flashing.tell(sent("pxeflash.img"))
    [event] = told(cluster, Kind.ACTION)
    assert cluster.node("compute-0-0").action is None
    assert event.detail["action"] == "os"


@pytest.mark.parametrize(
    "event",
    [
        sent("pxeflash.img", Kind.NOT_SENT),
        sent("pxeflash.img", Kind.MENU_SENT),
        sent("memdisk", Kind.KERNEL_SENT),
        sent("other.img"),
        sent("pxeflash.img", node="compute-9-9"),
        Event(Kind.RAMDISK_SENT, NOW, None, mac(1), {"path": "pxeflash.img"}),
    ],
    ids=["broken off", "a menu", "the loader", "another file", "another node", "nobody known"],
)
def test_it_stays_while_anything_else_happens(cluster: Cluster, flashing: Running, event: Event) -> None:
    flashing.tell(event, Event(Kind.UP, NOW, "x"))
    told(cluster, Kind.UP)
    assert cluster.node("compute-0-0").action == "pxeflash"


def test_one_that_can_not_be_taken_back_is_an_alarm(cluster: Cluster, flashing: Running) -> None:
    with locked(cluster.database.path):
        flashing.tell(sent("pxeflash.img"))
        [event] = told(cluster, Kind.ALARM)
    assert event.node == "compute-0-0" and "could not be taken back" in str(event.detail["because"])


# -- copies ------------------------------------------------------------------------------------------------------


def test_the_database_is_copied_aside_once_for_each_state(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bootserver.service.recorder.BACKUP_SECONDS", 0.1)
    copies: list[int] = []
    running = Running(cluster, lambda: copies.append(1))
    try:
        wait_until("it is copied", lambda: len(copies) == 1)
        time.sleep(0.5)
        assert len(copies) == 1, "nothing has changed since"
        cluster.add(1)
        wait_until("it is copied again", lambda: len(copies) == 2)
    finally:
        running.stop()


def test_a_person_s_yes_takes_the_machine(cluster: Cluster) -> None:
    """What insert-ethers --confirm does with the question that the recorder wrote down."""
    row = cluster.open_discovery(Request(confirm=True))
    with open_change(cluster.database, "root", "insert-ethers --confirm") as change:
        assert discovery.register(change, row, machine(1)).name == "compute-0-0"
    with cluster.read() as reader:
        assert nodes.get(reader, "compute-0-0").discovery_id == row.id


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
