"""The last stage of a distribution's installer, for its disks: shell functions ``name_partitions`` and ``further_disks``.

A later install finds data by the names of partitions (:mod:`bootserver.install.partition.model`), and no installer of a
distribution but subiquity's gives any. Which partition is which, the installer decided: what is mounted where tells it, and
what an array or a volume is on; of what is not mounted, the type in the table.

``further_disks`` makes those disks that debian-installer can't be told of (:func:`further`), and mounts them.

For dash, busybox and bash. Each is called with the folder where the new system is mounted. Nothing here ends the install: what
can't be done is a line of warning on stderr. Programs that the installer lacks are taken from the new system. Run once more, they
do the same.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from bootserver.install.partition.model import Role
from bootserver.install.partition.plan import DiskPlan, Plan, PlannedArray, PlannedPartition, PlannedVolume
from bootserver.install.partition.shell import table

NO_FURTHER_DISKS = "further_disks() { :; }\n"
_SYSFS_SECTOR = 512
_BY_TYPE = {Role.BIOS_BOOT: "bios", Role.ESP: "esp", Role.SWAP: "swap"}

_LIBRARY = r"""
# In the environment that the installer runs in, or in the new system where that lacks it.
bs_warn() { echo "bootserver: $*" >&2; }

bs_real() { # PROGRAM: is it there, and no applet of busybox'?
    bs_program=$(command -v "$1" 2>/dev/null) && [ -x "$bs_program" ] || return 1
    case $(readlink -f "$bs_program" 2>/dev/null) in */busybox) return 1 ;; esac
}

bs_inside() { PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$BS_ROOT/" "$@"; }

# shellcheck disable=SC2016 # that $1 is the inner shell's
bs_run() { # PROGRAM ARGUMENT...
    if bs_real "$1"; then
        "$@"
    elif [ -n "$BS_ROOT" ] && bs_inside sh -c 'command -v "$1" >/dev/null' sh "$1" 2>/dev/null; then
        bs_inside "$@"
    else
        return 127
    fi
}

bs_root() { BS_ROOT=${1%/}; }

bs_line() { # FILE: $bs_line is its first line
    bs_line=
    [ -r "$1" ] && { read -r bs_line <"$1"; } 2>/dev/null
    return 0
}

bs_is_at() { # PARTITION START SIZE (sectors of 512 bytes)
    bs_line "/sys/class/block/$1/start"
    [ "$bs_line" = "$2" ] || return 1
    bs_line "/sys/class/block/$1/size"
    [ "$bs_line" = "$3" ]
}

bs_label() { # DISK NUMBER NAME: give a partition its name; the kernel need not read the table again, it is in use
    if bs_run sfdisk --help 2>/dev/null | grep -q -e --part-label; then
        # sfdisk says nothing of a name that it has given already.
        bs_run sfdisk --quiet --no-reread --no-tell-kernel --part-label "$1" "$2" "$3" >/dev/null 2>&1 && return 0
    fi
    bs_run sgdisk --change-name="$2:$3" "$1" >/dev/null 2>&1 && return 0
    bs_run parted --script "$1" name "$2" "'$3'" >/dev/null 2>&1 && return 0
    bs_warn "partition $2 of $1 can't be named $3: a later install will not find it"
    return 0
}

bs_name() ( # FOLDER NAME ARRAY GROUP: name what a device (its folder in sysfs) is on; ARRAY and GROUP are names of members
    folder=$(readlink -f "$1") || exit 0
    if [ -r "$folder/partition" ]; then
        bs_line "$folder/partition"
        disk=${folder%/*}
        bs_label "/dev/${disk##*/}" "$bs_line" "$2"
    elif [ -d "$folder/md" ]; then
        array=$(bs_array "${folder##*/}" "$3")
        [ -n "$array" ] || { bs_warn "which array is ${folder##*/}? Its members are not named"; exit 0; }
        for slave in "$folder"/slaves/*; do [ ! -e "$slave" ] || bs_name "$slave" "raid $array" '' ''; done
    elif [ -d "$folder/dm" ]; then
        bs_line "$folder/dm/uuid"
        case $bs_line in
        part*-mpath-*)
            number=${bs_line%%-*}
            for slave in "$folder"/slaves/*; do
                bs_line "$slave/dm/name"
                [ -z "$bs_line" ] || bs_label "/dev/mapper/$bs_line" "${number#part}" "$2"
            done
            ;;
        LVM-*) for slave in "$folder"/slaves/*; do [ ! -e "$slave" ] || bs_name "$slave" "lvm $4" "$3" ''; done ;;
        esac
    fi
    exit 0
)

bs_array() { # DEVICE NAMES: which of these arrays is it? Known by its link in /dev/md; where there is but one, that
    for bs_link in /dev/md/*; do
        [ "$(readlink -f "$bs_link" 2>/dev/null)" = "/dev/$1" ] || continue
        bs_known=${bs_link##*/}
        case " $2 " in *" ${bs_known##*:} "*) echo "${bs_known##*:}"; return 0 ;; esac
    done
    case $2 in *' '*) ;; *) echo "$2" ;; esac
}

