"""A plan as text: the installer's shell, fstab, the table for people. What the shell does is tested on real disks
(tests/protocol/test_partition_shell.py); here it is what a shell makes of the text."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootserver.install.inventory import FirmwareKind, Inventory
from bootserver.install.partition import default, place, shell
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
from bootserver.install.partition.summary import summary
from tests.disks import GB, after, disk, machine, machine_after, there, uuids

EXT4 = FileSystem.EXT4

CALLS = "partition_disks\nformat_partitions\nmount_target\n"
# Each step as the number of its words and the words, all ended by a NUL.
STEP = r"""step() { printf '%s\0' $# "$@"; }"""


def plan(inventory: Inventory) -> Plan:
    return place.place(default.layout(inventory, image_size=0), inventory, new_uuid=uuids())


def steps(plan: Plan) -> list[list[str]]:
    """What the installer's shell runs: the words for people, the command and its arguments."""
    if not shutil.which("busybox"):
        pytest.skip("needs busybox")
    script = f"{STEP}\n{shell.functions(plan, library='/dev/null')}\n{CALLS}"
    done = subprocess.run(["busybox", "sh", "-e"], input=script.encode(), capture_output=True, check=True)
    assert not done.stderr
    words = iter(done.stdout.decode().split("\0")[:-1])
    return [[next(words) for _ in range(int(count))] for count in words]


def reinstall() -> Plan:
    first = plan(machine(disk("vdb", 50), disk("nvme0n1", 30, slot=1)))
    return plan(machine(*after(first), disk("vda", 20, slot=2), firmware=FirmwareKind.UEFI))


def test_every_disk_is_looked_at_before_any_is_written_and_the_system_s_is_written_last() -> None:
    commands = [(words[1], words[2]) for words in steps(reinstall())]
    looks = [index for index, (name, _) in enumerate(commands) if name == "check_disk"]
    writes = [index for index, (name, _) in enumerate(commands) if name in ("wipe_disk", "write_table", "format_partition")]
    assert [commands[index][1] for index in looks] == ["vdb", "nvme0n1", "vda"]
    assert max(looks) < min(writes)
    assert [name for command, name in commands if command == "write_table"] == ["vda", "vdb"]


def test_what_is_kept_is_checked_and_never_wiped_formatted_or_mounted() -> None:
    found = steps(reinstall())
    kept = {part.device for part in reinstall().partitions if part.kept}
    assert kept == {"vdb6", "nvme0n1p1"}
    touched = {words[3] for words in found if words[1] == "format_partition"}
    touched |= {words[2] for words in found if words[1] == "mount_partition"}
    touched |= {word for words in found if words[1] == "wipe_partitions" for word in words[2:]}
    assert not touched & kept
    assert {words[2] for words in found if words[1] == "check_partition"} >= kept
    assert ["old partitions of vdb stay", "wipe_disk", "vdb", "vdb6"] in found
    [table] = [words[4] for words in found if words[1:4] == ["write_table", "vdb", "beside"]]
    old = next(part for part in reinstall().partitions if part.device == "vdb6")
    place_in_table = f"start={old.start // 512}, size={old.size // 512}, type={old.type}, uuid={old.uuid}"
    assert f'/dev/vdb6 : {place_in_table}, name="/state/partition1"' in table.splitlines()


def test_new_data_have_their_name_only_when_they_are_formatted() -> None:
    found = steps(plan(machine(disk("vda", 20))))
    [table] = [words[4] for words in found if words[1] == "write_table"]
    assert 'name="unfinished"' in table
    assert "/state/partition1" not in table
    commands = [words[1:] for words in found]
    assert commands.index(["name_partition", "vda", "6", "vda6", "/state/partition1"]) > commands.index(
        next(words for words in commands if words[:3] == ["format_partition", "ext4", "vda6"])
    )


def test_mounts_come_from_the_top_down() -> None:
    folders = [words[3] for words in steps(reinstall()) if words[1] == "mount_partition"]
    assert folders == ["/target", "/target/boot/efi", "/target/state/partition3", "/target/var"]


# -- arrays and volumes --------------------------------------------------------------------------------------------


def stacked(*, wipe: bool = False, inventory: Inventory | None = None) -> Plan:
    """Volumes on a mirror, one of them data, and an array of data beside it."""
    parts = (
        Partition.bios_boot(),
        Partition.raid("pv", 12_000),
        Partition.raid("state_fast", 1000, grow=True),
    )
    volumes = (
        LogicalVolume("root", 5000, EXT4, "/"),
        LogicalVolume("swap", 100, FileSystem.SWAP),
        LogicalVolume("state_data", 500, EXT4, "/state/data", grow=True),
    )
    raids = (Raid("pv", RaidLevel.RAID1, member="sys"), Raid("state_fast", RaidLevel.RAID0, FileSystem.XFS, "/state/fast"))
    answer = Answer((DiskAnswer("vda", parts), DiskAnswer("vdb", parts)), raids, (VolumeGroup("sys", volumes),))
    found = inventory or machine(disk("vda", 20), disk("vdb", 20, slot=1))
    return place.place(answer, found, wipe=wipe, new_uuid=uuids())


def stacked_again() -> Plan:
    return stacked(inventory=machine_after(stacked()))


def commands(plan: Plan) -> list[list[str]]:
    return [words[1:] for words in steps(plan)]


WRITES = (
    "wipe_disk", "write_table", "wipe_partitions", "make_array", "make_group", "make_volume", "extend_group", "add_member",
    "start_array", "open_group", "remove_volumes", "format_partition", "name_partition", "name_volume",
)  # fmt: skip


def test_members_of_what_stays_are_looked_at_before_anything_is_written() -> None:
    found = commands(stacked_again())
    looks = [index for index, (name, *_) in enumerate(found) if name in ("check_member", "check_physical")]
    assert len(looks) == 4
    assert max(looks) < min(index for index, (name, *_) in enumerate(found) if name in WRITES)


def test_what_the_ramdisk_lacks_is_seen_first() -> None:
    assert commands(stacked())[:2] == [["check_program", "mdadm", "mdadm"], ["check_program", "lvm", "lvm2"]]
    assert not [words for words in commands(reinstall()) if words[0] == "check_program"]


def test_an_array_is_made_of_its_members_and_finished_by_their_names() -> None:
    plan, found = stacked(), commands(stacked())
    [fast] = [words for words in found if words[:2] == ["make_array", "state_fast"]]
    uuid = next(each.uuid for each in plan.arrays if each.name == "state_fast").replace("-", "")
    assert fast[2:] == ["0", ":".join(uuid[at : at + 8] for at in (0, 8, 16, 24)), "0", "vda3", "vdb3"]
    tables = [words[3] for words in found if words[0] == "write_table"]
    assert all('name="unfinished"' in table and 'name="raid pv"' in table for table in tables)
    assert not any("state_fast" in table for table in tables)
    formatted = found.index(next(words for words in found if words[:3] == ["format_partition", "xfs", "md/state_fast"]))
    names = [words for words in found[formatted:] if words[0] == "name_partition"]
    assert names == [["name_partition", disk, "3", "md/state_fast", "raid state_fast"] for disk in ("vda", "vdb")]


def test_a_volume_with_data_has_its_name_last() -> None:
    found = [words for words in commands(stacked()) if words[0] in WRITES and any("sys" in word for word in words[1:])]
    assert [(words[0], words[1:3]) for words in found] == [
        ("make_group", ["sys", "/dev/md/pv"]),
        ("make_volume", ["sys", "root"]),
        ("make_volume", ["sys", "swap"]),
        ("make_volume", ["sys", "unfinished_state_data"]),
        ("format_partition", ["ext4", "sys/root"]),
        ("format_partition", ["swap", "sys/swap"]),
        ("format_partition", ["ext4", "sys/unfinished_state_data"]),
        ("name_volume", ["sys", "unfinished_state_data"]),
    ]


def test_what_stays_is_started_and_never_made_wiped_or_mounted() -> None:
    plan, found = stacked_again(), commands(stacked_again())
    assert not [words for words in found if words[0] in ("make_array", "make_group", "wipe_partitions") and words[1] != "vda1"
                and words[1] != "vdb1"]  # fmt: skip
    assert [words[:2] for words in found if words[0] in ("start_array", "open_group", "remove_volumes")] == [
        ["start_array", "pv"], ["start_array", "state_fast"], ["open_group", "sys"], ["remove_volumes", "sys"],
    ]  # fmt: skip
    assert [words[2:] for words in found if words[0] == "remove_volumes"] == [["root", "swap"]]
    assert [words[1] for words in found if words[0] == "mount_partition"] == ["sys/root"]
    assert [words[2:] for words in found if words[0] == "wipe_disk"] == [["vda2", "vda3"], ["vdb2", "vdb3"]]
    assert {each.path for each in plan.file_systems if each.kept} == {"/dev/sys/state_data", "/dev/md/state_fast"}


def test_fstab_and_mdadm_conf_name_what_the_machine_has() -> None:
    plan = stacked()
    uuid = {each.path: each.filesystem_uuid for each in plan.file_systems}
    assert shell.fstab(plan).splitlines()[1:] == [
        f"UUID={uuid['/dev/sys/root']} / ext4 defaults,errors=remount-ro 0 1",
        f"UUID={uuid['/dev/sys/state_data']} /state/data ext4 defaults,nofail 0 2",
        f"UUID={uuid['/dev/md/state_fast']} /state/fast xfs defaults,nofail 0 2",
        f"UUID={uuid['/dev/sys/swap']} none swap sw 0 0",
    ]
    lines = shell.mdadm_conf(plan).splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("ARRAY")] == [
        ["ARRAY", "/dev/md/pv"], ["ARRAY", "/dev/md/state_fast"],
    ]  # fmt: skip
    assert shell.mdadm_conf(reinstall()) == ""


