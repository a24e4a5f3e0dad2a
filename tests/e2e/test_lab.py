"""The lab itself: what it promises to the other tests, and to the machine that they run on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.console import Console, ConsoleSaid
from tests.lab.namespace import Namespace
from tests.lab.process import REPOSITORY, Process, TooLate

_HOLDER = """
import sys, time
from pathlib import Path
from tests.lab.namespace import Namespace
with Namespace(Path(sys.argv[1])) as namespace:
    print("name", namespace.name, flush=True)
    print("sleeper", namespace.start("sleeper", ["sleep", "600"]).pid, flush=True)
    time.sleep(600)
"""

# As pytest-xdist: one process gives out work, and others do it.
_GIVER = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"


def namespaces() -> str:
    return subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def console(tmp_path: Path) -> Console:
    return Console("machine", tmp_path / "console")


def test_an_escape_sequence_that_comes_in_two_pieces_is_taken_out(console: Console) -> None:
    console.feed(b"one \x1b[0")
    console.feed(b"1;37mtwo\x1b[2J\r\n")
    assert console.text == "one two\n"


def test_a_wait_begins_where_the_one_before_ended(console: Console) -> None:
    console.feed(b"up\ndown\n")
    console.wait("up", 0)
    with pytest.raises(TooLate):
        console.wait("up", 0)
    console.wait("down", 0)


def test_a_wait_ends_at_once_at_what_must_not_be_said(console: Console) -> None:
    console.feed(b"Kernel panic - not syncing\nup\n")
    with pytest.raises(ConsoleSaid, match="Kernel panic"):
        console.wait("up", 60, fail="Kernel panic")


def test_a_wait_ends_at_once_when_the_machine_goes_off(console: Console) -> None:
    console.closed()
    with pytest.raises(ConsoleSaid, match="went off"):
        console.wait("up", 60)


def test_a_namespace_is_an_island_and_goes_with_its_programs(tmp_path: Path) -> None:
    with Namespace(tmp_path) as namespace:
        sleeper = namespace.start("sleeper", ["sleep", "600"])
        assert namespace.run(["ip", "route", "get", "192.0.2.1"]).returncode != 0, "there is a way out"
        assert namespace.name in namespaces()
    assert not sleeper.alive
    assert namespace.name not in namespaces()


@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGKILL], ids=lambda each: each.name)
def test_nothing_stays_when_the_tests_are_ended(ended_by: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLDER, str(tmp_path)]
    holder = Process("holder", command, tmp_path / "holder.log", environment={"PYTHONPATH": str(REPOSITORY)})
    sleeper = Path("/proc", holder.wait_for(r"^sleeper (\d+)$", 60)[1])
    name = holder.wait_for(r"^name (\S+)$", 1)[1]
    assert sleeper.exists()

    holder.signal(ended_by)
    holder.wait(60)

    if ended_by is signal.SIGKILL:  # its name is swept away by the next
        with Namespace(tmp_path):
            pass
    assert name not in namespaces()
    assert not sleeper.exists() or "zombie" in (sleeper / "status").read_text()


def test_who_does_work_ends_with_who_gives_it_out(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(REPOSITORY), "PYTEST_XDIST_WORKER": "gw0"}
    command = [sys.executable, "-c", _GIVER, _HOLDER, str(tmp_path)]
    giver = Process("giver", command, tmp_path / "giver.log", environment=environment)
    sleeper = Path("/proc", giver.wait_for(r"^sleeper (\d+)$", 60)[1])
    name = giver.wait_for(r"^name (\S+)$", 1)[1]

    giver.signal(signal.SIGKILL)

    deadline = time.monotonic() + 60
    while name in namespaces():
        assert time.monotonic() < deadline, f"{name} is still there"
        time.sleep(0.1)
    assert not sleeper.exists() or "zombie" in (sleeper / "status").read_text()
