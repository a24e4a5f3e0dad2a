"""What kickstart lines call disks and partitions, among those that a machine has.

``sda``, ``/dev/sda``, ``/dev/disk/by-id/...`` as far as serial number or WWN tell which it is; partitions also as ``UUID=``.
"""

from __future__ import annotations

import re

from bootserver.install.inventory import Disk, ExistingPartition, Inventory
from bootserver.install.partition.kickstart_line import Line, clean

_BY_ID = re.compile(r"(?:/dev/)?disk/by-id/(.+)")
_BY_OTHER = re.compile(r"(?:/dev/)?disk/(by-[a-z]+)/.*")


class Devices:
    """The disks of a machine, by what a line may call them."""

    def __init__(self, inventory: Inventory) -> None:
        self._disks = inventory.disks

    def disk(self, line: Line, name: str) -> Disk:
        """:raises LayoutRefused: there is none, or more than one."""
        if (match := _BY_ID.fullmatch(name)) is not None:
            found = [disk for disk in self._disks if _is_called(disk, match[1])]
            if len(found) == 1:
                return found[0]
            raise line.fault(f"{len(found) or 'no'} disks are called {clean(name)}: {self._seen()}")
        if (match := _BY_OTHER.fullmatch(name)) is not None:
            raise line.fault(f"{match[1]} is not known here: say the disk's name, or /dev/disk/by-id/...; {self._seen()}")
        bare = name.removeprefix("/dev/").removeprefix("mapper/")
        for disk in self._disks:
            if disk.name == bare:
                return disk
        raise line.fault(f"there is no disk {clean(bare)}; {self._seen()}")

    def partition(self, line: Line, name: str) -> tuple[Disk, ExistingPartition]:
        """:raises LayoutRefused: there is none."""
        if name.startswith("UUID="):
            uuid = name.removeprefix("UUID=").strip('"').lower()
            found = [(disk, part) for disk in self._disks for part in disk.partitions if part.filesystem_uuid.lower() == uuid]
        else:
            bare = name.removeprefix("/dev/").removeprefix("mapper/")
            found = [(disk, part) for disk in self._disks for part in disk.partitions if part.name == bare]
        if len(found) != 1:
            seen = ", ".join(part.name for disk in self._disks for part in disk.partitions)
            raise line.fault(f"there is no partition {clean(name)}; the machine has {clean(seen) or 'none'}")
        return found[0]

    def disk_or_partition(self, line: Line, name: str) -> Disk | ExistingPartition:
        """:raises LayoutRefused: there is neither."""
        bare = name.removeprefix("/dev/").removeprefix("mapper/")
        for disk in self._disks:
            if disk.name == bare:
                return disk
        return self.partition(line, name)[1]

    def _seen(self) -> str:
        return f"the machine has {', '.join(disk.name for disk in self._disks) or 'none'}"


def _is_called(disk: Disk, link: str) -> bool:
    """Is this what udev calls the disk below ``/dev/disk/by-id``? (``ata-MODEL_SERIAL``, ``virtio-SERIAL``, ``wwn-0x...``)"""
    kind, _, rest = link.partition("-")
    if kind == "wwn" or rest.startswith(("eui.", "naa.")):
        return bool(disk.wwn) and _number(rest) == _number(disk.wwn)
    serial = disk.serial.strip().replace(" ", "_")
    return bool(serial) and (rest == serial or rest.endswith(f"_{serial}"))


def _number(wwn: str) -> str:
    """A WWN without what says of which kind it is."""
    return re.sub(r"\A(?:naa\.|eui\.|t10\.)?(?:0x)?", "", wwn.lower())
