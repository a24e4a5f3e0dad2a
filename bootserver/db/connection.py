"""One way to reach the database: SQL with named parameters, in a read or a write transaction.

SQLite is reached by the standard library's driver, everything else (PostgreSQL) through SQLAlchemy: the SQL is the same
text. Why two: importing SQLAlchemy takes 0.3 s, and a whole command may take 0.35 s (docs/architecture.md).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bootserver.errors import BootserverError, Unavailable

if TYPE_CHECKING:
    import sqlalchemy

    from bootserver.config import Config

BUSY_SECONDS = 5.0
"""How long a writer waits for another one; each of our own transactions takes milliseconds."""


class DatabaseError(Unavailable):
    """The database can't be read or written now; the text says which and why."""


class NameTaken(BootserverError):
    """A unique key exists already (somebody else was faster)."""


class Connection(Protocol):
    """An open transaction."""

    def rows(self, sql: str, parameters: Mapping[str, Any] = ...) -> Sequence[Mapping[str, Any]]:
        """All rows of a SELECT or of a RETURNING."""

    def execute(self, sql: str, parameters: Mapping[str, Any] = ...) -> int:
        """Run a statement. :returns: how many rows it changed."""

    def execute_many(self, sql: str, parameters: Sequence[Mapping[str, Any]]) -> None:
        """Run a statement for each set of parameters."""


class Database(Protocol):
    """A database that transactions are opened on."""

    def read(self) -> contextlib.AbstractContextManager[Connection]:
        """A consistent picture; waits for nobody. :raises DatabaseError: it can't be read."""

    def write(self) -> contextlib.AbstractContextManager[Connection]:
        """The one writer: commits at the end, rolls back on any exception.

        :raises DatabaseError: it can't be written, or another writer holds it for longer than BUSY_SECONDS.
        :raises NameTaken: a unique key exists already.
        """

    def stamp(self) -> object:
        """A cheap hint: the same value twice means that nothing was written in between. Never raises."""


@dataclass(frozen=True, slots=True)
class Databases:
    """:ivar cluster: what administrators change. :ivar journal: events and leases."""

    cluster: Database
    journal: Database


def open_databases(config: Config) -> Databases:
    """The databases that a configuration names; nothing is opened before the first transaction."""
    if config.database.url:
        both = ServerDatabase(config.database.url)
        return Databases(both, both)
    folder = config.frontend.state / "db"
    return Databases(SqliteDatabase(folder / "cluster.sqlite"), SqliteDatabase(folder / "journal.sqlite"))


# -- SQLite ------------------------------------------------------------------------------------------------------


class _SqliteConnection:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, parameters: Mapping[str, Any] = {}) -> Sequence[Mapping[str, Any]]:
        return self._connection.execute(sql, parameters).fetchall()

    def execute(self, sql: str, parameters: Mapping[str, Any] = {}) -> int:
        return self._connection.execute(sql, parameters).rowcount

    def execute_many(self, sql: str, parameters: Sequence[Mapping[str, Any]]) -> None:
        self._connection.executemany(sql, parameters)


