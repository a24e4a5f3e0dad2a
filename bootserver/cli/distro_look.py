"""``bootserver distro list`` and ``show``: distributions looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bootserver.cli.distro_session import complete_distributions, shelves
from bootserver.cli.session import Session, pass_session
from bootserver.cli.table import format_option, plain, show

if TYPE_CHECKING:
    from bootserver.db.rows import DistributionRow


@click.command("list")
@format_option
@pass_session
def list_(session: Session, format_: str) -> None:
    """List distributions, how many nodes are installed from each, and whether their files are there.

    \b
    bootserver distro list
    """
    from bootserver.cluster import distributions, uses
    from bootserver.db.rows import DistributionRow

    with session.read() as reader:
        rows = sorted(reader.rows(DistributionRow), key=lambda row: row.name)
        nodes = uses.nodes_by(reader, distributions.ATTRIBUTE)
    known = {row.name for row in rows}
    for shelf in shelves(session):
        for name in shelf.names():
            if name not in known:
                session.warn(f"{shelf.path(name)} belongs to no distribution: `bootserver distro remove {name}` removes it")
    show(
        ("NAME", "KIND", "TITLE", "VERSION", "ARCHITECTURE", "TREE", "NODES", "STATE"),
        [
            (
                row.name,
                row.kind,
                row.title,
                row.version,
                row.architecture,
                row.tree,
                len(nodes.get(row.name, [])),
                _missing(row, session.config.frontend.tftpboot) or "ok",
            )
            for row in rows
        ],
        format_,
    )


@click.command("show")
@click.argument("name", shell_complete=complete_distributions)
@pass_session
def show_distribution(session: Session, name: str) -> None:
    """Show a distribution: what it is, how it is booted, and who is installed from it.

    \b
    bootserver distro show rocky-9
    """
    from bootserver.cluster import distributions, selection, uses

    with session.read() as reader:
        row = distributions.get(reader, name)
        used_by = uses.places(reader, distributions.ATTRIBUTE, name)
        nodes = uses.nodes_by(reader, distributions.ATTRIBUTE).get(name, [])
    missing = _missing(row, session.config.frontend.tftpboot)
    facts = (
        ("name", row.name),
        ("title", row.title),
        ("kind", row.kind),
        ("family", row.family),
        ("version", row.version),
        ("architecture", row.architecture),
        ("tree", row.tree),
        ("served at", f"/{distributions.FOLDER}/{name}/" if row.tree else None),
        ("kernel", row.kernel),
        ("initrds", " ".join(row.initrds)),
        ("args", row.args),
        ("set for", ", ".join(used_by)),
        ("nodes", selection.fold(nodes) if nodes else None),
        ("state", f"{missing}: `bootserver distro add {name} PATH --replace`" if missing else "ok"),
    )
    for key, value in facts:
        click.echo(plain(f"{key + ':':14}{value or '-'}"))


def _missing(row: DistributionRow, tftpboot: Path) -> str | None:
    """What of its files is not there; None where all is."""
    from bootserver.cluster.actions import BootAction
    from bootserver.cluster.installs import missing_files

    if missing := missing_files(BootAction(row.name, row.kernel, row.initrds), tftpboot):
        return f"{missing[0]} is missing"
    if row.tree and not Path(row.tree).is_dir():
        return "the tree is missing"
    return None
