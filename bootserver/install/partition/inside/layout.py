"""The layout that a partition program makes (:mod:`.bootserver_partition`). Sizes are numbers of MB of 2**20 bytes, or texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bootserver.install.partition.inside.machine import (
    DATA_LEAST,
    ESP,
    SWAP,
    Array,
    Disk,
    Group,
    Machine,
    Refused,
    esp_size,
    flat,
    megabytes,
)

DATA = "/state"
"""What is below it outlives a reinstall."""
_BOOT = 1024


class NewArray:
    """An array of a layout."""

    __slots__ = ("members", "name")

    def __init__(self, name: str, members: list[Disk]) -> None:
        self.name = name
        self.members = members


class NewGroup:
    """A volume group of a layout; ``layout.add(..., on=group)`` makes volumes in it."""

    __slots__ = ("name", "volumes")

    def __init__(self, name: str) -> None:
        self.name = name
        self.volumes: list[dict[str, Any]] = []


class Layout:
    """What a machine's disks shall hold. Disks that it does not name are not touched."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._disks: dict[str, list[dict[str, Any]]] = {}
        self._raids: list[dict[str, Any]] = []
        self._groups: list[NewGroup] = []

    @classmethod
    def rocks(cls, machine: Machine) -> Layout:
        """What Rocks makes of a machine: a layout like any other, which may be altered. :raises Refused: nothing."""
        answer = machine.rocks
        if "refused" in answer:
            raise Refused(answer["refused"])
        layout = cls(machine)
        layout._disks = {each["disk"]: [dict(part) for part in each["partitions"]] for each in answer["disks"]}
        layout._raids = [dict(each) for each in answer["raids"]]
        for each in answer["groups"]:
            group = NewGroup(each["name"])
            group.volumes = [dict(volume) for volume in each["volumes"]]
            layout._groups.append(group)
        return layout

    def add(
        self,
        mount_point: str,
        size: int | str | None = None,
        *,
        on: Disk | NewGroup,
        fs: str | None = None,
        grow: bool = False,
        least: int | str | None = None,
        keep: bool = False,
        name: str | None = None,
    ) -> None:
        """A file system on a disk, or in a volume group; ``swap`` as the mount point is swap.

        :param size: what it should have; of one that grows, the least. Where nothing is said: what the system needs for ``/``
            and ``/var``, 1000 MB of swap, 1 GB for ``/boot``, and all that is left for any other.
        :param fs: ``ext4``, ``xfs``, ``ext3`` or ``vfat``; else what the node's attribute ``filesystem`` says.
        :param grow: it takes what is left; several share it.
        :param least: MB that would do where what is kept leaves no more.
        :param keep: one of this name that is there stays as it is. Below ``/state`` it always does.
        :param name: of the volume in its group; else from the mount point.
        """
        wanted = self._sized(mount_point, size, grow, least, on if isinstance(on, Disk) else None)
        system = {"fs": self._fs(mount_point, fs), "mount": None if mount_point == "swap" else mount_point, "keep": keep}
        if isinstance(on, NewGroup):
            del wanted["least"]
            on.volumes.append({"name": name or _short(mount_point), **wanted, **system})
            return
        role = "swap" if mount_point == "swap" else "linux"
        if mount_point == "/boot/efi":
            role, system["fs"] = "esp", "vfat"
            system["mount"] = mount_point if self._machine.is_uefi else None
        self._on(on).append({"role": role, **wanted, **system, "member": None})

    def raid(
        self,
        mount_point: str | None,
        size: int | str | None = None,
        *,
        on: Iterable[Disk],
        level: int | str = 1,
        fs: str | None = None,
        grow: bool = False,
        spares: int = 0,
        keep: bool = False,
        name: str | None = None,
    ) -> NewArray:
        """An array with a partition on each of the disks.

        :param mount_point: None for one that a volume group is made of (``layout.group("data", on=[array])``).
        :param size: of each member. :param level: 0, 1, 5, 6 or 10. :param name: else from the mount point.
        """
        disks = list(on)
        wanted = self._sized(mount_point or DATA, size, grow, None, min(disks, key=lambda disk: disk.size, default=None))
        name = name or _short(mount_point or "pv")
        self._raids.append(
            {
                "name": name,
                "level": str(level),
                "fs": self._fs(mount_point, fs) if mount_point else None,
                "mount": None if mount_point == "swap" else mount_point,
                "spares": spares,
                "member": None,
                "keep": keep,
            }
        )
        del wanted["least"]
        for disk in disks:
            self._on(disk).append(_member("raid", name, wanted))
        return NewArray(name, disks)

    def group(self, name: str, size: int | str | None = None, *, on: Disk | NewArray | Iterable[Disk | NewArray]) -> NewGroup:
        """A volume group.

        :param on: disks, which get a partition for it each, and arrays without a mount point.
        :param size: of each of those partitions; else all that is left.
        """
        group = NewGroup(name)
        for each in flat([on]):
            if isinstance(each, NewArray):
                next(raid for raid in self._raids if raid["name"] == each.name)["member"] = name
            else:
                wanted = {"size": DATA_LEAST if size is None else megabytes(size, each), "grow": size is None}
                self._on(each).append(_member("lvm", name, wanted))
        self._groups.append(group)
        return group

    def keep(self, *what: Disk | Array | Group | Iterable[Disk | Array | Group]) -> list[str]:
        """Keep the data that disks have on their own partitions, and that arrays and volume groups have; other volumes of a
        group go. Nothing where the install was told to wipe.

        :returns: the mount points that are kept.
        """
        kept: list[str] = []
        for each in flat(what) if not self._machine.wipe else []:
            match each:
                case Disk():
                    labels = list(dict.fromkeys(part.label for part in each.data))
                    if labels:
                        self._on(each).extend(_partition(label, 1, self._machine.filesystem) for label in labels)
                    kept += labels
                case Array() if each.is_data and each.mount_point:
                    self._keep_array(each, None)
                    kept.append(each.mount_point)
                case Group() if each.is_data:
                    kept += self._keep_group(each)
        return kept

    def _keep_array(self, array: Array, group: str | None) -> None:
        fs, mount = (self._machine.filesystem, array.mount_point) if group is None else (None, None)
        for disk in self._machine.disks_of(array):
            self._on(disk).append(_member("raid", array.name, {"size": DATA_LEAST, "grow": False}))
        self._raids.append(
            {
                "name": array.name,
                "level": array.level,
                "fs": fs,
                "mount": mount,
                "spares": array.spares,
                "member": group,
                "keep": group is None,
            }
        )

    def _keep_group(self, group: Group) -> list[str]:
        new = NewGroup(group.name)
        for array in self._machine.arrays:
            if f"/dev/md/{array.name}" in group.members:
                self._keep_array(array, group.name)
        for disk in self._machine.disks:
            if any(f"/dev/{part.name}" in group.members for part in disk.partitions):
                self._on(disk).append(_member("lvm", group.name, {"size": DATA_LEAST, "grow": False}))
        for volume in group.volumes:
            if volume.is_data and volume.mount_point:
                system = {"fs": self._machine.filesystem, "mount": volume.mount_point, "keep": True}
                new.volumes.append({"name": volume.name, "size": max(1, volume.size), "grow": False, **system})
        self._groups.append(new)
        return [volume["mount"] for volume in new.volumes]

    def data(self, *what: Disk | NewGroup | Iterable[Disk | NewGroup], fs: str | None = None) -> None:
        """Keep the data that disks have, or make one ``/state/partitionN`` of what is left of each: the next number that no
        disk and no layout has yet. The same in a volume group.
        """
        for each in flat(what):
            if isinstance(each, NewGroup):
                volumes = [old for group in self._machine.groups if group.name == each.name for old in group.volumes]
                kept = [] if self._machine.wipe else [old.mount_point for old in volumes if old.mount_point]
                for mount_point in kept or [self._next()]:
                    self.add(mount_point, on=each, fs=fs)
            elif not self.keep(each):
                self.add(self._next(), on=each, fs=fs)

    def find(self, mount_point: str) -> dict[str, Any]:
        """What a layout has for a mount point, to be altered: ``layout.find("/")["size"] = 20000``.

        :raises Refused: it has none.
        """
        parts = (part for each in self._disks.values() for part in each)
        volumes = (volume for group in self._groups for volume in group.volumes)
        for each in (*parts, *self._raids, *volumes):
            if each.get("mount") == mount_point or (mount_point == "swap" and each["fs"] == "swap"):
                return each
        raise Refused(f"the layout has no {mount_point}")

    def as_answer(self) -> dict[str, Any]:
        return {
            "disks": [{"disk": name, "partitions": parts} for name, parts in self._disks.items()],
            "raids": self._raids,
            "groups": [{"name": group.name, "volumes": group.volumes} for group in self._groups],
        }

    def _on(self, disk: Disk) -> list[dict[str, Any]]:
        if not isinstance(disk, Disk):
            raise TypeError(f"{disk!r} is no disk of the machine: machine.disk('sda') is one")
        return self._disks.setdefault(disk.name, [])

    def _sized(
        self, mount_point: str, size: int | str | None, grow: bool, least: int | str | None, disk: Disk | None
    ) -> dict[str, Any]:
        machine = self._machine
        usual = {
            "/": (machine.root_size, machine.root_least),
            "/var": (machine.var_size, machine.var_least),
            "swap": (SWAP, None),
            "/boot": (_BOOT, None),
            "/boot/efi": (ESP if disk is None else esp_size(disk), None),
        }
        if size is None and mount_point in usual:
            wanted, enough = usual[mount_point]
        else:
            wanted, enough = (DATA_LEAST if size is None else megabytes(size, disk)), None
            grow = grow or size is None
        if least is not None:
            enough = megabytes(least, disk)
        return {"size": wanted, "least": enough, "grow": grow}

    def _fs(self, mount_point: str | None, fs: str | None) -> str:
        return "swap" if mount_point == "swap" else fs or self._machine.filesystem

    def _next(self) -> str:
        taken = {part["mount"] for parts in self._disks.values() for part in parts}
        taken |= {raid["mount"] for raid in self._raids}
        taken |= {volume["mount"] for group in self._groups for volume in group.volumes}
        if not self._machine.wipe:
            taken |= {each.label for disk in self._machine.disks for each in disk.partitions}
            taken |= {array.mount_point for array in self._machine.arrays}
            taken |= {volume.mount_point for group in self._machine.groups for volume in group.volumes}
        return next(name for number in range(1, 1 << 20) if (name := f"{DATA}/partition{number}") not in taken)


def _partition(mount_point: str, size: int, fs: str) -> dict[str, Any]:
    return {
        "role": "linux",
        "size": size,
        "least": None,
        "grow": False,
        "fs": fs,
        "mount": mount_point,
        "keep": False,
        "member": None,
    }


def _member(role: str, name: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": role, **wanted, "least": None, "fs": None, "mount": None, "keep": False, "member": name}


def _short(mount_point: str) -> str:
    """A name for an array or a volume: that of ``/state/partition1`` is ``state_partition1``, by which it is found again."""
    return "".join(each if each.isalnum() or each in "_.+-" else "_" for each in mount_point.strip("/")) or "root"