def test_a_mirror_s_machine_starts_without_what_was_on_the_disk_that_is_gone() -> None:
    parts = (Partition.raid("root", 5000), Partition.swap(100))
    disks = (
        DiskAnswer("vda", (Partition.esp(256, mounted=True), *parts)),
        DiskAnswer("vdb", (Partition.esp(256, mounted=False), *parts, Partition.mounted("/var", EXT4, 100))),
    )
    inventory = machine(disk("vda", 20), disk("vdb", 20, slot=1), firmware=FirmwareKind.UEFI)
    for level, options in ((RaidLevel.RAID1, "nofail"), (RaidLevel.RAID0, None)):
        plan = place.place(Answer(disks, (Raid("root", level, EXT4, "/"),)), inventory)
        lines = [line.split() for line in shell.fstab(plan).splitlines()[1:]]
        assert {(point, kind): ("nofail" if "nofail" in words else None) for _, point, kind, words, *_ in lines} == {
            ("/", "ext4"): None, ("/boot/efi", "vfat"): options, ("/var", "ext4"): options, ("none", "swap"): options,
        }  # fmt: skip


def test_people_see_arrays_and_volumes() -> None:
    assert [line.split("  ") for line in _spaced(summary(stacked_again()))[7:]] == [
        ["RAID 1 of vda2, vdb2", "md/pv", "lvm sys", "11.7 GB", "-", "kept"],
        ["RAID 0 of vda3, vdb3", "md/state_fast", "/state/fast", "16.5 GB", "xfs", "kept"],
        ["LVM on md/pv", "sys/root", "/", "4.9 GB", "ext4", "new"],
        ["LVM on md/pv", "sys/swap", "swap", "100 MB", "swap", "new"],
        ["LVM on md/pv", "sys/state_data", "/state/data", "6.7 GB", "ext4", "kept"],
    ]


