"""The view of a running process: it follows the database, and stays when the database is away."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootserver.cluster.keeper import ViewKeeper
from bootserver.cluster.view import View
from bootserver.db.backup import backup, backup_path
from bootserver.db.connection import SqliteDatabase
from tests.cluster import LEASE_SECONDS, Cluster, wait_until

Keep = Callable[..., ViewKeeper]


@pytest.fixture
def keep(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> Iterator[Keep]:
    """Starts keepers of the cluster's view, and stops them at the end."""
    caplog.set_level(logging.INFO)
    keepers: list[ViewKeeper] = []

    def start(copy: SqliteDatabase | None = None) -> ViewKeeper:
        keeper = ViewKeeper(SqliteDatabase(cluster.database.path), LEASE_SECONDS, copy)
        keepers.append(keeper)
        keeper.start()
        return keeper

    yield start
    for keeper in keepers:
        keeper.stop()


def sees(keeper: ViewKeeper, *names: str) -> None:
    wait_until(f"the view shows {names}", lambda: set(keeper.view.nodes) == set(names))


def said(caplog: pytest.LogCaptureFixture, words: str) -> int:
    return sum(words in record.getMessage() for record in caplog.records)


def replace(path: Path, content: bytes) -> None:
    """Another file in the database's place, as a restored disk or a careless copy leaves it."""
    for rest in ("-wal", "-shm"):
        path.with_name(path.name + rest).unlink(missing_ok=True)
    aside = path.with_name("aside")
    aside.write_bytes(content)
    aside.replace(path)


def test_a_change_is_seen(cluster: Cluster, keep: Keep) -> None:
    keeper = keep()
    assert keeper.view.nodes == {}
    cluster.add(1)
    sees(keeper, "compute-0-0")
    cluster.add(2)
    sees(keeper, "compute-0-0", "compute-0-1")


def test_each_new_view_is_told_of_once(cluster: Cluster, keep: Keep) -> None:
    keeper, views = keep(), list[View]()
    keeper.on_change(views.append)
    cluster.add(1)
    sees(keeper, "compute-0-0")
    wait_until("the listener is told", lambda: len(views) == 1)
    time.sleep(0.2)
    assert views == [keeper.view], "nothing was written, so nothing is told"


def test_a_view_that_somebody_holds_never_changes(cluster: Cluster, keep: Keep) -> None:
    keeper = keep()
    before = keeper.view
    cluster.add(1)
    sees(keeper, "compute-0-0")
    assert before.nodes == {}


