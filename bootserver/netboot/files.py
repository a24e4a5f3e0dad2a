"""Static files below ``tftpboot``: found by the name that a client wrote, opened safely, read in shared chunks.

Three promises.

* **Nothing outside the root is ever opened.** A name is normalised first (:func:`normalise`), then opened component by
  component with ``O_NOFOLLOW``, each relative to the folder before it, so that neither ``..`` nor a symbolic link, not even
  one that is swapped in between two looks, leads out. What is opened is a regular file, or nothing.
* **What is served is the file that is there now.** One ``stat`` a request compares inode, size and time of change with
  the open file; a replaced file is a new one at once, while transfers under way finish the old one.
* **A file that changes under a transfer ends that transfer, and nothing else.** Files are read with ``pread``, never
  mapped: touching a mapped page behind the end of a file that someone just truncated is a SIGBUS, which no Python code can
  catch, so one ``cp`` over a kernel would end the server for everybody. Chunks of 64 KiB, shared between transfers, cost
  as little as a map did (0.31 against 0.38 µs to build a packet), and after each read ``fstat`` tells whether the file is
  still the one that was opened: a client gets an error instead of the head of one kernel and the tail of another.
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import Final

CHUNK_SIZE: Final = 64 * 1024
"""Bytes read at once. Files of at most one chunk are read when they are opened and need no descriptor afterwards."""
MAX_NAME: Final = 1024
MAX_COMPONENT: Final = 255  # NAME_MAX of every file system that Linux has

_FOLDER_FLAGS: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO without a writer would otherwise wait for one, and the whole server with it.
_FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_Identity = tuple[int, int, int, int]


class FileChanged(OSError):
    """The file was written or truncated while it was being sent."""


@lru_cache(maxsize=4096)
def normalise(name: str) -> str | None:
    """The one spelling of a file's name, relative to the root; None for a name that no file below it can have.

    Backslashes are slashes (Windows deployment loaders), GRUB asks with a leading slash and doubles others, TFTP has no
    current folder: all of these name the same file. ``..`` is refused wherever it stands; no loader needs it.
    """
    if len(name) > MAX_NAME or not name.isprintable():
        return None
    parts = [part for part in name.replace("\\", "/").split("/") if part and part != "."]
    if not parts or ".." in parts or any(len(part.encode()) > MAX_COMPONENT for part in parts):
        return None
    return "/".join(parts)


class OpenFile:
    """A file as it was when it was opened. Transfers share it; its descriptor lives as long as the last of them."""

    __slots__ = ("_descriptor", "_identity", "_store", "_whole", "is_current", "size")

    def __init__(self, store: FileStore, descriptor: int, status: os.stat_result) -> None:
        self._store = store
        self.is_current = True  # until the store knows a newer one, or forgets it
        self._descriptor = descriptor  # owned from here on
        self._identity = _identity(status)
        self._whole: bytes | None = None
        self.size: int = status.st_size
        if self.size <= CHUNK_SIZE:
            self._whole = self._read(0)
            os.close(descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def is_still(self, status: os.stat_result) -> bool:
        """Whether a path's status is that of this file, unchanged."""
        return _identity(status) == self._identity

    def chunk(self, offset: int) -> tuple[int, bytes]:
        """The chunk that holds the byte at ``offset``.

        :returns: where in the file it begins, and its bytes; no bytes at or behind the end of the file.
        :raises FileChanged: the file is no longer what was opened.
        :raises OSError: it can't be read.
        """
        if self._whole is not None:
            return (0, self._whole) if offset < self.size else (self.size, b"")
        if offset >= self.size:
            return self.size, b""
        begin = offset - offset % CHUNK_SIZE
        return begin, self._store.shared_chunk(self, begin)

    def read_chunk(self, begin: int) -> bytes:
        """Read the chunk at ``begin`` from the disk; :meth:`chunk` is the way that is shared."""
        return self._read(begin)

    def _read(self, begin: int) -> bytes:
        expected = min(CHUNK_SIZE, self.size - begin)
        data = os.pread(self._descriptor, expected, begin)
        # Looked at after the read: a write sets the time of change before it copies anything.
        if len(data) != expected or _identity(os.fstat(self._descriptor)) != self._identity:
            raise FileChanged("the file changed while it was being read")
        return data


