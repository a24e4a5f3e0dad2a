"""What a partition program answers: which disks are used, and for what. Sizes are in MB of 2**20 bytes, as in kickstart.

A partition is known by its name in the GPT, which is its mount point (or ``swap``, ``bios``, ``esp``, ``raid NAME``,
``lvm NAME``): by it a later install finds again what an earlier one made. A partition with data has that name only once its
file system is made, and is called :data:`UNFINISHED` until then; so whatever is named was finished, wherever the plug was pulled.

Arrays and volume groups are named, and partitions say by that name what they are members of: a partition of a RAID array, a
partition or an array of a volume group. Arrays and volumes are found again by their names; one that holds data is called as
its mount point is, with ``_`` for each ``/`` (:func:`data_name`: ``/state/partition1`` is on ``state_partition1``), and what is
called so holds data. Until it is finished, a volume's name has :data:`UNFINISHED` and ``_`` before it, and an array's members
are called :data:`UNFINISHED`.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

MIB = 1 << 20
DATA = "/state"
"""What is below it outlives a reinstall (Rocks)."""
UNFINISHED = "unfinished"
ESP_MOUNT_POINT = "/boot/efi"


class FileSystem(enum.Enum):
    """What a partition is formatted as; the value is how Linux and blkid call it."""

    EXT3 = "ext3"
    EXT4 = "ext4"
    XFS = "xfs"
    VFAT = "vfat"
    SWAP = "swap"

    @property
    def minimum(self) -> int:
        """MB. mkfs.xfs refuses less than 300 MB since xfsprogs 5.19; FAT32 has at least 65,525 clusters."""
        return _MINIMUM[self]


_MINIMUM = {FileSystem.EXT3: 16, FileSystem.EXT4: 16, FileSystem.XFS: 300, FileSystem.VFAT: 33, FileSystem.SWAP: 1}


class Role(enum.Enum):
    """What a partition is for; the value is its type in the GPT (UEFI 2.10 table 5.7, Discoverable Partitions Specification)."""

    LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
    SWAP = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"
    ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
    BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
    RAID = "A19D880F-05FC-4D3B-A006-743F0F84911E"
    LVM = "E6D6D379-F507-44C2-A23C-238F2A3DF928"


_NAMES = {Role.SWAP: "swap", Role.ESP: "esp", Role.BIOS_BOOT: "bios"}


class RaidLevel(enum.Enum):
    """Linux md's levels; the value is what mdadm(8) is told."""

    RAID0 = "0"
    RAID1 = "1"
    RAID5 = "5"
    RAID6 = "6"
    RAID10 = "10"

    @property
    def least_members(self) -> int:
        return {"0": 2, "1": 2, "5": 3, "6": 4, "10": 4}[self.value]


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition that a program wants.

    :ivar size: MB that it should have; of one that grows, the least.
    :ivar least: MB that would do where what is kept leaves no room for `size`.
    :ivar grow: it takes what is left; several share it equally.
    :ivar keep: one of this name that is there stays as it is, unless the install was told to wipe.
    :ivar member: the array or volume group that it is a member of (roles RAID and LVM).
    """

    role: Role
    size: int
    file_system: FileSystem | None = None
    mount_point: str | None = None
    least: int | None = None
    grow: bool = False
    keep: bool = False
    member: str | None = None

    @classmethod
    def mounted(
        cls,
        mount_point: str,
        file_system: FileSystem,
        size: int = 1,
        *,
        least: int | None = None,
        grow: bool = False,
        keep: bool = False,
    ) -> Partition:
        """A file system; below ``/state`` it is kept without being told so."""
        return cls(Role.LINUX, size, file_system, mount_point, least, grow, keep or is_data(mount_point))

    @classmethod
    def swap(cls, size: int) -> Partition:
        return cls(Role.SWAP, size, FileSystem.SWAP)

    @classmethod
    def esp(cls, size: int, *, mounted: bool) -> Partition:
        """An EFI system partition. :param mounted: the installed system sees it below ``/boot/efi``."""
        return cls(Role.ESP, size, FileSystem.VFAT, ESP_MOUNT_POINT if mounted else None)

    @classmethod
    def bios_boot(cls) -> Partition:
        """Where GRUB keeps its core image on a GPT disk that a BIOS boots."""
        return cls(Role.BIOS_BOOT, 1)

    @classmethod
    def raid(cls, array: str, size: int = 1, *, grow: bool = False) -> Partition:
        """A member of an array."""
        return cls(Role.RAID, size, grow=grow, member=array)

    @classmethod
    def lvm(cls, group: str, size: int = 1, *, grow: bool = False) -> Partition:
        """A physical volume of a volume group."""
        return cls(Role.LVM, size, grow=grow, member=group)

    @property
    def name(self) -> str:
        """Its name in the GPT."""
        if self.role in (Role.RAID, Role.LVM):
            return f"{self.role.name.lower()} {self.member}"
        return _NAMES.get(self.role) or self.mount_point or ""

    @property
    def minimum(self) -> int:
        """MB below which it is of no use."""
        return min(self.size, self.least or self.size)


@dataclass(frozen=True, slots=True)
class DiskAnswer:
    """:ivar disk: the kernel's name in the inventory. :ivar partitions: in the order in which they are numbered."""

    disk: str
    partitions: tuple[Partition, ...]


@dataclass(frozen=True, slots=True)
class Raid:
    """An array of the partitions whose `member` is its name; ``/dev/md/NAME``.

    :ivar spares: how many of its members are spare.
    :ivar member: the volume group that it is a physical volume of; then it has no file system of its own.
    :ivar keep: as of a partition: the array is assembled and mounted, and stays as it is.
    """

    name: str
    level: RaidLevel
    file_system: FileSystem | None = None
    mount_point: str | None = None
    spares: int = 0
    member: str | None = None
    keep: bool = False


@dataclass(frozen=True, slots=True)
class LogicalVolume:
    """:ivar size: MB, rounded up to whole extents of 4 MB; of one that grows, the least. :ivar grow: it takes what is left;
    several share it equally. :ivar keep: as of a partition."""

    name: str
    size: int
    file_system: FileSystem | None = None
    mount_point: str | None = None
    grow: bool = False
    keep: bool = False


@dataclass(frozen=True, slots=True)
class VolumeGroup:
    """A volume group of the partitions and arrays whose `member` is its name."""

    name: str
    volumes: tuple[LogicalVolume, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a partition program answers. Disks that it does not name are not touched."""

    disks: tuple[DiskAnswer, ...]
    raids: tuple[Raid, ...] = ()
    groups: tuple[VolumeGroup, ...] = ()


def is_data(name: str) -> bool:
    """Is a mount point, or a partition's name, one of data that outlive a reinstall?"""
    return name == DATA or name.startswith(f"{DATA}/")


def data_name(mount_point: str) -> str:
    """What an array or volume is called that holds the data of a mount point: ``state_partition1``."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", mount_point.removeprefix("/"))


def is_data_name(name: str) -> bool:
    """Is it the name of an array or volume of data that outlive a reinstall?"""
    return name == data_name(DATA) or name.startswith(data_name(f"{DATA}/"))


def is_kept(wanted: Partition | Raid | LogicalVolume) -> bool:
    """Does a later install keep it, and this one what is there of that name?"""
    return wanted.keep or (wanted.mount_point is not None and is_data(wanted.mount_point))
