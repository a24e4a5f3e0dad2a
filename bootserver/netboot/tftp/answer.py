"""What a request is answered with: from the datagram to the bytes and options of a transfer, or to an ERROR."""

from __future__ import annotations

import errno
import logging
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from bootserver.netboot.content import Content, Denied, Missing, Resolve
from bootserver.netboot.files import FileStore
from bootserver.netboot.tftp.contract import TftpLimits
from bootserver.netboot.tftp.packet import Agreed, ErrorCode, Mode, Opcode, PacketError, Request, decode, negotiate
from bootserver.netboot.tftp.source import Netascii, Source, Text
from bootserver.netboot.tftp.transfer import Outcome

log = logging.getLogger(__name__)

NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
BUSY: Final = "busy, try again later"


@dataclass(slots=True)
class Answer:
    """A transfer."""

    path: str
    content: Content
    source: Source
    agreed: Agreed


@dataclass(slots=True)
class Refusal:
    """An ERROR packet.

    :ivar text: what the client is told: plain, short, and nothing of what goes on inside.
    :ivar why: what we report.
    """

    path: str
    outcome: Outcome
    code: ErrorCode
    text: str
    why: str


class AnswerDesk:
    """Answers requests.

    :param resolve: what a path means for a client.
    :param files: where contents that are paths are read from.
    """

    def __init__(self, resolve: Resolve, files: FileStore, limits: TftpLimits) -> None:
        self._resolve = resolve
        self._files = files
        self._limits = limits

    def answer(self, datagram: bytes, address: IPv4Address | IPv6Address, busy: str) -> Answer | Refusal:
        """Answer one request.

        :param busy: why nothing can be sent now; empty if it can.
        """
        try:
            request = _read(datagram)
        except PacketError as error:
            return Refusal("", Outcome.REFUSED, ErrorCode.ILLEGAL_OPERATION, str(error), str(error))
        path = request.filename
        if request.opcode is Opcode.WRQ:
            text = "this server is read-only"
            return Refusal(path, Outcome.REFUSED, ErrorCode.ACCESS_VIOLATION, text, text)
        if busy:
            return Refusal(path, Outcome.REFUSED, ErrorCode.UNDEFINED, busy, busy)
        try:
            resolution = self._resolve(path, address)
        except Exception:
            log.exception("defect: %r for %s was not resolved", path, address)
            return Refusal(path, Outcome.FAILED, ErrorCode.UNDEFINED, "internal error", "internal error")
        if isinstance(resolution, Missing):
            return Refusal(path, Outcome.MISSING, ErrorCode.NOT_FOUND, "file not found", resolution.why)
        if isinstance(resolution, Denied):
            return Refusal(path, Outcome.DENIED, ErrorCode.ACCESS_VIOLATION, "access denied", resolution.why)
        try:
            source, size = self._source(resolution)
        except OSError as error:
            if error.errno in NO_DESCRIPTORS:
                return Refusal(path, Outcome.REFUSED, ErrorCode.UNDEFINED, BUSY, str(error))
            return Refusal(path, Outcome.MISSING, ErrorCode.NOT_FOUND, "file not found", str(error))
        if request.mode is Mode.NETASCII:
            source = Netascii(source)
        return Answer(path, resolution, source, _agree(datagram, size, self._limits.windowsize, self._limits.burst))

    def _source(self, content: Content) -> tuple[Source, int]:
        if isinstance(content.body, bytes):
            return Text(content.body), len(content.body)
        file = self._files.open(content.body)
        return file, file.size


# In a mass boot a thousand machines send the same request, byte for byte; reading it once saves a third of what a small
# file costs.
@lru_cache(maxsize=2048)
def _read(datagram: bytes) -> Request:
    request = decode(datagram)
    assert isinstance(request, Request)  # the server has looked at the opcode
    return request


@lru_cache(maxsize=2048)
def _agree(datagram: bytes, size: int, max_windowsize: int, max_burst: int) -> Agreed:
    return negotiate(_read(datagram), size, max_windowsize=max_windowsize, max_burst=max_burst)
