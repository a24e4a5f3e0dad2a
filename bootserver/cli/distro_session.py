"""What the commands of ``bootserver distro`` share: where files are, and how names are completed."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import click

from bootserver.cli.session import Session
from bootserver.errors import BootserverError

if TYPE_CHECKING:
    from bootserver.install.distribution.shelf import Shelf


def shelves(session: Session) -> tuple[Shelf, Shelf]:
    """Where ISOs are unpacked, and where kernels are copied."""
    from bootserver.cluster import distributions
    from bootserver.install.distribution.shelf import Shelf

    frontend = session.config.frontend
    return Shelf(frontend.state / "distributions"), Shelf(frontend.tftpboot / distributions.FOLDER)


def complete_distributions(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of distributions that begin so; completion never complains."""
    from bootserver.db.rows import DistributionRow

    try:
        with Session(ctx.find_root().params.get("config"), False, {}).read() as reader:
            return [row.name for row in reader.rows(DistributionRow) if row.name.startswith(incomplete)]
    except (BootserverError, sqlite3.Error):
        return []