bs_name_mounted() { # POINT NAME ARRAYS GROUP: by what is mounted there
    bs_at=$BS_ROOT$1
    [ "$1" != / ] || bs_at=${BS_ROOT:-/}
    bs_found=
    while read -r _ _ bs_numbers _ bs_point _; do
        [ "$bs_point" != "$bs_at" ] || bs_found=$bs_numbers
    done </proc/self/mountinfo
    if [ -n "$bs_found" ] && [ -e "/sys/dev/block/$bs_found" ]; then
        bs_name "/sys/dev/block/$bs_found" "$2" "$3" "$4"
    else
        bs_warn "nothing is mounted at $1, so that its partition gets no name"
    fi
}

bs_name_swaps() { # ARRAYS GROUP: all that is swapped to, and is no file
    while read -r bs_device bs_kind _; do
        [ "$bs_kind" = partition ] || continue
        bs_device=$(readlink -f "$bs_device")
        [ ! -e "/sys/class/block/${bs_device##*/}" ] || bs_name "/sys/class/block/${bs_device##*/}" swap "$1" "$2"
    done </proc/swaps
}

bs_name_types() { # DISK TYPE NAME...: of what is not mounted, the type tells
    bs_disk=$1
    shift
    bs_dump=$(bs_run sfdisk --dump "$bs_disk" 2>/dev/null) || return 0
    while [ $# -gt 1 ]; do
        printf '%s\n' "$bs_dump" | while read -r bs_device _ bs_rest; do
            case $bs_rest in *"type=$1"*) ;; *) continue ;; esac
            bs_number=${bs_device##*[!0-9]}
            case $bs_rest in *"name=\"$2\""*) ;; *) bs_label "$bs_disk" "$bs_number" "$2" ;; esac
        done
        shift 2
    done
}

