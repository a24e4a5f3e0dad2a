"""The default layout on all kinds of machines: what goes where, what stays, what is refused."""

from __future__ import annotations

import pytest

from bootserver.install.inventory import Disk, FirmwareKind, Inventory, LeftOut
from bootserver.install.partition import default, place
from bootserver.install.partition.check import LayoutRefused
from bootserver.install.partition.model import UNFINISHED
from bootserver.install.partition.plan import Plan
from tests.disks import GB, after, array, by_number, disk, group, machine, member, there, volume


def plan(inventory: Inventory, *, wipe: bool = False, image: float = 1, filesystem: str = "ext4") -> Plan:
    answer = default.layout(inventory, image_size=int(image * GB), filesystem=filesystem, wipe=wipe)
    return place.place(answer, inventory, wipe=wipe)


def seen(plan: Plan) -> dict[str, list[str]]:
    """What each disk holds then, kept things in brackets."""
    return {
        each.disk.name: [f"[{part.name}]" if part.kept else part.name for part in by_number(each.partitions)]
        for each in plan.disks
    }


SYSTEM = ["bios", "esp", "/", "/var", "swap"]


# -- a bare machine -----------------------------------------------------------------------------------------------

BARE: dict[str, tuple[list[Disk], dict[str, list[str]]]] = {
    "one": ([disk("vda")], {"vda": [*SYSTEM, "/state/partition1"]}),
    "two": ([disk("sda"), disk("sdb", 100)], {"sda": [*SYSTEM, "/state/partition1"], "sdb": ["/state/partition2"]}),
    "NVMe": ([disk("nvme0n1", 400)], {"nvme0n1": [*SYSTEM, "/state/partition1"]}),
    "24": (
        [disk(f"sd{letter}", 4000) for letter in "abcdefghijklmnopqrstuvwx"],
        {"sda": [*SYSTEM, "/state/partition1"]}
        | {f"sd{letter}": [f"/state/partition{number}"] for number, letter in enumerate("bcdefghijklmnopqrstuvwx", 2)},
    ),
    "the first too small": (
        [disk("sda", 4), disk("sdb", 100)],
        {"sdb": [*SYSTEM, "/state/partition1"], "sda": ["/state/partition2"]},
    ),
    "a tiny one beside": ([disk("vda"), disk("vdb", 0.25)], {"vda": [*SYSTEM, "/state/partition1"]}),
    "another's system": (
        [disk("vda", table="dos"), disk("vdb", 20, there(1, "Basic data partition", 0.1, 19, "ntfs", disk="vdb"))],
        {"vda": [*SYSTEM, "/state/partition1"], "vdb": ["/state/partition2"]},
    ),
    "RAID on whole disks": (
        [disk("vda", filesystem="linux_raid_member"), disk("vdb", filesystem="LVM2_member")],
        {"vda": [*SYSTEM, "/state/partition1"], "vdb": ["/state/partition2"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("firmware", FirmwareKind)
@pytest.mark.parametrize(("disks", "expected"), BARE.values(), ids=BARE.keys())
def test_a_bare_machine_gets_rocks_layout(disks: list[Disk], expected: dict[str, list[str]], firmware: FirmwareKind) -> None:
    assert seen(plan(machine(*disks, firmware=firmware))) == expected


def test_sizes_are_those_of_rocks_and_the_rest_is_data() -> None:
    found = plan(machine(disk("vda", 20)))
    sizes = {part.name: part.size >> 20 for part in found.partitions}
    assert sizes == {"bios": 1, "esp": 256, "/": 8000, "/var": 4000, "swap": 1000, "/state/partition1": 20 * 1024 - 1 - 1 - 13257}
    assert {part.name: part.filesystem for part in found.partitions} == {
        "bios": "", "esp": "vfat", "/": "ext4", "/var": "ext4", "swap": "swap", "/state/partition1": "ext4",
    }  # fmt: skip


def test_a_large_image_gets_a_larger_root() -> None:
    assert plan(machine(disk("vda", 100)), image=20).root.size == 30 * GB


def test_all_file_systems_can_be_xfs() -> None:
    found = plan(machine(disk("vda"), disk("vdb")), filesystem="xfs")
    assert {part.name for part in found.partitions if part.filesystem == "xfs"} == {
        "/", "/var", "/state/partition1", "/state/partition2",
    }  # fmt: skip


def test_who_starts_the_machine_decides_what_gets_the_boot_loader() -> None:
    bios, uefi = (plan(machine(disk("nvme0n1"), disk("sda"), firmware=firmware)) for firmware in FirmwareKind)
    assert (bios.bios_disks, bios.esp) == (("/dev/nvme0n1",), None)
    assert "/boot/efi" not in [part.mount_point for part in bios.mounted]
    assert uefi.bios_disks == ()
    assert uefi.esp is not None
    assert (uefi.esp.disk, uefi.esp.number, uefi.esp.device) == ("/dev/nvme0n1", 2, "/dev/nvme0n1p2")
    assert [part.mount_point for part in uefi.mounted][:2] == ["/", "/boot/efi"]


def test_fat32_on_sectors_of_4096_bytes_has_enough_clusters_to_be_one() -> None:
    found = plan(machine(disk("nvme0n1", 100, sector_size=4096), firmware=FirmwareKind.UEFI))
    [esp] = [part for part in found.partitions if part.is_esp]
    assert esp.size / 4096 > 65525 + 200  # what the FATs themselves take


# -- a reinstall ---------------------------------------------------------------------------------------------------


def test_a_reinstall_keeps_data_and_puts_the_system_where_it_was() -> None:
    first = plan(machine(disk("vda", 50), disk("vdb", 30, slot=1)))
    second = plan(machine(*after(first)))
    assert seen(second) == {"vda": [*SYSTEM, "[/state/partition1]"], "vdb": ["[/state/partition2]"]}
    for old, new in zip(first.partitions, second.partitions, strict=True):
        assert (old.device, old.start, old.size) == (new.device, new.start, new.size)
        assert (old.filesystem_uuid == new.filesystem_uuid) == old.is_data or not old.filesystem
    assert [each.is_written for each in second.disks] == [True, False]


def test_other_names_for_the_same_disks_change_nothing() -> None:
    first = plan(machine(disk("sda", 50), disk("sdb", 30, slot=1)))
    second = plan(machine(*after(first, {"sda": "sdb", "sdb": "sda"})))
    assert seen(second) == {"sdb": [*SYSTEM, "[/state/partition1]"], "sda": ["[/state/partition2]"]}


def test_a_machine_that_changed_from_bios_to_uefi_keeps_its_data() -> None:
    first = plan(machine(disk("vda", 50)))
    second = plan(machine(*after(first), firmware=FirmwareKind.UEFI))
    assert seen(second) == {"vda": [*SYSTEM, "[/state/partition1]"]}


def test_a_new_disk_before_the_old_ones_takes_neither_system_nor_number() -> None:
    first = plan(machine(disk("vdb", 50, slot=2), disk("vdc", 30, slot=3)))
    second = plan(machine(disk("vda", 50, slot=1), *after(first)))
    assert seen(second) == {"vdb": [*SYSTEM, "[/state/partition1]"], "vda": ["/state/partition3"], "vdc": ["[/state/partition2]"]}


def test_a_new_system_disk_leaves_the_old_data_disk_its_data() -> None:
    first = plan(machine(disk("vda", 50), disk("vdb", 30, slot=1)))
    second = plan(machine(disk("vda", 40), after(first)[1]))
    assert seen(second) == {"vda": [*SYSTEM, "/state/partition1"], "vdb": ["[/state/partition2]"]}


def test_a_disk_that_is_gone_leaves_its_number_to_the_next() -> None:
    first = plan(machine(disk("vda", 50), disk("vdb", 30, slot=1), disk("vdc", 30, slot=2)))
    system, _, last = after(first)
    assert seen(plan(machine(system, last))) == {"vda": [*SYSTEM, "[/state/partition1]"], "vdc": ["[/state/partition3]"]}
    new = disk("vdb", 70, slot=4)
    assert seen(plan(machine(system, last, new)))["vdb"] == ["/state/partition2"]


def test_a_disk_that_somebody_put_to_use_later_is_left_alone() -> None:
    first = plan(machine(disk("vda", 50)))
    scratch = disk("vdb", 30, there(1, "scratch", 0.1, 29, "xfs", disk="vdb"))
    assert seen(plan(machine(*after(first), scratch))) == {"vda": [*SYSTEM, "[/state/partition1]"]}
    assert seen(plan(machine(*after(first), scratch), wipe=True)) == {
        "vda": [*SYSTEM, "/state/partition1"],
        "vdb": ["/state/partition2"],
    }


def test_what_an_install_did_not_finish_is_nobodys() -> None:
    half = disk("vdb", 30, there(1, UNFINISHED, 0.1, 29, "", disk="vdb"))
    first = plan(machine(disk("vda", 50)))
    assert seen(plan(machine(*after(first), half)))["vdb"] == ["/state/partition2"]
    # Nothing of ours is finished, so that it still is a first install, and another's disk is taken, too.
    other = disk("vdc", 30, there(1, "Windows", 0.1, 29, "ntfs", disk="vdc"))
    assert list(seen(plan(machine(disk("vda", 50), half, other)))) == ["vda", "vdb", "vdc"]


def test_data_in_several_partitions_of_a_disk_stay() -> None:
    data = disk(
        "vdb", 30, there(3, "/state/partition7", 1, 9, disk="vdb"), there(1, "/state/home", 10, 9, "xfs", disk="vdb"), slot=1
    )
    assert seen(plan(machine(disk("vda"), data))) == {
        "vda": [*SYSTEM, "/state/partition1"],
        "vdb": ["[/state/home]", "[/state/partition7]"],
    }


def test_a_root_that_grew_with_its_image_takes_what_is_there_before_data_would_have_to_go() -> None:
    first = plan(machine(disk("vda", 50)), image=6)
    assert first.root.size == 9 * GB
    second = plan(machine(*after(first)), image=7)
    assert second.root.size == 9 * GB
    assert second.below(second.root)[0].start == first.below(first.root)[0].start
    with pytest.raises(LayoutRefused, match=r"no room for the system: .* beside /state/partition1 .*--wipe"):
        plan(machine(*after(first)), image=9)


def test_a_machine_whose_system_was_on_raid_is_one_of_ours() -> None:
    """What another program of ours made is taken over, and a disk that somebody put to use since is not."""
    mirrored = [disk(name, 30, member(1, "raid root", 1, 9, disk=name), slot=slot) for slot, name in enumerate(("vda", "vdb"))]
    foreign = disk("vdc", 30, there(1, "mine", 1, 9, disk="vdc"), slot=2)
    assert seen(plan(machine(*mirrored, foreign))) == {"vda": [*SYSTEM, "/state/partition1"], "vdb": ["/state/partition2"]}


def test_numbers_of_data_on_arrays_and_volumes_are_taken() -> None:
    data = machine(
        disk("vda", 30),
        arrays=[array("state_partition1", "sdx1")],
        groups=[group("x", ["/dev/sdy1"], volume("state_partition2"))],
    )
    assert seen(plan(data)) == {"vda": [*SYSTEM, "/state/partition3"]}


def test_wipe_makes_all_of_it_anew() -> None:
    first = plan(machine(disk("vda", 50), disk("vdb", 30, slot=1)))
    second = plan(machine(disk("vdz", 50), *after(first)), wipe=True)
    assert seen(second) == {"vdz": [*SYSTEM, "/state/partition1"], "vda": ["/state/partition2"], "vdb": ["/state/partition3"]}
    assert all(each.is_written for each in second.disks)


# -- what is refused -----------------------------------------------------------------------------------------------

DATA = there(1, "/state/partition1", 0.1, 19)
NOTHING = "the machine has nothing at all: is its disk controller's driver in the installer?"
GIVES_UP = "the layout needs 12.9 GB; --wipe gives up such data"
REFUSED: dict[str, tuple[Inventory, str]] = {
    "no disk": (Inventory(FirmwareKind.BIOS, ()), f"no disk found: {NOTHING}"),
    "no target": (
        Inventory(FirmwareKind.BIOS, (), (LeftOut("sda", "removable", 8 * GB), LeftOut("sr0", "a CD drive"))),
        "no disk found: the machine has sda (removable, 8.0 GB), sr0 (a CD drive)",
    ),
    "too small": (machine(disk("vda", 4)), "disk too small: vda (QEMU, serial x) has 4.0 GB, the layout needs 13.4 GB"),
    "both too small": (
        machine(disk("vda", 4), disk("vdb", 13, model="", serial="")),
        "disk too small: vda (QEMU, serial x) has 4.0 GB, vdb (13.0 GB) has 13.0 GB, the layout needs 13.4 GB",
    ),
    "full of data": (
        machine(disk("vda", 20, DATA)),
        f"no room for the system: vda (QEMU, serial x) has 921 MB beside /state/partition1 (19.0 GB), {GIVES_UP}",
    ),
    "the same data twice": (
        machine(disk("vda", 20), disk("vdb", 20, DATA), disk("vdc", 20, DATA)),
        "/state/partition1 is on vdb and on vdc: take one of them out, or say --wipe",
    ),
    "the same data twice on a disk": (
        machine(disk("vda", 20), disk("vdb", 20, there(1, "/state/a", 1, 1), there(2, "/state/a", 3, 1))),
        "vdb (QEMU, serial x) has 2 partitions named /state/a: --wipe gives them up",
    ),
    "unreadable": (
        machine(disk("vda"), disk("vdb", 20, there(1, "/state/partition2", 0.1, 19, "", disk="vdb"))),
        "/state/partition2 on vdb1 can't be kept, it holds nothing that can be read: mend it, or --wipe gives it up",
    ),
    "encrypted": (
        machine(disk("vda"), disk("vdb", 20, there(1, "/state/partition2", 0.1, 19, "crypto_LUKS", disk="vdb"))),
        "/state/partition2 on vdb1 can't be kept, it holds crypto_LUKS: mend it, or --wipe gives it up",
    ),
    "a name that is none": (
        machine(disk("vda"), disk("vdb", 20, there(1, "/state/../etc", 0.1, 19, disk="vdb"))),
        "/state/../etc on vdb1 can't be kept, its name is no mount point: --wipe gives it up",
    ),
    "no table": (
        machine(disk("vda", 20, there(1, "", 0.1, 19), table="")),
        "vda (QEMU, serial x) has partitions, and its partition table can't be read: --wipe gives them up",
    ),
    "only another's disks": (
        machine(
            disk("vda", 20, there(1, "Windows", 0.1, 19, "ntfs")),
            disk("vdb", 2, there(1, "/state/partition2", 0.1, 1.5, disk="vdb")),
        ),
        f"no room for the system: vdb (QEMU, serial x) has 409 MB beside /state/partition2 (1.5 GB), {GIVES_UP}",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("inventory", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_can_not_be_is_refused_in_plain_words(inventory: Inventory, said: str) -> None:
    with pytest.raises(LayoutRefused) as refusal:
        plan(inventory)
    assert str(refusal.value) == said


@pytest.mark.parametrize("name", [name for name, (_, said) in REFUSED.items() if "--wipe" in said])
def test_wipe_is_the_way_out_where_it_is_said_to_be(name: str) -> None:
    assert plan(REFUSED[name][0], wipe=True).root.name == "/"
