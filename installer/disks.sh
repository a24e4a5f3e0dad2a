# What the installer does to disks: functions for busybox sh, called by the text that bootserver/install/partition/shell.py
# makes for one node (each wrapped in `step "words" ...`) and by `inventory`, which also runs in other installers (dash, bash).
#
# A DEVICE is a name below /dev: `vda3`, `md/root` (an array), `rocks/home` (a volume).
#
# Each says on its last line of stderr, in plain words, why it failed, and returns non-zero. Nothing here decides where a
# partition goes; what is checked here is that the machine is still the one that the plan was made for.

# Folders where the real programs are: busybox has a mkswap of its own that knows no -U, and its shell runs that one
# before any file.
: "${DISK_PROGRAMS:=/usr/sbin /sbin /usr/bin /bin}"

real() { # PROGRAM ARGUMENT...: run the program itself, never busybox' applet of that name
    for real_folder in $DISK_PROGRAMS; do
        real_program=$real_folder/$1
        [ -x "$real_program" ] || continue
        if [ -L "$real_program" ]; then case $(readlink "$real_program") in */busybox | busybox) continue ;; esac; fi
        shift
        "$real_program" "$@"
        return
    done
    echo "the installer has no program $1" >&2
    return 127
}

has() { # PROGRAM: the real one
    for has_folder in $DISK_PROGRAMS; do [ -x "$has_folder/$1" ] && return; done
    return 1
}

check_program() { # PROGRAM PACKAGE
    has "$1" && return
    echo "$1 is not in the installer's ramdisk: on the frontend, install the package $2, and \`bootserver installer build\`" >&2
    return 1
}

# No udev runs in our ramdisk, and whoever waits for it waits for ever; what lvm makes below /dev it makes itself then.
LVM_CONFIG='activation{udev_sync=0 udev_rules=0} devices{obtain_device_list_from_udev=0 use_devicesfile=0} backup{backup=0 archive=0}'
export LVM_SUPPRESS_FD_WARNINGS=1

lvm_() { # COMMAND ARGUMENT...
    lvm_command=$1
    shift
    mkdir -p /run/lvm /run/lock
    real lvm "$lvm_command" --quiet --config "$LVM_CONFIG" "$@"
}

first_line() { # FILE: $line is its first line without spaces at its ends, empty where it can't be read
    line=
    [ -r "$1" ] && { read -r line <"$1"; } 2>/dev/null
    return 0
}

printable() { # TEXT: $text is it with a ? for all that is no printable ASCII
    case $1 in
    *[!A-Za-z0-9\ ._:/-]*) text=$(printf '%s' "$1" | LC_ALL=C tr -c '\040-\176' '?') ;;
    *) text=$1 ;;
    esac
}

disk_serial() { # DISK: $serial. Without udev each driver has its own place for it.
    first_line "/sys/block/$1/serial"                                # virtio-blk
    [ -n "$line" ] || first_line "/sys/block/$1/device/serial"       # NVMe, MMC
    if [ -z "$line" ] && [ -r "/sys/block/$1/device/vpd_pg80" ]; then # SCSI, SATA: page 80h, behind 4 bytes of header (SPC-4, 7.8.14)
        line=$(tail -c +5 "/sys/block/$1/device/vpd_pg80" 2>/dev/null)
        line=${line#"${line%%[! ]*}"}
        line=${line%"${line##*[! ]}"}
    fi
    printable "$line"
    serial=$text
}

path_of() { # FOLDER: $path is it without links, empty where it is not there
    path=
    path_before=$PWD
    cd -P "$1" 2>/dev/null && path=$PWD
    cd "$path_before" || cd /
}

free_target() { # FOLDER: unmount what an earlier attempt left there
    mounted=
    while read -r _ at _; do
        case $at in "$1" | "$1"/*) mounted="$at $mounted" ;; esac
    done </proc/mounts
    for at in $mounted; do
        umount "$at" || { echo "$at is in use and can't be unmounted" >&2; return 1; }
    done
}

release_disk() { # DISK: stop RAID arrays and LVM volumes that the kernel runs on it; nothing on the disk changes
    for folder in "/sys/block/$1" "/sys/block/$1/$1"[0-9]* "/sys/block/$1/$1"p[0-9]*; do
        [ -d "$folder/holders" ] && { release_holders "$folder" || return 1; }
    done
    return 0
}

release_holders() ( # FOLDER of sysfs: what stands on that device, the topmost first (a subshell: it calls itself)
    for link in "$1"/holders/*; do
        [ -e "$link" ] || continue
        holder=${link##*/}
        release_holders "/sys/block/$holder" || exit 1
        case $holder in
        md*) real mdadm --quiet --stop "/dev/$holder" ;;
        dm-*)
            first_line "/sys/block/$holder/dm/uuid"
            case $line in
            LVM-*) lvm_ vgchange --activate n ;;
            *) first_line "/sys/block/$holder/dm/name"; real dmsetup remove "$line" ;;
            esac
            ;;
        esac
        [ -e "$link" ] && { echo "$holder uses ${1##*/} and can't be stopped" >&2; exit 1; }
    done
    exit 0
)

