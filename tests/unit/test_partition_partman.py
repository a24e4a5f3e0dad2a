"""What debian-installer is told: debconf takes it, partman's own rules make the plan of it, and what can't be is refused."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.install.inventory import FirmwareKind
from bootserver.install.partition import partman
from bootserver.install.partition.check import LayoutRefused
from bootserver.install.partition.model import (
    MIB,
    Answer,
    FileSystem,
    LogicalVolume,
    Partition,
    Raid,
    RaidLevel,
    VolumeGroup,
)
from bootserver.install.partition.space import end_of
from tests.disks import disk, machine
from tests.golden import golden
from tests.layouts import LAYOUTS, VOLUMES, Layout, boot, data, on, rocks

EXT4, XFS = FileSystem.EXT4, FileSystem.XFS
BIOS = FirmwareKind.BIOS
REFUSED = {"two-disks-kept", "kept-stack"}
TOLD = [name for name in LAYOUTS if name not in REFUSED]


def told(layout: Layout) -> dict[str, str]:
    """Answers by question."""
    found = {}
    for line in partman.recipe(layout.answer, layout.plan).splitlines():
        owner, name, kind, value = line.split(" ", 3)
        assert (owner, kind in ("string", "boolean", "select")) == ("d-i", True)
        assert name not in found
        found[name] = value
    return found


@dataclass(frozen=True, slots=True)
class Stanza:
    least: int
    priority: int
    most: int
    kind: str
    specifiers: dict[str, str]


def stanzas(recipe: str) -> list[Stanza]:
    """As ``decode_recipe`` splits it: words, up to one that is a dot."""
    name, rest = recipe.split(" :: ")
    assert name == "bootserver"
    found, words = [], []
    for each in rest.split():
        if each != ".":
            words.append(each)
            continue
        least, priority, most, kind, *more = words
        specifiers = dict(re.findall(r"(\S+)\{ (?:(\S+) )?\}", " ".join(more)))
        assert len(specifiers) == " ".join(more).count("{")
        found.append(Stanza(int(least), int(priority), int(most), kind, specifiers))
        words = []
    assert not words
    return found


def sizes(wanted: list[Stanza], free: int) -> list[int]:
    """What partman makes of it: partman-auto-recipe.txt, section 6. :param free: bytes. :returns: MB of 10**6."""
    room = free // 10**6
    least = [each.least for each in wanted]
    most = [each.most if each.most >= 0 else 1 << 60 for each in wanted]
    assert sum(least) <= room, "partman would take a recipe of its own"
    factors = [max(each.priority, each.least) - each.least for each in wanted]
    while True:
        left, total = room - sum(least), sum(factors) or 100
        new = [min(size + left * factor // total, limit) for size, factor, limit in zip(least, factors, most, strict=True)]
        if new == least:
            break
        factors = [0 if size == limit else factor for size, factor, limit in zip(new, factors, most, strict=True)]
        least = new
    least[-1] = room - sum(least[:-1])  # the last is made of all that is free
    return least


@pytest.mark.parametrize("name", TOLD)
def test_what_debian_installer_is_told_is_as_reviewed(name: str) -> None:
    golden(f"{name}.preseed", partman.recipe(LAYOUTS[name].answer, LAYOUTS[name].plan))


@pytest.mark.parametrize("name", TOLD)
def test_debconf_takes_it(name: str, tmp_path: Path) -> None:
    if shutil.which("debconf-set-selections") is None:
        pytest.skip("needs debconf-set-selections (package debconf)")
    file = tmp_path / "preseed"
    file.write_text(partman.recipe(LAYOUTS[name].answer, LAYOUTS[name].plan))
    done = subprocess.run(["debconf-set-selections", "-c", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", TOLD)
def test_partman_makes_the_partitions_of_the_plan(name: str) -> None:
    """By partman's own rules each becomes as large as it is planned, but for its rounding to MB of 10**6."""
    layout = LAYOUTS[name]
    answers = told(layout)
    disks = answers["partman-auto/disk"].split()
    for planned in layout.plan.disks:
        if planned.disk.node not in disks:
            continue
        wanted = [
            each
            for each in stanzas(answers["partman-auto/expert_recipe"])
            if "$lvmok" not in each.specifiers and each.specifiers.get("device", planned.disk.node) == planned.disk.node
        ]
        made = sizes(wanted, end_of(planned.disk) - MIB)
        parts = sorted(planned.partitions, key=lambda part: part.number)
        for part, size in zip(parts, made, strict=False):
            assert abs(part.size - size * 10**6) <= 2 * len(parts) * 10**6
        assert len(made) - len(parts) == (1 if name == "data-disk-kept" else 0)  # what is left over, unused