def _spaced(text: str) -> list[str]:
    """Lines with two spaces between cells."""
    return [re.sub(" {2,}", "  ", line) for line in text.splitlines()]


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_no_serial_number_means_anything_to_the_shell(serial: str) -> None:
    single = plan(machine(disk("vda", 20, serial=serial)))
    [look] = [words for words in steps(single) if words[1] == "check_disk"]
    assert look[2:] == ["vda", serial, str(20 * GB), single.root_disk.disk.path]


def test_fstab_is_by_uuid_and_a_machine_starts_without_its_data() -> None:
    found = replace(plan(machine(disk("vda", 20), disk("vdb", 20, slot=1), firmware=FirmwareKind.UEFI)))
    uuid = {part.name: part.filesystem_uuid for part in found.partitions}
    assert shell.fstab(found).splitlines()[1:] == [
        f"UUID={uuid['/']} / ext4 defaults,errors=remount-ro 0 1",
        f"UUID={uuid['esp']} /boot/efi vfat umask=0077 0 2",
        f"UUID={uuid['/state/partition1']} /state/partition1 ext4 defaults,nofail 0 2",
        f"UUID={uuid['/state/partition2']} /state/partition2 ext4 defaults,nofail 0 2",
        f"UUID={uuid['/var']} /var ext4 defaults 0 2",
        f"UUID={uuid['swap']} none swap sw 0 0",
    ]
    assert uuid["esp"].replace("-", "").isalnum()
    assert len(uuid["esp"]) == 9


