"""What was on the wire: tcpdump, and a small decoder, for the eyes of who reads a failed test."""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab.namespace import BRIDGE, Namespace

# Handshakes, not payload: all of DHCP, and what is small of TFTP and HTTP.
_FILTER = "port 67 or port 4011 or ((udp or tcp) and less 800)"

_DHCP_TYPES = {1: "DISCOVER", 2: "OFFER", 3: "REQUEST", 4: "DECLINE", 5: "ACK", 6: "NAK", 7: "RELEASE", 8: "INFORM"}
_DHCP_PORTS = {67, 68, 4011}
_DHCP_COOKIE = b"\x63\x82\x53\x63"
_TFTP_OPCODES = {1: "RRQ", 2: "WRQ", 5: "ERROR", 6: "OACK"}
_HTTP_REQUEST = re.compile(rb"(GET|HEAD|POST|PUT) [^\r]*|HTTP/1\.[01] [^\r]*")


class Capture:
    """tcpdump on the bridge, until :meth:`stop`."""

    def __init__(self, namespace: Namespace, name: str) -> None:
        self.path = namespace.directory / f"{name}.pcap"
        command = ["tcpdump", "-i", BRIDGE, "-n", "-U", "-s", "0", "-Z", "root", "-w", str(self.path), _FILTER]
        self._process = namespace.start(f"tcpdump-{name}", command)
        self._process.wait_for("listening on", 30)

    def stop(self) -> None:
        if self._process.alive:
            time.sleep(0.3)  # for what the kernel still holds
        self._process.stop()


@dataclass(frozen=True, slots=True)
class Talk:
    """One thing that was said.

    :ivar at: seconds from the first packet.
    :ivar mac: who sent it.
    """

    at: float
    mac: str
    protocol: str
    text: str

    def __str__(self) -> str:
        return f"{self.at:8.2f} {self.mac} {self.protocol:4} {self.text}"


def decode(capture: Path) -> list[Talk]:
    """DHCP messages, TFTP requests, answers and errors, HTTP requests and statuses, in order."""
    talks: list[Talk] = []
    first: float | None = None
    for at, frame in _frames(capture.read_bytes()):
        first = at if first is None else first
        try:
            told = _decode_frame(frame)
        except (IndexError, struct.error):
            told = ("?", f"{len(frame)} bytes that make no sense")
        if told is not None:
            talks.append(Talk(at - first, frame[6:12].hex(":"), *told))
    return talks


def tell(capture: Path) -> str:
    """:func:`decode`, a line for each."""
    return "\n".join(str(talk) for talk in decode(capture))


def _frames(pcap: bytes) -> Iterator[tuple[float, bytes]]:
    order = "<" if pcap[:4] == b"\xd4\xc3\xb2\xa1" else ">"
    position = 24
    while position + 16 <= len(pcap):
        seconds, microseconds, length, _ = struct.unpack_from(f"{order}IIII", pcap, position)
        position += 16
        if position + length > len(pcap):
            return  # tcpdump was ended in the middle of it
        yield seconds + microseconds / 1e6, pcap[position : position + length]
        position += length


def _decode_frame(frame: bytes) -> tuple[str, str] | None:
    if frame[12:14] != b"\x08\x00":
        return None  # not IPv4
    packet = frame[14:]
    if struct.unpack_from(">H", packet, 6)[0] & 0x1FFF:
        return None  # a later fragment
    payload = packet[(packet[0] & 15) * 4 : struct.unpack_from(">H", packet, 2)[0]]
    match packet[9]:
        case socket.IPPROTO_TCP:
            request = _HTTP_REQUEST.match(payload[(payload[12] >> 4) * 4 :])
            return ("HTTP", request[0].decode("latin1")) if request else None
        case socket.IPPROTO_UDP:
            ports = set(struct.unpack_from(">HH", payload))
            return _decode_dhcp(payload[8:]) if ports & _DHCP_PORTS else _decode_tftp(payload[8:])
        case _:
            return None


def _decode_tftp(message: bytes) -> tuple[str, str] | None:
    if len(message) < 4 or message[0] or message[1] not in _TFTP_OPCODES:
        return None  # DATA and ACK are many and say nothing
    opcode = _TFTP_OPCODES[message[1]]
    if opcode == "ERROR":
        return "TFTP", f"ERROR {message[3]} {message[4:].rstrip(bytes(1)).decode('latin1')}"
    return "TFTP", f"{opcode} {' '.join(part.decode('latin1') for part in message[2:].split(bytes(1)) if part)}"


def _decode_dhcp(message: bytes) -> tuple[str, str] | None:
    if message[236:240] != _DHCP_COOKIE:
        return None
    options = dict(_options(message[240:]))
    kind = _DHCP_TYPES.get(options.get(53, bytes(1))[0], "BOOTP")
    facts = {"of": message[28:34].hex(":"), "ip": _address(message[16:20]), "next": _address(message[20:24])}
    facts["file"] = _string(message[108:236])
    facts["name"], facts["class"], facts["bootfile"] = (_string(options.get(code, b"")) for code in (12, 60, 67))
    facts["arch"], facts["uuid"] = (options.get(code, b"").hex() for code in (93, 97))
    facts["user-class"] = _string(options.get(77, b""))
    facts["message"] = _string(options.get(56, b""))
    return "DHCP", " ".join([kind, *(f"{name}={value}" for name, value in facts.items() if value)])


def _options(blob: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(blob) and blob[position] != 255:
        if blob[position] == 0:  # padding has no length
            position += 1
            continue
        length = blob[position + 1]
        yield blob[position], blob[position + 2 : position + 2 + length]
        position += 2 + length


def _string(field: bytes) -> str:
    return field.split(bytes(1))[0].decode("latin1")


def _address(field: bytes) -> str:
    return socket.inet_ntoa(field) if any(field) else ""
