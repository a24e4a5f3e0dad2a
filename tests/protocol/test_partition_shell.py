"""What the installer does to disks, done: the plan's shell on loop devices, read back by sfdisk and blkid.

The plug is pulled before each step, and the machine comes again: with the script that it had, and with a new one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootserver.install import inventory
from bootserver.install.inventory import FirmwareKind, Inventory
from bootserver.install.partition import default, place, shell
from bootserver.install.partition.check import LayoutRefused
from bootserver.install.partition.model import MIB, UNFINISHED, Answer, DiskAnswer, FileSystem, Partition
from bootserver.install.partition.plan import Plan
from tests.lab.process import REPOSITORY

PROGRAMS = (
    "busybox",
    "losetup",
    "partx",
    "sfdisk",
    "blkid",
    "lsblk",
    "wipefs",
    "mkfs.ext4",
    "mkfs.xfs",
    "mkfs.fat",
    "mkswap",
    "unshare",
)
LIBRARY = REPOSITORY / "installer" / "disks.sh"
GB = 1 << 30

# Plays the installer's library. CUT=5 pulls the plug before the fifth step that writes.
STEP = """
steps=0
step() {
    words=$1
    shift
    case $1 in free_target | release_disk | check_* | wait_*) ;; *) steps=$((steps + 1)) ;; esac
    [ "$steps" != "${CUT:-}" ] || exit 99
    "$@" >"$FOLDER/step" 2>&1 && return
    echo "$words: $(tail -n 1 "$FOLDER/step")"
    exit 1
}
"""

# Not every machine's kernel can read a GPT; then partx tells it what is there.
BLOCKDEV = """
blockdev() {
    partx --delete "$2"
    partx --add "$2"
}
"""


class Machine:
    """A machine whose disks are loop devices.

    :ivar files: what stands behind its disks, in order.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = folder / "target"
        self.files: list[Path] = []
        self.names: list[str] = []
        self.environment = os.environ | {"FOLDER": str(folder)}

    def add(self, size: int, sector_size: int = 512) -> str:
        """A new empty disk. :returns: its name."""
        file = self.folder / f"disk-{len(self.files)}"
        with file.open("wb") as disk:
            disk.truncate(size)
        command = ["losetup", "--find", "--show", "--partscan", "--sector-size", str(sector_size), str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"needs loop devices: {done.stderr.strip()}")
        self.files.append(file)
        self.names.append(done.stdout.strip().removeprefix("/dev/"))
        return self.names[-1]

    def remove(self) -> None:
        for name in self.names:
            subprocess.run(["partx", "--delete", f"/dev/{name}"], capture_output=True, check=False)
            subprocess.run(["losetup", "--detach", f"/dev/{name}"], capture_output=True, check=False)

    def document(self) -> dict[str, Any]:
        """What ``installer/inventory`` says; that these are loop devices is nobody's business."""
        for name in self.names:
            look(name)
        done = subprocess.run(
            ["busybox", "sh", REPOSITORY / "installer" / "inventory"],
            check=True,
            capture_output=True,
            env=self.environment | {"BOOTSERVER_DISKS": " ".join(self.names)},
        )
        document = inventory.decode(done.stdout)
        for device in document["lsblk"]["blockdevices"]:
            device["type"] = "disk"
        return document

    def inventory(self) -> Inventory:
        found = inventory.parse(self.document() | {"firmware": "bios"})
        assert [disk.name for disk in found.disks] == sorted(self.names, key=lambda name: int(name.removeprefix("loop")))
        return found

    def plan(self, *, wipe: bool = False, filesystem: str = "ext4") -> Plan:
        found = self.inventory()
        return place.place(default.layout(found, image_size=0, filesystem=filesystem, wipe=wipe), found, wipe=wipe)

    def run(self, plan: Plan, *, cut: int | None = None, then: str = "", mount: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the plan's functions in a mount namespace of their own, so that nothing stays mounted when the plug is pulled."""
        script = self.folder / "script"
        calls = "partition_disks\nformat_partitions\n" + ("mount_target\n" if mount else "")
        functions = shell.functions(plan, library=str(LIBRARY), target=str(self.target))
        script.write_text(f"{STEP}{functions}\n{BLOCKDEV}{calls}{then}\necho steps $steps\n")
        environment = self.environment | ({} if cut is None else {"CUT": str(cut)})
        command = ["unshare", "--mount", "--propagation", "private", "busybox", "sh", str(script)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    def does(self, plan: Plan, **given: Any) -> str:
        done = self.run(plan, **given)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def fails(self, plan: Plan) -> str:
        done = self.run(plan)
        assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
        return done.stdout.strip()

    def has(self, plan: Plan) -> None:
        """What is on the disks is what the plan says."""
        for each in plan.disks:
            table = self.table(each.disk.name)
            sector = table["sectorsize"]
            found = {
                entry["node"].removeprefix("/dev/"): (
                    entry["start"] * sector,
                    entry["size"] * sector,
                    entry["uuid"].lower(),
                    entry["type"],
                    entry["name"],
                )
                for entry in table["partitions"]
            }
            assert found == {part.device: (part.start, part.size, part.uuid, part.type, part.name) for part in each.partitions}
            for part in each.partitions:
                assert self.file_system(part.device) == (part.filesystem, part.filesystem_uuid)

    @staticmethod
    def table(name: str) -> dict[str, Any]:
        done = subprocess.run(["sfdisk", "--json", f"/dev/{name}"], check=True, capture_output=True, text=True)
        found: dict[str, Any] = json.loads(done.stdout)["partitiontable"]
        return found

    @staticmethod
    def file_system(name: str) -> tuple[str, str]:
        done = subprocess.run(["blkid", "-p", "-o", "export", f"/dev/{name}"], capture_output=True, text=True, check=False)
        found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        return found.get("TYPE", ""), found.get("UUID", "")

    def zap(self) -> None:
        """New disks of the same size in the place of the old ones."""
        for name, file in zip(self.names, self.files, strict=True):
            subprocess.run(["partx", "--delete", f"/dev/{name}"], capture_output=True, check=False)
            size = file.stat().st_size
            os.truncate(file, 0)
            os.truncate(file, size)
            subprocess.run(["blockdev", "--flushbufs", f"/dev/{name}"], check=True)

    def write_data(self, plan: Plan, text: str) -> None:
        """A user's file on each data partition."""
        for part in plan.partitions:
            if part.is_data:
                with mounted(part.device, self.folder) as folder:
                    (folder / "results").write_text(f"{text} on {part.mount_point}")

    def read_data(self, plan: Plan) -> dict[str, str]:
        found = {}
        for part in plan.partitions:
            if part.is_data:
                with mounted(part.device, self.folder) as folder:
                    file = folder / "results"
                    found[part.name] = file.read_text() if file.exists() else ""
        return found


def look(name: str) -> None:
    """The kernel's look at a disk's table."""
    for what in ("--delete", "--add"):
        subprocess.run(["partx", what, f"/dev/{name}"], capture_output=True, check=False)


def root_device(plan: Plan) -> str:
    return plan.root.path.removeprefix("/dev/")


@contextlib.contextmanager
def mounted(device: str, folder: Path) -> Iterator[Path]:
    point = folder / "look"
    point.mkdir(exist_ok=True)
    subprocess.run(["mount", f"/dev/{device}", str(point)], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


@pytest.fixture
def machine() -> Iterator[Machine]:
    if os.geteuid() != 0:
        pytest.skip("needs root, for loop devices")
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        pytest.skip(f"needs the programs {' '.join(missing)}")
    if not Path("/dev/loop-control").exists():
        pytest.skip("needs loop devices (/dev/loop-control)")
    memory = Path("/dev/shm")  # what is formatted is synced, and no test need wait for a disk
    folder = tempfile.mkdtemp(prefix="bootserver-disks-", dir=memory if memory.is_dir() else None)
    machine = Machine(Path(folder))
    try:
        machine.add(16 * GB)
        if not can_have_partitions(machine):
            pytest.skip("needs partitions on loop devices, which neither this kernel nor partx makes")
        yield machine
    finally:
        machine.remove()
        shutil.rmtree(folder)


def can_have_partitions(machine: Machine) -> bool:
    device = f"/dev/{machine.names[0]}"
    subprocess.run(
        ["sfdisk", "--quiet", "--no-tell-kernel", device],
        input="label: gpt\nsize=2048\n",
        text=True,
        check=True,
        capture_output=True,
    )
    look(device.removeprefix("/dev/"))
    there = stat.S_ISBLK(os.stat(f"{device}p1").st_mode) if os.path.exists(f"{device}p1") else False
    machine.zap()
    return there


def steps(said: str) -> int:
    return int(said.rpartition("steps ")[2])


# -- a whole install ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filesystem", ["ext4", "xfs"])
def test_a_bare_machine_gets_rocks_layout_and_mounts_it(machine: Machine, filesystem: str) -> None:
    machine.add(2 * GB)
    plan = machine.plan(filesystem=filesystem)
    said = machine.does(plan, then=f"cut -d ' ' -f 1-3 /proc/mounts | grep {machine.target}")
    machine.has(plan)
    assert [part.name for part in plan.partitions] == [
        "bios", "esp", "/", "/var", "swap", "/state/partition1", "/state/partition2",
    ]  # fmt: skip
    mounts = [line.split() for line in said.splitlines() if str(machine.target) in line]
    assert mounts == [[part.path, f"{machine.target}{part.mount_point}".rstrip("/"), filesystem] for part in plan.mounted]


def test_a_disk_with_sectors_of_4096_bytes_is_partitioned_in_its_own_sectors(machine: Machine) -> None:
    machine.add(15 * GB, sector_size=4096)
    found = machine.inventory()
    found = replace(found, firmware=FirmwareKind.UEFI, disks=tuple(disk for disk in found.disks if disk.sector_size == 4096))
    assert len(found.disks) == 1
    plan = place.place(default.layout(found, image_size=0), found)
    # The kernel that runs this may know no vfat.
    machine.does(plan, mount="vfat" in Path("/proc/filesystems").read_text())
    machine.has(plan)


@pytest.mark.parametrize("features", ["orphan_file", "metadata_csum_seed"])
def test_ext4_has_no_feature_that_an_older_kernel_or_grub_lacks(machine: Machine, features: str) -> None:
    plan = machine.plan()
    machine.does(plan)
    done = subprocess.run(["dumpe2fs", "-h", plan.root.path], capture_output=True, text=True, check=True)
    [line] = [line for line in done.stdout.splitlines() if line.startswith("Filesystem features")]
    assert features not in line.split()
    assert {"has_journal", "extent", "64bit", "metadata_csum", "dir_index"} <= set(line.split())


# -- a reinstall ---------------------------------------------------------------------------------------------------


def test_a_reinstall_keeps_data_and_makes_the_system_anew(machine: Machine) -> None:
    machine.add(2 * GB)
    first = machine.plan()
    machine.does(first)
    machine.write_data(first, "years of work")
    with mounted(root_device(first), machine.folder) as folder:
        (folder / "old").write_text("system")
    second = machine.plan()
    assert [(part.name, part.filesystem_uuid) for part in second.partitions if part.kept] == [
        (part.name, part.filesystem_uuid) for part in first.partitions if part.is_data
    ]
    said = machine.does(second, then="cut -d ' ' -f 1 /proc/mounts")
    machine.has(second)
    assert not [part.device for part in second.partitions if part.kept and f"/dev/{part.device}\n" in said], "kept, and mounted"
    assert (machine.target / "state").exists() is False, "the mount points are in the new root, not beside it"
    with mounted(root_device(second), machine.folder) as folder:
        assert not (folder / "old").exists()
        assert (folder / "state" / "partition1").is_dir()
    assert machine.read_data(second) == {name: f"years of work on {name}" for name in ("/state/partition1", "/state/partition2")}
    [untouched] = [each for each in second.disks if not each.is_written]
    assert untouched.disk.name == machine.names[1]


def test_with_wipe_nothing_is_kept(machine: Machine) -> None:
    first = machine.plan()
    machine.does(first)
    machine.write_data(first, "waste")
    second = machine.plan(wipe=True)
    machine.does(second)
    machine.has(second)
    assert machine.read_data(second) == {"/state/partition1": ""}


def test_a_disk_that_was_added_gets_the_next_number(machine: Machine) -> None:
    first = machine.plan()
    machine.does(first)
    machine.write_data(first, "old")
    machine.add(2 * GB)
    second = machine.plan()
    machine.does(second)
    machine.has(second)
    assert machine.read_data(second) == {"/state/partition1": "old on /state/partition1", "/state/partition2": ""}


def test_data_without_a_readable_file_system_is_refused_and_stays(machine: Machine) -> None:
    first = machine.plan()
    machine.does(first)
    [data] = [part for part in first.partitions if part.is_data]
    with open(f"/dev/{data.device}", "r+b") as device:  # its superblock and those of its copies can't be read
        device.write(bytes(8192))
    with pytest.raises(LayoutRefused, match=r"/state/partition1 on loop\d+p6 can't be kept, it holds nothing that can be read"):
        machine.plan()
    machine.does(machine.plan(wipe=True))


def test_data_with_the_signs_of_two_file_systems_is_refused(machine: Machine) -> None:
    first = machine.plan()
    machine.does(first)
    [data] = [part for part in first.partitions if part.is_data]
    with open(f"/dev/{data.device}", "r+b") as device:
        device.write(b"XFSB" + bytes(508))  # not much of an XFS, so that either way ext4 must not be lost
        md_superblock(device, 0, 4096)
    with pytest.raises(LayoutRefused, match=r"/state/partition1 on .* can't be kept"):
        machine.plan()


# -- the plug is pulled --------------------------------------------------------------------------------------------

Again = Callable[[Machine, Plan, bool], Plan]


def same_script(machine: Machine, plan: Plan, wipe: bool) -> Plan:
    return plan


def new_script(machine: Machine, plan: Plan, wipe: bool) -> Plan:
    return machine.plan(wipe=wipe)


@pytest.mark.parametrize("again", [same_script, new_script])
def test_a_first_install_can_be_cut_off_anywhere_and_comes_to_the_same_end(machine: Machine, again: Again) -> None:
    machine.add(2 * GB)
    foreign(machine, machine.names[1])
    wanted = machine.plan()
    total = steps(machine.does(wanted, mount=False))
    for cut in range(1, total + 1):
        machine.zap()
        foreign(machine, machine.names[0])
        foreign(machine, machine.names[1])
        plan = machine.plan()
        assert machine.run(plan, cut=cut, mount=False).returncode == 99
        plan = again(machine, plan, False)
        assert [(part.name, part.start, part.size) for part in plan.partitions] == [
            (part.name, part.start, part.size) for part in wanted.partitions
        ], f"cut off before step {cut}"
        machine.does(plan)
        machine.has(plan)


@pytest.mark.parametrize("again", [same_script, new_script])
def test_a_reinstall_can_be_cut_off_anywhere_and_data_stay(machine: Machine, again: Again) -> None:
    machine.add(2 * GB)
    plan = machine.plan()
    machine.does(plan, mount=False)
    machine.write_data(plan, "data")
    total = steps(machine.does(machine.plan(), mount=False))
    for cut in range(1, total + 1):
        plan = machine.plan()
        assert machine.run(plan, cut=cut, mount=False).returncode == 99
        plan = again(machine, plan, False)
        machine.does(plan)
        machine.has(plan)
        assert machine.read_data(plan) == {f"/state/partition{number}": f"data on /state/partition{number}" for number in (1, 2)}


def test_what_is_not_finished_has_no_name_that_a_later_install_would_keep(machine: Machine) -> None:
    plan = machine.plan()
    total = steps(machine.does(plan, mount=False))
    machine.zap()
    assert machine.run(machine.plan(), cut=total, mount=False).returncode == 99  # before the last is named
    assert [entry["name"] for entry in machine.table(machine.names[0])["partitions"]][-1] == UNFINISHED
    machine.does(machine.plan())


# -- the machine is not the one of the plan -----------------------------------------------------------------------


def test_nothing_is_written_to_a_disk_that_is_not_the_planned_one(machine: Machine) -> None:
    plan = machine.plan()
    [only] = plan.disks
    for change, said in (
        ({"size": only.disk.size - 512}, r"had \d+ bytes, it has \d+"),
        ({"serial": "it's another"}, "its serial number was 'it's another', it is ''"),
        ({"path": "/sys/devices/elsewhere"}, "it was at /sys/devices/elsewhere, it is at /sys/devices/virtual/block/loop"),
        ({"name": "nosuchdisk"}, "disk nosuchdisk is gone"),
    ):
        other = replace(plan, disks=(replace(only, disk=replace(only.disk, **change)),))
        found = machine.fails(other)
        assert found.startswith(f"disk {other.disks[0].disk.name} is not usable: ")
        assert re.search(said, found)
    assert machine.inventory().disks[0].is_empty


def test_nothing_is_written_while_a_partition_of_the_disk_is_mounted(machine: Machine) -> None:
    plan = machine.plan()
    machine.does(plan)
    [data] = [part for part in plan.partitions if part.is_data]
    before = machine.table(machine.names[0])
    with mounted(data.device, machine.folder):
        assert f"/dev/{data.device} is mounted at" in machine.fails(machine.plan(wipe=True))
    assert machine.table(machine.names[0]) == before


def test_a_kept_partition_that_is_elsewhere_now_stops_the_install(machine: Machine) -> None:
    machine.does(machine.plan())
    plan = machine.plan()
    [only] = plan.disks
    moved = tuple(replace(part, start=part.start + MIB, size=part.size - MIB) if part.kept else part for part in only.partitions)
    before = machine.table(machine.names[0])
    assert "/state/partition1 is not where it was: " in machine.fails(replace(plan, disks=(replace(only, partitions=moved),)))
    assert machine.table(machine.names[0]) == before


def test_what_an_earlier_try_left_mounted_is_unmounted_first(machine: Machine) -> None:
    plan = machine.plan()
    machine.does(plan, then="partition_disks\nformat_partitions\nmount_target")
    machine.has(plan)


# -- old things on the disk ----------------------------------------------------------------------------------------


def test_signs_of_old_raid_members_are_gone(machine: Machine) -> None:
    name = machine.names[0]
    with open(f"/dev/{name}", "r+b") as device:
        device.seek(16 * GB - 65536)  # version 0.90: at the end of the whole disk, before the place of a GPT's copy
        device.write(struct.pack("<III", 0xA92B4EFC, 0, 90))
    assert machine.inventory().disks[0].filesystem == "linux_raid_member"
    plan = machine.plan()
    with open(f"/dev/{name}", "r+b") as device:
        md_superblock(device, 0, 4096)
    assert signs(name) == ["linux_raid_member", "linux_raid_member"], "what is written here is known as what it should be"
    with open(f"/dev/{name}", "r+b") as device:
        for part in plan.partitions:
            # Version 1.0, at the end of what will be partitions, where no mkfs writes.
            md_superblock(device, part.start, part.size - 8192)
    machine.does(plan)
    machine.has(plan)
    assert set(signs(name)) == {"gpt", "PMBR"}


def test_an_old_table_of_another_kind_is_taken_over(machine: Machine) -> None:
    foreign(machine, machine.names[0])
    assert machine.inventory().disks[0].table == "dos"
    plan = machine.plan()
    machine.does(plan)
    machine.has(plan)


def test_data_that_begins_before_the_first_mb_and_has_a_high_number_stays(machine: Machine) -> None:
    device = f"/dev/{machine.names[0]}"
    text = f'label: gpt\nfirst-lba: 34\n{device}p77 : start=40, size=204801, name="/state/odd"\n'
    subprocess.run(["sfdisk", "--quiet", "--no-tell-kernel", device], input=text, text=True, check=True)
    look(machine.names[0])
    subprocess.run(["mkfs.ext4", "-q", "-F", f"{device}p77"], check=True)
    found = machine.inventory()
    [there] = found.disks[0].partitions
    answer = default.layout(found, image_size=0)
    plan = place.place(answer, found)
    machine.does(plan)
    machine.has(plan)
    [kept] = [part for part in plan.partitions if part.kept]
    assert (kept.number, kept.start, kept.size, kept.uuid) == (77, 40 * 512, 204801 * 512, there.uuid)


def test_hostile_names_on_a_disk_are_seen_and_do_no_harm(machine: Machine) -> None:
    device = f"/dev/{machine.names[0]}"
    subprocess.run(["sfdisk", "--quiet", "--no-tell-kernel", device], input="label: gpt\nsize=204800\n", text=True, check=True)
    name = 'a"\\\n\x01$(reboot)`\u00e9'
    subprocess.run(["sfdisk", "--quiet", "--no-reread", "--part-label", device, "1", name], check=True)
    machine.inventory()
    label = b'q"\nDEVNAME=\\\xff'
    subprocess.run(["mkfs.ext4", "-q", "-F", b"-L", label, f"{device}p1".encode()], check=True)
    [disk] = machine.inventory().disks
    [partition] = disk.partitions
    assert partition.label.startswith('a"\\??$(reboot)`?')
    assert (partition.filesystem, partition.name) == ("ext4", f"{machine.names[0]}p1")


# -- an answer of a site's program ---------------------------------------------------------------------------------


def test_a_partition_that_is_to_be_kept_is_made_once_and_then_kept(machine: Machine) -> None:
    def answer() -> Answer:
        home = Partition.mounted("/home", FileSystem.XFS, 500, keep=True)
        root = Partition.mounted("/", FileSystem.EXT4, 1000, grow=True)
        return Answer((DiskAnswer(machine.names[0], (Partition.bios_boot(), home, root)),))

    first = place.place(answer(), machine.inventory())
    machine.does(first)
    machine.has(first)
    machine.write_data(first, "home")
    second = place.place(answer(), machine.inventory())
    machine.does(second)
    machine.has(second)
    assert machine.read_data(second) == {"/home": "home on /home"}


def foreign(machine: Machine, name: str) -> None:
    """An old system of somebody else's: DOS partitions, one with a file system."""
    device = f"/dev/{name}"
    layout = "label: dos\nsize=409600, type=7\nsize=409600, type=83\n"
    subprocess.run(["sfdisk", "--quiet", "--no-tell-kernel", device], input=layout, text=True, check=True, capture_output=True)
    look(device.removeprefix("/dev/"))
    subprocess.run(["mkfs.ext4", "-q", "-F", f"{device}p2"], check=True)


def signs(name: str) -> list[str]:
    """All that wipefs would wipe on a device, by kind."""
    command = ["wipefs", "--noheadings", "--output", "TYPE", f"/dev/{name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def md_superblock(device: Any, start: int, offset: int) -> None:
    """As much of a RAID member's superblock (md.4, version 1) as makes one: magic, version, its own place, checksum."""
    superblock = bytearray(256)
    struct.pack_into("<II", superblock, 0, 0xA92B4EFC, 1)
    struct.pack_into("<Q", superblock, 144, offset // 512)
    total = sum(struct.unpack("<64I", superblock))
    struct.pack_into("<I", superblock, 216, (total & 0xFFFFFFFF) + (total >> 32))
    device.seek(start + offset)
    device.write(superblock)
