"""A network of the lab's own: a namespace with one bridge, on which nothing can reach, or be reached by, the world."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.process import REPOSITORY, Process, unwind_on_sigterm

BRIDGE = "br0"
BRIDGE_MAC = "02:00:00:00:77:01"
_PREFIX = "bootserver-lab"
_numbers = itertools.count(1)


class Namespace:
    """The network of one test; programs started in it end with it.

    :ivar address: what the frontend has on the bridge.
    """

    def __init__(self, directory: Path, address: str = "10.77.0.1/24") -> None:
        """
        :param directory: where the logs of its programs go.
        """
        self.name = f"{_PREFIX}-{os.getpid()}-{next(_numbers)}"
        self.directory = directory
        self.address = ipaddress.IPv4Interface(address)
        self._processes: list[Process] = []
        self._taps = itertools.count(1)

    def __enter__(self) -> Self:
        unwind_on_sigterm()
        _sweep()
        _ip("netns", "add", self.name)
        try:
            self._link("set", "lo", "up")
            self.add_bridge(BRIDGE, self.address)
            self._link("set", BRIDGE, "address", BRIDGE_MAC)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End what was started in it, youngest first, and remove it; the bridge and its taps go with it."""
        try:
            while self._processes:
                self._processes.pop().stop()
        finally:
            subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)

    def command(self, argv: Sequence[str]) -> list[str]:
        """`argv` as it is run inside; ``ip netns exec`` becomes the program, so its pid is the program's."""
        return ["ip", "netns", "exec", self.name, *argv]

    def run(
        self,
        argv: Sequence[str],
        *,
        seconds: float = 60,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside to its end; a failure is the caller's to judge."""
        return subprocess.run(
            self.command(argv),
            check=False,
            capture_output=True,
            text=True,
            timeout=seconds,
            cwd=REPOSITORY,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
        )

    def start(self, name: str, argv: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Process:
        """Start a program inside, in the background, until :meth:`close`; its log is ``<directory>/<name>.log``."""
        process = Process(name, self.command(argv), self.directory / f"{name}.log", environment=environment)
        self._processes.append(process)
        return process

    def add_bridge(self, name: str, address: ipaddress.IPv4Interface) -> None:
        """A wire of its own, and the frontend's address on it."""
        # Without these two a bridge listens for 15 s before it forwards a new tap's first frame.
        self._link("add", name, "type", "bridge", "stp_state", "0", "forward_delay", "0")
        _ip("-n", self.name, "addr", "add", str(address), "dev", name)
        self._link("set", name, "up")

    def add_tap(self, bridge: str = BRIDGE) -> str:
        """A new port of a bridge, for a guest's network card; goes with the namespace."""
        tap = f"tap{next(self._taps)}"
        _ip("-n", self.name, "tuntap", "add", tap, "mode", "tap")
        self._link("set", tap, "master", bridge, "up")
        return tap

    def _link(self, *arguments: str) -> None:
        _ip("-n", self.name, "link", *arguments)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _sweep() -> None:
    """Remove namespaces of test runs that were killed: their programs died with them, but a name stays."""
    listed = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    for name, pid in re.findall(rf"^({_PREFIX}-(\d+)-\d+)\b", listed, re.MULTILINE):
        with contextlib.suppress(PermissionError):
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