def test_a_database_locked_by_another_process_is_still_read(cluster: Cluster, keep: Keep) -> None:
    cluster.add(1)
    lock = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN EXCLUSIVE');"
        "c.execute('DELETE FROM interface'); print('locked', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", lock, str(cluster.database.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None and holder.stdout is not None
    try:
        assert holder.stdout.readline() == "locked\n"
        keeper = keep()
        assert set(keeper.view.nodes) == {"compute-0-0"}, "even by one that starts now"
        assert len(keeper.view.by_mac) == 1, "and what is not committed is not seen"
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
    cluster.add(2)
    sees(keeper, "compute-0-0", "compute-0-1")


AWAY = {
    "deleted": lambda path: [each.unlink() for each in path.parent.glob("cluster.sqlite*")],
    "emptied": lambda path: replace(path, b""),
    "overwritten with garbage": lambda path: replace(path, b"this is no database " * 5000),
    "half of it gone": lambda path: replace(path, path.read_bytes()[: path.stat().st_size // 2]),
}


@pytest.mark.parametrize("take_away", AWAY.values(), ids=AWAY.keys())
def test_the_last_view_stays_while_the_database_is_away_and_follows_when_it_is_back(
    cluster: Cluster, keep: Keep, caplog: pytest.LogCaptureFixture, tmp_path: Path, take_away: Callable[[Path], object]
) -> None:
    cluster.add(1)
    keeper, path = keep(), cluster.database.path
    copy = tmp_path / "copy.sqlite"
    backup(cluster.database)
    shutil.copy(backup_path(cluster.database), copy)
    take_away(path)
    wait_until("the log tells of it", lambda: said(caplog, "the view stays as it is (change 2)") > 0)
    time.sleep(1.2)  # long enough to be looked for again
    assert set(keeper.view.nodes) == {"compute-0-0"}
    assert said(caplog, "the view stays as it is") == 1, "once, not each time that it is looked for"
    replace(path, copy.read_bytes())
    wait_until("the log tells of its return", lambda: said(caplog, "the database is back") == 1)
    cluster.add(2)
    sees(keeper, "compute-0-0", "compute-0-1")
    assert said(caplog, "the view stays as it is") == 1


def test_another_database_in_its_place_is_seen_even_if_its_number_is_the_same(
    cluster: Cluster, keep: Keep, template: Path, tmp_path: Path
) -> None:
    other = Cluster(tmp_path / "other", template)
    other.add(77, rank=77)
    cluster.add(1)
    keeper = keep()
    sees(keeper, "compute-0-0")
    replace(cluster.database.path, other.database.path.read_bytes())
    sees(keeper, "compute-0-77")


def test_rows_that_make_no_sense_leave_the_last_view_and_its_keeper_alive(
    cluster: Cluster, keep: Keep, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.add(1)
    keeper = keep()
    with cluster.change() as change:  # what a flipped bit of a disk looks like
        change.connection.execute("UPDATE interface SET ip = '10.1.banana'")
        change.records.append(change.records[0] if change.records else _any_record())
    wait_until("the log tells of it", lambda: said(caplog, "the view stays as it is") == 1)
    assert set(keeper.view.nodes) == {"compute-0-0"}
    with cluster.change() as change:
        change.connection.execute("UPDATE interface SET ip = '10.1.0.7'")
        change.records.append(_any_record())
    wait_until("it is mended", lambda: [str(ip) for ip in keeper.view.by_ip] == ["10.1.0.7"])


def _any_record():  # type: ignore[no-untyped-def]
    from bootserver.cluster.change import Record

    return Record("interface", 1, {}, {})


# -- the last good copy ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("take_away", AWAY.values(), ids=AWAY.keys())
def test_a_start_with_a_damaged_database_serves_known_nodes_from_the_last_good_copy(
    cluster: Cluster, keep: Keep, caplog: pytest.LogCaptureFixture, take_away: Callable[[Path], object]
) -> None:
    cluster.add(1)
    backup(cluster.database)
    whole = backup_path(cluster.database).read_bytes()
    take_away(cluster.database.path)
    keeper = keep(SqliteDatabase(backup_path(cluster.database)))
    assert set(keeper.view.nodes) == {"compute-0-0"}
    assert said(caplog, "serving known nodes from the last good copy") == 1
    assert said(caplog, "the database is back") == 0, "a copy is not the database"
    replace(cluster.database.path, whole)
    wait_until("the log tells of its return", lambda: said(caplog, "the database is back") == 1)
    cluster.add(2)
    sees(keeper, "compute-0-0", "compute-0-1")


def test_without_a_copy_it_starts_empty_and_waits_for_the_database(
    cluster: Cluster, keep: Keep, caplog: pytest.LogCaptureFixture
) -> None:
    aside = cluster.database.path.with_name("aside.sqlite")
    cluster.database.path.rename(aside)
    keeper = keep(SqliteDatabase(backup_path(cluster.database)))
    assert keeper.view.nodes == {}
    assert said(caplog, "serving known nodes from the last good copy") == 0
    aside.rename(cluster.database.path)
    cluster.add(1)
    sees(keeper, "compute-0-0")


def test_a_damaged_database_never_takes_the_good_copy_s_place(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    cluster.add(1)
    backup(cluster.database)
    good = backup_path(cluster.database).read_bytes()
    for take_away in AWAY.values():
        take_away(cluster.database.path)
        backup(cluster.database)
        assert backup_path(cluster.database).read_bytes() == good
        replace(cluster.database.path, good)
    assert said(caplog, "could not be copied aside") + said(caplog, "is damaged") >= len(AWAY) - 1


def test_a_database_without_a_single_change_never_takes_the_good_copy_s_place(cluster: Cluster) -> None:
    cluster.add(1)
    backup(cluster.database)
    good = backup_path(cluster.database).read_bytes()
    with cluster.database.write() as connection:
        connection.execute("DELETE FROM change_row")
        connection.execute("DELETE FROM change")
    backup(cluster.database)
    assert backup_path(cluster.database).read_bytes() == good


def test_the_copy_is_its_owner_s_alone(cluster: Cluster) -> None:
    backup(cluster.database)
    assert backup_path(cluster.database).stat().st_mode & 0o077 == 0
