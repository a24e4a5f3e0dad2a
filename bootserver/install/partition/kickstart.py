"""Kickstart's partition lines: what Anaconda gets (``%include``), and :func:`read`, what programs write.

Red Hat's kickstart reference ("Kickstart commands for handling storage") and pykickstart; these lines are the same from RHEL 7
to 10 and in Fedora.

Anaconda decides where a partition goes and how it is numbered. What is kept is named by its device; everything else of the
disks goes: by ``clearpart --all`` where nothing is kept, else by name. A boot partition that this firmware does not need, and
for which Anaconda has no word, is left out (an unmounted EFI system partition of a BIOS machine, a BIOS boot partition of a
UEFI machine).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from bootserver.install.inventory import FirmwareKind
from bootserver.install.partition.check import LayoutRefused
from bootserver.install.partition.emitting import WAYS_OUT, Pair, arrays, check_what_grows_together, groups, pairs, word
from bootserver.install.partition.kickstart_reader import read
from bootserver.install.partition.model import Answer, FileSystem, LogicalVolume, Role
from bootserver.install.partition.plan import DiskPlan, Plan, PlannedArray, PlannedVolume

__all__ = ["lines", "read"]

_INSTALLER = "Anaconda"
_EXTENT = 4096  # KiB


def lines(answer: Answer, plan: Plan) -> str:
    """
    :param plan: of this answer (:func:`bootserver.install.partition.place.place`).
    :raises LayoutRefused: Anaconda can't be told so.
    """
    _check(plan)
    written = _Lines(answer, plan)
    return "\n".join([*_clear(plan), *written.parts(), *written.raids(), *written.volumes(), ""])


def _check(plan: Plan) -> None:
    check_what_grows_together(plan, _INSTALLER)
    boot = next((each for each in plan.mounted if each.mount_point == "/boot"), plan.root)
    if isinstance(boot, PlannedVolume):
        raise LayoutRefused(
            f"{_INSTALLER} starts no system whose /boot is in a volume group ({boot.group}): the program has to give it a"
            " partition or an array of its own (1024 MB)"
        )
    for group in plan.groups:
        left = [name for name in group.gone if name not in {volume.name for volume in group.volumes}]
        if left:
            raise LayoutRefused(
                f"{_INSTALLER} can't remove volume {left[0]} from {group.name}, of which something is kept:"
                f" `lvremove {group.name}/{left[0]}` on the node, or {WAYS_OUT}"
            )


# -- what goes -----------------------------------------------------------------------------------------------------


def _clear(plan: Plan) -> Iterator[str]:
    names = [word(each.disk.name) for each in plan.disks]
    yield "zerombr"
    yield f"ignoredisk --only-use={','.join(names)}"
    label = "--initlabel --disklabel=gpt"
    if not any(part.kept for part in plan.partitions):
        yield f"clearpart --all --drives={','.join(names)} {label}"
        return
    gone = [name for each in plan.disks for name in _gone(each)]
    yield f"clearpart --list={','.join(gone)} {label}" if gone else f"clearpart --none {label}"


def _gone(each: DiskPlan) -> Iterator[str]:
    """Partitions that go; where nothing of a disk is kept, the disk too, so that it gets a table of our kind."""
    if not each.is_written:
        return
    kept = {part.device for part in each.partitions if part.kept}
    for part in each.disk.partitions:
        if part.name not in kept:
            yield word(part.name)
    if not kept and not each.disk.is_empty:
        yield word(each.disk.name)


# -- what comes ----------------------------------------------------------------------------------------------------


class _Lines:
    """Members of arrays and groups get names that hold for these lines only: ``raid.N``, ``pv.N``."""

    def __init__(self, answer: Answer, plan: Plan) -> None:
        self._answer, self._plan = answer, plan
        self._uefi = plan.firmware is FirmwareKind.UEFI
        self._of_array: dict[str, list[tuple[str, str]]] = {}  # name here, and device
        self._of_group: dict[str, list[str]] = {}
        self._raid_names = (f"raid.{number:02}" for number in count(1))
        self._pv_names = (f"pv.{number:02}" for number in count(1))

    def parts(self) -> Iterator[str]:
        for disk, found in pairs(self._answer, self._plan):
            for pair in found:
                yield from self._part(pair, disk.disk.name)

    def _part(self, pair: Pair, disk: str) -> Iterator[str]:
        wanted, planned = pair.wanted, pair.planned
        where = f"--size={pair.size}{' --grow' if wanted.grow else ''} --ondisk={word(disk)}"
        if planned.kept:
            if planned.mount_point:
                yield f"part {word(planned.mount_point)} --onpart={word(planned.device)} --noformat{_options(planned.is_data)}"
            return  # the members of what is kept are found by what they are
        match wanted.role:
            case Role.BIOS_BOOT:
                if not self._uefi:
                    yield f"part biosboot --fstype=biosboot {where}"
            case Role.ESP:
                if self._uefi:
                    yield f"part {word(wanted.mount_point or 'None')} --fstype=efi {where}"
            case Role.RAID:
                name = next(self._raid_names)
                self._of_array.setdefault(wanted.member or "", []).append((name, planned.device))
                yield f"part {name} {where}"
            case Role.LVM:
                name = next(self._pv_names)
                self._of_group.setdefault(wanted.member or "", []).append(name)
                yield f"part {name} {where}"
            case _:
                point = word(wanted.mount_point or "swap")
                yield f"part {point} {_file_system(wanted.file_system)} {where}{_options(planned.is_data)}"

    def raids(self) -> Iterator[str]:
        for raid, planned in arrays(self._answer, self._plan):
            device = f"--device={word(planned.name)} --level=RAID{planned.level.value}"
            if planned.kept:
                if planned.mount_point:
                    options = _options(planned.is_data)
                    yield f"raid {word(planned.mount_point)} {device} --useexisting --noformat{options}"
                continue
            if raid.member is None:
                what = f"{word(raid.mount_point or 'swap')} {_file_system(raid.file_system)}"
            else:
                what = next(self._pv_names)
                self._of_group.setdefault(raid.member, []).append(what)
            spares = f" --spares={planned.spares}" if planned.spares else ""
            yield f"raid {what} {device}{spares}{_options(planned.is_data)} {self._members(planned)}"

    def _members(self, array: PlannedArray) -> str:
        """In the plan's order: spares are the last."""
        names = {device: name for name, device in self._of_array[array.name]}
        return " ".join(names[device] for device in array.devices)

    def volumes(self) -> Iterator[str]:
        for group, found in groups(self._answer, self._plan):
            name = word(group.name)
            if group.kept:
                yield f"volgroup {name} --useexisting --noformat"
            else:
                yield f"volgroup {name} --pesize={_EXTENT} {' '.join(self._of_group[group.name])}"
            for wanted, planned in found:
                yield self._volume(wanted, planned, is_there=planned.name in group.gone)

    def _volume(self, wanted: LogicalVolume, planned: PlannedVolume, *, is_there: bool) -> str:
        what = f"logvol {word(planned.mount_point or 'swap')} --vgname={word(planned.group)} --name={word(planned.name)}"
        options = _options(planned.is_data)
        if planned.kept:
            return f"{what} --useexisting --noformat{options}"
        system = _file_system(wanted.file_system)
        if is_there:  # formatted anew, as large as it is
            return f"{what} {system} --useexisting{options}"
        return f"{what} {system} --size={wanted.size}{' --grow' if wanted.grow else ''}{options}"


def _file_system(system: FileSystem | None) -> str:
    return f"--fstype={system.value}" if system else ""


def _options(is_data: bool) -> str:
    """Data that are not there must not keep a machine from starting."""
    return " --fsoptions=defaults,nofail" if is_data else ""
