"""``bootserver events``, ``log`` and ``undo``: what happened, who did it, and taking it back."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bootserver.cli.story import words
from bootserver.cluster.events import Event, Kind
from bootserver.db.rows import InstallRow
from bootserver.values.mac import MacAddress
from tests.administrator import Administrator

MAC = MacAddress.parse("52:54:00:00:00:01")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Administrator(tmp_path_factory.mktemp("template")).folder


@pytest.fixture
def admin(tmp_path: Path, template: Path) -> Administrator:
    return Administrator(tmp_path, template)


def test_a_boot_reads_as_a_story(admin: Administrator) -> None:
    admin.does("node", "add", "compute-0-0", "--mac", str(MAC))
    admin.happened(
        Event(Kind.SEEN, 0.0, None, MAC, {"vendor class": "PXEClient\x1b[31m\nfake line"}),
        Event(Kind.ACKNOWLEDGED, 1.0, "compute-0-0", MAC, {"address": "10.1.255.254", "lease": 60}),
        Event(Kind.KERNEL_SENT, 2.0, "compute-0-0", MAC, {"path": "installer/vmlinuz", "bytes": 8_123_456, "seconds": 0.81}),
        Event(Kind.PHASE, 3.0, "compute-0-0", None, {"phase": "sync", "percent": 40.2}),
    )
    lines = admin.does("events").splitlines()
    assert lines[1].split("  ", 1)[1].endswith("vendor class PXEClient?[31m?fake line")
    assert lines[3].endswith("kernel sent   installer/vmlinuz, 8.1 MB in 0.8 s")
    assert lines[4].endswith("sync, 40%")
    assert [row["kind"] for row in admin.lists("events", "compute-0-0")] == ["acknowledged", "kernel sent", "phase"]
    assert [row["kind"] for row in admin.lists("events", str(MAC))] == ["seen", "acknowledged", "kernel sent"]
    assert [row["kind"] for row in admin.lists("events", "--kind", "phase")] == ["phase"]
    assert len(admin.lists("events", "--last", "2")) == 2
    assert "no kind of event" in admin.fails("events", "--kind", "nonsense", status=2)


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        ({}, ""),
        ({"bytes": 512}, "512 bytes"),
        ({"bytes": 42_000, "seconds": 2.0, "path": "pxelinux.0"}, "pxelinux.0, 42.0 kB in 2.0 s"),
        ({"seconds": 3.25}, "3.2 s"),
        ({"why": "no disk", "phase": "partition"}, "partition, no disk"),
        ({"wipe": True, "ipxe": False, "nothing": None}, "wipe"),
    ],
)
def test_a_detail_in_words(detail: dict[str, str | int | float | bool | None], told: str) -> None:
    assert words(detail) == told


def test_a_removed_node_still_has_its_story(admin: Administrator) -> None:
    admin.happened(Event(Kind.UP, 0.0, "compute-9-9"))
    assert [row["kind"] for row in admin.lists("events", "compute-9-9")] == ["up"]
    assert "no node 'compute-8-8'" in admin.fails("events", "compute-8-8")


def test_follow_goes_on_while_the_journal_is_away(admin: Administrator) -> None:
    environment = os.environ | {"BOOTSERVER_CONFIG": str(admin.config_path)}
    following = subprocess.Popen(
        [sys.executable, "-m", "bootserver", "events", "--follow", "--format", "json"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert following.stdout is not None and following.stderr is not None
    try:
        admin.happened(Event(Kind.UP, 0.0, "compute-0-0"))
        assert json.loads(following.stdout.readline())["node"] == "compute-0-0"
        journal = admin.folder / "db" / "journal.sqlite"
        journal.rename(journal.with_suffix(".away"))
        assert "waiting for the journal" in following.stderr.readline()
        journal.with_suffix(".away").rename(journal)
        admin.happened(Event(Kind.UP, 1.0, "compute-0-1"))
        assert json.loads(following.stdout.readline())["node"] == "compute-0-1"
        following.send_signal(signal.SIGINT)
        assert following.wait(timeout=20) == 130
    finally:
        following.kill()
        following.wait()


def test_the_log_tells_who_typed_what(admin: Administrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "mia")
    admin.does("node", "add", "compute-0-0", "--comment", "it's new")
    entry = admin.lists("log", "--last", "1")[0]
    assert entry["what"] == "node add compute-0-0 --comment 'it'\"'\"'s new'"
    assert entry["who"] == ("mia" if os.geteuid() == 0 else entry["who"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry["time"])
    assert admin.does("log", "show", str(entry["change"])).startswith("+ node ")


def test_undo_takes_a_change_back_and_is_itself_logged(admin: Administrator) -> None:
    admin.does("node", "add", "compute-0-0", "--mac", str(MAC))
    number = admin.lists("log")[-1]["change"]
    assert "nothing was changed" in admin.does("undo", str(number), "--dry-run")
    admin.does("undo", str(number))
    assert admin.lists("node", "list") == []
    assert admin.lists("log")[-1]["undoes"] == number
    assert "no change 999" in admin.fails("undo", "999")


def test_undo_is_refused_when_somebody_changed_it_since(admin: Administrator) -> None:
    admin.does("attr", "set", "tz", "UTC")
    number = admin.lists("log")[-1]["change"]
    admin.does("attr", "set", "tz", "CET")
    assert "was changed again since" in admin.fails("undo", str(number))


def test_undoing_the_removal_of_an_armed_node_arms_nothing(admin: Administrator) -> None:
    admin.has_image()
    admin.does("attr", "set", "image", "golden")
    admin.does("node", "add", "compute-0-0", "--mac", str(MAC))
    admin.does("pxe", "set", "compute-0-0", "install")
    admin.does("node", "remove", "compute-0-0", "--yes")
    admin.does("undo", str(admin.lists("log")[-1]["change"]))
    assert admin.node("compute-0-0").action is None
    assert admin.rows(InstallRow) == []


def test_a_change_stands_even_if_its_events_can_not_be_written_down(admin: Administrator) -> None:
    admin.has_image()
    admin.does("attr", "set", "image", "golden")
    admin.does("node", "add", "compute-0-0")
    (admin.folder / "db" / "journal.sqlite").unlink()
    result = admin.run("pxe", "set", "compute-0-0", "install")
    assert result.exit_code == 0
    assert result.stdout == "compute-0-0: install\n"
    assert "could not be written down" in result.stderr
    assert len(admin.rows(InstallRow)) == 1


def test_a_database_that_another_process_holds_is_said_after_a_while(
    admin: Administrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootserver.db.connection.BUSY_SECONDS", 0.1)
    with admin.databases.cluster.write():
        assert "locked by another process" in admin.fails("node", "add")
        assert admin.lists("node", "list") == []  # reading waits for nobody