def test_the_parts_of_a_system_are_what_they_are_for() -> None:
    found = stanzas(told(LAYOUTS["single-uefi"])["partman-auto/expert_recipe"])
    assert [each.specifiers.get("method") for each in found] == ["biosgrub", "efi", "format", "format", "swap", "format"]
    assert [each.specifiers.get("mountpoint") for each in found] == [None, None, "/", "/var", None, "/state/partition1"]
    assert [each.specifiers.get("filesystem") for each in found] == [None, None, "xfs", "xfs", None, "xfs"]
    assert "options/nofail" in found[-1].specifiers
    bios = stanzas(told(LAYOUTS["single-bios"])["partman-auto/expert_recipe"])
    assert [each.specifiers.get("method") for each in bios[:2]] == ["biosgrub", "keep"]


def test_the_boot_loader_goes_on_each_disk_of_a_mirror() -> None:
    assert told(LAYOUTS["mirrored-bios"])["grub-installer/bootdev"] == "/dev/sda /dev/sdb"
    uefi = told(LAYOUTS["mirrored-uefi"])
    assert "grub-installer/bootdev" not in uefi
    assert uefi["partman-efi/non_efi_system"] == "true"


def test_spares_are_told_apart() -> None:
    members = [Partition.raid("root", 8000), Partition.raid("d", 1000, grow=True)]
    disks = [disk(name, 40, slot=slot) for slot, name in enumerate(("sda", "sdb", "sdc"))]
    raids = (Raid("root", RaidLevel.RAID1, EXT4, "/", spares=1), Raid("d", RaidLevel.RAID5, EXT4, "/srv"))
    layout = Layout(machine(*disks), Answer(tuple(on(each.name, *boot(BIOS), *members) for each in disks), raids))
    assert told(layout)["partman-auto-raid/recipe"] == (
        "1 2 1 ext4 / /dev/sda3#/dev/sdb3 /dev/sdc3 . 5 3 0 ext4 /srv /dev/sda4#/dev/sdb4#/dev/sdc4 ."
    )


def test_a_group_on_two_disks_is_told_by_device() -> None:
    parts = [*boot(BIOS), Partition.mounted("/boot", EXT4, 1024), Partition.lvm("system", 512, grow=True)]
    answer = Answer(
        (on("sda", *parts), on("sdb", Partition.lvm("system", 512, grow=True))), groups=(VolumeGroup("system", VOLUMES),)
    )
    layout = Layout(machine(disk("sda", 40), disk("sdb", 40, slot=1)), answer)
    found = stanzas(told(layout)["partman-auto/expert_recipe"])
    assert [each.specifiers["device"] for each in found if each.specifiers.get("vg_name") == "system"] == ["/dev/sda", "/dev/sdb"]
    assert [each.specifiers["lv_name"] for each in found if "$lvmok" in each.specifiers][-1] == "state_partition1"


def test_what_a_group_leaves_over_is_a_volume_of_its_own() -> None:
    parts = [*boot(BIOS), Partition.mounted("/boot", EXT4, 1024), Partition.lvm("system", 512, grow=True)]
    volumes = (LogicalVolume("root", 8000, XFS, "/"),)
    layout = Layout(machine(disk("sda", 40)), Answer((on("sda", *parts),), groups=(VolumeGroup("system", volumes),)))
    last = stanzas(told(layout)["partman-auto/expert_recipe"])[-1]
    assert (last.most, last.specifiers["lv_name"], last.specifiers["method"]) == (-1, "unused", "keep")


def two(*second: Partition, raids: tuple[Raid, ...] = (), groups: tuple[VolumeGroup, ...] = ()) -> Layout:
    return Layout(
        machine(disk("sda", 40), disk("sdb", 40, slot=1)),
        Answer((on("sda", *rocks(), data()), on("sdb", *second)), raids, groups),
    )


