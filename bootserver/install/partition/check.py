"""What a partition program's answer may be; looked at before anything is placed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from bootserver.errors import Refused
from bootserver.install.inventory import FirmwareKind
from bootserver.install.partition.answered import Answered
from bootserver.install.partition.model import (
    UNFINISHED,
    Answer,
    DiskAnswer,
    FileSystem,
    LogicalVolume,
    Partition,
    Raid,
    RaidLevel,
    Role,
    VolumeGroup,
    data_name,
    is_data,
    is_data_name,
    is_kept,
)

MAX_NAME = 36
"""UTF-16 units that a partition's name has in the GPT (UEFI 2.10 table 5.6)."""
MAX_ARRAY_NAME = 28
"""md's superblock has 32 characters for ``any:NAME`` (md(4)); ``any`` is no machine's name, so that every one takes it for its
own."""
MAX_GROUP_NAME, MAX_VOLUME_NAME = 32, 64
_PART = re.compile(r"[A-Za-z0-9_+@=-][A-Za-z0-9._+@=-]*")
_STACKED_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
# lvm(8): names that are LVM's own, or parts of such.
_LVMS_OWN = re.compile(
    r"snapshot|pvmove|.*_(?:cdata|cmeta|corig|cpool|cvol|iorig|mimage|mlog|pmspare|rimage|rmeta|tdata|tmeta|vdata|vorigin|wcorig)"
)
# Folders and devices below /dev: a group has a folder of its name there.
_IN_DEV = re.compile(
    r"block|bsg|bus|char|console|core|cpu.*|cuse|disk|dma_heap|dri|fb\d+|fd\d*|full|fuse|hpet|hugepages|input|kmsg|kvm|loop.*|"
    r"mapper|md\d*|mem|mqueue|net|null|nvme\d+.*|nvram|port|ppp|ptmx|pts|random|rfkill|rtc\d*|shm|snd|std(?:err|in|out)|"
    r"tty.*|urandom|vcs.*|vfio|vga_arbiter|vhost.*|vport.*|zero|(?:[hsv]|xv)d[a-z]\d*|dasd[a-z]\d*|(?:dm-|sg|sr|ram|zram)\d+"
)
# A system does not start with these on a file system of their own, or the kernel's own are mounted there.
_NEVER_APART = frozenset({"bin", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys"})
_MAX_SIZE = 1 << 42  # MB: 2**62 bytes
_MOUNTABLE = (FileSystem.EXT3, FileSystem.EXT4, FileSystem.XFS)


class LayoutRefused(Refused):
    """These disks can't be partitioned so."""


def is_mount_point(text: str) -> bool:
    """Is it a clean absolute path that fits a partition's name?"""
    parts = text.split("/")[1:]
    if not text.startswith("/") or len(text) > MAX_NAME:
        return False
    return text == "/" or all(_PART.fullmatch(part) for part in parts)


def check(answer: Answer, firmware: FirmwareKind) -> None:
    """:raises LayoutRefused: the answer makes no sense, on whatever disks."""
    names = [each.disk for each in answer.disks]
    _once("disk", names)
    partitions = [partition for each in answer.disks for partition in each.partitions]
    for partition in partitions:
        _check_partition(partition)
    _check_stacked(answer)
    systems: list[Partition | Raid | LogicalVolume] = [*partitions, *answer.raids]
    systems += [volume for group in answer.groups for volume in group.volumes]
    points = [each.mount_point for each in systems if each.mount_point]
    _once("mount point", points)
    if "/" not in points:
        raise LayoutRefused("the layout has no partition for /")
    _check_boot(answer, partitions, firmware)


# -- booting -----------------------------------------------------------------------------------------------------


def _check_boot(answer: Answer, partitions: list[Partition], firmware: FirmwareKind) -> None:
    """GRUB reads RAID and LVM, but its first part is outside of them: on each disk that the machine may have to start from."""
    is_uefi = firmware is FirmwareKind.UEFI
    if is_uefi and sum(each.role is Role.ESP and each.mount_point is not None for each in partitions) != 1:
        raise LayoutRefused("the layout needs one EFI system partition that is mounted: the machine was started by UEFI")
    for each in answer.disks:
        if sum(partition.role is Role.BIOS_BOOT for partition in each.partitions) > 1:
            raise LayoutRefused(f"the layout has more than one BIOS boot partition on {each.disk}")
    answered, role = Answered(answer), Role.ESP if is_uefi else Role.BIOS_BOOT
    has = {each.disk for each in answer.disks if any(partition.role is role for partition in each.partitions)}
    points = ("/boot", "/") if answered.of("/boot") else ("/",)  # GRUB finds its second part on either
    if any((is_uefi or answered.disks_of(point) & has) and answered.must_boot(point) <= has for point in points):
        return
    lacking = ", ".join(sorted(answered.must_boot(points[0]) - has))
    if lacking:
        what = "an EFI system partition" if is_uefi else "a BIOS boot partition"
        raise LayoutRefused(
            f"the layout needs {what} on each disk of the array of {points[0]}, and {lacking} has none: "
            "the machine is to start when a disk is gone"
        )
    raise LayoutRefused("the layout needs one BIOS boot partition on the disk of /: the machine was started by a BIOS")


# -- partitions ----------------------------------------------------------------------------------------------------


def _check_partition(partition: Partition) -> None:
    point, system = partition.mount_point, partition.file_system
    what = point or partition.name or "a partition"
    _check_mount_point(point)
    if not 0 < partition.minimum <= partition.size <= _MAX_SIZE:
        raise LayoutRefused(f"{what} can't have {partition.minimum} to {partition.size} MB")
    stacked = partition.role in (Role.RAID, Role.LVM)
    if stacked and (point or system or not partition.member):
        raise LayoutRefused(f"{what} is a member of an array or volume group, and has no file system or mount point of its own")
    if partition.member is not None and not stacked:
        raise LayoutRefused(f"{what} can't be a member of {partition.member}: it is no RAID or LVM partition")
    if not stacked:
        right = {
            Role.LINUX: point is not None and system in (*_MOUNTABLE, FileSystem.VFAT),
            Role.SWAP: point is None and system is FileSystem.SWAP,
            Role.ESP: system is FileSystem.VFAT,
            Role.BIOS_BOOT: point is None and system is None,
        }[partition.role]
        if not right or (point == "/" and system is FileSystem.VFAT):
            raise LayoutRefused(f"{what} can't be {system.value if system else 'without a file system'}")
    if partition.keep and (point in (None, "/") or partition.role is not Role.LINUX):
        raise LayoutRefused(f"{what} can't be kept: an install makes it anew")
    if system and not partition.keep and partition.minimum < system.minimum:
        raise LayoutRefused(f"{what} has {partition.minimum} MB, and {system.value} needs {system.minimum} MB")


def _check_mount_point(point: str | None) -> None:
    if point is not None and not is_mount_point(point):
        raise LayoutRefused(
            f"{point!r} is no mount point: an absolute path of letters, digits and . _ + @ = -, of at most {MAX_NAME} characters"
        )
    if point is not None and point.split("/")[1] in _NEVER_APART:
        raise LayoutRefused(f"{point} can't be on a partition of its own")


# -- arrays, volume groups -----------------------------------------------------------------------------------------


def _check_stacked(answer: Answer) -> None:
    _once("array", [each.name for each in answer.raids])
    _once("volume group", [each.name for each in answer.groups])
    arrays, groups = {each.name for each in answer.raids}, {each.name for each in answer.groups}
    for disk in answer.disks:
        _check_members(disk, arrays, groups)
    partitions = [each for disk in answer.disks for each in disk.partitions]
    for raid in answer.raids:
        _check_array(raid, [each for each in partitions if each.name == f"raid {raid.name}"])
        if raid.member is not None and raid.member not in groups:
            raise LayoutRefused(f"array {raid.name} is a member of volume group {raid.member}, which is not there")
    used = {each.member for each in partitions if each.role is Role.LVM} | {raid.member for raid in answer.raids}
    for group in answer.groups:
        if group.name not in used:
            raise LayoutRefused(f"volume group {group.name} has no partition and no array")
        _check_group(group)


def _check_members(disk: DiskAnswer, arrays: set[str], groups: set[str]) -> None:
    for partition in disk.partitions:
        if partition.role is Role.RAID and partition.member not in arrays:
            raise LayoutRefused(f"a partition of {disk.disk} is a member of array {partition.member}, which is not there")
        if partition.role is Role.LVM and partition.member not in groups:
            raise LayoutRefused(f"a partition of {disk.disk} is a member of volume group {partition.member}, which is not there")
    # A member beside a member on one disk is of no use for anything, and both had the same name.
    _once_on(disk.disk, [each.name for each in disk.partitions if each.member])


def _check_array(raid: Raid, members: list[Partition]) -> None:
    what = f"array {raid.name}"
    _check_name(what, raid.name, MAX_ARRAY_NAME)
    if raid.spares < 0 or (raid.spares and raid.level is RaidLevel.RAID0):
        raise LayoutRefused(f"{what} can't have {raid.spares} spares")
    count, least = len(members) - raid.spares, raid.level.least_members
    if count < least:
        beside = f" beside {raid.spares} spares" if raid.spares else ""
        raise LayoutRefused(f"{what} has {count} members{beside}, and RAID {raid.level.value} needs {least}")
    sizes = sorted({each.size for each in members})
    if len(sizes) > 1 and raid.level is not RaidLevel.RAID0 and not any(each.grow for each in members):
        raise LayoutRefused(f"the members of {what} have {' and '.join(map(str, sizes))} MB: they have to be of one size")
    if raid.member is not None:
        if raid.file_system or raid.mount_point or raid.keep:
            raise LayoutRefused(f"{what} is a member of a volume group, and has no file system or mount point of its own")
        if is_data_name(raid.name):
            raise LayoutRefused(f"{what} can't be called so: it would be taken for data")
    else:
        _check_system(what, raid)


def _check_group(group: VolumeGroup) -> None:
    what = f"volume group {group.name}"
    _check_name(what, group.name, MAX_GROUP_NAME)
    if _IN_DEV.fullmatch(group.name):
        raise LayoutRefused(f"{what} can't be called so: there are devices of that name")
    if not group.volumes:
        raise LayoutRefused(f"{what} has no volumes")
    _once(f"volume of {group.name}", [each.name for each in group.volumes])
    for volume in group.volumes:
        name = f"volume {group.name}/{volume.name}"
        _check_name(name, volume.name, MAX_VOLUME_NAME)
        if _LVMS_OWN.match(volume.name) or volume.name.startswith(UNFINISHED):
            raise LayoutRefused(f"{name} can't be called so: names like this have a meaning of their own")
        if not 0 < volume.size <= _MAX_SIZE:
            raise LayoutRefused(f"{name} can't have {volume.size} MB")
        system = volume.file_system
        if system and not is_kept(volume) and volume.size < system.minimum:
            raise LayoutRefused(f"{name} has {volume.size} MB, and {system.value} needs {system.minimum} MB")
        _check_system(name, volume)


def _check_system(what: str, wanted: Raid | LogicalVolume) -> None:
    """The file system of an array or a volume."""
    point, system = wanted.mount_point, wanted.file_system
    _check_mount_point(point)
    if system is None:
        raise LayoutRefused(f"{what} is for nothing: it has no file system")
    if system not in (_MOUNTABLE if point else (FileSystem.SWAP,)):
        why = ", and the firmware reads none" if system is FileSystem.VFAT else "" if point else " without a mount point"
        raise LayoutRefused(f"{what} can't be {system.value}{why}")
    if wanted.keep and point in (None, "/"):
        raise LayoutRefused(f"{what} can't be kept: an install makes it anew")
    if point is not None and is_data(point) and wanted.name != data_name(point):
        raise LayoutRefused(f"{what} has to be called {data_name(point)}: by that name a later install finds {point}")
    if is_data_name(wanted.name) and not (point is not None and is_data(point)):
        raise LayoutRefused(f"{what} can't be called so: it would be taken for data")
    if point is not None and point.startswith("/boot/efi"):
        raise LayoutRefused(f"{what} can't hold {point}: the firmware reads neither RAID nor LVM")


def _check_name(what: str, name: str, most: int) -> None:
    if len(name) > most or not _STACKED_NAME.fullmatch(name):
        raise LayoutRefused(
            f"{what!r} can't be called so: letters, digits and _ . + - (not at the begin), at most {most} characters"
        )


def _once(what: str, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise LayoutRefused(f"the layout has the {what} {name} {count} times")


def _once_on(disk: str, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise LayoutRefused(f"the layout has {count} partitions called {name} on {disk}: one of them would do")
