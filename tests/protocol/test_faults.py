"""What goes wrong around the running service: known nodes boot all the same, the log says so once, and it mends itself."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest

from bootserver.cluster.events import Kind
from bootserver.db.backup import backup
from bootserver.db.connection import SqliteDatabase
from tests.cluster import mac, wait_until
from tests.frontend import Frontend, prepared, serving

LOCK = (
    "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN EXCLUSIVE');"
    "print('locked', flush=True); sys.stdin.read()"
)
MENU = f"pxelinux.cfg/01-{mac(1).dashed}"


@pytest.fixture
def service(own_network: None, tmp_path: Path) -> Iterator[Frontend]:
    """A service that knows compute-0-0."""
    with serving(tmp_path) as running:
        running.add_node(1)
        wait_until("each TFTP worker knows it, too", lambda: all(has_menu(running) for _ in range(8)))
        yield running


def has_menu(frontend: Frontend) -> bool:
    """Whichever worker is asked: the kernel chooses one for each client's port."""
    try:
        return b"compute-0-0" in frontend.tftp(MENU)
    except AssertionError:
        return False


def folder(frontend: Frontend) -> Path:
    return frontend.state / "db"


def known_nodes_boot(frontend: Frontend) -> bool:
    """compute-0-0 gets its menu both ways, and is known by its address."""
    address = "10.77.0.254"
    by_http = frontend.http("GET", f"/{MENU}", source=address)
    assert by_http.status == 200 and b"compute-0-0" in by_http.body
    assert b"compute-0-0" in frontend.tftp(MENU)
    assert frontend.http("GET", "/node/whoami", source=address).text == "compute-0-0"
    return True


