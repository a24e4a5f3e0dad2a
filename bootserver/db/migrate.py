"""Brings the databases to the version that this program knows (Alembic). Only ``init`` and ``doctor`` come here."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from bootserver.db import tables
from bootserver.db.connection import DatabaseError

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from bootserver.config import Config

SCHEMAS: dict[str, MetaData] = {"cluster": tables.cluster, "journal": tables.journal}


def url(config: Config, schema: str) -> str:
    """Where a schema (``cluster`` or ``journal``) is kept, as SQLAlchemy writes it."""
    return config.database.url or f"sqlite:///{config.frontend.state / 'db' / f'{schema}.sqlite'}"


def migrate(config: Config) -> None:
    """Make the databases, or bring them up to date; running it again changes nothing.

    :raises DatabaseError: a database can't be made or changed; nothing was changed then.
    """
    from alembic import command
    from sqlalchemy.exc import SQLAlchemyError

    for schema in SCHEMAS:
        if not config.database.url:
            _prepare_sqlite(config.frontend.state / "db" / f"{schema}.sqlite")
        try:
            command.upgrade(_alembic(url(config, schema), schema), "head")
        except SQLAlchemyError as error:
            raise DatabaseError(f"the {schema} database can't be brought up to date: {error}") from error


def _prepare_sqlite(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        connection = sqlite3.connect(path)
        path.chmod(0o600)  # it holds secrets
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
    except (sqlite3.Error, OSError) as error:
        raise DatabaseError(f"{path} can't be made: {error}") from error


def _alembic(address: str, schema: str):  # type: ignore[no-untyped-def]  # alembic is imported late
    from alembic.config import Config as AlembicConfig

    settings = AlembicConfig()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations" / schema))
    settings.set_main_option("sqlalchemy.url", address.replace("%", "%%"))
    settings.attributes["schema"] = schema
    return settings


def environment(schema: str) -> None:
    """What Alembic calls for each schema (``migrations/*/env.py``)."""
    from alembic import context
    from sqlalchemy import create_engine

    engine = create_engine(context.config.get_main_option("sqlalchemy.url") or "")
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=SCHEMAS[schema],
            version_table=f"alembic_version_{schema}",
            render_as_batch=True,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()
