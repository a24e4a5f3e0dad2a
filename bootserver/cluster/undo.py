"""Undo: a change backwards, as a change of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bootserver.cluster.change import Change, Reader
from bootserver.db.rows import CLUSTER_ROWS, DiscoveryRow, InstallRow, NodeRow, Row, SecretRow
from bootserver.errors import NotFound, Refused

_KINDS: dict[str, type[Row]] = {kind.table: kind for kind in CLUSTER_ROWS}


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Who changed what, when. :ivar undoes: the change that this one took back."""

    sequence: int
    at: str
    who: str
    what: str
    undoes: int | None


@dataclass(frozen=True, slots=True)
class LoggedRow:
    table: str
    row_id: int
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


def log(reader: Reader, last: int) -> list[LogEntry]:
    """The newest changes, oldest first."""
    rows = reader.connection.rows(
        'SELECT sequence, "at", who, what, undoes FROM change ORDER BY sequence DESC LIMIT :last', {"last": last}
    )
    return [LogEntry(row["sequence"], row["at"], row["who"], row["what"], row["undoes"]) for row in reversed(rows)]


def rows_of(reader: Reader, sequence: int) -> list[LoggedRow]:
    """:raises NotFound: there is no such change."""
    found = reader.connection.rows(
        'SELECT table_name, row_id, "before", "after" FROM change_row WHERE sequence = :sequence ORDER BY id',
        {"sequence": sequence},
    )
    if not found:
        raise NotFound(f"no change {sequence}: `bootserver log` shows them")
    return [LoggedRow(row["table_name"], row["row_id"], _load(row["before"]), _load(row["after"])) for row in found]


def undo(change: Change, sequence: int) -> None:
    """Take a change back, row by row, the last one first.

    An install is never armed by this (it is only ever armed on purpose): its secrets are gone for good, and a node whose
    action installed boots its disk.

    :raises Refused: something was changed again since.
    """
    for row in reversed(rows_of(change, sequence)):
        kind = _KINDS[row.table]
        if kind is DiscoveryRow:
            continue  # a discovery that ended is not opened again behind anybody's back
        current = change.one(kind, "id = :id", id=row.row_id)
        if kind in (SecretRow, InstallRow):
            if current is not None and row.before is None:
                change.delete(current)
            continue
        _expect(current, row, sequence)
        if row.before is None:
            if current is not None:
                change.delete(current)
        elif current is None:
            change.insert(_safe(kind.from_db(row.before)))
        else:
            before = _safe(kind.from_db(row.before))
            change.update(current, **{name: getattr(before, name) for name in kind.columns()})


def _expect(current: Row | None, row: LoggedRow, sequence: int) -> None:
    """Refuse to overwrite what somebody changed later."""
    if (None if current is None else current.to_db()) == row.after:
        return
    who = (row.after or row.before or {}).get("name", row.row_id)
    raise Refused(f"change {sequence} can't be undone: {row.table} {who} was changed again since; undo the later changes first")


def _safe(row: Row) -> Row:
    if isinstance(row, NodeRow) and row.action is not None and row.action.split(" ")[0] == "install":
        return NodeRow.from_db(row.to_db() | {"action": None})
    return row


def _load(text: str | None) -> Mapping[str, Any] | None:
    if text is None:
        return None
    loaded: Mapping[str, Any] = json.loads(text)
    return loaded
