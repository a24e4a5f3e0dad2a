"""A plan as the installer does it: shell functions for its script, and fstab.

The script's functions call those of ``installer/disks.sh``, each through ``step "words" command ...``, which on failure shows
the words and the command's last line and ends the install. Busybox' shell; every value is quoted.

The order makes it safe to pull the plug anywhere. Disks are looked at once more, all of them, before the first is written. A
table is written in one call and holds what is kept at its old place. The disk of the system is the last: until its table is
there, the next try sees a machine that was never installed, and does the same again. Data partitions get their names when
they are formatted; one without a name has nothing that could be lost.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from bootserver.install.partition.model import MIB, UNFINISHED
from bootserver.install.partition.plan import DiskPlan, Plan, PlannedPartition

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
    """fstab(5), by the UUIDs of file systems. Data that is not there must not keep a machine from starting."""
    lines = ["# Made by the install: device, mount point, type, options, dump, pass"]
    for each in plan.mounted:
        options = ["defaults"]
        if each.is_esp:
            options = ["umask=0077"]
        elif each.mount_point == "/" and each.filesystem == "ext4":
            options.append("errors=remount-ro")
        if each.is_data:
            options.append("nofail")
        check = 1 if each.mount_point == "/" else 2
        lines.append(f"UUID={each.filesystem_uuid} {each.mount_point} {each.filesystem} {','.join(options)} 0 {check}")
    lines += [f"UUID={each.filesystem_uuid} none swap sw 0 0" for each in plan.partitions if each.filesystem == "swap"]
    return "\n".join([*lines, ""])


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
    yield _step("what an earlier try mounted stays mounted", "free_target", target)
    for each in plan.disks:
        yield _step(f"RAID or LVM on {each.disk.name} goes on", "release_disk", each.disk.name)
    for each in plan.disks:
        disk = each.disk
        yield _step(f"disk {disk.name} is not usable", "check_disk", disk.name, disk.serial, str(disk.size), disk.path)
        for part in each.partitions:
            if part.kept:
                yield _step(f"{part.name} is not where it was", "check_partition", part.device, *_sectors(part))
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


def _format_partitions(plan: Plan) -> Iterator[str]:
    for each in _written(plan):
        for part in each.partitions:
            if part.kept or not part.filesystem:
                continue
            words = f"no file system on {part.device} for {part.mount_point or part.name}"
            # Seen once more, right before: a kernel that still has an old table would have it somewhere else.
            yield _step(words, "check_partition", part.device, *_sectors(part))
            uuid = part.filesystem_uuid.replace("-", "") if part.filesystem == "vfat" else part.filesystem_uuid
            yield _step(words, "format_partition", part.filesystem, part.device, uuid)
            if part.is_data:
                yield _step(
                    f"no name for {part.device}", "name_partition", each.disk.name, str(part.number), part.device, part.name
                )
    yield ":"  # a function has a command, even where all is kept


def _mount_target(plan: Plan, target: str) -> Iterator[str]:
    for each in plan.mounted:
        folder = f"{target}{each.mount_point}".rstrip("/")
        if each.kept:  # not mounted: nothing that an install does can touch it
            yield _step(f"no folder for {each.mount_point}", "mkdir", "-p", folder)
        else:
            yield _step(f"{each.device} is not mounted", "mount_partition", each.device, folder, each.filesystem)


def _written(plan: Plan) -> list[DiskPlan]:
    """The disks that get a new table, that of the system last."""
    return sorted((each for each in plan.disks if each.is_written), key=lambda each: each is plan.root_disk)


def _sectors(partition: PlannedPartition) -> tuple[str, str]:
    """Start and size as sysfs has them."""
    return str(partition.start // _SYSFS_SECTOR), str(partition.size // _SYSFS_SECTOR)
