"""Golden images as the cluster knows them: their names. The trees are ``images/``'s business; who has which, ``uses.py`` says."""

from __future__ import annotations

import re

from bootserver.cluster import uses
from bootserver.cluster.change import Change, Reader
from bootserver.db.rows import ImageRow, InstallRow, InstallState, NodeRow
from bootserver.errors import NotFound, Refused, UsageError

ATTRIBUTE = "image"

# A folder's name, a word in URLs and in rsync's configuration; never one that begins with a dot (drafts do).
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def check_name(text: str) -> str:
    """An image's name. :raises UsageError: it can't be one."""
    if not _NAME.fullmatch(text):
        raise UsageError(
            f"{text!r} is no name of an image: lower-case letters, digits, '.', '_' and '-', at most 63, the first no '.'"
        )
    return text


def get(reader: Reader, name: str) -> ImageRow:
    """:raises NotFound: there is none of that name."""
    row = reader.one(ImageRow, "name = :name", name=name)
    if row is None:
        raise NotFound(f"no image {name!r}; {_there_are([each.name for each in reader.rows(ImageRow)])}")
    return row


def add(change: Change, name: str) -> ImageRow:
    """:raises Refused: there is one already."""
    check_name(name)
    if change.one(ImageRow, "name = :name", name=name):
        raise Refused(f"image {name} exists already: `bootserver image remove {name}` first, or choose another name")
    return change.insert(ImageRow(0, name))


def remove(change: Change, name: str) -> None:
    """:raises Refused: somebody uses it. :raises NotFound: there is none."""
    row = get(change, name)
    for node in change.rows(NodeRow, "id IN (SELECT node_id FROM install WHERE image = :name)", name=name):
        install = change.one(InstallRow, "node_id = :node", node=node.id)
        if install is not None and install.state is InstallState.RUNNING:
            raise Refused(
                f"image {name} is being installed on {node.name}: wait for its end, or `bootserver pxe set {node.name} os`"
            )
    if found := uses.places(change, ATTRIBUTE, name):
        raise Refused(f"image {name} is used: {uses.used(ATTRIBUTE, found)}")
    change.delete(row)


def _there_are(names: list[str]) -> str:
    return f"there are {', '.join(names)}" if names else "`bootserver image create` and `bootserver image import` make one"
