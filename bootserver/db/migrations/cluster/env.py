"""Alembic's entry for the cluster schema."""

from bootserver.db.migrate import environment

environment("cluster")
