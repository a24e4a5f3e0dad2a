"""Reads the partition lines of kickstart that Rocks' programs and Anaconda's users write, as a partition program's answer.

Red Hat's kickstart reference, "Kickstart commands for handling storage". What differs here:

- A partition is found again by its name in the GPT. So ``--onpart=sda5 --noformat`` keeps it where that is its mount point, and
  what is below ``/state`` is kept without being told so.
- ``--maxsize`` is a size that shrinks to ``--size`` where what is kept leaves no more.
- Boot partitions need not be there (``reqpart``): they are added to each answer that lacks them.
- A partition that nothing clears (``clearpart``) and nothing keeps is a fault: all else on a disk that is used goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bootserver.install.inventory import Disk, ExistingPartition, Inventory, gigabytes
from bootserver.install.partition.check import is_mount_point
from bootserver.install.partition.kickstart_devices import Devices
from bootserver.install.partition.kickstart_line import MOUNT_POINT, Line, clean, parse
from bootserver.install.partition.kickstart_stacked import Stacked
from bootserver.install.partition.model import (
    ESP_MOUNT_POINT,
    MIB,
    Answer,
    DiskAnswer,
    FileSystem,
    Partition,
    Role,
    is_data,
)

SYSTEMS = {each.value: each for each in FileSystem} | {"efi": FileSystem.VFAT, "linux-swap": FileSystem.SWAP}
SWAP = 1000
"""MB, where nobody knows how much memory there is; as in Rocks."""
BOOT = 1024
_RAID, _PV = re.compile(r"raid\.[A-Za-z0-9_.-]{1,40}"), re.compile(r"pv\.[A-Za-z0-9_.-]{1,40}")
_LINUX = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "swap", "linux_raid_member", "LVM2_member"})
_LINUX_TYPES = frozenset({Role.LINUX.value, Role.SWAP.value, Role.RAID.value, Role.LVM.value, "82", "83", "8e", "fd"})
_ROOM_FOR_TABLES = 2  # MB


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A ``part`` line. :ivar disk: None where the line does not say which."""

    line: Line
    point: str
    partition: Partition
    disk: Disk | None


def read(text: str, inventory: Inventory, *, filesystem: FileSystem = FileSystem.EXT4) -> Answer:
    """
    :param text: kickstart's commands clearpart, zerombr, ignoredisk, part, raid, volgroup, logvol, reqpart; bootloader is
        passed over.
    :param filesystem: where a line does not say which.
    :raises LayoutRefused: with number and begin of the line, why it can't be.
    """
    reading = _Reading(inventory, filesystem)
    for line in parse(text):
        reading.take(line)
    return reading.answer()


