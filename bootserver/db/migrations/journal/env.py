"""Alembic's entry for the journal schema."""

from bootserver.db.migrate import environment

environment("journal")
