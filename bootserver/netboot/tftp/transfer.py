"""One transfer as a state machine: datagrams and the time go in, packets to send come out. No sockets, no clock.

RFC 1350 with RFC 7440's windows; lock-step is a window of one block. What it holds to:

* An ACK makes us send once. One that was seen before makes us send nothing, so that no delayed packet doubles the rest of
  the transfer (the Sorcerer's Apprentice, RFC 1123 section 4.2.3.1); what was lost is repeated by time.
* The time is measured (RFC 6298: smoothed round trip, exponential back-off; Karn: never on a repeated packet), with a
  floor far below RFC 6298's second: a lost packet in a machine room costs 50 ms. A client's ``timeout`` option overrides it.
* Block numbers wrap from 65535 to 0.
* Until its first ACK a peer may be somebody whose address was forged: it gets :attr:`Patience.unanswered_sends` packets.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from bootserver.netboot.tftp.packet import (
    ACKS,
    HEADER_SIZE,
    Ack,
    Agreed,
    Error,
    ErrorCode,
    PacketError,
    decode,
)
from bootserver.netboot.tftp.runs import Runs, blocks_in_run
from bootserver.netboot.tftp.source import Source

_NOTHING: Final = b""


class Outcome(enum.Enum):
    """How a request ended."""

    SENT = "sent"  # the last byte was acknowledged
    FAILED = "failed"  # the client fell silent, the file changed, or the server stopped
    ABORTED = "aborted"  # the client said so
    PROBED = "probed"  # the client only wanted to know the size
    MISSING = "missing"  # no such file
    DENIED = "denied"  # not for this client, or not now
    REFUSED = "refused"  # no request that we serve: malformed, a write, one too many


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client may take. Seconds.

    :ivar first_timeout: before the round trip is known.
    :ivar unanswered_sends: packets that go out to a client that has not sent an ACK yet.
    :ivar unanswered: how long such a client occupies a place.
    :ivar silence: after how much of it a transfer is given up (a switch port that goes through spanning tree needs 30).
    """

    first_timeout: float = 0.5
    min_timeout: float = 0.05
    max_timeout: float = 4.0
    unanswered_sends: int = 3
    unanswered: float = 5.0
    silence: float = 35.0


