"""Kickstart's ``raid``, ``volgroup`` and ``logvol`` lines: what is made of several partitions, or is there and stays.

Partitions that are members of it are called ``raid.N`` and ``pv.N`` in the lines, and by their array or group in the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from bootserver.install.inventory import Disk, ExistingPartition, Inventory
from bootserver.install.partition.check import is_mount_point
from bootserver.install.partition.kickstart_line import MOUNT_POINT, Line, clean
from bootserver.install.partition.model import (
    MIB,
    FileSystem,
    LogicalVolume,
    Partition,
    Raid,
    RaidLevel,
    Role,
    VolumeGroup,
    data_name,
    is_data,
)
from bootserver.install.partition.stack import usable

_LEVELS = {f"{before}{level.value}": level for level in RaidLevel for before in ("", "RAID")} | {
    "stripe": RaidLevel.RAID0,
    "mirror": RaidLevel.RAID1,
}
_PV = re.compile(r"pv\.[A-Za-z0-9_.-]{1,40}")


@dataclass(frozen=True, slots=True)
class _Group:
    line: Line
    name: str
    uses_existing: bool


class Stacked:
    """Collects arrays and groups while lines are read."""

    def __init__(self, inventory: Inventory, filesystem: FileSystem, systems: Mapping[str, FileSystem]) -> None:
        self._inventory, self._filesystem, self._systems = inventory, filesystem, systems
        self._raids: list[tuple[Line, str, Raid]] = []  # with its mount point, or pv.N
        self._groups: list[_Group] = []
        self._volumes: list[tuple[Line, LogicalVolume]] = []
        self._member_of: dict[str, tuple[Line, str]] = {}  # raid.N or pv.N

    # -- lines -----------------------------------------------------------------------------------------------------

    def raid(self, line: Line) -> None:
        if not line.words:
            raise line.fault("a mount point is wanted, swap, or pv.N")
        point, *members = line.words
        name = re.sub(r"\A(?:/dev/)?(?:md/)?", "", line.options.get("--device", ""))
        if not name:
            raise line.fault("--device=NAME is missing")
        mount_point = None if point == "swap" or _PV.fullmatch(point) else point
        self._check_point(line, point)
        if mount_point is not None and is_data(mount_point):
            name = data_name(mount_point)  # by which a later install finds it
        there = next((array for array in self._inventory.arrays if array.name == name), None)
        uses_existing = line.has("--useexisting") or line.has("--noformat")
        if uses_existing and there is None:
            seen = ", ".join(array.name for array in self._inventory.arrays) or "none"
            raise line.fault(f"there is no array {clean(name)}; the machine has {clean(seen)}")
        level_text = line.options.get("--level", there.level if there is not None and uses_existing else "")
        level = _LEVELS.get(level_text.upper(), _LEVELS.get(level_text.lower()))
        if level is None:
            raise line.fault(
                f"--level is one of {', '.join(f'RAID{each.value}' for each in RaidLevel)}, not {clean(level_text)!r}"
            )
        if not members and not uses_existing:
            raise line.fault("of which partitions? raid.N ...")
        for member in members:
            self._uses(line, member, name)
        pv = point if _PV.fullmatch(point) else None
        spares = line.number_of("--spares") or (there.spares if there is not None and uses_existing else 0)
        system = None if pv else self._system(line, point)
        keep = line.has("--noformat") and pv is None and point != "swap"
        self._raids.append((line, point, Raid(name, level, system, mount_point, spares, keep=keep)))

    def volgroup(self, line: Line) -> None:
        if not line.words:
            raise line.fault("a name is wanted")
        name, *members = line.words
        uses_existing = line.has("--useexisting") or line.has("--noformat")
        if uses_existing and not any(group.name == name for group in self._inventory.groups):
            seen = ", ".join(group.name for group in self._inventory.groups) or "none"
            raise line.fault(f"there is no volume group {clean(name)}; the machine has {clean(seen)}")
        if not members and not uses_existing:
            raise line.fault("of which partitions? pv.N ...")
        for member in members:
            self._uses(line, member, name)
        self._groups.append(_Group(line, name, uses_existing))

    def logvol(self, line: Line) -> None:
        if len(line.words) != 1:
            raise line.fault("one mount point is wanted, or swap")
        [point] = line.words
        self._check_point(line, point)
        group = line.options.get("--vgname", "")
        if not any(each.name == group for each in self._groups):
            raise line.fault(f"there is no line for volume group {clean(group) or '(--vgname is missing)'} before it")
        mount_point = None if point == "swap" else point
        name = line.options.get("--name") or point.strip("/").replace("/", "_") or "root"
        if mount_point is not None and is_data(mount_point):
            name = data_name(mount_point)
        keep = line.has("--noformat")
        there = [each for found in self._inventory.groups if found.name == group for each in found.volumes if each.name == name]
        if (keep or line.has("--useexisting")) and not there:
            raise line.fault(f"there is no volume {clean(name)} in {clean(group)}")
        size = self._volume_size(line, there[0].size // MIB if there and (keep or line.has("--useexisting")) else None)
        grow = line.has("--grow") or line.number_of("--percent") == 100
        system = self._system(line, point)
        if grow:
            size = max(size, system.minimum)
        self._volumes.append((line, LogicalVolume(name, size, system, mount_point, grow, keep and mount_point is not None)))

    def _volume_size(self, line: Line, there: int | None) -> int:
        """MB; 0 where a percentage is not known yet."""
        if there is not None:
            return there
        size, percent = line.number_of("--size"), line.number_of("--percent")
        if line.has("--recommended"):
            raise line.fault("--recommended is for a swap partition: say --size=MB")
        if size is None and percent is None and not line.has("--grow"):
            raise line.fault("how large? --size=MB, or --percent=N")
        if percent is not None and not 0 < percent <= 100:
            raise line.fault(f"--percent={percent} is not possible")
        return 0 if percent is not None else 1 if size is None else size

    def _system(self, line: Line, point: str) -> FileSystem:
        if point == "swap":
            return FileSystem.SWAP
        name = line.options.get("--fstype")
        if name is None:
            return self._filesystem
        if name not in self._systems:
            raise line.fault(f"there is no file system {clean(name)} here: {', '.join(each.value for each in FileSystem)}")
        return self._systems[name]

    def _check_point(self, line: Line, point: str) -> None:
        if not is_mount_point(point) and point != "swap" and not (line.command == "raid" and _PV.fullmatch(point)):
            others = "swap or pv.N" if line.command == "raid" else "swap"
            raise line.fault(f"this is not {others}, and no mount point ({MOUNT_POINT})")

    def _uses(self, line: Line, member: str, name: str) -> None:
        kind = "raid." if line.command == "raid" else "pv."
        if not member.startswith(kind):
            raise line.fault(f"{clean(member)} is no {kind}N")
        if member in self._member_of:
            raise line.fault(f"{clean(member)} is used on line {self._member_of[member][0].number} already")
        self._member_of[member] = line, name

    # -- members ---------------------------------------------------------------------------------------------------

    def member_of(self, point: str) -> str | None:
        """The array or group that a partition called ``raid.N`` or ``pv.N`` is for."""
        found = self._member_of.get(point)
        return None if found is None else found[1]

    def check_members(self, parts: set[str]) -> None:
        """:raises LayoutRefused: a line uses what no other makes."""
        made = parts | {point for _, point, _ in self._raids}
        for member, (line, _) in self._member_of.items():
            if member not in made:
                raise line.fault(f"no line makes {clean(member)}")
        for line, point, _ in self._raids:
            if _PV.fullmatch(point) and point not in self._member_of:
                raise line.fault(f"nothing is made of {point}")

    def members_there(self) -> Iterator[tuple[Line, str, Partition]]:
        """Partitions of arrays and groups that are there and stay: the line, the disk, the partition."""
        for line, _, raid in self._raids:
            if line.has("--useexisting") or line.has("--noformat"):
                yield from self._members_of_array(line, raid.name)
        for group in self._groups:
            for device in self._physical_volumes(group):
                if device.startswith("/dev/md/"):
                    yield from self._members_of_array(group.line, device.removeprefix("/dev/md/"))
                elif (found := self._partition(device.rpartition("/")[2])) is not None:
                    disk, part = found
                    yield group.line, disk.name, Partition.lvm(group.name, max(part.size // MIB, 1))

    def members_that_stay(self) -> set[str]:
        """The kernel's names of partitions that belong to what is there and is used."""
        named = {
            part.name
            for _, disk_name, wanted in self.members_there()
            for disk in self._inventory.disks
            if disk.name == disk_name
            for part in disk.partitions
            if any(part.name in array.members for array in self._inventory.arrays if array.name == wanted.member)
        }
        volumes = {device.rpartition("/")[2] for group in self._groups for device in self._physical_volumes(group)}
        return named | volumes

    def _members_of_array(self, line: Line, name: str) -> Iterator[tuple[Line, str, Partition]]:
        for array in self._inventory.arrays:
            for member in array.members if array.name == name else ():
                if (found := self._partition(member)) is not None:
                    disk, part = found
                    yield line, disk.name, Partition.raid(name, max(part.size // MIB, 1))

    def _physical_volumes(self, group: _Group) -> tuple[str, ...]:
        if not group.uses_existing:
            return ()
        return next((each.physical_volumes for each in self._inventory.groups if each.name == group.name), ())

    def _partition(self, name: str) -> tuple[Disk, ExistingPartition] | None:
        found = ((disk, part) for disk in self._inventory.disks for part in disk.partitions if part.name == name)
        return next(found, None)

    # -- answers ---------------------------------------------------------------------------------------------------

    def answers(self, on: Mapping[str, list[Partition]]) -> tuple[tuple[Raid, ...], tuple[VolumeGroup, ...]]:
        """:param on: partitions by disk, all of them."""
        raids = [replace(raid, member=self.member_of(point)) for _, point, raid in self._raids]
        for group in self._groups:
            raids += self._arrays_there(group, {raid.name for raid in raids})
        groups = []
        for group in self._groups:
            volumes = [
                self._sized(line, volume, group.name, raids, on)
                for line, volume in self._volumes
                if line.options["--vgname"] == group.name
            ]
            groups.append(VolumeGroup(group.name, tuple(volumes)))
        return tuple(raids), tuple(groups)

    def _arrays_there(self, group: _Group, named: set[str]) -> Iterator[Raid]:
        for device in self._physical_volumes(group):
            for array in self._inventory.arrays:
                if array.path == device and array.name not in named and array.level.upper() in _LEVELS:
                    yield Raid(array.name, _LEVELS[array.level.upper()], spares=array.spares, member=group.name)

    def _sized(
        self, line: Line, volume: LogicalVolume, group: str, raids: list[Raid], on: Mapping[str, list[Partition]]
    ) -> LogicalVolume:
        percent = line.number_of("--percent")
        if volume.size or percent is None:
            return volume
        partitions = [part for found in on.values() for part in found]
        members = [part for part in partitions if part.role is Role.LVM and part.member == group]
        room = sum(part.size for part in members)
        for raid in raids:
            of_array = [part for part in partitions if part.role is Role.RAID and part.member == raid.name]
            if raid.member == group and len(of_array) - raid.spares >= raid.level.least_members:
                members += of_array
                room += usable(raid.level, [part.size * MIB for part in of_array], raid.spares) // MIB
        if any(part.grow for part in members):
            raise line.fault(
                f"{percent}% of what? The size of {clean(group)} is not known before: say --size=MB, or --percent=100"
            )
        return replace(volume, size=max(room * percent // 100, 1))
