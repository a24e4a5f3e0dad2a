"""Partition answers done for real by the installer's own ramdisk: RAID, LVM, one on the other, and once more with data kept.

One machine with seven disks is switched on once, and does plan after plan; each story begins with empty disks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootserver.install.inventory import FirmwareKind, Inventory
from bootserver.install.partition import place, programs
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
from bootserver.install.stacked import ArrayState
from tests import views
from tests.e2e.partitioning import Bench, agrees, bench, data_of
from tests.lab.namespace import Namespace

EXT3, EXT4, XFS, SWAP = FileSystem.EXT3, FileSystem.EXT4, FileSystem.XFS, FileSystem.SWAP
UEFI = FirmwareKind.UEFI


@pytest.fixture(scope="module")
def switched_on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    with Namespace(folder) as namespace, bench(namespace, folder) as machine:
        yield machine


@pytest.fixture
def machine(switched_on: Bench) -> Bench:
    switched_on.empty("vda", "vdb", "vdc", "vdd", "vde", "vdf", "nvme0n1")
    return switched_on


def boots(*partitions: Partition, first: bool = True) -> tuple[Partition, ...]:
    """What a disk needs beside, so that any firmware starts from it."""
    return (Partition.bios_boot(), Partition.esp(64, mounted=first), *partitions)


def volumes_on_a_mirror() -> Answer:
    """The same with volumes on it."""
    disks = tuple(DiskAnswer(name, boots(Partition.raid("pv", 200, grow=True), first=name == "vda")) for name in ("vda", "vdb"))
    volumes = (
        LogicalVolume("root", 300, EXT4, "/"),
        LogicalVolume("swap", 40, SWAP),
        LogicalVolume("state_partition1", 200, EXT4, "/state/partition1", grow=True),
        LogicalVolume("home", 301, XFS, "/home", keep=True),
    )
    return Answer(disks, (Raid("pv", RaidLevel.RAID1, member="system"),), (VolumeGroup("system", volumes),))


def volumes(*disks: str) -> Answer:
    """Volumes on partitions of disks."""
    answers = [DiskAnswer(name, boots(Partition.lvm("system", 200, grow=True), first=name == disks[0])) for name in disks]
    group = VolumeGroup(
        "system",
        (
            LogicalVolume("root", 300, EXT4, "/"),
            LogicalVolume("state_data", 12_000 * len(disks), XFS, "/state/data"),
        ),
    )
    return Answer(tuple(answers), groups=(group,))


def levels() -> Answer:
    """All levels, and a spare, beside a system."""
    wanted = {
        "fast": (RaidLevel.RAID0, "abc", 0, "/state/fast"),
        "md0": (RaidLevel.RAID1, "ab", 0, "/mirror"),  # as programs for Rocks call theirs
        "five": (RaidLevel.RAID5, "abcd", 1, "/five"),
        "six": (RaidLevel.RAID6, "abcde", 0, "/six"),
        "ten": (RaidLevel.RAID10, "abcdef", 0, "/ten"),
    }
    names = {"fast": "state_fast"}
    disks = []
    for letter in "abcdef":
        parts = [Partition.raid(names.get(name, name), 120) for name, (_, on, _, _) in wanted.items() if letter in on]
        system = (*boots(), Partition.mounted("/", EXT4, 300)) if letter == "a" else ()
        disks.append(DiskAnswer(f"vd{letter}", (*system, *parts)))
    raids = tuple(
        Raid(names.get(name, name), level, EXT3 if point == "/ten" else EXT4, point, spares)
        for name, (level, _, spares, point) in wanted.items()
    )
    return Answer(tuple(disks), raids)


def plan(answer: Answer, found: Inventory) -> Plan:
    return place.place(answer, found)


def write_data(plan: Plan) -> str:
    return "".join(f"echo years of work >/target{each.mount_point}/results\n" for each in data_of(plan) if not each.kept)


def has_data(machine: Bench, plan: Plan) -> None:
    kept = [each for each in data_of(plan) if each.kept]
    assert kept
    said = machine.says(plan, "\n".join(f"cat /kept{each.mount_point}/results" for each in kept))
    assert said == "years of work\n" * len(kept)


def shipped(name: str, found: Inventory, folder: Path) -> Answer:
    """What a program that came with bootserver answers."""
    return programs.answer(name, views.node(), found, programs.Need(), state=folder, user="root")


@pytest.mark.full
@pytest.mark.parametrize("program", ["data-striping", "default", "keep-state", "lvm", "nvme-first", "single-disk"])
def test_a_shipped_program_s_answer_is_done(machine: Bench, program: str, tmp_path: Path) -> None:
    found = machine.inventory()
    wanted = plan(shipped(program, found, tmp_path), found)
    agrees(machine.does(wanted), wanted)


def test_a_mirrored_system_keeps_its_data_and_gets_a_new_disk_in_the_place_of_an_old_one(machine: Bench, tmp_path: Path) -> None:
    found = machine.inventory()
    first = plan(shipped("mirrored-root", found, tmp_path), found)
    agrees(machine.does(first, then=write_data(first)), first)
    machine.document()  # its arrays are stopped
    second_disk = first.root_disks[1].disk.node
    machine.empty(second_disk.removeprefix("/dev/"))
    found = machine.inventory()
    second = plan(shipped("mirrored-root", found, tmp_path), found)
    [array] = [each for each in second.arrays if each.kept]
    assert [part.kept for part in second.partitions if part.device in array.devices] == [True, False]
    assert second.root.filesystem_uuid != first.root.filesystem_uuid
    agrees(machine.does(second), second)
    has_data(machine, second)
    found = machine.inventory()
    assert {each.uuid: set(each.members) for each in found.arrays} == {each.uuid: set(each.devices) for each in second.arrays}
    assert all(each.state is not ArrayState.FAILED for each in found.arrays)


def test_volumes_on_a_mirror_are_made_and_made_again_with_their_data_kept(machine: Bench) -> None:
    first = plan(volumes_on_a_mirror(), machine.inventory(UEFI))
    agrees(machine.does(first, then=write_data(first)), first)
    second = plan(volumes_on_a_mirror(), machine.inventory(UEFI))
    assert {each.name: each.filesystem_uuid for each in second.file_systems if each.kept} == {
        each.name: each.filesystem_uuid for each in data_of(first)
    }
    agrees(machine.does(second), second)
    has_data(machine, second)


def test_a_group_that_stays_grows_by_a_disk_that_was_added(machine: Bench) -> None:
    first = plan(volumes("vda", "vdb"), machine.inventory())
    agrees(machine.does(first, then=write_data(first)), first)
    second = plan(volumes("vda", "vdb", "vdc"), machine.inventory())
    [group] = second.groups
    assert group.kept
    assert group.devices[2] == "/dev/vdc3"
    agrees(machine.does(second), second)
    has_data(machine, second)


def test_all_levels_are_made_with_their_spares(machine: Bench) -> None:
    wanted = plan(levels(), machine.inventory())
    agrees(machine.does(wanted), wanted)
    found = {array.name: array for array in machine.inventory().arrays}
    assert {name: (array.level, array.state, array.spares, array.filesystem_uuid) for name, array in found.items()} == {
        each.name: (f"raid{each.level.value}", ArrayState.WHOLE, each.spares, each.filesystem_uuid) for each in wanted.arrays
    }
    assert {name: set(array.members) for name, array in found.items()} == {each.name: set(each.devices) for each in wanted.arrays}


@pytest.mark.full
def test_the_plug_can_be_pulled_anywhere(machine: Bench) -> None:
    answer = volumes_on_a_mirror()
    empty = machine.inventory()
    for step in itertools.count(1):
        machine.empty("vda", "vdb")
        if not machine.is_cut_off(plan(answer, empty), step):
            break
        assert not plan(answer, machine.inventory()).root.kept, f"cut off before step {step}, it begins anew"
    machine.empty("vda", "vdb")
    first = plan(answer, machine.inventory())
    machine.does(first, then=write_data(first))
    for step in itertools.count(1):
        if not machine.is_cut_off(plan(answer, machine.inventory()), step):
            break
        again = plan(answer, machine.inventory())
        assert sum(each.kept for each in again.volumes) == 2
        agrees(machine.does(again), again)
        has_data(machine, again)
