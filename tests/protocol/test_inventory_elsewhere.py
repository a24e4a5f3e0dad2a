"""``installer/inventory`` in the shells and environments of other installers: one script of two files, the same machine.

Anaconda's shell is bash, subiquity's dash; debian-installer's is busybox, with sysfs and udev's database alone: here it is the
real one, out of its own ramdisk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootserver.install import inventory
from bootserver.install.inventory import Disk
from tests.lab.process import REPOSITORY

GB = 1 << 30
RAMDISK = Path("/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64/initrd.gz")
TABLE = """label: gpt
start=2048, size=4096, type=21686148-6449-6E6F-744E-656564454649, name="bios"
start=8192, size=204800, name="/state/partition1"
start=212992, size=204800, type=A19D880F-05FC-4D3B-A006-743F0F84911E, name="raid $(reboot) 'x"
"""


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A disk with three partitions, one of which has a file system; its name."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for loop devices")
    if missing := [name for name in ("losetup", "partx", "sfdisk", "mkfs.ext4", "unshare") if not shutil.which(name)]:
        pytest.skip(f"needs the programs {' '.join(missing)}")
    file = tmp_path_factory.mktemp("disk") / "disk"
    file.touch()
    os.truncate(file, GB)
    done = subprocess.run(["losetup", "--find", "--show", str(file)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"needs loop devices: {done.stderr.strip()}")
    device = done.stdout.strip()
    try:
        command = ["sfdisk", "--quiet", "--no-tell-kernel", device]
        subprocess.run(command, input=TABLE, text=True, check=True, capture_output=True)
        subprocess.run(["partx", "--add", device], capture_output=True, check=False)
        if not Path(f"{device}p2").exists():
            pytest.skip("needs partitions on loop devices, which neither this kernel nor partx makes")
        subprocess.run(["mkfs.ext4", "-q", "-F", f"{device}p2"], check=True)
        yield device.removeprefix("/dev/")
    finally:
        subprocess.run(["partx", "--delete", device], capture_output=True, check=False)
        subprocess.run(["losetup", "--detach", device], check=True)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the frontend serves it: one file."""
    path = tmp_path_factory.mktemp("script") / "early"
    path.write_text("".join((REPOSITORY / "installer" / name).read_text() for name in ("disks.sh", "inventory")))
    return path


def uuid_of(loop: str) -> str:
    command = ["blkid", "-p", "-s", "UUID", "-o", "value", f"/dev/{loop}p2"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def read(said: bytes) -> Disk:
    document: dict[str, Any] = inventory.decode(said)
    for device in document["lsblk"]["blockdevices"]:
        device["type"] = "disk"  # that it is a loop device is nobody's business
    [disk] = inventory.parse(document).disks
    return disk


@pytest.mark.parametrize("shell", [["dash"], ["bash", "--posix"], ["busybox", "sh"]], ids=lambda words: words[0])
def test_every_shell_says_the_same(shell: list[str], script: Path, loop: str) -> None:
    if not shutil.which(shell[0]):
        pytest.skip(f"needs the program {shell[0]}")
    environment = {"PATH": os.environ["PATH"], "BOOTSERVER_DISKS": loop}
    done = subprocess.run([*shell, "-u", str(script)], capture_output=True, check=True, env=environment)
    assert done.stderr == b""
    disk = read(done.stdout)
    assert (disk.name, disk.size, disk.table) == (loop, GB, "gpt")
    assert [(part.number, part.label, part.start, part.filesystem, part.filesystem_uuid) for part in disk.partitions] == [
        (1, "bios", 1 << 20, "", ""),
        (2, "/state/partition1", 4 << 20, "ext4", uuid_of(loop)),
        (3, "raid $(reboot) 'x", 104 << 20, "", ""),
    ]


@pytest.fixture(scope="module")
def debian_installer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its ramdisk, unpacked."""
    if not RAMDISK.exists():
        pytest.skip("needs: apt-get install debian-installer-12-netboot-amd64")
    if not shutil.which("cpio"):
        pytest.skip("needs the program cpio")
    root = tmp_path_factory.mktemp("installer")
    with subprocess.Popen(["zcat", str(RAMDISK)], stdout=subprocess.PIPE) as unpacked:
        subprocess.run(["cpio", "-idm", "--quiet"], stdin=unpacked.stdout, cwd=root, check=False, capture_output=True)
    return root


@contextlib.contextmanager
def udev_s_database(root: Path, loop: str) -> Iterator[None]:
    """What udev's rules write down of a disk that has a GPT (60-persistent-storage.rules), and nothing of its partitions."""
    folder = root / "run" / "udev" / "data"
    folder.mkdir(parents=True)
    number = Path(f"/sys/block/{loop}/dev").read_text().strip()
    (folder / f"b{number}").write_text("I:1\nE:ID_PART_TABLE_TYPE=gpt\nE:ID_PART_TABLE_UUID=x\n")
    try:
        yield
    finally:
        shutil.rmtree(root / "run" / "udev")


def test_debian_installer_has_no_lsblk_and_no_sfdisk_and_says_what_it_can(
    debian_installer: Path, script: Path, loop: str
) -> None:
    shutil.copyfile(script, debian_installer / "early")
    mounts = 'for each in dev proc sys; do mount --rbind "/$each" "$1/$each"; done; exec chroot "$1" /bin/sh /early'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", mounts, "sh", str(debian_installer)]
    with udev_s_database(debian_installer, loop):
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "BOOTSERVER_DISKS": loop}
        done = subprocess.run(command, capture_output=True, check=True, env=environment)
    assert done.stderr == b""
    disk = read(done.stdout)
    assert (disk.name, disk.size, disk.sector_size, disk.table) == (loop, GB, 512, "gpt")
    assert [(part.number, part.start, part.size, part.filesystem, part.filesystem_uuid) for part in disk.partitions] == [
        (1, 1 << 20, 2 << 20, "", ""),
        (2, 4 << 20, 100 << 20, "ext4", uuid_of(loop)),
        (3, 104 << 20, 100 << 20, "", ""),
    ]
