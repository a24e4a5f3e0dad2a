"""The last good copy of the cluster's database: a damaged one costs at most a minute of changes."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

from bootserver.db.connection import DatabaseError, SqliteDatabase

logger = logging.getLogger(__name__)

NAME = "backup.sqlite"
"""Beside the database itself."""


def backup_path(database: SqliteDatabase) -> Path:
    return database.path.with_name(NAME)


def backup(database: SqliteDatabase) -> None:
    """Copy a database aside, whole and checked; the copy takes the last one's place only if it is sound. Never raises."""
    target = backup_path(database)
    aside = target.with_suffix(".new")
    try:
        aside.unlink(missing_ok=True)
        reading, writing = database.connect(), sqlite3.connect(aside)
        try:
            aside.chmod(0o600)  # it holds secrets
            reading.backup(writing)
            verdict = writing.execute("PRAGMA quick_check").fetchone()[0]
            if writing.execute("SELECT max(sequence) FROM change").fetchone()[0] is None:
                verdict = "it is empty"
        finally:
            reading.close()
            writing.close()
        if verdict != "ok":
            logger.error("the database is damaged (%s): its last good copy stays as it is", verdict)
            return
        aside.replace(target)
    except (sqlite3.Error, DatabaseError, OSError) as error:
        logger.error("the database could not be copied aside: %s", error)
