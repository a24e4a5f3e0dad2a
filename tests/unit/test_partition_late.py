"""The last stage on disks, run for real: partitions get their names by what is mounted where, further disks are made or kept."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bootserver.install.inventory import Disk, ExistingPartition, Inventory
from bootserver.install.partition import late, place
from bootserver.install.partition.model import MIB, Answer, DiskAnswer, FileSystem, Partition, Raid, RaidLevel, Role, VolumeGroup
from bootserver.install.partition.plan import Plan
from tests.disks import machine, uuids
from tests.layouts import LAYOUTS, VOLUMES, kept_stack

EXT4, XFS = FileSystem.EXT4, FileSystem.XFS
PROGRAMS = (
    "losetup",
    "partx",
    "sfdisk",
    "blkid",
    "wipefs",
    "mkfs.ext4",
    "mkfs.ext3",
    "mkswap",
    "unshare",
    "busybox",
    "dash",
    "bash",
)
SHELLS = {"dash": ["dash"], "busybox": ["busybox", "sh"], "bash": ["bash", "--posix"]}
GUID = {role: role.value for role in Role}


class Disks:
    """Loop devices as disks, the folder where the new system is mounted, and a shell that works on them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "root"
        self.root.mkdir()
        self.names: list[str] = []

    def add(self, size: int) -> str:
        """:param size: MB."""
        file = self.folder / f"disk-{len(self.names)}"
        with file.open("wb") as disk:
            disk.truncate(size * MIB)
        done = subprocess.run(["losetup", "--find", "--show", file], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"needs loop devices: {done.stderr.strip()}")
        self.names.append(done.stdout.strip().removeprefix("/dev/"))
        return self.names[-1]

    def remove(self) -> None:
        for name in self.names:
            subprocess.run(["partx", "--delete", f"/dev/{name}"], capture_output=True, check=False)
            subprocess.run(["losetup", "--detach", f"/dev/{name}"], capture_output=True, check=False)

    def installed(self, name: str, *parts: tuple[Role, int]) -> None:
        """What a distribution's installer left: partitions of these types and sizes (MB), without names."""
        lines = "".join(f"size={size}MiB, type={role.value}\n" for role, size in parts)
        subprocess.run(
            ["sfdisk", "-q", "--no-tell-kernel", f"/dev/{name}"],
            input=f"label: gpt\n{lines}",
            text=True,
            check=True,
            capture_output=True,
        )
        subprocess.run(["partx", "--update", f"/dev/{name}"], check=True, capture_output=True)

    def table(self, name: str) -> dict[int, str]:
        """Names by number."""
        dump = subprocess.run(["sfdisk", "--dump", f"/dev/{name}"], capture_output=True, text=True, check=True).stdout
        found = re.findall(rf"^/dev/{name}p(\d+) :.*?(?:, name=\"([^\"]*)\")?(?:, attrs=.*)?$", dump, re.MULTILINE)
        return {int(number): label for number, label in found}

    def disk(self, name: str, *there: ExistingPartition) -> Disk:
        size = int(Path(f"/sys/block/{name}/size").read_text()) * 512
        return Disk(name, size, 512, path=f"/sys/devices/virtual/block/{name}", table="gpt" if there else "", partitions=there)

    def partition(self, name: str, number: int, label: str) -> ExistingPartition:
        """What is there, as the inventory would have it."""
        folder = Path(f"/sys/class/block/{name}p{number}")
        start, size = (int((folder / key).read_text()) * 512 for key in ("start", "size"))
        dump = subprocess.run(["sfdisk", "--part-uuid", f"/dev/{name}", str(number)], capture_output=True, text=True, check=True)
        blkid = ["blkid", "-p", "-o", "value", "-s", "UUID", f"/dev/{name}p{number}"]
        uuid = subprocess.run(blkid, capture_output=True, text=True, check=True).stdout.strip()
        return ExistingPartition(
            number, f"{name}p{number}", start, size, label, dump.stdout.strip().lower(), Role.LINUX.value, "ext4", uuid
        )

    def run(self, functions: str, before: str, calls: str, shell: str = "dash", **environment: str) -> tuple[str, str]:
        """In a mount namespace of its own. :returns: stdout and stderr."""
        script = self.folder / "script"
        script.write_text(f"set -eu\n{functions}\n{calls}\n")
        inner = f"set -e\nROOT={shlex.quote(str(self.root))}\n{before}\n{shlex.join(SHELLS[shell])} {shlex.quote(str(script))}\n"
        command = ["unshare", "--mount", "--propagation", "private", "bash", "-c", inner]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout, done.stderr


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if os.geteuid() != 0 or lacking:
        pytest.skip(f"needs root and {', '.join(lacking) or 'nothing else'}")
    made = Disks(tmp_path)
    yield made
    made.remove()


