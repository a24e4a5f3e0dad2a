"""Background processes of the lab: each with a log, ended by its own pid, none left behind."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

REPOSITORY = Path(__file__).resolve().parents[2]
CORES = os.cpu_count() or 1

# setpriv, not a preexec_fn: that one may deadlock in a process with threads, and a guest's console is read by one.
# The kernel sends it when the *thread* that started the process ends: start processes from the main thread.
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "TERM", "--")
_PR_SET_PDEATHSIG = 1  # prctl(2)


class TooLate(AssertionError):
    """What was waited for did not come in time; the message ends with what came instead."""


def patience(quiet_seconds: float) -> float:
    """How long to wait for what takes `quiet_seconds` on an idle machine: three times that, times the load.

    ``LAB_PATIENCE=2`` doubles it, for a slower machine than the one that the times in the tests are from.
    """
    crowd = max(1.0, os.getloadavg()[0] / CORES)
    return quiet_seconds * 3 * crowd * float(os.environ.get("LAB_PATIENCE", "1"))


def unwind_on_sigterm() -> None:
    """Make SIGTERM (``timeout``, CI runners) end the tests the way ^C does, so that everything is put away.

    Not SystemExit: pytest takes that for one more failed test and goes on.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _unwind)
        if "PYTEST_XDIST_WORKER" in os.environ:
            # Who ends the tests ends the process that gives out work; those that do it would go on with theirs.
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _unwind(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt("SIGTERM")


def end(popen: subprocess.Popen[bytes], seconds: float = 10.0) -> None:
    """SIGTERM, then SIGKILL, to exactly this process."""
    if popen.poll() is not None:
        return
    popen.terminate()
    try:
        popen.wait(seconds)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait(seconds)


class Process:
    """A program in the background; what it prints goes to its log."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                [*DIE_WITH_PARENT, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        return self._popen.poll()

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def stop(self) -> int | None:
        """End it; safe to call twice.

        :returns: its exit status; negative is the signal that ended it.
        """
        end(self._popen)
        return self._popen.returncode

    def wait(self, seconds: float) -> int:
        """Wait until it ends by itself.

        :raises TooLate: it did not.
        """
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TooLate(f"{self.name} still runs after {seconds:.0f} s:\n{self.text()[-2000:]}") from None

    def wait_for(self, regex: str, seconds: float) -> re.Match[str]:
        """Wait until its log matches.

        :raises TooLate: it did not, or the program ended before.
        """
        pattern = re.compile(regex, re.MULTILINE)
        deadline = time.monotonic() + seconds
        while True:
            alive = self.alive  # before reading: its last words count
            if match := pattern.search(self.text()):
                return match
            if not alive:
                raise TooLate(f"{self.name} ended with status {self.returncode} before /{regex}/:\n{self.text()[-2000:]}")
            if time.monotonic() > deadline:
                raise TooLate(f"{self.name}: no /{regex}/ in {seconds:.0f} s:\n{self.text()[-2000:]}")
            time.sleep(0.05)
