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


def machine(*disks: Disk, firmware: FirmwareKind = FirmwareKind.BIOS) -> Inventory:
    """A machine with these disks, each in the slot of its place if it has none."""
    return Inventory(firmware, disks)


def uuids() -> Callable[[], UUID]:
    """UUIDs that are the same each time."""
    numbers = itertools.count(1)
    return lambda: UUID(int=next(numbers) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128), version=4)


def after(plan: Plan, names: dict[str, str] | None = None) -> tuple[Disk, ...]:
    """The disks as they are when the plan was done. :param names: what the kernel calls them at the next boot."""
    return tuple(_renamed(_done(each), (names or {}).get(each.disk.name, each.disk.name)) for each in plan.disks)


def _done(each: DiskPlan) -> Disk:
    if not each.is_written:
        return each.disk
    return replace(each.disk, table="gpt", filesystem="", partitions=tuple(map(_existing, by_number(each.partitions))))


def by_number(partitions: Iterable[PlannedPartition]) -> list[PlannedPartition]:
    return sorted(partitions, key=lambda part: part.number)


def _existing(part: PlannedPartition) -> ExistingPartition:
    return ExistingPartition(
        part.number, part.device, part.start, part.size, part.name, part.uuid, part.type, part.filesystem, part.filesystem_uuid
    )


def _renamed(old: Disk, name: str) -> Disk:
    new = replace(old, name=name)
    return replace(new, partitions=tuple(replace(part, name=new.partition_name(part.number)) for part in old.partitions))