def plan_of(inventory: Inventory, *answers: DiskAnswer) -> Plan:
    return place.place(Answer(answers), inventory, new_uuid=uuids())


ROOT, VAR = Partition.mounted("/", EXT4, 60), Partition.mounted("/var", EXT4, 30)
SYSTEM = (Partition.bios_boot(), Partition.esp(40, mounted=False), ROOT, VAR, Partition.swap(10))
STATE = Partition.mounted("/state/partition1", EXT4, 20, grow=True)

MOUNTS = """
mkfs.ext4 -q /dev/{disk}p2; mkfs.ext4 -q /dev/{disk}p3; mkfs.ext4 -q /dev/{disk}p5; mkswap -q /dev/{disk}p1
mount /dev/{disk}p3 "$ROOT"; mkdir -p "$ROOT/var" "$ROOT/state/partition1"
mount /dev/{disk}p5 "$ROOT/var"; mount /dev/{disk}p2 "$ROOT/state/partition1"
"""
# Numbered as no plan would: the installer's own way.
SHUFFLED = ((Role.SWAP, 10), (Role.LINUX, 90), (Role.LINUX, 60), (Role.BIOS_BOOT, 1), (Role.LINUX, 30), (Role.ESP, 40))
NAMED = {1: "swap", 2: "/state/partition1", 3: "/", 4: "bios", 5: "/var", 6: "esp"}


@pytest.mark.parametrize("shell", SHELLS)
def test_partitions_get_their_names_however_the_installer_numbered_them(disks: Disks, shell: str) -> None:
    name = disks.add(300)
    plan = plan_of(machine(disks.disk(name)), DiskAnswer(name, (*SYSTEM, STATE)))
    disks.installed(name, *SHUFFLED)
    assert set(disks.table(name).values()) == {""}
    calls = f'name_partitions "{disks.root}/"\nfurther_disks "{disks.root}/"\nname_partitions "{disks.root}/"'
    out, err = disks.run(late.functions(plan), MOUNTS.format(disk=name), calls, shell)
    assert (out, err) == ("", "")
    assert disks.table(name) == NAMED


def test_what_is_not_mounted_is_a_warning_and_nothing_worse(disks: Disks) -> None:
    name = disks.add(300)
    plan = plan_of(machine(disks.disk(name)), DiskAnswer(name, (*SYSTEM, STATE)))
    disks.installed(name, *SHUFFLED)
    mounts = MOUNTS.format(disk=name).rpartition(";")[0]
    _, err = disks.run(late.functions(plan), mounts, f'name_partitions "{disks.root}"')
    assert err == "bootserver: nothing is mounted at /state/partition1, so that its partition gets no name\n"
    assert disks.table(name) == NAMED | {2: ""}


