"""The supervisor with parts of its own: real processes, in a program of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import wait_until

PROGRAM = """
import logging, os, signal, sys, time
from pathlib import Path
from bootserver.service.supervisor import Part, Supervisor
from bootserver.service.logs import log_to_stderr

folder = Path(sys.argv[1])
log_to_stderr(False)

def steady(ready):
    ready()
    (folder / f"steady-{os.getpid()}").touch()
    time.sleep(600)

def polite(ready):
    signal.signal(signal.SIGTERM, lambda *_: (folder / "said goodbye").touch() or sys.exit(0))
    steady(ready)

def stubborn(ready):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    steady(ready)

def broken(ready):
    raise RuntimeError("it can't begin")

def shy(ready):
    steady(lambda: None)

parts = [Part(name, globals()[name]) for name in sys.argv[2:]]
try:
    sys.exit(Supervisor(parts, None, lambda: None if (folder / "keep").exists() else parts).run())
finally:  # what the service does last, and once
    (folder / f"over-{os.getpid()}").touch()
"""


class Supervised:
    """A supervisor at work. :ivar log: what it says."""

    def __init__(self, folder: Path, *parts: str) -> None:
        self.folder = folder
        self._log = folder / "log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder), *parts], stderr=log)

    def says(self, words: str, times: int = 1) -> None:
        wait_until(f"it says {words!r}", lambda: len(re.findall(words, self.log)) >= times or self.process.poll() is not None)
        assert len(re.findall(words, self.log)) >= times, self.log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def parts(self) -> list[int]:
        """Those that run now."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def runs(self, count: int) -> list[int]:
        wait_until(f"{count} are at work", lambda: len(self.at_work()) == count)
        return self.at_work()

    def at_work(self) -> list[int]:
        return [pid for pid in self.parts() if (self.folder / f"steady-{pid}").exists()]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    made: list[Supervised] = []

    def start(*parts: str) -> Supervised:
        made.append(Supervised(tmp_path, *parts))
        return made[-1]

    yield start
    for each in made:
        each.process.kill()
        each.process.wait()


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_it_is_ready_once_all_of_its_parts_are(supervise: Callable[..., Supervised]) -> None:
    service = supervise("steady", "polite")
    service.says(r"ready after .* parts=steady,polite")
    assert len(service.runs(2)) == 2


def test_it_is_not_ready_while_one_is_not(supervise: Callable[..., Supervised]) -> None:
    service = supervise("steady", "shy")
    service.runs(2)
    assert "ready after" not in service.log


def test_a_part_that_dies_is_started_again_and_later_each_time(supervise: Callable[..., Supervised]) -> None:
    service = supervise("broken", "steady")
    service.says("part ended name=broken .* with=status 1; starts again in 0.4 s")
    pauses = re.findall(r"name=broken .* again in (\S+) s", service.log)
    assert pauses[:3] == ["0.1", "0.2", "0.4"]
    assert service.log.count("RuntimeError: it can't begin") >= 3, "and says why each time"
    assert len(service.runs(1)) == 1, "the others go on"


def test_a_part_that_is_killed_is_started_again(supervise: Callable[..., Supervised]) -> None:
    service = supervise("steady")
    [pid] = service.runs(1)
    os.kill(pid, signal.SIGKILL)
    service.says("part ended name=steady .* with=signal 9")
    wait_until("another one runs", lambda: service.at_work() not in ([], [pid]))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_parts_are_asked_to_end_and_end_first(supervise: Callable[..., Supervised], number: signal.Signals) -> None:
    service = supervise("polite", "steady")
    pids = service.runs(2)
    service.process.send_signal(number)
    assert service.process.wait(30) == 0
    assert all(is_gone(pid) for pid in pids)
    assert (service.folder / "said goodbye").exists()


def test_one_that_will_not_end_is_killed(supervise: Callable[..., Supervised]) -> None:
    service = supervise("stubborn", "polite")
    pids = service.runs(2)
    service.process.terminate()
    assert service.process.wait(30) == 0
    wait_until("it is gone", lambda: all(is_gone(pid) for pid in pids))
    assert "did not stop in time and is killed" in service.log


def test_parts_end_with_their_supervisor(supervise: Callable[..., Supervised]) -> None:
    service = supervise("steady", "stubborn")
    pids = service.runs(2)
    service.process.kill()
    service.process.wait()
    wait_until("all are gone", lambda: all(is_gone(pid) for pid in pids))


def test_a_reload_takes_new_parts_and_ends_the_old_ones(supervise: Callable[..., Supervised]) -> None:
    service = supervise("steady", "polite")
    old = service.runs(2)
    service.says("ready after")
    service.process.send_signal(signal.SIGHUP)
    service.says("configuration reloaded")
    wait_until("new ones work", lambda: len(set(service.at_work()) - set(old)) == 2)
    wait_until("the old ones have ended", lambda: all(is_gone(pid) for pid in old))
    assert "part ended" not in service.log, "that is no accident"


def test_a_reload_that_can_not_be_keeps_the_parts(supervise: Callable[..., Supervised]) -> None:
    service = supervise("steady")
    old = service.runs(1)
    (service.folder / "keep").touch()
    service.says("ready after")
    service.process.send_signal(signal.SIGHUP)
    service.says("the parts go on as they were")
    assert service.at_work() == old


def test_a_log_that_can_not_be_written_makes_no_second_supervisor(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path), "broken", "steady"], stderr=full)
    try:
        wait_until("the steady one works", lambda: len(list(tmp_path.glob("steady-*"))) == 1)
        first = next(tmp_path.glob("steady-*"))
        os.kill(int(first.name.removeprefix("steady-")), signal.SIGKILL)
        wait_until("it is started again", lambda: len(list(tmp_path.glob("steady-*"))) == 2)
        assert process.poll() is None
        process.terminate()
        assert process.wait(30) == 0
        assert [path.name for path in tmp_path.glob("over-*")] == [f"over-{process.pid}"], "no part goes the supervisor's way"
    finally:
        process.kill()
        process.wait()
