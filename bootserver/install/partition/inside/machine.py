"""A node and its machine, as a partition program sees them (:mod:`.bootserver_partition`). Sizes are in MB of 2**20 bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

SWAP = 1000  # as in Rocks
ESP = 256
DATA_LEAST = 512

_UNITS = {"M": 1, "G": 1 << 10, "T": 1 << 20}
_KINDS = {"nvme": "NVMe", "ssd": "solid-state", "hdd": "rotating"}


class Refused(Exception):
    """Raise it where the machine does not have what the program wants; its text is told to whoever looks after the node."""


class Node:
    """Who is installed.

    :ivar name: such as ``compute-0-0``. :ivar appliance: such as ``compute``. :ivar attributes: a mapping that can't be altered;
        ``node.attributes.get("disks", "2")``.
    """

    __slots__ = ("appliance", "attributes", "name", "rack", "rank")

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.name: str = facts["name"]
        self.appliance: str = facts["appliance"]
        self.rack: int = facts["rack"]
        self.rank: int = facts["rank"]
        self.attributes: Mapping[str, str] = MappingProxyType(dict(facts["attributes"]))

    def __repr__(self) -> str:
        return self.name


class Partition:
    """A partition that a disk has.

    :ivar label: its name in the GPT: its mount point, where an install of ours made it. :ivar size: MB.
    :ivar filesystem: such as ``ext4`` or ``linux_raid_member``; empty where there is none.
    :ivar is_data: it is named ``/state`` or something below it.
    """

    __slots__ = ("filesystem", "is_data", "label", "name", "number", "size", "type")

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.number: int = facts["number"]
        self.name: str = facts["name"]
        self.size: int = facts["size"]
        self.label: str = facts["label"]
        self.filesystem: str = facts["filesystem"]
        self.type: str = facts["type"]
        self.is_data: bool = facts["is_data"]

    def __repr__(self) -> str:
        return f"{self.name} {self.label or self.filesystem or '-'}"


class Disk:
    """A disk that can be installed on. Disks come by where they hang in the machine, which does not change from boot to boot.

    :ivar size: MB. :ivar room: MB that partitions may have: without the partition table.
    :ivar kind: ``nvme``, ``ssd``, ``hdd``, or empty where nobody knows.
    :ivar is_rotational: None where nobody knows. :ivar transport: ``sata``, ``sas``, ``nvme`` ..., or empty.
    :ivar is_multipath: there are several ways to it.
    :ivar is_empty: nothing is on it. :ivar is_ours: an install of ours made what is on it.
    :ivar holds_data: something below ``/state`` is on it, or a member of what holds it.
    :ivar holds_system: our ``/`` is on it, or a member of what holds it.
    """

    __slots__ = (
        "holds_data", "holds_system", "is_empty", "is_multipath", "is_ours", "is_rotational", "kind", "model", "name",
        "partitions", "room", "sector_size", "serial", "size", "table", "transport",
    )  # fmt: skip

    def __init__(self, facts: Mapping[str, Any]) -> None:
        for key in self.__slots__:
            if key != "partitions":
                setattr(self, key, facts[key])
        self.partitions: list[Partition] = [Partition(each) for each in facts["partitions"]]

    name: str
    size: int
    room: int
    model: str
    serial: str
    kind: str
    transport: str
    table: str
    sector_size: int
    is_empty: bool
    is_ours: bool
    is_multipath: bool
    is_rotational: bool | None
    holds_data: bool
    holds_system: bool

    @property
    def is_nvme(self) -> bool:
        return self.kind == "nvme"

    @property
    def data(self) -> list[Partition]:
        """Partitions that outlive a reinstall."""
        return [each for each in self.partitions if each.is_data]

    @property
    def words(self) -> str:
        return f"{self.name} ({in_words(self.size)})"

    def __repr__(self) -> str:
        return self.name


class Array:
    """A RAID array that is there.

    :ivar level: such as ``1``. :ivar members: names of partitions, spares too. :ivar size: MB.
    :ivar mount_point: of one with data; else empty. :ivar is_data: it outlives a reinstall.
    """

    __slots__ = ("filesystem", "is_data", "level", "members", "mount_point", "name", "size", "spares")

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.name: str = facts["name"]
        self.level: str = facts["level"]
        self.size: int = facts["size"]
        self.members: list[str] = list(facts["members"])
        self.spares: int = facts["spares"]
        self.filesystem: str = facts["filesystem"]
        self.mount_point: str = facts["mount_point"]
        self.is_data: bool = facts["is_data"]

    def __repr__(self) -> str:
        return self.name


class Volume:
    """A logical volume that is there; as of an array."""

    __slots__ = ("filesystem", "is_data", "mount_point", "name", "size")

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.name: str = facts["name"]
        self.size: int = facts["size"]
        self.filesystem: str = facts["filesystem"]
        self.mount_point: str = facts["mount_point"]
        self.is_data: bool = facts["is_data"]

    def __repr__(self) -> str:
        return self.name


class Group:
    """A volume group that is there. :ivar members: such as ``/dev/sda3`` or ``/dev/md/pv``. :ivar size: MB."""

    __slots__ = ("members", "name", "size", "volumes")

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.name: str = facts["name"]
        self.size: int = facts["size"]
        self.members: list[str] = list(facts["members"])
        self.volumes: list[Volume] = [Volume(each) for each in facts["volumes"]]

    @property
    def is_data(self) -> bool:
        return any(each.is_data for each in self.volumes)

    def __repr__(self) -> str:
        return self.name


class Machine:
    """What is installed on.

    :ivar firmware: ``bios`` or ``uefi``. :ivar memory: MB. :ivar disks: all that can be installed on.
    :ivar arrays: RAID arrays that are there. :ivar groups: volume groups that are there.
    :ivar wipe: the install was told to keep nothing.
    :ivar root_size: MB that ``/`` should have for what is installed. :ivar root_least: what would do. Likewise for ``/var``.
    :ivar filesystem: what the node's file systems are made as, unless a program says another.
    :ivar rocks: what :meth:`.layout.Layout.rocks` begins with, or why there is none.
    """

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.firmware: str = facts["firmware"]
        self.architecture: str = facts["architecture"]
        self.cpus: int = facts["cpus"]
        self.memory: int = facts["memory"]
        self.wipe: bool = facts["wipe"]
        self.disks: list[Disk] = [Disk(each) for each in facts["disks"]]
        self.arrays: list[Array] = [Array(each) for each in facts["arrays"]]
        self.groups: list[Group] = [Group(each) for each in facts["groups"]]
        self.root_size: int = facts["root_size"]
        self.root_least: int = facts["root_least"]
        self.var_size: int = facts["var_size"]
        self.var_least: int = facts["var_least"]
        self.filesystem: str = facts["filesystem"]
        self._left_out: list[str] = list(facts["left_out"])
        self.rocks: Mapping[str, Any] = facts["rocks"]

    @property
    def is_uefi(self) -> bool:
        return self.firmware == "uefi"

    def system_size(self, disk: Disk) -> int:
        """MB that ``/``, ``/var``, swap and the boot partitions need at least on a disk."""
        return self.root_least + self.var_least + SWAP + 1 + esp_size(disk)

    @property
    def is_first_install(self) -> bool:
        """No install of ours ended on any of the disks, or nothing is to be kept."""
        return self.wipe or not any(disk.holds_system or disk.holds_data for disk in self.disks)

    @property
    def usable(self) -> list[Disk]:
        """The disks that an install may use: all of them on the first one, later those that are ours or empty (what holds
        something else was put to use by somebody)."""
        return [disk for disk in self.disks if self.is_first_install or disk.is_empty or disk.is_ours]

    def disk(self, name: str) -> Disk:
        """The disk of that name. :raises Refused: there is none."""
        for each in self.disks:
            if each.name == name:
                return each
        raise Refused(f"it wants disk {name}, and the machine has {self._seen(self.disks)}")

    def pick(
        self, count: int, *, kind: str | None = None, room: int | str | None = None, among: Iterable[Disk] | None = None
    ) -> list[Disk]:
        """So many disks for the system: those that have it already first, then by their place in the machine.

        :param kind: only ``nvme``, ``ssd`` (which NVMe is, too) or ``hdd``.
        :param room: MB that each must have beside the data that stay on it; what the system needs, if nothing is said.
        :param among: only of these disks; else of those that are usable.
        :raises Refused: there are not enough, with what there is.
        """
        usable = list(self.usable if among is None else among)
        found = []
        for disk in usable:
            need = self.system_size(disk) if room is None else megabytes(room, disk)
            if is_of(disk, kind) and self.room(disk) >= need:
                found.append(disk)
        if not self.wipe:
            found.sort(key=lambda disk: not disk.holds_system)
        if len(found) >= count:
            return found[:count]
        what = f"{count} {_KINDS[kind]} " if kind in _KINDS else f"{count} "
        free = in_words(self.root_least + self.var_least + SWAP + 1 + ESP) if room is None else room
        beside = " beside the data on it" if any(disk.holds_data for disk in usable) and not self.wipe else ""
        raise Refused(
            f"it wants {what}disk{'' if count == 1 else 's'} with {free} free{beside}, and the machine has {self._seen(usable)}"
        )

    def others(self, *used: Disk | Iterable[Disk]) -> list[Disk]:
        """The usable disks but these, without those that are too small for anything."""
        taken = {disk.name for disk in flat(used)}
        return [disk for disk in self.usable if disk.name not in taken and disk.room >= DATA_LEAST]

    def disks_of(self, array: Array) -> list[Disk]:
        """The disks that an array is on."""
        members = set(array.members)
        return [disk for disk in self.disks if members & {disk.name, *(part.name for part in disk.partitions)}]

    def room(self, disk: Disk) -> int:
        """MB that a disk has for partitions beside the data that stay on it."""
        return disk.room - (0 if self.wipe else sum(each.size for each in disk.data))

    def _seen(self, disks: Sequence[Disk]) -> str:
        if disks:
            more = f" and {len(disks) - 8} more" if len(disks) > 8 else ""
            return ", ".join(disk.words for disk in disks[:8]) + more
        if self.disks:
            return f"none that it may use, of {', '.join(disk.words for disk in self.disks[:8])}"
        return ", ".join(self._left_out[:8]) or "no disk at all"


def esp_size(disk: Disk) -> int:
    """MB: FAT32's least number of clusters, which firmware tells it by, takes more where sectors have 4096 bytes."""
    return ESP if disk.sector_size == 512 else ESP + 32


