"""Answers for made-up machines, by name: what the emitters for distributions' installers are tested with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bootserver.install.inventory import Disk, ExistingPartition, FirmwareKind, Inventory
from bootserver.install.partition import place
from bootserver.install.partition.model import (
    Answer,
    DiskAnswer,
    FileSystem,
    LogicalVolume,
    Partition,
    Raid,
    RaidLevel,
    VolumeGroup,
)
from bootserver.install.partition.plan import Plan
from bootserver.install.stacked import ArrayState, ExistingArray, ExistingGroup, ExistingVolume
from tests.disks import disk, machine, there, uuids

EXT4, XFS, SWAP = FileSystem.EXT4, FileSystem.XFS, FileSystem.SWAP
BIOS, UEFI = FirmwareKind.BIOS, FirmwareKind.UEFI


@dataclass(frozen=True, slots=True)
class Layout:
    """A machine and what is wanted of it."""

    inventory: Inventory
    answer: Answer

    @property
    def plan(self) -> Plan:
        return place.place(self.answer, self.inventory, new_uuid=uuids())


def boot(firmware: FirmwareKind, *, esp: int = 256, mounted: bool = True) -> list[Partition]:
    return [Partition.bios_boot(), Partition.esp(esp, mounted=mounted and firmware is UEFI)]


def rocks(firmware: FirmwareKind = BIOS, system: FileSystem = EXT4, esp: int = 256) -> list[Partition]:
    """Rocks' layout of the system's disk, without the data."""
    root, var = Partition.mounted("/", system, 8000), Partition.mounted("/var", system, 4000)
    return [*boot(firmware, esp=esp), root, var, Partition.swap(1000)]


def data(number: int = 1, system: FileSystem = EXT4) -> Partition:
    return Partition.mounted(f"/state/partition{number}", system, 512, grow=True)


def on(disk_name: str, *partitions: Partition) -> DiskAnswer:
    return DiskAnswer(disk_name, tuple(partitions))


def old_system(name: str, *more: ExistingPartition) -> tuple[ExistingPartition, ...]:
    """What a Rocks layout left on a disk of 40 GB."""
    layout = Layout(machine(disk(name, 40)), Answer((on(name, *rocks(), data()),)))
    found = [
        ExistingPartition(p.number, p.device, p.start, p.size, p.name, p.uuid, p.type, p.filesystem, p.filesystem_uuid)
        for p in layout.plan.partitions
    ]
    return (*sorted(found, key=lambda each: each.number), *more)


def mirrored(firmware: FirmwareKind) -> Layout:
    members = [Partition.raid("root", 8000), Partition.raid("swap", 1000), Partition.raid("state_partition1", 512, grow=True)]
    raids = (
        Raid("root", RaidLevel.RAID1, XFS, "/"),
        Raid("swap", RaidLevel.RAID1, SWAP),
        Raid("state_partition1", RaidLevel.RAID1, XFS, "/state/partition1", keep=True),
    )
    disks = (on("sda", *boot(firmware), *members), on("sdb", *boot(firmware, mounted=False), *members))
    return Layout(machine(disk("sda", 40), disk("sdb", 40, slot=1), firmware=firmware), Answer(disks, raids))


VOLUMES = (
    LogicalVolume("root", 8000, XFS, "/"),
    LogicalVolume("swap", 1000, SWAP),
    LogicalVolume("var", 4000, XFS, "/var"),
    LogicalVolume("state_partition1", 512, XFS, "/state/partition1", grow=True, keep=True),
)


def lvm(firmware: FirmwareKind = BIOS) -> Layout:
    parts = [*boot(firmware), Partition.mounted("/boot", EXT4, 1024), Partition.lvm("system", 512, grow=True)]
    answer = Answer((on("vda", *parts),), groups=(VolumeGroup("system", VOLUMES),))
    return Layout(machine(disk("vda", 40), firmware=firmware), answer)


def lvm_on_raid() -> Layout:
    members = [Partition.raid("boot", 1024), Partition.raid("pv", 512, grow=True)]
    raids = (Raid("boot", RaidLevel.RAID1, EXT4, "/boot"), Raid("pv", RaidLevel.RAID1, member="system"))
    disks = tuple(on(name, *boot(BIOS), *members) for name in ("sda", "sdb"))
    return Layout(machine(disk("sda", 40), disk("sdb", 40, slot=1)), Answer(disks, raids, (VolumeGroup("system", VOLUMES),)))


def kept_stack(*, grown: bool = False) -> Layout:
    """``/state/partition1`` on an array and ``/state/data`` in a group, both there; a new system beside them."""
    names = {"sda": ["raid state_partition1", "lvm data"], "sdb": ["raid state_partition1"]}
    disks: list[Disk] = []
    for slot, (name, labels) in enumerate(names.items()):
        parts = [there(6 + number, label, 20 + 5 * number, 5, disk=name) for number, label in enumerate(labels)]
        disks.append(disk(name, 40, *parts, slot=slot))
    array = ExistingArray(
        "state_partition1", "raid1", "11111111-2222-3333-4444-555555555555", ArrayState.WHOLE, ("sda6", "sdb6"), 0,
        5 * 1023 << 20, "xfs", "aaaaaaaa-0000-0000-0000-000000000001", "md127",
    )  # fmt: skip
    volumes = [ExistingVolume("state_data", 4 << 30, "ext4", "aaaaaaaa-0000-0000-0000-000000000002")]
    group = ExistingGroup("data", "abc", ("/dev/sda7",), tuple(volumes), free=1020 << 20)
    inventory = replace(machine(*disks), arrays=(array,), groups=(group,))
    member = Partition.raid("state_partition1", 512)
    new = (LogicalVolume("scratch", 512, XFS, "/scratch"),) if grown else ()
    answer = Answer(
        (on("sda", *rocks(), member, Partition.lvm("data", 512)), on("sdb", member)),
        (Raid("state_partition1", RaidLevel.RAID1, XFS, "/state/partition1", keep=True),),
        (VolumeGroup("data", (LogicalVolume("state_data", 512, EXT4, "/state/data", keep=True), *new)),),
    )
    return Layout(inventory, answer)


def two_disks(firmware: FirmwareKind = BIOS) -> Layout:
    """The system and its data on one disk as they were; data on another."""
    first = disk("vda", 40, *old_system("vda"))
    second = disk("vdb", 60, there(1, "/state/partition2", 0.01, 59, disk="vdb"), slot=1)
    answer = Answer((on("vda", *rocks(firmware), data()), on("vdb", data(2))))
    return Layout(machine(first, second, firmware=firmware), answer)


LAYOUTS: Mapping[str, Layout] = {
    "single-bios": Layout(machine(disk("vda", 40)), Answer((on("vda", *rocks(), data()),))),
    "single-uefi": Layout(machine(disk("vda", 40), firmware=UEFI), Answer((on("vda", *rocks(UEFI, XFS), data(1, XFS)),))),
    "two-disks": Layout(
        machine(disk("vda", 40), disk("vdb", 60, slot=1)), Answer((on("vda", *rocks(), data()), on("vdb", data(2))))
    ),
    "two-disks-kept": two_disks(),
    "data-disk-kept": Layout(
        machine(disk("vda", 40), disk("vdb", 60, there(1, "/state/partition2", 0.01, 59, disk="vdb"), slot=1)),
        Answer((on("vda", *rocks()), on("vdb", data(2)))),
    ),
    "mirrored-bios": mirrored(BIOS),
    "mirrored-uefi": mirrored(UEFI),
    "lvm": lvm(),
    "lvm-on-raid": lvm_on_raid(),
    "kept-stack": kept_stack(),
    "4k": Layout(
        machine(disk("nvme0n1", 40, sector_size=4096), firmware=UEFI),
        Answer((on("nvme0n1", *rocks(UEFI, esp=288), data()),)),
    ),
}
