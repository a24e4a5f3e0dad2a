"""The one door: whatever alters the cluster goes through a change.

A change is one transaction that also writes what was before and after to the change log. From that come, without further
code, the log of who did what, ``undo``, ``--dry-run`` (run it, show the difference, roll back), and the number by which a
view knows that it is old.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from bootserver.cluster.events import Event, Reporter
from bootserver.db.connection import Connection, Database
from bootserver.db.rows import Row, SecretRow, to_db

R = TypeVar("R", bound=Row)
MASK = "****"


@dataclass(frozen=True, slots=True)
class Record:
    """One row before and after: None before, it was added; None after, it was removed."""

    table: str
    row_id: int
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None

    def describe(self) -> str:
        """One line for people: ``node 7: action None -> install``."""
        if self.before is None or self.after is None:
            sign, values = ("+", self.after) if self.before is None else ("-", self.before)
            shown = " ".join(f"{key}={value}" for key, value in (values or {}).items() if value is not None)
            return f"{sign} {self.table} {shown}"
        names = [key for key in self.after if self.after[key] != self.before.get(key)]
        who = self.after.get("name") or self.row_id
        return f"~ {self.table} {who}: " + ", ".join(f"{name} {self.before.get(name)} -> {self.after[name]}" for name in names)


class Reader:
    """Typed reading, in whatever transaction it was opened in."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def rows(self, kind: type[R], where: str = "", /, **values: Any) -> list[R]:
        """Rows of a table; `where` is SQL of our own with ``:name`` parameters, and may end in ORDER BY or LIMIT."""
        columns = ", ".join(f'"{name}"' for name in kind.columns())
        sql = f"SELECT {columns} FROM {kind.table}" + (f" WHERE {where}" if where else " ORDER BY id")
        found = self.connection.rows(sql, {name: to_db(value) for name, value in values.items()})
        return [kind.from_db(row) for row in found]

    def one(self, kind: type[R], where: str, /, **values: Any) -> R | None:
        """The first row, or None."""
        found = self.rows(kind, where + " LIMIT 1", **values)
        return found[0] if found else None


class Change(Reader):
    """An open transaction that alters the cluster; every alteration is recorded."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.records: list[Record] = []
        self.events: list[Event] = []
        self.sequence: int | None = None

    def insert(self, row: R) -> R:
        """Add a row. :returns: it with its number. :raises NameTaken: a unique key exists already."""
        values = row.to_db()
        if not row.id:
            del values["id"]
        names = ", ".join(f'"{name}"' for name in values)
        marks = ", ".join(f":{name}" for name in values)
        number = self.connection.rows(f"INSERT INTO {row.table} ({names}) VALUES ({marks}) RETURNING id", values)[0]["id"]
        added = dataclasses.replace(row, id=number)
        self._record(added, None, added.to_db())
        return added

    def update(self, row: R, **values: Any) -> R:
        """Alter columns of a row; what is the same already is left alone."""
        altered = dataclasses.replace(row, **values)
        if altered == row:
            return row
        before, after = row.to_db(), altered.to_db()
        names = [name for name in after if after[name] != before[name]]
        assignments = ", ".join(f'"{name}" = :{name}' for name in names)
        self.connection.execute(
            f"UPDATE {row.table} SET {assignments} WHERE id = :id", {name: after[name] for name in names} | {"id": row.id}
        )
        self._record(altered, before, after)
        return altered

    def delete(self, row: Row) -> None:
        self.connection.execute(f"DELETE FROM {row.table} WHERE id = :id", {"id": row.id})
        self._record(row, row.to_db(), None)

    def report(self, event: Event) -> None:
        """An event that is told once the change is committed, and not if it is rolled back."""
        self.events.append(event)

    def _record(self, row: Row, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        if isinstance(row, SecretRow):
            for values in (before, after):
                if values is not None:
                    values["value"] = MASK
        self.records.append(Record(row.table, row.id, before, after))


class _RollBack(Exception):
    """Ends a dry run; never seen outside."""


@contextlib.contextmanager
def open_change(
    database: Database, who: str, what: str, *, reporter: Reporter | None = None, dry_run: bool = False, undoes: int | None = None
) -> Iterator[Change]:
    """Open the door: ``with open_change(databases.cluster, "root", "pxe set compute-0-0 install") as change: ...``.

    Commits at the end and then reports the change's events; rolls back on any exception. A change that altered nothing
    leaves no trace.

    :param dry_run: roll back at the end; what would have been done is in ``change.records``.
    :raises DatabaseError: the database can't be written now.
    """
    change: Change | None = None
    with contextlib.suppress(_RollBack), database.write() as connection:
        change = Change(connection)
        yield change
        if dry_run:
            raise _RollBack
        if change.records:
            change.sequence = _log(connection, who, what, change.records, undoes)
    if change is not None and reporter is not None and not dry_run:
        for event in change.events:
            reporter.report(event)


@contextlib.contextmanager
def open_reader(database: Database) -> Iterator[Reader]:
    """A consistent picture to read from."""
    with database.read() as connection:
        yield Reader(connection)


def timestamp() -> str:
    """Now, as tables keep it: UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _log(connection: Connection, who: str, what: str, records: Sequence[Record], undoes: int | None) -> int:
    sequence: int = connection.rows(
        'INSERT INTO change ("at", who, what, undoes) VALUES (:at, :who, :what, :undoes) RETURNING sequence',
        {"at": timestamp(), "who": who, "what": what, "undoes": undoes},
    )[0]["sequence"]
    connection.execute_many(
        'INSERT INTO change_row (sequence, table_name, row_id, "before", "after")'
        " VALUES (:sequence, :table, :row_id, :before, :after)",
        [
            {
                "sequence": sequence,
                "table": record.table,
                "row_id": record.row_id,
                "before": None if record.before is None else json.dumps(record.before),
                "after": None if record.after is None else json.dumps(record.after),
            }
            for record in records
        ],
    )
    return sequence