class Transfer:
    """The sending side of one read request.

    :ivar wire: what was sent last and is not acknowledged: one packet or, with a window, ``count`` packets of ``segment``
        bytes each (the last may be shorter), one behind the other.
    :ivar awaited: the ACK of all of ``wire``. A server compares a datagram with it and calls :meth:`proceed`; any other
        datagram goes to :meth:`receive`.
    :ivar wait: :meth:`on_time` has something to do when this many seconds have passed since ``sent_at``.
    :ivar outcome: None while the transfer goes on.
    """

    __slots__ = (
        "_acks",
        "_agreed",
        "_answered",
        "_at",
        "_begun_at",
        "_blksize",
        "_blocks",
        "_clear",
        "_final",
        "_packets",
        "_patience",
        "_rtt",
        "_rtt_variation",
        "_run_index",
        "_runs",
        "_source",
        "_stalled_at",
        "_timeout",
        "_tries",
        "_unmeasured",
        "_windowsize",
        "awaited",
        "count",
        "outcome",
        "retransmissions",
        "segment",
        "sent_at",
        "wait",
        "why",
        "wire",
    )

    def __init__(self, source: Source, agreed: Agreed, patience: Patience, now: float, runs: Runs | None = None) -> None:
        """:param runs: those that are shared between transfers; None: of its own."""
        self._source = source
        self._agreed = agreed
        self._patience = patience
        self._blksize = agreed.blksize
        self._windowsize = agreed.windowsize
        self.segment = agreed.blksize + HEADER_SIZE
        self.outcome: Outcome | None = None
        self.why = ""
        self.retransmissions = 0

        # The run that is being sent from, and which of its packets is next.
        self._runs = runs or Runs()
        self._blocks = blocks_in_run(agreed.blksize)
        self._run_index = -1
        self._packets: tuple[bytes, ...] = ()
        self._acks: tuple[bytes, ...] = ()
        self._at = 0

        self._final = False  # it was the last one
        self._answered = False  # some ACK came, so the client is where it says it is
        # Up to which packet of the run an awaited ACK means "the next block, please" and nothing else; -1: not now.
        self._clear = -1
        self._unmeasured = True  # the last round trip told nothing: something was repeated

        self._begun_at = self.sent_at = now
        self._stalled_at = now
        self._tries = 0  # repetitions of what is on the wire
        self._rtt = self._rtt_variation = 0.0
        self._timeout: float = patience.first_timeout if agreed.timeout is None else agreed.timeout
        self.wait = min(self._timeout, patience.unanswered)

        self.wire = self.awaited = _NOTHING
        self.count = 1
        if agreed.oack:
            self.wire = agreed.oack
            self.awaited = ACKS[0]
        else:
            self._send_blocks()

    @property
    def acknowledged_bytes(self) -> int:
        """How much of the source the client has."""
        sent = self._next() - self.count
        if self.outcome is Outcome.SENT:
            return sent * self._blksize + len(self.wire) - self.count * HEADER_SIZE
        return max(sent, 0) * self._blksize

    def proceed(self, now: float) -> bytes:
        """The client has all that was sent.

        :returns: what to send now; nothing when that was the last block.
        """
        at = self._at
        if at < self._clear:  # the way that nearly every packet of every boot takes
            self._at = at + 1
            self.sent_at = now
            self.awaited = self._acks[at]
            wire = self.wire = self._packets[at]
            return wire
        self._answered = True
        if self._final:
            self._end(Outcome.SENT, "")
            return _NOTHING
        self._measure(now)
        self.sent_at = now
        self._send_blocks()
        return self.wire

    def receive(self, datagram: bytes, now: float) -> bytes:
        """Any datagram from the client.

        :returns: what to send now, or nothing.
        """
        if self.outcome is not None:
            return _NOTHING
        if datagram == self.awaited:
            return self.proceed(now)
        try:
            packet = decode(datagram)
        except PacketError:
            return _NOTHING  # an answer to noise would be noise; what is missing is repeated by time
        if isinstance(packet, Ack):
            if packet.block == self._next() & 0xFFFF:
                return self.proceed(now)  # with padding behind it
            return self._go_back(packet.block, now)
        if isinstance(packet, Error):
            # OVMF asks with tsize, gets our OACK, sends ERROR "User aborted the transfer" and asks again without it: that is
            # how it learns the size. It is no failure and must not be logged as one.
            probed = not self._answered and "tsize" in self._agreed.options
            self._end(Outcome.PROBED if probed else Outcome.ABORTED, f"client sent error {packet.code}: {packet.text}")
        return _NOTHING

    def repeated(self, now: float) -> bytes:
        """The client has sent its request again: our first packet was lost, or is late.

        :returns: that packet, or nothing if the client had it already.
        """
        if self._answered:
            return _NOTHING
        self._tries = max(self._tries, 1)
        self._clear = -1
        self.sent_at = now
        self.retransmissions += 1
        return self.wire

    def unreachable(self) -> None:
        """The client's host says that nobody listens at its port (ICMP)."""
        # Once the client has answered, believe it only the second time: some firmware opens its port anew for each packet.
        if not self._answered or self._tries:
            self._end(Outcome.FAILED, "nobody listens at the client's port any more")

    def on_time(self, now: float) -> bytes:
        """Time has passed.

        :returns: what to send again, or nothing.
        """
        if self.outcome is not None or now - self.sent_at < self.wait:
            return _NOTHING
        patience = self._patience
        if not self._answered:
            if self._tries + 1 >= patience.unanswered_sends or now - self._begun_at >= patience.unanswered:
                self._end(Outcome.FAILED, "no answer to the first packet")
                return _NOTHING
        elif self._tries and now - self._stalled_at >= max(patience.silence, 3 * (self._agreed.timeout or 0)):
            self._end(Outcome.FAILED, f"no answer for {now - self._stalled_at:.0f} seconds")
            return _NOTHING
        if not self._tries:
            self._stalled_at = self.sent_at
        self._tries += 1
        self.retransmissions += self.count
        self._clear = -1
        self.sent_at = now
        if self._agreed.timeout is None:
            self._timeout = min(self._timeout * 2, patience.max_timeout)
        self.wait = self._timeout
        if not self._answered:
            self.wait = min(self.wait, max(0.0, self._begun_at + patience.unanswered - now))
        return self.wire

    def stop(self, why: str) -> bytes:
        """End it from our side.

        :returns: the ERROR that tells the client.
        """
        self._end(Outcome.FAILED, why)
        return Error(ErrorCode.UNDEFINED, why).encode()

    def is_silent(self, now: float, seconds: float) -> bool:
        """Whether the client has let our packets unanswered for so long."""
        return self._tries > 0 and now - self._stalled_at >= seconds

    @property
    def is_answered(self) -> bool:
        """Whether any ACK has come."""
        return self._answered

    def _measure(self, now: float) -> None:
        """Learn from an awaited ACK how long the way takes (RFC 6298 section 2); once a chunk, and once a window."""
        self._unmeasured = self._tries > 0
        if self._unmeasured:
            # Karn: it may answer any of the packets that were sent. The back-off lasts until the next one, which tells.
            self._tries = 0
        elif self._agreed.timeout is None:
            rtt = now - self.sent_at
            if self._rtt:
                self._rtt_variation += (abs(self._rtt - rtt) - self._rtt_variation) / 4
                self._rtt += (rtt - self._rtt) / 8
            else:
                self._rtt, self._rtt_variation = rtt, rtt / 2
            patience = self._patience
            wanted = self._rtt + 4 * self._rtt_variation
            self._timeout = min(max(wanted, patience.min_timeout), patience.max_timeout)
        self.wait = self._timeout

    def _go_back(self, block: int, now: float) -> bytes:
        """An ACK inside the window: what came behind that block was lost (RFC 7440 section 4), go on from there."""
        first = self._next() - self.count  # blocks that the client had before this window
        got = (block - first) & 0xFFFF
        if self.count == 1 or not 0 < got < self.count:
            return _NOTHING
        self._answered = True
        self.retransmissions += self.count - got
        self._run_index, self._at = divmod(first + got, self._blocks)
        self._packets = self._acks = ()  # found again when they are needed
        self._final = False
        self._tries = 0
        self._unmeasured = True
        self.wait = self._timeout
        self.sent_at = now
        self._send_blocks()
        return self.wire

    def _next(self) -> int:
        """How many blocks were sent in all: also the next one's index, and the last one's number but for the wrap."""
        return max(self._run_index, 0) * self._blocks + self._at

    def _send_blocks(self) -> None:
        """Put the next window on the wire."""
        packets: list[bytes] = []
        try:
            while len(packets) < self._windowsize:
                if self._at >= len(self._packets):
                    self._go_on()
                end = self._at + self._windowsize - len(packets)
                packets += self._packets[self._at : end]
                self._at = min(end, len(self._packets))
                if len(packets[-1]) < self.segment:
                    self._final = True
                    break
        except OSError as error:
            self.count = 1
            self.wire = self.stop(error.strerror or str(error))
            return
        self.count = len(packets)
        self.awaited = self._acks[self._at - 1]
        if self._final or self._windowsize > 1 or self._unmeasured:
            self._clear = -1
        else:
            ends_here = len(self._packets[-1]) < self.segment
            self._clear = len(self._packets) - ends_here
        self.wire = packets[0] if len(packets) == 1 else b"".join(packets)

    def _go_on(self) -> None:
        """To the next run; or, after going back, to the one that is at hand by its index alone."""
        if self._packets or self._run_index < 0:
            self._run_index += 1
            self._at = 0
        run = self._runs.get(self._source, self._blksize, self._run_index)
        self._packets, self._acks = run.packets, run.acks

    def _end(self, outcome: Outcome, why: str) -> None:
        self.outcome, self.why = outcome, why
