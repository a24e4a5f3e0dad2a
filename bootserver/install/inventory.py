"""What a machine is made of, as it says itself: the document that ``installer/inventory`` prints, read and checked.

The machine is a stranger: every value may be missing, of another type, or absurd, and then it is one
:class:`InventoryFault` that says what and where, or the disk is left out with a reason. Texts are cleaned of what a terminal
would interpret. Disks come in an order that does not change from boot to boot: by where they hang in the machine (the path in
sysfs: PCI address, port), never by the kernel's name, which is a matter of who was faster.

Our own installer prints it, and so do those of distributions, in their early stage. What each of them has differs: ours has
lsblk, sfdisk and wipefs and no udev; Anaconda and subiquity have all of these, and multipath; debian-installer may have sysfs
and udev's database alone. What one does not know is taken from the next.

Bytes everywhere; what Linux counts in sectors of 512 bytes (sysfs), or sfdisk in the disk's own, is converted here.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from bootserver.errors import BootserverError
from bootserver.install.document import Fault, Found
from bootserver.install.stacked import MAX_BYTES, ExistingArray, ExistingGroup, Systems, read_arrays, read_groups

MAX_DISKS = 512
MAX_PARTITIONS = 128  # of a GPT (UEFI 2.10 section 5.3.1), as everybody makes them
_MAX_SECTORS = MAX_BYTES // 65536
_SYSFS_SECTOR = 512

_NAME = re.compile(r"[a-z][a-z0-9]{1,30}")
_PATH = re.compile(r"/sys/[A-Za-z0-9/:._,@+-]{1,500}")
_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_KPARTX = ("", "p", "-part")
_MULTIPATH = re.compile(r"mpath[a-z]{1,8}")
_NO_TARGET = re.compile(r"mmcblk\d+(?:boot\d+|rpmb)|(?:ram|zram|fd|sr|md|nbd)\d+|dm-?\d+")


class InventoryFault(BootserverError):
    """The document is none, or absurd; the text says what and where."""


class FirmwareKind(enum.Enum):
    """What started the machine, as Linux sees it: ``/sys/firmware/efi`` is there or not."""

    BIOS = "bios"
    UEFI = "uefi"


@dataclass(frozen=True, slots=True)
class ExistingPartition:
    """A partition that a disk has.

    :ivar name: the kernel's, such as ``vda1``. :ivar start: bytes from the disk's begin. :ivar size: bytes.
    :ivar label: its name in the GPT, empty in other tables. :ivar uuid: in the GPT, empty in other tables.
    :ivar type: the GPT's type GUID, upper case; in other tables what sfdisk calls it.
    :ivar filesystem: as libblkid calls it; empty where it found none. Of several signs all are named (``ext4 and swap``).
    """

    number: int
    name: str
    start: int
    size: int
    label: str = ""
    uuid: str = ""
    type: str = ""
    filesystem: str = ""
    filesystem_uuid: str = ""

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk that could be installed on.

    :ivar name: the kernel's, good for this boot only. :ivar size: bytes. :ivar sector_size: bytes, the logical one.
    :ivar path: in sysfs, to see that it is still the same. :ivar slot: where it hangs in the machine; disks are sorted by it.
    :ivar table: ``gpt``, ``dos`` ...; empty where none could be read.
    :ivar filesystem: on the disk as a whole; ``linux_raid_member`` and ``LVM2_member`` are such, too.
    :ivar partitions: by number; those that the kernel sees and the table does not have are in it.
    :ivar paths: of one that multipath made, the disks that are ways to it; empty for others.
    """

    name: str
    size: int
    sector_size: int = 512
    serial: str = ""
    wwn: str = ""
    path: str = ""
    slot: str = ""
    model: str = ""
    table: str = ""
    filesystem: str = ""
    partitions: tuple[ExistingPartition, ...] = ()
    paths: tuple[str, ...] = ()

    @property
    def node(self) -> str:
        """Where it is below ``/dev``."""
        return f"/dev/mapper/{self.name}" if self.paths else f"/dev/{self.name}"

    @property
    def is_gpt(self) -> bool:
        return self.table == "gpt"

    @property
    def is_empty(self) -> bool:
        return not (self.table or self.filesystem or self.partitions)

    @property
    def words(self) -> str:
        """The disk as a person would look for it: ``vda (QEMU HARDDISK, serial x)``."""
        known = [self.model, f"serial {self.serial}" if self.serial else ""]
        known = [each for each in known if each] or [gigabytes(self.size)]
        return f"{self.name} ({', '.join(known)})"

    def partition_name(self, number: int) -> str:
        """The kernel's name for a partition: ``vda1``, ``nvme0n1p1``."""
        return f"{self.name}{'p' if self.name[-1].isdigit() else ''}{number}"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A block device that nothing can be installed on, and why."""

    name: str
    why: str
    size: int = 0

    def __str__(self) -> str:
        return f"{self.name} ({self.why}{f', {gigabytes(self.size)}' if self.size else ''})"


@dataclass(frozen=True, slots=True)
class Product:
    """What the board says of itself (DMI); cheap boards say nothing, or the same as all their kind."""

    vendor: str = ""
    name: str = ""
    serial: str = ""
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """A network card. :ivar carrier: None where it is down, so that nobody knows."""

    name: str
    mac: str
    path: str
    driver: str
    carrier: bool | None


@dataclass(frozen=True, slots=True)
class Inventory:
    """
    :ivar memory: bytes. :ivar disks: possible targets, in their stable order. :ivar left_out: everything else.
    :ivar arrays: RAID arrays, by name. :ivar groups: LVM's volume groups, by name.
    """

    firmware: FirmwareKind
    disks: tuple[Disk, ...]
    left_out: tuple[LeftOut, ...] = ()
    architecture: str = ""
    cpus: int = 0
    memory: int = 0
    product: Product = Product()
    cards: tuple[Card, ...] = ()
    arrays: tuple[ExistingArray, ...] = ()
    groups: tuple[ExistingGroup, ...] = ()

    def disk(self, name: str) -> Disk | None:
        return next((disk for disk in self.disks if disk.name == name), None)


def gigabytes(size: int) -> str:
    """Bytes in words; a GB is 2**30 bytes and a MB 2**20, as kickstart, parted and lsblk count."""
    return f"{size / (1 << 30):.1f} GB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MB"


def decode(data: bytes) -> dict[str, Any]:
    """Bytes to a document. :raises InventoryFault: they are no JSON object."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InventoryFault(f"the inventory is no JSON: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise InventoryFault(f"the inventory is no JSON object but a {type(found).__name__}")
    return found


