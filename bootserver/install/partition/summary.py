"""A plan as a table for people."""

from __future__ import annotations

from bootserver.install.inventory import gigabytes
from bootserver.install.partition.plan import Plan

_HEADER = ("DISK", "PARTITION", "MOUNT POINT", "SIZE", "FILE SYSTEM", "")


def summary(plan: Plan) -> str:
    """One line for each partition, by its place on the disk: plain text, aligned. Sizes in GB of 2**30 bytes."""
    rows = [_HEADER]
    for each in plan.disks:
        for part in each.partitions:
            what = part.mount_point or part.name
            kept = "kept" if part.kept else "new"
            rows.append((each.disk.words, part.device, what, gigabytes(part.size), part.filesystem or "-", kept))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"
