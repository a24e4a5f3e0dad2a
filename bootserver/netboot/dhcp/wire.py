"""DHCP messages as bytes: RFC 2131 section 2 (the fixed part), RFC 2132 (options), RFC 3396 (long options).

Every byte comes from a stranger. What can't be read is a :class:`WireError` that says where and why; nothing else is
raised, whatever the bytes are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from bootserver.errors import BootserverError

# op htype hlen hops xid secs flags ciaddr yiaddr siaddr giaddr chaddr sname file
FIXED: Final = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s")
MAGIC: Final = b"\x63\x82\x53\x63"  # RFC 2132 section 2: what follows are options
OPTIONS_AT: Final = FIXED.size + len(MAGIC)
SNAME_AT: Final = 44
FILE_AT: Final = 108

MAX_DATAGRAM: Final = 2048
"""What is read of a datagram. Ethernet's 1,500 octets bound a real one; a jumbo one is cut and then fails to parse."""
MIN_MESSAGE: Final = 300
"""RFC 1542 section 2.1: BOOTP messages have at least 300 octets, and relays and firmware drop shorter ones."""
DEFAULT_LIMIT: Final = 548
"""RFC 2131 section 2: the 576 octets that every host takes, less the IP and UDP headers."""
ETHERNET_LIMIT: Final = 1472
"""The largest message without fragments. OVMF says in its REQUEST that it takes 65,280 octets; it would not."""
HEADERS: Final = 28
"""IPv4 and UDP header, which ISC dhcpd and others count into option 57's "maximum message size"."""

PAD: Final = 0
END: Final = 255
OVERLOAD: Final = 52
RELAY_INFORMATION: Final = 82
CLASS_HTTP: Final = b"HTTPClient"
NO_ADDRESS: Final = bytes(4)
BROADCAST_FLAG: Final = 0x8000


class WireError(BootserverError):
    """Bytes that are no DHCP message, or no value of the option that they stand in."""


class Reader:
    """Bounds-checked big-endian reading; every overrun is a :class:`WireError`, never an ``IndexError``.

    :param what: what is being read, for the error's text.
    """

    __slots__ = ("_data", "_what", "position")

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self.position = 0

    @property
    def left(self) -> int:
        return len(self._data) - self.position

    def take(self, length: int) -> bytes:
        """The next `length` octets."""
        if length > self.left:
            raise WireError(f"{self._what}: {length} octets wanted at byte {self.position}, {self.left} are there")
        start = self.position
        self.position = start + length
        return self._data[start : self.position]

    def uint8(self) -> int:
        return self.take(1)[0]

    def uint16(self) -> int:
        return int.from_bytes(self.take(2))


class DhcpPacket(NamedTuple):
    """A message as it was on the wire. A tuple, because making one for each datagram must cost next to nothing.

    Addresses are their four octets. `sname` and `file` are raw: with option 52 they may hold options.
    """

    op: int
    htype: int
    hlen: int
    hops: int
    xid: int
    secs: int
    flags: int
    ciaddr: bytes
    yiaddr: bytes
    siaddr: bytes
    giaddr: bytes
    chaddr: bytes
    sname: bytes
    file: bytes
    options: Mapping[int, bytes]


def decode(datagram: bytes) -> DhcpPacket:
    """Read a BOOTP or DHCP message.

    Without the magic cookie it is a message of BOOTP before RFC 1048 and has no options. Options that come several times
    are one long option (RFC 3396), in the order: options, ``file``, ``sname`` (RFC 3396 section 5).

    :raises WireError: it is no BOOTP message; the text says at which byte and why.
    """
    size = len(datagram)
    if size < FIXED.size:
        raise WireError(f"message: a BOOTP message has {FIXED.size} octets or more, this one ends at byte {size}")
    options: dict[int, bytes] = {}
    if datagram[FIXED.size : OPTIONS_AT] == MAGIC:
        _read_options(datagram, OPTIONS_AT, size, options)
        if OVERLOAD in options:
            _read_overload(datagram, options)
    return DhcpPacket._make((*FIXED.unpack_from(datagram), options))


def _read_overload(datagram: bytes, options: dict[int, bytes]) -> None:
    """RFC 2132 section 9.3: bit 0, options in ``file`` too; bit 1, in ``sname``."""
    flag = options[OVERLOAD]
    if len(flag) != 1 or not 1 <= flag[0] <= 3:
        raise WireError(f"option 52 (overload) is one octet 1, 2 or 3, not {flag.hex() or 'nothing'}")
    # In there a further option 52 would be the tail that wags the dog: it is read as a value and never followed.
    if flag[0] & 1:
        _read_options(datagram, FILE_AT, FIXED.size, options)
    if flag[0] & 2:
        _read_options(datagram, SNAME_AT, FILE_AT, options)


def _read_options(data: bytes, position: int, end: int, into: dict[int, bytes]) -> None:
    # The hot loop of the decoder, so it checks its bounds by itself instead of through a Reader.
    while position < end:
        code = data[position]
        if code == PAD:
            position += 1
            continue
        if code == END:
            return
        start = position + 2
        if start > end:
            raise WireError(f"option {code} at byte {position} has no length")
        stop = start + data[start - 1]
        if stop > end:
            raise WireError(f"option {code} at byte {position} has {stop - start} octets, {end - start} are there")
        if code in into:
            into[code] += data[start:stop]
        else:
            into[code] = data[start:stop]
        position = stop