def parse(document: Mapping[str, Any]) -> Inventory:
    """Read what a machine sent.

    :param document: of version 1, as ``installer/inventory`` describes it.
    :raises InventoryFault: it makes no sense; nothing else is ever raised.
    """
    try:
        return _parse(Found(document, "inventory"))
    except Fault as error:
        raise InventoryFault(str(error)) from error


def _parse(root: Found) -> Inventory:
    version = root["version"].number(1 << 16)
    if version != 1:
        raise Fault(f"the inventory is of version {version}, and this frontend reads 1: `bootserver installer build`")
    firmware = root["firmware"]
    if (kind := firmware.text()) not in {each.value for each in FirmwareKind}:
        raise firmware.fault("is neither bios nor uefi")
    systems = _file_systems(root)
    disks, left_out = _disks(root, systems)
    arrays = read_arrays(root, systems, {each.name: each.label for disk in disks for each in disk.partitions})
    product = root["product"]
    return Inventory(
        firmware=FirmwareKind(kind),
        disks=disks,
        left_out=left_out,
        architecture=root["architecture"].text(),
        cpus=root["cpus"].number(1 << 20, default=0),
        memory=root["memory_kib"].number(1 << 50, default=0) * 1024,
        product=Product(*(product[key].text() for key in ("vendor", "name", "serial", "uuid"))),
        cards=tuple(map(_card, root["interfaces"].items(256))),
        arrays=arrays,
        groups=read_groups(root, systems, arrays),
    )


def _card(card: Found) -> Card:
    name, mac, path, driver = (card[key].text() for key in ("name", "mac", "path", "driver"))
    return Card(name, mac, path, driver, card["carrier"].flag(default=None))


# -- disks ---------------------------------------------------------------------------------------------------------


def _disks(root: Found, systems: Systems) -> tuple[tuple[Disk, ...], tuple[LeftOut, ...]]:
    disks: list[Disk] = []
    left_out: list[LeftOut] = []
    seen: set[str] = set()
    multipath: dict[str, tuple[Found, list[str]]] = {}
    for device in root["lsblk"]["blockdevices"].items(MAX_DISKS):
        name = device["name"].text()
        if name in seen:  # lsblk lists a device again below each that it stands on
            continue
        seen.add(name)
        size = device["size"].number(MAX_BYTES, default=0)
        more = root["disks"][name]
        if why := _no_target(device, more["path"].text(), name, size):
            left_out.append(LeftOut(name, why, size))
        elif (whole := _multipath(device)) is not None:
            multipath.setdefault(whole["name"].text(), (whole, []))[1].append(name)
        else:
            disks.append(_disk(device, more, systems, name, size))
    for name, (whole, paths) in multipath.items():
        size = whole["size"].number(MAX_BYTES, default=0)
        if not _MULTIPATH.fullmatch(name):
            left_out.append(LeftOut(name, "multipath, and not called mpatha or the like: set user_friendly_names", size))
        else:
            disks.append(_multipath_disk(root, whole, systems, name, paths))
        left_out += [LeftOut(each, f"a way to {name}", size) for each in paths]
    disks.sort(key=lambda disk: (_natural(disk.slot), disk.name))
    ways: dict[str, str] = {}
    found = []
    for disk in disks:
        if disk.wwn and (first := ways.setdefault(disk.wwn, disk.name)) != disk.name:
            left_out.append(LeftOut(disk.name, f"another way to {first}", disk.size))
        else:
            found.append(disk)
    return tuple(found), tuple(left_out)