class FileStore:
    """The files below one folder.

    :param root: ``tftpboot``. It may itself be a symbolic link; nothing below it is followed.
    :param max_open: how many files stay open (or, being small, in memory) for the next request.
    :param max_bytes: how much memory the shared chunks take, beside those that transfers are just sending from.
    """

    def __init__(self, root: Path, *, max_open: int = 512, max_bytes: int = 16 << 20) -> None:
        self.root = root
        self._prefix = f"{root}/"
        self._max_open = max_open
        self._max_bytes = max_bytes
        self._open: OrderedDict[str, OpenFile] = OrderedDict()
        self._paths: dict[str, Path] = {}
        self._looked_at: tuple[Path, OpenFile] | None = None
        self._chunks: OrderedDict[tuple[OpenFile, int], bytes] = OrderedDict()
        self._chunk_bytes = 0

    @property
    def cached_bytes(self) -> int:
        """How much the shared chunks take now."""
        return self._chunk_bytes

    def resolve(self, name: str) -> Path | None:
        """The file that a client's name means: its path if there is a regular file that may be served, else None."""
        relative = normalise(name)
        if relative is None:
            return None
        try:
            file = self._opened(relative)
        except OSError:
            return None
        path = self._paths.get(relative)
        if path is None:
            path = self._paths[relative] = self.root / relative
        self._looked_at = path, file
        return path

    def open(self, path: Path) -> OpenFile:
        """Open a file below the root, or find it open already.

        :param path: absolute and below the root, as :meth:`resolve` returns it, or relative to the root.
        :raises OSError: there is none, or it is none that may be served.
        """
        looked_at, self._looked_at = self._looked_at, None
        if looked_at is not None and looked_at[0] is path:
            return looked_at[1]  # resolve() has looked at it for this very request: one stat is enough
        text = str(path)
        relative = normalise(text.removeprefix(self._prefix))
        if relative is None or (text[0] == "/" and not text.startswith(self._prefix)):
            raise FileNotFoundError(f"{text!r} is not below {str(self.root)!r}")
        return self._opened(relative)

    def shared_chunk(self, file: OpenFile, begin: int) -> bytes:
        """A chunk from memory, or read now and kept for the others that want it."""
        key = (file, begin)
        data = self._chunks.get(key)
        if data is not None:
            self._chunks.move_to_end(key)
            return data
        data = file.read_chunk(begin)
        if not file.is_current:
            return data  # kept for others it would hold the descriptor, and the disk space, of a file that is gone
        self._chunks[key] = data
        self._chunk_bytes += len(data)
        while self._chunk_bytes > self._max_bytes and len(self._chunks) > 1:
            self._chunk_bytes -= len(self._chunks.popitem(last=False)[1])
        return data

    def _opened(self, relative: str) -> OpenFile:
        file = self._open.get(relative)
        if file is not None:
            try:
                # This stat may follow a link that replaced a folder. If it still meets the very same inode, unchanged, then
                # what we hold was opened without one; if not, the file is opened anew, and that follows none.
                if file.is_still(os.stat(self._prefix + relative)):  # noqa: PTH116  # pathlib's costs twice as much
                    self._open.move_to_end(relative)
                    return file
            except OSError:
                self._forget(relative)
                raise
            self._forget(relative)
        file = self._open[relative] = self._open_below_root(relative)
        while len(self._open) > self._max_open:
            self._forget(next(iter(self._open)))
        return file

    def _forget(self, relative: str) -> None:
        file = self._open.pop(relative)
        file.is_current = False
        self._paths.pop(relative, None)
        if file.size > CHUNK_SIZE:
            for key in [key for key in self._chunks if key[0] is file]:
                self._chunk_bytes -= len(self._chunks.pop(key))

    def _open_below_root(self, relative: str) -> OpenFile:
        *folders, last = relative.split("/")
        here = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for folder in folders:
                below = os.open(folder, _FOLDER_FLAGS, dir_fd=here)
                os.close(here)
                here = below
            descriptor = os.open(last, _FILE_FLAGS, dir_fd=here)
        finally:
            os.close(here)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise FileNotFoundError(f"{relative!r} is no regular file")
        except OSError:
            os.close(descriptor)
            raise
        return OpenFile(self, descriptor, status)


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