def test_fstab_mounts_kept_data_by_the_uuid_they_have() -> None:
    old = disk("vda", 50, there(9, "/state/partition1", 30, 15, "xfs"))
    [line] = [line for line in shell.fstab(plan(machine(old))).splitlines() if "/state/partition1" in line]
    assert line == f"UUID={old.partitions[0].filesystem_uuid} /state/partition1 xfs defaults,nofail 0 2"


def test_a_bios_machine_s_fstab_has_no_efi_partition() -> None:
    assert "vfat" not in shell.fstab(plan(machine(disk("vda", 20))))


def test_a_table_counts_in_the_sectors_of_its_disk() -> None:
    small, large = (shell.table(plan(machine(disk("vda", 20, sector_size=size))).disks[0]).splitlines() for size in (512, 4096))
    assert small[3] == "first-lba: 2048"
    assert large[3] == "first-lba: 256"
    assert "start=2048, size=2048," in small[5]
    assert "start=256, size=256," in large[5]


def test_people_see_what_is_new_and_what_is_kept() -> None:
    assert summary(reinstall()) == (
        "DISK                      PARTITION  MOUNT POINT        SIZE     FILE SYSTEM\n"
        "vdb (QEMU, serial x)      vdb1       bios               1 MB     -            new\n"
        "vdb (QEMU, serial x)      vdb2       /boot/efi          256 MB   vfat         new\n"
        "vdb (QEMU, serial x)      vdb3       /                  7.8 GB   ext4         new\n"
        "vdb (QEMU, serial x)      vdb4       /var               3.9 GB   ext4         new\n"
        "vdb (QEMU, serial x)      vdb5       swap               1000 MB  swap         new\n"
        "vdb (QEMU, serial x)      vdb6       /state/partition1  37.1 GB  ext4         kept\n"
        "nvme0n1 (QEMU, serial x)  nvme0n1p1  /state/partition2  30.0 GB  ext4         kept\n"
        "vda (QEMU, serial x)      vda1       /state/partition3  20.0 GB  ext4         new\n"
    )


@pytest.mark.parametrize("name", ["disks.sh", "inventory"])
def test_the_installer_s_own_shell_is_read_without_complaint(name: str) -> None:
    if not shutil.which("busybox"):
        pytest.skip("needs busybox")
    path = Path(__file__).parents[2] / "installer" / name
    done = subprocess.run(["busybox", "sh", "-n", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