def mirror(*second: Partition, beside: bool = False) -> Layout:
    """``/`` on two disks. :param second: what only the second has more. :param beside: each has a partition of its own."""
    root = Partition.raid("root", 8000)
    own = {name: [Partition.mounted(f"/x{name}", EXT4, 50)] if beside else [] for name in ("sda", "sdb")}
    disks = (on("sda", *boot(BIOS), root, *own["sda"]), on("sdb", *boot(BIOS), *second, root, *own["sdb"]))
    return Layout(machine(disk("sda", 40), disk("sdb", 40, slot=1)), Answer(disks, (Raid("root", RaidLevel.RAID1, EXT4, "/"),)))


CANT = {
    "kept": (LAYOUTS["two-disks-kept"], r"makes the partition table of vda \(.*\) anew and can't keep /state/partition1 on it"),
    "kept array": (LAYOUTS["kept-stack"], "makes the partition table of sda .* can't keep raid state_partition1 on it"),
    "two disks": (two(Partition.mounted("/srv", EXT4, 500)), "partitions several disks only with RAID or LVM.* on sda and sdb"),
    "unlike disks": (mirror(Partition.swap(9)), "makes all disks alike where there is RAID, and sda and sdb have to differ"),
    "beside RAID": (mirror(beside=True), "makes all disks alike where there is RAID, so that /xsda can't be on a partition"),
    "striped data": (
        Layout(
            machine(disk("sda", 40), disk("sdb", 40, slot=1), disk("sdc", 40, slot=2)),
            Answer(
                (on("sda", *rocks()), *(on(name, Partition.raid("state_data", 512, grow=True)) for name in ("sdb", "sdc"))),
                (Raid("state_data", RaidLevel.RAID0, XFS, "/state/data"),),
            ),
        ),
        "makes all disks alike where there is RAID, and sda and sdb have to differ",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("layout", "said"), CANT.values(), ids=CANT.keys())
def test_what_debian_installer_can_not_be_told_is_refused_with_a_way_out(layout: Layout, said: str) -> None:
    with pytest.raises(LayoutRefused, match=f"debian-installer {said}.*: install an image, "):
        partman.recipe(layout.answer, layout.plan)


HOSTILE = st.text(min_size=1, max_size=20) | st.sampled_from(
    ["x\nd-i a/b string c", "x } mountpoint{ /y", "x .", ". 1 2 3 ext4 .", "\\", "x#y", "{ }", "/a b", "$(reboot)"]
)


@given(HOSTILE, st.sampled_from(["mount point", "volume", "group", "disk"]))
def test_no_name_can_become_anything_else(name: str, what: str) -> None:
    plain = LAYOUTS["lvm"]
    expected = partman.recipe(plain.answer, plain.plan)
    answer, plan = plain.answer, plain.plan
    match what:
        case "mount point":
            first = replace(plan.groups[0].volumes[0], mount_point=name)
            plan = replace(plan, groups=(replace(plan.groups[0], volumes=(first, *plan.groups[0].volumes[1:])),))
        case "volume":
            first, *others = plan.groups[0].volumes
            plan = replace(plan, groups=(replace(plan.groups[0], volumes=(replace(first, name=name), *others)),))
            renamed = replace(answer.groups[0].volumes[0], name=name)
            answer = replace(answer, groups=(VolumeGroup("system", (renamed, *answer.groups[0].volumes[1:])),))
        case "group":
            plan = replace(plan, groups=(replace(plan.groups[0], name=name),))
            answer = replace(answer, groups=(replace(answer.groups[0], name=name),))
        case "disk":
            answer = replace(answer, disks=(replace(answer.disks[0], disk=name),))
            plan = replace(plan, disks=tuple(replace(each, disk=replace(each.disk, name=name)) for each in plan.disks))
    try:
        text = partman.recipe(answer, plan)
    except LayoutRefused:
        return
    words = [line.split(" ") for line in text.splitlines()]
    assert [len(each) for each in words] == [len(line.split(" ")) for line in expected.splitlines()]
    assert [each[:3] for each in words] == [line.split(" ")[:3] for line in expected.splitlines()]
    assert text.count("{") == expected.count("{")
