"""Curtin's storage configuration, which Ubuntu's live server installer (subiquity) takes as ``storage:`` of autoinstall.

curtin's documentation, "Storage" (topics/storage), and Ubuntu's autoinstall reference, ``storage`` with ``config``. It is YAML;
JSON is YAML, and has no text that could become anything else.

Two versions of curtin's storage are there, and which one is used is for the installer's kernel command line to say, not for this
text: version 1 makes partitions one behind the other in free space and can't remove any; version 2
(``subiquity-storage-version=2``) does exactly as it is told, by offsets. This text is right for both where nothing on a disk is
kept, and where what is made anew is just where it was before (then it is formatted where it is). Else it needs version 2.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from bootserver.install.inventory import Disk, FirmwareKind, Inventory
from bootserver.install.partition.check import LayoutRefused
from bootserver.install.partition.emitting import OTHER_WAYS, WAYS_OUT, check_what_grows_together
from bootserver.install.partition.model import MIB, Answer, Role
from bootserver.install.partition.plan import (
    DiskPlan,
    Plan,
    PlannedArray,
    PlannedFileSystem,
    PlannedGroup,
    PlannedPartition,
)

_INSTALLER = "Ubuntu's installer"
_FLAGS = {Role.BIOS_BOOT: "bios_grub", Role.ESP: "boot", Role.SWAP: "swap", Role.RAID: "raid", Role.LVM: "lvm"}
_FLAG_OF_TYPE = {role.value: flag for role, flag in _FLAGS.items()}
_FSTYPES = {"vfat": "fat32"}
_WITH_UUID = frozenset({"ext3", "ext4", "xfs", "swap"})

_Action = dict[str, Any]


def storage(answer: Answer, plan: Plan, inventory: Inventory | None = None) -> str:
    """
    :param answer: not needed here, as sizes are all in the plan; emitters are called alike.
    :param plan: of this answer (:func:`bootserver.install.partition.place.place`).
    :param inventory: of the machine, by which an array that is kept is known; without it none can be.
    :returns: ``storage:`` and its value, lines of YAML for the top of an autoinstall file.
    :raises LayoutRefused: subiquity can't be told so.
    """
    _check(plan)
    running = {array.name: array.device for array in inventory.arrays if array.device} if inventory else {}
    config = [*_disks(plan), *_arrays(plan, running), *_groups(plan), *_systems(plan)]
    # A swap file is made where a layout has no swap, unless it is told not to.
    value = {"version": 2 if _needs_offsets(plan) else 1, "swap": {"size": 0}, "config": config}
    text = json.dumps(value, indent=2, ensure_ascii=True)
    return "storage: " + "\n  ".join(text.split("\n")) + "\n"


def _check(plan: Plan) -> None:
    check_what_grows_together(plan, _INSTALLER)
    for each in plan.disks:
        if each.disk.paths:
            raise LayoutRefused(f"{_INSTALLER} can't be told which disk behind multipath is {each.disk.words}: {OTHER_WAYS}")
    for group in plan.groups:
        if group.gone:
            raise LayoutRefused(
                f"{_INSTALLER} can't remove volume {group.gone[0]} from {group.name}, of which something is kept: {WAYS_OUT}"
            )


# -- disks and partitions ------------------------------------------------------------------------------------------


def _disks(plan: Plan) -> Iterator[_Action]:
    esps = {esp.device for esp in plan.esps}
    for each in plan.disks:
        if not each.partitions:
            continue
        is_kept = any(part.kept for part in each.partitions)
        disk: _Action = {"id": f"disk-{each.disk.name}", "type": "disk", "path": each.disk.node, "ptable": "gpt"}
        # By name: it is the machine's own of this very boot. What udev calls a serial number is seldom just that.
        disk["preserve"] = is_kept
        if not is_kept:
            disk["wipe"] = "superblock-recursive"
        if each.disk.node in plan.bios_disks:
            disk["grub_device"] = True
        yield disk
        for part in sorted(each.partitions, key=lambda part: part.number):
            stays = part.kept or (is_kept and _is_same(each.disk, part))
            yield _partition(each, part, stays=stays, is_esp_for_grub=part.path in esps)


def _partition(disk: DiskPlan, part: PlannedPartition, *, stays: bool, is_esp_for_grub: bool) -> _Action:
    action: _Action = {
        "id": f"partition-{part.device}",
        "type": "partition",
        "device": f"disk-{disk.disk.name}",
        "number": part.number,
        "offset": part.start,
        "size": part.size,
        "preserve": stays,
    }
    if (flag := _FLAG_OF_TYPE.get(part.type)) is not None:
        action["flag"] = flag
    if not stays:
        action |= {"uuid": part.uuid, "partition_name": part.name}
    if not part.kept:
        action["wipe"] = "superblock"
    if is_esp_for_grub:
        action["grub_device"] = True
    return action


def _is_same(disk: Disk, part: PlannedPartition) -> bool:
    """Is there one now, in the same place and of the same type? Then it may stay, and what is in it goes."""
    return disk.is_gpt and any(
        (old.number, old.start, old.size, old.type) == (part.number, part.start, part.size, part.type) for old in disk.partitions
    )


def _needs_offsets(plan: Plan) -> bool:
    """Is there a disk with something kept, on which not all is where it was?"""
    for each in plan.disks:
        if not each.is_written or not any(part.kept for part in each.partitions):
            continue
        there = {part.number for part in each.disk.partitions}
        if not all(part.kept or _is_same(each.disk, part) for part in each.partitions):
            return True
        if there - {part.number for part in each.partitions}:
            return True
    return False


# -- what is made of partitions ------------------------------------------------------------------------------------


def _arrays(plan: Plan, running: Mapping[str, str]) -> Iterator[_Action]:
    """:param running: the kernel's names of arrays that run."""
    for array in plan.arrays:
        if array.kept and array.name not in running:
            raise LayoutRefused(f"{_INSTALLER} did not start array {array.name}, and can't keep it so: {WAYS_OUT}")
        ids = [f"partition-{device}" for device in array.devices]
        active = len(ids) - array.spares
        yield {
            "id": f"raid-{array.name}",
            "type": "raid",
            "name": array.name,
            "raidlevel": f"raid{array.level.value}",
            "devices": ids[:active],
            "spare_devices": ids[active:],
            "preserve": array.kept,
            **({"path": f"/dev/{running[array.name]}"} if array.kept else {"wipe": "superblock"}),
        }


