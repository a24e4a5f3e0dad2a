"""Who has an address: ARP (RFC 826) and address conflict detection (RFC 5227), without waiting for the answer.

The server asks and goes on; who asked is called when somebody answered, or when nobody did in time. Bounded: what is one
question too many is not asked, and is answered as if nobody had.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bootserver.netboot.dhcp.filters import ETHERNET_ARP

CONFLICT: Final = (0.0, 0.12, 0.12, 0.16)
"""Seconds to each question, and to the end: three within 0.4 s. RFC 5227 section 2.1.1 wants seconds between them, for hosts
that move; a machine that boots waits for this answer, and on a provisioning network whoever has the address answers at once."""
OWNER: Final = (0.0, 0.1, 0.3, 0.6, 1.0, 1.0)
"""A machine that was just given an address takes a moment to answer for it."""
MAX_QUESTIONS: Final = 512
NOBODY: Final = bytes(4)
"""The sender's address of a probe: whoever hears it must not put it into its tables (RFC 5227 section 1.1)."""

_BURST: Final = 64
_EVERYBODY: Final = b"\xff" * 6
_ARP: Final = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_REQUEST, _REPLY = 1, 2

Done = Callable[[bytes | None], None]


def request(own_mac: bytes, sender: bytes, target: bytes) -> bytes:
    """The frame that asks who has `target`."""
    return _ARP.pack(_EVERYBODY, own_mac, ETHERNET_ARP, 1, 0x0800, 6, 4, _REQUEST, own_mac, sender, bytes(6), target)


def answer(frame: bytes) -> tuple[bytes, bytes] | None:
    """:returns: an address and the MAC that says to have it; None where the frame is no ARP reply."""
    if len(frame) < _ARP.size:
        return None
    _, _, kind, hardware, protocol, hardware_length, length, operation, mac, address, _, _ = _ARP.unpack_from(frame)
    if (kind, hardware, protocol, hardware_length, length, operation) != (ETHERNET_ARP, 1, 0x0800, 6, 4, _REPLY):
        return None
    return address, mac


@dataclass(slots=True)
class _Question:
    sender: bytes
    pauses: Sequence[float]
    asked: int
    due: float
    done: list[Done]


class Prober:
    """Asks on one device.

    :param sends: a packet socket to send frames by.
    :param receives: one that gets ARP replies (:data:`bootserver.netboot.dhcp.filters.ARP_REPLIES`).
    :param mac: the device's own.
    """

    def __init__(self, sends: socket.socket, receives: socket.socket, mac: bytes) -> None:
        self._sends = sends
        self._receives = receives
        self._mac = mac
        self._questions: dict[bytes, _Question] = {}

    @property
    def busy(self) -> int:
        """Questions that are open."""
        return len(self._questions)

    def ask(self, address: bytes, done: Done, now: float, *, pauses: Sequence[float], sender: bytes = NOBODY) -> None:
        """Ask who has `address`.

        :param done: called with the MAC of the first who answers, or with None when all pauses are over.
        :param now: a monotonic clock.
        :param pauses: seconds to each question, the last to the end.
        :param sender: our address on that network, where the answer goes; nothing in a probe for a conflict.
        """
        question = self._questions.get(address)
        if question is not None:
            question.done.append(done)
            self._send(address, question.sender)  # who asks now has news
            return
        if len(self._questions) >= MAX_QUESTIONS:
            done(None)
            return
        self._questions[address] = question = _Question(sender, pauses, 0, now + pauses[0], [done])
        self._advance(address, question, now)

    def nudge(self, address: bytes) -> None:
        """Ask an open question once more, now."""
        question = self._questions.get(address)
        if question is not None:
            self._send(address, question.sender)

    def receive(self) -> None:
        """Read what has come in."""
        for _ in range(_BURST):
            try:
                frame = self._receives.recv(128)
            except OSError:  # nothing more; or the device went away, and questions end by themselves
                return
            told = answer(frame)
            if told is not None and (question := self._questions.pop(told[0], None)) is not None:
                for done in question.done:
                    done(told[1])

    def tick(self, now: float) -> None:
        """Ask again what is due, and give up what is over; some times a second."""
        if self._questions:
            for address, question in list(self._questions.items()):
                self._advance(address, question, now)

    def _advance(self, address: bytes, question: _Question, now: float) -> None:
        if now < question.due:
            return
        if question.asked == len(question.pauses) - 1:
            del self._questions[address]
            for done in question.done:
                done(None)
            return
        self._send(address, question.sender)
        question.asked += 1
        question.due = now + question.pauses[question.asked]

    def _send(self, address: bytes, sender: bytes) -> None:
        # Lost as any frame may be: the next question follows.
        with contextlib.suppress(OSError):
            self._sends.send(request(self._mac, sender, address))
