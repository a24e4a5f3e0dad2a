"""What all checks look at: the configuration, the cluster as the data path sees it, and the service's processes (proc(5))."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path

from bootserver.cluster.change import open_reader
from bootserver.cluster.load import load_view
from bootserver.cluster.view import View
from bootserver.config import Config
from bootserver.db.connection import DatabaseError, open_databases
from bootserver.values.progress import Progress, quiet

PART_PREFIX = "bs-"
"""What the service's processes are called in ps."""


@dataclass(frozen=True, slots=True)
class Service:
    """:ivar pid: of the supervisor. :ivar parts: its processes by their ids, without the prefix of their names."""

    pid: int
    parts: Mapping[int, str]

    @property
    def pids(self) -> frozenset[int]:
        return frozenset({self.pid, *self.parts})


@dataclass(frozen=True, slots=True)
class Link:
    """A network that the frontend is on itself. :ivar named: which network, for people."""

    named: str
    device: str
    address: IPv4Interface


@dataclass(frozen=True, slots=True)
class Site:
    """:ivar view: None: the database can't be read. :ivar service: None: it does not run.
    :ivar quick: leave out what takes more than a moment.
    """

    config: Config
    view: View | None
    service: Service | None
    quick: bool = False
    progress: Progress = quiet

    @property
    def is_root(self) -> bool:
        return os.geteuid() == 0

    @property
    def links(self) -> tuple[Link, ...]:
        """The configured network, and those that the cluster's database knows beside it."""
        own = self.config.network
        found = [Link("network", own.interface, IPv4Interface(f"{own.address}/{own.subnet.prefixlen}"))]
        further = [each for each in (self.view.networks if self.view else ()) if each.frontend != own.address]
        found += [
            Link(each.name, each.device, IPv4Interface(f"{each.frontend}/{each.subnet.prefixlen}"))
            for each in further
            if each.device is not None
        ]
        return tuple(found)


def survey(config: Config, *, quick: bool, progress: Progress) -> Site:
    """Look around once, for all checks."""
    view = None
    # What is wrong with the database, its own check says.
    with contextlib.suppress(DatabaseError), open_reader(open_databases(config).cluster) as reader:
        view = load_view(reader, config.dhcp.lease_seconds, frontend_resolves=config.dns.for_nodes)
    return Site(config, view, running(config.frontend.run / "bootserver.pid"), quick, progress)


def running(pid_file: Path) -> Service | None:
    """The service that wrote this file, if it is still there: a power cut leaves the file, and its number to anybody."""
    try:
        pid = int(pid_file.read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    if b"serve" not in words:
        return None
    return Service(pid, dict(_parts(pid)))


def _parts(supervisor: int) -> list[tuple[int, str]]:
    """All that it started, and theirs: gunicorn has workers of its own."""
    children: dict[int, list[tuple[int, str]]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            # The name is in brackets and may hold anything, brackets too; the state and the parent follow the last one.
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:  # it has just ended
            continue
        state, parent = rest.split()[:2]
        if state != "Z":
            children.setdefault(int(parent), []).append((int(folder.name), name))
    found, waiting = [], [supervisor]
    while waiting:
        for pid, name in children.get(waiting.pop(), []):
            found.append((pid, name.removeprefix(PART_PREFIX)))
            waiting.append(pid)
    return found
