"""What a partition program is told of the node and its machine: plain values, which cross the wall of its sandbox.

Of the node nothing that is secret; of the machine what was found on its disks, and which of it is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bootserver.cluster.view import NodeView
from bootserver.install.inventory import Disk, ExistingPartition, Inventory
from bootserver.install.partition import codec
from bootserver.install.partition.check import LayoutRefused, is_mount_point
from bootserver.install.partition.default import ROOT, VAR, layout
from bootserver.install.partition.model import DATA, MIB, UNFINISHED, FileSystem, Role, data_name, is_data, is_data_name
from bootserver.install.partition.space import end_of
from bootserver.install.stacked import ExistingArray, ExistingGroup

# What Rocks calls a partition's type (fdisk's numbers), by the GPT's.
_TYPES = {
    Role.LINUX.value: "83",
    Role.SWAP.value: "82",
    Role.RAID.value: "fd",
    Role.LVM.value: "8e",
    Role.ESP.value: "ef",
    Role.BIOS_BOOT.value: "ef",
}
_OF_SYSTEM = frozenset({"/", "raid root", "bios"})
"""Names of partitions that only a disk of the system has."""


@dataclass(frozen=True, slots=True)
class Need:
    """What comes onto the disks.

    :ivar size: bytes of all files; 0 where nobody knows. :ivar var: of those below ``/var``.
    :ivar filesystem: ``ext4`` or ``xfs``: of what a program does not say otherwise.
    """

    size: int = 0
    var: int = 0
    filesystem: str = "ext4"


def of_node(node: NodeView) -> dict[str, Any]:
    return {
        "name": node.name,
        "appliance": node.appliance.name,
        "rack": node.rack,
        "rank": node.rank,
        "attributes": {str(key): str(value) for key, value in node.attributes.items()},
    }


def of_machine(inventory: Inventory, need: Need, *, wipe: bool) -> dict[str, Any]:
    """:param wipe: the install was told to keep nothing."""
    system = Stacked(inventory)
    return {
        "firmware": inventory.firmware.value,
        "architecture": inventory.architecture,
        "cpus": inventory.cpus,
        "memory": inventory.memory // MIB,
        "wipe": wipe,
        "disks": [_disk(each, system) for each in inventory.disks],
        "arrays": [_array(each) for each in inventory.arrays],
        "groups": [_group(each) for each in inventory.groups],
        "left_out": [str(each) for each in inventory.left_out],
        "root_size": _sized(need.size, ROOT, 1.5),
        "root_least": _sized(need.size, ROOT, 1.1),
        "var_size": _sized(need.var, VAR, 1.5),
        "var_least": _sized(need.var, VAR, 1.1),
        "filesystem": FileSystem(need.filesystem).value,
        "rocks": _rocks_layout(inventory, need, wipe),
    }


def of_rocks(inventory: Inventory) -> dict[str, Any]:
    """What ``rocks_partition`` answers."""
    return {
        "disks": [each.name for each in inventory.disks],
        "raids": [each.name for each in inventory.arrays],
        "lvms": [f"{group.name}/{volume.name}" for group in inventory.groups for volume in group.volumes],
        "partitions": {disk.name: [_row(each) for each in disk.partitions] for disk in inventory.disks},
    }


class Stacked:
    """Which disks hold data or our system, be it in an array or a volume group."""

    def __init__(self, inventory: Inventory) -> None:
        arrays = {each.path: each for each in inventory.arrays}
        self._data: set[str] = set()
        for array in inventory.arrays:
            if is_data_name(array.name):
                self._data |= set(array.members)
        for group in inventory.groups:
            if any(is_data_name(each.name) for each in group.volumes):
                self._data |= set(_below(group, arrays))

    def holds_data(self, disk: Disk) -> bool:
        return any(each.name in self._data for each in disk.partitions) or (
            disk.is_gpt and any(is_data(each.label) for each in disk.partitions)
        )


def is_ours(disk: Disk) -> bool:
    """Did an install of ours make what is on it?"""
    return disk.is_gpt and any(
        is_mount_point(each.label) or each.label == UNFINISHED or each.label.startswith(("raid ", "lvm "))
        for each in disk.partitions
    )


def _below(group: ExistingGroup, arrays: Mapping[str, ExistingArray]) -> Iterator[str]:
    """The kernel's names of the partitions that a group is on."""
    for path in group.physical_volumes:
        if path in arrays:
            yield from arrays[path].members
        else:
            yield path.removeprefix("/dev/mapper/").removeprefix("/dev/")