def is_of(disk: Disk, kind: str | None) -> bool:
    """Is a disk of a kind? An NVMe is solid-state, too. :raises ValueError: there is no such kind."""
    if kind is None:
        return True
    if kind not in _KINDS:
        raise ValueError(f"{kind!r} is no kind of disk: {', '.join(_KINDS)}")
    return disk.kind == kind or (kind == "ssd" and disk.kind == "nvme")


def megabytes(size: int | str, disk: Disk | None = None) -> int:
    """A size as a number of MB.

    :param disk: what a percentage is of.
    :raises ValueError: it is no size.
    """
    if isinstance(size, int) and not isinstance(size, bool):
        return size
    text = str(size).strip().upper().removesuffix("IB").removesuffix("B")
    number, unit = (text[:-1], text[-1:]) if text[-1:] in {*_UNITS, "%"} else (text, "M")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1 << 42:
        raise ValueError(f"{size!r} is no size: MB as a number, or a text such as '512M', '8G', '50%'")
    if unit != "%":
        return int(value * _UNITS[unit])
    if disk is None:
        raise ValueError(f"{size!r} of what? A volume group's size is not known before: say MB or G")
    return int(disk.size * value / 100)


def in_words(size: int) -> str:
    """MB as people say it."""
    return f"{size / 1024:.1f} GB" if size >= 1024 else f"{size} MB"


def flat(given: Iterable[Any]) -> list[Any]:
    """Things, and lists of things, as one list."""
    return [thing for each in given for thing in (each if isinstance(each, (list, tuple)) else [each])]
