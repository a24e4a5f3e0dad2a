"""``bootserver pxe``: what nodes boot next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from bootserver.cli.arguments import complete_nodes_and_actions, nodes_argument
from bootserver.cli.pxe_action import action
from bootserver.cli.session import Session, change_options, pass_session
from bootserver.cli.table import format_option, show
from bootserver.errors import UsageError

if TYPE_CHECKING:
    from bootserver.cluster.change import Reader


@click.group()
def pxe() -> None:
    """What nodes boot next, and the actions that there are."""


pxe.add_command(action)


@pxe.command("list")
@nodes_argument(required=False)
@format_option
@pass_session
def list_(session: Session, nodes: tuple[str, ...], format_: str) -> None:
    """List what nodes boot next, where that comes from, and what an install resolves to.

    \b
    bootserver pxe list
    bootserver pxe list rack0 --format csv
    """
    from bootserver.cluster import selection, status

    with session.read() as reader:
        nexts = status.Nexts(reader)
        found = [(node.name, nexts.of(node)) for node in selection.select(reader, nodes)]
    show(
        ("NODE", "ACTION", "BECAUSE", "INSTALL"),
        [
            (name, each.action.name, each.because, f"can't: {each.source}" if each.source and not each.resolved else each.source)
            for name, each in found
        ],
        format_,
    )


@pxe.command("set")
@click.argument("words", nargs=-1, required=True, metavar="NODE... ACTION", shell_complete=complete_nodes_and_actions)
@click.option("--wipe", is_flag=True, help="The install may destroy data partitions, too.")
@click.option("--new-host-keys", is_flag=True, help="The node gets new SSH host keys; else it keeps those that it has.")
@change_options
@pass_session
def set_(session: Session, words: tuple[str, ...], wipe: bool, new_host_keys: bool) -> None:
    """Set what NODES boot next. An install is armed by this: their next boot installs them, then they boot their disks.

    \b
    bootserver pxe set compute-0-0 install
    bootserver pxe set compute-0-[0-31] rack7 install headless
    bootserver pxe set compute-0-0 install --wipe
    bootserver pxe set rack0 os
    """
    from bootserver.cluster import installs, selection

    with session.change() as change:
        nodes, name = split_action(change, words)
        found = selection.select(change, nodes)
        for node in found:
            tftpboot = session.config.frontend.tftpboot
            installs.set_action(change, node, name, wipe=wipe, new_host_keys=new_host_keys, tftpboot=tftpboot)
        shown = found[0].name if len(found) == 1 else selection.fold(node.name for node in found)
        session.tell(f"{shown}: {name}" + (" (data partitions, too)" if wipe else ""))


def split_action(reader: Reader, words: Sequence[str]) -> tuple[Sequence[str], str]:
    """Nodes and action: the most words at the end that are a known action together are the action.

    :raises NotFound: no boot action stands there. :raises UsageError: no node does.
    """
    from bootserver.cluster import boot_actions
    from bootserver.cluster.actions import SHIPPED

    if len(words) < 2:
        raise UsageError("name the nodes and the action, such as `bootserver pxe set compute-0-0 install`")
    added = reader.connection.rows("SELECT DISTINCT name FROM boot_action")
    known = {*SHIPPED, *(row["name"] for row in added)}
    for first in range(1, len(words)):
        name = " ".join(words[first:])
        if name in known:
            return words[:first], name
    return words[:-1], boot_actions.find(reader, words[-1], None).name  # which raises, and tells the actions that there are