def _multipath(device: Found) -> Found | None:
    """What multipath made of several ways to a disk, of which this is one."""
    return next((child for child in device["children"].items(4096) if child["type"].text() == "mpath"), None)


def _multipath_disk(root: Found, whole: Found, systems: Systems, name: str, paths: list[str]) -> Disk:
    """It hangs in the machine where its first way does, which also knows its serial number."""
    kernel_name = whole["kname"].text()
    more, first = root["disks"][kernel_name], min((root["disks"][path] for path in paths), key=lambda way: way["slot"].text())
    disk = _disk(whole, more, systems, name, whole["size"].number(MAX_BYTES, default=0), kernel_name)
    return replace(
        disk,
        paths=tuple(paths),
        serial=first["serial"].text() or disk.serial,
        wwn=_wwn(first["wwid"].text()) or disk.wwn,
        slot=first["slot"].text() or disk.slot,
    )


def _no_target(device: Found, path: str, name: str, size: int) -> str:
    """Why nothing can be installed on it; empty where something can."""
    kind = device["type"].text()
    if kind != "disk":
        return {"rom": "a CD drive", "loop": "a loop device"}.get(kind, kind or "of no known kind")
    if _NO_TARGET.fullmatch(name):
        return "no disk of its own"
    if not _NAME.fullmatch(name):
        return "with a name that the installer can't handle"
    if size == 0:
        return "without a medium"
    if device["rm"].flag(default=False):
        return "removable"
    if device["ro"].flag(default=False):
        return "read-only"
    if "/usb" in path:
        return "on USB"  # a stick, or somebody's own disk: never the disk that a node is installed on
    return ""


def _disk(device: Found, more: Found, systems: Systems, name: str, size: int, kernel_name: str = "") -> Disk:
    vendor, model = device["vendor"].text(), device["model"].text()
    path = more["path"].text()
    if path and not _PATH.fullmatch(path):
        raise more["path"].fault("is no path in sysfs")
    sector_size = device["log-sec"].number(1 << 16, default=512)
    if sector_size < 512 or sector_size & (sector_size - 1):
        raise device["log-sec"].fault("is no size of a sector")
    disk = Disk(
        name=name,
        size=size,
        sector_size=sector_size,
        # Ours is the one that the installer compares again before it writes; lsblk's is what udev knows, where it runs.
        serial=more["serial"].text() if more.is_there else device["serial"].text(),
        wwn=_wwn(more["wwid"].text()) or _wwn(device["wwn"].text()),
        path=path,
        slot=more["slot"].text() or path or name,
        # virtio says its vendor's number; disks behind libata all say ATA.
        model=model if vendor == "ATA" or vendor.startswith("0x") or model.startswith(vendor) else f"{vendor} {model}".strip(),
    )
    table, partitions = _partitions(disk, device, more, systems)
    filesystem, _ = systems.get(kernel_name or name, ("" if table else device["fstype"].text(), ""))
    return replace(disk, table=table, filesystem=filesystem, partitions=partitions)


def _wwn(text: str) -> str:
    # Firmware that has none fills it with zeros, the same in every disk.
    return "" if not text.rpartition(".")[2].removeprefix("0x").strip("0") else text


def _partitions(disk: Disk, device: Found, more: Found, systems: Systems) -> tuple[str, tuple[ExistingPartition, ...]]:
    """The table's kind and its partitions; what sfdisk read counts first, then what the kernel sees, then lsblk."""
    table = more["table"]["partitiontable"]
    kind = table["label"].text() if table.is_there else device["pttype"].text()
    if kind == "dos" and any(each["type"].text() == "ee" for each in table["partitions"].items(4096)):
        kind = ""  # what protects a GPT (UEFI 2.10 section 5.2.3), and nobody can read the GPT
    found: dict[int, ExistingPartition] = {}
    for source in (_of_table(disk, table, kind), _of_kernel(disk, more), _of_lsblk(disk, device, kind)):
        for partition in source:
            found.setdefault(partition.number, partition)
    return kind, tuple(_with_file_system(found[number], disk, device, systems) for number in sorted(found))