bs_name_physical_volumes() { # GROUP: LVM knows those that no mounted volume is on
    bs_run lvm pvs --noheadings -o pv_name -S "vg_name=$1" 2>/dev/null | while read -r bs_device _; do
        bs_device=$(readlink -f "$bs_device")
        [ ! -e "/sys/class/block/${bs_device##*/}" ] || bs_name "/sys/class/block/${bs_device##*/}" "lvm $1" "$2" ''
    done
}
"""

_MAKING = r"""
bs_in_use() { # DISK (the kernel's name): anything of it is
    while read -r bs_device _; do
        case $bs_device in "/dev/$1" | "/dev/$1"[0-9]* | "/dev/$1"p[0-9]*) return 0 ;; esac
    done </proc/mounts
    while read -r bs_device _; do
        case $bs_device in "/dev/$1" | "/dev/$1"[0-9]* | "/dev/$1"p[0-9]*) return 0 ;; esac
    done </proc/swaps
    for bs_link in "/sys/block/$1/holders"/* "/sys/block/$1/$1"*/holders/*; do [ ! -e "$bs_link" ] || return 0; done
    return 1
}

bs_is_done() { # DISK NUMBER NAME UUID PARTITION START SIZE: an earlier run has made and named it
    bs_is_at "$5" "$6" "$7" && [ "$(bs_run sfdisk --part-label "$1" "$2" 2>/dev/null)" = "$3" ] &&
        [ "$(bs_run blkid -p -o value -s UUID "/dev/$5" 2>/dev/null)" = "$4" ]
}

bs_table() { # DISK BYTES alone|beside TABLE [KEPT...]: a new table; what is kept is in it at its old place
    bs_line "/sys/block/$1/size"
    [ "$((${bs_line:-0} * 512))" = "$2" ] || { bs_warn "$1 is another disk now, and is left alone"; return 1; }
    if bs_in_use "$1"; then bs_warn "$1 is in use, and is left alone"; return 1; fi
    bs_disk=$1 bs_how=$3 bs_text=$4
    shift 4
    for bs_folder in "/sys/block/$bs_disk/$bs_disk"*; do
        [ -r "$bs_folder/partition" ] || continue
        case " $* " in *" ${bs_folder##*/} "*) continue ;; esac
        bs_run wipefs --quiet --all --force "/dev/${bs_folder##*/}" >/dev/null 2>&1
    done
    bs_wipe=never
    [ "$bs_how" != alone ] || bs_wipe=always
    # The kernel is told while it is waited for: sfdisk would wait for udev before it does.
    bs_said=$(printf '%s\n' "$bs_text" |
        bs_run sfdisk --quiet --no-tell-kernel --wipe "$bs_wipe" --wipe-partitions never "/dev/$bs_disk" 2>&1) ||
        { bs_warn "no partition table on $bs_disk: $bs_said"; return 1; }
}

bs_wait() { # PARTITION START SIZE
    bs_tries=0
    until bs_is_at "$1" "$2" "$3" && [ -b "/dev/$1" ]; do
        bs_tries=$((bs_tries + 1))
        [ $bs_tries -lt 30 ] || { bs_warn "$1 is not where it should be"; return 1; }
        bs_run partx --update "/dev/$bs_disk" 2>/dev/null || bs_run partprobe "/dev/$bs_disk" 2>/dev/null
        bs_is_at "$1" "$2" "$3" && break
        sleep 1
    done
}

bs_format() { # ext3|ext4|xfs|vfat PARTITION UUID
    bs_run wipefs --quiet --all --force "/dev/$2" >/dev/null 2>&1
    case $1 in
    ext3 | ext4) bs_run "mkfs.$1" -q -F -U "$3" -E lazy_itable_init=1,lazy_journal_init=1,nodiscard "/dev/$2" ;;
    xfs) bs_run mkfs.xfs -q -f -K -m "uuid=$3" "/dev/$2" ;;
    vfat) bs_run mkfs.fat -F 32 -i "$(printf %s "$3" | tr -d -)" "/dev/$2" ;;
    esac >/dev/null
    bs_status=$?
    [ $bs_status -ne 127 ] || bs_warn "the new system has no mkfs.$1: its packages have to have it"
    return $bs_status
}

