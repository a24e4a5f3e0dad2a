"""What a partition program answers: which disks are used, and for what. Sizes are in MB of 2**20 bytes, as in kickstart.

A partition is known by its name in the GPT, which is its mount point (or ``swap``, ``bios``, ``esp``): by it a later install
finds again what an earlier one made. A partition with data has that name only once its file system is made, and is called
:data:`UNFINISHED` until then; so whatever is named was finished, wherever the plug was pulled.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

MIB = 1 << 20
DATA = "/state"
"""What is below it outlives a reinstall (Rocks)."""
UNFINISHED = "unfinished"
ESP_MOUNT_POINT = "/boot/efi"


class FileSystem(enum.Enum):
    """What a partition is formatted as; the value is how Linux and blkid call it."""

    EXT4 = "ext4"
    XFS = "xfs"
    VFAT = "vfat"
    SWAP = "swap"

    @property
    def minimum(self) -> int:
        """MB. mkfs.xfs refuses less than 300 MB since xfsprogs 5.19; FAT32 has at least 65,525 clusters."""
        return _MINIMUM[self]


_MINIMUM = {FileSystem.EXT4: 16, FileSystem.XFS: 300, FileSystem.VFAT: 33, FileSystem.SWAP: 1}


class Role(enum.Enum):
    """What a partition is for; the value is its type in the GPT (UEFI 2.10 table 5.7, Discoverable Partitions Specification)."""

    LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
    SWAP = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"
    ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
    BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"


_NAMES = {Role.SWAP: "swap", Role.ESP: "esp", Role.BIOS_BOOT: "bios"}


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition that a program wants.

    :ivar size: MB that it should have; of one that grows, the least.
    :ivar least: MB that would do where what is kept leaves no room for `size`.
    :ivar grow: it takes what is left; several share it equally.
    :ivar keep: one of this name that is there stays as it is, unless the install was told to wipe.
    """

    role: Role
    size: int
    file_system: FileSystem | None = None
    mount_point: str | None = None
    least: int | None = None
    grow: bool = False
    keep: bool = False

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

    @property
    def name(self) -> str:
        """Its name in the GPT."""
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
class Answer:
    """What a partition program answers. Disks that it does not name are not touched."""

    disks: tuple[DiskAnswer, ...]


def is_data(name: str) -> bool:
    """Is a mount point, or a partition's name, one of data that outlive a reinstall?"""
    return name == DATA or name.startswith(f"{DATA}/")
