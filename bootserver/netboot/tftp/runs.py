"""Sources cut into packets, ahead and for all: in a mass boot a thousand machines fetch the same kernel in the same blocks.

A run is some 64 KiB of a source as DATA packets of one block size, each with the ACK that will answer it. For a file it is made
once and shared between its transfers, so a block costs the server nothing but its two system calls.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from bootserver.netboot.files import OpenFile
from bootserver.netboot.tftp.packet import ACKS, DATA_HEADERS
from bootserver.netboot.tftp.source import Source

RUN_SIZE: Final = 64 * 1024


class Run(NamedTuple):
    """:ivar packets: DATA packets; one with a short (or empty) payload is the last of its source.
    :ivar acks: what the client answers to each.
    """

    packets: tuple[bytes, ...]
    acks: tuple[bytes, ...]


def blocks_in_run(blksize: int) -> int:
    return max(1, RUN_SIZE // blksize)


def cut(source: Source, blksize: int, index: int) -> Run:
    """The run of that index.

    :raises OSError: the source can't be read, or is no longer what it was.
    """
    blocks = blocks_in_run(blksize)
    first = index * blocks
    data = memoryview(_read(source, first * blksize, blocks * blksize))
    if len(data) < blocks * blksize:
        blocks = len(data) // blksize + 1  # the last one is short, or empty (RFC 1350 section 6)
    numbers = [(first + number) & 0xFFFF for number in range(1, blocks + 1)]
    payloads = (data[begin : begin + blksize] for begin in range(0, blocks * blksize, blksize))
    packets = tuple(DATA_HEADERS[number] + payload for number, payload in zip(numbers, payloads, strict=True))
    return Run(packets, tuple(ACKS[number] for number in numbers))


class Runs:
    """Runs of files, shared between transfers.

    :param max_bytes: what they take at most, beside those that transfers are just sending from.
    """

    def __init__(self, max_bytes: int = 128 << 20) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[Source, int, int], Run] = OrderedDict()
        self._files: set[OpenFile] = set()

    def get(self, source: Source, blksize: int, index: int) -> Run:
        """:raises OSError: the source can't be read, or is no longer what it was."""
        if not isinstance(source, OpenFile):
            return cut(source, blksize, index)
        key = (source, blksize, index)
        run = self._kept.get(key)
        if run is not None:
            self._kept.move_to_end(key)
            return run
        run = cut(source, blksize, index)
        if source.is_current:  # kept for others it would hold the descriptor, and the disk space, of a file that is gone
            if source not in self._files:
                self._forget_replaced()
                self._files.add(source)
            self._kept[key] = run
            self._bytes += _size(run)
            while self._bytes > self._max_bytes and len(self._kept) > 1:
                self._bytes -= _size(self._kept.popitem(last=False)[1])
        return run

    def _forget_replaced(self) -> None:
        gone = {file for file in self._files if not file.is_current}
        if gone:
            self._files -= gone
            for key in [key for key in self._kept if key[0] in gone]:
                self._bytes -= _size(self._kept.pop(key))


def _size(run: Run) -> int:
    return sum(map(len, run.packets))


def _read(source: Source, offset: int, size: int) -> bytes:
    """So many bytes from there on; fewer at the end of the source."""
    pieces = []
    while size > 0:
        begin, data = source.chunk(offset)
        piece = data[offset - begin : offset - begin + size]
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
