"""``bootserver distro add`` and ``remove``: a folder or an ISO becomes a distribution that nodes are installed from, and ends."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bootserver.cli.distro_session import complete_distributions, shelves
from bootserver.cli.progress import ProgressLine
from bootserver.cli.session import Session, change_options, confirm_options, pass_session
from bootserver.errors import Refused

if TYPE_CHECKING:
    from bootserver.db.rows import DistributionRow
    from bootserver.install.distribution.shelf import Shelf


@click.command("add")
@click.argument("name", shell_complete=complete_distributions)
@click.argument("path", metavar="PATH|ISO", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="There may be one of that name already.")
@click.option("--kind", metavar="NAME", help="Of what its installer is told by, which names the template [found out].")
@click.option("--version", metavar="N", help="Whose syntax that has [found out].")
@click.option("--kernel", metavar="PATH|URL", help="In the tree, or absolute and then copied [found out].")
@click.option("--initrd", "initrds", multiple=True, metavar="PATH|URL", help="Likewise; several are loaded in this order.")
@click.option("--args", metavar='"..."', help="Kernel arguments; @frontend@ and @ticket@ are filled in [by the kind].")
@change_options
@pass_session
def add(
    session: Session,
    name: str,
    path: Path,
    replace: bool,
    kind: str | None,
    version: str | None,
    kernel: str | None,
    initrds: tuple[str, ...],
    args: str | None,
) -> None:
    """Add a distribution: a tree, which is served from where it is, or an ISO, which is unpacked.

    What it is, is found out: RHEL and those like it, Fedora, Debian, Ubuntu, openSUSE, SLE. Of another one say how it is booted.

    \b
    bootserver distro add rocky-9 Rocky-9.4-x86_64-dvd.iso
    bootserver distro add rocky-9 /srv/mirror/rocky/9/BaseOS/x86_64/os --replace
    bootserver distro add debian-12 /usr/lib/debian-installer/images/12/amd64/text
    bootserver distro add coreos /srv/coreos --kind ignition --kernel vmlinuz --initrd initrd.img \\
        --args "coreos.inst.install_dev=/dev/sda coreos.inst.ignition_url=@frontend@node/kickstart/@ticket@"
    """
    from bootserver.cluster import distributions
    from bootserver.db.rows import DistributionRow
    from bootserver.install.distribution import reach
    from bootserver.install.distribution.taking import Wanted, take

    distributions.check_name(name)
    wanted = Wanted.check(kind, version, kernel, initrds, args, copies=not session.dry_run)
    with session.read() as reader:  # say now what would otherwise be said after minutes
        if not replace and reader.one(DistributionRow, "name = :name", name=name) is not None:
            raise Refused(distributions.taken(name))
    frontend = session.config.frontend
    trees, boots = shelves(session)
    with trees.draft(name) as draft, boots.draft(name) as boot, ProgressLine(f"distribution {name}") as progress:
        taken = take(name, path, wanted, state=frontend.state, trees=trees, draft=draft, boot=boot, progress=progress)
        tree = Path(taken.row.tree) if taken.row.tree and not taken.unpacked else None
        if tree is not None:
            reach.check_readable(tree, frontend.user)
        with contextlib.ExitStack() as stack:
            if not (taken.unpacked or session.dry_run or taken.row.tree == _unpacked(trees, name)):
                stack.enter_context(trees.removing(name))  # of the ISO that was there before, if one was
            with session.change() as change:
                distributions.put(change, taken.row, replace=replace)
                # As the last thing before the commit; if that fails, the drafts give back what was there.
                if not session.dry_run:
                    boot.publish()
                    if taken.unpacked:
                        draft.publish()
                session.tell(_words(taken.row))
    for warning in taken.warnings:
        session.warn(warning)
    if tree is not None:
        _warn_where_hidden(session, tree)
    _warn_without_template(session, taken.row.kind)


@click.command("remove")
@click.argument("name", shell_complete=complete_distributions)
@click.option("--used", is_flag=True, help="Also where attributes name it.")
@confirm_options
@change_options
@pass_session
def remove(session: Session, name: str, used: bool) -> None:
    """Remove a distribution, with what was unpacked and copied for it. A tree that was given as a folder stays.

    `undo` brings back its name, not its files: `distro list` shows that they are missing, and nothing is installed from it.

    \b
    bootserver distro remove rocky-9
    """
    from bootserver.cluster import distributions
    from bootserver.db.rows import DistributionRow

    trees, boots = shelves(session)
    with session.read() as reader:
        row = reader.one(DistributionRow, "name = :name", name=name)
        left = [shelf for shelf in (trees, boots) if name in shelf.names()]
        if row is None and not left:
            distributions.get(reader, name)  # which says what there is
    stays = f"? {row.tree} stays" if row is not None and row.tree and row.tree != _unpacked(trees, name) else "?"
    session.confirm(f"Remove distribution {name} and what was unpacked and copied for it{stays}")
    with contextlib.ExitStack() as stack:
        if not session.dry_run:
            # The files go when the row is gone.
            for shelf in left:
                stack.enter_context(shelf.removing(name))
        if row is not None:
            with session.change() as change:
                distributions.remove(change, name, used=used)
                session.tell(f"Removed distribution {name}")
    if row is None and not session.dry_run:
        click.echo(f"Removed the files of {name}, which was not in the database")


def _unpacked(trees: Shelf, name: str) -> str:
    return str(trees.folder.resolve() / name)


def _words(row: DistributionRow) -> str:
    facts = ", ".join(each for each in (row.kind, row.architecture) if each)
    return f"Added distribution {row.name}: {row.title} ({facts})" + (f", served from {row.tree}" if row.tree else "")


def _warn_where_hidden(session: Session, tree: Path) -> None:
    from bootserver.install.distribution import reach

    if hidden := reach.hidden_by(tree):
        session.warn(f"the service, started by systemd, does not see {hidden} (ProtectHome, PrivateTmp): put the tree elsewhere")


def _warn_without_template(session: Session, kind: str) -> None:
    from bootserver import data

    folders = (session.config.frontend.state / "kickstart", data.folder("kickstart"))
    if not any((folder / f"{kind}.j2").is_file() for folder in folders):
        session.warn(f"there is no template {kind}.j2 yet, which its installer is told by: put it into {folders[0]}")
