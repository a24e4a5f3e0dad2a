"""A site's own scripts, before and after an install, numbered as SystemImager's (systemimager manual, "pre-install and
post-install scripts"): ``<state>/scripts/pre-install/10all.wipe-bios-raid``, ``.../post-install/50compute.lustre``.

Two digits give the order, then a scope: ``all``, an appliance, ``rack0``, an image or a node; then a dot and any name.
Pre-install scripts run in the installer (a busybox shell) before a disk is touched, post-install scripts in the installed
system (chroot). One that fails ends the install.
"""

from __future__ import annotations

import re
from pathlib import Path

from bootserver.cluster.view import NodeView
from bootserver.errors import Refused
from bootserver.install.entries import Entry

FOLDER = "scripts"
WHEN = ("pre-install", "post-install")
_NUMBERED = re.compile(r"\d\d[A-Za-z0-9][A-Za-z0-9._-]*")


def collect(state: Path, when: str, node: NodeView, image: str) -> list[Entry]:
    """A node's scripts of one of WHEN, in their order.

    :raises Refused: one can't be read by the service, or none could tell when it runs.
    """
    folder = state / FOLDER / when
    if not folder.is_dir():
        return []
    scopes = ("all", node.appliance.name, f"rack{node.rack}", image, node.name)
    found = []
    for source in sorted(folder.iterdir()):
        if source.name.startswith(".") or source.name.endswith("~"):
            continue
        if not _NUMBERED.fullmatch(source.name):
            raise Refused(f"{source}: a script is called NNscope.name, such as 10all.{source.name}")
        if any(source.name[2:].startswith(f"{scope}.") for scope in scopes):
            try:
                found.append(Entry(source.name, 0o700, source.read_bytes()))
            except OSError as error:
                raise Refused(f"{source} can't be read by the service ({error.strerror}): `chmod a+r {source}`") from error
    return found
