"""What rsync's daemon is told for one node (rsyncd.conf(5)): a single module, read-only and unlisted, for its address and its
secret alone. A module for each image would let one node's secret open it for another."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from bootserver.errors import Refused

IDLE_SECONDS = 300
"""A connection that moves nothing for so long is ended."""


@dataclass(frozen=True, slots=True)
class Module:
    """A node's way to its image. :ivar tree: the image's files. :ivar secrets: file that holds ``NODE:SECRET``."""

    node: str
    address: IPv4Address
    tree: Path
    secrets: Path


def configuration(module: Module) -> str:
    """The whole configuration for a connection of this node.

    ``use chroot``: no symbolic link of an image leads out of it. Owner 0: an image holds files that only root may read.

    :raises Refused: a path can't be written there.
    """
    for path in (module.tree, module.secrets):
        if not str(path).isprintable() or "%" in str(path) or str(path) != str(path).strip():
            raise Refused(f"rsyncd.conf can't name {str(path)!r}: frontend.state must be a plain path")
    return f"""\
uid = 0
gid = 0
use chroot = yes
read only = yes
list = no
numeric ids = yes
munge symlinks = no
reverse lookup = no
forward lookup = no
timeout = {IDLE_SECONDS}
max verbosity = 1
[{module.node}]
path = {module.tree}
hosts allow = {module.address}
auth users = {module.node}
secrets file = {module.secrets}
strict modes = yes
"""
