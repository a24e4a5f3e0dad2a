"""What a guest says on its serial console: text without escape sequences, with the time of each piece."""

from __future__ import annotations

import re
import threading
import time
from bisect import bisect_left
from pathlib import Path

from tests.lab.process import TooLate

# What SeaBIOS' sercon, iPXE, OVMF and GRUB write to a serial terminal.
_ESCAPE = re.compile(r"\x1b\[[0-9;?=]*[A-Za-z]|\x1b[()][A-Za-z0-9]|\x1b[c78=>]|[\x00\x07\x08\r]")
_LONGEST_ESCAPE = 16
_SHOWN = 2500  # characters of console in an error


class ConsoleSaid(AssertionError):
    """It said what it must not say, or fell silent for good."""


class Console:
    """The text so far. Waiting goes forward only: each wait begins where the one before ended, as a story is told.

    One thread feeds it, one waits.
    """

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self._log = log.open("ab", buffering=0)
        self._changed = threading.Condition()
        self._text = ""
        self._unfinished = ""
        self._lengths: list[int] = []  # length of _text after each piece,
        self._times: list[float] = []  # and when it came
        self._position = 0
        self._closed = False
        self._started = time.monotonic()

    def feed(self, chunk: bytes) -> None:
        """Take what the machine wrote."""
        self._log.write(chunk)
        raw = self._unfinished + chunk.decode("utf-8", "replace")
        # An escape sequence may be cut in two by the chunk's end: keep its beginning for the next one.
        escape = raw.rfind("\x1b")
        is_cut = escape >= 0 and len(raw) - escape <= _LONGEST_ESCAPE and not _ESCAPE.match(raw, escape)
        self._unfinished = raw[escape:] if is_cut else ""
        with self._changed:
            self._text += _ESCAPE.sub("", raw[:escape] if is_cut else raw)
            self._lengths.append(len(self._text))
            self._times.append(time.monotonic() - self._started)
            self._changed.notify_all()

    def opened(self) -> None:
        """The machine is powered on: what it said before is the past."""
        with self._changed:
            self._closed = False
            self._started = time.monotonic()
            self._position = len(self._text)

    def closed(self) -> None:
        """The machine is off: nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def forget(self) -> None:
        """Let the next wait begin here, at what has not been said yet."""
        with self._changed:
            self._position = len(self._text)

    @property
    def text(self) -> str:
        """All of it, from the first power-on."""
        with self._changed:
            return self._text

    @property
    def tail(self) -> str:
        return self.text[-_SHOWN:]

    def seen_at(self, regex: str) -> float | None:
        """Seconds from the last power-on to the first match in all that was said, or None."""
        with self._changed:
            match = re.search(regex, self._text, re.MULTILINE)
            return self._times[bisect_left(self._lengths, match.end())] if match else None

    def wait(self, regex: str, seconds: float, *, fail: str | None = None) -> re.Match[str]:
        """Wait until it says `regex`, and let the next wait begin after it.

        :param seconds: from now.
        :param fail: a regex that ends the wait at once, as in ``Kernel panic``.
        :raises TooLate: it did not in time.
        :raises ConsoleSaid: it said `fail`, or the machine went off.
        """
        wanted = re.compile(regex, re.MULTILINE)
        unwanted = re.compile(fail, re.MULTILINE) if fail else None
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                match = wanted.search(self._text, self._position)
                bad = unwanted.search(self._text, self._position) if unwanted else None
                if match and not (bad and bad.start() < match.start()):
                    self._position = match.end()
                    return match
                if bad:
                    raise ConsoleSaid(f"{self.name} says {bad.group()!r}, not /{regex}/:\n{self._text[-_SHOWN:]}")
                if self._closed:
                    raise ConsoleSaid(f"{self.name} went off before /{regex}/:\n{self._text[-_SHOWN:]}")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TooLate(f"{self.name}: no /{regex}/ in {seconds:.0f} s:\n{self._text[-_SHOWN:]}")
                self._changed.wait(left)