def _disk(disk: Disk, stacked: Stacked) -> dict[str, Any]:
    return {
        "name": disk.name,
        "size": disk.size // MIB,
        "room": max(0, end_of(disk) // MIB - 1),
        "model": disk.model,
        "serial": disk.serial,
        "sector_size": disk.sector_size,
        "kind": _kind(disk),
        "is_rotational": _rotational(disk),
        "transport": getattr(disk, "transport", ""),
        "is_multipath": bool(disk.paths),
        "table": disk.table,
        "is_empty": disk.is_empty,
        "is_ours": is_ours(disk),
        "holds_data": stacked.holds_data(disk),
        "holds_system": disk.is_gpt and any(each.label in _OF_SYSTEM for each in disk.partitions),
        "partitions": [
            {
                "number": each.number,
                "name": each.name,
                "size": each.size // MIB,
                "label": each.label,
                "filesystem": each.filesystem,
                "type": each.type,
                "is_data": disk.is_gpt and is_data(each.label),
            }
            for each in disk.partitions
        ],
    }


def _kind(disk: Disk) -> str:
    if disk.name.startswith("nvme"):
        return "nvme"
    return {None: "", True: "hdd", False: "ssd"}[_rotational(disk)]


def _rotational(disk: Disk) -> bool | None:
    found: bool | None = getattr(disk, "is_rotational", None)
    return found


def _array(array: ExistingArray) -> dict[str, Any]:
    return {
        "name": array.name,
        "level": array.level.removeprefix("raid"),
        "size": array.size // MIB,
        "members": list(array.members),
        "spares": array.spares,
        "filesystem": array.filesystem,
        "mount_point": _mount_point(array.name),
        "is_data": is_data_name(array.name),
    }


def _group(group: ExistingGroup) -> dict[str, Any]:
    return {
        "name": group.name,
        "size": sum(each.size for each in group.volumes) // MIB + group.free // MIB,
        "members": list(group.physical_volumes),
        "volumes": [
            {
                "name": each.name,
                "size": each.size // MIB,
                "filesystem": each.filesystem,
                "mount_point": _mount_point(each.name),
                "is_data": is_data_name(each.name),
            }
            for each in group.volumes
        ],
    }


def _mount_point(name: str) -> str:
    """What an array or volume of data is mounted at, by its name; empty where that can't be told."""
    if not is_data_name(name):
        return ""
    found = DATA + name.removeprefix(data_name(DATA)).replace("_", "/", 1)
    return found if is_mount_point(found) else ""


def _row(each: ExistingPartition) -> tuple[str, ...]:
    """As ``getNodePartInfo()`` gives it: device, start, size, id, fstype, bootflags, partflags, mount point."""
    mount_point = each.label if each.label.startswith("/") else ""
    kind = _TYPES.get(each.type.upper(), each.type if len(each.type) <= 2 else "")
    return each.name, str(each.start // MIB), str(each.size // MIB), kind, each.filesystem, "", "", mount_point


def _sized(size: int, usual: int, times: float) -> int:
    """MB for so many bytes of files."""
    return max(usual, -(-int(size * times) // MIB))


def _rocks_layout(inventory: Inventory, need: Need, wipe: bool) -> dict[str, Any]:
    try:
        answer = layout(inventory, image_size=need.size, var_size=need.var, filesystem=need.filesystem, wipe=wipe)
    except LayoutRefused as error:
        return {"refused": str(error)}
    return codec.layout_of(answer)
