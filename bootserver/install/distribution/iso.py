"""Is a file an ISO 9660 image, and is it all there? (ECMA-119: volume descriptors from sector 16 on.)

The media of Linux distributions are ISO 9660 with Rock Ridge, files of more than 4 GB in several extents (level 3). UDF is not
among them.
"""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from types import TracebackType

from bootserver.errors import NotFound, Refused, Unavailable
from bootserver.values.progress import Progress

_SECTOR = 2048
_FIRST_DESCRIPTOR = 16
_PRIMARY, _END = 1, 255
_LOOKED_AT = 64  # descriptors; real media have three or four
_CHUNK = 32 << 20

_OTHERS = (
    (b"LUKS\xba\xbe", "it is encrypted (LUKS)"),
    (b"Salted__", "it is encrypted (openssl)"),
    (b"-----BEGIN PGP", "it is encrypted or signed (PGP)"),
    (b"\x1f\x8b", "it is compressed (gzip): `gunzip` it, or `tar -xf` a tar and give the folder"),
    (b"\xfd7zXZ\x00", "it is compressed (xz): `unxz` it first"),
    (b"BZh", "it is compressed (bzip2): `bunzip2` it first"),
    (b"\x28\xb5\x2f\xfd", "it is compressed (zstd): `unzstd` it first"),
    (b"PK\x03\x04", "it is a zip archive: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7z archive: unpack it first"),
    (b"QFI\xfb", "it is a disk image of QEMU"),
    (b"<", "it begins like a web page: a download that did not work?"),
)
_UDF = (b"BEA01", b"NSR02", b"NSR03")


class Iso:
    """An ISO file, open: ``with Iso(path) as iso: ...``.

    :ivar size: bytes of its file system.
    """

    def __init__(self, path: Path) -> None:
        """
        :raises NotFound: there is none. :raises Refused: it is no ISO 9660, or cut off. :raises Unavailable: it can't be read.
        """
        self.path = path
        try:
            # O_NONBLOCK: a pipe without a writer would be waited for.
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except FileNotFoundError:
            raise NotFound(f"there is no {path}") from None
        except OSError as error:
            raise Unavailable(f"{path} can't be read: {error.strerror}") from error
        try:
            status = os.fstat(self.descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Refused(f"{path} is neither a folder nor a file: mount a disc, and give its folder")
            self.size = self._measure(status.st_size)
        except OSError as error:
            os.close(self.descriptor)
            raise Unavailable(f"{path} can't be read: {error.strerror}") from error
        except Refused:
            os.close(self.descriptor)
            raise

    def __enter__(self) -> Iso:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self.descriptor)

    def _measure(self, present: int) -> int:
        for number in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + _LOOKED_AT):
            descriptor = os.pread(self.descriptor, _SECTOR, number * _SECTOR)
            if len(descriptor) < _SECTOR or descriptor[1:6] != b"CD001" or descriptor[0] == _END:
                break
            if descriptor[0] == _PRIMARY:
                # 8.4.8 and 8.4.12: both byte orders, the little-endian one first
                (blocks,) = struct.unpack_from("<I", descriptor, 80)
                (block_size,) = struct.unpack_from("<H", descriptor, 128)
                size = int(blocks) * int(block_size)
                if size > present:
                    raise Refused(
                        f"{self.path} is cut off: it has {present} bytes of {size}; copy it again, and compare its checksum"
                    )
                if size:
                    return size
        raise Refused(f"{self.path} is no ISO 9660 image: {self._what_else()}")

    def _what_else(self) -> str:
        head = os.pread(self.descriptor, 16, 0)
        for magic, words in _OTHERS:
            if head.startswith(magic):
                return words
        if os.pread(self.descriptor, 5, _FIRST_DESCRIPTOR * _SECTOR + 1) in _UDF:
            return "it is UDF only, which no Linux distribution's disc is"
        return "there is no CD001 at byte 32769"

    def copy(self, target: Path, progress: Progress) -> None:
        """Copy the whole file; where the file system can, blocks are shared (copy_file_range(2)). :raises OSError:"""
        whole = os.fstat(self.descriptor).st_size
        with target.open("xb", buffering=0) as file:
            os.fchmod(file.fileno(), 0o644)
            done = 0
            while done < whole:
                copied = os.copy_file_range(self.descriptor, file.fileno(), min(_CHUNK, whole - done), done)
                if copied == 0:
                    raise OSError(0, "the file became shorter while it was read")
                done += copied
                progress(f"copying {self.path.name}", done / whole)
