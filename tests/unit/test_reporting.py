"""Reports on their way to the recorder: never mixed, never waited for, and counted where they are lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.cluster.events import Event, Kind
from bootserver.cluster.reporting import BURST, LINE, PipeReporter, Registration, decode, encode, make_pipe
from tests.cluster import mac, machine, uuid


@pytest.fixture
def pipe():  # type: ignore[no-untyped-def]
    reading, writing = make_pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def event(number: int = 0, **detail: str | int) -> Event:
    return Event(Kind.OFFERED, 1.5, "compute-0-0", mac(1), {"number": number, **detail})


def drain(reading: int) -> bytes:
    """All that waits in a pipe."""
    read = b""
    while True:
        try:
            chunk = os.read(reading, 1 << 20)
        except BlockingIOError:
            return read
        if not chunk:
            return read
        read += chunk


details = st.dictionaries(
    st.text(max_size=10), st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=50)), max_size=5
)


@given(
    st.sampled_from(Kind),
    st.floats(0, 2e9),
    st.none() | st.text(max_size=20),
    st.none() | st.binary(min_size=6, max_size=6),
    details,
)
def test_an_event_is_read_as_it_was_reported(
    kind: Kind, at: float, node: str | None, octets: bytes | None, detail: object
) -> None:
    reported = Event(kind, at, node, None if octets is None else type(mac(1))(octets), detail)  # type: ignore[arg-type]
    line = encode(reported)
    assert line.count(b"\n") == 1 and line.endswith(b"\n") and len(line) <= LINE
    assert list(decode(line)) == [reported]


@pytest.mark.parametrize("found", [machine(1), machine(2, uuid=uuid(2)), machine(3, netboots=False, firmware=None)])
def test_a_registration_is_read_as_it_was_asked_for(found) -> None:  # type: ignore[no-untyped-def]
    assert list(decode(encode(Registration(found)))) == [Registration(found)]


def test_a_detail_that_is_too_long_is_left_out_and_said_so() -> None:
    line = encode(event(words="x" * 5000))
    assert len(line) <= LINE
    [kept] = decode(line)
    assert isinstance(kept, Event)
    assert (kept.kind, kept.node, kept.detail) == (Kind.OFFERED, "compute-0-0", {"because": "the detail was too long"})


WHOLE = encode(event(7))


@given(st.integers(0, len(WHOLE)))
def test_half_a_line_is_passed_over_and_what_follows_is_read(at: int) -> None:
    follows = encode(event(8))
    assert list(decode(WHOLE[at:] + follows))[-1] == event(8), "a recorder that died read the first half"
    assert [each for each in decode(WHOLE[:at].rstrip(b"\n") + b"\n" + follows) if each != event(7)] == [event(8)]


@given(
    st.binary(max_size=200)
    | st.sampled_from(
        [
            b"[]",
            b"1",
            b"null",
            b'"register"',
            b'{"register": 1}',
            b'{"kind": "offered"}',
            b"{}",
            b'{"register": "x", "uuid": null, "network": "n", "netboots": true, "firmware": null}',
            b'{"kind": "up", "at": 1, "detail": 5}',
            b'{"kind": "up", "at": 1, "mac": "x", "detail": {}}',
        ]
    )
)
def test_whatever_is_in_the_pipe_is_read_or_passed_over(lines: bytes) -> None:
    assert all(isinstance(each, Event | Registration) for each in decode(lines + b"\n"))


def test_a_report_is_handed_on_when_it_is_flushed(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    reporter = PipeReporter(writing)
    reporter.report(event(1))
    reporter.report(event(2))
    assert drain(reading) == b""
    reporter.flush()
    assert list(decode(drain(reading))) == [event(1), event(2)]


def test_a_registration_is_handed_on_at_once(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    PipeReporter(writing).register(machine(1))
    assert list(decode(drain(reading))) == [Registration(machine(1))]


def report_many(writing: int, sender: int, count: int) -> None:
    """In a process of its own; lines of very different lengths."""
    reporter = PipeReporter(writing)
    for number in range(count):
        reporter.report(event(number, sender=sender, words=str(sender) * (number * 37 % 900)))
        while reporter._lines:
            reporter.flush()


def test_lines_of_many_processes_are_never_mixed(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    senders, count = 8, 300
    spawn = multiprocessing.get_context("fork")
    processes = [spawn.Process(target=report_many, args=(writing, sender, count)) for sender in range(senders)]
    for process in processes:
        process.start()
    received, half = [], b""
    while any(process.is_alive() for process in processes) or len(received) < senders * count:
        whole, _, half = (half + drain(reading)).rpartition(b"\n")
        received += [json.loads(line)["detail"] for line in whole.splitlines()]  # one that is mixed is no JSON
        assert all(process.exitcode in (None, 0) for process in processes)
    for process in processes:
        process.join()
    for sender in range(senders):
        own = [each for each in received if each["sender"] == sender]
        assert [each["number"] for each in own] == list(range(count)), "each once, in the sender's order"
        assert all(each["words"] == str(sender) * (each["number"] * 37 % 900) for each in own)


def test_a_full_pipe_is_never_waited_for_and_what_it_did_not_take_is_counted(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    reporter = PipeReporter(writing)
    reported = BURST * 2
    for number in range(reported):  # nobody reads; a reporter that waited would wait for ever
        reporter.report(event(number, words="x" * 100))
        if number % 100 == 0:
            reporter.flush()
    received: list[Event] = []
    for _ in range(50):
        reporter.flush()
        received += [each for each in decode(drain(reading)) if isinstance(each, Event)]
    lost = [each for each in received if each.kind is Kind.LOST]
    kept = [each for each in received if each.kind is not Kind.LOST]
    assert lost and all(each.detail["because"] == "flood" for each in lost)
    assert len(kept) + sum(int(each.detail["events"] or 0) for each in lost) == reported, "none is lost without being counted"
    numbers = [int(each.detail["number"] or 0) for each in kept]
    assert numbers == sorted(numbers)


def test_in_a_flood_a_machine_is_still_registered(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    reporter = PipeReporter(writing)
    for number in range(BURST * 2):
        reporter.report(event(number))
    reporter.register(machine(1))
    received = []
    for _ in range(200):
        received += list(decode(drain(reading)))
        reporter.flush()
    assert Registration(machine(1)) in received


def test_a_pipe_without_a_reader_raises_nothing() -> None:
    reading, writing = make_pipe()
    reporter = PipeReporter(writing)
    os.close(reading)
    reporter.report(event(1))
    reporter.flush()
    os.close(writing)


def test_events_carry_their_own_time() -> None:
    now = time.time()
    [kept] = decode(encode(Event(Kind.UP, now, "compute-0-0")))
    assert isinstance(kept, Event) and kept.at == now