def test_programs_that_the_installer_lacks_are_the_new_systems(disks: Disks) -> None:
    """As in debian-installer: busybox alone, and all else in the folder where the new system is mounted."""
    name = disks.add(300)
    plan = plan_of(machine(disks.disk(name)), DiskAnswer(name, (*SYSTEM, STATE)))
    disks.installed(name, *SHUFFLED)
    applets = disks.folder / "bin"
    applets.mkdir()
    for applet in ("readlink", "grep", "mkdir", "mount", "sleep", "tr", "chroot", "sh", "cat", "blkid"):
        (applets / applet).symlink_to(shutil.which("busybox") or "")
    whole = """
for folder in bin sbin lib lib64 usr; do
    if [ -L /$folder ]; then
        ln -s "$(readlink /$folder)" "$ROOT/$folder"
    else
        mkdir "$ROOT/$folder"
        mount --bind /$folder "$ROOT/$folder"
    fi
done
mkdir "$ROOT/dev" "$ROOT/proc"; mount --rbind /dev "$ROOT/dev"; mount --rbind /proc "$ROOT/proc"
"""
    calls = f'PATH={applets}\nname_partitions "{disks.root}/"'
    _, err = disks.run(late.functions(plan), MOUNTS.format(disk=name) + whole, calls, "busybox")
    assert err == ""
    assert disks.table(name) == NAMED


def test_without_any_program_for_it_there_is_a_warning(disks: Disks) -> None:
    name = disks.add(300)
    plan = plan_of(machine(disks.disk(name)), DiskAnswer(name, (*SYSTEM, STATE)))
    disks.installed(name, *SHUFFLED)
    (disks.folder / "bin").mkdir()
    for tool in ("readlink", "grep", "chroot"):
        (disks.folder / "bin" / tool).symlink_to(shutil.which(tool) or "")
    calls = f'PATH={disks.folder / "bin"}\nname_partitions "{disks.root}/"'
    _, err = disks.run(late.functions(plan), MOUNTS.format(disk=name), calls)
    assert f"partition 3 of /dev/{name} can't be named /: a later install will not find it\n" in err


STACK = """
fake={folder}/sys
mkdir -p $fake/dev/block $fake/class/block
part() {{ # DISK NUMBER
    mkdir -p $fake/devices/$1/$1p$2
    echo $2 >$fake/devices/$1/$1p$2/partition
}}
md() {{ # NAME SLAVE...: an array, as sysfs has it
    mkdir -p $fake/devices/$1/md $fake/devices/$1/slaves; made=$1; shift
    for slave; do ln -s $slave $fake/devices/$made/slaves/${{slave##*/}}; done
}}
volume() {{ # NAME SLAVE...
    mkdir -p $fake/devices/$1/dm $fake/devices/$1/slaves; made=$1; shift
    echo LVM-abcdef >$fake/devices/$made/dm/uuid
    for slave; do ln -s $slave $fake/devices/$made/slaves/${{slave##*/}}; done
}}
mounted() {{ # DEVICE POINT FOLDER: what is mounted there is that device, says sysfs
    mkdir -p "$ROOT$2"; mount $1 "$ROOT$2"
    ln -s $3 "$fake/dev/block/$(stat -c %Hr:%Lr $1)"
}}
"""


def test_members_of_arrays_and_groups_are_named_through_what_is_mounted(disks: Disks) -> None:
    """Kernels without md and device-mapper know no arrays; so sysfs says what they would say, and the disks are real."""
    one, two = disks.add(300), disks.add(300)
    members = (Partition.raid("boot", 40), Partition.raid("pv", 512, grow=True))
    large = tuple(replace(disks.disk(name), size=40 << 30) for name in (one, two))
    answers = tuple(DiskAnswer(name, (Partition.bios_boot(), *members)) for name in (one, two))
    raids = (Raid("boot", RaidLevel.RAID1, EXT4, "/boot"), Raid("pv", RaidLevel.RAID1, member="system"))
    groups = (VolumeGroup("system", VOLUMES[:1]),)
    plan = place.place(Answer(answers, raids, groups), machine(*large), new_uuid=uuids())
    for name in (one, two):  # pv, boot, and what holds the test's file systems
        disks.installed(name, (Role.RAID, 100), (Role.RAID, 40), (Role.LINUX, 20), (Role.LINUX, 20))
    up = "../.."
    before = STACK.format(folder=disks.folder) + "\n".join(
        [
            *(f"part {name} {number}" for name in (one, two) for number in (1, 2)),
            f"md md126 {up}/{one}/{one}p2 {up}/{two}/{two}p2",
            f"md md127 {up}/{one}/{one}p1 {up}/{two}/{two}p1",
            f"volume dm-0 {up}/md127",
            f"mkfs.ext4 -q /dev/{one}p3; mkfs.ext4 -q /dev/{one}p4",
            f'mounted /dev/{one}p3 "" ../../devices/dm-0',
            f"mounted /dev/{one}p4 /boot ../../devices/md126",
            "mount --bind $fake /sys",
        ]
    )
    _, err = disks.run(late.names(plan), before, f'name_partitions "{disks.root}"')
    assert err == ""
    for name in (one, two):
        assert disks.table(name) == {1: "raid pv", 2: "raid boot", 3: "", 4: ""}


