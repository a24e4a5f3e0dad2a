"""Compressed files: which kind, by their first bytes, and what is in them."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import zlib
from collections.abc import Iterator
from enum import Enum
from typing import IO, cast

from bootserver.images import program


class Compression(Enum):
    """The value is the program that tar calls for it; none for what is plain."""

    NONE = ""
    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTD = "zstd"
    LZ4 = "lz4"


_MAGIC = {
    b"\x1f\x8b": Compression.GZIP,
    b"BZh": Compression.BZIP2,
    b"\xfd7zXZ\0": Compression.XZ,
    b"\x5d\0\0": Compression.XZ,  # lzma, as old kernels' initrds are
    b"\x28\xb5\x2f\xfd": Compression.ZSTD,
    b"\x04\x22\x4d\x18": Compression.LZ4,
    b"\x02\x21\x4c\x18": Compression.LZ4,  # its old form, which the kernel reads
}

BROKEN = (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError)
"""What reading a damaged file raises, whatever its kind."""


def detect(head: bytes) -> Compression:
    """:param head: a file's first bytes, 6 or more."""
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), Compression.NONE)


@contextlib.contextmanager
def opened(file: IO[bytes], compression: Compression, what: str) -> Iterator[IO[bytes]]:
    """What is in a file, from where it is read now.

    :param what: begins the error, where a program does it: ``unpacking x.tar``.
    """
    match compression:
        case Compression.NONE:
            yield file
        case Compression.GZIP:
            yield cast("IO[bytes]", gzip.GzipFile(fileobj=file))
        case Compression.BZIP2:
            with bz2.BZ2File(file) as stream:
                yield stream
        case Compression.XZ:
            with lzma.LZMAFile(file) as stream:
                yield stream
        case Compression.ZSTD | Compression.LZ4:
            program.need(compression.value, compression.value)
            # The program reads from where the descriptor is; Python may have read ahead.
            os.lseek(file.fileno(), file.tell(), os.SEEK_SET)
            with program.reading([compression.value, "-dc"], file, what) as output:
                yield output
