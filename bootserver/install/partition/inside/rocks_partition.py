"""``import rocks_partition``, as programs of Rocks do: what the node's installer found stands for what they would look up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

FACTS: dict[str, Any] = {"disks": [], "raids": [], "lvms": [], "partitions": {}}
"""Set by whoever runs the program."""

Row = tuple[str, str, str, str, str, str, str, str]
"""Device, start, size, id, fstype, bootflags, partflags, mount point; all of them texts, sizes in MB."""


class RocksPartition:
    """The names are those of Rocks 5."""

    def getDisks(self) -> list[str]:  # noqa: N802
        """Names of disks: ``['sda', 'sdb']``."""
        return list(FACTS["disks"])

    def getRaids(self) -> list[str]:  # noqa: N802
        """Names of arrays that are there: ``['md0']``."""
        return list(FACTS["raids"])

    def getLVMs(self) -> list[str]:  # noqa: N802
        """Names of volumes that are there: ``['vg/root']``."""
        return list(FACTS["lvms"])

    def getNodePartInfo(self, disks: Iterable[str]) -> dict[str, list[Row]]:  # noqa: N802
        """What is on disks, by disk."""
        return {disk: [tuple(row) for row in FACTS["partitions"].get(disk, [])] for disk in disks}