def encapsulated(value: bytes) -> dict[int, bytes]:
    """The options inside an option: 43 (RFC 2132 section 8.4), 175 (iPXE) and, without 0 and 255, 82 (RFC 3046).

    :raises WireError: one of them runs over the end.
    """
    inner: dict[int, bytes] = {}
    _read_options(value, 0, len(value), inner)
    return inner


def user_classes(value: bytes) -> tuple[bytes, ...]:
    """Option 77. RFC 3004 prefixes each class with its length; iPXE, udhcpc and others just send the text.

    What reads as the former without a rest is taken for it: "iPXE" can't be, its first octet says 105.
    """
    reader = Reader(value, "option 77 (user class)")
    found: list[bytes] = []
    try:
        while reader.left:
            found.append(reader.take(reader.uint8()))
    except WireError:
        return (value,)
    return tuple(found) if all(found) else (value,)


def architectures(value: bytes) -> tuple[int, ...]:
    """Option 93 (RFC 4578 section 2.1): 16-bit codes, the preferred one first.

    :raises WireError: it is empty or has an odd length.
    """
    reader = Reader(value, "option 93 (client architecture)")
    found = [reader.uint16()]
    while reader.left:
        found.append(reader.uint16())
    return tuple(found)


class Tail(NamedTuple):
    """A message's variable part, from ``sname`` to its last octet.

    `dropped` are codes that found no room: the least important ones, those that were given last.
    """

    octets: bytes
    dropped: tuple[int, ...]


def option(code: int, value: bytes) -> bytes:
    """One option, split where it is longer than 255 octets (RFC 3396 section 5)."""
    return bytes((code, len(value))) + value if len(value) <= 255 else b"".join(_pieces(code, value))


def _pieces(code: int, value: bytes) -> list[bytes]:
    return [option(code, value[start : start + 255]) for start in range(0, len(value) or 1, 255)]


def encode_tail(
    options: Iterable[tuple[int, bytes]],
    *,
    file: bytes = b"",
    sname: bytes = b"",
    limit: int = DEFAULT_LIMIT,
    relay_information: bytes | None = None,
) -> Tail:
    """Put options into a message of at most `limit` octets.

    :param options: codes and values, the most important first.
    :param file: for the ``file`` field, at most 128 octets; empty leaves it to options where they need it. So `sname`, 64.
    :param limit: the whole message's largest size; at least :data:`MIN_MESSAGE`.
    :param relay_information: option 82 as it came; it stands last (RFC 3046 section 2.1).
    :returns: what comes after ``chaddr``, padded to :data:`MIN_MESSAGE`. ``file`` and then ``sname`` are overloaded only
        where the options would not fit otherwise: some PXE ROMs read those fields as names whatever option 52 says.
    """
    options = tuple(options)
    last = b"" if relay_information is None else option(RELAY_INFORMATION, relay_information)
    room = limit - OPTIONS_AT - len(last) - 1
    body = b"".join([option(code, value) for code, value in options])
    if len(body) <= room:
        return Tail(_assemble(sname, file, body + last), ())
    # 3 octets for option 52 itself; the areas in the order in which RFC 3396 joins them, each with an End of its own.
    areas, dropped = _fill(
        [(code, _pieces(code, value)) for code, value in options], (room - 3, 0 if file else 127, 0 if sname else 63)
    )
    body, in_file, in_sname = areas
    overload = bool(in_file) | bool(in_sname) << 1
    if overload:
        body += option(OVERLOAD, bytes((overload,)))
    return Tail(
        _assemble(sname or (in_sname and in_sname + b"\xff"), file or (in_file and in_file + b"\xff"), body + last), dropped
    )


def _fill(ahead: list[tuple[int, list[bytes]]], rooms: tuple[int, int, int]) -> tuple[list[bytes], tuple[int, ...]]:
    """First fit; but the pieces of one long option never go back to an earlier area."""
    areas = [b"", b"", b""]
    dropped: list[int] = []
    for code, pieces in ahead:
        trial, at = list(areas), 0
        for piece in pieces:
            while at < len(rooms) and len(trial[at]) + len(piece) > rooms[at]:
                at += 1
            if at == len(rooms):
                dropped.append(code)
                break
            trial[at] += piece
        else:
            areas = trial
    return areas, tuple(dropped)


def _assemble(sname: bytes, file: bytes, body: bytes) -> bytes:
    tail = sname.ljust(64, b"\0") + file.ljust(128, b"\0") + MAGIC + body + b"\xff"
    return tail.ljust(MIN_MESSAGE - SNAME_AT, b"\0")


def encode(packet: DhcpPacket, *, limit: int = ETHERNET_LIMIT) -> bytes:
    """A whole message, as clients and tests make them; the server puts its replies together from parts made ahead.

    Option 52 is not taken from the packet: it is the encoder's own.

    :raises WireError: the options have no room in `limit` octets.
    """
    options = {code: value for code, value in packet.options.items() if code != OVERLOAD}
    tail = encode_tail(
        [(code, value) for code, value in options.items() if code != RELAY_INFORMATION],
        file=packet.file.rstrip(b"\0"),
        sname=packet.sname.rstrip(b"\0"),
        limit=limit,
        relay_information=options.get(RELAY_INFORMATION),
    )
    if tail.dropped:
        raise WireError(f"option {tail.dropped[0]} has no room in a message of {limit} octets")
    return FIXED.pack(*packet[:14])[:SNAME_AT] + tail.octets
