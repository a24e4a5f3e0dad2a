"""What a node last reported of its disks, as ``node show`` prints it. A machine may have said nonsense: that is told, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bootserver.install.inventory import Disk, ExistingPartition, Inventory

Lines = list[tuple[str, str]]


def facts(document: Mapping[str, Any] | None) -> dict[str, Any]:
    """For JSON: ``disks``, ``arrays``, ``groups``, ``left_out``, and ``fault``, why the document can't be read, or None.

    :param document: None where the node has never reported one.
    """
    nothing: dict[str, Any] = {"firmware": None, "disks": [], "arrays": [], "groups": [], "left_out": [], "fault": None}
    if document is None:
        return nothing
    from bootserver.install import inventory

    try:
        return nothing | _facts(inventory.parse(document))
    except inventory.InventoryFault as error:
        return nothing | {"fault": str(error)}


def lines(found: Mapping[str, Any]) -> Lines:
    """The same as labels and texts."""
    if found["fault"]:
        return [("disks", f"it reported nonsense: {found['fault']}")]
    return [*_disk_lines(found), *_stacked_lines(found)]


def _facts(found: Inventory) -> dict[str, Any]:
    return {
        "firmware": found.firmware.value,
        "disks": [_disk(each) for each in found.disks],
        "arrays": [
            {
                "name": each.name,
                "level": each.level,
                "state": each.state.value,
                "size": each.size,
                "members": list(each.members),
                "filesystem": each.filesystem or None,
            }
            for each in found.arrays
        ],
        "groups": [
            {
                "name": each.name,
                "devices": list(each.physical_volumes),
                "free": each.free,
                "volumes": [
                    {"name": volume.name, "size": volume.size, "filesystem": volume.filesystem or None} for volume in each.volumes
                ],
            }
            for each in found.groups
        ],
        "left_out": [{"name": each.name, "why": each.why, "size": each.size} for each in found.left_out],
    }


def _disk(disk: Disk) -> dict[str, Any]:
    return {
        "name": disk.name,
        "size": disk.size,
        "sector_size": disk.sector_size,
        "model": disk.model or None,
        "serial": disk.serial or None,
        "table": disk.table or None,
        "filesystem": disk.filesystem or None,
        "partitions": [_partition(each) for each in disk.partitions],
    }


def _partition(part: ExistingPartition) -> dict[str, Any]:
    return {
        "name": part.name,
        "start": part.start,
        "size": part.size,
        "label": part.label or None,
        "filesystem": part.filesystem or None,
    }


def _disk_lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from bootserver.install.inventory import gigabytes

    for disk in found["disks"]:
        named = f", serial {disk['serial']}" if disk["serial"] else ""
        holds = disk["table"] or disk["filesystem"] or "empty"
        yield "disk", f"{disk['name']} {gigabytes(disk['size'])} {disk['model'] or ''}{named} ({holds})".replace("  ", " ")
        for part in disk["partitions"]:
            what = " ".join(filter(None, (part["label"], part["filesystem"]))) or "-"
            yield "partition", f"{part['name']} {gigabytes(part['size'])} {what}"
    for other in found["left_out"]:
        size = f", {gigabytes(other['size'])}" if other["size"] else ""
        yield "no target", f"{other['name']} ({other['why']}{size})"


def _stacked_lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from bootserver.install.inventory import gigabytes

    for array in found["arrays"]:
        on = ", ".join(array["members"])
        yield "array", f"{array['name']} {gigabytes(array['size'])} {array['level']} of {on} ({array['state']})"
    for group in found["groups"]:
        for volume in group["volumes"]:
            yield "volume", f"{group['name']}/{volume['name']} {gigabytes(volume['size'])} {volume['filesystem'] or '-'}"