# -- further disks -------------------------------------------------------------------------------------------------


def test_only_disks_with_nothing_but_data_on_partitions_are_further_ones() -> None:
    found = {name: [each.disk.name for each in late.further(layout.plan)] for name, layout in LAYOUTS.items()}
    assert {name: names for name, names in found.items() if names} == {
        "two-disks": ["vdb"],
        "two-disks-kept": ["vdb"],
        "data-disk-kept": ["vdb"],
    }


def data_disks(disks: Disks) -> tuple[Plan, str, str, str]:
    """A system's disk, a new one, and one that holds data beside what goes."""
    system, new, old = disks.add(300), disks.add(200), disks.add(200)
    disks.installed(system, (Role.LINUX, 60))
    subprocess.run(["mkfs.ext4", "-q", f"/dev/{system}p1"], check=True, capture_output=True)
    disks.installed(old, (Role.SWAP, 40), (Role.LINUX, 80))
    subprocess.run(["mkfs.ext4", "-q", f"/dev/{old}p2"], check=True, capture_output=True)
    subprocess.run(["sfdisk", "-q", "--no-reread", "--part-label", f"/dev/{old}", "2", "/state/old"], check=True)
    inventory = machine(disks.disk(system), disks.disk(new), disks.disk(old, disks.partition(old, 2, "/state/old")))
    both = [Partition.mounted("/state/partition2", EXT4, 20), Partition.mounted("/state/ext3", FileSystem.EXT3, 20, grow=True)]
    beside = [Partition.mounted("/state/old", EXT4, 20), Partition.mounted("/state/partition3", EXT4, 20, grow=True)]
    answers = [DiskAnswer(system, SYSTEM), DiskAnswer(new, tuple(both)), DiskAnswer(old, tuple(beside))]
    return plan_of(inventory, *answers), system, new, old


@pytest.mark.parametrize("shell", ["busybox", "dash"])
def test_further_disks_are_made_and_what_is_kept_on_them_stays(disks: Disks, shell: str) -> None:
    plan, system, new, old = data_disks(disks)
    functions = late.functions(plan, by_partman=True)
    elsewhere = f"{disks.folder}/elsewhere"
    fill = f"mkdir {elsewhere}; mount /dev/{old}p2 {elsewhere}; echo precious >{elsewhere}/file; umount /dev/{old}p2\n"
    mounts = (
        f'mount /dev/{system}p1 "$ROOT"; mkdir -p "$ROOT/etc"; [ -s "$ROOT/etc/fstab" ] || echo "# fstab" >"$ROOT/etc/fstab"\n'
    )
    state = f"{disks.root}/state"
    look = f"cat {state}/old/file; echo new >>{state}/partition2/file; cat {state}/partition2/file"
    root = f'"{disks.root}/"'
    out, err = disks.run(functions, fill + mounts, f"further_disks {root}; name_partitions {root}\n{look}", shell)
    assert "can't" not in err
    assert out == "precious\nnew\n"
    assert disks.table(new) == {1: "/state/partition2", 2: "/state/ext3"}
    assert disks.table(old)[2] == "/state/old"
    assert disks.table(old)[1] == "/state/partition3"
    out, err = disks.run(functions, mounts, f"further_disks {root}; further_disks {root}\n{look}\ncat {root}/etc/fstab", shell)
    assert err == ""
    assert out.startswith("precious\nnew\nnew\n# fstab\n")
    fstab = [line.split() for line in out.splitlines()[4:]]
    wanted = {part.mount_point: part.filesystem_uuid for part in plan.partitions if part.is_data}
    assert {line[1]: line[0] for line in fstab} == {point: f"UUID={uuid}" for point, uuid in wanted.items()}
    assert {line[3] for line in fstab} == {"defaults,nofail"}


