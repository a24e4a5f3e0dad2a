"""Placing an answer: what an answer may be, and that no partition is ever where it must not be."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bootserver.install.inventory import Disk, ExistingPartition, FirmwareKind
from bootserver.install.partition import default, place
from bootserver.install.partition.check import LayoutRefused, is_mount_point
from bootserver.install.partition.model import MIB, Answer, DiskAnswer, FileSystem, Partition, Role, is_data
from bootserver.install.partition.plan import DiskPlan
from bootserver.install.partition.summary import summary
from tests.disks import GB, after, disk, machine, there, uuids

EXT4, XFS = FileSystem.EXT4, FileSystem.XFS
ROOT = Partition.mounted("/", EXT4, 5000)
BIOS = Partition.bios_boot()


def answer(*partitions: Partition, on: str = "vda") -> Answer:
    return Answer((DiskAnswer(on, partitions),))


# -- answers that make no sense ------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Answer, str]] = {
    "no root": (answer(BIOS, Partition.mounted("/var", EXT4, 100)), "the layout has no partition for /"),
    "two roots": (answer(BIOS, ROOT, ROOT), "the layout has the mount point / 2 times"),
    "/var twice": (
        answer(BIOS, ROOT, Partition.mounted("/var", EXT4, 100), Partition.mounted("/var", XFS, 500)),
        "the layout has the mount point /var 2 times",
    ),
    "a disk twice": (Answer((DiskAnswer("vda", (BIOS, ROOT)), DiskAnswer("vda", ()))), "the layout has the disk vda 2 times"),
    "no such disk": (answer(BIOS, ROOT, on="sda"), "the layout wants disk sda, and the machine has vda"),
    "no BIOS boot": (answer(ROOT), "the layout needs one BIOS boot partition on the disk of /"),
    "too large": (answer(BIOS, replace(ROOT, size=30000)), "disk too small: vda .* has 20.0 GB, the layout needs 29.3 GB"),
    "nothing left to grow in": (answer(BIOS, ROOT, Partition.mounted("/a", EXT4, 15600, grow=True)), "disk too small"),
    "root on FAT": (answer(BIOS, Partition.mounted("/", FileSystem.VFAT, 500)), "/ can't be vfat"),
    "tiny XFS": (answer(BIOS, ROOT, Partition.mounted("/var", XFS, 200)), "/var has 200 MB, and xfs needs 300 MB"),
    "nothing": (answer(BIOS, ROOT, Partition.mounted("/var", EXT4, 0)), "/var can't have 0 to 0 MB"),
    "2**80 MB": (answer(BIOS, ROOT, Partition.mounted("/var", EXT4, 1 << 80)), "/var can't have"),
    "kept root": (answer(BIOS, replace(ROOT, keep=True)), "/ can't be kept: an install makes it anew"),
    "kept swap": (answer(BIOS, ROOT, replace(Partition.swap(10), keep=True)), "swap can't be kept"),
    "mounted swap": (answer(BIOS, ROOT, replace(Partition.swap(10), mount_point="/swap")), "/swap can't be swap"),
    "no file system": (answer(BIOS, ROOT, Partition(Role.LINUX, 10, None, "/a")), "/a can't be without a file system"),
    "/etc": (answer(BIOS, ROOT, Partition.mounted("/etc", EXT4, 100)), "/etc can't be on a partition of its own"),
    "/dev/shm": (answer(BIOS, ROOT, Partition.mounted("/dev/shm", EXT4, 100)), "/dev/shm can't be on a partition of its own"),
}


@pytest.mark.parametrize(("wrong", "said"), WRONG.values(), ids=WRONG.keys())
def test_an_answer_that_makes_no_sense_is_refused(wrong: Answer, said: str) -> None:
    with pytest.raises(LayoutRefused, match=said):
        place.place(wrong, machine(disk("vda", 20)))


def test_uefi_needs_an_efi_system_partition_that_is_mounted() -> None:
    uefi = machine(disk("vda", 20), firmware=FirmwareKind.UEFI)
    for wrong in (answer(BIOS, ROOT), answer(Partition.esp(256, mounted=False), ROOT)):
        with pytest.raises(LayoutRefused, match="needs one EFI system partition that is mounted"):
            place.place(wrong, uefi)
    assert place.place(answer(Partition.esp(256, mounted=True), ROOT), uefi).esp is not None


@pytest.mark.parametrize(
    "text",
    ["", "var", "//", "/var/", "/var//log", "/..", "/state/../etc", "/.", "/a b", "/a\nb", "/a;b", "/$x", "/é", "/" + "a" * 36],
)
def test_only_clean_absolute_paths_are_mount_points(text: str) -> None:
    assert not is_mount_point(text)
    with pytest.raises(LayoutRefused, match="is no mount point"):
        place.place(answer(BIOS, ROOT, Partition.mounted(text, EXT4, 100)), machine(disk("vda", 20)))


# -- data of others' answers ---------------------------------------------------------------------------------------

OLD = disk("vda", 40, there(1, "/state/partition1", 30, 9), there(2, "/home", 1, 5, "xfs"))


def test_a_program_that_forgets_data_is_refused() -> None:
    with pytest.raises(
        LayoutRefused, match=r"vda .* holds /state/partition1 \(9\.0 GB\), which the layout does not keep: --wipe"
    ):
        place.place(answer(BIOS, ROOT), machine(OLD))
    assert place.place(answer(BIOS, ROOT), machine(OLD), wipe=True).partitions[-1].name == "/"


def test_a_program_that_wants_data_on_another_disk_is_refused() -> None:
    wanted = Answer((DiskAnswer("vdb", (BIOS, ROOT, Partition.mounted("/state/partition1", EXT4, 100))),))
    with pytest.raises(LayoutRefused, match="/state/partition1 is on vda, the layout wants it on vdb"):
        place.place(wanted, machine(OLD, disk("vdb", 20)))


def test_what_a_program_wants_kept_is_kept_and_what_it_does_not_is_not() -> None:
    state = Partition.mounted("/state/partition1", XFS, 100)
    home = Partition.mounted("/home", EXT4, 300)
    kept = place.place(answer(BIOS, ROOT, state, replace(home, keep=True)), machine(OLD))
    assert {part.name: (part.kept, part.filesystem) for part in kept.partitions} == {
        "bios": (False, ""), "/": (False, "ext4"), "/state/partition1": (True, "ext4"), "/home": (True, "xfs"),
    }  # fmt: skip
    anew = place.place(answer(BIOS, ROOT, state, home), machine(OLD))
    assert {part.name: part.kept for part in anew.partitions}["/home"] is False


def test_kept_data_that_overlap_are_refused() -> None:
    overlapping = disk("vda", 40, there(1, "/state/a", 20, 9), there(2, "/state/b", 25, 9))
    wanted = answer(BIOS, ROOT, Partition.mounted("/state/a", EXT4), Partition.mounted("/state/b", EXT4))
    with pytest.raises(LayoutRefused, match="/state/a and /state/b overlap"):
        place.place(wanted, machine(overlapping))


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": 0},
        {"size": 0},
        {"size": 90 * GB},
        {"start": 513},
        {"uuid": ""},
        {"type": 'x, name="y"'},
        {"filesystem_uuid": "a b"},
    ],
)
def test_kept_data_whose_place_makes_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    broken = disk("vda", 40, replace(there(1, "/state/a", 20, 9), **wrong))
    with pytest.raises(LayoutRefused, match="/state/a on vda1 can't be kept"):
        place.place(answer(BIOS, ROOT, Partition.mounted("/state/a", EXT4)), machine(broken))


# -- places --------------------------------------------------------------------------------------------------------


def test_partitions_that_grow_share_what_is_left_above_their_least() -> None:
    growing = [Partition.mounted(f"/{name}", EXT4, size, grow=True) for name, size in (("a", 100), ("b", 100), ("c", 9000))]
    plan = place.place(answer(BIOS, ROOT, *growing), machine(disk("vda", 20)))
    sizes = {part.name: part.size // MIB for part in plan.partitions}
    left = 20 * 1024 - 1 - 1 - 1 - 5000
    assert sizes["/c"] == 9000
    assert sizes["/a"] + sizes["/b"] == left - 9000
    assert abs(sizes["/a"] - sizes["/b"]) <= 1


def test_a_hole_is_filled_by_what_fits_it_even_when_the_order_does_not() -> None:
    holes = disk("vda", 30, there(1, "/state/a", 3, 17), there(2, "/state/b", 27, 3 - 0.01))
    wanted = [BIOS, Partition.mounted("/var", EXT4, 2500), Partition.mounted("/", EXT4, 7000), Partition.swap(400)]
    kept = [Partition.mounted("/state/a", EXT4), Partition.mounted("/state/b", EXT4)]
    plan = place.place(answer(*wanted, *kept), machine(holes))
    assert plan.below(plan.root)[0].start == 20 * GB


def test_numbers_of_kept_partitions_are_not_given_out() -> None:
    old = disk("nvme0n1", 40, there(2, "/state/a", 20, 9, disk="nvme0n1"))
    plan = place.place(answer(BIOS, ROOT, Partition.mounted("/state/a", EXT4), on="nvme0n1"), machine(old))
    assert [(part.number, part.device) for part in plan.partitions] == [(1, "nvme0n1p1"), (3, "nvme0n1p3"), (2, "nvme0n1p2")]


def test_the_same_inventory_and_uuids_give_the_same_plan() -> None:
    inventory = machine(disk("vda", 20), disk("vdb", 30))
    one, other = (place.place(default.layout(inventory, image_size=0), inventory, new_uuid=uuids()) for _ in range(2))
    assert one == other
    assert len({part.uuid for part in one.partitions}) == len(one.partitions)


SIZES = st.floats(1, 60) | st.floats(60, 20_000)
NAMES = st.sampled_from(["/state/partition1", "/state/partition2", "/state/x", "/", "/var", "swap", "unfinished", "Windows", ""])


@st.composite
def disks(draw: st.DrawFn) -> tuple[Disk, ...]:
    """Up to four disks with whatever on them, never the same data twice."""
    found: list[Disk] = []
    used: set[str] = set()
    for index in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from([f"vd{'abcd'[index]}", f"nvme{index}n1"]))
        sector = draw(st.sampled_from([512, 4096]))
        size = int(draw(SIZES) * GB) // sector * sector
        parts: list[ExistingPartition] = []
        position = draw(st.integers(34, 5000)) * sector
        for number in draw(st.lists(st.integers(1, 12), unique=True, max_size=5)):
            label = draw(NAMES)
            length = draw(st.integers(1, 3 * size // sector // 4)) * sector
            if (is_data(label) and label in used) or position + length > size - 34 * sector:
                continue
            used.add(label)
            part = there(number, label, 0, 0, draw(st.sampled_from(["ext4", "xfs"])), disk=name)
            parts.append(replace(part, start=position, size=length))
            position += length + draw(st.integers(0, 1 << 22)) // sector * sector
        made = disk(name, 0, *sorted(parts, key=lambda part: part.number), slot=index, sector_size=sector)
        found.append(replace(made, size=size))
    return tuple(found)


def check_disk(each: DiskPlan) -> None:
    sector, parts = each.disk.sector_size, each.partitions
    for part in parts:
        assert part.start % sector == 0
        assert part.size % sector == 0
        assert part.size > 0
        assert part.start >= 34 * sector
        assert part.end <= each.disk.size - 33 * sector
        if not part.kept:
            assert part.start % MIB == part.size % MIB == 0
    for one, other in pairwise(parts):
        assert one.end <= other.start
    assert len({part.number for part in parts}) == len(parts)


@given(disks=disks(), firmware=st.sampled_from(FirmwareKind), wipe=st.booleans(), image=st.floats(0, 30))
def test_whatever_is_there_nothing_overlaps_and_no_data_go(
    disks: tuple[Disk, ...], firmware: FirmwareKind, wipe: bool, image: float
) -> None:
    inventory = machine(*disks, firmware=firmware)
    try:
        answer = default.layout(inventory, image_size=int(image * GB), wipe=wipe)
    except LayoutRefused:
        return
    plan = place.place(answer, inventory, wipe=wipe, new_uuid=uuids())
    for each in plan.disks:
        check_disk(each)
    there_before = {part.uuid: part for each in disks for part in each.partitions if is_data(part.label)}
    kept = {part.uuid: part for part in plan.partitions if part.kept}
    assert kept.keys() == (set() if wipe else there_before.keys())
    for uuid, part in kept.items():
        old = there_before[uuid]
        assert (part.start, part.size, part.number, part.name, part.filesystem_uuid) == (
            old.start, old.size, old.number, old.label, old.filesystem_uuid,
        )  # fmt: skip
    points = [part.mount_point for part in plan.partitions if part.mount_point]
    assert len(points) == len(set(points))
    assert summary(plan).count("kept\n") == len(kept)
    # And once more, on what comes of it: nothing moves.
    assume(not wipe)
    left = [each for each in disks if each.name not in {done.disk.name for done in plan.disks}]
    again = machine(*sorted([*after(plan), *left], key=lambda each: each.slot), firmware=firmware)
    second = place.place(default.layout(again, image_size=int(image * GB)), again, new_uuid=uuids())
    assert {(part.device, part.start, part.size, part.name) for part in plan.partitions if part.is_data} == {
        (part.device, part.start, part.size, part.name) for part in second.partitions if part.is_data
    }
    assert second.root_disk.disk.name == plan.root_disk.disk.name


@given(st.data())
def test_answers_of_any_size_fit_or_are_refused(data: st.DataObject) -> None:
    sizes = st.integers(1, 6000)
    partitions = [BIOS, replace(ROOT, size=data.draw(sizes) + 16, least=data.draw(st.none() | st.integers(17, 6000)))]
    partitions += [
        Partition.mounted(f"/data{number}", EXT4, data.draw(sizes) + 16, grow=data.draw(st.booleans()))
        for number in range(data.draw(st.integers(0, 5)))
    ]
    old = [there(9, "/state/a", data.draw(st.floats(0.1, 12)), 3)] if data.draw(st.booleans()) else []
    kept = [Partition.mounted("/state/a", EXT4)] if old else []
    inventory = machine(disk("vda", data.draw(st.floats(16, 24)), *old))
    try:
        plan = place.place(answer(*partitions, *kept), inventory)
    except LayoutRefused:
        wanted = sum(each.minimum for each in partitions)
        assert old or wanted > 15 * 1024, "it is refused, and there is room"
        return
    [each] = plan.disks
    check_disk(each)
    for wanted_one in partitions:
        [placed] = [part for part in plan.partitions if part.name == wanted_one.name]
        assert placed.size // MIB >= wanted_one.minimum
        assert wanted_one.grow or placed.size // MIB <= wanted_one.size
