"""Follows a log that another program writes: a file through its rotations, or a unit's journal.

Read from is only what is written from now on; what a reader gets are whole lines. A rotated file is read for a while longer,
since its writer goes on in it until it is told; a file that was cut (logrotate's ``copytruncate``) is noticed even if it has
grown beyond the old length since, by what stood before the place that was read up to.
"""

from __future__ import annotations

import os
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

CHUNK: Final = 256 << 10
MAX_HALF: Final = 64 << 10
"""Octets of a line that has no end yet; a longer one is no line of a DHCP server's."""
LINGER: Final = 10.0
"""Seconds that a rotated file is read on."""
_MARK: Final = 64
_LOOK_AGAIN: Final = 1.0
_JOURNAL: Final = "journal:"
_RESTART: Final = 5.0

Say = Callable[[str], None]


class Tail(Protocol):
    def read(self) -> bytes:
        """Whole lines, as many as there are now; nothing where there are none."""

    def close(self) -> None: ...


def open_tail(source: str, say: Say) -> Tail:
    """:param source: a file's path, or ``journal:UNIT``. :param say: told in a line what a person should mend."""
    if source.startswith(_JOURNAL):
        return JournalTail(source.removeprefix(_JOURNAL), say)
    return FileTail(Path(source), say)


class Lines:
    """Cuts what comes in into whole lines."""

    def __init__(self) -> None:
        self._half = b""
        self._too_long = False

    def take(self, data: bytes) -> bytes:
        """:returns: the whole lines that there are by now, with their ends."""
        whole, end, half = data.rpartition(b"\n")
        if not end:
            self._half += half
            if len(self._half) > MAX_HALF:
                self._half, self._too_long = b"", True
            return b""
        whole = self._half + whole + end
        if self._too_long:
            whole = whole.partition(b"\n")[2]
        self._half, self._too_long = half, False
        return whole


class _File:
    """One file, by whatever name it goes now."""

    def __init__(self, descriptor: int, status: os.stat_result, offset: int) -> None:
        self.identity = status.st_dev, status.st_ino
        self._descriptor = descriptor
        self._offset = offset
        self._mark = os.pread(descriptor, min(_MARK, offset), max(0, offset - _MARK))
        self._lines = Lines()

    def read(self) -> bytes:
        size = os.fstat(self._descriptor).st_size
        if size == self._offset:
            return b""
        if size < self._offset or os.pread(self._descriptor, len(self._mark), self._offset - len(self._mark)) != self._mark:
            self._offset, self._mark, self._lines = 0, b"", Lines()
        data = os.pread(self._descriptor, CHUNK, self._offset)
        self._offset += len(data)
        self._mark = (self._mark + data)[-_MARK:]
        return self._lines.take(data)

    def close(self) -> None:
        os.close(self._descriptor)


class FileTail:
    """:param path: it may come later than we; then it is read from its beginning."""

    def __init__(self, path: Path, say: Say) -> None:
        self._path = path
        self._say = say
        self._said = ""
        self._file: _File | None = None
        self._rotated: list[tuple[_File, float]] = []
        self._look_at = 0.0
        self._look(at_end=True)

    def read(self) -> bytes:
        now = time.monotonic()
        data = b"".join([each.read() for each, _ in self._rotated])
        if self._file is not None:
            data += self._file.read()
        if not data and now >= self._look_at:
            self._look(at_end=False)
            while self._rotated and self._rotated[0][1] < now:
                self._rotated.pop(0)[0].close()
        return data

    def close(self) -> None:
        for each, _ in self._rotated:
            each.close()
        if self._file is not None:
            self._file.close()
        self._file, self._rotated = None, []

    def _look(self, *, at_end: bool) -> None:
        """Is there (another) file by this name?"""
        try:
            status = self._path.stat()
            if self._file is not None and (status.st_dev, status.st_ino) == self._file.identity:
                return
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            self._look_at = time.monotonic() + _LOOK_AGAIN
            # A file that was renamed a moment ago, and whose successor is not there yet, is no trouble.
            if self._file is None:
                self._tell(f"dhcp.follow: {self._path} can't be read ({error.strerror}); it is followed once it can")
            return
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            self._look_at = time.monotonic() + _LOOK_AGAIN
            self._tell(f"dhcp.follow: {self._path} is no file")
            return
        if self._file is not None:
            self._rotated.append((self._file, time.monotonic() + LINGER))
        self._file = _File(descriptor, status, status.st_size if at_end else 0)
        self._said = ""

    def _tell(self, trouble: str) -> None:
        if trouble != self._said:
            self._said = trouble
            self._say(trouble)


class JournalTail:
    """What one unit writes, by journalctl(1). Which unit wrote a line is systemd's own word (``_SYSTEMD_UNIT``): nobody else's
    lines are among them. A line feed in a message is written as an indented line, which has no head.
    """

    def __init__(self, unit: str, say: Say) -> None:
        self._unit = unit
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._lines = Lines()
        self._start_at = 0.0
        self._start()

    def read(self) -> bytes:
        if self._process is None:
            if time.monotonic() >= self._start_at:
                self._start()
            return b""
        assert self._process.stdout is not None
        try:
            data = os.read(self._process.stdout.fileno(), CHUNK)
        except BlockingIOError:
            return b""
        if not data:
            self._ended()
        return self._lines.take(data)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def _start(self) -> None:
        self._start_at = time.monotonic() + _RESTART
        self._lines = Lines()
        command = ["journalctl", "--follow", "--lines=0", "--output=short", "--no-pager", "--quiet", f"--unit={self._unit}"]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": os.environ.get("TZ", "")},
            )
        except OSError as error:
            self._say(f"dhcp.follow: journalctl can't be started ({error.strerror}), so journal:{self._unit} is not followed")
            self._start_at = time.monotonic() + 60 * _RESTART
            return
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def _ended(self) -> None:
        assert self._process is not None
        status = self._process.poll()
        self.close()
        self._say(f"dhcp.follow: journalctl for journal:{self._unit} ended (status {status}); it is started again")
