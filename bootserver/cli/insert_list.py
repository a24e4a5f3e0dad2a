"""insert-ethers' list in the terminal: the nodes of a discovery, newest first, with their marks."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass

import click

from bootserver.cluster.events import Event, Kind

_UP = "\x1b[{}A\x1b[J"  # so many lines up, clear to the end (ECMA-48 CUU, ED)


@dataclass(frozen=True, slots=True)
class Row:
    mac: str
    name: str
    mark: str


def mark(event: Event | None) -> str:
    """``( )`` waiting, ``(*)`` its install was sent, ``(403)`` the HTTP status with which it was refused."""
    if event is None:
        return "( )"
    return f"({event.detail.get('status', 403)})" if event.kind in (Kind.DENIED, Kind.UNANSWERED) else "(*)"


class InsertList:
    """Shows the rows each time they change: over the old ones on a terminal, else a line for what is new."""

    def __init__(self, title: str, batch: bool) -> None:
        self._batch = batch
        self._redraw = sys.stdout.isatty() and not batch
        self._lines = 0
        self._shown: list[Row] = []
        if not batch:
            click.echo(f"Inserted Appliances ({title}) - power the machines on one after the other, Ctrl-C ends")

    def show(self, rows: list[Row]) -> None:
        if rows == self._shown:
            return
        if self._redraw:
            self._draw(rows)
        else:
            self._tell(rows)
        self._shown = rows

    def close(self) -> None:
        if not self._batch:
            click.echo(f"{len(self._shown)} inserted")

    def _draw(self, rows: list[Row]) -> None:
        height = max(5, shutil.get_terminal_size().lines - 3)
        if self._lines:
            click.echo(_UP.format(self._lines), nl=False)
        for row in rows[:height]:
            click.echo(f"{row.mac:<18} {row.name:<24} {row.mark}")
        self._lines = min(len(rows), height)

    def _tell(self, rows: list[Row]) -> None:
        before = {row.name: row for row in self._shown}
        for row in reversed(rows):
            if row.name not in before:
                click.echo(f"Inserted node {row.name}" if self._batch else f"{row.mac} Inserted node {row.name} {row.mark}")
            elif not self._batch and before[row.name].mark != row.mark:
                click.echo(f"{row.mac} {row.name} {row.mark}")
        sys.stdout.flush()
