"""``bootserver appliance``: kinds of nodes."""

from __future__ import annotations

import click

from bootserver.cli.arguments import complete_actions, complete_appliances
from bootserver.cli.session import Session, change_options, confirm_options, pass_session
from bootserver.cli.table import format_option, show
from bootserver.errors import UsageError


@click.group()
def appliance() -> None:
    """Kinds of nodes: the base of their names, what insert-ethers arms for them, and their default attributes."""


@appliance.command("list")
@format_option
@pass_session
def list_(session: Session, format_: str) -> None:
    """List appliances, and how many nodes each has.

    \b
    bootserver appliance list
    """
    from bootserver.db.rows import ApplianceRow

    with session.read() as reader:
        rows = reader.rows(ApplianceRow)
        counted = reader.connection.rows("SELECT appliance_id, count(*) AS nodes FROM node GROUP BY appliance_id")
    nodes = {row["appliance_id"]: row["nodes"] for row in counted}
    show(
        ("APPLIANCE", "BASENAME", "TITLE", "ACTION", "INSTALLS", "NODES"),
        [(row.name, row.base_name, row.title, row.action, row.installs, nodes.get(row.id, 0)) for row in rows],
        format_,
    )


@appliance.command("add")
@click.argument("name")
@click.option("--base-name", metavar="BASE", help="What its nodes' names begin with [NAME].")
@click.option("--title", help="As insert-ethers' list shows it [NAME, capitalised].")
@click.option("--action", help="What insert-ethers arms [install, or os with --no-install].", shell_complete=complete_actions)
@click.option("--install/--no-install", "installs", default=True, help="Do its nodes netboot? A switch never does.")
@change_options
@pass_session
def add(session: Session, name: str, base_name: str | None, title: str | None, action: str | None, installs: bool) -> None:
    """Add a kind of node.

    \b
    bootserver appliance add gpu --title "GPU Compute"
    bootserver appliance add printer --no-install
    """
    from bootserver.cluster import appliances

    with session.change() as change:
        wanted = action or ("install" if installs else "os")
        appliances.add(change, name, base_name=base_name, title=title, action=wanted, installs=installs)
        session.tell(f"Added appliance {name}")


@appliance.command("set")
@click.argument("name", shell_complete=complete_appliances)
@click.option("--base-name", metavar="BASE", help="What the names of new nodes begin with.")
@click.option("--title", help="As insert-ethers' list shows it.")
@click.option("--action", help="What insert-ethers arms.", shell_complete=complete_actions)
@change_options
@pass_session
def set_(session: Session, name: str, base_name: str | None, title: str | None, action: str | None) -> None:
    """Alter a kind of node; nodes that exist keep their names and actions.

    \b
    bootserver appliance set compute --action "install headless"
    """
    from bootserver.cluster import appliances

    if base_name is None and title is None and action is None:
        raise UsageError("say what to set: --base-name, --title or --action")
    with session.change() as change:
        appliances.alter(change, name, base_name=base_name, title=title, action=action)
        session.tell(f"appliance {name}: set" if change.records else f"appliance {name}: was so already")


@appliance.command("remove")
@click.argument("name", shell_complete=complete_appliances)
@confirm_options
@change_options
@pass_session
def remove(session: Session, name: str) -> None:
    """Remove a kind of node that has no nodes any more.

    \b
    bootserver appliance remove gpu
    """
    from bootserver.cluster import appliances

    session.confirm(f"Remove appliance {name} and its attributes?")
    with session.change() as change:
        appliances.remove(change, name)
        session.tell(f"Removed appliance {name}")