def _of_table(disk: Disk, table: Found, kind: str) -> Iterator[ExistingPartition]:
    """What ``sfdisk --json`` shows, in sectors of the disk."""
    unit = table["sectorsize"].number(1 << 16, default=disk.sector_size)
    for entry in table["partitions"].items(4096):
        number = _number(disk, entry["node"].text().removeprefix("/dev/"), entry["node"])
        start, size = (entry[key].number(_MAX_SECTORS) * unit for key in ("start", "size"))
        label, uuid = entry["name"].text(), _uuid(entry["uuid"]) if kind == "gpt" else ""
        yield ExistingPartition(number, disk.partition_name(number), start, size, label, uuid, entry["type"].text())


def _of_kernel(disk: Disk, more: Found) -> Iterator[ExistingPartition]:
    for name, seen in more["partitions"].members(4096):
        number = _number(disk, name, seen)
        start, size = (seen[key].number(_MAX_SECTORS) * _SYSFS_SECTOR for key in ("start", "size"))
        yield ExistingPartition(number, name, start, size)


def _of_lsblk(disk: Disk, device: Found, kind: str) -> Iterator[ExistingPartition]:
    for child in _children(device):
        number = _number(disk, child["name"].text(), child["name"])
        start, size = child["start"].number(_MAX_SECTORS, default=0) * _SYSFS_SECTOR, child["size"].number(MAX_BYTES)
        label, uuid = child["partlabel"].text(), _uuid(child["partuuid"]) if kind == "gpt" else ""
        yield ExistingPartition(number, disk.partition_name(number), start, size, label, uuid, child["parttype"].text().upper())


def _children(device: Found) -> Iterator[Found]:
    return (child for child in device["children"].items(4096) if child["type"].text() == "part")


def _with_file_system(partition: ExistingPartition, disk: Disk, device: Found, systems: Systems) -> ExistingPartition:
    filesystem, uuid = systems.get(partition.name, ("", ""))
    name = partition.name
    for child in _children(device):
        if _number(disk, child["name"].text(), child["name"]) == partition.number:
            name = child["name"].text()  # of a multipath disk it may be another
            if not filesystem:
                filesystem, uuid = systems.get(child["kname"].text(), (child["fstype"].text(), child["uuid"].text()))
    return replace(partition, name=name, filesystem=filesystem, filesystem_uuid=uuid)


def _file_systems(root: Found) -> Systems:
    """What ``wipefs --json`` shows: file system and UUID by device. Several on one device are named all, so that it is none."""
    kinds: dict[str, dict[str, str]] = {}
    for printed in root["signatures"].items(1 << 14):
        for sign in printed["signatures"].items(1 << 14):
            if sign["usage"].text() != "partition-table":
                kinds.setdefault(sign["device"].text(), {}).setdefault(sign["type"].text(), sign["uuid"].text())
    return {name: (" and ".join(found), next(iter(found.values()))) for name, found in kinds.items()}


def _number(disk: Disk, name: str, where: Found) -> int:
    name = name.removeprefix("mapper/")
    digits = re.search(r"(?<!\d)\d{1,4}\Z", name)
    number = int(digits[0]) if digits else 0
    # What kpartx makes of a multipath disk is called otherwise by each distribution.
    names = {
        disk.partition_name(number),
        *(f"{disk.name}{between}{number}" for between in _KPARTX if disk.name.startswith("mpath")),
    }
    if not 0 < number <= MAX_PARTITIONS or name not in names:
        raise where.fault(f"is no partition of {disk.name}")
    return number


def _uuid(found: Found) -> str:
    text = found.text()
    if not text:
        return ""
    try:
        return str(UUID(text))
    except ValueError:
        raise found.fault("is no UUID") from None


def _natural(path: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts ata10 behind ata2, and PCI addresses (hexadecimal, of fixed width) as they are."""
    return tuple(_pieces(path))


def _pieces(path: str) -> Iterator[tuple[int, int, str]]:
    for part in path.split("/"):
        if _PCI.fullmatch(part):
            yield from ((0, int(each, 16), "") for each in re.split("[:.]", part))
        else:
            for digits, text in re.findall(r"([0-9]+)|([^0-9]+)", part):
                yield (1, int(digits[:30]), "") if digits else (2, 0, text)
        yield (-1, 0, "")  # a shorter name comes before those that begin with it
