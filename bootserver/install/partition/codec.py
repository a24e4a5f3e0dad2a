"""What a partition program answers, as plain values: they cross the wall of its sandbox.

Whatever comes back is a stranger's: it is read key by key, and what is unknown, of another type or absurd is one
:class:`AnswerFault`. Whether the answer makes sense on these disks is for ``check`` and ``place``.
"""

from __future__ import annotations

import enum
import json
from typing import Any, TypeVar

from bootserver.errors import BootserverError
from bootserver.install.document import Fault, Found
from bootserver.install.inventory import MAX_DISKS, MAX_PARTITIONS
from bootserver.install.partition.model import (
    Answer,
    DiskAnswer,
    FileSystem,
    LogicalVolume,
    Partition,
    Raid,
    RaidLevel,
    Role,
    VolumeGroup,
    is_data,
)

_MAX_SIZE = 1 << 42  # MB
_MAX_THINGS = 256  # arrays, groups, volumes
_ROLES = {role.name.lower(): role for role in Role}

_Kind = TypeVar("_Kind", bound=enum.Enum)

_PARTITION = frozenset({"role", "size", "least", "grow", "fs", "mount", "keep", "member"})
_RAID = frozenset({"name", "level", "fs", "mount", "spares", "member", "keep"})
_VOLUME = frozenset({"name", "size", "grow", "fs", "mount", "keep"})


class AnswerFault(BootserverError):
    """The answer of a program is none; the text says what and where."""


def decode(text: bytes | str) -> dict[str, Any]:
    """The JSON object that came out of a sandbox. :raises AnswerFault: it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AnswerFault(f"it answers nonsense: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise AnswerFault(f"it answers nonsense: a {type(found).__name__}")
    return found


def answer_of(layout: object) -> Answer:
    """:raises AnswerFault: it is no layout."""
    try:
        root = _object(Found(layout, "layout"), {"disks", "raids", "groups"})
        return Answer(
            tuple(_disk(each) for each in root["disks"].items(MAX_DISKS)),
            tuple(_raid(each) for each in root["raids"].items(_MAX_THINGS)),
            tuple(_group(each) for each in root["groups"].items(_MAX_THINGS)),
        )
    except Fault as error:
        raise AnswerFault(f"it answers nonsense: {error}") from error


def layout_of(answer: Answer) -> dict[str, Any]:
    """The same the other way: a layout that a program may alter."""
    return {
        "disks": [
            {"disk": each.disk, "partitions": [_partition_facts(part) for part in each.partitions]} for each in answer.disks
        ],
        "raids": [
            {
                "name": each.name,
                "level": each.level.value,
                "fs": each.file_system.value if each.file_system else None,
                "mount": each.mount_point,
                "spares": each.spares,
                "member": each.member,
                "keep": each.keep,
            }
            for each in answer.raids
        ],
        "groups": [{"name": each.name, "volumes": [_volume_facts(volume) for volume in each.volumes]} for each in answer.groups],
    }


def _partition_facts(part: Partition) -> dict[str, Any]:
    return {
        "role": part.role.name.lower(),
        "size": part.size,
        "least": part.least,
        "grow": part.grow,
        "fs": part.file_system.value if part.file_system else None,
        "mount": part.mount_point,
        "keep": part.keep,
        "member": part.member,
    }


def _volume_facts(volume: LogicalVolume) -> dict[str, Any]:
    return {
        "name": volume.name,
        "size": volume.size,
        "grow": volume.grow,
        "fs": volume.file_system.value if volume.file_system else None,
        "mount": volume.mount_point,
        "keep": volume.keep,
    }


def _object(found: Found, keys: frozenset[str] | set[str]) -> Found:
    """:raises Fault: it is no object, or has keys that nobody knows."""
    if not found.is_there:
        raise found.fault("is missing")
    for key, _ in found.members(64):
        if key not in keys:
            raise Fault(f"{found.where} has a key {key[:60]!r}, and there are {', '.join(sorted(keys))}")
    return found


def _disk(found: Found) -> DiskAnswer:
    _object(found, {"disk", "partitions"})
    return DiskAnswer(found["disk"].text(), tuple(_partition(each) for each in found["partitions"].items(MAX_PARTITIONS)))


def _partition(found: Found) -> Partition:
    _object(found, _PARTITION)
    role = found["role"]
    if role.text() not in _ROLES:
        raise role.fault(f"is none of {', '.join(_ROLES)}")
    mount = _text(found["mount"])
    return Partition(
        role=_ROLES[role.text()],
        size=found["size"].number(_MAX_SIZE),
        file_system=_choice(found["fs"], FileSystem),
        mount_point=mount,
        least=found["least"].number(_MAX_SIZE) if found["least"].is_there else None,
        grow=found["grow"].flag(default=False),
        keep=_keep(found, mount),
        member=_text(found["member"]),
    )


def _raid(found: Found) -> Raid:
    _object(found, _RAID)
    level, mount = _choice(found["level"], RaidLevel), _text(found["mount"])
    if level is None:
        raise found["level"].fault("is missing")
    return Raid(
        name=found["name"].text(),
        level=level,
        file_system=_choice(found["fs"], FileSystem),
        mount_point=mount,
        spares=found["spares"].number(MAX_DISKS, default=0),
        member=_text(found["member"]),
        keep=_keep(found, mount),
    )


def _group(found: Found) -> VolumeGroup:
    _object(found, {"name", "volumes"})
    return VolumeGroup(found["name"].text(), tuple(_volume(each) for each in found["volumes"].items(_MAX_THINGS)))


def _volume(found: Found) -> LogicalVolume:
    _object(found, _VOLUME)
    mount = _text(found["mount"])
    return LogicalVolume(
        name=found["name"].text(),
        size=found["size"].number(_MAX_SIZE),
        file_system=_choice(found["fs"], FileSystem),
        mount_point=mount,
        grow=found["grow"].flag(default=False),
        keep=_keep(found, mount),
    )


def _keep(found: Found, mount: str | None) -> bool:
    return found["keep"].flag(default=False) or (mount is not None and is_data(mount))


def _text(found: Found) -> str | None:
    return found.text() if found.is_there else None


def _choice(found: Found, kind: type[_Kind]) -> _Kind | None:
    if not found.is_there:
        return None
    text = found.text()
    for member in kind:
        if member.value == text:
            return member
    raise found.fault(f"is none of {', '.join(str(member.value) for member in kind)}")