def serves_changes(frontend: Frontend, number: int) -> bool:
    """A node that is added now is known soon."""
    frontend.add_node(number)
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process holds a database."""
    holder = subprocess.Popen([sys.executable, "-c", LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None and holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"locked\n"
        yield
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()


def test_while_the_database_is_locked_known_nodes_boot_and_changes_are_told_to_wait(service: Frontend) -> None:
    service.make_installable()
    service.set_action("compute-0-0", "install")
    ticket = urlencode({"ticket": service.ticket("compute-0-0", time.time())})
    wait_until("its menu holds a ticket", lambda: b"ticket=" in service.http("GET", f"/{MENU}", source="10.77.0.254").body)
    with locked(folder(service) / "cluster.sqlite"):
        assert b"ticket=" in service.http("GET", f"/{MENU}", source="10.77.0.254").body
        answer = service.http("POST", "/node/exchange", source="10.77.0.254", body=ticket)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        done = service.cli("attr", "set", "color", "red", status=1)
        assert done.stderr.splitlines() == [done.stderr.strip()] and "is locked by another process" in done.stderr
    assert service.http("POST", "/node/exchange", source="10.77.0.254", body=ticket).status == 200, "the same ticket, now"
    assert serves_changes(service, 2)


def test_while_the_journal_is_locked_events_wait(service: Frontend) -> None:
    with locked(folder(service) / "journal.sqlite"):
        assert known_nodes_boot(service)
        service.says("events wait in memory")
        assert known_nodes_boot(service)
    event = service.told(Kind.MENU_SENT, path=MENU, by="http")
    assert event.node == "compute-0-0"


def overwrite(database: Path) -> None:
    database.with_name("aside").write_bytes(b"this is no database " * 5000)
    shutil.chown(database.with_name("aside"), "bootserver", "bootserver")
    database.with_name("aside").replace(database)


def scribble(database: Path) -> None:
    """Garbage into the very file that the service has open."""
    with database.open("r+b") as file:
        file.write(b"\xa5" * database.stat().st_size)


AWAY: dict[str, Callable[[Path], object]] = {
    "gone": lambda database: [each.unlink() for each in database.parent.glob("cluster.sqlite*")],
    "another file in its place": overwrite,
    "scribbled over": scribble,
}


def put_back(frontend: Frontend, copy: Path) -> None:
    database = folder(frontend) / "cluster.sqlite"
    for each in folder(frontend).glob("cluster.sqlite*"):
        each.unlink()
    aside = database.with_name("aside")
    shutil.copy(copy, aside)
    shutil.chown(aside, "bootserver", "bootserver")
    aside.replace(database)


@pytest.mark.parametrize("take_away", AWAY.values(), ids=AWAY.keys())
def test_known_nodes_boot_without_a_database_and_it_is_taken_up_when_it_is_back(
    service: Frontend, take_away: Callable[[Path], object], tmp_path: Path
) -> None:
    database, copy = folder(service) / "cluster.sqlite", tmp_path / "copy.sqlite"
    with sqlite3.connect(copy) as target, sqlite3.connect(database) as source:
        source.backup(target)
    target.close()
    source.close()
    take_away(database)
    failed = service.cli("attr", "set", "color", "red", status=1)
    assert len(failed.stderr.splitlines()) == 1 and str(database) in failed.stderr
    if take_away is not scribble:  # that is noticed where a change is tried
        service.says("the view stays as it is")
    time.sleep(1.5)
    assert known_nodes_boot(service)
    parts = len({line.partition(":")[0] for line in service.log().splitlines()})
    assert service.log().count("the view stays as it is") <= parts, "once for each process, not each time that it is looked for"
    put_back(service, copy)
    if take_away is not scribble:
        service.says("the database is back")
    assert serves_changes(service, 2)
    assert known_nodes_boot(service)
    assert "Traceback" not in service.log()


def test_a_start_with_a_damaged_database_serves_known_nodes_from_the_last_good_copy(service: Frontend, tmp_path: Path) -> None:
    database = folder(service) / "cluster.sqlite"
    service.stop()
    backup(SqliteDatabase(database))
    shutil.chown(folder(service) / "backup.sqlite", "bootserver", "bootserver")
    overwrite(database)
    service.start()
    assert known_nodes_boot(service)
    service.says("serving known nodes from the last good copy")
    assert "Traceback" not in service.log()
    service.cli("restore", "--backup", "--yes")
    assert serves_changes(service, 2)


@pytest.fixture
def small(own_network: None, tmp_path: Path) -> Iterator[Frontend]:
    """A service whose databases are on a disk of 3 MB."""
    with prepared(tmp_path) as made:
        database = folder(made)
        aside = database.with_name("aside")
        database.rename(aside)
        database.mkdir(mode=0o700)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(database)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"needs to mount a small disk: {done.stderr.strip()}")
        try:
            shutil.chown(database, "bootserver", "bootserver")
            for each in aside.iterdir():
                shutil.copy(each, database)
                shutil.chown(database / each.name, "bootserver", "bootserver")
            made.start()
            made.add_node(1)
            yield made
            made.stop()
        finally:
            subprocess.run(["umount", "-l", str(database)], check=False)


def fill(disk: Path) -> Path:
    """Not a byte is left."""
    hog = disk / "hog"
    with hog.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    assert os.statvfs(disk).f_bavail == 0
    return hog


def test_on_a_full_disk_known_nodes_boot_and_it_goes_on_when_there_is_room(small: Frontend) -> None:
    hog = fill(folder(small))
    assert known_nodes_boot(small)
    done = small.cli("attr", "set", "color", "x" * 4000, status=None)
    for number in range(400):  # until the journal itself needs room
        small.http("GET", f"/{MENU}", source="10.77.0.254")
        if number % 100 == 99 and "events wait in memory" in small.log():
            break
    small.says("events wait in memory")
    assert known_nodes_boot(small)
    assert "the disk is full" in small.log()
    time.sleep(2)
    assert small.log().count("events wait in memory") <= 2, "it is said once, not four times a second"
    hog.unlink()
    assert serves_changes(small, 2)
    small.file("after.txt", b"x")
    small.http("GET", "/after.txt")
    small.told(Kind.FILE_SENT, path="after.txt")
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr + small.log()


def test_every_part_killed_again_and_again_loses_no_node(service: Frontend) -> None:
    names = {"compute-0-0"}
    for number, part in enumerate(("recorder", "web", "tftp", "dhcp"), 2):
        service.kill(part)
        names.add(service.cli("insert-ethers", "--batch", "--mac", str(mac(number))).stdout.split()[-1])
    service.wait_until_ready()
    assert {row["node"] for row in service.rows("node", "list")} == names
    assert known_nodes_boot(service)