class SqliteDatabase:
    """A database file in WAL mode: readers never wait for the writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[tuple[int, int], sqlite3.Connection] | None = None

    def connect(self) -> sqlite3.Connection:
        """:raises DatabaseError: there is no such file, or it can't be opened."""
        try:
            exists = self.path.exists()
        except PermissionError:  # its folder is closed to this user
            exists = True
        if not exists:  # sqlite3 would make an empty one, and what is written there would be lost
            raise DatabaseError(f"no database at {self.path}: make it with `bootserver init`")
        if not os.access(self.path, os.R_OK, effective_ids=True):
            raise DatabaseError(f"{self.path} can't be read by this user: run the command as root (sudo)")
        try:
            connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys = ON")
            # A change is told to people as done, so it must survive a power cut; the journal of events need not.
            connection.execute("PRAGMA synchronous = NORMAL" if self.path.stem == "journal" else "PRAGMA synchronous = FULL")
        except sqlite3.Error as error:
            raise self._explain(error) from error
        return connection

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        connection = self.connect()
        try:
            connection.execute(begin)
            yield _SqliteConnection(connection)
            connection.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            raise NameTaken(f"that exists already ({error})") from error
        except sqlite3.Error as error:
            raise self._explain(error) from error
        finally:
            connection.close()  # rolls back what was not committed

    def stamp(self) -> object:
        # PRAGMA data_version means something only within one connection, and goes on telling of a file that was
        # deleted: so the connection is made anew when the file is another one.
        try:
            status = self.path.stat()
            identity = (status.st_dev, status.st_ino)
            if self._stamp is None or self._stamp[0] != identity:
                if self._stamp is not None:
                    self._stamp[1].close()
                    self._stamp = None
                self._stamp = (identity, self.connect())
            return identity, self._stamp[1].execute("PRAGMA data_version").fetchone()[0]
        except (OSError, sqlite3.Error, DatabaseError):
            return None

    def _disk_is_full(self) -> bool:
        """SQLite's shared memory can't be made on a full disk either, and of that it says only "I/O error"."""
        try:
            return os.statvfs(self.path.parent).f_bavail == 0
        except OSError:
            return False

    def _explain(self, error: sqlite3.Error) -> DatabaseError:
        reason = str(error)
        if "locked" in reason or "busy" in reason:
            return DatabaseError(f"{self.path} is locked by another process for over {BUSY_SECONDS:.0f} s: try again")
        if "malformed" in reason or "not a database" in reason:
            return DatabaseError(f"{self.path} is damaged ({reason}): `bootserver restore --backup` takes the last good copy")
        if "no such table" in reason or "no such column" in reason:
            return DatabaseError(f"{self.path} is of another version ({reason}): `bootserver init` brings it up to date")
        if "full" in reason or ("I/O" in reason and self._disk_is_full()):
            return DatabaseError(f"{self.path} can't grow: the disk is full")
        if "readonly" in reason or "unable to open" in reason:
            return DatabaseError(f"{self.path} can't be written by this user ({reason}): run the command as root (sudo)")
        return DatabaseError(f"{self.path}: {reason}")


# -- a database server, through SQLAlchemy -----------------------------------------------------------------------


class _ServerConnection:
    def __init__(self, connection: sqlalchemy.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, parameters: Mapping[str, Any] = {}) -> Sequence[Mapping[str, Any]]:
        from sqlalchemy import text

        return self._connection.execute(text(sql), dict(parameters)).mappings().all()  # type: ignore[return-value]

    def execute(self, sql: str, parameters: Mapping[str, Any] = {}) -> int:
        from sqlalchemy import text

        return self._connection.execute(text(sql), dict(parameters)).rowcount

    def execute_many(self, sql: str, parameters: Sequence[Mapping[str, Any]]) -> None:
        from sqlalchemy import text

        if parameters:
            self._connection.execute(text(sql), [dict(each) for each in parameters])


class ServerDatabase:
    """PostgreSQL, for several frontends that share a cluster."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine_made: sqlalchemy.Engine | None = None

    @property
    def _engine(self) -> sqlalchemy.Engine:
        if self._engine_made is None:
            from sqlalchemy import create_engine

            try:
                self._engine_made = create_engine(self._url, pool_pre_ping=True, connect_args={"connect_timeout": 5})
            except Exception as error:  # an unknown dialect, a missing driver: many types, one meaning
                raise DatabaseError(f"database.url can't be used: {error}") from error
        return self._engine_made

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        with self._transaction("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY") as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        # One writer at a time, as with SQLite: ranks and addresses are given out by looking at what there is.
        with self._transaction("LOCK TABLE change IN EXCLUSIVE MODE") as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        from sqlalchemy import exc

        try:
            with self._engine.begin() as connection:
                connection.exec_driver_sql(begin)
                yield _ServerConnection(connection)
        except exc.IntegrityError as error:
            raise NameTaken(f"that exists already ({error.orig})") from error
        except exc.SQLAlchemyError as error:
            raise DatabaseError(f"the database server: {getattr(error, 'orig', None) or error}".splitlines()[0]) from error

    def stamp(self) -> object:
        try:
            with self.read() as connection:
                return connection.rows("SELECT coalesce(max(sequence), 0) AS last FROM change")[0]["last"]
        except DatabaseError:
            return None
