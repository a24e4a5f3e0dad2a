"""Places a partition program's answer on the disks that a machine has. Pure; what can't be is refused before a byte is written.

What of it is there already and stays as it is, says ``stays``: it keeps its place, number and UUIDs, and is not formatted.
Everything else on a disk that the answer names goes: an old system of ours, and, on a machine that is installed for the first
time, an old system of anybody's; but no data (below ``/state``) ever go unless the install was told to wipe, and neither does
anything on a disk whose table can't be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from uuid import UUID, uuid4

from bootserver.install.inventory import MAX_PARTITIONS, Disk, ExistingPartition, Inventory, gigabytes
from bootserver.install.partition.check import LayoutRefused, check
from bootserver.install.partition.model import MIB, Answer, DiskAnswer, FileSystem, Partition, Raid, RaidLevel, Role, is_kept
from bootserver.install.partition.plan import DiskPlan, Plan, PlannedPartition
from bootserver.install.partition.space import Extent, fit, free, total
from bootserver.install.partition.stack import place_arrays, place_groups
from bootserver.install.partition.stays import READABLE, Stays, kept_on, what_stays

__all__ = ["READABLE", "LayoutRefused", "Plan", "kept_on", "place", "too_small"]


def place(answer: Answer, inventory: Inventory, *, wipe: bool = False, new_uuid: Callable[[], UUID] = uuid4) -> Plan:
    """
    :param wipe: nothing is kept.
    :param new_uuid: gives the UUIDs of tables, partitions, arrays and file systems, in an order that depends on nothing else.
    :raises LayoutRefused: why it can't be, in plain words.
    """
    stays = what_stays(answer, inventory, wipe=wipe)
    check(answer, inventory.firmware)
    answer = _members_of_one_size(_members_that_are_gone(answer, inventory, stays), inventory, stays)
    plans = tuple(_place_disk(each, answer.raids, _disk(inventory, each), stays, new_uuid) for each in answer.disks)
    arrays = place_arrays(answer, plans, stays, new_uuid)
    groups = place_groups(answer, plans, arrays, stays, new_uuid)
    return Plan(inventory.firmware, plans, arrays, groups)


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


def _disk(inventory: Inventory, answer: DiskAnswer) -> Disk:
    return next(disk for disk in inventory.disks if disk.name == answer.disk)


# -- members of arrays ---------------------------------------------------------------------------------------------


def _members_that_are_gone(answer: Answer, inventory: Inventory, stays: Stays) -> Answer:
    """Where an array stays and a disk lacks its member (a new disk in the place of an old one), one of its size is made."""
    sizes = {part.name: part.size for disk in inventory.disks for part in disk.partitions}

    def wanted(partition: Partition, disk: str) -> Partition:
        array = stays.arrays.get(partition.member or "") if partition.role is Role.RAID else None
        if array is None or partition.name in stays.on(disk):
            return partition
        size = max(sizes[member] for member in array.members)
        return replace(partition, size=-(-size // MIB), grow=False)

    return _altered(answer, wanted)


def _members_of_one_size(answer: Answer, inventory: Inventory, stays: Stays) -> Answer:
    """What of a member is larger than the smallest of its array is of no use to the array, and others on that disk may grow."""
    striped = {raid.name for raid in answer.raids if raid.level is RaidLevel.RAID0 or raid.name in stays.arrays}
    least: dict[str, int] = {}
    for each in answer.disks:
        for partition, extent in _fitted(each, _disk(inventory, each), stays):
            if partition.role is Role.RAID and partition.member not in striped:
                least[partition.name] = min(least.get(partition.name, extent.size // MIB), extent.size // MIB)

    def wanted(partition: Partition, _: str) -> Partition:
        if partition.name not in least or not partition.grow:
            return partition
        return replace(partition, size=max(partition.size, least[partition.name]), grow=False)

    return _altered(answer, wanted)


def _altered(answer: Answer, wanted: Callable[[Partition, str], Partition]) -> Answer:
    disks = (DiskAnswer(each.disk, tuple(wanted(part, each.disk) for part in each.partitions)) for each in answer.disks)
    return replace(answer, disks=tuple(disks))


# -- a disk --------------------------------------------------------------------------------------------------------


def _fitted(answer: DiskAnswer, disk: Disk, stays: Stays) -> list[tuple[Partition, Extent]]:
    """Where what is new on a disk goes. :raises LayoutRefused: nowhere."""
    kept = stays.on(disk.name)
    new = [each for each in answer.partitions if each.name not in kept]
    extents = fit(new, free(disk, map(_extent, kept.values()))) if new else []
    if extents is None:
        raise too_small([(disk, kept)], new)
    return list(zip(new, extents, strict=True))


def _place_disk(answer: DiskAnswer, raids: Iterable[Raid], disk: Disk, stays: Stays, new_uuid: Callable[[], UUID]) -> DiskPlan:
    kept = stays.on(disk.name)
    fitted = _fitted(answer, disk, stays)
    places = iter(fitted)
    taken = {each.number for each in kept.values()}
    numbers = (number for number in range(1, MAX_PARTITIONS + 1) if number not in taken)
    data = {raid.name for raid in raids if is_kept(raid)}
    table_uuid = str(new_uuid())
    planned = []
    for each in answer.partitions:
        if each.name in kept:
            planned.append(_kept(each, kept[each.name], is_data=not each.member or each.member in data))
            continue
        number = next(numbers, None)
        if number is None:
            raise LayoutRefused(f"the layout has more than {MAX_PARTITIONS} partitions on {disk.words}")
        # What is added to an array that stays has its name at once: it is finished.
        planned.append(
            _new(each, disk, number, next(places)[1], new_uuid, is_data=each.keep or each.member in data - stays.arrays.keys())
        )
    return DiskPlan(disk, table_uuid, tuple(sorted(planned, key=lambda each: each.start)), is_written=bool(fitted))


def _extent(partition: ExistingPartition) -> Extent:
    return Extent(partition.start, partition.size)


def _kept(wanted: Partition, there: ExistingPartition, *, is_data: bool) -> PlannedPartition:
    return PlannedPartition(
        number=there.number,
        device=there.name,
        start=there.start,
        size=there.size,
        # A member may be called anything, by whoever made it.
        name=wanted.name if wanted.member else there.label,
        type=there.type,
        uuid=there.uuid,
        mount_point=wanted.mount_point,
        filesystem="" if wanted.member else there.filesystem,
        filesystem_uuid="" if wanted.member else there.filesystem_uuid,
        kept=True,
        is_data=is_data,
        member=wanted.member,
    )


def _new(
    wanted: Partition, disk: Disk, number: int, extent: Extent, new_uuid: Callable[[], UUID], *, is_data: bool
) -> PlannedPartition:
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
        is_data=is_data,
        member=wanted.member,
    )
