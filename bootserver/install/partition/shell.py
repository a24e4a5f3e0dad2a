"""A plan as the installer does it: shell functions for its script, and fstab.

The script's functions call those of ``installer/disks.sh``, each through ``step "words" command ...``, which on failure shows
the words and the command's last line and ends the install. Busybox' shell; every value is quoted.

The order makes it safe to pull the plug anywhere. Disks are looked at once more, all of them, before the first is written. A
table is written in one call and holds what is kept at its old place. The disks of the system are the last: until a table is
there, the next try sees a machine that was never installed, and does the same again. Data partitions get their names when
they are formatted; one without a name has nothing that could be lost. So do volumes with data, and the members of arrays with
data.

Arrays that stay are started, and groups that stay are activated, only when the tables are written: each member was looked at
before. What is made anew is wiped first, so that nothing old is found in it, and does not wait for its mirrors to be equal.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from bootserver.install.partition.model import MIB, UNFINISHED
from bootserver.install.partition.plan import (
    DiskPlan,
    Plan,
    PlannedArray,
    PlannedFileSystem,
    PlannedGroup,
    PlannedPartition,
    PlannedVolume,
)

LIBRARY = "/lib/bootserver/disks.sh"
TARGET = "/target"
_SYSFS_SECTOR = 512


def functions(plan: Plan, *, library: str = LIBRARY, target: str = TARGET) -> str:
    """The functions ``partition_disks``, ``format_partitions`` and ``mount_target``, in this order to be called.

    :param library: where ``disks.sh`` is on the machine. :param target: where its new system is mounted.
    """
    parts = {
        "partition_disks": _partition_disks(plan, target),
        "format_partitions": _format_partitions(plan),
        "mount_target": _mount_target(plan, target),
    }
    bodies = ["\n".join([f"{name}() {{", *(f"    {line}" for line in lines), "}", ""]) for name, lines in parts.items()]
    return "\n".join([f". {shlex.quote(library)}", "", *bodies])


def fstab(plan: Plan) -> str:
    """fstab(5), by the UUIDs of file systems.

    Data that are not there must not keep a machine from starting; nor, where ``/`` outlives one of its disks, all that was on
    that disk alone.
    """
    outlives = plan.outlives_a_disk(plan.root)
    lines = ["# Made by the install: device, mount point, type, options, dump, pass"]
    for each in plan.mounted:
        options = ["defaults"]
        if each.is_esp:
            options = ["umask=0077"]
        elif each.mount_point == "/" and each.filesystem in ("ext3", "ext4"):
            options.append("errors=remount-ro")
        if each.is_data or (outlives and not plan.outlives_a_disk(each)):
            options.append("nofail")
        check = 1 if each.mount_point == "/" else 2
        lines.append(f"UUID={each.filesystem_uuid} {each.mount_point} {each.filesystem} {','.join(options)} 0 {check}")
    for each in plan.swaps:
        options = ["sw", *(["nofail"] if outlives and not plan.outlives_a_disk(each) else [])]
        lines.append(f"UUID={each.filesystem_uuid} none swap {','.join(options)} 0 0")
    return "\n".join([*lines, ""])


def mdadm_conf(plan: Plan) -> str:
    """mdadm.conf(5): the arrays by their UUIDs, so that each has its name at every boot. Empty where there is none."""
    if not plan.arrays:
        return ""
    lines = ["# Made by the install", "MAILADDR root", *(f"ARRAY {each.path} UUID={md_uuid(each.uuid)}" for each in plan.arrays)]
    return "\n".join([*lines, ""])


def md_uuid(uuid: str) -> str:
    """A UUID as mdadm writes it: ``0a1b2c3d:...``."""
    text = uuid.replace("-", "")
    return ":".join(text[place : place + 8] for place in range(0, 32, 8))


def table(plan: DiskPlan) -> str:
    """A disk's whole table, as sfdisk(8) reads it, in the disk's sectors."""
    sector = plan.disk.sector_size
    first = min([MIB, *(each.start for each in plan.partitions)]) // sector
    lines = ["label: gpt", f"label-id: {plan.uuid}", "unit: sectors", f"first-lba: {first}", "table-length: 128"]
    for each in sorted(plan.partitions, key=lambda each: each.number):
        name = UNFINISHED if each.is_data and not each.kept else each.name
        lines.append(
            f"/dev/{each.device} : start={each.start // sector}, size={each.size // sector}, "
            f'type={each.type}, uuid={each.uuid}, name="{name}"'
        )
    return "\n".join(lines)


def _step(words: str, *command: str) -> str:
    return shlex.join(["step", words, *command])


def _partition_disks(plan: Plan, target: str) -> Iterator[str]:
    written = _written(plan)
    for what, program, package in (("RAID", "mdadm", "mdadm"), ("LVM", "lvm", "lvm2")):
        if plan.arrays if what == "RAID" else plan.groups:
            yield _step(f"no {what} can be made here", "check_program", program, package)
    yield _step("what an earlier try mounted stays mounted", "free_target", target)
    for each in plan.disks:
        yield _step(f"RAID or LVM on {each.disk.name} goes on", "release_disk", each.disk.name)
    for each in plan.disks:
        disk = each.disk
        yield _step(f"disk {disk.name} is not usable", "check_disk", disk.name, disk.serial, str(disk.size), disk.path)
        for part in each.partitions:
            if part.kept:
                yield _step(f"{part.name} is not where it was", "check_partition", part.device, *_sectors(part))
    yield from _check_members(plan)
    for each in written:
        kept = [part.device for part in each.partitions if part.kept]
        yield _step(f"old partitions of {each.disk.name} stay", "wipe_disk", each.disk.name, *kept)
        yield _step(
            f"no partition table on {each.disk.name}", "write_table", each.disk.name, "beside" if kept else "alone", table(each)
        )
        seen = [":".join([part.device, *_sectors(part)]) for part in each.partitions]
        yield _step(f"the new partitions of {each.disk.name} are missing", "wait_partitions", each.disk.name, *seen)
        new = [part.device for part in each.partitions if not part.kept]
        yield _step(f"old data on {each.disk.name} shows through", "wipe_partitions", *new)


def _check_members(plan: Plan) -> Iterator[str]:
    """What stays of arrays and groups is still what the plan was made for."""
    kept = {part.device: part for part in plan.partitions if part.kept}
    for array in plan.arrays:
        for device in array.devices if array.kept else ():
            if device in kept:
                yield _step(f"array {array.name} has changed", "check_member", device, md_uuid(array.uuid))
    paths = {part.path: part for part in kept.values()}
    for group in plan.groups:
        for path in group.devices if group.kept else ():
            if path in paths:
                yield _step(f"volume group {group.name} has changed", "check_physical", paths[path].device, group.uuid)


def _format_partitions(plan: Plan) -> Iterator[str]:
    new = {part.device for part in plan.partitions if not part.kept}
    for array in plan.arrays:
        yield from _array(array, new)
    for group in plan.groups:
        yield from _group(group, plan)
    for each in _written(plan):
        for part in each.partitions:
            if part.filesystem and not part.kept:
                yield from _format_partition(each, part)
    for array in plan.arrays:
        if array.filesystem and not array.kept:
            yield from _format_array(array, plan)
    for volume in plan.volumes:
        if volume.filesystem and not volume.kept:
            yield from _format_volume(volume)
    yield ":"  # a function has a command, even where all is kept


def _format_partition(disk: DiskPlan, part: PlannedPartition) -> Iterator[str]:
    words = f"no file system on {part.device} for {part.mount_point or part.name}"
    # Seen once more, right before: a kernel that still has an old table would have it somewhere else.
    yield _step(words, "check_partition", part.device, *_sectors(part))
    yield _format(part, part.device)
    if part.is_data:
        yield _name(disk, part, part.device)


def _format_array(array: PlannedArray, plan: Plan) -> Iterator[str]:
    yield _format(array, _device(array))
    if array.is_data:
        for disk in plan.disks:
            yield from (_name(disk, part, _device(array)) for part in disk.partitions if part.device in array.devices)


def _format_volume(volume: PlannedVolume) -> Iterator[str]:
    yield _format(volume, f"{volume.group}/{_first_name(volume)}")
    if volume.is_data:
        words = f"no name for volume {volume.group}/{volume.name}"
        yield _step(words, "name_volume", volume.group, _first_name(volume), volume.name)


def _array(array: PlannedArray, new: set[str]) -> Iterator[str]:
    words = f"array {array.name} can't be "
    if not array.kept:
        how = (array.name, array.level.value, md_uuid(array.uuid), str(array.spares))
        yield _step(f"{words}made", "make_array", *how, *array.devices)
        return
    there = [device for device in array.devices if device not in new]
    yield _step(f"{words}started", "start_array", array.name, md_uuid(array.uuid), *there)
    for device in array.devices:
        if device in new:
            yield _step(f"{device} can't be added to array {array.name}", "add_member", array.name, device)


def _group(group: PlannedGroup, plan: Plan) -> Iterator[str]:
    words = f"volume group {group.name} can't be "
    new = {part.path for part in plan.partitions if not part.kept} | {array.path for array in plan.arrays if not array.kept}
    if group.kept:
        yield _step(f"{words}activated", "open_group", group.name, group.uuid)
        if group.gone:
            yield _step(f"old volumes of {group.name} stay", "remove_volumes", group.name, *group.gone)
        if added := [path for path in group.devices if path in new]:
            yield _step(f"{words}made larger", "extend_group", group.name, *added)
    else:
        yield _step(f"{words}made", "make_group", group.name, *group.devices)
    for volume in group.volumes:
        if not volume.kept:
            words = f"volume {group.name}/{volume.name} can't be made"
            yield _step(words, "make_volume", group.name, _first_name(volume), str(volume.size))


def _format(system: PlannedFileSystem, device: str) -> str:
    what = system.mount_point or (system.name if isinstance(system, PlannedPartition) else system.filesystem)
    uuid = system.filesystem_uuid.replace("-", "") if system.filesystem == "vfat" else system.filesystem_uuid
    return _step(f"no file system on {_device(system)} for {what}", "format_partition", system.filesystem, device, uuid)


def _name(disk: DiskPlan, partition: PlannedPartition, device: str) -> str:
    """The name that a partition gets when its data are on `device`."""
    return _step(
        f"no name for {partition.device}", "name_partition", disk.disk.name, str(partition.number), device, partition.name
    )


def _first_name(volume: PlannedVolume) -> str:
    return f"{UNFINISHED}_{volume.name}" if volume.is_data and not volume.kept else volume.name


def _device(system: PlannedFileSystem) -> str:
    """As the functions of ``disks.sh`` want it: without ``/dev/``."""
    return system.path.removeprefix("/dev/")


def _mount_target(plan: Plan, target: str) -> Iterator[str]:
    for each in plan.mounted:
        folder = f"{target}{each.mount_point}".rstrip("/")
        if each.kept:  # not mounted: nothing that an install does can touch it
            yield _step(f"no folder for {each.mount_point}", "mkdir", "-p", folder)
        else:
            yield _step(f"{_device(each)} is not mounted", "mount_partition", _device(each), folder, each.filesystem)


def _written(plan: Plan) -> list[DiskPlan]:
    """The disks that get a new table, those of the system last."""
    return sorted((each for each in plan.disks if each.is_written), key=lambda each: each in plan.root_disks)


def _sectors(partition: PlannedPartition) -> tuple[str, str]:
    """Start and size as sysfs has them."""
    return str(partition.start // _SYSFS_SECTOR), str(partition.size // _SYSFS_SECTOR)
