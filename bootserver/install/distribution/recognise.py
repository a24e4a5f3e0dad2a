"""What is this tree? The one question that an administrator is not asked."""

from __future__ import annotations

from pathlib import Path

from bootserver.errors import Refused
from bootserver.install.distribution import debian, redhat, suse, ubuntu
from bootserver.install.distribution.found import Found
from bootserver.tree.inside import Inside

PEEK = tuple(dict.fromkeys((*redhat.PEEK, *debian.PEEK, *ubuntu.PEEK, *suse.PEEK)))
"""Of an ISO, what must be unpacked to know what it is (patterns of bsdtar's ``--include``)."""

LOOKED_FOR = ", ".join((redhat.LOOKED_FOR, debian.LOOKED_FOR, ubuntu.LOOKED_FOR, suse.LOOKED_FOR))


class NoTree(Refused):
    """It is a tree of nothing that is known here; the text says what was looked for."""


def recognise(tree: Path, shown: str | None = None, *, iso: str | None = None) -> Found:
    """What an install tree is.

    :param shown: what it is called in errors; None: its path.
    :param iso: the name, in the tree, of the ISO that it was unpacked from.
    :raises NoTree: it is none. :raises Refused: it is one that lacks something; the text says which file.
    """
    shown = shown or str(tree)
    with Inside(tree) as inside:
        try:
            # Ubuntu's server disc has dists/ and pool/ as well, so casper is looked for before Debian's.
            found = redhat.look(inside) or suse.look(inside) or ubuntu.look(inside, iso) or debian.look(inside)
        except Refused as error:
            raise Refused(f"{shown}: {error}") from error
    if found is None:
        raise NoTree(f"{shown} is no tree of a distribution: looked for {LOOKED_FOR}")
    return found
