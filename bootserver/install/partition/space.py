"""Where partitions fit on a disk. Pure arithmetic, in bytes; what is new begins and ends at whole MB (2**20 bytes)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bootserver.install.inventory import Disk
from bootserver.install.partition.model import MIB, Partition

_BACKUP_SECTORS = 33
"""A GPT's second copy at the disk's end: its header, and 32 sectors of entries where sectors have 512 bytes (else fewer)."""


@dataclass(frozen=True, slots=True)
class Extent:
    """A part of a disk: bytes."""

    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


def end_of(disk: Disk) -> int:
    """The first byte that no partition may have."""
    return disk.size - _BACKUP_SECTORS * disk.sector_size


def free(disk: Disk, kept: Iterable[Extent] = ()) -> list[Extent]:
    """What is left of a disk beside what is kept: whole MB."""
    found = []
    position = MIB  # the table, and what a BIOS' boot loader keeps behind it
    for each in [*sorted(kept, key=lambda each: each.start), Extent(end_of(disk), 0)]:
        end = each.start // MIB * MIB
        if end > position:
            found.append(Extent(position, end - position))
        position = max(position, -(-each.end // MIB) * MIB)
    return found


def fit(partitions: Sequence[Partition], room: Sequence[Extent]) -> list[Extent] | None:
    """Find room for each.

    Fixed sizes go first, in their order into the first room that takes them (that is where they were before, when only
    what is kept stayed between them); where that fails, the largest first. What has a least size shrinks to it only if
    nothing else helps.

    :returns: an extent for each partition, or None: they don't fit.
    """
    wanted = list(partitions)
    found = _place(wanted, room)
    for index, partition in enumerate(partitions):
        if found is not None or partition.minimum == partition.size:
            continue
        wanted[index] = replace(partition, size=partition.minimum)
        found = _place(wanted, room)
        low, high = partition.minimum, partition.size
        while found is not None and high - low > 1:  # the most that goes
            wanted[index] = replace(partition, size=(low + high) // 2)
            better = _place(wanted, room)
            low, high, found = (low, wanted[index].size, found) if better is None else (wanted[index].size, high, better)
    return found


def _place(wanted: Sequence[Partition], room: Sequence[Extent]) -> list[Extent] | None:
    return _try(wanted, room, largest_first=False) or _try(wanted, room, largest_first=True)


def total(partitions: Iterable[Partition]) -> int:
    """MB that they need."""
    return sum(each.size for each in partitions)


def _try(wanted: Sequence[Partition], room: Sequence[Extent], *, largest_first: bool) -> list[Extent] | None:
    left = list(room)
    found: dict[int, Extent] = {}
    fixed = [number for number, each in enumerate(wanted) if not each.grow]
    if largest_first:
        fixed.sort(key=lambda number: -wanted[number].size)
    for number in fixed:
        size = wanted[number].size * MIB
        index = next((index for index, extent in enumerate(left) if extent.size >= size), None)
        if index is None:
            return None
        found[number] = Extent(left[index].start, size)
        left[index] = Extent(left[index].start + size, left[index].size - size)
    growing = [number for number, each in enumerate(wanted) if each.grow]
    if not _grow(wanted, growing, left, found):
        return None
    return [found[number] for number in range(len(wanted))]


def _grow(wanted: Sequence[Partition], growing: Sequence[int], left: Sequence[Extent], found: dict[int, Extent]) -> bool:
    """Share what is left: each goes where its share is largest, and those in one room share it equally above their least."""
    rooms: list[list[int]] = [[] for _ in left]

    def share(index: int, number: int) -> int:
        need = total(wanted[each] for each in (*rooms[index], number)) * MIB
        return -1 if need > left[index].size else left[index].size // (len(rooms[index]) + 1)

    for number in sorted(growing, key=lambda each: -wanted[each].size):
        index = max(range(len(left)), key=lambda each: share(each, number), default=None)
        if index is None or share(index, number) < 0:
            return False
        rooms[index].append(number)
    for extent, members in zip(left, rooms, strict=True):
        position, rest = extent.start, extent.size // MIB
        # The one that needs most takes its part first: what it takes beyond an equal share, the others share.
        sizes: dict[int, int] = {}
        for count, number in enumerate(sorted(members, key=lambda each: -wanted[each].size)):
            sizes[number] = max(wanted[number].size, rest // (len(members) - count))
            rest -= sizes[number]
        for number in sorted(members):
            found[number] = Extent(position, sizes[number] * MIB)
            position += sizes[number] * MIB
    return True