def _groups(plan: Plan) -> Iterator[_Action]:
    for group in plan.groups:
        yield {
            "id": f"group-{group.name}",
            "type": "lvm_volgroup",
            "name": group.name,
            "devices": [_of_device(plan, device) for device in group.devices],
            "preserve": group.kept,
        }
        yield from _volumes(group)


def _volumes(group: PlannedGroup) -> Iterator[_Action]:
    for volume in group.volumes:
        yield {
            "id": f"volume-{group.name}-{volume.name}",
            "type": "lvm_partition",
            "name": volume.name,
            "volgroup": f"group-{group.name}",
            "size": f"{volume.size // MIB * MIB}B",
            "preserve": volume.kept,
            **({} if volume.kept else {"wipe": "superblock"}),
        }


def _of_device(plan: Plan, device: str) -> str:
    for array in plan.arrays:
        if array.path == device:
            return f"raid-{array.name}"
    return next(f"partition-{part.device}" for part in plan.partitions if part.path == device)


# -- file systems --------------------------------------------------------------------------------------------------


def _systems(plan: Plan) -> Iterator[_Action]:
    """Formats, then mounts, each behind that which it is below."""
    formatted = [each for each in plan.file_systems if not _is_unused(plan, each)]
    for each in formatted:
        action: _Action = {
            "id": f"format-{_id(each)}",
            "type": "format",
            "fstype": _FSTYPES.get(each.filesystem, each.filesystem),
            "volume": _id(each),
            "preserve": each.kept,
        }
        if not each.kept and each.filesystem in _WITH_UUID:
            action["uuid"] = each.filesystem_uuid
        yield action
    for each in (*plan.mounted, *plan.swaps):
        if each not in formatted:
            continue
        mount = {"id": f"mount-{_id(each)}", "type": "mount", "device": f"format-{_id(each)}", "path": each.mount_point or ""}
        if each.is_data:  # data that are not there must not keep a machine from starting
            mount["options"] = "defaults,nofail"
        yield mount


def _is_unused(plan: Plan, each: PlannedFileSystem) -> bool:
    """An EFI system partition of a machine that a BIOS starts is made, and nothing more."""
    return each.is_esp and not each.mount_point and plan.firmware is FirmwareKind.BIOS


def _id(each: PlannedFileSystem) -> str:
    match each:
        case PlannedPartition():
            return f"partition-{each.device}"
        case PlannedArray():
            return f"raid-{each.name}"
        case _:
            return f"volume-{each.group}-{each.name}"
