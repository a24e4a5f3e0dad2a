"""``bootserver image list``, ``show`` and ``diff``: images looked at."""

from __future__ import annotations

import click

from bootserver.cli.image_session import complete_images, open_store, tell_findings
from bootserver.cli.session import Session, pass_session
from bootserver.cli.story import size
from bootserver.cli.table import Cell, format_option, plain, show
from bootserver.errors import NotFound


@click.command("list")
@format_option
@pass_session
def list_(session: Session, format_: str) -> None:
    """List images, and how many nodes are installed from each.

    \b
    bootserver image list
    """
    from bootserver.cluster import images, uses
    from bootserver.db.rows import ImageRow
    from bootserver.images.description import Description, DescriptionError

    store = open_store(session)
    with session.read() as reader:
        known = {row.name for row in reader.rows(ImageRow)}
        nodes = uses.nodes_by(reader, images.ATTRIBUTE)
    there = store.names()
    rows: list[tuple[Cell, ...]] = []
    for name in sorted(known | set(there)):
        found: Description | None = None
        if name not in there:
            session.warn(f"image {name} has no files: make it again, or `bootserver image remove {name}`")
        else:
            try:
                found = store.describe(name)
            except (DescriptionError, NotFound) as error:
                session.warn(str(error))
            if name not in known:
                session.warn(f"image {name} is not in the database: `bootserver image check {name}` puts it there")
        used = len(nodes.get(name, []))
        if found is None:
            rows.append((name, None, None, None, None, None, None, used))
        else:
            shown = size(found.size) if format_ == "table" else found.size
            rows.append((name, found.distribution, found.kernel, shown, found.entries, found.created, found.parent, used))
    show(("NAME", "DISTRIBUTION", "KERNEL", "SIZE", "ENTRIES", "CREATED", "PARENT", "NODES"), rows, format_)


@click.command("show")
@click.argument("name", shell_complete=complete_images)
@pass_session
def show_image(session: Session, name: str) -> None:
    """Show an image: what it is, who is installed from it, and whether it can boot.

    \b
    bootserver image show golden
    """
    from bootserver.cluster import images, selection, uses
    from bootserver.images.bootable import findings

    store = open_store(session)
    described = store.describe(images.check_name(name))
    with session.read() as reader:
        used_by = uses.places(reader, images.ATTRIBUTE, name)
        nodes = uses.nodes_by(reader, images.ATTRIBUTE).get(name, [])
    facts = (
        ("name", described.name),
        ("title", described.title),
        ("distribution", described.distribution),
        ("architecture", described.architecture),
        ("kernel", described.kernel),
        ("size", f"{size(described.size)} in {described.entries} entries"),
        ("created", described.created),
        ("source", described.source),
        ("parent", described.parent),
        ("checksum", described.checksum),
        ("set for", ", ".join(used_by)),
        ("nodes", selection.fold(nodes) if nodes else None),
        ("files", str(store.tree(name))),
    )
    for key, value in facts:
        click.echo(plain(f"{key + ':':14}{value or '-'}"))
    tell_findings(name, findings(store.tree(name)))


@click.command("diff")
@click.argument("old", shell_complete=complete_images)
@click.argument("new", shell_complete=complete_images)
@format_option
@pass_session
def diff(session: Session, old: str, new: str, format_: str) -> None:
    """Show what image NEW has added, removed and changed against image OLD.

    What was altered by hand is seen after `bootserver image check`.

    \b
    bootserver image diff golden golden-2
    """
    from bootserver.images.difference import compare

    store = open_store(session)
    found = compare(store.manifest(old), store.manifest(new))
    show(("CHANGE", "PATH", "WHAT"), [(each.kind.value, each.path, _words(each.what, format_)) for each in found], format_)


def _words(what: tuple[str, ...], format_: str) -> str | list[str]:
    return ", ".join(what) if format_ == "table" else list(what)
