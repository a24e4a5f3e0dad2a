"""TFTP on the wire: packets to values and back, and the negotiation of options. Pure; no sockets, no files.

RFC 1350 (TFTP), 2347 (options), 2348 (blksize), 2349 (timeout, tsize), 7440 (windowsize), 764 (netascii's line ends).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

DEFAULT_BLKSIZE: Final = 512
MIN_BLKSIZE: Final = 8
MAX_BLKSIZE: Final = 65464  # RFC 2348: what fits a UDP datagram with the largest IP header
MIN_TIMEOUT: Final = 1  # seconds, RFC 2349
MAX_TIMEOUT: Final = 255
MIN_WINDOWSIZE: Final = 1  # blocks, RFC 7440
MAX_WINDOWSIZE: Final = 65535
MAX_REQUEST: Final = 1024
"""RFC 2347 allows 512 bytes for a request; a long path with every option may need some more, and nothing needs this."""
MAX_OPTIONS: Final = 32
MAX_ERROR_TEXT: Final = 80
_MAX_DIGITS: Final = 10

HEADER_SIZE: Final = 4
_SHORT = Struct("!H")
_TWO_SHORTS = Struct("!HH")


class Opcode(enum.IntEnum):
    """RFC 1350 section 5, RFC 2347."""

    RRQ = 1
    WRQ = 2
    DATA = 3
    ACK = 4
    ERROR = 5
    OACK = 6


class ErrorCode(enum.IntEnum):
    """RFC 1350 appendix I, RFC 2347."""

    UNDEFINED = 0
    NOT_FOUND = 1
    ACCESS_VIOLATION = 2
    DISK_FULL = 3
    ILLEGAL_OPERATION = 4
    UNKNOWN_TRANSFER = 5
    FILE_EXISTS = 6
    NO_SUCH_USER = 7
    OPTION_REFUSED = 8


class Mode(enum.Enum):
    """RFC 1350 section 1. The third, mail, was obsolete in 1992."""

    OCTET = "octet"
    NETASCII = "netascii"


class PacketError(Exception):
    """These bytes are no TFTP packet; the text says at which byte and why, in plain ASCII."""


# For each block number its DATA header and its ACK, made once: the server sends one and awaits the other for each block.
DATA_HEADERS: Final = tuple(_TWO_SHORTS.pack(Opcode.DATA, number) for number in range(65536))
ACKS: Final = tuple(_TWO_SHORTS.pack(Opcode.ACK, number) for number in range(65536))


@dataclass(frozen=True, slots=True)
class Request:
    """RRQ or WRQ: a file is asked for, or offered.

    :ivar options: by lower-case name, in the order of the packet (RFC 2347: names are case-insensitive, order is free).
    """

    opcode: Opcode
    filename: str
    mode: Mode
    options: Mapping[str, str]

    def encode(self) -> bytes:
        words = [self.filename, self.mode.value]
        for name, value in self.options.items():
            words += [name, value]
        return _SHORT.pack(self.opcode) + b"".join(word.encode() + b"\0" for word in words)


@dataclass(frozen=True, slots=True)
class Data:
    block: int
    payload: bytes

    def encode(self) -> bytes:
        return DATA_HEADERS[self.block] + self.payload


@dataclass(frozen=True, slots=True)
class Ack:
    block: int

    def encode(self) -> bytes:
        return ACKS[self.block]


@dataclass(frozen=True, slots=True)
class Error:
    """:ivar text: for people. What we send is cut to printable ASCII, what we received was."""

    code: int
    text: str

    def encode(self) -> bytes:
        return _TWO_SHORTS.pack(Opcode.ERROR, self.code) + plain(self.text).encode("ascii") + b"\0"


@dataclass(frozen=True, slots=True)
class OptionsAck:
    options: Mapping[str, str]

    def encode(self) -> bytes:
        words = b"".join(f"{name}\0{value}\0".encode("ascii") for name, value in self.options.items())
        return _SHORT.pack(Opcode.OACK) + words


Packet = Request | Data | Ack | Error | OptionsAck


def plain(text: str) -> str:
    """Printable ASCII, short enough for a line: a peer's words must not write our log, nor ours its screen."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text[:MAX_ERROR_TEXT])


def decode(datagram: bytes) -> Packet:
    """Read one datagram.

    :raises PacketError: it is no TFTP packet.
    """
    if len(datagram) < 2:
        raise PacketError(f"byte {len(datagram)}: ends within the opcode")
    (opcode,) = _SHORT.unpack_from(datagram)
    if opcode in (Opcode.RRQ, Opcode.WRQ):
        return _request(Opcode(opcode), datagram)
    if opcode == Opcode.OACK:
        options, _ = _options(datagram, 2)
        return OptionsAck(options)
    if not Opcode.DATA <= opcode <= Opcode.ERROR:
        raise PacketError(f"byte 0: no such opcode: {opcode}")
    if len(datagram) < HEADER_SIZE:
        raise PacketError(f"byte {len(datagram)}: ends within the header")
    number = datagram[2] << 8 | datagram[3]
    if opcode == Opcode.ACK:
        return Ack(number)  # whatever follows is padding: Ethernet frames have 60 bytes, and some stacks count them
    if opcode == Opcode.DATA:
        if len(datagram) > HEADER_SIZE + MAX_BLKSIZE:
            raise PacketError(f"byte {HEADER_SIZE + MAX_BLKSIZE}: more than the largest block")
        return Data(number, datagram[HEADER_SIZE:])
    text = datagram[HEADER_SIZE : HEADER_SIZE + MAX_ERROR_TEXT].split(b"\0", 1)[0]
    return Error(number, plain(text.decode("latin-1")))


