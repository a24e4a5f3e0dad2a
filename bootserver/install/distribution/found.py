"""What was found in a tree, and how its words are made safe: a tree may say of itself whatever it likes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from bootserver.errors import Refused
from bootserver.tree.inside import Inside

_LONGEST_TITLE = 100
_VERSION = re.compile(r"\d{1,8}(?:\.\d{1,8}){0,3}")

ARCHITECTURES = {
    "amd64": "x86_64",
    "x86_64": "x86_64",
    "arm64": "aarch64",
    "aarch64": "aarch64",
    "ppc64el": "ppc64le",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "i386": "i686",
    "i586": "i686",
    "riscv64": "riscv64",
}
"""As distributions call them, and as the kernel does (uname -m)."""


class Kind(Enum):
    """Of what an installer is told by. The value names the template; a site has words of its own, too."""

    KICKSTART = "kickstart"
    PRESEED = "preseed"
    AUTOINSTALL = "autoinstall"
    AUTOYAST = "autoyast"


@dataclass(frozen=True, slots=True)
class Found:
    """What a tree is.

    :ivar version: empty where the tree does not say it as a number.
    :ivar kernel: its path in the tree; `initrds` likewise.
    :ivar served: nodes fetch packages or the installer itself out of it, so it goes out below ``distro/NAME/``.
    :ivar iso: the name, in the tree, of the ISO that the installer fetches as a whole; None where it fetches files.
    :ivar has_packages: False for a boot medium: packages come from elsewhere.
    :ivar from_disc_only: its ramdisk looks for packages on a disc in the node's own drive, and nowhere else.
    """

    kind: Kind
    family: str
    title: str
    version: str
    architecture: str
    kernel: str
    initrds: tuple[str, ...]
    served: bool = True
    iso: str | None = None
    has_packages: bool = True
    from_disc_only: bool = False


def title(text: str) -> str:
    """A name as a tree says it: one line, printable, not too long."""
    words = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return words[:_LONGEST_TITLE]


def version(text: str) -> str:
    """The number that begins a text (``9``, ``12.5``, ``24.04``); empty where there is none (``Rawhide``)."""
    found = _VERSION.match(text.strip())
    return found.group() if found else ""


def first_line(text: str | None) -> str:
    """The first line that says anything."""
    return next((line.strip() for line in (text or "").splitlines() if line.strip()), "")


def need(inside: Inside, path: str, what: str) -> str:
    """A file that a tree can't do without.

    :param what: whose tree it is.
    :returns: its path. :raises Refused: it is not there, or it is empty.
    """
    status = inside.stat(path)
    if status is None or not inside.is_file(path):
        raise Refused(f"{what} without {path}: the tree was not copied as a whole")
    if status.st_size == 0:
        raise Refused(f"{what} whose {path} is empty: the tree was not copied as a whole")
    return path
