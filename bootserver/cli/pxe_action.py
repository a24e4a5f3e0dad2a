"""``bootserver pxe action``: named recipes for a boot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bootserver.cli.arguments import complete_actions, complete_nodes
from bootserver.cli.session import Session, change_options, confirm_options, pass_session
from bootserver.cli.table import format_option, show
from bootserver.errors import Refused
from bootserver.values import grammar

if TYPE_CHECKING:
    from bootserver.cluster.change import Reader
    from bootserver.db.rows import BootActionRow, NodeRow


@click.group()
def action() -> None:
    """Boot actions: those that come with bootserver, those of this site, and those of single nodes."""


@action.command("list")
@format_option
@pass_session
def list_(session: Session, format_: str) -> None:
    """List boot actions. One of a node's own goes before the site's, that before the shipped one.

    \b
    bootserver pxe action list
    """
    from bootserver.cluster.actions import SHIPPED
    from bootserver.cluster.boot_actions import from_row
    from bootserver.db.rows import BootActionRow, NodeRow

    with session.read() as reader:
        rows = reader.rows(BootActionRow, "node_id IS NULL OR node_id IS NOT NULL ORDER BY name, node_id")
        own = {row.node_id for row in rows if row.node_id is not None}
        nodes = {row.id: row.name for row in reader.rows(NodeRow)} if own else {}
    site = {row.name for row in rows if row.node_id is None}
    listed = [(None, each) for name, each in SHIPPED.items() if name not in site]
    listed += [(None, from_row(row)) for row in rows if row.node_id is None]
    listed.sort(key=lambda pair: pair[1].name)
    of_nodes = [(nodes[row.node_id], from_row(row)) for row in rows if row.node_id is not None]
    show(
        ("ACTION", "NODE", "KERNEL", "INITRDS", "ARGS", "LOCALBOOT", "FLOPPY", "SHIPPED"),
        [
            (each.name, node, each.kernel, list(each.initrds), each.args, each.local_disk, each.floppy, each.shipped)
            for node, each in [*listed, *of_nodes]
        ],
        format_,
    )


@action.command("add")
@click.argument("name")
@click.option("--kernel", metavar="PATH|URL", help="Below tftpboot; an absolute path is copied there.")
@click.option("--initrd", "initrds", multiple=True, metavar="PATH|URL", help="A ramdisk; several are loaded in this order.")
@click.option("--args", metavar='"..."', help="Kernel arguments [none; for a floppy those of pxeflash, for memdisk].")
@click.option("--localboot", is_flag=True, help="Boot the node's own disk.")
@click.option("--floppy", metavar="PATH", help="A floppy image (BIOS only, for one boot); an absolute path is copied.")
@click.option("--node", "node_name", metavar="NODE", help="For this node only.", shell_complete=complete_nodes)
@change_options
@pass_session
def add(
    session: Session,
    name: str,
    kernel: str | None,
    initrds: tuple[str, ...],
    args: str | None,
    localboot: bool,
    floppy: str | None,
    node_name: str | None,
) -> None:
    """Add a boot action, or replace the one of that name.

    \b
    bootserver pxe action add live --kernel live/vmlinuz --initrd live/initrd.img --args "root=live:CDLABEL=x"
    bootserver pxe action add debug --kernel /boot/vmlinuz --initrd /boot/initrd.img
    bootserver pxe action add flash --floppy /root/bios-1.7.img --node compute-0-0
    bootserver pxe action add cloud --kernel http://mirror.example.org/vmlinuz
    """
    from bootserver.cli.boot_files import BootFiles
    from bootserver.cluster import boot_actions
    from bootserver.cluster.actions import SHIPPED, BootAction

    grammar.action_name(name)
    if args is None:
        args = "" if floppy is None else SHIPPED["pxeflash"].args
    args = grammar.kernel_args(args, of_boot=True)
    # Files are copied aside before the database is locked, and put in place as the last thing before the commit.
    with BootFiles(session.config.frontend.tftpboot, name, node_name, copies=not session.dry_run) as files:
        wanted = BootAction(
            name,
            None if kernel is None else files.take(kernel),
            tuple(files.take(each) for each in initrds),
            args,
            localboot,
            None if floppy is None else files.take(floppy),
        )
        with session.change() as change:
            _check_not_shared(change, boot_actions.add(change, wanted, _node(change, node_name)), files.copied)
            files.put()
            session.tell(f"boot action {name}: added" + ("" if node_name is None else f" for {node_name}"))


@action.command("remove")
@click.argument("name", shell_complete=complete_actions)
@click.option("--node", "node_name", metavar="NODE", help="The one of this node.", shell_complete=complete_nodes)
@confirm_options
@change_options
@pass_session
def remove(session: Session, name: str, node_name: str | None) -> None:
    """Remove a boot action. Files that were copied for it stay below tftpboot/actions, so that `undo` works.

    \b
    bootserver pxe action remove debug
    """
    from bootserver.cluster import boot_actions

    session.confirm(f"Remove boot action {name}" + ("?" if node_name is None else f" of {node_name}?"))
    with session.change() as change:
        boot_actions.remove(change, name, _node(change, node_name))
        session.tell(f"boot action {name}: removed" + ("" if node_name is None else f" for {node_name}"))


def _check_not_shared(reader: Reader, added: BootActionRow, copied: frozenset[str]) -> None:
    """A copy must not overwrite what another action boots (that of a node which was renamed, say)."""
    from bootserver.db.rows import BootActionRow

    for row in reader.rows(BootActionRow, "id <> :id", id=added.id):
        shared = copied.intersection((row.kernel, row.floppy, *row.initrds))
        if shared:
            raise Refused(f"boot action {row.name} boots {min(map(str, shared))} already: rename the file that is to be copied")


def _node(reader: Reader, name: str | None) -> NodeRow | None:
    from bootserver.cluster import nodes

    return None if name is None else nodes.get(reader, name)