def test_a_further_disk_that_is_used_is_left_alone(disks: Disks) -> None:
    plan, system, new, _ = data_disks(disks)
    disks.installed(new, (Role.LINUX, 60))
    used = f"mkfs.ext4 -q /dev/{new}p1; mkdir {disks.folder}/m; mount /dev/{new}p1 {disks.folder}/m; "
    mounts = f'mount /dev/{system}p1 "$ROOT"; mkdir -p "$ROOT/etc"'
    _, err = disks.run(late.functions(plan, by_partman=True), used + mounts, f'further_disks "{disks.root}"')
    assert f"bootserver: {new} is in use, and is left alone\n" in err
    assert disks.table(new) == {1: ""}


def test_a_further_disk_of_another_size_is_left_alone(disks: Disks) -> None:
    plan, system, new, old = data_disks(disks)
    functions = late.functions(plan, by_partman=True).replace(str(200 * MIB), str(201 * MIB))
    mounts = f'mount /dev/{system}p1 "$ROOT"; mkdir -p "$ROOT/etc"'
    _, err = disks.run(functions, mounts, f'further_disks "{disks.root}"')
    assert err.startswith(f"bootserver: {new} is another disk now, and is left alone\n")
    blkid = subprocess.run(["blkid", "-p", f"/dev/{new}"], capture_output=True, text=True, check=False)
    assert blkid.stdout == ""
    assert disks.table(old)[1] == ""


# -- texts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*LAYOUTS, "grown"])
def test_the_functions_are_shell_that_every_shell_takes(name: str, tmp_path: Path) -> None:
    plan = kept_stack(grown=True).plan if name == "grown" else LAYOUTS[name].plan
    script = tmp_path / "late"
    script.write_text(late.functions(plan, by_partman=True))
    for shell in SHELLS.values():
        if shutil.which(shell[0]) is not None:
            assert subprocess.run([*shell, "-n", script], capture_output=True, text=True, check=False).stderr == ""


@pytest.mark.parametrize(
    "name", ["x'; touch HACKED; '", "$(touch HACKED)", "`touch HACKED`", "a\ntouch HACKED\n", '"; touch HACKED; "']
)
def test_no_name_is_ever_run(name: str, tmp_path: Path) -> None:
    plan = LAYOUTS["two-disks"].plan
    disks = tuple(
        replace(
            each, partitions=tuple(replace(part, name=name, mount_point=part.mount_point and name) for part in each.partitions)
        )
        for each in plan.disks
    )
    script = tmp_path / "late"
    script.write_text(
        f"{late.functions(replace(plan, disks=disks), by_partman=True)}\nname_partitions {tmp_path}\nfurther_disks {tmp_path}\n"
    )
    subprocess.run(["sh", script], capture_output=True, check=False, cwd=tmp_path, timeout=30)
    assert [each.name for each in tmp_path.iterdir() if each.name == "HACKED"] == []


def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("needs shellcheck")
    script = tmp_path / "late.sh"
    script.write_text(
        f"#!/bin/sh\n{late.functions(LAYOUTS['two-disks'].plan, by_partman=True)}\nname_partitions /\nfurther_disks /\n"
    )
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
