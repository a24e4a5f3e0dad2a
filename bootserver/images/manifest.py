"""A tree, written down: one line for each entry with all that a copy must keep, so that two trees can be compared without
reading them again. The same tree gives the same bytes.

A line holds, separated by blanks and with ``-`` for "none": path, type, mode, uid, gid, size, modification time (seconds), device
numbers, link target, hard-link group (the path of its first member), SHA-256 of the content, SHA-256 of the extended attributes
(ACLs and capabilities are among them, acl(5), capabilities(7)). What is no printable ASCII in a path is ``\\xNN``.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from enum import Enum
from pathlib import Path

from bootserver.errors import BootserverError
from bootserver.values.progress import Progress, quiet

HEADER = b"# bootserver manifest 1\n"
_MAX_DEPTH = 400
"""Folders in folders. Each keeps a descriptor open while it is read; real trees have some 30."""
_NONE = b"-"
_PLAIN = frozenset(range(0x21, 0x7F)) - {ord("\\")}
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")
_CHUNK = 1 << 20


class ManifestError(BootserverError):
    """A tree can't be written down, or a manifest is none; the text says where."""


class EntryType(Enum):
    """What an entry is, as ``find -type`` and ``ls -l`` name it."""

    FILE = "f"
    FOLDER = "d"
    LINK = "l"
    CHARACTER_DEVICE = "c"
    BLOCK_DEVICE = "b"
    PIPE = "p"
    SOCKET = "s"


