"""What two manifests differ in: what was added, removed and changed, and what of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum

from bootserver.images.manifest import Entry, EntryType, Manifest


class Kind(Enum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Difference:
    """:ivar path: with a leading slash, as the tree's own system names it.
    :ivar what: for what was changed: ``("content", "mode 0644 -> 0755")``.
    """

    kind: Kind
    path: str
    what: tuple[str, ...] = ()


def compare(before: Manifest, after: Manifest) -> list[Difference]:
    """What `after` has, lacks or has otherwise, in the order of paths.

    The time of a folder is no difference: it only says that something in it was added or removed.
    """
    old = {entry.path: entry for entry in before.entries}
    new = {entry.path: entry for entry in after.entries}
    found = []
    for path in sorted(old.keys() | new.keys()):
        shown = "/" if path == b"." else "/" + os.fsdecode(path)
        if path not in old:
            found.append(Difference(Kind.ADDED, shown))
        elif path not in new:
            found.append(Difference(Kind.REMOVED, shown))
        elif what := _changes(old[path], new[path]):
            found.append(Difference(Kind.CHANGED, shown, what))
    return found


def _changes(old: Entry, new: Entry) -> tuple[str, ...]:
    if old == new:
        return ()
    if old.type is not new.type:
        return (f"{_word(old)} -> {_word(new)}",)
    checks = (
        (old.content != new.content, "content"),
        (old.target != new.target, f"target {os.fsdecode(old.target or b'')} -> {os.fsdecode(new.target or b'')}"),
        (old.device != new.device, f"device {old.device} -> {new.device}"),
        (old.mode != new.mode, f"mode {old.mode:04o} -> {new.mode:04o}"),
        ((old.uid, old.gid) != (new.uid, new.gid), f"owner {old.uid}:{old.gid} -> {new.uid}:{new.gid}"),
        (old.attributes != new.attributes, "attributes"),
        (old.group != new.group, "hard links"),
        (old.modified != new.modified and old.type is not EntryType.FOLDER, "time"),
    )
    return tuple(words for differs, words in checks if differs)


def _word(entry: Entry) -> str:
    return entry.type.name.lower().replace("_", " ")
