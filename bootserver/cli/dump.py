"""``bootserver dump``: the cluster as text."""

from __future__ import annotations

import os
from pathlib import Path

import click

from bootserver.cli.session import Session, pass_session
from bootserver.errors import Unavailable


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@pass_session
def dump(session: Session, file: Path | None) -> None:
    """Write the cluster as text, one thing a line, sorted: to keep, compare, and `restore`. Without FILE it is printed.

    Not in it: secrets, armed installs, images, events.

    \b
    bootserver dump > cluster.dump
    bootserver dump /root/cluster-before.dump
    """
    from bootserver.cluster.dump import write

    with session.read() as reader:
        text = write(reader)
    if file is None or str(file) == "-":
        click.echo(text, nl=False)
        return
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:  # a dump that was there before is whole until the new one is
        aside.write_text(text, encoding="utf-8")
        aside.replace(file)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise Unavailable(f"{file} can't be written: {error.strerror}") from error
