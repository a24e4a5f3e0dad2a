"""A tree of files in memory, and its archive in cpio's "newc" format, as Linux unpacks it (its
Documentation/driver-api/early-userspace/buffer-format.rst).

The archive is written here because cpio and tar take owners, times and device files from a disk: ours needs no root, and
is the same byte for byte whoever makes it, wherever and whenever.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import PurePosixPath

_ALIGN = 512
"""Segments of a ramdisk follow each other at multiples of 4 bytes; a disk's sector is what boot loaders pad to."""

_MERGED = ("bin", "lib", "lib32", "lib64", "sbin")  # links to the folders of these names in /usr, as in distributions of today


@dataclass(frozen=True, slots=True)
class _Entry:
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


class Tree:
    """Files by their path, which is absolute. Folders above them come by themselves."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def __contains__(self, path: str) -> bool:
        return canonical(path) in self._entries

    def folder(self, path: str, mode: int = 0o755) -> None:
        self._add(path, _Entry(stat.S_IFDIR | mode))

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        self._add(path, _Entry(stat.S_IFREG | mode, content))

    def link(self, path: str, target: str) -> None:
        """A symbolic link. :param target: as it stands in the link."""
        self._add(path, _Entry(stat.S_IFLNK | 0o777, target.encode()))

    def character_device(self, path: str, major: int, minor: int, mode: int) -> None:
        self._add(path, _Entry(stat.S_IFCHR | mode, device=(major, minor)))

    def merge_usr(self) -> None:
        """``/bin`` and its like lead into ``/usr``."""
        for name in _MERGED:
            self._entries[name] = _Entry(stat.S_IFLNK | 0o777, f"usr/{name}".encode())
            self.folder(f"/usr/{name}")

    @property
    def size(self) -> int:
        """Bytes of all files' contents."""
        return sum(len(entry.content) for entry in self._entries.values())

    def archive(self) -> bytes:
        """All of it, sorted by name, owned by root, with no times; its length is a multiple of 512 bytes."""
        parts: list[bytes] = []
        for number, name in enumerate(sorted(self._entries), start=1):
            parts.append(_member(number, name.encode(), self._entries[name]))
        parts.append(_member(0, b"TRAILER!!!", _Entry(0)))
        return padded(b"".join(parts), _ALIGN)

    def _add(self, path: str, entry: _Entry) -> None:
        name = canonical(path)
        for parent in reversed(PurePosixPath(name).parents[:-1]):
            self._entries.setdefault(str(parent), _Entry(stat.S_IFDIR | 0o755))
        self._entries[name] = entry


def canonical(path: str) -> str:
    """A path's one name in the archive: relative, and through no link of :meth:`Tree.merge_usr`."""
    relative = PurePosixPath(path).relative_to("/")
    assert ".." not in relative.parts and relative.parts, path
    return str(PurePosixPath("usr") / relative) if relative.parts[0] in _MERGED else str(relative)


def padded(data: bytes, multiple: int) -> bytes:
    return data + bytes(-len(data) % multiple)


def _member(number: int, name: bytes, entry: _Entry) -> bytes:
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    major, minor = entry.device
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, major, minor, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return padded(header + name + b"\0", 4) + padded(entry.content, 4)
