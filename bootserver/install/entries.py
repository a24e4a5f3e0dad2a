"""Files on their way to a node: gathered as values, sent as a tar archive, or laid down in a folder."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, folder or symbolic link.

    :ivar path: below the root that it is for, without a leading slash.
    :ivar mode: permission bits.
    :ivar content: of a file; a path is read when it is sent.
    :ivar link: where a symbolic link points.
    """

    path: str
    mode: int = 0o644
    content: bytes | Path = b""
    link: str | None = None
    folder: bool = False
    uid: int = 0
    gid: int = 0

    @classmethod
    def text(cls, path: str, text: str, mode: int = 0o644) -> Entry:
        return cls(path, mode, text.encode())


def write_tar(entries: Iterable[tuple[str, Entry]], output: IO[bytes]) -> None:
    """Write entries, each with the folder of the archive that it goes into (POSIX pax format, owners as numbers).

    Folders are written only as entries say: those that an image has keep their modes.

    :raises OSError: a file can't be read.
    """
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder, entry in entries:
            member = tarfile.TarInfo(f"{folder}/{entry.path}")
            member.mode, member.uid, member.gid = entry.mode, entry.uid, entry.gid
            if entry.folder:
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            elif entry.link is not None:
                member.type, member.linkname = tarfile.SYMTYPE, entry.link
                tar.addfile(member)
            elif isinstance(entry.content, bytes):
                member.size = len(entry.content)
                tar.addfile(member, io.BytesIO(entry.content))
            else:
                with entry.content.open("rb") as file:
                    status = os.fstat(file.fileno())
                    member.size, member.mtime = status.st_size, int(status.st_mtime)
                    tar.addfile(member, file)


def lay_down(entries: Iterable[Entry], root: Path) -> None:
    """Make an empty folder hold what the entries say, with their owners and modes. :raises OSError: it can't be written."""
    for entry in entries:
        target = root / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.folder:
            target.mkdir(exist_ok=True)
        elif entry.link is not None:
            target.symlink_to(entry.link)
        elif isinstance(entry.content, bytes):
            target.write_bytes(entry.content)
        else:
            with entry.content.open("rb") as reading, target.open("wb") as writing:
                while chunk := reading.read(_CHUNK):
                    writing.write(chunk)
                status = os.fstat(reading.fileno())
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.chown(target, entry.uid, entry.gid, follow_symlinks=False)
        if entry.link is None:
            target.chmod(entry.mode)
