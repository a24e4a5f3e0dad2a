"""Partman's recipe: what debian-installer is told of its disks, as answers to debconf's questions (preseed).

Debian's partman-auto-recipe.txt and partman-auto-raid-recipe.txt (in the source of debian-installer) and the installation guide,
appendix B.4.7. Sizes there are MB of 10**6 bytes; a partition has a least size, a priority and a most, and the last of a disk
takes all that is left, whatever it says. So each gets the size that it has in the plan, and where the plan leaves something over,
one more takes it, unused.

Partman makes the table of each of its disks anew, and with RAID all its disks alike. What it can't be told is refused, but for
disks with nothing but data on partitions: those are made, or kept, in the last stage
(:func:`bootserver.install.partition.late.further_disks`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bootserver.install.inventory import FirmwareKind
from bootserver.install.partition.check import LayoutRefused
from bootserver.install.partition.emitting import OTHER_WAYS, WAYS_OUT, Pair, arrays, groups, pairs, word
from bootserver.install.partition.late import further
from bootserver.install.partition.model import MIB, Answer, FileSystem, Role
from bootserver.install.partition.plan import DiskPlan, Plan, PlannedArray, PlannedGroup
from bootserver.install.partition.space import end_of

_MB = 10**6
_SPARE = 64 * _MB
"""What may be left over without being worth a partition of its own."""
_ROUNDING = 2
"""MB that one partition may take more than it says: partman rounds to whole MB of 2**20."""
_LVM_SLACK = 32
"""MB: an array of partitions that were rounded is that much smaller."""
_NAME = "bootserver"
_PARTED = {FileSystem.VFAT: "fat32", FileSystem.SWAP: "linux-swap"}
_REST = "method{ keep }"

_Disk = tuple[DiskPlan, tuple[Pair, ...]]


def recipe(answer: Answer, plan: Plan) -> str:
    """
    :param plan: of this answer (:func:`bootserver.install.partition.place.place`).
    :returns: debconf's selections, one a line.
    :raises LayoutRefused: debian-installer can't be told so; what it can't, and the way out.
    """
    others = {each.disk.name for each in further(plan)}
    disks = [(disk, found) for disk, found in pairs(answer, plan) if found and disk.disk.name not in others]
    _check_kept(plan, disks)
    answers = [("partman-auto/disk", "string", " ".join(word(disk.disk.node) for disk, _ in disks))]
    if plan.arrays:
        answers += _raid(answer, plan, disks)
    elif plan.groups:
        answers += _lvm(answer, plan, disks)
    else:
        answers += _regular(plan, disks)
    return "".join(f"d-i {name} {kind} {value}\n" for name, kind, value in (*answers, *_rest(plan)))


# -- the three methods ---------------------------------------------------------------------------------------------


def _regular(plan: Plan, disks: Sequence[_Disk]) -> list[tuple[str, str, str]]:
    if len(disks) > 1:
        [first, second, *_] = (disk.disk.name for disk, _ in disks)
        raise _refused(f"partitions several disks only with RAID or LVM, and the system is on {first} and {second}")
    [(disk, found)] = disks
    return [("partman-auto/method", "string", "regular"), _expert(_partitions(disk, found, is_uefi=_is_uefi(plan)))]


def _lvm(answer: Answer, plan: Plan, disks: Sequence[_Disk]) -> list[tuple[str, str, str]]:
    parts: list[str] = []
    for disk, found in disks:
        device = f" device{{ {word(disk.disk.node)} }}"
        parts += _partitions(disk, found, device, is_uefi=_is_uefi(plan), lvm=True)
    volumes = [each for group in plan.groups for each in _volumes(answer, plan, group.name, f" in_vg{{ {word(group.name)} }}")]
    return [("partman-auto/method", "string", "lvm"), *_group(plan.groups[0]), _expert([*parts, *volumes])]


def _raid(answer: Answer, plan: Plan, disks: Sequence[_Disk]) -> list[tuple[str, str, str]]:
    _check_alike(disks)
    if len(plan.groups) > 1:
        raise _refused(f"makes one volume group on RAID, not {len(plan.groups)}")
    for _, found in disks:
        for pair in found:
            if pair.wanted.role in (Role.LVM, Role.LINUX):
                what = "a physical volume" if pair.wanted.role is Role.LVM else pair.wanted.name
                raise _refused(f"makes all disks alike where there is RAID, so that {what} can't be on a partition beside it")
    mine = " $lvmignore{ }" if plan.groups else ""
    volumes = [each for group in plan.groups for each in _volumes(answer, plan, group.name, " $defaultignore{ }")]
    # Disks that are not quite alike: each partition as on the smallest.
    disk, found = min(disks, key=lambda each: each[0].disk.size)
    found_arrays = [_array(planned) for _, planned in arrays(answer, plan)]
    return [
        ("partman-auto/method", "string", "raid"),
        *(_group(plan.groups[0]) if plan.groups else ()),
        _expert([*_partitions(disk, found, mine, is_uefi=_is_uefi(plan)), *volumes]),
        ("partman-auto-raid/recipe", "string", " ".join(found_arrays)),
    ]


def _array(array: PlannedArray) -> str:
    """``<raidtype> <devcount> <sparecount> <fstype> <mountpoint> <devices> [<sparedevices>] .``"""
    paths = [word(f"/dev/{device}") for device in array.devices]
    active, spares = paths[: len(paths) - array.spares], paths[len(paths) - array.spares :]
    words = [array.level.value, str(len(active)), str(len(spares)), "lvm" if array.member else word(array.filesystem)]
    words += [word(array.mount_point) if array.mount_point else "-", "#".join(active)]
    return " ".join([*words, *(["#".join(spares)] if spares else []), "."])


def _group(group: PlannedGroup) -> list[tuple[str, str, str]]:
    return [
        ("partman-auto-lvm/new_vg_name", "string", word(group.name)),
        ("partman-auto-lvm/guided_size", "string", "max"),
    ]


# -- recipes -------------------------------------------------------------------------------------------------------


def _expert(parts: Iterable[str]) -> tuple[str, str, str]:
    return "partman-auto/expert_recipe", "string", " ".join([f"{_NAME} ::", *parts])


def _partitions(disk: DiskPlan, found: Sequence[Pair], more: str = "", *, is_uefi: bool, lvm: bool = False) -> Iterator[str]:
    """The partitions of a disk. :param more: specifiers that each gets."""
    wanted = [(pair.planned.size, *_specifiers(pair, lvm=lvm, is_uefi=is_uefi)) for pair in found]
    room = end_of(disk.disk) - MIB - sum(size for size, *_ in wanted)
    yield from _sized(wanted, room, more)


def _volumes(answer: Answer, plan: Plan, name: str, more: str) -> Iterator[str]:
    """The volumes of a group; that which is to take what is left is the last."""
    group, found = next(each for each in groups(answer, plan) if each[0].name == name)
    wanted = []
    for volume, planned in sorted(found, key=lambda each: each[0].grow):
        system = _system(volume.file_system, planned.mount_point, planned.is_data)
        wanted.append((planned.size, _parted(volume.file_system), f"$lvmok{{ }} lv_name{{ {word(planned.name)} }} {system}"))
    sizes = {part.path: part.size for part in plan.partitions} | {array.path: array.size for array in plan.arrays}
    room = sum(sizes[device] for device in group.devices) - sum(size for size, *_ in wanted)
    yield from _sized(wanted, room, more, slack=_LVM_SLACK, rest=f"$lvmok{{ }} lv_name{{ unused }} {_REST}")


def _sized(wanted: Sequence[tuple[int, str, str]], room: int, more: str, *, slack: int = 0, rest: str = _REST) -> Iterator[str]:
    """Stanzas with their sizes.

    :param room: bytes that the plan leaves over. :param slack: MB that may be missing of what the plan has.
    :param rest: specifiers of what takes what is left over.
    """
    is_rest = room > _SPARE
    for number, (size, kind, specifiers) in enumerate(wanted, start=1):
        megabytes = max(size // _MB, 1)
        if number == len(wanted) and not is_rest:
            # It takes what is left, and says a little less: partman takes a recipe of its own where one does not fit.
            least = max(megabytes - _ROUNDING * len(wanted) - slack, 1)
            yield f"{least} {megabytes + 1} -1 {kind}{more} {specifiers} ."
        else:
            yield f"{megabytes} {megabytes} {megabytes} {kind}{more} {specifiers} ."
    if is_rest:
        yield f"1 2 -1 ext4{more} {rest} ."


def _specifiers(pair: Pair, *, lvm: bool, is_uefi: bool) -> tuple[str, str]:
    """The file system as parted calls it, and what the partition is for."""
    wanted = pair.wanted
    match wanted.role:
        case Role.BIOS_BOOT:
            return "free", "method{ biosgrub }"
        case Role.ESP if not is_uefi:  # the installer has no partman-efi then: its room, and nothing more
            return "free", _REST
        case Role.ESP:
            return "free", "method{ efi } format{ }"
        case Role.RAID:
            return "raid", "method{ raid }"
        case Role.LVM if lvm:
            return "ext4", f"$defaultignore{{ }} $primary{{ }} method{{ lvm }} vg_name{{ {word(wanted.member or '')} }}"
    return _parted(wanted.file_system), _system(wanted.file_system, wanted.mount_point, pair.planned.is_data)


def _parted(system: FileSystem | None) -> str:
    return "free" if system is None else _PARTED.get(system, system.value)


def _system(system: FileSystem | None, point: str | None, is_data: bool) -> str:
    if system is FileSystem.SWAP or system is None:
        return "method{ swap } format{ }"
    kind = word(_PARTED.get(system, system.value))
    mounted = f" mountpoint{{ {word(point)} }}" if point else ""
    # Data that are not there must not keep a machine from starting.
    options = " options/nofail{ nofail }" if is_data else ""
    return f"method{{ format }} format{{ }} use_filesystem{{ }} filesystem{{ {kind} }}{mounted}{options}"


# -- what is asked besides -----------------------------------------------------------------------------------------


def _is_uefi(plan: Plan) -> bool:
    return plan.firmware is FirmwareKind.UEFI


def _rest(plan: Plan) -> Iterator[tuple[str, str, str]]:
    yield "partman-partitioning/choose_label", "select", "gpt"
    yield "partman-partitioning/default_label", "string", "gpt"
    yield "partman/default_label", "string", "gpt"  # before Debian 11
    for name in ("device_remove_lvm", "device_remove_lvm_span", "confirm", "confirm_nooverwrite"):
        yield f"partman-lvm/{name}", "boolean", "true"
    yield "partman-auto/purge_lvm_from_device", "boolean", "true"
    for name in ("device_remove_md", "confirm", "confirm_nooverwrite"):
        yield f"partman-md/{name}", "boolean", "true"
    if _is_uefi(plan):
        yield "partman-efi/non_efi_system", "boolean", "true"
    else:
        yield "grub-installer/bootdev", "string", " ".join(word(each) for each in plan.bios_disks)
    if not plan.swaps:
        yield "partman-basicfilesystems/no_swap", "boolean", "false"
    yield "partman/mount_style", "select", "uuid"
    yield "partman-partitioning/confirm_write_new_label", "boolean", "true"
    yield "partman/choose_partition", "select", "finish"
    yield "partman/confirm", "boolean", "true"
    yield "partman/confirm_nooverwrite", "boolean", "true"


# -- what can't be told --------------------------------------------------------------------------------------------


def _refused(what: str, ways_out: str = OTHER_WAYS) -> LayoutRefused:
    return LayoutRefused(f"debian-installer {what}: {ways_out}")


def _check_kept(plan: Plan, disks: Sequence[_Disk]) -> None:
    for disk, found in disks:
        for pair in found:
            if pair.planned.kept:
                what = pair.planned.name
                raise _refused(f"makes the partition table of {disk.disk.words} anew and can't keep {what} on it", WAYS_OUT)
    if any(disk.paths for disk in (each.disk for each, _ in disks)) and plan.arrays:
        raise _refused("makes no RAID on multipath")


def _check_alike(disks: Sequence[_Disk]) -> None:
    first, *others = ((disk.disk.name, [(each.wanted.role, each.wanted.member) for each in found]) for disk, found in disks)
    for name, roles in others:
        if roles != first[1]:
            raise _refused(f"makes all disks alike where there is RAID, and {first[0]} and {name} have to differ")
    if not others:
        raise _refused(f"makes RAID of several disks, and {first[0]} is alone")
