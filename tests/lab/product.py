"""The service under test: bootserver of this checkout, run in the lab's namespace, asked by its command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab.namespace import BRIDGE, Namespace
from tests.lab.process import REPOSITORY, Process, TooLate, patience

_ENVIRONMENT = {"PYTHONPATH": str(REPOSITORY)}  # this checkout, installed or not
_PART_PREFIX = "bs-"  # what the service's processes are called in ps


class CommandFailed(AssertionError):
    """A command that a test relies on ended with an error."""


class Product:
    """A frontend: its configuration, its state, and the service while it runs.

    :ivar state: where the service keeps everything; its user must be able to enter it, so it is not below pytest's
        ``tmp_path``, which only root can enter.
    """

    def __init__(self, namespace: Namespace, state: Path) -> None:
        self.namespace = namespace
        self.state = state
        self.config = state.with_name(f"{state.name}.toml")
        self._service: Process | None = None
        self._commands = 0

    def __enter__(self) -> Self:
        self.init()
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.stop()

    @property
    def tftpboot(self) -> Path:
        return self.state / "tftpboot"

    # -- the command line --------------------------------------------------------------------------------------------

    def cli(self, *arguments: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """``bootserver ARGUMENTS``.

        :param status: the exit status that the test counts on; None for any.
        :raises CommandFailed: it was another one.
        """
        done = self.namespace.run(self._command(arguments), seconds=patience(60), environment=_ENVIRONMENT)
        if status is not None and done.returncode != status:
            said = f"{done.stdout}{done.stderr}"[-3000:]
            raise CommandFailed(f"bootserver {' '.join(arguments)}: status {done.returncode}, not {status}:\n{said}")
        return done

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """A list command's answer, as in ``rows("pxe", "list")``."""
        answer: list[dict[str, Any]] = json.loads(self.cli(*arguments, "--format", "json").stdout)
        return answer

    def start_command(self, *arguments: str) -> Process:
        """A command that takes its time (``insert-ethers``), in the background."""
        self._commands += 1
        return self.namespace.start(f"command-{self._commands}", self._command(arguments), environment=_ENVIRONMENT)

    # -- the service -------------------------------------------------------------------------------------------------

    def init(self, *options: str) -> None:
        """:param options: ``--installer``, where nodes install from images."""
        self.cli("init", "--interface", BRIDGE, "--state", str(self.state), *(options or ("--no-installer",)))

    def start(self) -> None:
        """Start the service and wait until it answers.

        :raises TooLate: it did not, or ended.
        """
        assert self._service is None, "the service runs already"
        self._service = self.namespace.start("bootserver", self._command(["serve"]), environment=_ENVIRONMENT)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until its ports answer; also for after a :meth:`kill`."""
        assert self._service is not None
        with self.config.open("rb") as file:
            settings = tomllib.load(file)
        ports = [str(settings.get(section, {}).get("port", default)) for section, default in (("tftp", 69), ("http", 80))]
        address, seconds = str(self.namespace.address.ip), patience(20)
        probe = [sys.executable, "-m", "tests.lab.probe", address, *ports, str(seconds)]
        done = self.namespace.run(probe, seconds=seconds + 30)
        if done.returncode or not self._service.alive:
            raise TooLate(f"the service is not ready: {done.stdout}{done.stderr}\n{self.log()[-3000:]}")

    def stop(self) -> None:
        """SIGTERM, as systemd does it."""
        if self._service is not None:
            self._service.stop()
            self._service = None

    def crash(self) -> None:
        """End the whole service with SIGKILL, as a power cut would; :meth:`start` it again."""
        assert self._service is not None
        parts = [pid for pid, _ in _descendants(self._service.pid)]
        self._service.signal(signal.SIGKILL)
        self._service.wait(10)
        self._service = None
        deadline = time.monotonic() + 10
        while alive := [pid for pid in parts if Path(f"/proc/{pid}").exists()]:
            assert time.monotonic() < deadline, f"the service is gone, and its parts {alive} are not"
            time.sleep(0.05)

    def kill(self, part: str) -> list[int]:
        """End one part of the running service with SIGKILL, as a crash would; the supervisor stays.

        :param part: its name in the log (``tftp``); all of its processes, where it has several (``tftp-0``, ``tftp-1``).
        :returns: which processes were ended.
        """
        assert self._service is not None
        parts = {pid: name.removeprefix(_PART_PREFIX) for pid, name in _descendants(self._service.pid)}
        pids = [pid for pid, name in parts.items() if name.rstrip("-0123456789") == part.rstrip("-0123456789")]
        assert pids, f"no part {part!r} runs, only {sorted(set(parts.values()))}"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return pids

    def log(self) -> str:
        """What the service has printed, over all its starts."""
        return self._service.text() if self._service else _read(self.namespace.directory / "bootserver.log")

    def settings(self, **sections: dict[str, str | int | bool]) -> None:
        """Change the configuration, as in ``settings(dhcp={"mode": "proxy"})``; the service reads it when it starts."""
        with self.config.open("rb") as file:
            settings = tomllib.load(file)
        for section, values in sections.items():
            settings.setdefault(section, {}).update(values)
        lines: list[str] = []
        for section, values in settings.items():
            # A TOML string, number, boolean or array of them is written as JSON writes it.
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        self.config.write_text("\n".join(lines) + "\n")

    # -- what tests ask for ------------------------------------------------------------------------------------------

    def action_of(self, node: str) -> str:
        """The boot action that `node` has now."""
        [action] = [row["action"] for row in self.rows("pxe", "list") if row["node"] == node]
        return str(action)

    def wait_for_events(self, node: str, story: Sequence[str], seconds: float) -> None:
        """Wait until `node`'s events tell `story`: these kinds in this order, others in between are nothing to us.

        :raises TooLate: they don't.
        """
        deadline = time.monotonic() + seconds
        while missing := _untold(story, [row["kind"] for row in self.rows("events", node)]):
            if time.monotonic() > deadline:
                raise TooLate(f"{node}'s events do not tell {missing!r} of {list(story)}:\n{self.cli('events', node).stdout}")
            time.sleep(0.5)

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "bootserver", "--config", str(self.config), *arguments]


def _untold(story: Sequence[str], events: Sequence[str]) -> str | None:
    """The first of `story` that does not come in `events` after those before it, or None."""
    rest = iter(events)
    return next((kind for kind in story if kind not in rest), None)


def _descendants(pid: int) -> Iterator[tuple[int, str]]:
    """Process ids and names of all that `pid` started, and theirs."""
    children: dict[int, list[tuple[int, str]]] = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        fields = dict(line.split(":", 1) for line in _read(status).splitlines())
        if fields:
            child = int(fields["Pid"]), fields["Name"].strip()
            children.setdefault(int(fields["PPid"]), []).append(child)
    found = [pid]
    while found:
        for child in children.get(found.pop(), []):
            found.append(child[0])
            yield child


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # a process that has just ended, a log that has not begun
        return ""
