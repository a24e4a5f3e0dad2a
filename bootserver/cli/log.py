"""``bootserver log`` and ``undo``: who changed what, and taking it back."""

from __future__ import annotations

import click

from bootserver.cli.session import Session, change_options, pass_session
from bootserver.cli.table import format_option, plain, show


@click.group(invoke_without_command=True)
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="The newest so many.")
@format_option
@click.pass_context
def log(ctx: click.Context, last: int, format_: str) -> None:
    """List changes: who changed what, when (UTC), the newest last.

    \b
    bootserver log
    bootserver log --last 100 --format csv
    bootserver log show 42
    """
    if ctx.invoked_subcommand is not None:
        return
    from bootserver.cluster import undo as cluster_undo

    session = ctx.find_object(Session)
    assert session is not None
    with session.read() as reader:
        entries = cluster_undo.log(reader, last)
    show(
        ("CHANGE", "TIME", "WHO", "UNDOES", "WHAT"),
        [(each.sequence, each.at, each.who, each.undoes, each.what) for each in entries],
        format_,
    )


@log.command("show")
@click.argument("number", type=int)
@pass_session
def show_(session: Session, number: int) -> None:
    """Show what a change altered, row by row; of secrets only that there are some.

    \b
    bootserver log show 42
    """
    from bootserver.cluster.change import Record
    from bootserver.cluster.undo import rows_of

    with session.read() as reader:
        rows = rows_of(reader, number)
    for row in rows:
        click.echo(plain(Record(row.table, row.row_id, row.before, row.after).describe()))


@click.command()
@click.argument("number", type=int)
@change_options
@pass_session
def undo(session: Session, number: int) -> None:
    """Take change NUMBER back, as a change of its own; refused if something of it was changed again since.

    An install is never armed by this.

    \b
    bootserver log --last 3
    bootserver undo 42 --dry-run
    bootserver undo 42
    """
    from bootserver.cluster import undo as cluster_undo

    with session.change(undoes=number) as change:
        cluster_undo.undo(change, number)
        session.tell(f"Took back change {number}" if change.records else f"change {number}: nothing of it is left")