class _Reading:
    def __init__(self, inventory: Inventory, filesystem: FileSystem) -> None:
        self._inventory, self._filesystem = inventory, filesystem
        self._devices = Devices(inventory)
        self._stacked = Stacked(inventory, filesystem, SYSTEMS)
        self._wanted: list[_Wanted] = []
        self._cleared: list[Line] = []
        self._ignored: set[str] = set()

    def take(self, line: Line) -> None:
        takes = {
            "part": self._part,
            "raid": self._stacked.raid,
            "volgroup": self._stacked.volgroup,
            "logvol": self._stacked.logvol,
            "clearpart": self._clearpart,
            "ignoredisk": self._ignoredisk,
            "reqpart": self._reqpart,
        }
        if line.command in takes:
            takes[line.command](line)

    def _clearpart(self, line: Line) -> None:
        for name in line.listed("--drives"):
            self._devices.disk(line, name)
        for name in line.listed("--list"):
            self._devices.disk_or_partition(line, name)
        self._cleared.append(line)

    def _ignoredisk(self, line: Line) -> None:
        self._ignored |= {self._devices.disk(line, name).name for name in line.listed("--drives")}
        only = {self._devices.disk(line, name).name for name in line.listed("--only-use")}
        if only:
            self._ignored |= {disk.name for disk in self._inventory.disks} - only

    def _reqpart(self, line: Line) -> None:
        if line.has("--add-boot"):
            self._wanted.append(_Wanted(line, "/boot", Partition.mounted("/boot", self._filesystem, BOOT), None))

    # -- part ------------------------------------------------------------------------------------------------------

    def _part(self, line: Line) -> None:
        if len(line.words) != 1:
            raise line.fault("one mount point is wanted, or swap, raid.N, pv.N, biosboot")
        [point] = line.words
        there = None
        disk = None
        if (name := line.options.get("--onpart")) is not None:
            disk, there = self._devices.partition(line, name)
        if (name := line.options.get("--ondisk")) is not None:
            on = self._devices.disk(line, name)
            if disk is not None and on is not disk:
                raise line.fault(f"--onpart is on {disk.name}, --ondisk says {on.name}")
            disk = on
        if disk is not None and disk.name in self._ignored:
            raise line.fault(f"disk {disk.name} is not to be used, says ignoredisk")
        if line.has("--noformat") and there is None:
            raise line.fault("--noformat needs --onpart: which partition stays?")
        if any(each.point == point for each in self._wanted) and point not in ("swap", "biosboot", "None"):
            raise line.fault(f"{clean(point)} is there already, on line {self._line_of(point)}")
        self._wanted.append(_Wanted(line, point, self._partition(line, point, there), disk))

    def _line_of(self, point: str) -> int:
        return next(each.line.number for each in self._wanted if each.point == point)

    def _partition(self, line: Line, point: str, there: ExistingPartition | None) -> Partition:
        size, least, grow = self._size(line, point, there)
        keep = line.has("--noformat")
        if point == "biosboot":
            return Partition.bios_boot()
        if _RAID.fullmatch(point) or _PV.fullmatch(point):  # of what, is known once all is read
            return Partition(Role.RAID if point.startswith("raid.") else Role.LVM, size, grow=grow)
        if point == "swap":
            return Partition.swap(size)
        system = self._system(line)
        if point == ESP_MOUNT_POINT or (point == "None" and line.options.get("--fstype") == "efi"):
            return Partition.esp(size, mounted=point == ESP_MOUNT_POINT)
        if not is_mount_point(point):
            raise line.fault(f"this is none of swap, raid.N, pv.N, biosboot, and no mount point ({MOUNT_POINT})")
        if keep and there is not None and there.label != point:
            called = f"called {clean(there.label)}" if there.label else "without a name"
            raise line.fault(
                f"{there.name} is {called} in its disk's table, and what stays is found by its name:"
                f" `sfdisk --part-label DISK {there.number} {point}` gives it one"
            )
        return Partition.mounted(point, system, size, least=least, grow=grow, keep=keep)

    def _system(self, line: Line) -> FileSystem:
        name = line.options.get("--fstype")
        if name is None:
            return self._filesystem
        if name not in SYSTEMS:
            raise line.fault(f"there is no file system {clean(name)} here: {', '.join(each.value for each in FileSystem)}")
        return SYSTEMS[name]

    def _size(self, line: Line, point: str, there: ExistingPartition | None) -> tuple[int, int | None, bool]:
        """MB, the least, and whether it grows."""
        if there is not None:
            return max(there.size // MIB, 1), None, False
        size = line.number_of("--size")
        if line.has("--recommended"):
            if point != "swap":
                raise line.fault("--recommended is for swap")
            return recommended_swap(self._inventory.memory), None, False
        if size is None and point == "biosboot":
            return 1, None, False
        if size is None and line.has("--grow"):
            size = 1
        if size is None:
            raise line.fault("how large? --size=MB")
        most = line.number_of("--maxsize")
        if most is not None and most < size:
            raise line.fault(f"--maxsize={most} is less than --size={size}")
        if most is not None and line.has("--grow"):
            return (most, size, False) if _has_least(point) else (size, None, False)
        # Anaconda's users write --size=1 --grow; the least that a file system needs is meant.
        grow = line.has("--grow")
        if grow and point.startswith("/"):
            size = max(size, self._system(line).minimum)
        return size, None, grow

    # -- all together ----------------------------------------------------------------------------------------------

    def answer(self) -> Answer:
        """What the lines come to."""
        for each in self._wanted:
            if each.partition.role in (Role.RAID, Role.LVM) and self._stacked.member_of(each.point) is None:
                raise each.line.fault(f"nothing is made of {each.point}")
        self._stacked.check_members({each.point for each in self._wanted})
        on: dict[str, list[Partition]] = {}
        lines: dict[str, Line] = {}
        for disk, wanted in self._placed():
            partition = wanted.partition
            if (member := self._stacked.member_of(wanted.point)) is not None:
                partition = Partition(partition.role, partition.size, grow=partition.grow, member=member)
            on.setdefault(disk.name, []).append(partition)
            lines.setdefault(disk.name, wanted.line)
        for line, disk_name, partition in self._stacked.members_there():
            found = on.setdefault(disk_name, [])
            if partition.name not in {each.name for each in found}:
                found.append(partition)
                lines.setdefault(disk_name, line)
        raids, groups = self._stacked.answers(on)
        answer = Answer(tuple(DiskAnswer(name, tuple(found)) for name, found in on.items()), raids, groups)
        self._check_cleared(answer, lines)
        return answer

    def _placed(self) -> Iterable[tuple[Disk, _Wanted]]:
        """Each with its disk, in the order of the lines: where a line says none, the first that has room."""
        left = {disk.name: disk.size // MIB - _ROOM_FOR_TABLES for disk in self._inventory.disks}
        kept = {each.partition.name for each in self._wanted if each.partition.keep}
        for disk in self._inventory.disks:
            left[disk.name] -= sum(part.size // MIB for part in disk.partitions if part.label in kept)
        homes: list[Disk | None] = []
        for each in self._wanted:
            home = each.disk
            if home is None and each.partition.keep:  # data stay where they are
                home = next((disk for disk in self._inventory.disks if _holds(disk, each.partition.name)), None)
            homes.append(home)
            if home is not None and not _holds(home, each.partition.name if each.partition.keep else ""):
                left[home.name] -= each.partition.minimum
        for number, each in enumerate(self._wanted):
            if homes[number] is None:
                homes[number] = home = self._first_with_room(each, left)
                left[home.name] -= each.partition.minimum
        return [(home, each) for home, each in zip(homes, self._wanted, strict=True) if home is not None]

    def _first_with_room(self, each: _Wanted, left: dict[str, int]) -> Disk:
        usable = [disk for disk in self._inventory.disks if disk.name not in self._ignored]
        for disk in usable:
            if left[disk.name] >= each.partition.minimum:
                return disk
        seen = ", ".join(f"{disk.name} has {gigabytes(max(left[disk.name], 0) * MIB)} left" for disk in usable)
        raise each.line.fault(f"no disk has room for {each.partition.minimum} MB: {seen or 'there is none'}")

    def _check_cleared(self, answer: Answer, lines: dict[str, Line]) -> None:
        stays = self._stacked.members_that_stay()
        for each in answer.disks:
            disk = next(disk for disk in self._inventory.disks if disk.name == each.disk)
            kept = {partition.name for partition in each.partitions if partition.keep}
            for part in disk.partitions:
                # Data that are not wanted are refused with better words, where they are placed.
                if part.label in kept or part.name in stays or is_data(part.label) or self._goes(disk, part):
                    continue
                what = f"{part.name} ({part.filesystem or part.label or gigabytes(part.size)})"
                raise lines[each.disk].fault(
                    f"{what} is on {disk.name}, and no line says that it goes: clearpart --all --drives={disk.name}"
                )

    def _goes(self, disk: Disk, part: ExistingPartition) -> bool:
        return any(self._clears(line, disk, part) for line in self._cleared)

    def _clears(self, line: Line, disk: Disk, part: ExistingPartition) -> bool:
        named = [self._devices.disk_or_partition(line, name) for name in line.listed("--list")]
        if any(each is disk or each is part for each in named):
            return True
        drives = {self._devices.disk(line, name).name for name in line.listed("--drives")}
        if named or line.has("--none") or (drives and disk.name not in drives):
            return False
        if line.has("--all"):
            return True
        is_linux = part.filesystem in _LINUX if part.filesystem else part.type in _LINUX_TYPES
        return line.has("--linux") and is_linux


def recommended_swap(memory: int) -> int:
    """MB of swap that Anaconda recommends. :param memory: bytes; 0 where nobody knows."""
    size = memory // MIB
    if not size:
        return SWAP
    if size < 2048:
        return size * 2
    if size <= 8192:
        return size
    return size // 2 if size <= 65536 else 4096


def _holds(disk: Disk, name: str) -> bool:
    return bool(name) and any(part.label == name for part in disk.partitions)


def _has_least(point: str) -> bool:
    return point.startswith("/") and point != ESP_MOUNT_POINT
