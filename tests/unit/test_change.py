"""The one door: what a change records, and that nothing of a change is ever half done."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from bootserver.cluster import attributes, installs, nodes
from bootserver.cluster.attributes import EVERYWHERE, Place
from bootserver.cluster.change import MASK, Record
from bootserver.cluster.events import Event, Kind
from bootserver.cluster.undo import log, rows_of
from bootserver.db.connection import DatabaseError, NameTaken, SqliteDatabase
from bootserver.db.rows import AttributeRow, NodeRow, Scope, SecretRow
from tests.cluster import Cluster


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("bootserver.db.connection.BUSY_SECONDS", 0.1)
    yield


def newest(cluster: Cluster) -> int:
    with cluster.read() as reader:
        return log(reader, 1)[0].sequence


def test_a_change_is_logged_with_who_what_before_and_after(cluster: Cluster) -> None:
    cluster.add(1)
    with cluster.change("node set compute-0-0 --cpus 8", who="alice") as change:
        change.update(nodes.get(change, "compute-0-0"), cpus=8)
    with cluster.read() as reader:
        [entry] = log(reader, 1)
        [row] = rows_of(reader, entry.sequence)
    assert (entry.who, entry.what, entry.undoes) == ("alice", "node set compute-0-0 --cpus 8", None)
    assert row.table == "node" and row.before is not None and row.after is not None
    assert {key for key in row.after if row.after[key] != row.before[key]} == {"cpus"}
    assert (row.before["cpus"], row.after["cpus"]) == (1, 8)


def test_added_and_removed_rows_have_no_before_and_no_after(cluster: Cluster) -> None:
    with cluster.change() as change:
        attributes.set_attribute(change, EVERYWHERE, "color", "red")
    with cluster.read() as reader:
        [added] = rows_of(reader, newest(cluster))
    with cluster.change() as change:
        attributes.remove_attribute(change, EVERYWHERE, "color")
    with cluster.read() as reader:
        [removed] = rows_of(reader, newest(cluster))
    assert added.before is None and removed.after is None
    assert added.after == removed.before
    assert added.after is not None and added.after["value"] == "red"


def test_the_log_never_holds_a_secret(cluster: Cluster) -> None:
    cluster.make_installable()
    cluster.add(1)
    cluster.set_action("compute-0-0", "install")
    with cluster.change() as change:
        key = installs.make_node_key(change, nodes.get(change, "compute-0-0"))
        kept = [row.value for row in change.rows(SecretRow)]
        shown = "\n".join(record.describe() for record in change.records)
    cluster.set_action("compute-0-0", "os")
    with cluster.read() as reader:
        logged = reader.connection.rows('SELECT "before", "after" FROM change_row WHERE table_name = \'secret\'')
        everything = json.dumps([dict(row) for row in reader.connection.rows('SELECT "before", "after" FROM change_row')])
    assert len(kept) == 2 and len(logged) == 3
    for secret in (*kept, key.reveal()):
        assert secret not in everything + shown
    assert all(json.loads(row["after"] or row["before"])["value"] == MASK for row in logged)


def test_an_altered_secret_is_masked_too(cluster: Cluster) -> None:
    with cluster.change() as change:
        row = change.insert(SecretRow(0, "x", "hunter1"))
        change.update(row, value="hunter2")
        assert "hunter" not in str(change.records)


def test_a_dry_run_shows_everything_and_changes_nothing(cluster: Cluster) -> None:
    cluster.add(1)
    before = cluster.dump()
    with cluster.change(dry_run=True) as change:
        change.update(nodes.get(change, "compute-0-0"), cpus=8)
        change.report(Event(Kind.ARMED, time.time(), "compute-0-0"))
        nodes.remove(change, nodes.get(change, "compute-0-0"))
    assert [record.table for record in change.records] == ["node", "interface", "node"]
    assert cluster.dump() == before
    assert cluster.events == []


def test_an_exception_rolls_everything_back_and_tells_nothing(cluster: Cluster) -> None:
    before = cluster.dump()
    with pytest.raises(ZeroDivisionError), cluster.change() as change:
        attributes.set_attribute(change, EVERYWHERE, "color", "red")
        change.report(Event(Kind.ARMED, time.time(), "compute-0-0"))
        _ = 1 // 0
    assert cluster.dump() == before
    assert cluster.events == []


def test_a_taken_name_rolls_back_what_went_before_it(cluster: Cluster) -> None:
    cluster.add(1)
    before = cluster.dump()
    with pytest.raises(NameTaken), cluster.change() as change:
        attributes.set_attribute(change, EVERYWHERE, "color", "red")
        row = nodes.get(change, "compute-0-0")
        change.insert(NodeRow(0, row.name, row.appliance_id, 0, 5, 1, None, None, "", None, row.created))
    assert cluster.dump() == before


def test_a_change_of_nothing_leaves_no_trace(cluster: Cluster) -> None:
    cluster.add(1)
    before, number = cluster.dump(), newest(cluster)
    with cluster.change() as change:
        change.update(nodes.get(change, "compute-0-0"), cpus=1)
    assert change.sequence is None
    assert newest(cluster) == number
    assert cluster.dump() == before


def test_events_are_told_once_the_change_is_committed(cluster: Cluster) -> None:
    with cluster.change() as change:
        attributes.set_attribute(change, EVERYWHERE, "color", "red")
        change.report(Event(Kind.ARMED, time.time(), "compute-0-0"))
        assert cluster.events == []
    assert cluster.kinds() == [Kind.ARMED]


def test_the_number_of_a_change_only_grows(cluster: Cluster) -> None:
    numbers = []
    for value in ("red", "green", "blue"):
        with cluster.change() as change:
            attributes.set_attribute(change, EVERYWHERE, "color", value)
        numbers.append(change.sequence)
    assert None not in numbers
    assert numbers == sorted(set(numbers))


def test_a_reader_sees_one_moment(cluster: Cluster) -> None:
    cluster.add(1)
    with cluster.read() as reader:
        assert nodes.get(reader, "compute-0-0").cpus == 1
        with cluster.change() as change:  # and waits for no writer, nor does one wait for it
            change.update(nodes.get(change, "compute-0-0"), cpus=8)
        assert nodes.get(reader, "compute-0-0").cpus == 1
    assert cluster.node("compute-0-0").cpus == 8


@pytest.mark.usefixtures("impatient")
def test_a_second_writer_is_told_that_the_database_is_locked(cluster: Cluster) -> None:
    other = SqliteDatabase(cluster.database.path)
    with cluster.change() as change:
        attributes.set_attribute(change, EVERYWHERE, "color", "red")
        with pytest.raises(DatabaseError, match="is locked by another process"), other.write():
            pass
    with other.read() as connection:
        assert connection.rows("SELECT value FROM attribute")[0]["value"] == "red"


def test_what_changed_is_told_in_words() -> None:
    added = Record("attribute", 1, None, {"id": 1, "key": "color", "value": "red"})
    altered = Record("node", 7, {"name": "a", "cpus": 1}, {"name": "a", "cpus": 8})
    removed = Record("node", 7, {"name": "a", "action": None}, None)
    assert added.describe() == "+ attribute id=1 key=color value=red"
    assert altered.describe() == "~ node a: cpus 1 -> 8"
    assert removed.describe() == "- node name=a"


def test_rows_are_read_with_their_types(cluster: Cluster) -> None:
    with cluster.change() as change:
        attributes.set_attribute(change, Place(Scope.RACK, 3), "color", "red")
        row = change.one(AttributeRow, "scope = :scope", scope=Scope.RACK)
        assert row == AttributeRow(row.id if row else 0, Scope.RACK, 3, "color", "red")
        assert change.one(AttributeRow, "scope = :scope", scope=Scope.NODE) is None
