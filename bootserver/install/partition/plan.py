"""A partition plan: every partition, array and volume with its place, its names and its UUIDs, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bootserver.install.inventory import Disk, FirmwareKind
from bootserver.install.partition.model import RaidLevel, Role


@dataclass(frozen=True, slots=True)
class PlannedPartition:
    """
    :ivar device: the kernel's name, such as ``vda1``. :ivar start: bytes from the disk's begin. :ivar size: bytes.
    :ivar name: in the GPT. :ivar type: its GUID there. :ivar uuid: in the GPT.
    :ivar filesystem: as Linux calls it, such as ``ext4`` or ``swap``; empty without.
    :ivar filesystem_uuid: as ``UUID=`` in fstab has it; empty without.
    :ivar kept: it stays as it is, with all that is on it.
    :ivar is_data: a later install will keep it.
    :ivar member: the array or volume group that it is a member of.
    """

    number: int
    device: str
    start: int
    size: int
    name: str
    type: str
    uuid: str
    mount_point: str | None
    filesystem: str
    filesystem_uuid: str
    kept: bool
    is_data: bool
    member: str | None = None

    @property
    def end(self) -> int:
        return self.start + self.size

    @property
    def path(self) -> str:
        return device_path(self.device)

    @property
    def is_esp(self) -> bool:
        return self.type == Role.ESP.value

    @property
    def is_bios_boot(self) -> bool:
        return self.type == Role.BIOS_BOOT.value


@dataclass(frozen=True, slots=True)
class PlannedArray:
    """
    :ivar devices: the kernel's names of its member partitions; spares are the last.
    :ivar spares: how many of them are spare. :ivar uuid: md's own, in the form of RFC 9562.
    :ivar size: bytes that can be used; of a new one an estimate, and never too much.
    :ivar member: the volume group that it is a physical volume of.
    :ivar kept: it is there, and stays as it is, with all that is on it.
    """

    name: str
    level: RaidLevel
    devices: tuple[str, ...]
    spares: int
    uuid: str
    size: int
    mount_point: str | None
    filesystem: str
    filesystem_uuid: str
    member: str | None
    kept: bool
    is_data: bool

    @property
    def path(self) -> str:
        return f"/dev/md/{self.name}"

    @property
    def is_esp(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class PlannedVolume:
    """:ivar size: bytes, whole extents of 4 MiB. Else as of a partition."""

    name: str
    group: str
    size: int
    mount_point: str | None
    filesystem: str
    filesystem_uuid: str
    kept: bool
    is_data: bool

    @property
    def path(self) -> str:
        return f"/dev/{self.group}/{self.name}"

    @property
    def is_esp(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """
    :ivar devices: its physical volumes, such as ``/dev/vda3`` and ``/dev/md/pv``.
    :ivar kept: it is there, and at least one volume of it is kept: its physical volumes stay as they are.
    :ivar gone: names of its volumes that are there and go; only where it is kept.
    :ivar uuid: LVM's own, of one that is kept.
    """

    name: str
    devices: tuple[str, ...]
    volumes: tuple[PlannedVolume, ...]
    kept: bool
    gone: tuple[str, ...] = ()
    uuid: str = ""


PlannedFileSystem = PlannedPartition | PlannedArray | PlannedVolume
"""Each has ``path``, ``size``, ``mount_point``, ``filesystem``, ``filesystem_uuid``, ``kept``, ``is_data`` and ``is_esp``."""


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """
    :ivar uuid: of the new table. :ivar partitions: by their start.
    :ivar is_written: it gets a new table; else all that is wanted is on it, and it stays as it is.
    """

    disk: Disk
    uuid: str
    partitions: tuple[PlannedPartition, ...]
    is_written: bool


@dataclass(frozen=True, slots=True)
class EfiPartition:
    """What efibootmgr and grub-install want to know. :ivar disk: such as ``/dev/vda``. :ivar device: such as ``/dev/vda2``."""

    disk: str
    number: int
    device: str


@dataclass(frozen=True, slots=True)
class Plan:
    """:ivar disks: those that the install has to do with; others are left alone.
    :ivar arrays: RAID arrays, in the order of the answer. :ivar groups: volume groups, likewise."""

    firmware: FirmwareKind
    disks: tuple[DiskPlan, ...]
    arrays: tuple[PlannedArray, ...] = ()
    groups: tuple[PlannedGroup, ...] = ()

    @property
    def partitions(self) -> tuple[PlannedPartition, ...]:
        return tuple(partition for each in self.disks for partition in each.partitions)

    @property
    def volumes(self) -> tuple[PlannedVolume, ...]:
        return tuple(volume for each in self.groups for volume in each.volumes)

    @property
    def file_systems(self) -> tuple[PlannedFileSystem, ...]:
        """All that holds a file system, or is swap: partitions by disk, then arrays, then volumes."""
        found: tuple[PlannedFileSystem, ...] = (*self.partitions, *self.arrays, *self.volumes)
        return tuple(each for each in found if each.filesystem)

    @property
    def root(self) -> PlannedFileSystem:
        return next(each for each in self.file_systems if each.mount_point == "/")

    @property
    def root_disks(self) -> tuple[DiskPlan, ...]:
        """The disks that ``/`` is on: several where it is on an array, or in a group that spans them."""
        below = {each.device for each in self.below(self.root)}
        return tuple(each for each in self.disks if below & {part.device for part in each.partitions})

    @property
    def root_disk(self) -> DiskPlan:
        """The first of them."""
        return self.root_disks[0]

    @property
    def mounted(self) -> tuple[PlannedFileSystem, ...]:
        """All with a mount point, each behind those that it is below."""
        found = (each for each in self.file_systems if each.mount_point)
        return tuple(sorted(found, key=lambda each: (each.mount_point != "/", (each.mount_point or "").split("/"))))

    @property
    def swaps(self) -> tuple[PlannedFileSystem, ...]:
        return tuple(each for each in self.file_systems if each.filesystem == "swap")

    @property
    def bios_disks(self) -> tuple[str, ...]:
        """The disks that get GRUB's boot code; none where UEFI starts the machine."""
        if self.firmware is FirmwareKind.UEFI:
            return ()
        return tuple(each.disk.node for each in self.disks if any(part.is_bios_boot for part in each.partitions))

    @property
    def esp(self) -> EfiPartition | None:
        """Where GRUB goes for UEFI; None where a BIOS starts the machine."""
        return next(iter(self.esps), None)

    @property
    def esps(self) -> tuple[EfiPartition, ...]:
        """All where GRUB goes for UEFI: the one that is mounted, then those of other disks of ``/`` (a machine whose first
        disk is gone starts from the next)."""
        if self.firmware is FirmwareKind.BIOS:
            return ()
        found = [(each, part) for each in self.disks for part in each.partitions if part.is_esp and not part.kept]
        of_root = {each.disk.name for each in self.root_disks}
        wanted = [(each, part) for each, part in found if part.mount_point or each.disk.name in of_root]
        wanted.sort(key=lambda pair: pair[1].mount_point is None)
        return tuple(EfiPartition(each.disk.node, part.number, part.path) for each, part in wanted)

    def below(self, system: PlannedFileSystem) -> tuple[PlannedPartition, ...]:
        """The partitions that a file system is on: itself, or those of its array, or of its group."""
        return tuple(self._below(system))

    def arrays_below(self, system: PlannedFileSystem) -> tuple[PlannedArray, ...]:
        """The arrays that a file system is on."""
        match system:
            case PlannedArray():
                return (system,)
            case PlannedVolume():
                devices = next(group.devices for group in self.groups if group.name == system.group)
                return tuple(array for array in self.arrays if array.path in devices)
        return ()

    def outlives_a_disk(self, system: PlannedFileSystem) -> bool:
        """Is it there when any one disk is gone?"""
        on_arrays = {device for array in self.arrays_below(system) for device in array.devices}
        redundant = all(array.level is not RaidLevel.RAID0 for array in self.arrays_below(system))
        return redundant and {part.device for part in self.below(system)} == on_arrays

    def _below(self, system: PlannedFileSystem) -> Iterator[PlannedPartition]:
        match system:
            case PlannedPartition():
                yield system
            case PlannedArray():
                yield from (each for each in self.partitions if each.device in system.devices)
            case PlannedVolume():
                group = next(each for each in self.groups if each.name == system.group)
                yield from (each for each in self.partitions if each.path in group.devices)
                for array in self.arrays:
                    if array.path in group.devices:
                        yield from self._below(array)


def device_path(name: str) -> str:
    """Where a disk or partition is below ``/dev``, by the kernel's name (multipath's own for what it made)."""
    return f"/dev/mapper/{name}" if name.startswith("mpath") else f"/dev/{name}"
