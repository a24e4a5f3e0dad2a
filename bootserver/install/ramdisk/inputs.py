"""The files that a ramdisk is made of, remembered as they were, so that the next build knows at once whether any has changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bootserver.errors import Unavailable

Stamp = tuple[int, int] | None
"""Size in bytes and time of the last change in ns; None: there is no such file."""


class Inputs:
    """Reads files, and keeps what they were.

    :ivar stamps: by path.
    """

    def __init__(self) -> None:
        self.stamps: dict[str, Stamp] = {}

    def exists(self, path: Path) -> bool:
        """Is it a file? That it is none is remembered, too: a program that is installed later makes a build stale."""
        self.stamps[str(path)] = stamp(path)
        return self.stamps[str(path)] is not None

    def read(self, path: Path) -> bytes:
        """:raises Unavailable: it can't be read."""
        try:
            self.stamps[str(path)] = stamp(path)
            return path.read_bytes()
        except OSError as error:
            raise Unavailable(f"{path} can't be read for the installer's ramdisk: {error.strerror}") from error


def stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if path.is_file() else None


def unchanged(stamps: Mapping[str, Stamp]) -> bool:
    return all(stamp(Path(path)) == (None if kept is None else tuple(kept)) for path, kept in stamps.items())
