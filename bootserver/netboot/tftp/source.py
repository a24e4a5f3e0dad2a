"""Where the bytes of a transfer come from: a text in memory, a file, either of them in netascii."""

from __future__ import annotations

from bisect import bisect_right
from typing import Protocol

from bootserver.netboot.tftp.packet import netascii


class Source(Protocol):
    """Bytes in chunks; :class:`~bootserver.netboot.files.OpenFile` is one."""

    def chunk(self, offset: int) -> tuple[int, bytes]:
        """The chunk that holds the byte at ``offset``: where it begins, and its bytes; none at or behind the end.

        :raises OSError: it can't be read, or is no longer what it was when the transfer began.
        """
        ...


class Text:
    """Bytes that were made for this request."""

    __slots__ = ("_body",)

    def __init__(self, body: bytes) -> None:
        self._body = body

    def chunk(self, offset: int) -> tuple[int, bytes]:
        if offset >= len(self._body):
            return offset, b""
        return 0, self._body


class Netascii:
    """Another source, encoded as it is read.

    Each byte is encoded by itself, so chunks are, too; where each begins in the encoded stream is learned on the way, and
    a transfer never asks for more than the one behind the last.
    """

    __slots__ = ("_begins", "_plain", "_plain_begins")

    def __init__(self, plain: Source) -> None:
        self._plain = plain
        self._begins = [0]  # of the chunks, in the encoded stream; and
        self._plain_begins = [0]  # in the plain one

    def chunk(self, offset: int) -> tuple[int, bytes]:
        index = bisect_right(self._begins, offset) - 1
        while True:
            plain_begin, plain = self._plain.chunk(self._plain_begins[index])
            encoded = netascii(plain)
            begin = self._begins[index]
            if not encoded or offset < begin + len(encoded):
                return begin, encoded
            index += 1
            if index == len(self._begins):
                self._begins.append(begin + len(encoded))
                self._plain_begins.append(plain_begin + len(plain))
