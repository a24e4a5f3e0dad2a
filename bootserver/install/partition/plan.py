"""A partition plan: every partition with its place, its names and its UUIDs, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass

from bootserver.install.inventory import Disk, FirmwareKind
from bootserver.install.partition.model import Role


@dataclass(frozen=True, slots=True)
class PlannedPartition:
    """
    :ivar device: the kernel's name, such as ``vda1``. :ivar start: bytes from the disk's begin. :ivar size: bytes.
    :ivar name: in the GPT. :ivar type: its GUID there. :ivar uuid: in the GPT.
    :ivar filesystem: as Linux calls it, such as ``ext4`` or ``swap``; empty without.
    :ivar filesystem_uuid: as ``UUID=`` in fstab has it; empty without.
    :ivar kept: it stays as it is, with all that is on it.
    :ivar is_data: a later install will keep it.
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

    @property
    def end(self) -> int:
        return self.start + self.size

    @property
    def is_esp(self) -> bool:
        return self.type == Role.ESP.value

    @property
    def is_bios_boot(self) -> bool:
        return self.type == Role.BIOS_BOOT.value


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
    """:ivar disks: those that the install has to do with; others are left alone."""

    firmware: FirmwareKind
    disks: tuple[DiskPlan, ...]

    @property
    def partitions(self) -> tuple[PlannedPartition, ...]:
        return tuple(partition for each in self.disks for partition in each.partitions)

    @property
    def root(self) -> PlannedPartition:
        return next(each for each in self.partitions if each.mount_point == "/")

    @property
    def root_disk(self) -> DiskPlan:
        return next(each for each in self.disks if self.root in each.partitions)

    @property
    def mounted(self) -> tuple[PlannedPartition, ...]:
        """All with a mount point, each behind those that it is below."""
        found = (each for each in self.partitions if each.mount_point)
        return tuple(sorted(found, key=lambda each: (each.mount_point != "/", (each.mount_point or "").split("/"))))

    @property
    def bios_disks(self) -> tuple[str, ...]:
        """The disks that get GRUB's boot code; none where UEFI starts the machine."""
        if self.firmware is FirmwareKind.UEFI:
            return ()
        return tuple(f"/dev/{each.disk.name}" for each in self.disks if any(part.is_bios_boot for part in each.partitions))

    @property
    def esp(self) -> EfiPartition | None:
        """Where GRUB goes for UEFI; None where a BIOS starts the machine."""
        if self.firmware is FirmwareKind.BIOS:
            return None
        for each in self.disks:
            for part in each.partitions:
                if part.is_esp and part.mount_point:
                    return EfiPartition(f"/dev/{each.disk.name}", part.number, f"/dev/{part.device}")
        return None
