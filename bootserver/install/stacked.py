"""What stands on several partitions of a machine: RAID arrays (Linux md) and volume groups (LVM), as the inventory has them.

``installer/inventory`` starts an array that does not run, for reading only, looks at it and stops it again; so what is on it is
known, and nothing of it was written. An array that can't be started is known by what its members say.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from bootserver.install.document import Found

Systems = Mapping[str, tuple[str, str]]
"""File system and its UUID by the kernel's name of a device."""

MAX_BYTES = 1 << 62
"""No disk has more; a sum of two still fits 64 bits."""
_SECTOR = 512
_MAX_STACKED = 1024
_MEMBER = re.compile(r"raid ([A-Za-z0-9_.+-]{1,32})")


class ArrayState(enum.Enum):
    """How well an array is: all members are there; enough to read it; not enough."""

    WHOLE = "whole"
    DEGRADED = "degraded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ExistingArray:
    """An array that a machine has.

    :ivar name: without the host's. Where all its members are partitions called ``raid NAME``, that: an installer that can't
        name its arrays names their partitions. :ivar level: such as ``raid1``. :ivar uuid: md's own, as RFC 9562 writes one.
    :ivar members: the kernel's names of what it consists of (``vda3``), spares too. :ivar spares: how many of them are spare.
    :ivar size: bytes; 0 where it can't be started.
    :ivar device: the kernel's name of one that was found running, such as ``md127``; empty where the inventory started it.
    """

    name: str
    level: str
    uuid: str
    state: ArrayState
    members: tuple[str, ...]
    spares: int = 0
    size: int = 0
    filesystem: str = ""
    filesystem_uuid: str = ""
    device: str = ""

    @property
    def path(self) -> str:
        return f"/dev/md/{self.name}"


@dataclass(frozen=True, slots=True)
class ExistingVolume:
    """:ivar size: bytes. :ivar layout: as lvs(8) calls it: ``linear``, ``striped``, ``thin,sparse`` ... :ivar uuid: LVM's own."""

    name: str
    size: int
    filesystem: str = ""
    filesystem_uuid: str = ""
    uuid: str = ""
    layout: str = "linear"


@dataclass(frozen=True, slots=True)
class ExistingGroup:
    """A volume group that a machine has. Bytes.

    :ivar uuid: LVM's own. :ivar physical_volumes: such as ``/dev/vda3``, or ``/dev/md/NAME`` of an array.
    :ivar missing: how many of its physical volumes are not there. :ivar free: what no volume has.
    """

    name: str
    uuid: str
    physical_volumes: tuple[str, ...]
    volumes: tuple[ExistingVolume, ...]
    missing: int = 0
    free: int = 0
    extent_size: int = 4 << 20


def read_arrays(root: Found, systems: Systems, labels: Mapping[str, str]) -> tuple[ExistingArray, ...]:
    """
    :param labels: name in the GPT by partition.
    :raises Fault: the document makes no sense.
    """
    running = list(_running(root, systems, labels))
    seen = {uuid for uuid, _ in running}
    failed: dict[str, ExistingArray] = {}
    for member, said in root["raid_members"].members(_MAX_STACKED):
        uuid = _uuid(said["MD_UUID"])
        if not uuid or uuid in seen:
            continue
        old = failed.get(uuid)
        members = (*(old.members if old else ()), member)
        level, name = said["MD_LEVEL"].text(), _name(said["MD_NAME"].text(), members, labels)
        failed[uuid] = ExistingArray(name, level, uuid, ArrayState.FAILED, members)
    return tuple(sorted((*(array for _, array in running), *failed.values()), key=lambda each: (each.name, each.uuid)))