bs_mount() { # POINT PARTITION KIND UUID: in the new system, and in its fstab
    mkdir -p "$BS_ROOT$1"
    if ! grep -q "^UUID=$4 " "$BS_ROOT/etc/fstab" 2>/dev/null; then
        echo "UUID=$4 $1 $3 defaults,nofail 0 2" >>"$BS_ROOT/etc/fstab" || bs_warn "fstab can't be written: $1 is missing in it"
    fi
    while read -r _ bs_point _; do [ "$bs_point" != "$BS_ROOT$1" ] || return 0; done </proc/mounts
    mount -t "$3" "/dev/$2" "$BS_ROOT$1" 2>/dev/null || bs_warn "$2 can't be mounted at $1 now; it is in fstab"
}
"""


def functions(plan: Plan, *, by_partman: bool = False) -> str:
    """Both functions, with all that they need. :param by_partman: debian-installer runs it, which makes no further disks."""
    return names(plan) + (further_disks(plan) if by_partman else NO_FURTHER_DISKS)


def names(plan: Plan) -> str:
    """``name_partitions ROOT``."""
    return _LIBRARY + _function("name_partitions", _names(plan))


def further_disks(plan: Plan) -> str:
    """``further_disks ROOT``; needs what :func:`names` brings."""
    return _MAKING + _function("further_disks", _further_disks(plan))


def further(plan: Plan) -> tuple[DiskPlan, ...]:
    """The disks that hold nothing but data, on partitions of their own: no installer has to know of them."""
    return tuple(
        each
        for each in plan.disks
        if each.partitions and all(part.is_data and part.mount_point and not part.member for part in each.partitions)
    )


def _function(name: str, lines: Iterator[str]) -> str:
    return "\n".join([f"{name}() {{", '    bs_root "$1"', *(f"    {line}" for line in lines), "    return 0", "}", ""])


# -- names ---------------------------------------------------------------------------------------------------------


def _names(plan: Plan) -> Iterator[str]:
    yield from _names_of_unmounted(plan)
    # What is mounted knows better.
    for system in plan.mounted:
        match system:
            case PlannedPartition():
                found = [system.name, "", ""]
            case PlannedArray():
                found = ["", system.name, ""]
            case PlannedVolume():
                found = ["", _arrays_of(plan, system.group), system.group]
        yield shlex.join(["bs_name_mounted", system.mount_point or "", *found])


def _names_of_unmounted(plan: Plan) -> Iterator[str]:
    # Subiquity does as it is told, so that what is just where it was planned is it.
    for each in plan.disks:
        for part in each.partitions:
            if not part.kept and not part.mount_point:
                there = shlex.join(["bs_is_at", part.device, *_sectors(part)])
                yield f"{there} && {shlex.join(['bs_label', each.disk.node, str(part.number), part.name])}"
    types = [text for role, name in _BY_TYPE.items() for text in (role.value, name)]
    for each in plan.disks:
        if each.is_written:
            yield shlex.join(["bs_name_types", each.disk.node, *types])
    if plan.swaps:
        group = next((each.group for each in plan.volumes if each.filesystem == "swap"), "")
        arrays = " ".join(each.name for each in plan.arrays if each.filesystem == "swap")
        yield shlex.join(["bs_name_swaps", arrays or _arrays_of(plan, group), group])
    for planned in plan.groups:
        yield shlex.join(["bs_name_physical_volumes", planned.name, _arrays_of(plan, planned.name)])


def _arrays_of(plan: Plan, group: str) -> str:
    return " ".join(array.name for array in plan.arrays if array.member == group)


# -- further disks -------------------------------------------------------------------------------------------------


def _further_disks(plan: Plan) -> Iterator[str]:
    for each in further(plan):
        new = [part for part in each.partitions if not part.kept]
        if new:
            yield f"if ! {{ {' && '.join(_is_done(each, part) for part in new)}; }}; then"
            yield from (f"    {line}" for line in _make(each, new))
            yield "fi"
        for part in each.partitions:
            command = shlex.join(["bs_mount", part.mount_point or "", part.device, part.filesystem, part.filesystem_uuid])
            yield f"{shlex.join(['bs_is_at', part.device, *_sectors(part)])} && {command}"


def _is_done(each: DiskPlan, part: PlannedPartition) -> str:
    return shlex.join(
        ["bs_is_done", each.disk.node, str(part.number), part.name, part.filesystem_uuid, part.device, *_sectors(part)]
    )


def _make(each: DiskPlan, new: list[PlannedPartition]) -> Iterator[str]:
    kept = [part.device for part in each.partitions if part.kept]
    how = "beside" if kept else "alone"
    yield f"if {shlex.join(['bs_table', each.disk.name, str(each.disk.size), how, table(each), *kept])}; then"
    for part in new:
        steps = [
            shlex.join(["bs_wait", part.device, *_sectors(part)]),
            shlex.join(["bs_format", part.filesystem, part.device, part.filesystem_uuid]),
            shlex.join(["bs_label", each.disk.node, str(part.number), part.name]),
        ]
        yield f"    {' && '.join(steps)}"
    yield "fi"


def _sectors(partition: PlannedPartition) -> tuple[str, str]:
    """Start and size as sysfs has them."""
    return str(partition.start // _SYSFS_SECTOR), str(partition.size // _SYSFS_SECTOR)
