"""Kernels, ramdisks and floppies of boot actions: found below ``tftpboot``, or copied there."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import click

from bootserver.cli.story import size
from bootserver.errors import NotFound, Unavailable
from bootserver.values import grammar

FOLDER = "actions"
_CHUNK = 1 << 20
_QUIET_SECONDS = 1.0  # a copy that takes longer shows how far it is


class BootFiles:
    """The files of one action. Copies are made aside, and take their place all together by :meth:`put`."""

    def __init__(self, tftpboot: Path, action: str, node: str | None, *, copies: bool) -> None:
        """
        :param copies: False for a dry run: look at the files, and leave them.
        """
        self._tftpboot = tftpboot
        # Spaces become "+", which no action's name holds, so that two actions never share a folder; nor do two nodes.
        folder = action.replace(" ", "+")
        self._folder = Path(FOLDER) / (folder if node is None else f"{folder}@{grammar.host_label(node)}")
        self._copies = copies
        self._staged: dict[Path, Path] = {}
        self._sources: dict[Path, Path] = {}

    def __enter__(self) -> BootFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for aside in self._staged:
            aside.unlink(missing_ok=True)

    def take(self, text: str) -> str:
        """A kernel, ramdisk or floppy as the action names it: a URL, or a path below ``tftpboot``.

        :raises NotFound: there is no such file. :raises Unavailable: it can't be copied.
        """
        if "://" in text:
            return grammar.boot_url(text)
        path = Path(text)
        if not path.is_absolute():
            relative = grammar.boot_path(text)
            if not (self._tftpboot / relative).is_file():
                mend = "put it there, or give an absolute path to have it copied"
                raise NotFound(f"there is no file {relative} below {self._tftpboot}: {mend}")
            return relative
        if not path.is_file():
            raise NotFound(f"there is no file {text!r}")
        with contextlib.suppress(ValueError):  # it is below tftpboot already
            return grammar.boot_path(str(path.relative_to(self._tftpboot)))
        return self._copy(path)

    @property
    def copied(self) -> frozenset[str]:
        """The names of the copies, as actions say them."""
        return frozenset(map(str, self._sources))

    def put(self) -> None:
        """Put the copies in place. :raises Unavailable: they can't be."""
        for aside, target in self._staged.items():
            try:
                aside.replace(target)
            except OSError as error:
                raise Unavailable(f"{target} can't be written: {error.strerror}") from error

    def _copy(self, source: Path) -> str:
        relative = self._folder / source.name
        number = 2
        while self._sources.get(relative, source) != source:  # /a/initrd.img and /b/initrd.img
            relative = self._folder / f"{number}-{source.name}"
            number += 1
        known = relative in self._sources
        self._sources[relative] = source
        name = grammar.boot_path(str(relative))
        if self._copies and not known:
            target = self._tftpboot / name
            aside = target.with_name(f".{target.name}.{os.getpid()}")
            try:
                for folder in (self._tftpboot / FOLDER, target.parent):
                    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
                self._staged[aside] = target
                with source.open("rb") as reading, aside.open("wb") as writing:
                    _pump(reading, writing, source.name)
                    os.fchmod(writing.fileno(), 0o644)  # the service reads it as another user
                    os.fsync(writing.fileno())
            except OSError as error:
                raise Unavailable(f"{source} can't be copied to {target}: {error.strerror}") from error
        return name


def _pump(reading: BinaryIO, writing: BinaryIO, name: str) -> None:
    whole, done, started = os.fstat(reading.fileno()).st_size, 0, time.monotonic()
    shows = False
    while chunk := reading.read(_CHUNK):
        writing.write(chunk)
        done += len(chunk)
        if time.monotonic() - started > _QUIET_SECONDS and sys.stderr.isatty():
            shows = True
            click.echo(f"\rcopying {name}: {size(done)} of {size(whole)}", err=True, nl=False)
    writing.flush()
    if shows:
        click.echo(err=True)
