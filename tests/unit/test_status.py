"""A node's state, as it is read off its install and its events."""

from __future__ import annotations

import pytest

from bootserver.cluster.events import Event, Kind
from bootserver.cluster.status import Heard, status
from bootserver.db.rows import InstallRow, InstallState, NodeRow

NOW, HOUR = 1_800_000_000.0, 3600.0
NODE = NodeRow(1, "compute-0-0", 1, 0, 0, 1, "install", None, "", None, "2026-01-01T00:00:00Z")
ARMED = InstallRow(1, 1, InstallState.ARMED, False, "", None, None, "2026-01-02T00:00:00Z")
RUNNING = InstallRow(1, 1, InstallState.RUNNING, False, "a", "sync", None, "2026-01-02T00:00:00Z")
PARKED = InstallRow(1, 1, InstallState.PARKED, False, "a", "sync", "too many", "2026-01-02T00:00:00Z")


def event(kind: Kind, ago: float, **detail: str | float) -> Event:
    return Event(kind, NOW - ago, NODE.name, detail=detail)


SYNC = event(Kind.PHASE, 60, phase="sync", percent=42)
OLD_SYNC = event(Kind.PHASE, HOUR, phase="sync", percent=42)
RAMDISK = event(Kind.RAMDISK_SENT, HOUR, path="el9/initrd")

# install, newest of the events that a state is read off, newest of all; what `node list` shows
TABLE = [
    (None,    None,                             None,                       "waiting"),
    (ARMED,   None,                             event(Kind.ARMED, HOUR),    "armed"),  # it was not powered on since
    (ARMED,   None,                             event(Kind.MENU_SENT, 60),  "armed"),
    (ARMED,   None,                             RAMDISK,                    "stuck (ramdisk sent el9/initrd, silent for 60 min)"),
    (RUNNING, SYNC,                             SYNC,                       "installing (sync 42%)"),
    (RUNNING, OLD_SYNC,                         event(Kind.FILE_SENT, 60),  "installing (sync 42%)"),  # it still fetches
    (RUNNING, OLD_SYNC,                         OLD_SYNC,                   "stuck (sync 42%, silent for 60 min)"),
    (RUNNING, event(Kind.FAILED, HOUR, why="x"), event(Kind.FAILED, HOUR),  "failed"),
    (PARKED,  OLD_SYNC,                         OLD_SYNC,                   "parked"),
]  # fmt: skip


@pytest.mark.parametrize(("install", "newest", "last", "shown"), TABLE)
def test_what_a_node_does(install: InstallRow | None, newest: Event | None, last: Event | None, shown: str) -> None:
    found = status(NODE, install, Heard(newest, last), now=NOW, stuck_seconds=1800)
    assert str(found) == shown


def test_events_of_an_older_node_of_its_name_are_not_its_own() -> None:
    long_ago = Event(Kind.UP, 1_000_000_000.0, NODE.name)
    assert str(status(NODE, ARMED, Heard(long_ago), now=NOW, stuck_seconds=1800)) == "armed"
