"""Where golden images are kept, below the state directory: ``images/NAME/{image.json,manifest,tree/}``.

An image appears whole, by one rename, or not at all: it is made in a draft, a hidden folder beside the others. A draft is locked
(flock(2)) by the process that fills it; one whose lock is free was left by a process that is dead, and the next command that
alters images removes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from bootserver.cluster.change import timestamp
from bootserver.cluster.images import check_name
from bootserver.errors import NotFound, Refused, Unavailable
from bootserver.images import chroot, program
from bootserver.images.description import Description, DescriptionError
from bootserver.images.manifest import Manifest, scan
from bootserver.tree import facts
from bootserver.values.progress import Progress, quiet

_DRAFT = ".draft-"
_GONE = ".gone-"
_libc = ctypes.CDLL(None, use_errno=True)


class Draft:
    """An image in the making.

    :ivar tree: its files go here; an empty folder at first.
    :ivar work: room for what is needed meanwhile, on the same file system; it is not kept.
    """

    def __init__(self, store: ImageStore, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.tree = folder / "tree"
        self.work = folder / "work"
        self._store = store

    def publish(self, *, source: str, parent: str | None = None, progress: Progress = quiet) -> Description:
        """Write down what the tree holds and make it an image.

        :param source: how it was made, in words.
        :raises Refused: there is an image of that name by now.
        """
        _delete(self.work)
        description = _write(self.folder, self.name, source, parent, timestamp(), progress)
        progress("writing it to the disk", None)
        _sync(self.folder)
        try:
            self.folder.rename(self._store.folder / self.name)  # never onto an image: that is no empty folder
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise Refused(_exists(self.name)) from error
            raise
        _sync_folder(self._store.folder)
        return description


class ImageStore:
    """All images of a frontend."""

    def __init__(self, state: Path) -> None:
        """:param state: the state directory."""
        self.folder = state / "images"

    # -- looking ------------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Images that are whole, sorted."""
        try:
            entries = sorted(path.name for path in self.folder.iterdir())
        except FileNotFoundError:
            return []
        return [name for name in entries if not name.startswith(".") and (self.folder / name / "tree").is_dir()]

    def exists(self, name: str) -> bool:
        return (self.folder / check_name(name) / "tree").is_dir()

    def tree(self, name: str) -> Path:
        """An image's root folder. :raises NotFound: there is none of that name."""
        return self._of(name) / "tree"

    def describe(self, name: str) -> Description:
        """:raises NotFound: no such image. :raises DescriptionError: what is written of it can't be read."""
        path = self._of(name) / "image.json"
        return Description.decode(_read(path, name), path)

    def manifest(self, name: str) -> Manifest:
        """:raises NotFound: no such image. :raises ManifestError: it can't be read."""
        path = self._of(name) / "manifest"
        return Manifest.decode(_read(path, name), path)

    # -- making -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def draft(self, name: str) -> Iterator[Draft]:
        """Room to make an image in: fill ``draft.tree``, then ``draft.publish(...)``; without that it is removed at the end.

        :raises Refused: there is an image of that name.
        """
        if self.exists(name):
            raise Refused(_exists(name))
        self.clean()
        with self._registry():
            folder = self.folder / f"{_DRAFT}{name}-{os.getpid()}-{secrets.token_hex(4)}"
            folder.mkdir(0o700)
            lock = _lock(folder, fcntl.LOCK_EX)
        try:
            # The service's group may go in, others may not: an image holds old set-id programs.
            os.chown(folder, 0, self._group())
            folder.chmod(0o710)
            draft = Draft(self, name, folder)
            for each in (draft.tree, draft.work):
                each.mkdir()
                each.chmod(0o755)  # whatever the umask is
            yield draft
        finally:
            if folder.exists():
                self._discard(folder)
            os.close(lock)

    def clone(self, name: str, new: str, progress: Progress = quiet) -> Description:
        """Copy an image with all that its files have; where the file system can, blocks are shared.

        :raises NotFound: no such image. :raises Refused: there is one of the new name, or `name` is being altered.
        """
        with self.using(name), self.draft(new) as draft:
            size = self.describe(name).size

            def poll(process: int) -> None:
                with contextlib.suppress(OSError, ValueError, IndexError):
                    written = int(Path(f"/proc/{process}/io").read_text().split("wchar:")[1].split()[0])
                    progress("copying", min(1.0, written / size) if size else None)

            progress("copying", 0.0)
            # setpriv becomes cp, so that the process whose bytes are counted is cp's.
            command = ["cp", "--archive", "--reflink=auto", "--sparse=auto", f"{self.tree(name)}/.", str(draft.tree)]
            program.run([*program.TOGETHER, *command], what=f"copying image {name}", poll=poll)
            return draft.publish(source=f"cloned from {name}", parent=name, progress=progress)

    # -- altering -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def using(self, name: str) -> Iterator[Path]:
        """An image's tree, which nobody alters meanwhile. :raises Refused: somebody does now."""
        with self._held(name, fcntl.LOCK_SH) as folder:
            yield folder / "tree"

    def hold(self, name: str) -> int:
        """The same for a process that is started: the lock is the descriptor's, and ends with the last one who has it open.

        :returns: the descriptor, to be handed on and closed. :raises Refused: somebody alters the image now.
        """
        lock = _try_lock(self._of(name), fcntl.LOCK_SH)
        if lock is None:
            raise Refused(f"image {name} is being altered, try again")
        return lock

    @contextlib.contextmanager
    def altering(self, name: str) -> Iterator[Path]:
        """An image's tree, to be altered by us alone; :meth:`refresh` it before the end.

        :raises Refused: somebody else alters or copies it now.
        """
        self.clean()
        with self._held(name, fcntl.LOCK_EX) as folder:
            chroot.remove_leftovers(folder / "tree")
            yield folder / "tree"

    def refresh(self, name: str, progress: Progress = quiet) -> Description:
        """Write down what an image holds now; how and when it was made stays, where that can be read."""
        folder = self._of(name)
        try:
            old = self.describe(name)
            source, parent, created = old.source, old.parent, old.created
        except (NotFound, DescriptionError):
            source, parent, created = "found without a description", None, timestamp()
        description = _write(folder, name, source, parent, created, progress)
        _sync(folder)
        return description

    @contextlib.contextmanager
    def removing(self, name: str) -> Iterator[None]:
        """Remove an image at the end, unless there is an exception: at once for those who look, then its files.

        :raises Refused: somebody alters or copies it now.
        """
        self.clean()
        with self._held(name, fcntl.LOCK_EX) as folder:
            yield
            self._discard(folder)

    def remove(self, name: str) -> None:
        """The same at once."""
        with self.removing(name):
            pass

    def clean(self) -> None:
        """Remove what dead processes left."""
        with self._registry():
            folders = [folder for folder in self.folder.iterdir() if folder.name.startswith((_DRAFT, _GONE))]
            left = [(folder, lock) for folder in folders if (lock := _try_lock(folder, fcntl.LOCK_EX)) is not None]
        for folder, lock in left:
            _delete(folder)
            os.close(lock)

    # -- within -------------------------------------------------------------------------------------------------------

    def _of(self, name: str) -> Path:
        if not self.exists(name):
            raise NotFound(f"there is no image {name!r}: `bootserver image list` shows those that there are")
        return self.folder / name

    @contextlib.contextmanager
    def _held(self, name: str, how: int) -> Iterator[Path]:
        folder = self._of(name)
        lock = _try_lock(folder, how)
        if lock is None:
            raise Refused(f"image {name} is in use by another command (shell, mend, clone, capture): wait for its end")
        try:
            yield folder
        finally:
            os.close(lock)

    @contextlib.contextmanager
    def _registry(self) -> Iterator[None]:
        """Held while drafts are made or looked through, so that none is found between its making and its lock."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o711)
            lock = _lock(self.folder, fcntl.LOCK_EX)
        except OSError as error:
            raise Unavailable(f"{self.folder} can't be used: {error.strerror}") from error
        try:
            yield
        finally:
            os.close(lock)

    def _discard(self, folder: Path) -> None:
        gone = self.folder / f"{_GONE}{folder.name.removeprefix(_DRAFT)}-{os.getpid()}-{secrets.token_hex(4)}"
        folder.rename(gone)  # the lock goes with it: it is the folder's, not the name's
        _delete(gone)

    def _group(self) -> int:
        """The group that the service runs as: whose databases are, and root's where there are none yet."""
        try:
            return (self.folder.parent / "db").stat().st_gid
        except OSError:
            return 0


