"""The databases: there, sound, of this program's version (Alembic), and copied aside."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bootserver.db import migrate
from bootserver.db.backup import backup_path
from bootserver.db.connection import Database, DatabaseError, SqliteDatabase, open_databases
from bootserver.doctor.finding import Finding, failure, note, ok, warning
from bootserver.doctor.site import Site

_COPY_LATE = 600.0
"""Seconds. The service copies the cluster's database at most once a minute after a change."""


def databases(site: Site) -> Iterator[Finding]:
    """The cluster's and the journal."""
    opened = open_databases(site.config)
    sound = True
    for schema, database in (("cluster", opened.cluster), ("journal", opened.journal)):
        site.progress(f"checking the {schema} database", None)
        for finding in _database(site, schema, database):
            sound = False
            yield finding
    if sound:
        yield ok("both databases are sound and of this version" + (" (the journal's pages were not read)" if site.quick else ""))
    if isinstance(opened.cluster, SqliteDatabase):
        yield from _copy(site, opened.cluster)


def _database(site: Site, schema: str, database: Database) -> Iterator[Finding]:
    is_cluster = schema == "cluster"
    why = (
        "nodes go on by what the service has in memory, until it restarts" if is_cluster else "what nodes do is not written down"
    )
    anew = "bootserver restore --backup takes the last good copy"
    if not is_cluster:
        anew = "stop the service, move db/journal.sqlite* of the state directory away, bootserver init, and start it"
    try:
        with database.read() as connection:
            revision = _revision(connection.rows(f"SELECT version_num FROM alembic_version_{schema}"))
            if isinstance(database, SqliteDatabase) and (is_cluster or not site.quick):
                verdict = str(next(iter(connection.rows("PRAGMA quick_check(1)")[0])))
                if verdict != "ok":
                    yield failure(f"the {schema} database is damaged: {verdict.splitlines()[0]}", why, anew)
    except DatabaseError as error:
        text = str(error)
        if "damaged" in text:
            yield failure(f"the {schema} database: {text}", why, anew)
        elif "can't be read by this user" in text:
            yield note(f"the {schema} database can't be looked at by this user", mend="sudo bootserver doctor")
        else:
            yield failure(f"the {schema} database: {text}", why, "bootserver init makes it, or brings it up to date")
        return
    newest = head(schema)
    if revision != newest:
        yield failure(
            f"the {schema} database is of revision {revision or 'none'}; this program is of {newest}",
            "commands and the service fail where they meet a column that is not there",
            "bootserver init brings it up to date, then systemctl restart bootserver",
        )


def head(schema: str) -> str:
    """The newest revision that this program knows of a schema."""
    from alembic.script import ScriptDirectory

    return str(ScriptDirectory(str(Path(migrate.__file__).parent / "migrations" / schema)).get_current_head())


def _revision(rows: Sequence[Mapping[str, Any]]) -> str:
    return str(rows[0]["version_num"]) if rows else ""


def _copy(site: Site, database: SqliteDatabase) -> Iterator[Finding]:
    copy = backup_path(database)
    try:
        changed, copied = database.path.stat().st_mtime, copy.stat().st_mtime if copy.exists() else None
    except OSError:  # said above
        return
    late = time.time() - changed > _COPY_LATE and (copied is None or copied < changed - _COPY_LATE)
    if site.service is not None and late:
        yield warning(
            f"the cluster database has {'no' if copied is None else 'an old'} copy aside ({copy})",
            "if it is damaged, changes since then are lost",
            "journalctl -u bootserver | grep copied tells why; bootserver dump > FILE is a copy, too",
        )