_TYPES = {
    stat.S_IFREG: EntryType.FILE,
    stat.S_IFDIR: EntryType.FOLDER,
    stat.S_IFLNK: EntryType.LINK,
    stat.S_IFCHR: EntryType.CHARACTER_DEVICE,
    stat.S_IFBLK: EntryType.BLOCK_DEVICE,
    stat.S_IFIFO: EntryType.PIPE,
    stat.S_IFSOCK: EntryType.SOCKET,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line.

    :ivar path: from the tree's root, without a leading slash; the root itself is ``.``.
    :ivar mode: permissions with set-id and sticky bits.
    :ivar size: bytes of a regular file, else 0 (a folder's own size is its file system's affair).
    :ivar modified: seconds since the epoch.
    :ivar device: ``major:minor`` of a device.
    :ivar target: of a link.
    :ivar group: the path of the first of those that are one file, itself included; None where it has one name.
    :ivar content: SHA-256, of a regular file.
    :ivar attributes: SHA-256 of all extended attributes; None where there are none.
    """

    path: bytes
    type: EntryType
    mode: int
    uid: int
    gid: int
    size: int
    modified: int
    device: str | None
    target: bytes | None
    group: bytes | None
    content: str | None
    attributes: str | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """:ivar entries: sorted by path."""

    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Bytes of its files; one with several names counts once."""
        return sum(entry.size for entry in self.entries if entry.group in (None, entry.path))

    def size_below(self, folder: bytes) -> int:
        """Bytes of the files below a folder, such as ``b"var"``."""
        below = folder + b"/"
        return sum(entry.size for entry in self.entries if entry.path.startswith(below) and entry.group in (None, entry.path))

    def encode(self) -> bytes:
        return HEADER + b"".join(_line(entry) for entry in self.entries)

    @property
    def checksum(self) -> str:
        """SHA-256 of its text, in hex."""
        return hashlib.sha256(self.encode()).hexdigest()

    @classmethod
    def decode(cls, text: bytes, where: Path) -> Manifest:
        """Read one back. :param where: for the error. :raises ManifestError: it is none."""
        if not text.startswith(HEADER):
            raise ManifestError(f"{where} is no manifest: `bootserver image check` writes it anew")
        entries = []
        for number, line in enumerate(text[len(HEADER) :].splitlines(), 2):
            try:
                entries.append(_entry(line))
            except ValueError as error:
                raise ManifestError(f"{where}:{number}: no entry of a manifest ({error})") from error
        return cls(tuple(entries))


# -- reading a tree ---------------------------------------------------------------------------------------------------


def scan(tree: Path, progress: Progress = quiet) -> Manifest:
    """Read a whole tree. Links are never followed, and nothing but regular files is opened.

    :raises ManifestError: something can't be read.
    """
    try:
        root = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ManifestError(f"{tree} can't be read: {error.strerror}") from error
    path = b""
    try:
        whole = sum(status.st_size for _, _, _, status in _walk(root, b"", 0) if stat.S_ISREG(status.st_mode))
        entries, done, seen = [_root_entry(root)], 0, dict[tuple[int, int], list[int]]()
        digests = dict[tuple[int, int], str]()
        for path, folder, name, status in _walk(root, b"", 0):
            file = (status.st_dev, status.st_ino)
            content = None
            if stat.S_ISREG(status.st_mode):
                content = digests.get(file) or _digest(name, folder)
                if status.st_nlink > 1:
                    digests[file] = content
                done += status.st_size
                progress("reading it through", done / whole if whole else 1.0)
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                seen.setdefault(file, []).append(len(entries))
            entries.append(_made(path, folder, name, status, content))
    except OSError as error:
        raise ManifestError(f"{tree / os.fsdecode(path)} can't be read: {error.strerror}") from error
    finally:
        os.close(root)
    for indexes in seen.values():
        if len(indexes) > 1:
            first = min(entries[index].path for index in indexes)
            for index in indexes:
                entries[index] = replace(entries[index], group=first)
    return Manifest(tuple(sorted(entries, key=lambda entry: entry.path)))


def _walk(folder: int, prefix: bytes, depth: int) -> Iterator[tuple[bytes, int, str, os.stat_result]]:
    if depth > _MAX_DEPTH:
        raise ManifestError(f"{os.fsdecode(prefix)[:80]}... is more than {_MAX_DEPTH} folders deep: no system has that")
    with os.scandir(folder) as entries:
        names = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    for name, status in names:
        path = prefix + os.fsencode(name)
        yield path, folder, name, status
        if stat.S_ISDIR(status.st_mode):
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                yield from _walk(below, path + b"/", depth + 1)
            finally:
                os.close(below)


def _root_entry(root: int) -> Entry:
    status = os.fstat(root)
    mode, modified = stat.S_IMODE(status.st_mode), int(status.st_mtime)
    return Entry(
        b".", EntryType.FOLDER, mode, status.st_uid, status.st_gid, 0, modified, None, None, None, None, _attributes(root)
    )


def _made(path: bytes, folder: int, name: str, status: os.stat_result, content: str | None) -> Entry:
    kind = _TYPES[stat.S_IFMT(status.st_mode)]
    is_device = kind in (EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE)
    return Entry(
        path,
        kind,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_size if kind is EntryType.FILE else 0,
        int(status.st_mtime),
        f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" if is_device else None,
        os.fsencode(os.readlink(name, dir_fd=folder)) if kind is EntryType.LINK else None,
        None,
        content,
        # There is no listxattrat(2); this is how a descriptor and a name are said in one path.
        _attributes(f"/proc/self/fd/{folder}/{name}"),
    )


def _digest(name: str, folder: int) -> str:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    digest = hashlib.sha256()
    try:
        while chunk := os.read(descriptor, _CHUNK):
            digest.update(chunk)
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def _attributes(what: int | str) -> str | None:
    follow = isinstance(what, int)  # which is the very thing
    try:
        names = os.listxattr(what) if follow else os.listxattr(what, follow_symlinks=False)
        if not names:
            return None
        values = {name: os.getxattr(what, name) if follow else os.getxattr(what, name, follow_symlinks=False) for name in names}
    except OSError:
        return None  # a file system, or a kind of file, that has none
    digest = hashlib.sha256()
    for name in sorted(values):
        for part in (os.fsencode(name), values[name]):
            digest.update(len(part).to_bytes(4, "big") + part)
    return digest.hexdigest()


# -- its text ---------------------------------------------------------------------------------------------------------


def _line(entry: Entry) -> bytes:
    parts = [
        _escape(entry.path),
        entry.type.value.encode(),
        b"%04o" % entry.mode,
        b"%d" % entry.uid,
        b"%d" % entry.gid,
        b"%d" % entry.size,
        b"%d" % entry.modified,
        (entry.device or "-").encode(),
        _NONE if entry.target is None else _escape(entry.target),
        _NONE if entry.group is None else _escape(entry.group),
        (entry.content or "-").encode(),
        (entry.attributes or "-").encode(),
    ]
    return b" ".join(parts) + b"\n"


def _entry(line: bytes) -> Entry:
    words = line.split(b" ")
    if len(words) != len(fields(Entry)):
        raise ValueError(f"{len(words)} words, not {len(fields(Entry))}")
    path, kind, mode, uid, gid, size, modified, device, target, group, content, attributes = words
    return Entry(
        _unescape(path),
        EntryType(kind.decode("ascii")),
        int(mode, 8),
        int(uid),
        int(gid),
        int(size),
        int(modified),
        _or_none(device),
        None if target == _NONE else _unescape(target),
        None if group == _NONE else _unescape(group),
        _or_none(content),
        _or_none(attributes),
    )


def _or_none(word: bytes) -> str | None:
    return None if word == _NONE else word.decode("ascii")


def _escape(text: bytes) -> bytes:
    if text == _NONE:
        return b"\\x2d"
    if all(byte in _PLAIN for byte in text):
        return text
    return b"".join(b"%c" % byte if byte in _PLAIN else b"\\x%02x" % byte for byte in text)


def _unescape(text: bytes) -> bytes:
    return _ESCAPED.sub(lambda found: bytes.fromhex(found.group(1).decode()), text)
