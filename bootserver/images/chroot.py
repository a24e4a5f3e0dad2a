"""Runs a command in a tree as if it were the system's root: what ``arch-chroot`` and ``systemd-nspawn`` do, without leaving
anything mounted or running behind.

The command is the tree's own and runs as root: an image is trusted with that by whoever opens a shell in it or has it
mended. It sees the frontend's network, not its processes, disks or mounts.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bootserver.errors import Unavailable
from bootserver.images import confined, program
from bootserver.tree.inside import Inside

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LANG": "C.UTF-8",
}
UNATTENDED = {"DEBIAN_FRONTEND": "noninteractive", "DEBCONF_NONINTERACTIVE_SEEN": "true", "UCF_FORCE_CONFFOLD": "1"}
"""For packages' scripts that would ask."""


def run(
    tree: Path,
    command: Sequence[str],
    *,
    what: str,
    watch: Callable[[str], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> list[str]:
    """Run a command in a tree, without a terminal.

    :param what: begins the error: ``installing a kernel``.
    :param watch: gets each line that it prints.
    :param environment: beside a plain one; nothing of ours is inherited.
    :returns: its last lines.
    :raises ProgramFailed: it failed.
    """
    with _clean_up(tree):
        return program.run(_command(tree, command), what=what, watch=watch, environment={**_ENVIRONMENT, **(environment or {})})


def interact(tree: Path, command: Sequence[str]) -> int:
    """Run a command in a tree, on our own terminal. :returns: its exit status."""
    environment = _ENVIRONMENT | {name: os.environ[name] for name in ("TERM", "COLORTERM") if name in os.environ}
    with _clean_up(tree):
        try:
            # An interrupt is the command's business; it reaches it from the terminal, as it does us.
            process = subprocess.Popen(_command(tree, command), env=environment)
        except FileNotFoundError as error:
            raise Unavailable(f"there is no program {error.filename}: install it") from None
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue


def _command(tree: Path, command: Sequence[str]) -> list[str]:
    # unshare's own --mount-proc is for a /proc outside the tree; confined.py mounts the tree's.
    namespaces = [word for word in program.NAMESPACES if word != "--mount-proc"]
    return [*program.TOGETHER, *namespaces, sys.executable, "-I", confined.__file__, "root", str(tree), *command]


@contextlib.contextmanager
def _clean_up(tree: Path) -> Iterator[None]:
    remove_leftovers(tree)
    try:
        yield
    finally:
        remove_leftovers(tree)


def remove_leftovers(tree: Path) -> None:
    """Remove what a command that was killed left in a tree: the file that keeps services from being started."""
    with Inside(tree) as inside:
        if inside.read(confined.POLICY) == confined.POLICY_TEXT.encode():
            inside.remove(confined.POLICY)
