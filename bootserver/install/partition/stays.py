"""What of an answer is there already and stays as it is; and that no data go, or are mixed up, unless the install may wipe.

What stays:

- a partition that the answer wants kept, that is there under its name, on that disk, with a file system that can be read;
- an array that the answer wants kept, that is there under its name and finished, with its members on disks on which the answer
  wants members of it; so many are there that it runs. Where a member is gone (a new disk), one of its size is made and added;
- a volume that the answer wants kept, in a group of that name whose physical volumes are all there, each where the answer wants
  one; the group stays then, with the arrays it is on. Other volumes of it go, new physical volumes are added.

Data are partitions named ``/state/...``, and arrays and volumes whose name is that of such a mount point (``model``).
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from bootserver.install.inventory import Disk, ExistingPartition, Inventory, gigabytes
from bootserver.install.partition.check import LayoutRefused, is_mount_point
from bootserver.install.partition.model import (
    UNFINISHED,
    Answer,
    DiskAnswer,
    LogicalVolume,
    Partition,
    Raid,
    Role,
    VolumeGroup,
    data_name,
    is_data,
    is_data_name,
    is_kept,
)
from bootserver.install.partition.space import end_of
from bootserver.install.stacked import ArrayState, ExistingArray, ExistingGroup, ExistingVolume

READABLE = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs"})
"""File systems that hold data which can be kept."""
_LAYOUTS = frozenset({"linear", "striped"})
"""Volumes that stand for themselves; others (thin, cached, snapshots) lose theirs with those that they need."""
_LEVELS = frozenset({"raid0", "raid1", "raid5", "raid6", "raid10"})
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


@dataclass(frozen=True, slots=True)
class Stays:
    """
    :ivar partitions: by disk, and by the name that the answer has for them.
    :ivar arrays: by name. :ivar groups: by name. :ivar volumes: by group and name.
    """

    partitions: Mapping[str, Mapping[str, ExistingPartition]] = field(default_factory=dict)
    arrays: Mapping[str, ExistingArray] = field(default_factory=dict)
    groups: Mapping[str, ExistingGroup] = field(default_factory=dict)
    volumes: Mapping[tuple[str, str], ExistingVolume] = field(default_factory=dict)

    def on(self, disk: str) -> Mapping[str, ExistingPartition]:
        """What stays on a disk, by name."""
        return self.partitions.get(disk, {})


def kept_on(disk: Disk, wanted: Iterable[Partition], *, wipe: bool) -> dict[str, ExistingPartition]:
    """What stays on a disk of file systems on partitions, by name."""
    if wipe or not disk.is_gpt:
        return {}
    names = {each.name for each in wanted if each.keep}
    return {each.label: each for each in disk.partitions if each.label in names}


def what_stays(answer: Answer, inventory: Inventory, *, wipe: bool) -> Stays:
    """
    :param wipe: nothing stays.
    :raises LayoutRefused: data would be lost, or mixed up; or what has to stay can't.
    """
    chosen = [(each, _disk(inventory, each.disk)) for each in answer.disks]
    _check_foreign_groups(answer, inventory)
    if wipe:
        return Stays()
    stays = _find(answer, chosen, inventory)
    _check_data(answer, chosen, inventory, stays)
    return stays


def _disk(inventory: Inventory, name: str) -> Disk:
    disk = inventory.disk(name)
    if disk is None:
        raise LayoutRefused(
            f"the layout wants disk {name}, and the machine has {', '.join(d.name for d in inventory.disks) or 'none'}"
        )
    return disk


# -- finding -------------------------------------------------------------------------------------------------------


def _find(answer: Answer, chosen: list[tuple[DiskAnswer, Disk]], inventory: Inventory) -> Stays:
    volumes = dict(_find_volumes(answer, inventory))
    groups = {wanted.name: group for wanted, group, _ in volumes.values()}
    arrays = dict(_find_arrays(answer, inventory, groups))
    partitions: dict[str, Mapping[str, ExistingPartition]] = {}
    for each, disk in chosen:
        members = ((wanted.name, _member(wanted, disk, arrays, groups)) for wanted in each.partitions)
        found = {name: there for name, there in members if there is not None}
        partitions[disk.name] = kept_on(disk, each.partitions, wipe=False) | found
    return Stays(partitions, arrays, groups, {key: volume for key, (_, _, volume) in volumes.items()})


def _find_volumes(
    answer: Answer, inventory: Inventory
) -> Iterator[tuple[tuple[str, str], tuple[VolumeGroup, ExistingGroup, ExistingVolume]]]:
    for wanted in answer.groups:
        kept = {each.name for each in wanted.volumes if is_kept(each)}
        for group in inventory.groups:
            for volume in group.volumes if group.name == wanted.name else ():
                if volume.name in kept:
                    yield (wanted.name, volume.name), (wanted, group, volume)


def _find_arrays(
    answer: Answer, inventory: Inventory, groups: Mapping[str, ExistingGroup]
) -> Iterator[tuple[str, ExistingArray]]:
    labels = _labels(inventory)
    for raid in answer.raids:
        for array in inventory.arrays:
            if array.name != raid.name or not is_finished(array, labels):
                continue
            if raid.member is None:
                if is_kept(raid):
                    yield raid.name, array
            elif raid.member in groups and array.path in groups[raid.member].physical_volumes:
                yield raid.name, array


def _labels(inventory: Inventory) -> dict[str, str]:
    return {part.name: part.label for disk in inventory.disks for part in disk.partitions}


def is_finished(array: ExistingArray, labels: Mapping[str, str]) -> bool:
    """Was all done that an install does to an array? (Its members are named last.)"""
    return not array.members or not all(labels.get(member) == UNFINISHED for member in array.members)


def _member(
    wanted: Partition, disk: Disk, arrays: Mapping[str, ExistingArray], groups: Mapping[str, ExistingGroup]
) -> ExistingPartition | None:
    """The partition of a disk that is a member of what stays."""
    owner = wanted.member or ""
    for part in disk.partitions if disk.is_gpt else ():
        if wanted.role is Role.RAID and owner in arrays and part.name in arrays[owner].members:
            return part
        if wanted.role is Role.LVM and owner in groups and f"/dev/{part.name}" in groups[owner].physical_volumes:
            return part
    return None


# -- no data go ----------------------------------------------------------------------------------------------------


def _check_data(answer: Answer, chosen: list[tuple[DiskAnswer, Disk]], inventory: Inventory, stays: Stays) -> None:
    where = _where(inventory)
    for places in where.values():
        if len(places) > 1:
            what = places[0].what
            raise LayoutRefused(
                f"{what} is on {' and on '.join(each.on for each in places)}: take one of them out, or say --wipe"
            )
    for each, disk in chosen:
        _check_disk(disk, stays.on(disk.name), where, each)
    named = {disk.name for _, disk in chosen}
    for raid in answer.raids:
        if raid.name in stays.arrays:
            _check_array(raid, stays, inventory)
    for group in answer.groups:
        if group.name in stays.groups:
            _check_group(group, answer, stays, inventory)
    _check_left(inventory, stays, named)
    wanted: list[Raid | LogicalVolume] = [each for each in answer.raids if each.name not in stays.arrays]
    wanted += [volume for group in answer.groups for volume in group.volumes if (group.name, volume.name) not in stays.volumes]
    for new in wanted:
        if new.mount_point is not None and is_data(new.mount_point) and (places := where.get(new.name, [])):
            raise LayoutRefused(f"{places[0].what} is on {places[0].on}, and the layout makes it anew: --wipe gives it up")


@dataclass(frozen=True, slots=True)
class _Place:
    """Data that are there. :ivar what: for people. :ivar on: likewise, where. :ivar disk: of a partition."""

    what: str
    on: str
    disk: str = ""


def _where(inventory: Inventory) -> dict[str, list[_Place]]:
    """All data, by the name that an array or a volume would have."""
    found: dict[str, list[_Place]] = {}
    labels = _labels(inventory)
    for disk in inventory.disks:
        for label in sorted({each.label for each in disk.partitions if is_data(each.label)}):
            found.setdefault(data_name(label), []).append(_Place(label, disk.name, disk.name))
    for array in inventory.arrays:
        if is_data_name(array.name) and is_finished(array, labels):
            found.setdefault(array.name, []).append(_Place(array.name, f"an array of {', '.join(array.members)}"))
    for group in inventory.groups:
        for volume in group.volumes:
            if is_data_name(volume.name):
                found.setdefault(volume.name, []).append(_Place(volume.name, f"volume group {group.name}"))
    return found


def _check_disk(disk: Disk, kept: Mapping[str, ExistingPartition], where: Mapping[str, list[_Place]], answer: DiskAnswer) -> None:
    if disk.partitions and not disk.table:
        raise LayoutRefused(f"{disk.words} has partitions, and its partition table can't be read: --wipe gives them up")
    for each in disk.partitions:
        if is_data(each.label) and each.label not in kept:
            what = f"{each.label} ({gigabytes(each.size)})"
            raise LayoutRefused(f"{disk.words} holds {what}, which the layout does not keep: --wipe gives it up")
    for partition in answer.partitions:
        elsewhere = [place for place in where.get(data_name(partition.name), []) if place.disk != disk.name]
        if is_data(partition.name) and partition.name not in kept and elsewhere:
            raise LayoutRefused(
                f"{partition.name} is on {elsewhere[0].on}, the layout wants it on {disk.name}: --wipe makes it anew"
            )
    _check_all_kept(disk, answer, kept)


def _check_all_kept(disk: Disk, answer: DiskAnswer, kept: Mapping[str, ExistingPartition]) -> None:
    members = {each.name for each in answer.partitions if each.member}
    for name, count in Counter(each.label for each in disk.partitions if each.label in kept.keys() - members).items():
        if count > 1:
            raise LayoutRefused(f"{disk.words} has {count} partitions named {name}: --wipe gives them up")
    ordered = sorted(kept.items(), key=lambda each: each[1].start)
    for name, each in ordered:
        if name not in members:
            _check_system(f"{each.label} on {each.name}", each, is_named=is_mount_point(each.label))
        _check_place(disk, name, each)
    for (one_name, one), (other_name, other) in itertools.pairwise(ordered):
        if other.start < one.end:
            raise LayoutRefused(f"{one_name} and {other_name} overlap on {disk.words}: --wipe gives them up")


def _check_system(what: str, each: ExistingPartition | ExistingArray | ExistingVolume, *, is_named: bool = True) -> None:
    if not is_named:
        raise LayoutRefused(f"{what} can't be kept, its name is no mount point: --wipe gives it up")
    if each.filesystem not in READABLE or not _UUID.fullmatch(each.filesystem_uuid):
        found = each.filesystem or "nothing that can be read"
        raise LayoutRefused(f"{what} can't be kept, it holds {found}: mend it, or --wipe gives it up")


def _check_place(disk: Disk, name: str, each: ExistingPartition) -> None:
    aligned = each.start % disk.sector_size == 0 and each.size % disk.sector_size == 0
    if (
        not each.uuid
        or not _UUID.fullmatch(each.type)
        or not aligned
        or each.start < 34 * disk.sector_size
        or each.size <= 0
        or each.end > end_of(disk)
    ):
        raise LayoutRefused(
            f"{name} on {each.name} can't be kept, its place in the partition table makes no sense: --wipe gives it up"
        )


# -- arrays and groups ---------------------------------------------------------------------------------------------


def _check_array(raid: Raid, stays: Stays, inventory: Inventory) -> None:
    array, what = stays.arrays[raid.name], f"array {raid.name}"
    if sum(each.name == raid.name for each in inventory.arrays) > 1:
        raise LayoutRefused(f"the machine has two arrays called {raid.name}: take one of them out, or say --wipe")
    if array.state is ArrayState.FAILED:
        there = ", ".join(array.members)
        raise LayoutRefused(f"{what} can't be kept, too few of its members are there ({there}): mend it, or --wipe gives it up")
    if array.level not in _LEVELS or not array.uuid:
        raise LayoutRefused(f"{what} can't be kept, it is {array.level or 'of no known level'}: --wipe gives it up")
    kept = {part.name for parts in stays.partitions.values() for part in parts.values()}
    for member in array.members:
        if member not in kept:
            raise LayoutRefused(f"{what} has a member {member}, where the layout wants none of it: --wipe gives the array up")
    if raid.member is None:
        _check_system(what, array)


def _check_group(group: VolumeGroup, answer: Answer, stays: Stays, inventory: Inventory) -> None:
    there, what = stays.groups[group.name], f"volume group {group.name}"
    if sum(each.name == group.name for each in inventory.groups) > 1:
        raise LayoutRefused(f"the machine has two volume groups called {group.name}: take one of them out, or say --wipe")
    if there.missing:
        raise LayoutRefused(
            f"{what} can't be kept, {there.missing} of its physical volumes are gone: mend it, or --wipe gives it up"
        )
    kept = {f"/dev/{part.name}" for parts in stays.partitions.values() for part in parts.values()}
    kept |= {stays.arrays[raid.name].path for raid in answer.raids if raid.member == group.name and raid.name in stays.arrays}
    for path in there.physical_volumes:
        if path not in kept:
            raise LayoutRefused(f"{what} is on {path}, too, where the layout wants nothing of it: --wipe gives the group up")
    for volume in group.volumes:
        if (found := stays.volumes.get((group.name, volume.name))) is None:
            continue
        name = f"volume {group.name}/{volume.name}"
        if found.layout not in _LAYOUTS:
            raise LayoutRefused(f"{name} can't be kept, it is {found.layout}: --wipe gives it up")
        _check_system(name, found)


def disks_of_stacked_data(inventory: Inventory) -> frozenset[str]:
    """The disks that arrays and volumes with data below ``/state`` are on."""
    owners, labels = _Owners(inventory), _labels(inventory)
    found: set[str] = set()
    for array in inventory.arrays:
        if is_data_name(array.name) and is_finished(array, labels):
            found |= owners.of_array(array)
    for group in inventory.groups:
        if any(is_data_name(volume.name) for volume in group.volumes):
            found |= owners.of_group(group)
    return frozenset(found)


def _check_left(inventory: Inventory, stays: Stays, named: set[str]) -> None:
    """Nothing with data that is on a disk of the layout is left out of it."""
    owners = _Owners(inventory)
    labels = _labels(inventory)
    for array in inventory.arrays:
        hit = sorted(owners.of_array(array) & named)
        if hit and is_data_name(array.name) and is_finished(array, labels) and stays.arrays.get(array.name) is not array:
            size = f" ({gigabytes(array.size)})" if array.size else ""
            raise LayoutRefused(
                f"{' and '.join(hit)} hold array {array.name}{size}, which the layout does not keep: --wipe gives it up"
            )
    for group in inventory.groups:
        hit = sorted(owners.of_group(group) & named)
        for volume in group.volumes:
            if hit and is_data_name(volume.name) and stays.volumes.get((group.name, volume.name)) is not volume:
                raise LayoutRefused(
                    f"{' and '.join(hit)} hold volume {group.name}/{volume.name} ({gigabytes(volume.size)}), "
                    "which the layout does not keep: --wipe gives it up"
                )


def _check_foreign_groups(answer: Answer, inventory: Inventory) -> None:
    """A group of a new one's name on a disk that stays as it is: LVM makes no second one of that name."""
    named, owners = {each.disk for each in answer.disks}, _Owners(inventory)
    wanted = {group.name for group in answer.groups}
    for found in inventory.groups:
        others = sorted(owners.of_group(found) - named)
        if found.name in wanted and others:
            raise LayoutRefused(
                f"there is a volume group {found.name} on {' and '.join(others)}, which the layout leaves alone: "
                "call the new one otherwise, or take that disk out"
            )


class _Owners:
    """The disks that arrays and groups are on."""

    def __init__(self, inventory: Inventory) -> None:
        self._disk = {part.name: disk.name for disk in inventory.disks for part in disk.partitions}
        self._arrays = {array.path: array for array in inventory.arrays}

    def of_array(self, array: ExistingArray) -> set[str]:
        return {self._disk.get(member, member) for member in array.members}

    def of_group(self, group: ExistingGroup) -> set[str]:
        found = set()
        for path in group.physical_volumes:
            if (array := self._arrays.get(path)) is not None:
                found |= self.of_array(array)
            else:
                found |= {self._disk.get(name, name) for name in (path.rpartition("/")[2],)}
        return found