def _request(opcode: Opcode, datagram: bytes) -> Request:
    if len(datagram) > MAX_REQUEST:
        raise PacketError(f"byte {MAX_REQUEST}: request too long")
    filename, position = _word(datagram, 2, "file name")
    if not filename or not filename.isprintable():
        raise PacketError("byte 2: empty or unprintable file name")
    word, after_mode = _word(datagram, position, "mode")
    try:
        mode = Mode(word.lower())
    except ValueError:
        raise PacketError(f"byte {position}: mode is neither octet nor netascii") from None
    options, _ = _options(datagram, after_mode)
    return Request(opcode, filename, mode, options)


def _options(datagram: bytes, position: int) -> tuple[dict[str, str], int]:
    options: dict[str, str] = {}
    while position < len(datagram):
        if not datagram[position] and not any(datagram[position:]):
            break  # zeros up to the end: a client that sends its whole buffer
        begin = position
        name, position = _word(datagram, position, "option name")
        value, position = _word(datagram, position, "option value")
        name = name.lower()
        if name in options:
            raise PacketError(f"byte {begin}: option given twice")
        if len(options) == MAX_OPTIONS:
            raise PacketError(f"byte {begin}: too many options")
        options[name] = value
    return options, position


def _word(datagram: bytes, position: int, what: str) -> tuple[str, int]:
    end = datagram.find(b"\0", position)
    if end < 0:
        raise PacketError(f"byte {len(datagram)}: ends within the {what}")
    try:
        return datagram[position:end].decode(), end + 1
    except UnicodeDecodeError as error:
        raise PacketError(f"byte {position + error.start}: {what} is not UTF-8") from None


@dataclass(frozen=True, slots=True)
class Agreed:
    """What client and server will do.

    :ivar timeout: seconds between retransmissions if the client asked for some, else None: by measured round trip.
    :ivar options: what is acknowledged; empty: no OACK, the transfer begins with DATA 1 (RFC 2347).
    :ivar oack: the packet that acknowledges them; empty, too, if there are none.
    """

    blksize: int = DEFAULT_BLKSIZE
    windowsize: int = 1
    timeout: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    oack: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "oack", OptionsAck(self.options).encode() if self.options else b"")


DEFAULTS: Final = Agreed()


def negotiate(request: Request, size: int | None, *, max_windowsize: int, max_burst: int) -> Agreed:
    """Which of the options asked for we agree to. A bad value is an option not acknowledged, never an error (RFC 2347).

    :param size: the file's, in octets.
    :param max_windowsize: blocks that we send at most before an ACK; RFC 7440 lets a server answer with less.
    :param max_burst: bytes that a window may have; a window of many large blocks only overflows the client's buffer.
    """
    asked = request.options
    if not asked:
        return DEFAULTS
    # The block size comes first, whatever the order in the packet: the window depends on it.
    blksize = _number(asked.get("blksize"))
    blksize = None if blksize is None or blksize < MIN_BLKSIZE else min(blksize, MAX_BLKSIZE)
    windowsize, timeout = 1, None
    options: dict[str, str] = {}
    for name in asked:
        match name:
            case "blksize" if blksize is not None:
                options[name] = str(blksize)
            case "tsize" if _number(asked[name]) == 0 and size is not None and request.mode is Mode.OCTET:
                options[name] = str(size)
            case "timeout":
                seconds = _number(asked[name])
                if seconds is not None and MIN_TIMEOUT <= seconds <= MAX_TIMEOUT:
                    timeout = seconds
                    options[name] = str(seconds)
            case "windowsize":
                wanted = _number(asked[name])
                if wanted is not None and MIN_WINDOWSIZE <= wanted <= MAX_WINDOWSIZE:
                    windowsize = min(wanted, max_windowsize, max(1, max_burst // (blksize or DEFAULT_BLKSIZE)))
                    options[name] = str(windowsize)
            case _:
                pass  # multicast, utimeout, rollover and whatever comes: not acknowledged
    return Agreed(blksize or DEFAULT_BLKSIZE, windowsize, timeout, options)


def _number(text: str | None) -> int | None:
    """A decimal number as RFC 2348 and 2349 write them; no sign, no blank, no other alphabet's digits."""
    if text is None or not 0 < len(text) <= _MAX_DIGITS or not (text.isascii() and text.isdigit()):
        return None
    return int(text)


def netascii(data: bytes) -> bytes:
    """Encode text for mode netascii: a line ends with CR LF, a bare CR is CR NUL (RFC 764 page 10).

    Each byte is encoded by itself, so that a file can be encoded piece by piece.
    """
    return data.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")
