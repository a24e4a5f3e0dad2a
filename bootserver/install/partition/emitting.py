"""What the emitters for distributions' installers share: words that can't become anything else, an answer beside its plan.

A plan says where everything goes; an installer of a distribution is told what is wanted and decides that itself. So both are
needed: the answer for what is wanted, the plan for what is kept and for sizes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bootserver.install.partition.check import LayoutRefused
from bootserver.install.partition.model import MIB, Answer, LogicalVolume, Partition, Raid
from bootserver.install.partition.plan import DiskPlan, Plan, PlannedArray, PlannedGroup, PlannedPartition, PlannedVolume

OTHER_WAYS = "install an image, or choose another partition program"
WAYS_OUT = "install an image, choose another partition program, or give up what is there with --wipe"

# Nothing of it means anything to a shell, kickstart, debconf or a partman recipe, and it is no option.
_WORD = re.compile(r"[A-Za-z0-9/_.+@=][A-Za-z0-9/_.+@=:-]*")


def word(text: str) -> str:
    """A name on its way into an installer's file.

    :raises LayoutRefused: it is not one word there, whatever that would do.
    """
    if not _WORD.fullmatch(text) or text == ".":
        raise LayoutRefused(f"{text!r} can't be told to an installer: letters, digits and / _ . + @ = : - only")
    return text


def megabytes(size: int) -> int:
    """Bytes in whole MB of 2**20."""
    return size // MIB


@dataclass(frozen=True, slots=True)
class Pair:
    """A partition as it is wanted and as it is planned."""

    wanted: Partition
    planned: PlannedPartition

    @property
    def size(self) -> int:
        """MB to ask for: what is wanted, unless what is kept left less."""
        return min(self.wanted.size, megabytes(self.planned.size))


def pairs(answer: Answer, plan: Plan) -> Iterator[tuple[DiskPlan, tuple[Pair, ...]]]:
    """The disks of a plan, each with its partitions in the answer's order."""
    answers = {each.disk: each.partitions for each in answer.disks}
    for disk in plan.disks:
        # Of several with one name (two of swap), the first is the one with the lower number.
        planned = sorted(disk.partitions, key=lambda part: part.number)
        found = []
        for wanted in answers.get(disk.disk.name, ()):
            part = next(each for each in planned if each.name == wanted.name)
            planned.remove(part)
            found.append(Pair(wanted, part))
        yield disk, tuple(found)


def arrays(answer: Answer, plan: Plan) -> Iterator[tuple[Raid, PlannedArray]]:
    """The arrays, wanted and planned."""
    planned = {each.name: each for each in plan.arrays}
    return ((raid, planned[raid.name]) for raid in answer.raids)


def groups(answer: Answer, plan: Plan) -> Iterator[tuple[PlannedGroup, tuple[tuple[LogicalVolume, PlannedVolume], ...]]]:
    """The volume groups, with their volumes, wanted and planned."""
    answers = {each.name: each.volumes for each in answer.groups}
    for group in plan.groups:
        planned = {each.name: each for each in group.volumes}
        yield group, tuple((wanted, planned[wanted.name]) for wanted in answers[group.name])


def check_what_grows_together(plan: Plan, installer: str) -> None:
    """No installer of a distribution can be told to add to an array or a volume group that stays.

    :raises LayoutRefused: one would have to.
    """
    kept = {part.path for part in plan.partitions if part.kept} | {array.path for array in plan.arrays if array.kept}
    for array in plan.arrays:
        new = [part for part in plan.partitions if part.device in array.devices and not part.kept]
        if array.kept and new:
            raise LayoutRefused(
                f"{installer} can't add {new[0].device} to array {array.name}, which is kept: add it by hand first, or {WAYS_OUT}"
            )
    for group in plan.groups:
        added = [device for device in group.devices if device not in kept]
        if group.kept and added:
            raise LayoutRefused(
                f"{installer} can't add {added[0]} to volume group {group.name}, of which something is kept: {WAYS_OUT}"
            )
