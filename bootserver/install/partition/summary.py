"""A plan as a table for people."""

from __future__ import annotations

from bootserver.install.inventory import gigabytes
from bootserver.install.partition.plan import Plan, PlannedFileSystem

_HEADER = ("DISK", "PARTITION", "MOUNT POINT", "SIZE", "FILE SYSTEM", "")


def summary(plan: Plan) -> str:
    """One line for each partition, by its place on the disk, then for each array and volume: plain text, aligned.

    Sizes in GB of 2**30 bytes.
    """
    rows = [_HEADER]
    for each in plan.disks:
        rows += [(each.disk.words, part.device, *_cells(part, part.name)) for part in each.partitions]
    for array in plan.arrays:
        spare = f", {array.spares} of them spare" if array.spares else ""
        what = f"lvm {array.member}" if array.member else array.filesystem
        rows.append((f"RAID {array.level.value} of {', '.join(array.devices)}{spare}", f"md/{array.name}", *_cells(array, what)))
    for group in plan.groups:
        below = ", ".join(device.removeprefix("/dev/") for device in group.devices)
        rows += [(f"LVM on {below}", f"{group.name}/{each.name}", *_cells(each, each.filesystem)) for each in group.volumes]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"


def _cells(system: PlannedFileSystem, use: str) -> tuple[str, str, str, str]:
    kept = "kept" if system.kept else "new"
    return system.mount_point or use, gigabytes(system.size), system.filesystem or "-", kept
