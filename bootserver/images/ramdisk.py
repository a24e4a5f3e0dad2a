"""What an initrd holds: names only, read as the kernel unpacks it (Documentation/driver-api/early-userspace/buffer-format.rst):
cpio archives of the "newc" kind one after another, each plain or compressed."""

from __future__ import annotations

import os
from typing import IO

from bootserver.errors import BootserverError
from bootserver.images.compression import BROKEN, Compression, detect, opened

_NEWC = (b"070701", b"070702")
_HEADER = 110
_TRAILER = b"TRAILER!!!"
_MAX_NAME = 4096
_MAX_BYTES = 4 << 30
"""Unpacked. The largest initrds, with all firmware, have some 500 MB."""
_CHUNK = 1 << 18


class RamdiskError(BootserverError):
    """It is no initrd that can be read."""


def names(descriptor: int) -> list[str]:
    """The paths of all that an initrd holds.

    :param descriptor: a regular file's, which is closed.
    :raises RamdiskError: it is damaged, or nothing that we know. :raises Unavailable: there is no program to unpack it.
    """
    with os.fdopen(descriptor, "rb") as file:
        found: list[str] = []
        while True:
            magic = _next(file)
            if not magic:
                return found
            if magic in _NEWC:
                found += _archive(_Stream(file))
                continue
            compression = detect(magic)
            if compression is Compression.NONE:
                raise RamdiskError(f"it begins with {magic.hex()}, which is neither cpio nor anything compressed")
            with opened(file, compression, "unpacking an initrd") as unpacked:
                stream = _Stream(unpacked)
                while stream.find_more():
                    found += _archive(stream)
            return found  # what is compressed is the last


def _next(file: IO[bytes]) -> bytes:
    """The first bytes of the next archive, whose place the file is at then; nothing at the file's end."""
    while True:
        position = file.tell()
        chunk = file.read(_CHUNK)
        if not chunk:
            return b""
        rest = chunk.lstrip(b"\0")
        if rest:
            file.seek(position + len(chunk) - len(rest))
            magic = file.read(6)
            file.seek(position + len(chunk) - len(rest))
            return magic


class _Stream:
    """Exact reads; a :class:`RamdiskError` where there is less."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._pushed = b""
        self._read = 0

    def read(self, count: int) -> bytes:
        parts = [self._pushed[:count]]
        self._pushed = self._pushed[count:]
        wanted = count - len(parts[0])
        while wanted:
            part = self._some(wanted)
            if not part:
                raise RamdiskError("it ends in the middle of an entry")
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)

    def skip(self, count: int) -> None:
        while count:
            step = min(count, _CHUNK)
            self.read(step)
            count -= step

    def find_more(self) -> bool:
        """Go past the zeros between two archives. :returns: whether another one follows."""
        while byte := self._some(1):
            if byte != b"\0":
                self._pushed = byte
                return True
        return False

    def _some(self, count: int) -> bytes:
        try:
            part = self._file.read(count)
        except BROKEN as error:
            raise RamdiskError(f"it can't be unpacked: {error}") from error
        self._read += len(part)
        if self._read > _MAX_BYTES:
            raise RamdiskError(f"it unpacks to more than {_MAX_BYTES >> 30} GiB")
        return part


def _archive(stream: _Stream) -> list[str]:
    """The names of one cpio archive; the stream is behind its trailer then."""
    found: list[str] = []
    while True:
        header = stream.read(_HEADER)
        try:
            size, length = int(header[54:62], 16), int(header[94:102], 16)
        except ValueError:
            size, length = 0, 0
        if header[:6] not in _NEWC or not 0 < length <= _MAX_NAME:
            raise RamdiskError("it holds something that is no cpio archive")
        name = stream.read(length).rstrip(b"\0")
        stream.skip(-(_HEADER + length) % 4)
        if name == _TRAILER:
            return found
        stream.skip(size + -size % 4)
        found.append(os.fsdecode(name))
