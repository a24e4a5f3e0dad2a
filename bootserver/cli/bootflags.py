"""``bootserver bootflags``: kernel arguments of installed nodes; an attribute, inherited like all others."""

from __future__ import annotations

import click

from bootserver.cli.arguments import complete_nodes, nodes_argument, scope_options
from bootserver.cli.scope import Scopes, rows_of_nodes, rows_where_set
from bootserver.cli.session import Session, change_options, pass_session
from bootserver.cli.table import format_option, show


@click.group()
def bootflags() -> None:
    """Kernel arguments of the systems that are installed: global < appliance < rack < node."""


@bootflags.command("list")
@nodes_argument(required=False)
@scope_options
@format_option
@pass_session
def list_(
    session: Session,
    nodes: tuple[str, ...],
    more_nodes: tuple[str, ...],
    appliance: tuple[str, ...],
    rack: tuple[int, ...],
    format_: str,
) -> None:
    """List bootflags where they are set; with NODES those that these get, and where from.

    \b
    bootserver bootflags list
    bootserver bootflags list rack0
    """
    from bootserver.cluster.attributes import BOOTFLAGS

    words = (*nodes, *more_nodes)
    with session.read() as reader:
        if words:
            rows = rows_of_nodes(reader, words, lambda key: key == BOOTFLAGS)
            show(("NODE", "FLAGS", "FROM"), [(row[0], row[2], row[3]) for row in rows], format_)
        else:
            scopes = Scopes(appliances=appliance, racks=rack)
            rows = rows_where_set(reader, scopes, lambda row: row.key == BOOTFLAGS)
            show(("FROM", "FLAGS"), [(row[0], row[2]) for row in rows], format_)


@bootflags.command("set")
@click.argument("words", nargs=-1, required=True, metavar="[NODE...] FLAGS", shell_complete=complete_nodes)
@scope_options
@change_options
@pass_session
def set_(
    session: Session,
    words: tuple[str, ...],
    more_nodes: tuple[str, ...],
    appliance: tuple[str, ...],
    rack: tuple[int, ...],
) -> None:
    """Set FLAGS (one argument: put several flags in quotes) for NODES, appliances or racks, else for all.

    \b
    bootserver bootflags set compute-0-0 console=ttyS0,115200
    bootserver bootflags set --appliance compute "console=ttyS0 mitigations=off"
    """
    from bootserver.cluster import attributes

    *nodes, flags = words
    scopes = Scopes((*nodes, *more_nodes), appliance, rack)
    _, flags = attributes.check(attributes.BOOTFLAGS, flags)
    scopes.alter(session, lambda change, place: attributes.set_attribute(change, place, attributes.BOOTFLAGS, flags), flags)


@bootflags.command("remove")
@nodes_argument(required=False)
@scope_options
@change_options
@pass_session
def remove(
    session: Session, nodes: tuple[str, ...], more_nodes: tuple[str, ...], appliance: tuple[str, ...], rack: tuple[int, ...]
) -> None:
    """Remove bootflags where they are set; those set elsewhere are inherited again.

    \b
    bootserver bootflags remove compute-0-0
    """
    from bootserver.cluster import attributes

    scopes = Scopes((*nodes, *more_nodes), appliance, rack)
    scopes.alter(
        session,
        lambda change, place: attributes.remove_attribute(change, place, attributes.BOOTFLAGS),
        "bootflags removed",
    )
