"""``bootserver restore``: a dump read back, or the last good copy of a damaged database."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bootserver.cli.session import Session, change_options, confirm_options, pass_session
from bootserver.errors import NotFound, Refused, Unavailable, UsageError

if TYPE_CHECKING:
    from bootserver.db.connection import SqliteDatabase


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--merge", is_flag=True, help="Add and alter what FILE holds; leave the rest.")
@click.option("--replace", is_flag=True, help="Make the cluster what FILE says: what it does not hold is removed.")
@click.option("--backup", is_flag=True, help="No FILE: put the last good copy in the place of a damaged database.")
@confirm_options
@change_options
@pass_session
def restore(session: Session, file: Path | None, merge: bool, replace: bool, backup: bool) -> None:
    """Read a dump back, in one transaction: all of it or nothing.

    Into a cluster that has nodes only with --merge or --replace. Nodes keep their keys; no install is ever armed by it.

    \b
    bootserver restore cluster.dump
    bootserver restore cluster.dump --replace --dry-run
    bootserver restore --backup
    """
    if backup:
        if file is not None or merge or replace or session.dry_run:
            raise UsageError("--backup goes alone, or with --yes")
        _restore_backup(session)
        return
    if file is None:
        raise UsageError("name the file to restore, or use --backup")
    if merge and replace:
        raise UsageError("--merge or --replace, not both")
    _restore_dump(session, file, merge=merge, replace=replace)


def _restore_dump(session: Session, file: Path, *, merge: bool, replace: bool) -> None:
    from bootserver.cluster.dump import read
    from bootserver.cluster.restore import is_empty
    from bootserver.cluster.restore import restore as apply

    document = read(_text(file), str(file))
    if document.armed:
        session.warn(f"{len(document.armed)} nodes install in {file} ({document.armed[0]} ...): they boot their disks instead")
    if replace:
        session.confirm(f"Make the cluster what {file} says, and remove what it does not hold?")
    with session.change() as change:
        if not merge and not replace and not is_empty(change):
            raise Refused(
                "the cluster has nodes: --merge adds and alters what the file holds, --replace also removes what it does not; "
                "see with --dry-run"
            )
        apply(change, document, replace=not merge)
        session.tell(f"Restored {len(document.nodes)} nodes from {file}" if change.records else f"All is as {file} says already")


def _text(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(f"there is no file {file}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no dump: it is no text in UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise Unavailable(f"{file} can't be read: {error.strerror}") from error


# -- the last good copy ------------------------------------------------------------------------------------------


def _restore_backup(session: Session) -> None:
    from bootserver.db.backup import backup_path
    from bootserver.db.connection import SqliteDatabase

    database = session.databases.cluster
    if not isinstance(database, SqliteDatabase):
        raise Refused("the database is a server's (database.url): restore its own backup there")
    copy = backup_path(database)
    if not copy.exists():
        raise NotFound(f"there is no copy at {copy}; `bootserver restore FILE` restores a dump")
    if (harm := _harm(copy)) is not None:
        raise Refused(f"the copy {copy} is damaged, too ({harm}); `bootserver restore FILE` restores a dump")
    taken = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(copy.stat().st_mtime))
    if database.path.exists() and _harm(database.path) is None and not session.yes:
        raise Refused(f"{database.path} is not damaged; --yes puts the copy of {taken} in its place all the same")
    aside = _swap(database, copy)
    click.echo(f"Restored the copy of {taken}" + ("" if aside is None else f"; the old database is kept as {aside}"))


def _harm(path: Path) -> str | None:
    """What is wrong with a database file, or None. It is only read, a journal beside it included."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            verdict = str(connection.execute("PRAGMA quick_check").fetchone()[0])
            connection.execute("SELECT count(*) FROM change")
    except sqlite3.Error as error:
        return str(error)
    return None if verdict == "ok" else verdict.splitlines()[0]


def _swap(database: SqliteDatabase, copy: Path) -> Path | None:
    """Put a copy of the copy in the database's place. :returns: where the old one is kept."""
    path = database.path
    new = path.with_suffix(".new")
    stamp = time.strftime("%Y%m%d-%H%M%S")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    try:
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)  # it holds secrets
        with contextlib.closing(sqlite3.connect(copy)) as reading, contextlib.closing(sqlite3.connect(new)) as writing:
            reading.backup(writing)
            writing.execute("PRAGMA journal_mode = WAL")
        owner = copy.stat()
        os.chown(new, owner.st_uid, owner.st_gid)
        # The old write-ahead log must go first: SQLite would play it into the new file.
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).replace(aside.with_name(aside.name + suffix))
        kept = path.exists()
        if kept:
            os.link(path, aside)  # so that there is a database at every moment
        new.replace(path)
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"the copy can't be put in place: {error}") from error
    return aside if kept else None
