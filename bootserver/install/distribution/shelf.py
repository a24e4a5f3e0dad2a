"""Folders that appear whole, or not at all: an unpacked ISO below ``distributions``, kernels below ``tftpboot/distro``.

One is made in a draft, a hidden folder beside the others that is locked (flock(2)) by the process that fills it; a draft whose
lock is free was left by a process that is dead, and the next command removes it. A finished draft takes the place of what was
there in one step (renameat2(2), RENAME_EXCHANGE), and gives it back where the change that it belongs to fails.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from bootserver.errors import Refused, Unavailable

_DRAFT, _GONE = ".draft-", ".gone-"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_libc = ctypes.CDLL(None, use_errno=True)


class Draft:
    """A folder in the making.

    :ivar folder: to be filled; nobody else can go in.
    """

    def __init__(self, folder: Path, target: Path) -> None:
        self.folder = folder
        self.target = target
        self.is_published = False

    def publish(self) -> None:
        """Put it in its place, for all to read. What was there is kept until the end of the draft.

        :raises Unavailable: it can't be.
        """
        try:
            self.folder.chmod(0o755)
            _sync(self.folder)
            if self.target.exists():
                _exchange(self.folder, self.target)
            else:
                self.folder.rename(self.target)
            _sync(self.target.parent)
        except OSError as error:
            raise Unavailable(f"{self.target} can't be put in place: {error.strerror}") from error
        self.is_published = True

    def take_back(self) -> None:
        """What was there before is there again."""
        if self.folder.exists():
            _exchange(self.folder, self.target)
        else:
            self.target.rename(self.folder)


class Shelf:
    """A folder of such folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where a folder is or would be. :param name: one that was checked: a plain file name, which begins with no dot."""
        return self.folder / name

    @contextlib.contextmanager
    def draft(self, name: str) -> Iterator[Draft]:
        """Room to make a folder in; unless it is published, and no exception comes afterwards, all is as before at the end."""
        self.clean()
        with self._registry():
            folder = self.folder / f"{_DRAFT}{name}-{os.getpid()}-{secrets.token_hex(4)}"
            folder.mkdir(0o700)
            lock = _lock(folder, fcntl.LOCK_EX)
        draft = Draft(folder, self.path(name))
        old_lock = _try_lock(draft.target)
        try:
            yield draft
        except BaseException:
            if draft.is_published:
                draft.take_back()
            raise
        finally:
            if folder.exists():
                _delete(folder)
            for each in (lock, old_lock):
                if each is not None:
                    os.close(each)

    @contextlib.contextmanager
    def removing(self, name: str) -> Iterator[None]:
        """Remove a folder at the end, unless there is an exception; none is fine. At once for those who look, then its files."""
        self.clean()
        yield
        path = self.path(name)
        if not path.exists():
            return
        lock = _try_lock(path)
        try:
            gone = self.folder / f"{_GONE}{name}-{os.getpid()}-{secrets.token_hex(4)}"
            path.rename(gone)  # the lock goes with it: it is the folder's, not the name's
            _delete(gone)
        except OSError as error:
            raise Unavailable(f"{path} can't be removed: {error.strerror}") from error
        finally:
            if lock is not None:
                os.close(lock)

    def clean(self) -> None:
        """Remove what dead processes left."""
        with self._registry():
            folders = [folder for folder in self.folder.iterdir() if folder.name.startswith((_DRAFT, _GONE))]
            left = [(folder, lock) for folder in folders if (lock := _try_lock(folder)) is not None]
        for folder, lock in left:
            _delete(folder)
            os.close(lock)

    def names(self) -> list[str]:
        """What is there and whole, sorted."""
        try:
            return sorted(path.name for path in self.folder.iterdir() if not path.name.startswith("."))
        except FileNotFoundError:
            return []

    @contextlib.contextmanager
    def _registry(self) -> Iterator[None]:
        """Held while drafts are made or looked through, so that none is found between its making and its lock."""
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True, exist_ok=True)
                self.folder.chmod(0o755)
            lock = _lock(self.folder, fcntl.LOCK_EX)
        except OSError as error:
            raise Unavailable(f"{self.folder} can't be used: {error.strerror}; run it as root") from error
        try:
            yield
        except PermissionError as error:
            raise Unavailable(f"{self.folder} can't be written: {error.strerror}; run it as root") from error
        finally:
            os.close(lock)


def room(folder: Path, needed: int, what: str) -> None:
    """Say now what would otherwise be said after minutes. :raises Refused: the file system has not so many bytes left."""
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    if free < needed:
        raise Refused(f"{what} needs {needed / 1e6:.0f} MB below {folder.parent}, where {free / 1e6:.0f} MB are free")


def _exchange(one: Path, other: Path) -> None:
    """Two folders change names, in one step where the file system can do that."""
    names = (os.fsencode(one), os.fsencode(other))
    if _libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number), str(other))
    between = one.with_name(f"{_GONE}{secrets.token_hex(8)}")
    other.rename(between)
    one.rename(other)
    between.rename(one)


def _delete(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _lock(folder: Path, how: int) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _try_lock(folder: Path) -> int | None:
    try:
        return _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):
        return None


def _sync(folder: Path) -> None:
    """All of its file system to the disk: what is listed survives a power cut (syncfs(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)
