"""Row classes, tables and migrations are three descriptions of one thing: they agree."""

from __future__ import annotations

import json
import os
import sqlite3
import types
import typing
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Integer, MetaData, create_engine

from bootserver.db import tables
from bootserver.db.connection import DatabaseError, SqliteDatabase, open_databases
from bootserver.db.migrate import SCHEMAS, migrate
from bootserver.db.rows import CLUSTER_ROWS, BootActionRow, DiscoveryRow, NetworkRow, Row
from bootserver.values.mac import MacAddress
from tests.cluster import configuration, make

LOG = {"change", "change_row"}  # written by the change itself, and by nobody else


def optional(kind: object) -> bool:
    return isinstance(kind, types.UnionType) and type(None) in typing.get_args(kind)


def plain(kind: object) -> object:
    return next(each for each in typing.get_args(kind) if each is not type(None)) if optional(kind) else kind


@pytest.mark.parametrize("kind", CLUSTER_ROWS, ids=lambda kind: kind.__name__)
def test_a_row_class_is_its_table(kind: type[Row]) -> None:
    table, hints = tables.cluster.tables[kind.table], typing.get_type_hints(kind)
    assert kind.columns() == tuple(column.name for column in table.columns)
    for column in table.columns:
        assert column.nullable == optional(hints[column.name]), column.name
        assert isinstance(column.type, Integer) == (plain(hints[column.name]) in (int, bool)), column.name


def test_every_table_has_a_row_class() -> None:
    assert {kind.table for kind in CLUSTER_ROWS} | LOG == set(tables.cluster.tables)


def test_a_row_is_read_as_it_was_written() -> None:
    discovery = DiscoveryRow(
        3, 1, 1, 1, 0, None, MacAddress.parse("52:54:00:00:00:01"), None, None, IPv4Address("10.1.0.9"), 1, None, 64, True,
        "root", "2026-01-01T00:00:00Z", 2.5, 0, None,
    )  # fmt: skip
    action = BootActionRow(1, "a", None, "k", ("i", "j"), "", False, None)
    network = NetworkRow(1, "n", IPv4Network("10.1.0.0/16"), None, IPv4Address("10.1.1.1"), None, "", "local")
    for row in (discovery, action, network):
        kept = row.to_db()
        assert all(value is None or type(value) in (int, str, float) for value in kept.values())
        assert json.loads(json.dumps(kept)) == kept, "the change log keeps it as JSON"
        assert type(row).from_db(kept) == row


# -- migrations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", SCHEMAS)
def test_migrations_build_exactly_the_tables(template: Path, schema: str) -> None:
    engine = create_engine(f"sqlite:///{template / 'db' / schema}.sqlite")
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"compare_type": True, "version_table": f"alembic_version_{schema}", "target_metadata": SCHEMAS[schema]},
        )
        assert compare_metadata(context, SCHEMAS[schema]) == []
    engine.dispose()


@pytest.mark.parametrize("schema", SCHEMAS)
def test_migrations_and_tables_make_the_same_constraints(template: Path, schema: str) -> None:
    """SQLite's comparison sees neither checks nor foreign keys, so both ways of making the tables are asked the same."""
    metadata: MetaData = SCHEMAS[schema]
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    migrated = sqlite3.connect(template / "db" / f"{schema}.sqlite")
    made = engine.raw_connection()
    for name in metadata.tables:
        columns, keys = (
            [
                sorted(row[first:] for row in map(tuple, each.execute(f"PRAGMA {pragma}({name})")))
                for each in (migrated, made.cursor())
            ]
            for pragma, first in (("table_info", 0), ("foreign_key_list", 2))  # the first two of a key are but its number
        )
        assert columns[0] == columns[1], name
        assert keys[0] == keys[1], name
        checks = [
            each.execute("SELECT sql FROM sqlite_master WHERE name = ?", [name]).fetchone()[0].upper().count("CHECK")
            for each in (migrated, made.cursor())
        ]
        assert checks[0] == checks[1], name
    migrated.close()
    made.close()


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    make(tmp_path)
    before = [dump(tmp_path, schema) for schema in SCHEMAS]
    migrate(configuration(tmp_path))
    make(tmp_path)
    assert [dump(tmp_path, schema) for schema in SCHEMAS] == before


def dump(state: Path, schema: str) -> str:
    connection = sqlite3.connect(state / "db" / f"{schema}.sqlite")
    try:
        return "\n".join(connection.iterdump())
    finally:
        connection.close()


def test_the_databases_are_their_owners_alone(template: Path) -> None:
    for schema in SCHEMAS:
        assert (template / "db" / f"{schema}.sqlite").stat().st_mode & 0o077 == 0, "they hold secrets"


def test_a_damaged_database_is_not_migrated_but_named(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "cluster.sqlite").write_bytes(b"this is no database" * 500)
    with pytest.raises(DatabaseError):
        migrate(configuration(tmp_path))
    assert (tmp_path / "db" / "cluster.sqlite").read_bytes().startswith(b"this is no database"), "and nothing of it is lost"


# -- what is said of a database that can't be used ----------------------------------------------------------------


def test_a_missing_database_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="bootserver init"), SqliteDatabase(tmp_path / "cluster.sqlite").read():
        pass
    assert not (tmp_path / "cluster.sqlite").exists(), "an empty one would hide that it is gone"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else for a moment")
def test_a_database_that_this_user_may_not_enter_says_so(tmp_path: Path) -> None:
    make(tmp_path)
    os.seteuid(65534)
    try:
        with (
            pytest.raises(DatabaseError, match="run the command as root"),
            open_databases(configuration(tmp_path)).cluster.read(),
        ):
            pass
        assert open_databases(configuration(tmp_path)).cluster.stamp() is None
    finally:
        os.seteuid(0)


def test_a_database_of_another_version_says_how_to_bring_it_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "cluster.sqlite"
    sqlite3.connect(path).close()
    path.write_bytes(b"")
    with pytest.raises(DatabaseError, match="of another version"), SqliteDatabase(path).read() as connection:
        connection.rows("SELECT * FROM node")
