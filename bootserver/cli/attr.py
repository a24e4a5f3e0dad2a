"""``bootserver attr``: keys and values seen by templates and decisions."""

from __future__ import annotations

import click

from bootserver.cli.arguments import nodes_argument, scope_options
from bootserver.cli.scope import Scopes, rows_of_nodes, rows_where_set
from bootserver.cli.session import Session, change_options, pass_session
from bootserver.cli.table import format_option, show


@click.group()
def attr() -> None:
    """Attributes: global < appliance < rack < node, the most specific wins."""


@attr.command("list")
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
    """List attributes where they are set; with NODES all that these see, and where from.

    \b
    bootserver attr list
    bootserver attr list --appliance compute
    bootserver attr list compute-0-0
    """
    words = (*nodes, *more_nodes)
    with session.read() as reader:
        if words:
            show(("NODE", "KEY", "VALUE", "FROM"), rows_of_nodes(reader, words, lambda key: True), format_)
        else:
            scopes = Scopes(appliances=appliance, racks=rack)
            show(("FROM", "KEY", "VALUE"), rows_where_set(reader, scopes, lambda row: True), format_)


@attr.command("set")
@click.argument("key")
@click.argument("value")
@nodes_argument(required=False)
@scope_options
@change_options
@pass_session
def set_(
    session: Session,
    key: str,
    value: str,
    nodes: tuple[str, ...],
    more_nodes: tuple[str, ...],
    appliance: tuple[str, ...],
    rack: tuple[int, ...],
) -> None:
    """Set an attribute: for NODES, appliances or racks, else for all.

    \b
    bootserver attr set image golden
    bootserver attr set distribution debian-12 --appliance login
    bootserver attr set timezone Europe/Berlin --rack 3
    bootserver attr set partition scratch.py compute-0-[0-7]
    """
    from bootserver.cluster import attributes

    scopes = Scopes((*nodes, *more_nodes), appliance, rack)
    scopes.alter(session, lambda change, place: attributes.set_attribute(change, place, key, value), f"{key} = {value}")


@attr.command("remove")
@click.argument("key")
@nodes_argument(required=False)
@scope_options
@change_options
@pass_session
def remove(
    session: Session,
    key: str,
    nodes: tuple[str, ...],
    more_nodes: tuple[str, ...],
    appliance: tuple[str, ...],
    rack: tuple[int, ...],
) -> None:
    """Remove an attribute where it is set; what is set elsewhere is inherited again.

    \b
    bootserver attr remove distribution --appliance login
    bootserver attr remove partition compute-0-[0-7]
    """
    from bootserver.cluster import attributes

    scopes = Scopes((*nodes, *more_nodes), appliance, rack)
    scopes.alter(session, lambda change, place: attributes.remove_attribute(change, place, key), f"{key} removed")
