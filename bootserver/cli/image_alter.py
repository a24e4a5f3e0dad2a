"""``bootserver image shell``, ``check`` and ``remove``: images altered."""

from __future__ import annotations

import contextlib

import click

from bootserver.cli.image_session import complete_images, open_store, tell_findings
from bootserver.cli.progress import ProgressLine
from bootserver.cli.session import Session, change_options, confirm_options, pass_session
from bootserver.cli.table import plain
from bootserver.errors import BootserverError, Refused


@click.command("shell", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name", shell_complete=complete_images)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
@pass_session
def shell(session: Session, ctx: click.Context, name: str, command: tuple[str, ...]) -> None:
    """Work in an image as root: in a root of its own, with /proc, /dev and the frontend's network, and no service started.

    Its exit status is that of COMMAND [a login shell]. What was altered is written down at the end.

    \b
    bootserver image shell golden
    bootserver image shell golden apt-get install -y openmpi-bin
    """
    from bootserver.images import chroot
    from bootserver.tree.inside import Inside

    store = open_store(session)
    with store.altering(name) as tree:
        if not command:
            with Inside(tree) as inside:
                command = ("/bin/bash", "--login") if inside.is_file("/bin/bash") else ("/bin/sh",)
        status = chroot.interact(tree, command)
        with ProgressLine(f"image {name}") as progress:
            store.refresh(name, progress)
    ctx.exit(status)


@click.command("check")
@click.argument("name", shell_complete=complete_images)
@click.option("--mend", is_flag=True, help="Install what it lacks: a kernel, GRUB, an initrd for any machine.")
@pass_session
def check(session: Session, name: str, mend: bool) -> None:
    """Write down what an image holds now (after it was altered by hand), and find what keeps it from booting.

    \b
    bootserver image check golden
    bootserver image check golden --mend
    """
    from bootserver.cluster import images
    from bootserver.db.rows import ImageRow
    from bootserver.images import mending
    from bootserver.images.bootable import findings
    from bootserver.images.difference import compare

    store = open_store(session)
    with store.altering(images.check_name(name)) as tree, ProgressLine(f"image {name}") as progress:
        before = None
        with contextlib.suppress(BootserverError):
            before = store.manifest(name)
        if mend:
            mending.mend(tree, progress)
        store.refresh(name, progress)
        found = findings(tree)
    if before is not None:
        changed = len(compare(before, store.manifest(name)))
        click.echo(
            f"Image {name}: " + (f"{changed} entries are not as they were" if changed else "all is as it was written down")
        )
    with session.change() as change:
        if change.one(ImageRow, "name = :name", name=name) is None:
            images.add(change, name)
            session.tell(f"Image {name} is in the database now")
    tell_findings(name, found)
    if any(finding.prevents_boot for finding in found):
        raise Refused(plain(f"image {name} can't boot: {next(each.what for each in found if each.prevents_boot)}"))


@click.command("remove")
@click.argument("name", shell_complete=complete_images)
@confirm_options
@change_options
@pass_session
def remove(session: Session, name: str) -> None:
    """Remove an image and all its files. One that a node is installed from stays.

    \b
    bootserver image remove golden
    """
    from bootserver.cluster import images
    from bootserver.db.rows import ImageRow

    store = open_store(session)
    there = store.exists(name)
    with session.read() as reader:
        known = reader.one(ImageRow, "name = :name", name=name) is not None
        if not (there or known):
            images.get(reader, name)  # which says what there is
    session.confirm(f"Remove image {name} and all its files?")
    # The files are held while the row goes, and go when it is gone.
    with store.removing(name) if there and not session.dry_run else contextlib.nullcontext():
        if known:
            with session.change() as change:
                images.remove(change, name)
                session.tell(f"Removed image {name}")
    if not known and not session.dry_run:
        click.echo(f"Removed image {name}, which was not in the database")
