"""One transfer (bootserver/netboot/tftp/transfer.py), driven without sockets and without a clock."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bootserver.netboot.tftp.packet import Ack, Agreed, Data, Error, OptionsAck, decode, netascii
from bootserver.netboot.tftp.source import Netascii, Source, Text
from bootserver.netboot.tftp.transfer import Outcome, Patience, Transfer

PATIENCE = Patience()


class Chunks:
    """A file that is read in small chunks, so that blocks lie across them."""

    def __init__(self, body: bytes, size: int) -> None:
        self.body, self.size = body, size

    def chunk(self, offset: int) -> tuple[int, bytes]:
        begin = offset - offset % self.size
        return begin, self.body[begin : begin + self.size] if offset < len(self.body) else b""


class Shrinking(Chunks):
    """A file that somebody truncates after its first chunk."""

    def chunk(self, offset: int) -> tuple[int, bytes]:
        if offset >= self.size:
            raise OSError("the file changed while it was being read")
        return super().chunk(offset)


def split(transfer: Transfer, wire: bytes) -> list[bytes]:
    """The packets that a server would send."""
    if not wire:
        return []
    if transfer.count == 1:
        return [wire]
    return [wire[begin : begin + transfer.segment] for begin in range(0, len(wire), transfer.segment)]


def begin(body: bytes | Source, agreed: Agreed | None = None, now: float = 0.0) -> Transfer:
    return Transfer(Text(body) if isinstance(body, bytes) else body, agreed or Agreed(), PATIENCE, now)


def fetch(transfer: Transfer) -> bytes:
    """A client to whom nothing happens."""
    received = bytearray()
    packets = split(transfer, transfer.wire)
    expected = 1
    now = 0.0
    while transfer.outcome is None:
        answer = 0
        for raw in packets:
            packet = decode(raw)
            if isinstance(packet, Data):
                assert packet.block == expected & 0xFFFF
                received += packet.payload
                answer = packet.block
                expected += 1
        now += 0.001
        packets = split(transfer, transfer.receive(Ack(answer).encode(), now))
    return bytes(received)


def ack(block: int) -> bytes:
    return Ack(block).encode()


def block_of(wire: bytes) -> int:
    packet = decode(wire)
    assert isinstance(packet, Data)
    return packet.block


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 511, 512, 513, 1024, 5000])
@pytest.mark.parametrize("agreed", [Agreed(), Agreed(8), Agreed(8, 4, None, {"windowsize": "4"})], ids=["512", "8", "8x4"])
def test_a_file_of_any_size_arrives_whole(size, agreed):
    body = os.urandom(size)
    transfer = begin(Chunks(body, 50), agreed)
    assert fetch(transfer) == body
    assert (transfer.outcome, transfer.acknowledged_bytes, transfer.retransmissions) == (Outcome.SENT, size, 0)


@pytest.mark.parametrize("agreed", [Agreed(blksize=8), Agreed(8, 16, None, {"windowsize": "16"})], ids=["lock-step", "window"])
def test_after_block_65535_comes_block_0(agreed):
    body = os.urandom(65536 * 8 + 100)
    assert fetch(begin(body, agreed)) == body


def test_a_file_in_netascii_is_encoded_as_it_is_read():
    body = b"one\ntwo\r\nthree\r" * 300
    assert fetch(begin(Netascii(Chunks(body, 64)), Agreed(8, 4, None, {"windowsize": "4"}))) == netascii(body)


def test_options_are_acknowledged_before_the_first_block():
    transfer = begin(b"kernel", Agreed(options={"blksize": "512"}))
    assert decode(transfer.wire) == OptionsAck({"blksize": "512"})
    assert decode(transfer.receive(ack(0), 0.01)) == Data(1, b"kernel")


def test_an_ack_that_was_seen_before_sends_nothing():
    transfer = begin(bytes(5000))
    assert block_of(transfer.receive(ack(1), 0.01)) == 2
    assert transfer.receive(ack(1), 0.02) == b""
    assert transfer.receive(ack(0), 0.02) == b""
    assert transfer.receive(ack(9), 0.02) == b""
    assert block_of(transfer.receive(ack(2), 0.03)) == 3


def test_an_ack_with_padding_behind_it_is_one():
    transfer = begin(bytes(5000))
    assert block_of(transfer.receive(ack(1) + bytes(42), 0.01)) == 2


def test_an_ack_inside_the_window_goes_on_behind_that_block():
    transfer = begin(bytes(range(256)) * 10, Agreed(8, 8, None, {"windowsize": "8"}))
    window = split(transfer, transfer.receive(ack(0), 0.01))
    assert [block_of(packet) for packet in window] == [1, 2, 3, 4, 5, 6, 7, 8]
    window = split(transfer, transfer.receive(ack(3), 0.02))
    assert [block_of(packet) for packet in window] == [4, 5, 6, 7, 8, 9, 10, 11]
    assert transfer.receive(ack(3), 0.03) == b""  # the same again
    assert transfer.receive(ack(2), 0.03) == b""  # a late one
    assert window[0].endswith(bytes(range(24, 32)))


def test_a_lost_packet_is_repeated_after_the_measured_round_trip_and_not_before():
    transfer = begin(bytes(5000))
    now = 0.0
    for block in range(1, 4):
        now += 0.004
        transfer.receive(ack(block), now)
    assert transfer.on_time(now + PATIENCE.min_timeout * 0.9) == b""
    assert block_of(transfer.on_time(now + PATIENCE.min_timeout * 1.1)) == 4


def test_a_slow_client_is_waited_for():
    transfer = begin(bytes(50_000))
    now = 0.0
    for block in range(1, 60):
        now += 0.3
        transfer.receive(ack(block), now)
    assert transfer.on_time(now + 0.29) == b""
    assert transfer.retransmissions == 0


def test_each_repetition_waits_twice_as_long_and_a_fresh_round_trip_ends_that():
    transfer = begin(bytes(5000))
    transfer.receive(ack(1), 0.004)
    waits = []
    now = 0.004
    for _ in range(4):
        waits.append(transfer.wait)
        now += transfer.wait * 1.0001  # a sum of floats may fall short
        assert block_of(transfer.on_time(now)) == 2
    assert waits == pytest.approx([0.05, 0.1, 0.2, 0.4])
    transfer.receive(ack(2), now + 0.001)  # of which of the five? (Karn)
    assert transfer.wait >= 0.4
    transfer.receive(ack(3), now + 0.002)
    assert transfer.wait == PATIENCE.min_timeout


def test_the_clients_own_time_out_is_respected():
    transfer = begin(bytes(5000), Agreed(timeout=3, options={"timeout": "3"}))
    transfer.receive(ack(0), 0.01)
    assert transfer.on_time(2.9) == b""
    assert block_of(transfer.on_time(3.1)) == 1
    assert transfer.on_time(6.0) == b""
    assert block_of(transfer.on_time(6.2)) == 1


@pytest.mark.parametrize("agreed", [Agreed(), Agreed(options={"tsize": "5000"}), Agreed(timeout=255, options={"timeout": "255"})])
def test_a_client_that_never_answers_costs_three_packets_and_a_few_seconds(agreed):
    transfer = begin(bytes(5000), agreed)
    packets = 1
    now = 0.0
    while transfer.outcome is None:
        now += 0.02
        packets += bool(transfer.on_time(now))
    assert packets <= PATIENCE.unanswered_sends
    assert now < PATIENCE.unanswered + 1
    assert transfer.outcome is Outcome.FAILED


def test_a_client_that_falls_silent_is_given_up_after_a_bounded_number_of_packets():
    transfer = begin(bytes(5000))
    transfer.receive(ack(1), 0.004)
    packets = 0
    now = 0.0
    while transfer.outcome is None:
        now += 0.02
        packets += bool(transfer.on_time(now))
    assert packets < 20
    assert PATIENCE.silence <= now < PATIENCE.silence + 3 * PATIENCE.max_timeout
    assert transfer.acknowledged_bytes == 512


def test_a_repeated_request_repeats_the_first_packet_only():
    transfer = begin(bytes(5000))
    assert block_of(transfer.repeated(0.1)) == 1
    transfer.receive(ack(1), 0.2)
    assert transfer.repeated(0.3) == b""


def test_ovmf_learning_the_size_is_a_probe_and_no_failure():
    transfer = begin(bytes(5000), Agreed(options={"tsize": "5000", "blksize": "1468"}))
    assert transfer.receive(b"\0\5\0\x08User aborted the transfer\0", 0.01) == b""
    assert transfer.outcome is Outcome.PROBED


def test_an_error_later_is_the_clients_abort():
    transfer = begin(bytes(5000), Agreed(options={"tsize": "5000"}))
    transfer.receive(ack(0), 0.01)
    transfer.receive(Error(3, "disk full").encode(), 0.02)
    assert transfer.outcome is Outcome.ABORTED
    assert "disk full" in transfer.why
    assert transfer.receive(ack(1), 0.03) == b""


def test_a_closed_port_ends_it_at_once_before_the_first_answer_and_at_the_second_word_later():
    silent = begin(bytes(5000))
    silent.unreachable()
    assert silent.outcome is Outcome.FAILED
    transfer = begin(bytes(5000))
    transfer.receive(ack(1), 0.01)
    transfer.unreachable()
    assert transfer.outcome is None
    transfer.on_time(1.0)
    transfer.unreachable()
    assert transfer.outcome is Outcome.FAILED


@pytest.mark.parametrize("windowsize", [1, 4])
def test_a_file_that_changes_half_way_ends_in_an_error_that_the_client_sees(windowsize):
    transfer = begin(Shrinking(bytes(5000), 1500), Agreed(100, windowsize, None, {"blksize": "100"}))
    wire = b""
    block = 0
    while transfer.outcome is None:
        wire = transfer.receive(ack(block), 0.01)
        block += windowsize
    assert transfer.outcome is Outcome.FAILED
    packet = decode(wire)
    assert isinstance(packet, Error)
    assert "changed" in packet.text
    assert transfer.acknowledged_bytes <= 1500


class LossyTransfer(RuleBasedStateMachine):
    """A client that keeps to RFC 1350 and 7440, and a network that keeps to nothing: it loses, doubles and reorders."""

    @initialize(
        size=st.integers(0, 400),
        blksize=st.sampled_from([8, 13, 64]),
        windowsize=st.sampled_from([1, 2, 4, 7]),
        chunk=st.sampled_from([5, 32, 1000]),
        oack=st.booleans(),
    )
    def start(self, size: int, blksize: int, windowsize: int, chunk: int, oack: bool) -> None:
        self.now = 0.0
        self.blksize, self.windowsize = blksize, windowsize
        self.body = os.urandom(size)
        options = {"blksize": str(blksize)} if oack or windowsize > 1 else {}
        self.transfer = begin(Chunks(self.body, chunk), Agreed(blksize, windowsize, None, options))
        self.to_client: list[bytes] = []
        self.to_server: list[bytes] = []
        self.received = bytearray()
        self.expected = 1
        self.in_window = 0
        self.done = False
        self.sends: Counter[int] = Counter()
        self.repetitions = 0  # times at which the clock, or a gap, made the server send again
        self.send(self.transfer.wire)

    def send(self, wire: bytes) -> None:
        packets = split(self.transfer, wire)
        for raw in packets:
            packet = decode(raw)
            self.sends[packet.block if isinstance(packet, Data) else 0] += 1
        self.to_client += packets

    def client(self, raw: bytes) -> None:
        packet = decode(raw)
        if isinstance(packet, OptionsAck):
            if self.expected == 1:
                self.to_server.append(ack(0))
            return
        assert isinstance(packet, Data)
        if packet.block != self.expected:
            # RFC 7440 section 4: out of order means the last good block is acknowledged; a repeated one likewise.
            self.to_server.append(ack(self.expected - 1))
            self.in_window = 0
            return
        self.received += packet.payload
        self.expected += 1
        self.in_window += 1
        self.done = self.done or len(packet.payload) < self.blksize
        if self.in_window == self.windowsize or self.done:
            self.to_server.append(ack(packet.block))
            self.in_window = 0

    def server(self, raw: bytes) -> None:
        before = self.transfer.retransmissions
        self.now += 0.0001
        self.send(self.transfer.receive(raw, self.now))
        self.repetitions += self.transfer.retransmissions > before

    @precondition(lambda self: self.to_client)
    @rule(data=st.data(), copy=st.booleans())
    def a_packet_reaches_the_client(self, data: st.DataObject, copy: bool) -> None:
        index = data.draw(st.integers(0, min(3, len(self.to_client) - 1)))
        self.client(self.to_client[index] if copy else self.to_client.pop(index))

    @precondition(lambda self: self.to_server)
    @rule(data=st.data(), copy=st.booleans())
    def a_packet_reaches_the_server(self, data: st.DataObject, copy: bool) -> None:
        index = data.draw(st.integers(0, min(3, len(self.to_server) - 1)))
        self.server(self.to_server[index] if copy else self.to_server.pop(index))

    @precondition(lambda self: self.to_client)
    @rule()
    def a_packet_to_the_client_is_lost(self) -> None:
        self.to_client.pop(0)

    @precondition(lambda self: self.to_server)
    @rule()
    def a_packet_to_the_server_is_lost(self) -> None:
        self.to_server.pop(0)

    @rule()
    def time_passes(self) -> None:
        self.now += self.transfer.wait + 0.001
        wire = self.transfer.on_time(self.now)
        self.repetitions += bool(wire)
        self.send(wire)

    @rule(noise=st.binary(max_size=40).filter(lambda raw: raw[:2] not in (b"\0\4", b"\0\5")))
    def noise_reaches_the_server(self, noise: bytes) -> None:
        self.server(noise)

    @invariant()
    def what_arrived_is_the_file(self) -> None:
        assert self.body.startswith(bytes(self.received))
        assert not self.done or self.received == self.body

    @invariant()
    def nothing_is_sent_without_a_reason(self) -> None:
        """A block goes out once, and once more for each time-out or gap: never for a doubled ACK."""
        assert max(self.sends.values(), default=0) <= 1 + self.repetitions

    @invariant()
    def sent_means_that_the_client_has_it(self) -> None:
        if self.transfer.outcome is Outcome.SENT:
            assert self.received == self.body
            assert self.transfer.acknowledged_bytes == len(self.body)

    def teardown(self) -> None:
        """When the network mends itself, every transfer that was not given up is finished."""
        while self.transfer.outcome is None:
            for raw in self.to_client:
                self.client(raw)
            self.to_client = []
            for raw in self.to_server:
                self.server(raw)
            self.to_server = []
            if not self.to_client:
                self.time_passes()
        assert self.transfer.outcome is Outcome.SENT or self.now > PATIENCE.first_timeout


LossyTransfer.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestAnyNetwork = LossyTransfer.TestCase
