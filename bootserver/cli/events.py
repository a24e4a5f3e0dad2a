"""``bootserver events``: the story of each boot, as it was or as it happens."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from bootserver.cli.arguments import nodes_argument
from bootserver.cli.session import Session, pass_session
from bootserver.cli.story import clock, subject, words
from bootserver.cli.table import Cell, format_option, plain, show
from bootserver.cluster import journal, selection
from bootserver.cluster.events import Event, Kind
from bootserver.db.connection import DatabaseError
from bootserver.errors import NotFound, UsageError
from bootserver.values.mac import MacAddress

if TYPE_CHECKING:
    from bootserver.db.connection import Connection

COLUMNS = ("TIME", "NODE", "KIND", "DETAIL")
DATA_COLUMNS = ("TIME", "NODE", "MAC", "KIND", "DETAIL")
POLL = 0.2
"""Seconds between two looks at the journal."""
AWAY = 1.0
"""Seconds between two looks at a journal that is away."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which events: of these nodes, or of this machine, and of these kinds; None: all."""

    nodes: Sequence[str] | None
    mac: MacAddress | None
    kinds: Sequence[Kind] | None

    def read(self, connection: Connection, *, after: int = 0, last: int | None = None) -> list[journal.Entry]:
        return journal.read(connection, after=after, nodes=self.nodes, mac=self.mac, kinds=self.kinds, last=last)


@click.command()
@nodes_argument(required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on as nodes do more; Ctrl-C ends.")
@click.option("--last", type=click.IntRange(min=0), metavar="N", help="The newest so many [200; with --follow 10].")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help='Only such events, e.g. "phase" or "kernel sent".')
@format_option
@pass_session
def events(
    session: Session, nodes: tuple[str, ...], follow: bool, last: int | None, kinds: tuple[str, ...], format_: str
) -> None:
    """Tell what nodes did. NODE may also be the MAC address of a machine that is none (yet).

    \b
    bootserver events compute-0-0
    bootserver events --follow
    bootserver events 52:54:00:12:34:56 --last 20
    bootserver events --kind failed --kind alarm --format json
    """
    wanted = _wanted(session, nodes, kinds)
    if follow:
        if format_ == "csv":
            raise UsageError("--follow prints a table, or with --format json one object a line")
        _follow(session, wanted, 10 if last is None else last, format_)
        return
    with session.databases.journal.read() as connection:
        found = wanted.read(connection, last=200 if last is None else last)
    show(COLUMNS if format_ == "table" else DATA_COLUMNS, [_row(entry.event, format_) for entry in found], format_)


def _wanted(session: Session, nodes: Sequence[str], kinds: Sequence[str]) -> _Wanted:
    known = {kind.value: kind for kind in Kind}
    for name in kinds:
        if name not in known:
            raise UsageError(f"no kind of event {name!r}; there are {', '.join(known)}")
    chosen = [known[name] for name in kinds] or None
    if not nodes:
        return _Wanted(None, None, chosen)
    if len(nodes) == 1:
        with contextlib.suppress(UsageError):  # by its MAC also what a node did before it was one
            return _Wanted(None, MacAddress.parse(nodes[0]), chosen)
    try:
        with session.read() as reader:
            return _Wanted([node.name for node in selection.select(reader, nodes)], None, chosen)
    except NotFound:
        names = _gone(session, nodes)
        if names is None:
            raise
        return _Wanted(names, None, chosen)


def _gone(session: Session, nodes: Sequence[str]) -> Sequence[str] | None:
    """Nodes that were removed still have a story: their names are taken as they are, if the journal knows them all."""
    with session.databases.journal.read() as connection:
        for name in nodes:
            if not connection.rows("SELECT id FROM event WHERE node = :name LIMIT 1", {"name": name}):
                return None
    return nodes


def _follow(session: Session, wanted: _Wanted, last: int, format_: str) -> None:
    """Print events as they are written down. A journal that is away for a while is waited for."""
    database = session.databases.journal
    seen: int | None = None
    stamp: object = None
    away = False
    while True:
        try:
            now = database.stamp()
            if seen is None:
                with database.read() as connection:
                    seen = journal.newest_number(connection)
                    entries = wanted.read(connection, last=last)
            elif now is None or now != stamp:
                with database.read() as connection:
                    newest = journal.newest_number(connection)
                    # A journal that was made anew counts from the beginning.
                    entries = wanted.read(connection, after=seen if newest >= seen else 0)
                    seen = newest
            else:
                entries = []
            stamp = now
        except DatabaseError as error:
            if not away:
                session.warn(f"waiting for the journal: {error}")
            away = True
            time.sleep(AWAY)
            continue
        if away:
            session.warn("the journal is back")
            away = False
        for entry in entries:
            click.echo(_line(entry.event, format_))
        time.sleep(POLL)


def _line(event: Event, format_: str) -> str:
    row = _row(event, format_)
    if format_ == "json":
        return json.dumps(dict(zip((name.lower() for name in DATA_COLUMNS), row, strict=True)))
    at, who, kind, detail = (plain(str(cell)) for cell in row)
    return f"{at}  {who or '-':<17}  {kind:<14}  {detail}".rstrip()


def _row(event: Event, format_: str) -> tuple[Cell, ...]:
    if format_ == "table":
        return clock(event.at), subject(event), event.kind.value, words(event.detail)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event.at))
    mac = None if event.mac is None else str(event.mac)
    return at, event.node, mac, event.kind.value, dict(event.detail) if format_ == "json" else words(event.detail)
