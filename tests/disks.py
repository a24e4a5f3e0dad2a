"""Disks of machines that are made up, for tests of partitioning: in GB of 2**30 bytes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any
from uuid import UUID
from zlib import crc32

from bootserver.install.inventory import Disk, ExistingPartition, FirmwareKind, Inventory
from bootserver.install.partition.model import MIB, Role
from bootserver.install.partition.plan import DiskPlan, Plan, PlannedPartition
from bootserver.install.stacked import ArrayState, ExistingArray, ExistingGroup, ExistingVolume

GB = 1 << 30


def disk(name: str, size: float = 20, *there: ExistingPartition, slot: int = 0, **facts: Any) -> Disk:
    """A disk with what is on it; by its slot it comes before or behind others."""
    path = f"/sys/devices/pci0000:00/0000:00:{slot:02x}.0/block/{name}"
    usual = {"serial": "x", "model": "QEMU", "path": path, "slot": path, "table": "gpt" if there else "", "partitions": there}
    return Disk(name, int(size * GB), **(usual | facts))


def there(
    number: int, label: str, start: float, size: float, filesystem: str = "ext4", *, disk: str = "vda"
) -> ExistingPartition:
    """A partition that a disk has: GB from its begin, GB."""
    uuid, system_uuid = (str(UUID(int=(kind << 64) + crc32(f"{disk} {label} {number}".encode()), version=4)) for kind in (1, 2))
    name = f"{disk}{'p' if disk[-1].isdigit() else ''}{number}"
    first, length = int(start * GB) // MIB * MIB, int(size * GB) // MIB * MIB
    return ExistingPartition(
        number, name, first, length, label, uuid, Role.LINUX.value, filesystem, system_uuid if filesystem else ""
    )


def member(number: int, name: str, start: float, size: float, *, disk: str = "vda") -> ExistingPartition:
    """A partition that is a member of an array (``raid NAME``) or of a volume group (``lvm NAME``)."""
    role = Role.RAID if name.startswith("raid") else Role.LVM
    kind = "linux_raid_member" if role is Role.RAID else "LVM2_member"
    return replace(there(number, name, start, size, kind, disk=disk), type=role.value)


def array(
    name: str, *members: str, level: str = "raid1", size: float = 5, filesystem: str = "ext4", **facts: Any
) -> ExistingArray:
    """An array that a machine has: GB."""
    uuid, system_uuid = (str(UUID(int=(kind << 64) + crc32(name.encode()), version=4)) for kind in (3, 4))
    usual: dict[str, Any] = {
        "state": ArrayState.WHOLE,
        "size": int(size * GB),
        "filesystem": filesystem,
        "filesystem_uuid": system_uuid,
    }
    return ExistingArray(name, level, uuid, members=members, **(usual | facts))


def volume(name: str, size: float = 2, filesystem: str = "ext4", **facts: Any) -> ExistingVolume:
    """A volume that a machine has: GB."""
    return ExistingVolume(name, int(size * GB), filesystem, str(UUID(int=(5 << 64) + crc32(name.encode()), version=4)), **facts)


def group(name: str, devices: Iterable[str], *volumes: ExistingVolume, free: float = 1, **facts: Any) -> ExistingGroup:
    """A volume group that a machine has: GB."""
    return ExistingGroup(name, f"uuid of {name}", tuple(devices), volumes, free=int(free * GB), **facts)


def machine(
    *disks: Disk,
    firmware: FirmwareKind = FirmwareKind.BIOS,
    arrays: Iterable[ExistingArray] = (),
    groups: Iterable[ExistingGroup] = (),
) -> Inventory:
    """A machine with these disks, each in the slot of its place if it has none."""
    return Inventory(firmware, disks, arrays=tuple(arrays), groups=tuple(groups))


def uuids() -> Callable[[], UUID]:
    """UUIDs that are the same each time."""
    numbers = itertools.count(1)
    return lambda: UUID(int=next(numbers) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128), version=4)


def after(plan: Plan, names: dict[str, str] | None = None) -> tuple[Disk, ...]:
    """The disks as they are when the plan was done. :param names: what the kernel calls them at the next boot."""
    return tuple(_renamed(_done(each), (names or {}).get(each.disk.name, each.disk.name)) for each in plan.disks)


def machine_after(plan: Plan, *others: Disk) -> Inventory:
    """The machine when the plan was done. :param others: disks that the plan has nothing to do with."""
    disks = sorted((*after(plan), *others), key=lambda each: each.slot)
    arrays = (
        ExistingArray(
            each.name, f"raid{each.level.value}", each.uuid, ArrayState.WHOLE, each.devices, each.spares, each.size,
            "LVM2_member" if each.member else each.filesystem, each.filesystem_uuid,
        )
        for each in plan.arrays
    )  # fmt: skip
    groups = (
        ExistingGroup(
            each.name,
            each.uuid or f"uuid of {each.name}",
            each.devices,
            tuple(ExistingVolume(vol.name, vol.size, vol.filesystem, vol.filesystem_uuid) for vol in each.volumes),
        )
        for each in plan.groups
    )
    return Inventory(plan.firmware, tuple(disks), arrays=tuple(arrays), groups=tuple(groups))


def _done(each: DiskPlan) -> Disk:
    if not each.is_written:
        return each.disk
    return replace(each.disk, table="gpt", filesystem="", partitions=tuple(map(_existing, by_number(each.partitions))))


def by_number(partitions: Iterable[PlannedPartition]) -> list[PlannedPartition]:
    return sorted(partitions, key=lambda part: part.number)


def _existing(part: PlannedPartition) -> ExistingPartition:
    kind = {Role.RAID.value: "linux_raid_member", Role.LVM.value: "LVM2_member"}.get(part.type, part.filesystem)
    return ExistingPartition(
        part.number, part.device, part.start, part.size, part.name, part.uuid, part.type, kind, part.filesystem_uuid
    )


def _renamed(old: Disk, name: str) -> Disk:
    new = replace(old, name=name)
    return replace(new, partitions=tuple(replace(part, name=new.partition_name(part.number)) for part in old.partitions))
