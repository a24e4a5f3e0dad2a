"""How far long work is: a bar on a terminal, else a line on stderr at every new step and every quarter of one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

import click

from bootserver.cli.table import plain

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_QUIET_SECONDS = 1.0  # what is done sooner shows nothing
_QUARTERS = 4


class ProgressLine:
    """``with ProgressLine("image golden") as progress: progress("installing 60 packages", 0.26)``."""

    def __init__(self, subject: str, *, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """
        :param subject: what is worked on; begins each line.
        :param clock: seconds, from anywhere.
        """
        self._subject = subject
        self._stream = stream or sys.stderr
        self._clock = clock
        self._began = clock()
        self._said: tuple[str, int] | None = None
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, words: str, fraction: float | None = None) -> None:
        """Say how far it is. :param fraction: of this step, 0 to 1; None: nobody knows."""
        if self._clock() - self._began < _QUIET_SECONDS:
            return
        if self._stream.isatty():
            self._draw(words, fraction)
            return
        quarter = 0 if fraction is None else int(min(fraction, 1.0) * _QUARTERS)
        if self._said is not None and self._said[0] == words and quarter <= self._said[1]:
            return
        self._said = (words, quarter)
        percent = "" if fraction is None else f" {fraction * 100:.0f}%"
        click.echo(plain(f"{self._subject}: {words}{percent}"), file=self._stream)

    def _draw(self, words: str, fraction: float | None) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(file=self._stream), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._subject, total=None)
        assert self._task is not None
        total = None if fraction is None else 1.0
        self._bar.update(self._task, description=plain(f"{self._subject}: {words}"), total=total, completed=fraction or 0.0)
