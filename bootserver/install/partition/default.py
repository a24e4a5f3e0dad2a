"""The partition program that came with bootserver: Rocks' layout.

On the disk of the system: a BIOS boot partition (1 MB), an EFI system partition (256 MB), ``/`` (8000 MB), ``/var``
(4000 MB; both more where the image needs it), swap (1000 MB), and the rest is ``/state/partition1``. Both boot partitions are
made whatever starts the machine: else one that changes from BIOS to UEFI had no room for its boot partition, unless its data
went. Each further disk is one partition, ``/state/partition2`` and so on.

The system goes where it was; on a machine that has none of ours, on the first disk (by where it hangs) that has room. On a
first install an old system on any of the disks is taken over, whosever it was: a bare machine may have come with one. Later
a further disk that holds what is not ours was put to use by somebody, and is left alone. Data below ``/state`` stays on
whatever disk it is, and a new disk gets the next free number. ``--wipe`` makes all of it anew.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from bootserver.install.inventory import Disk, FirmwareKind, Inventory
from bootserver.install.partition.check import LayoutRefused, is_mount_point
from bootserver.install.partition.model import DATA, MIB, UNFINISHED, Answer, DiskAnswer, FileSystem, Partition, is_data
from bootserver.install.partition.place import kept_on, too_small
from bootserver.install.partition.space import Extent, fit, free
from bootserver.install.partition.stays import disks_of_stacked_data

ROOT = 8000
"""MB, as all sizes here."""
VAR = 4000
SWAP = 1000
ESP = 256
ESP_4K = 288  # FAT32's least number of clusters, which firmware tells it by, takes more where sectors have 4096 bytes
DATA_LEAST = 512

_NUMBERED = re.compile(r"/?state[/_]partition([1-9][0-9]{0,5})")
"""Data, on a partition or on what has such a name (:func:`~bootserver.install.partition.model.data_name`)."""
_MEMBER = re.compile(r"(?:raid|lvm) [A-Za-z0-9_.+-]+")


@dataclass(frozen=True, slots=True)
class Content:
    """What comes onto the disks. :ivar size: bytes of all files. :ivar var: of those below ``/var``."""

    size: int
    var: int = 0


def layout(inventory: Inventory, *, image_size: int, var_size: int = 0, filesystem: str = "ext4", wipe: bool = False) -> Answer:
    """
    :param image_size: bytes of the image's files. ``/`` gets half as much again (and less of that before data would have to
        go), and never less than Rocks gives it.
    :param var_size: bytes of those below ``/var``, likewise.
    :param filesystem: ``ext4`` or ``xfs``, for all but swap and the EFI system partition.
    :param wipe: nothing is kept.
    :raises LayoutRefused: there is no disk, or none has room.
    """
    system, content = FileSystem(filesystem), Content(image_size, var_size)
    if not inventory.disks:
        seen = ", ".join(map(str, inventory.left_out)) or "nothing at all: is its disk controller's driver in the installer?"
        raise LayoutRefused(f"no disk found: the machine has {seen}")
    first_install = wipe or not any(_holds_ours(disk) for disk in inventory.disks)
    root = _system_disk(inventory, content, system, wipe, first_install)
    numbers = _Numbers(None if wipe else inventory)
    partitions = (*_system(root, inventory.firmware, content, system), *_data(root, system, numbers, wipe))
    answers = [DiskAnswer(root.name, partitions)]
    # Data on an array or a volume that another program made: this layout has no word for it, and leaves those disks alone.
    stacked = frozenset() if wipe else disks_of_stacked_data(inventory)
    for disk in inventory.disks:
        if disk is root or disk.size < (DATA_LEAST + 2) * MIB or disk.name in stacked:
            continue
        if first_install or disk.is_empty or _is_ours(disk):
            answers.append(DiskAnswer(disk.name, tuple(_data(disk, system, numbers, wipe))))
    return Answer(tuple(answers))


def _system(disk: Disk, firmware: FirmwareKind, content: Content, system: FileSystem) -> list[Partition]:
    image, var = -(-content.size // MIB), -(-content.var // MIB)
    return [
        Partition.bios_boot(),
        Partition.esp(ESP if disk.sector_size == 512 else ESP_4K, mounted=firmware is FirmwareKind.UEFI),
        Partition.mounted("/", system, max(ROOT, image * 3 // 2), least=max(ROOT, image * 11 // 10)),
        Partition.mounted("/var", system, max(VAR, var * 3 // 2), least=max(VAR, var * 11 // 10)),
        Partition.swap(SWAP),
    ]


def _data(disk: Disk, system: FileSystem, numbers: _Numbers, wipe: bool) -> list[Partition]:
    """The data that is on a disk, or one partition for all that is left of it."""
    kept = [] if wipe else _data_names(disk)
    if kept:
        return [Partition.mounted(name, system) for name in kept]
    return [Partition.mounted(f"{DATA}/partition{numbers.take()}", system, DATA_LEAST, grow=True)]


def _system_disk(inventory: Inventory, content: Content, system: FileSystem, wipe: bool, first_install: bool) -> Disk:
    """:raises LayoutRefused: no disk has room beside what is kept."""
    candidates = [disk for disk in inventory.disks if first_install or disk.is_empty or _is_ours(disk)]
    if not candidates:
        seen = ", ".join(disk.words for disk in inventory.disks)
        raise LayoutRefused(f"no disk for the system: {seen} holds what no install of ours made: --wipe gives it up")
    if not wipe:
        candidates.sort(key=lambda disk: not _holds_root(disk))
    tried = []
    for disk in candidates:
        wanted = _system(disk, inventory.firmware, content, system)
        names = [Partition.mounted(name, system) for name in _data_names(disk)]
        kept = kept_on(disk, names, wipe=wipe)
        if not kept:
            wanted.append(Partition.mounted(DATA, system, DATA_LEAST, grow=True))
        if fit(wanted, free(disk, (Extent(each.start, each.size) for each in kept.values()))) is not None:
            return disk
        tried.append((disk, kept))
    raise too_small(tried, wanted)


def _data_names(disk: Disk) -> list[str]:
    return list(dict.fromkeys(each.label for each in disk.partitions if is_data(each.label))) if disk.is_gpt else []


def _holds_root(disk: Disk) -> bool:
    return disk.is_gpt and any(each.label == "/" for each in disk.partitions)


def _holds_ours(disk: Disk) -> bool:
    """Did an install of ours end here once? What is not finished yet does not tell."""
    labels = [each.label for each in disk.partitions] if disk.is_gpt else []
    return any(is_mount_point(label) or is_data(label) or _MEMBER.fullmatch(label) for label in labels)


def _is_ours(disk: Disk) -> bool:
    return _holds_ours(disk) or (disk.is_gpt and any(each.label == UNFINISHED for each in disk.partitions))


class _Numbers:
    """The numbers of ``/state/partitionN`` that are free."""

    def __init__(self, inventory: Inventory | None) -> None:
        names: list[str] = []
        if inventory is not None:
            names += [each.label for disk in inventory.disks for each in disk.partitions]
            names += [array.name for array in inventory.arrays]
            names += [volume.name for group in inventory.groups for volume in group.volumes]
        self._taken = {int(match[1]) for match in map(_NUMBERED.fullmatch, names) if match}

    def take(self) -> int:
        number = next(each for each in itertools.count(1) if each not in self._taken)
        self._taken.add(number)
        return number
