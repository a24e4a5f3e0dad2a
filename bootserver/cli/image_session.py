"""What the commands of ``bootserver image`` share: the store, the image's row, and what is said of an image in the end."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

import click

from bootserver.cli.session import Session
from bootserver.cli.story import size
from bootserver.cli.table import plain
from bootserver.errors import BootserverError, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bootserver.images.bootable import Finding
    from bootserver.images.description import Description
    from bootserver.images.store import ImageStore


def open_store(session: Session) -> ImageStore:
    """The frontend's images, without what commands that were killed left there. :raises Refused: we are not root."""
    from bootserver.images.store import ImageStore

    if os.geteuid() != 0:
        raise Refused("images hold files of every owner: run it as root")
    store = ImageStore(session.config.frontend.state)
    store.clean()
    return store


def refuse_existing(session: Session, store: ImageStore, name: str) -> None:
    """Say now what would otherwise be said after minutes. :raises Refused: there is an image of that name."""
    from bootserver.cluster import images

    images.check_name(name)
    with session.read():
        pass  # the database can be read
    if store.exists(name):
        raise Refused(f"image {name} exists already: `bootserver image remove {name}` first, or choose another name")


def register(session: Session, store: ImageStore, description: Description, done: str) -> None:
    """Make an image that was just published known to the cluster; if that can't be, it goes.

    :param done: ``Created``.
    """
    from bootserver.cluster import images
    from bootserver.db.rows import ImageRow

    name = description.name
    try:
        with session.change() as change:
            if change.one(ImageRow, "name = :name", name=name) is None:  # one whose files were lost has its row still
                images.add(change, name)
    except BaseException:
        store.remove(name)
        raise
    click.echo(plain(f"{done} {name}: {description.title}, {size(description.size)} in {description.entries} entries"))


def tell_findings(name: str, found: Sequence[Finding]) -> None:
    """Whether an image can boot, and the way out."""
    prevented = any(finding.prevents_boot for finding in found)
    click.echo(f"Image {name} can't boot:" if prevented else f"Image {name} can boot" + (", but:" if found else ""))
    for finding in found:
        click.echo(plain(f"  {finding}"))
    if any(finding.mendable for finding in found):
        click.echo(f"`bootserver image check {name} --mend` mends that")


def complete_images(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of images that begin so; completion never complains."""
    from bootserver.db.rows import ImageRow

    try:
        with Session(ctx.find_root().params.get("config"), False, {}).read() as reader:
            return [row.name for row in reader.rows(ImageRow) if row.name.startswith(incomplete)]
    except (BootserverError, sqlite3.Error):
        return []
