"""What stands on several partitions: how large arrays and volumes become. Pure arithmetic, in bytes.

What md and LVM keep for themselves on each member depends on their version; the sizes here are a little less than what comes
of it, so that what was planned always fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from uuid import UUID

from bootserver.install.inventory import gigabytes
from bootserver.install.partition.check import LayoutRefused
from bootserver.install.partition.model import MIB, Answer, LogicalVolume, Raid, RaidLevel, VolumeGroup, is_kept
from bootserver.install.partition.plan import DiskPlan, PlannedArray, PlannedGroup, PlannedPartition, PlannedVolume
from bootserver.install.partition.stays import Stays

EXTENT = 4 * MIB
CHUNK = MIB // 2
"""What mdadm writes to one member before it goes on to the next (mdadm(8), --chunk)."""
_LVM_HEAD = MIB  # lvm.conf(5), metadata and data alignment


def place_arrays(
    answer: Answer, disks: Iterable[DiskPlan], stays: Stays, new_uuid: Callable[[], UUID]
) -> tuple[PlannedArray, ...]:
    """The arrays of an answer whose partitions are placed."""
    partitions = [part for disk in disks for part in disk.partitions]
    return tuple(_array(raid, [part for part in partitions if _is_member(part, raid)], stays, new_uuid) for raid in answer.raids)


def place_groups(
    answer: Answer,
    disks: Iterable[DiskPlan],
    arrays: Sequence[PlannedArray],
    stays: Stays,
    new_uuid: Callable[[], UUID],
) -> tuple[PlannedGroup, ...]:
    """:raises LayoutRefused: a group has no room for its volumes."""
    partitions = [part for disk in disks for part in disk.partitions]
    return tuple(_group(group, partitions, arrays, stays, new_uuid) for group in answer.groups)


# -- arrays --------------------------------------------------------------------------------------------------------


def _is_member(partition: PlannedPartition, raid: Raid) -> bool:
    return partition.member == raid.name and partition.name == f"raid {raid.name}"


def _array(raid: Raid, members: list[PlannedPartition], stays: Stays, new_uuid: Callable[[], UUID]) -> PlannedArray:
    there = stays.arrays.get(raid.name)
    if there is not None:
        return PlannedArray(
            name=raid.name,
            level=RaidLevel(there.level.removeprefix("raid")),
            devices=(*there.members, *(part.device for part in members if not part.kept)),
            spares=there.spares,
            uuid=there.uuid,
            size=there.size,
            mount_point=raid.mount_point,
            filesystem=there.filesystem if raid.member is None else "",
            filesystem_uuid=there.filesystem_uuid if raid.member is None else "",
            member=raid.member,
            kept=True,
            is_data=is_kept(raid),
        )
    uuid, system_uuid = new_uuid(), new_uuid()
    size = usable(raid.level, [part.size for part in members], raid.spares)
    _check_size(f"array {raid.name}", raid, size)
    return PlannedArray(
        name=raid.name,
        level=raid.level,
        devices=tuple(part.device for part in members),
        spares=raid.spares,
        uuid=str(uuid),
        size=size,
        mount_point=raid.mount_point,
        filesystem=raid.file_system.value if raid.file_system else "",
        filesystem_uuid=str(system_uuid) if raid.file_system else "",
        member=raid.member,
        kept=False,
        is_data=is_kept(raid),
    )


def usable(level: RaidLevel, members: Sequence[int], spares: int = 0) -> int:
    """Bytes of an array that hold data, and never more than there will be. :param members: their sizes, spares too."""
    sizes = [_usable_of(size) for size in members]
    least, count = min(sizes), len(sizes) - spares
    match level:
        case RaidLevel.RAID0:
            return sum(sizes)
        case RaidLevel.RAID1:
            return least
        case RaidLevel.RAID5:
            return (count - 1) * least
        case RaidLevel.RAID6:
            return (count - 2) * least
        case RaidLevel.RAID10:
            return count * least // 2 // CHUNK * CHUNK


def _usable_of(member: int) -> int:
    """What md leaves of a member: before the data are a superblock, a bitmap, and room to grow (1/1024, 128 MB at most)."""
    head = min(max(member // 1024, 2 * MIB), 128 * MIB) + 2 * MIB
    return max(member - head, 0) // CHUNK * CHUNK


# -- volume groups -------------------------------------------------------------------------------------------------


def _group(
    group: VolumeGroup,
    partitions: Iterable[PlannedPartition],
    arrays: Iterable[PlannedArray],
    stays: Stays,
    new_uuid: Callable[[], UUID],
) -> PlannedGroup:
    there = stays.groups.get(group.name)
    extent = there.extent_size if there else EXTENT
    devices: list[str] = []
    room = 0
    for part in partitions:
        if part.member == group.name and part.name == f"lvm {group.name}":
            devices.append(part.path)
            room += 0 if part.kept else _extents(part.size, extent)
    for array in arrays:
        if array.member == group.name:
            devices.append(array.path)
            # LVM puts its data where a stripe begins.
            stripe = 0 if array.level is RaidLevel.RAID1 else CHUNK * len(array.devices)
            room += 0 if array.kept and there else _extents(array.size - stripe, extent)
    gone: list[str] = []
    if there is not None:
        kept = {volume for name, volume in stays.volumes if name == group.name}
        gone = [each.name for each in there.volumes if each.name not in kept]
        # What else goes may take more than it seems, or share what it takes with others: that room is not counted.
        going = sum(each.size for each in there.volumes if each.name in gone and each.layout in ("linear", "striped"))
        room += (there.free + going) // extent
    new = [each for each in group.volumes if (group.name, each.name) not in stays.volumes]
    sizes = _share(group, new, room, extent)
    volumes = tuple(_volume(group, each, sizes, stays, new_uuid) for each in group.volumes)
    return PlannedGroup(
        group.name, tuple(devices), volumes, there is not None, tuple(gone), there.uuid if there is not None else ""
    )


def _volume(
    group: VolumeGroup, wanted: LogicalVolume, sizes: Mapping[str, int], stays: Stays, new_uuid: Callable[[], UUID]
) -> PlannedVolume:
    there = stays.volumes.get((group.name, wanted.name))
    if there is not None:
        return PlannedVolume(
            wanted.name, group.name, there.size, wanted.mount_point, there.filesystem, there.filesystem_uuid, True, True
        )
    _check_size(f"volume {group.name}/{wanted.name}", wanted, sizes[wanted.name])
    system = wanted.file_system
    return PlannedVolume(
        name=wanted.name,
        group=group.name,
        size=sizes[wanted.name],
        mount_point=wanted.mount_point,
        filesystem=system.value if system else "",
        filesystem_uuid=str(new_uuid()) if system else "",
        kept=False,
        is_data=is_kept(wanted),
    )


def _extents(size: int, extent: int) -> int:
    return max(size - _LVM_HEAD, 0) // extent


def _share(group: VolumeGroup, new: Sequence[LogicalVolume], room: int, extent: int) -> dict[str, int]:
    """Bytes of each new volume: what it asks for, and of those that grow an equal share of what is left, above their least.

    :param room: extents that are free. :raises LayoutRefused: they are too few.
    """
    need = {each.name: -(-each.size * MIB // extent) for each in new}
    if sum(need.values()) > room:
        wanted, has = gigabytes(sum(need.values()) * extent), gigabytes(room * extent)
        raise LayoutRefused(f"volume group {group.name} is too small: it has {has}, its new volumes need {wanted}")
    growing = sorted((each.name for each in new if each.grow), key=lambda name: -need[name])
    rest = room - sum(need[each.name] for each in new if not each.grow)
    # The one that needs most takes its part first: what it takes beyond an equal share, the others share.
    for count, name in enumerate(growing):
        need[name] = max(need[name], rest // (len(growing) - count))
        rest -= need[name]
    return {name: count * extent for name, count in need.items()}


def _check_size(what: str, wanted: Raid | LogicalVolume, size: int) -> None:
    least = wanted.file_system.minimum * MIB if wanted.file_system else MIB
    if size < least:
        raise LayoutRefused(f"{what} would have {gigabytes(size)}, and needs {gigabytes(least)}")
