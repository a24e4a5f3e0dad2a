"""``bootserver image create``, ``import`` and ``clone``: images made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bootserver.cli.image_session import complete_images, open_store, refuse_existing, register, tell_findings
from bootserver.cli.progress import ProgressLine
from bootserver.cli.session import Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from bootserver.images.store import Draft, ImageStore
    from bootserver.values.progress import Progress

_mend_option = click.option(
    "--mend", is_flag=True, help="Install what it lacks to boot: a kernel, GRUB, an initrd for any machine."
)
_PATH = click.Path(path_type=Path)


@click.command("create")
@click.argument("name")
@click.option("--distribution", required=True, metavar="NAME", help="debian-12, ubuntu-24.04 ...")
@click.option("--mirror", "mirrors", multiple=True, metavar="URL", help="Where packages come from; also a whole 'deb ...' line "
              "[the frontend's own sources if it runs the same, else the distribution's].")  # fmt: skip
@click.option("--packages", "packages_file", type=_PATH, metavar="FILE", help="More packages: one a line, # begins a comment.")
@click.option("--only", is_flag=True, help="Install those packages only, not those that a node usually needs.")
@click.option("--architecture", default="amd64", show_default=True)
@click.option("--kernel", metavar="PACKAGE", help="The kernel's package [linux-image-amd64, linux-image-generic].")
@click.option("--prepare", type=_PATH, metavar="FILE", help="A program of yours, run in the image as the last step.")
@_mend_option
@pass_session
def create(
    session: Session,
    name: str,
    distribution: str,
    mirrors: tuple[str, ...],
    packages_file: Path | None,
    only: bool,
    architecture: str,
    kernel: str | None,
    prepare: Path | None,
    mend: bool,
) -> None:
    """Make an image from a distribution's packages. Its root has no password; who may log in by SSH is in keys/authorized_keys.

    \b
    bootserver image create golden --distribution debian-12
    bootserver image create lab --distribution ubuntu-24.04 --packages lab.packages
    bootserver image create golden --distribution debian-13 --mirror http://mirror.example.org/debian --prepare finish.sh
    """
    from bootserver.images import creating

    packages = creating.read_packages(packages_file) if packages_file else ()
    recipe = creating.Recipe(distribution, architecture, mirrors, packages, not only, kernel, prepare)
    store = open_store(session)
    _make(session, store, name, "Created", mend, lambda draft, progress: creating.create(draft.tree, recipe, progress))


@click.command("import")
@click.argument("name")
@click.argument("path", metavar="FILE|DIR", type=_PATH)
@click.option("--tag", metavar="TAG", help="Which of a container archive's images, where it holds several.")
@_mend_option
@pass_session
def import_(session: Session, name: str, path: Path, tag: str | None, mend: bool) -> None:
    """Make an image of a folder, a tar, a container's image (OCI layout or docker save) or a squashfs.

    What it is, its content says. What makes it one machine (machine-id, SSH host keys, host name ...) is taken out.

    \b
    bootserver image import golden /srv/golden.tar.zst
    bootserver image import rocky rocky-9.oci.tar --tag 9 --mend
    """
    from bootserver.images import importing

    store = open_store(session)

    def fill(draft: Draft, progress: Progress) -> str:
        return importing.import_tree(draft, path, tag=tag, progress=progress)

    importing.recognize(path)
    _make(session, store, name, "Imported", mend, fill)


@click.command("clone")
@click.argument("name", shell_complete=complete_images)
@click.argument("new")
@pass_session
def clone(session: Session, name: str, new: str) -> None:
    """Copy image NAME as image NEW, with all that its files have.

    \b
    bootserver image clone golden golden-2
    """
    from bootserver.images.bootable import findings

    store = open_store(session)
    refuse_existing(session, store, new)
    with ProgressLine(f"image {new}") as progress:
        description = store.clone(name, new, progress)
    register(session, store, description, "Cloned")
    tell_findings(new, findings(store.tree(new)))


def _make(session: Session, store: ImageStore, name: str, done: str, mend: bool, fill: Callable[[Draft, Progress], str]) -> None:
    from bootserver.images import mending
    from bootserver.images.bootable import findings

    refuse_existing(session, store, name)
    with store.draft(name) as draft, ProgressLine(f"image {name}") as progress:
        source = fill(draft, progress)
        if mend:
            mending.mend(draft.tree, progress)
        description = draft.publish(source=source, progress=progress)
    register(session, store, description, done)
    tell_findings(name, findings(store.tree(name)))