check_disk() { # DISK SERIAL BYTES PATH: it is still the disk that the plan was made for, and nobody uses it
    [ -b "/dev/$1" ] || { echo "disk $1 is gone" >&2; return 1; }
    path_of "/sys/block/$1"
    [ "$path" = "$4" ] || { echo "$1 is another disk now: it was at $4, it is at $path" >&2; return 1; }
    disk_serial "$1"
    [ "$serial" = "$2" ] || { echo "$1 is another disk now: its serial number was '$2', it is '$serial'" >&2; return 1; }
    first_line "/sys/block/$1/size" # in sectors of 512 bytes, whatever the disk's own are
    [ "$((line * 512))" = "$3" ] || { echo "$1 is another disk now: it had $3 bytes, it has $((line * 512))" >&2; return 1; }
    first_line "/sys/block/$1/ro"
    [ "$line" = 0 ] || { echo "$1 is write-protected" >&2; return 1; }
    while read -r device at _; do
        case $device in "/dev/$1" | "/dev/$1"[0-9]* | "/dev/$1"p[0-9]*) echo "$device is mounted at $at" >&2; return 1 ;; esac
    done </proc/mounts
    while read -r device _; do
        case $device in "/dev/$1" | "/dev/$1"[0-9]* | "/dev/$1"p[0-9]*) echo "$device is in use as swap" >&2; return 1 ;; esac
    done </proc/swaps
    for link in "/sys/block/$1/holders"/* "/sys/block/$1/$1"*/holders/*; do
        [ -e "$link" ] && { echo "${link##*/} uses $1" >&2; return 1; }
    done
    return 0
}

check_partition() { # PARTITION START SIZE, in sectors of 512 bytes: it is there, and the kernel sees it where the plan has it
    first_line "/sys/class/block/$1/start"
    found=$line
    first_line "/sys/class/block/$1/size"
    [ -b "/dev/$1" ] && [ "$found" = "$2" ] && [ "$line" = "$3" ] && return 0
    [ -n "$found" ] || { echo "$1 is not there" >&2; return 1; }
    echo "$1 should begin at sector $2 and have $3 sectors, but begins at $found and has $line" >&2
    return 1
}

check_member() { # PARTITION UUID: it is a member of that array
    found=$(real mdadm --examine --export "/dev/$1" 2>/dev/null | sed -n 's/^MD_UUID=//p')
    [ "$found" = "$2" ] && return
    echo "$1 should be a member of array $2, but is ${found:-of none}" >&2
    return 1
}

check_physical() { # PARTITION UUID: it is a physical volume of that group
    found=$(lvm_ pvs --noheadings --options vg_uuid "/dev/$1" 2>/dev/null)
    found=${found##* }
    [ "$found" = "$2" ] && return
    echo "$1 should be a physical volume of group $2, but is ${found:-of none}" >&2
    return 1
}

wipe_disk() { # DISK [KEPT...]: old signatures (file systems, RAID, LVM) of all partitions but those that are kept
    disk=$1
    shift
    old=
    for folder in "/sys/block/$disk/$disk"*; do
        [ -r "$folder/partition" ] || continue
        case " $* " in *" ${folder##*/} "*) continue ;; esac
        old="$old ${folder##*/}"
    done
    # shellcheck disable=SC2086
    [ -z "$old" ] || wipe_partitions $old
}

wipe_partitions() { # DEVICE...
    devices=
    for device; do devices="$devices /dev/$device"; done
    # shellcheck disable=SC2086
    real wipefs --quiet --all --force $devices
}

write_table() { # DISK alone|beside TABLE: the whole table in one call, so that there is no moment at which half of it is there
    # What stands on the disk itself (a file system, RAID, another kind of table) goes, unless something of it is kept.
    wipe=never
    [ "$2" = alone ] && wipe=always
    # sfdisk would wait a quarter of a second for udev before it tells the kernel.
    printf '%s\n' "$3" | real sfdisk --quiet --no-tell-kernel --wipe $wipe --wipe-partitions never "/dev/$1" || return 1
    blockdev --rereadpt "/dev/$1"
}

