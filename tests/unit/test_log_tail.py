"""Following a file that another program writes: rotations, halves of lines, bursts."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.service import log_tail
from bootserver.service.log_tail import FileTail, JournalTail, Lines, open_tail


class Log:
    """A log and who follows it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[str] = []
        self.tail = FileTail(path, self.said.append)

    def write(self, text: str) -> None:
        with self.path.open("a") as file:
            file.write(text)

    def read(self) -> list[str]:
        """All that there is now."""
        found = b""
        for _ in range(4):  # a rotation is noticed when there is nothing more
            self.tail._look_at = 0.0
            while data := self.tail.read():
                found += data
        return found.decode().splitlines()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    (tmp_path / "log").write_text("before\n")
    return Log(tmp_path / "log")


def test_what_was_written_before_is_not_read(log: Log) -> None:
    log.write("one\ntwo\n")
    assert log.read() == ["one", "two"]
    assert log.read() == []


def test_half_a_line_waits_for_its_other_half(log: Log) -> None:
    log.write("one\ntw")
    assert log.read() == ["one"]
    log.write("o")
    assert log.read() == []
    log.write("\nthree\n")
    assert log.read() == ["two", "three"]


def test_a_burst_comes_whole_and_in_order(log: Log) -> None:
    lines = [f"line {number} {'x' * 300}" for number in range(5_000)]  # more than is read at once
    log.write("\n".join(lines) + "\n")
    assert log.read() == lines


def test_a_file_that_is_renamed_is_read_to_its_end_and_then_its_successor(log: Log) -> None:
    log.write("one\n")
    log.path.rename(log.path.with_name("log.1"))
    assert log.read() == ["one"]
    with log.path.with_name("log.1").open("a") as old:  # its writer has not been told yet
        old.write("two\n")
        old.flush()
        log.write("three\n")
        assert sorted(log.read()) == ["three", "two"]
        old.write("four\n")
    log.write("five\n")
    assert sorted(log.read()) == ["five", "four"]


@pytest.mark.parametrize("after", ["two\n", "two\n" + "more than before\n" * 100])
def test_a_file_that_is_cut_is_read_from_its_beginning(log: Log, after: str) -> None:
    log.write("one\nhalf")
    assert log.read() == ["one"]
    os.truncate(log.path, 0)
    log.write(after)
    assert log.read() == after.splitlines()


def test_a_file_that_is_not_there_yet_is_told_of_once_and_read_from_its_beginning(tmp_path: Path) -> None:
    log = Log(tmp_path / "later")
    assert log.read() == []
    assert len(log.said) == 1
    assert str(log.path) in log.said[0]
    log.write("one\n")
    assert log.read() == ["one"]


def test_a_file_that_goes_away_for_a_while_is_no_trouble(log: Log) -> None:
    log.path.unlink()
    assert log.read() == []
    log.write("one\n")
    assert log.read() == ["one"]
    assert log.said == []


def test_a_folder_or_a_pipe_is_no_log(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        log = Log(path)
        assert log.read() == []
        assert "is no file" in log.said[0]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_however_a_log_is_cut_into_pieces_its_lines_are_the_same(text: bytes, cuts: list[int]) -> None:
    lines, places = Lines(), sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    taken = b"".join(lines.take(text[start:end]) for start, end in itertools.pairwise(places))
    assert taken == text[: text.rfind(b"\n") + 1]


def test_a_line_without_end_is_passed_over() -> None:
    lines = Lines()
    for _ in range(5):
        assert lines.take(b"x" * log_tail.MAX_HALF) == b""
    assert lines.take(b"x\none\n") == b"one\n"


@pytest.mark.skipif(shutil.which("journalctl") is None, reason="needs journalctl (systemd)")
def test_a_journal_is_followed_by_journalctl_which_is_started_again_when_it_ends() -> None:
    said: list[str] = []
    tail = open_tail("journal:bootserver-test-no-such-unit", said.append)
    assert isinstance(tail, JournalTail)
    try:
        process = tail._process
        assert process is not None
        tail.read()
        process.kill()
        process.wait()
        assert tail.read() == b""
        assert "ended" in said[-1]
        tail._start_at = 0.0
        tail.read()
        assert tail._process is not None
        assert tail._process is not process
    finally:
        tail.close()


def test_without_journalctl_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    tail = JournalTail("dnsmasq", said.append)
    assert tail.read() == b""
    assert "journalctl can't be started" in said[0]
