"""What a partition program's answer may be; looked at before anything is placed."""

from __future__ import annotations

import re
from collections import Counter

from bootserver.errors import Refused
from bootserver.install.inventory import FirmwareKind
from bootserver.install.partition.model import Answer, FileSystem, Partition, Role

MAX_NAME = 36
"""UTF-16 units that a partition's name has in the GPT (UEFI 2.10 table 5.6)."""
_PART = re.compile(r"[A-Za-z0-9_+@=-][A-Za-z0-9._+@=-]*")
# A system does not start with these on a file system of their own, or the kernel's own are mounted there.
_NEVER_APART = frozenset({"bin", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys"})
_MAX_SIZE = 1 << 42  # MB: 2**62 bytes


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
    _once("mount point", [each.mount_point for each in partitions if each.mount_point])
    if not any(each.mount_point == "/" for each in partitions):
        raise LayoutRefused("the layout has no partition for /")
    for each in answer.disks:
        if any(partition.mount_point == "/" for partition in each.partitions):
            _check_boot(partitions if firmware is FirmwareKind.UEFI else each.partitions, firmware)


def _check_boot(partitions: list[Partition] | tuple[Partition, ...], firmware: FirmwareKind) -> None:
    roles = Counter(each.role for each in partitions)
    if firmware is FirmwareKind.BIOS and roles[Role.BIOS_BOOT] != 1:
        raise LayoutRefused("the layout needs one BIOS boot partition on the disk of /: the machine was started by a BIOS")
    mounted = [each for each in partitions if each.role is Role.ESP and each.mount_point]
    if firmware is FirmwareKind.UEFI and len(mounted) != 1:
        raise LayoutRefused("the layout needs one EFI system partition that is mounted: the machine was started by UEFI")


def _check_partition(partition: Partition) -> None:
    point, system = partition.mount_point, partition.file_system
    what = point or partition.name or "a partition"
    if point is not None and not is_mount_point(point):
        raise LayoutRefused(
            f"{point!r} is no mount point: an absolute path of letters, digits and . _ + @ = -, of at most {MAX_NAME} characters"
        )
    if point is not None and point.split("/")[1] in _NEVER_APART:
        raise LayoutRefused(f"{point} can't be on a partition of its own")
    if not 0 < partition.minimum <= partition.size <= _MAX_SIZE:
        raise LayoutRefused(f"{what} can't have {partition.minimum} to {partition.size} MB")
    right = {
        Role.LINUX: point is not None and system in (FileSystem.EXT4, FileSystem.XFS, FileSystem.VFAT),
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


def _once(what: str, names: list[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise LayoutRefused(f"the layout has the {what} {name} {count} times")