wait_partitions() { # DISK NAME:START:SIZE...: until the kernel has them all where the table says (sectors of 512 bytes)
    disk=$1
    shift
    tries=0
    for wanted in "$@"; do
        rest=${wanted#*:}
        until check_partition "${wanted%%:*}" "${rest%:*}" "${rest#*:}" 2>/dev/null; do
            tries=$((tries + 1))
            if [ $tries -gt 100 ]; then
                check_partition "${wanted%%:*}" "${rest%:*}" "${rest#*:}"
                return 1
            fi
            [ $((tries % 20)) -ne 0 ] || blockdev --rereadpt "/dev/$disk" 2>/dev/null
            sleep 0.1
        done
    done
    return 0
}

make_array() { # NAME LEVEL UUID SPARES PARTITION...
    name=$1 level=$2 uuid=$3 spares=$4
    shift 4
    devices=
    for device; do devices="$devices /dev/$device"; done
    # Its bitmap spares a mirror most of the work after a crash. RAID 5 is made whole: mdadm would make it with one member
    # missing, which is faster, but such an array does not start again when the plug is pulled before it is whole.
    case $level in 0) how= ;; 5) how="--bitmap=internal --force" ;; *) how=--bitmap=internal ;; esac
    [ "$spares" = 0 ] || how="$how --spare-devices=$spares"
    # `any` is every machine's own: wherever the disks are, the array has its name. Version 1.2 is what GRUB reads.
    # shellcheck disable=SC2086
    real mdadm --quiet --create "/dev/md/$name" --run --metadata=1.2 --homehost=any --name="$name" --uuid="$uuid" \
        --level="$level" --raid-devices=$(($# - spares)) $how $devices || return 1
    wipe_partitions "md/$name" # an array of the same members may have been here
}

start_array() { # NAME UUID PARTITION...: one that is there
    name=$1 uuid=$2
    shift 2
    devices=
    for device; do devices="$devices /dev/$device"; done
    # shellcheck disable=SC2086
    real mdadm --quiet --assemble "/dev/md/$name" --run --homehost=any --uuid="$uuid" $devices && [ -b "/dev/md/$name" ]
}

add_member() { real mdadm --quiet --manage "/dev/md/$1" --add "/dev/$2"; } # NAME PARTITION

make_group() { # NAME DEVICE...: with its full path
    name=$1
    shift
    lvm_ pvcreate --yes "$@" && lvm_ vgcreate --yes --physicalextentsize 4m "$name" "$@"
}

extend_group() { # NAME DEVICE...: with its full path
    name=$1
    shift
    lvm_ pvcreate --yes "$@" && lvm_ vgextend --yes "$name" "$@"
}

open_group() { # NAME UUID: one that is there
    found=$(lvm_ vgs --noheadings --options vg_uuid "$1") || return 1
    found=${found##* }
    [ "$found" = "$2" ] || { echo "volume group $1 is another one now: its UUID was $2, it is $found" >&2; return 1; }
    lvm_ vgchange --activate y "$1"
}

remove_volumes() { # GROUP NAME...
    group=$1
    shift
    for name; do
        # Some go with others.
        lvm_ lvs "$group/$name" >/dev/null 2>&1 || continue
        lvm_ lvremove --yes --force "$group/$name" || return 1
    done
}

make_volume() { # GROUP NAME BYTES
    lvm_ lvcreate --yes --zero y --wipesignatures y --name "$2" --size "${3}b" "$1" && [ -b "/dev/$1/$2" ]
}

name_volume() { # GROUP OLD NEW: what has its name is finished, and a later install keeps it
    sync "/dev/$1/$2" && lvm_ lvrename "$1" "$2" "$3" && [ -b "/dev/$1/$3" ]
}

format_partition() { # ext3|ext4|xfs|vfat|swap DEVICE UUID
    case $1 in
    ext3) real mkfs.ext3 -q -F -U "$3" -E lazy_itable_init=1,nodiscard "/dev/$2" ;;
    # The features are named, so that an older image's kernel and GRUB can read what a newer mke2fs makes
    # (metadata_csum_seed, orphan_file). Inode tables are zeroed later, by the kernel, and nothing is discarded:
    # either would take minutes on a large disk.
    ext4)
        real mkfs.ext4 -q -F -U "$3" -E lazy_itable_init=1,lazy_journal_init=1,nodiscard \
            -O none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum \
            "/dev/$2"
        ;;
    # nrext64, new in xfsprogs 5.19 and later its default, is more than older kernels and GRUB can read.
    xfs) real mkfs.xfs -q -f -K -i nrext64=0 -m "uuid=$3" "/dev/$2" 2>/dev/null || real mkfs.xfs -q -f -K -m "uuid=$3" "/dev/$2" ;;
    vfat) real mkfs.fat -F 32 -i "$3" "/dev/$2" ;;
    swap) real mkswap -U "$3" "/dev/$2" ;;
    *) echo "no way to make a file system of kind $1" >&2; return 1 ;;
    esac
}

name_partition() { # DISK NUMBER DEVICE NAME: what is named is finished, and a later install keeps it (DEVICE has the data)
    sync "/dev/$3" || return 1
    # The kernel need not read the table again, which it could not while a partition is in use.
    real sfdisk --quiet --no-reread --no-tell-kernel --part-label "/dev/$1" "$2" "$4"
}

mount_partition() { # DEVICE FOLDER KIND
    mkdir -p "$2" && mount -t "$3" "/dev/$1" "$2"
}