def _write(folder: Path, name: str, source: str, parent: str | None, created: str, progress: Progress) -> Description:
    manifest = scan(folder / "tree", progress)
    text = manifest.encode()
    found = facts.gather(folder / "tree")
    description = Description(
        name,
        found.distribution,
        found.title,
        found.architecture,
        None if found.kernel is None else found.kernel.version,
        manifest.size,
        manifest.size_below(b"var"),
        len(manifest.entries),
        created,
        parent,
        source,
        manifest.checksum,
    )
    for path, content, mode in ((folder / "manifest", text, 0o600), (folder / "image.json", description.encode(), 0o644)):
        aside = path.with_name(f".{path.name}")
        with aside.open("wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    return description


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"image {name} has no {path.name}: `bootserver image check {name}` writes it anew") from None
    except OSError as error:
        raise Unavailable(f"{path} can't be read: {error.strerror}") from error


def _exists(name: str) -> str:
    return f"image {name} exists already: `bootserver image remove {name}` first, or choose another name"


def _delete(folder: Path) -> None:
    # rm takes trees of any depth, and what is mounted in one stays as it is.
    program.run(["rm", "--recursive", "--force", "--one-file-system", "--", str(folder)], what=f"removing {folder}")


def _lock(folder: Path, how: int) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _try_lock(folder: Path, how: int) -> int | None:
    try:
        return _lock(folder, how | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):
        return None


def _sync(folder: Path) -> None:
    """All of its file system to the disk: an image that is listed survives a power cut (syncfs(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(descriptor) != 0:
            raise Unavailable(f"{folder} can't be written to the disk: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
