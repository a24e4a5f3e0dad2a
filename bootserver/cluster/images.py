"""Golden images as the cluster knows them: their names, and who is installed from which. The trees are ``images/``'s business."""

from __future__ import annotations

import re

from bootserver.cluster.attributes import Inheritance
from bootserver.cluster.change import Change, Reader
from bootserver.db.rows import ApplianceRow, AttributeRow, ImageRow, InstallRow, InstallState, NodeRow, Scope
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
    if places := users(change, name):
        more = f" and {len(places) - 1} more" if len(places) > 1 else ""
        raise Refused(f"image {name} is used: it is set for {places[0]}{more}; `{_mend(places[0])}` first")
    change.delete(row)


def users(reader: Reader, name: str) -> list[str]:
    """Where an attribute names an image: ``all nodes``, ``appliance compute``, ``rack 0``, ``node compute-0-0``."""
    appliances = {row.id: row.name for row in reader.rows(ApplianceRow)}
    found = []
    for row in reader.rows(AttributeRow, "key = :key AND value = :name ORDER BY id", key=ATTRIBUTE, name=name):
        match row.scope:
            case Scope.GLOBAL:
                found.append("all nodes")
            case Scope.APPLIANCE:
                found.append(f"appliance {appliances.get(row.owner, row.owner)}")
            case Scope.RACK:
                found.append(f"rack {row.owner}")
            case Scope.NODE:
                node = reader.one(NodeRow, "id = :id", id=row.owner)
                found.append(f"node {node.name if node else row.owner}")
    return found


def nodes_by_image(reader: Reader) -> dict[str, list[str]]:
    """The names of the nodes that are installed from each image, by their attributes."""
    inheritance = Inheritance(reader.rows(AttributeRow, "key = :key", key=ATTRIBUTE))
    found: dict[str, list[str]] = {}
    for node in reader.rows(NodeRow):
        image = inheritance.of(node).get(ATTRIBUTE)
        if image:
            found.setdefault(image, []).append(node.name)
    return found


def _mend(place: str) -> str:
    kind, _, which = place.partition(" ")
    scope = "" if place == "all nodes" else f" {which}" if kind == "node" else f" --{kind} {which}"
    return f"bootserver attr remove {ATTRIBUTE}{scope}"


def _there_are(names: list[str]) -> str:
    return f"there are {', '.join(names)}" if names else "`bootserver image create` and `bootserver image import` make one"
