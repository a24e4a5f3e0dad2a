"""``.treeinfo``: what a tree of the RHEL family, Fedora or SUSE says of itself.

The format is productmd's (https://productmd.readthedocs.io, treeinfo-1.x); RHEL 7 and before write its forerunner, which has
``[general]`` only. productmd still writes ``[general]`` for those that read no other.
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass

from bootserver.errors import Refused
from bootserver.install.distribution.found import title, version
from bootserver.tree.inside import Inside

NAMES = (".treeinfo", "treeinfo")
"""Web servers that hide dot files serve it by the second name, and so do mirrors of theirs."""
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class TreeInfo:
    """:ivar family: ``Rocky Linux``. :ivar name: ``Rocky Linux 9.4``.
    :ivar version: as it is written. :ivar number: what of it is a number; maybe empty.
    :ivar kernel: a path in the tree, as it is written; None where none is named. :ivar initrd: likewise.
    :ivar repositories: folders with packages.
    """

    family: str
    name: str
    version: str
    number: str
    architecture: str
    kernel: str | None
    initrd: str | None
    repositories: tuple[str, ...]


def read(inside: Inside) -> TreeInfo | None:
    """A tree's, None where it has none. :raises Refused: it can't be read."""
    for path in NAMES:
        text = inside.read(path, _MAX_BYTES + 1)
        if text is not None:
            if len(text) > _MAX_BYTES:
                raise Refused(f"its {path} has more than {_MAX_BYTES >> 20} MiB, which none has")
            return _parse(text.decode(errors="replace"), path)
    return None


def _parse(text: str, path: str) -> TreeInfo:
    # No interpolation: a "%" is a "%". Not strict: real ones name an option twice (RHEL 6's add-ons).
    parser = configparser.ConfigParser(interpolation=None, strict=False, empty_lines_in_values=False)
    try:
        parser.read_string(text, path)
    except (configparser.Error, ValueError) as error:
        raise Refused(f"its {path} can't be read: {title(str(error))}") from error

    def value(key: str, *sections: str) -> str:
        for section in sections:
            if found := parser.get(section, key, fallback="").strip():
                return found
        return ""

    architecture = value("arch", "tree", "general")
    images = f"images-{architecture}"
    number = value("version", "release", "general")
    family = title(value("name", "release") or value("family", "general"))
    variants = [name for name in parser.sections() if name.startswith(("variant-", "addon-"))]
    repositories = [value("repository", section) for section in ("general", *variants)]
    return TreeInfo(
        family,
        title(value("name", "general") or f"{family} {number}"),
        title(number),
        version(number),
        architecture,
        value("kernel", images) or None,
        value("initrd", images) or None,
        tuple(dict.fromkeys(each for each in repositories if each)),
    )
