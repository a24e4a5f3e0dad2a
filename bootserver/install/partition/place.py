"""Places a partition program's answer on the disks that a machine has. Pure; what can't be is refused before a byte is written.

What is kept: a partition that the answer wants kept (all below ``/state``), that is there under its name, on that disk, and
holds a file system that can be read. It keeps its start, size, number and UUIDs and is not formatted. Everything else on a
disk that the answer names goes: an old system of ours, and, on a machine that is installed for the first time, an old system
of anybody's; but nothing named ``/state/...`` ever goes unless the install was told to wipe, and neither does anything on a
disk whose table can't be read.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID, uuid4

from bootserver.install.inventory import MAX_PARTITIONS, Disk, ExistingPartition, Inventory, gigabytes
from bootserver.install.partition.check import LayoutRefused, check, is_mount_point
from bootserver.install.partition.model import MIB, Answer, DiskAnswer, FileSystem, Partition, is_data
from bootserver.install.partition.plan import DiskPlan, Plan, PlannedPartition
from bootserver.install.partition.space import Extent, end_of, fit, free, total

READABLE = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs"})
"""File systems that hold data which can be kept."""

_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")

__all__ = ["LayoutRefused", "Plan", "kept_on", "place", "too_small"]


def place(answer: Answer, inventory: Inventory, *, wipe: bool = False, new_uuid: Callable[[], UUID] = uuid4) -> Plan:
    """
    :param wipe: nothing is kept.
    :param new_uuid: gives the UUIDs of tables, partitions and file systems, in an order that depends on nothing else.
    :raises LayoutRefused: why it can't be, in plain words.
    """
    chosen = [(each, _disk(inventory, each.disk)) for each in answer.disks]
    if not wipe:
        _check_data(chosen, inventory)
    check(answer, inventory.firmware)
    plans = tuple(_place_disk(each, disk, wipe, new_uuid) for each, disk in chosen)
    return Plan(inventory.firmware, plans)


def kept_on(disk: Disk, wanted: Iterable[Partition], *, wipe: bool) -> dict[str, ExistingPartition]:
    """What stays on a disk, by name."""
    if wipe or not disk.is_gpt:
        return {}
    names = {each.name for each in wanted if each.keep}
    return {each.label: each for each in disk.partitions if each.label in names}


def too_small(disks: Iterable[tuple[Disk, Mapping[str, ExistingPartition]]], wanted: Iterable[Partition]) -> LayoutRefused:
    """Why a layout does not fit on any of these disks, with what is kept on each."""
    need = gigabytes((total(wanted) + 2) * MIB)
    empty, full = [], []
    for disk, kept in disks:
        if not kept:
            empty.append(f"{disk.words} has {gigabytes(disk.size)}")
            continue
        room = max((each.size for each in free(disk, map(_extent, kept.values()))), default=0)
        names = ", ".join(f"{name} ({gigabytes(each.size)})" for name, each in kept.items())
        full.append(f"{disk.words} has {gigabytes(room)} beside {names}")
    if full:
        return LayoutRefused(
            f"no room for the system: {', '.join(full + empty)}, the layout needs {need}; --wipe gives up such data"
        )
    return LayoutRefused(f"disk too small: {', '.join(empty)}, the layout needs {need}")


def _disk(inventory: Inventory, name: str) -> Disk:
    disk = inventory.disk(name)
    if disk is None:
        raise LayoutRefused(
            f"the layout wants disk {name}, and the machine has {', '.join(d.name for d in inventory.disks) or 'none'}"
        )
    return disk


def _check_data(chosen: list[tuple[DiskAnswer, Disk]], inventory: Inventory) -> None:
    """:raises LayoutRefused: data would be lost, or mixed up."""
    where: dict[str, list[str]] = {}
    for disk in inventory.disks:
        for label in sorted({each.label for each in disk.partitions if is_data(each.label)}):
            where.setdefault(label, []).append(disk.name)
    for label, names in where.items():
        if len(names) > 1:
            raise LayoutRefused(f"{label} is on {' and on '.join(names)}: take one of them out, or say --wipe")
    for answer, disk in chosen:
        _check_disk(answer, disk, where)


def _check_disk(answer: DiskAnswer, disk: Disk, where: Mapping[str, list[str]]) -> None:
    if disk.partitions and not disk.table:
        raise LayoutRefused(f"{disk.words} has partitions, and its partition table can't be read: --wipe gives them up")
    kept = kept_on(disk, answer.partitions, wipe=False)
    for each in disk.partitions:
        if is_data(each.label) and each.label not in kept:
            what = f"{each.label} ({gigabytes(each.size)})"
            raise LayoutRefused(f"{disk.words} holds {what}, which the layout does not keep: --wipe gives it up")
    for partition in answer.partitions:
        elsewhere = [name for name in where.get(partition.name, []) if name != disk.name]
        if partition.keep and partition.name not in kept and elsewhere:
            raise LayoutRefused(
                f"{partition.name} is on {elsewhere[0]}, the layout wants it on {disk.name}: --wipe makes it anew"
            )
    _check_all_kept(disk, kept)


def _check_all_kept(disk: Disk, kept: Mapping[str, ExistingPartition]) -> None:
    for name, count in Counter(each.label for each in disk.partitions if each.label in kept).items():
        if count > 1:
            raise LayoutRefused(f"{disk.words} has {count} partitions named {name}: --wipe gives them up")
    ordered = sorted(kept.values(), key=lambda each: each.start)
    for each in ordered:
        _check_kept(disk, each)
    for one, other in itertools.pairwise(ordered):
        if other.start < one.end:
            raise LayoutRefused(f"{one.label} and {other.label} overlap on {disk.words}: --wipe gives them up")


def _check_kept(disk: Disk, each: ExistingPartition) -> None:
    what = f"{each.label} on {each.name} can't be kept"
    if not is_mount_point(each.label):
        raise LayoutRefused(f"{what}, its name is no mount point: --wipe gives it up")
    if each.filesystem not in READABLE or not _UUID.fullmatch(each.filesystem_uuid):
        found = each.filesystem or "nothing that can be read"
        raise LayoutRefused(f"{what}, it holds {found}: mend it, or --wipe gives it up")
    aligned = each.start % disk.sector_size == 0 and each.size % disk.sector_size == 0
    if (
        not each.uuid
        or not _UUID.fullmatch(each.type)
        or not aligned
        or each.start < 34 * disk.sector_size
        or each.size <= 0
        or each.end > end_of(disk)
    ):
        raise LayoutRefused(f"{what}, its place in the partition table makes no sense: --wipe gives it up")


def _place_disk(answer: DiskAnswer, disk: Disk, wipe: bool, new_uuid: Callable[[], UUID]) -> DiskPlan:
    kept = kept_on(disk, answer.partitions, wipe=wipe)
    new = [each for each in answer.partitions if each.name not in kept]
    extents = fit(new, free(disk, map(_extent, kept.values()))) if new else []
    if extents is None:
        raise too_small([(disk, kept)], new)
    places = iter(extents)
    taken = {each.number for each in kept.values()}
    numbers = (number for number in range(1, MAX_PARTITIONS + 1) if number not in taken)
    table_uuid = str(new_uuid())
    planned = []
    for each in answer.partitions:
        if each.name in kept:
            planned.append(_kept(each, kept[each.name]))
            continue
        number = next(numbers, None)
        if number is None:
            raise LayoutRefused(f"the layout has more than {MAX_PARTITIONS} partitions on {disk.words}")
        planned.append(_new(each, disk, number, next(places), new_uuid))
    return DiskPlan(disk, table_uuid, tuple(sorted(planned, key=lambda each: each.start)), is_written=bool(new))


def _extent(partition: ExistingPartition) -> Extent:
    return Extent(partition.start, partition.size)


def _kept(wanted: Partition, there: ExistingPartition) -> PlannedPartition:
    return PlannedPartition(
        number=there.number,
        device=there.name,
        start=there.start,
        size=there.size,
        name=there.label,
        type=there.type,
        uuid=there.uuid,
        mount_point=wanted.mount_point,
        filesystem=there.filesystem,
        filesystem_uuid=there.filesystem_uuid,
        kept=True,
        is_data=True,
    )


def _new(wanted: Partition, disk: Disk, number: int, extent: Extent, new_uuid: Callable[[], UUID]) -> PlannedPartition:
    uuid, system_uuid = new_uuid(), new_uuid()
    match wanted.file_system:
        case None:
            text = ""
        case FileSystem.VFAT:  # a volume ID of 32 bits, as blkid writes it
            text = f"{system_uuid.hex[:4]}-{system_uuid.hex[4:8]}".upper()
        case _:
            text = str(system_uuid)
    return PlannedPartition(
        number=number,
        device=disk.partition_name(number),
        start=extent.start,
        size=extent.size,
        name=wanted.name,
        type=wanted.role.value,
        uuid=str(uuid),
        mount_point=wanted.mount_point,
        filesystem=wanted.file_system.value if wanted.file_system else "",
        filesystem_uuid=text,
        kept=False,
        is_data=wanted.keep,
    )
