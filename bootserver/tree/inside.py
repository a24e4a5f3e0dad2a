"""Files of a tree, found as the tree's own system would find them: a link to ``/etc/x`` is the tree's ``/etc/x``.

A tree may come from anywhere. The kernel itself keeps each look-up inside (openat2(2) with RESOLVE_IN_ROOT, Linux 5.6), so
that no link or ``..`` of it ever leads to a file of the frontend; and only regular files are opened, never a device or a pipe.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from bootserver.errors import Unavailable

_OPENAT2 = 437  # the same number on all architectures
_RESOLVE_IN_ROOT = 0x10
_RESOLVE_NO_MAGICLINKS = 0x02
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MISSING = (FileNotFoundError, NotADirectoryError)

MAX_READ = 4 << 20
"""Bytes of a configuration file that are read at most."""

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    """``struct open_how``."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class Inside:
    """A tree: ``with Inside(tree) as inside: inside.read("/etc/os-release")``. Paths are the tree's own, from its root."""

    def __init__(self, tree: Path) -> None:
        """:raises Unavailable: there is no such folder, or the kernel is older than 5.6."""
        try:
            self._root = os.open(tree, _FOLDER)
        except OSError as error:
            raise Unavailable(f"{tree} can't be opened: {error.strerror}") from error

    def __enter__(self) -> Inside:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._root)

    def open(self, path: str, flags: int, mode: int = 0) -> int:
        """open(2) inside the tree. :returns: a descriptor. :raises OSError: as open(2) does."""
        how = _OpenHow(flags | os.O_CLOEXEC, mode, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
        # RESOLVE_IN_ROOT takes an absolute path from the root it was given; an empty one would be an error.
        name = ctypes.c_char_p(os.fsencode(path) or b".")
        while True:
            arguments = (ctypes.c_long(_OPENAT2), self._root, name, ctypes.byref(how))
            descriptor: int = _libc.syscall(*arguments, ctypes.c_size_t(ctypes.sizeof(how)))
            if descriptor >= 0:
                return descriptor
            number = ctypes.get_errno()
            if number == errno.ENOSYS:
                raise Unavailable("this kernel is older than Linux 5.6, which keeps an image's links inside the image")
            if number not in (errno.EINTR, errno.EAGAIN):  # EAGAIN: a rename elsewhere; the kernel asks for another try
                raise OSError(number, os.strerror(number), path)

    @contextlib.contextmanager
    def folder(self, path: str) -> Iterator[int]:
        """A folder's descriptor, for ``dir_fd``; links in it are followed inside the tree. :raises OSError: there is none."""
        descriptor = self.open(path, _FOLDER)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def stat(self, path: str, *, follow: bool = True) -> os.stat_result | None:
        """What a path is; None where there is nothing. :param follow: a link is what it leads to."""
        try:
            descriptor = self.open(path, os.O_PATH | (0 if follow else os.O_NOFOLLOW))
        except OSError:
            return None
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def is_file(self, path: str) -> bool:
        status = self.stat(path)
        return status is not None and stat.S_ISREG(status.st_mode)

    def is_folder(self, path: str) -> bool:
        status = self.stat(path)
        return status is not None and stat.S_ISDIR(status.st_mode)

    def open_file(self, path: str) -> int | None:
        """A regular file's descriptor, to read; None where there is none."""
        if not self.is_file(path):
            return None
        try:
            return self.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return None

    def read(self, path: str, limit: int = MAX_READ) -> bytes | None:
        """A regular file's content, at most `limit` bytes of it; None where there is none."""
        descriptor = self.open_file(path)
        if descriptor is None:
            return None
        with os.fdopen(descriptor, "rb") as file:
            return file.read(limit)

    def text(self, path: str) -> str | None:
        """The same as text, whatever its bytes are."""
        content = self.read(path)
        return None if content is None else content.decode(errors="replace")

    def names(self, path: str) -> list[str]:
        """What a folder holds, sorted; nothing where there is no such folder."""
        try:
            with self.folder(path) as folder:
                return sorted(os.listdir(folder))  # noqa: PTH208 (a descriptor)
        except OSError:
            return []

    def matching(self, folder: str, pattern: str) -> list[str]:
        """Paths of what a folder holds whose whole name fits a regular expression."""
        return [f"{folder}/{name}" for name in self.names(folder) if re.fullmatch(pattern, name)]

    # -- altering -----------------------------------------------------------------------------------------------------

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Put a file there in one step, with the old one's mode and owner; a link is replaced, not followed.

        :raises OSError: its folder is not there, or it is a folder itself.
        """
        parent, name = os.path.split(path)
        with self.folder(parent) as folder:
            owner: tuple[int, int] = (0, 0)
            with contextlib.suppress(OSError):
                old = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(old.st_mode):
                    mode, owner = stat.S_IMODE(old.st_mode), (old.st_uid, old.st_gid)
            aside = f".{name}.bootserver"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(aside, dir_fd=folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(aside, flags, 0o600, dir_fd=folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    os.fchown(descriptor, *owner)
                    os.fchmod(descriptor, mode)
                os.rename(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                os.unlink(aside, dir_fd=folder)
                raise

    def make_folder(self, path: str) -> None:
        """Make a folder and those above it, where they are not there. :raises OSError: something else is in the way."""
        above = "/"
        for name in path.strip("/").split("/"):
            with self.folder(above) as folder:
                if not self.is_folder(f"{above.rstrip('/')}/{name}"):
                    os.mkdir(name, dir_fd=folder)
                    os.chmod(name, 0o755, dir_fd=folder)  # noqa: S103 (a system's folders are)
            above = f"{above.rstrip('/')}/{name}"

    def remove(self, path: str) -> bool:
        """Remove a file, a link, or a folder with all that it holds. :returns: whether it was there."""
        parent, name = os.path.split(path)
        try:
            with self.folder(parent) as folder:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    shutil.rmtree(name, dir_fd=folder)
                else:
                    os.unlink(name, dir_fd=folder)
        except _MISSING:
            return False
        return True

    def walk(self, path: str) -> Iterator[tuple[str, int, str, os.stat_result]]:
        """All that is below a folder, a folder before what it holds: path, its folder's descriptor, its name, what it is.

        No link is followed; neither is `path` itself, if it is one. A folder that is removed meanwhile is not gone into.
        """
        status = self.stat(path, follow=False)
        if status is None or not stat.S_ISDIR(status.st_mode):
            return
        with self.folder(path) as folder:
            for name in sorted(os.listdir(folder)):  # noqa: PTH208
                below = f"{path.rstrip('/')}/{name}"
                try:
                    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield below, folder, name, status
                if stat.S_ISDIR(status.st_mode):
                    yield from self.walk(below)
