"""Keeps a site's dnsmasq told of the nodes: files in its ``dhcp-hostsdir``, one for each node (dnsmasq(8)).

dnsmasq reads a new file by itself. What was in a file that has changed or is gone it forgets only at a SIGHUP, so that is sent
then, and never a restart: clients and leases notice nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootserver.errors import Unavailable
from bootserver.netboot.dhcp_events.formats import dnsmasq_host
from bootserver.netboot.dhcp_events.hosts import Host

PREFIX: Final = "bootserver."
"""What our files' names begin with: others in the folder are the site's."""
_DNSMASQ: Final = "dnsmasq"
_GONE, _ANOTHER, _FORBIDDEN = 3, 4, 5


@dataclass(frozen=True, slots=True)
class Done:
    """:ivar added: files that were not there before; dnsmasq reads them by itself."""

    added: int
    changed: int
    removed: int

    @property
    def wants_hangup(self) -> bool:
        return bool(self.changed or self.removed)


class HostsFolder:
    """The files as they should be, and as they were written last.

    :param folder: dnsmasq's user must be able to read it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._written: dict[str, str] | None = None

    def show(self, hosts: Iterable[Host]) -> Done:
        """Make the files those of `hosts`.

        :raises Unavailable: they can't be written; what was done before stays, the rest is done by the next call.
        """
        wanted: dict[str, str] = {}
        for host in hosts:
            name = PREFIX + host.node
            wanted[name] = f"{wanted.get(name, '')}{dnsmasq_host(host)}\n"
        try:
            if self._written is None:
                self._written = self._read()
            return self._make(wanted, self._written)
        except OSError as error:
            raise Unavailable(
                f"dhcp.hostsdir {self.folder} can't be written ({error.strerror}): `bootserver dhcp sync` as root makes it"
            ) from error

    def _read(self) -> dict[str, str]:
        found = {}
        for path in self.folder.iterdir():
            if path.name.startswith(PREFIX) and path.is_file() and not path.is_symlink():
                found[path.name] = path.read_text(encoding="ascii", errors="replace")
        return found

    def _make(self, wanted: Mapping[str, str], written: dict[str, str]) -> Done:
        added = changed = removed = 0
        for name in written.keys() - wanted.keys():  # first: their addresses may be others' now
            (self.folder / name).unlink(missing_ok=True)
            del written[name]
            removed += 1
        for name, text in wanted.items():
            before = written.get(name)
            if before == text:
                continue
            self._write(name, text)
            written[name] = text
            added, changed = (added + 1, changed) if before is None else (added, changed + 1)
        return Done(added, changed, removed)

    def _write(self, name: str, text: str) -> None:
        # dnsmasq passes over names that begin with a dot, and sees the rename (inotify(7), IN_MOVED_TO).
        aside = self.folder / f".{name}.new"
        aside.unlink(missing_ok=True)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            os.fchmod(descriptor, 0o644)
            os.write(descriptor, text.encode("ascii"))
        finally:
            os.close(descriptor)
        aside.replace(self.folder / name)


def hang_up(pid_file: Path) -> int:
    """Have dnsmasq read its hosts again (SIGHUP).

    :returns: its process id.
    :raises Unavailable: it is not there, or the process is another.
    """
    try:
        with pid_file.open("rb") as file:
            text = file.read(32).decode("ascii", "replace").strip()
    except OSError as error:
        raise Unavailable(
            f"dnsmasq was not told: {pid_file} can't be read ({error.strerror}): set dhcp.dnsmasq_pid_file"
        ) from error
    if not (text.isascii() and text.isdigit() and 1 < int(text) < 1 << 22):
        raise Unavailable(f"dnsmasq was not told: {pid_file} holds no process id")
    pid = int(text)
    # In a process of its own, which becomes dnsmasq's user where it may: the service has no right to signal others.
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            status = _signal(pid)
        os._exit(status)
    match os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        case 0:
            return pid
        case 3:
            raise Unavailable(f"dnsmasq was not told: no process has the id {pid} of {pid_file}")
        case 4:
            raise Unavailable(f"dnsmasq was not told: process {pid} of {pid_file} is another program")
        case status:
            raise Unavailable(f"dnsmasq was not told: process {pid} may not be signalled by this user (status {status})")


def _signal(pid: int) -> int:
    """:returns: an exit status."""
    try:
        handle = os.pidfd_open(pid)  # from here on it is the same process, or none
        if Path(f"/proc/{pid}/comm").read_text().strip() != _DNSMASQ:
            return _ANOTHER
        if os.geteuid() == 0:
            status = Path(f"/proc/{pid}/status").read_text()
            uid = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Uid:"))
            os.setresuid(uid, uid, uid)
        signal.pidfd_send_signal(handle, signal.SIGHUP)
    except (ProcessLookupError, FileNotFoundError):
        return _GONE
    except PermissionError:
        return _FORBIDDEN
    return 0