def _running(root: Found, systems: Systems, labels: Mapping[str, str]) -> Iterator[tuple[str, ExistingArray]]:
    for found in root["arrays"].items(_MAX_STACKED):
        device, said = found["device"].text(), found["md"]
        if found["array_state"].text() in ("", "clear"):  # a name that is left of one that was stopped
            continue
        uuid = _uuid(said["MD_UUID"])
        slots = [(name, member["slot"].text()) for name, member in found["members"].members(_MAX_STACKED)]
        # Members in their places, then spares; two of the same array never have the same place.
        slots.sort(key=lambda each: (not each[1].isdecimal(), each[1].zfill(8), each[0]))
        members = tuple(name for name, _ in slots)
        degraded = found["degraded"].number(_MAX_STACKED, default=0)
        state = ArrayState.DEGRADED if degraded else ArrayState.WHOLE
        if found["array_state"].text() in ("inactive", "broken"):
            state = ArrayState.FAILED
        filesystem, filesystem_uuid = systems.get(device, ("", ""))
        array = ExistingArray(
            name=_name(said["MD_NAME"].text(), members, labels) or device,
            level=found["level"].text(),
            uuid=uuid,
            state=state,
            members=members,
            spares=sum(not place.isdecimal() for _, place in slots),
            size=found["size"].number(MAX_BYTES // _SECTOR, default=0) * _SECTOR,
            filesystem=filesystem,
            filesystem_uuid=filesystem_uuid,
            device=device if found["found"].flag(default=True) else "",
        )
        yield uuid, array


def _name(text: str, members: tuple[str, ...], labels: Mapping[str, str]) -> str:
    named = {match[1] if (match := _MEMBER.fullmatch(labels.get(member, ""))) else "" for member in members}
    if len(named) == 1 and (name := named.pop()):
        return name
    return text.rpartition(":")[2]


def read_groups(root: Found, systems: Systems, arrays: tuple[ExistingArray, ...]) -> tuple[ExistingGroup, ...]:
    """:raises Fault: the document makes no sense."""
    array_paths = {array.device: array.path for array in arrays if array.device}
    by_uuid = {array.uuid: array.path for array in arrays}
    for found in root["arrays"].items(_MAX_STACKED):  # what the inventory called an array while it looked
        array_paths.setdefault(found["device"].text(), by_uuid.get(_uuid(found["md"]["MD_UUID"]), ""))
    maps = {each["uuid"].text(): name for name, each in root["maps"].members(1 << 14)}
    found_groups = []
    for report in root["lvm"]["report"].items(_MAX_STACKED):
        for group in report["vg"].items(1):
            uuid = group["vg_uuid"].text()
            if not uuid:  # what fullreport shows of physical volumes that belong to no group
                continue
            volumes = []
            for volume in report["lv"].items(1 << 14):
                volume_uuid = volume["lv_uuid"].text()
                size = volume["lv_size"].number(MAX_BYTES)
                device = maps.get("LVM-" + (uuid + volume_uuid).replace("-", ""), "")
                name, layout = volume["lv_name"].text(), volume["lv_layout"].text()
                volumes.append(ExistingVolume(name, size, *systems.get(device, ("", "")), volume_uuid, layout))
            found_groups.append(
                ExistingGroup(
                    name=group["vg_name"].text(),
                    uuid=uuid,
                    physical_volumes=tuple(_physical(report, array_paths)),
                    volumes=tuple(sorted(volumes, key=lambda each: each.name)),
                    missing=group["vg_missing_pv_count"].number(_MAX_STACKED, default=0),
                    free=group["vg_free"].number(MAX_BYTES, default=0),
                    extent_size=group["vg_extent_size"].number(MAX_BYTES, default=4 << 20) or 4 << 20,
                )
            )
    return tuple(sorted(found_groups, key=lambda each: (each.name, each.uuid)))


def _physical(report: Found, array_paths: Mapping[str, str]) -> Iterator[str]:
    for volume in report["pv"].items(_MAX_STACKED):
        path = volume["pv_name"].text()
        if path.startswith("/dev/"):  # else it is "[unknown]": missing
            yield array_paths.get(path.removeprefix("/dev/")) or path


def _uuid(found: Found) -> str:
    """md's UUID, ``0a1b2c3d:...`` or as RFC 9562 writes it; empty where there is none."""
    text = found.text().replace(":", "").replace("-", "")
    return str(UUID(text)) if re.fullmatch(r"[0-9A-Fa-f]{32}", text) else ""
