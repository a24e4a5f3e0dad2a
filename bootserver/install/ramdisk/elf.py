"""What a program or a kernel module says of itself: its libraries, its loader, its ``.modinfo`` (System V ABI; ELF-64,
little-endian).

``ldd`` would run the program's loader; reading needs none, and works for modules, too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_RPATH, _DT_RUNPATH = 1, 5, 15, 29
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
_DYNAMIC = struct.Struct("<qQ")


class NotElf(ValueError):
    """It is no 64-bit little-endian ELF file, or a damaged one."""


@dataclass(frozen=True, slots=True)
class Linking:
    """How a program is put together when it starts.

    :ivar interpreter: its loader (``/lib64/ld-linux-x86-64.so.2``); None for a static program or a library.
    :ivar needed: names of libraries.
    :ivar run_path: folders in which they are looked for first; may hold ``$ORIGIN``.
    """

    machine: int
    interpreter: str | None
    needed: tuple[str, ...]
    run_path: tuple[str, ...]


def linking(data: bytes) -> Linking:
    """:raises NotElf: see there."""
    _check(data)
    try:
        return _linking(data)
    except (struct.error, ValueError) as error:
        raise NotElf(f"a damaged ELF file: {error}") from error


def module_info(data: bytes) -> dict[str, list[str]]:
    """The fields of a kernel module (``alias``, ``depends``, ``firmware`` ...), each with all its values.

    :raises NotElf: see there.
    """
    _check(data)
    try:
        section = _section(data, b".modinfo")
    except (struct.error, ValueError) as error:
        raise NotElf(f"a damaged ELF file: {error}") from error
    found: dict[str, list[str]] = {}
    for field in section.split(b"\0"):
        key, equals, value = field.decode("utf-8", "replace").partition("=")
        if equals:
            found.setdefault(key, []).append(value)
    return found


def _check(data: bytes) -> None:
    if data[:6] != b"\x7fELF\x02\x01":
        raise NotElf("no 64-bit little-endian ELF file")


def _linking(data: bytes) -> Linking:
    (machine,) = struct.unpack_from("<H", data, 18)
    interpreter, dynamic, loads = None, (0, 0), []
    for kind, _, offset, address, _, size, _, _ in _program_headers(data):
        if kind == _PT_LOAD:
            loads.append((address, offset, size))
        elif kind == _PT_INTERP:
            interpreter = data[offset : offset + size].rstrip(b"\0").decode()
        elif kind == _PT_DYNAMIC:
            dynamic = (offset, size)
    entries = list(_dynamic(data, *dynamic))
    strings = next((value for tag, value in entries if tag == _DT_STRTAB), 0)
    base = next((strings - address + offset for address, offset, size in loads if address <= strings < address + size), 0)
    needed = tuple(_text(data, base + value) for tag, value in entries if tag == _DT_NEEDED)
    paths = [_text(data, base + value) for tag, value in entries if tag in (_DT_RUNPATH, _DT_RPATH)]
    return Linking(machine, interpreter, needed, tuple(part for path in paths for part in path.split(":") if part))


def _program_headers(data: bytes) -> Iterator[tuple[int, ...]]:
    (start,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for number in range(count):
        yield _PROGRAM_HEADER.unpack_from(data, start + number * size)


def _dynamic(data: bytes, offset: int, size: int) -> Iterator[tuple[int, int]]:
    for position in range(offset, offset + size, _DYNAMIC.size):
        tag, value = _DYNAMIC.unpack_from(data, position)
        if tag == 0:
            return
        yield tag, value


def _section(data: bytes, wanted: bytes) -> bytes:
    """A section's content; empty where there is none of this name."""
    (start,) = struct.unpack_from("<Q", data, 40)
    size, count, names = struct.unpack_from("<HHH", data, 58)
    headers = [_SECTION_HEADER.unpack_from(data, start + number * size) for number in range(count)]
    for header in headers:
        name = headers[names][4] + header[0]
        if data[name : name + len(wanted) + 1] == wanted + b"\0":
            return data[header[4] : header[4] + header[5]]
    return b""


def _text(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()
