"""What rsync's own lines mean: real rsync, between two folders of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bootserver import data
from bootserver.images.capturing import foreign_mounts
from bootserver.images.difference import Difference, Kind
from bootserver.images.updates import RULES, Update, read_item

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="needs: apt-get install rsync")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Twins, to the second of their files' times."""
    image, node = tmp_path / "image", tmp_path / "node"
    for name in ("etc/a", "etc/b", "etc/c", "usr/bin/program", "usr/lib/gone", "etc/a name with -> in it"):
        (image / name).parent.mkdir(parents=True, exist_ok=True)
        (image / name).write_text(name)
    (image / "etc/link").symlink_to("a")
    shutil.copytree(image, node, symlinks=True)
    return image, node


def differences(image: Path, node: Path) -> list[Difference]:
    output = subprocess.run(
        ["rsync", "-aHAXS", "--delete", "--omit-dir-times", "--itemize-changes", "--dry-run", f"{image}/", f"{node}/"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return [found for line in output.splitlines() if (found := read_item(line)) is not None]


def test_twins_do_not_differ(folders: tuple[Path, Path]) -> None:
    (folders[1] / "etc/new").touch()
    (folders[1] / "etc/new").unlink()  # its folder has another time now
    assert differences(*folders) == []


def test_each_way_to_differ_is_told_as_what_it_is(folders: tuple[Path, Path]) -> None:
    image, node = folders
    (image / "etc/a").write_text("longer than it was")
    os.utime(image / "etc/a", (1, 1))
    (image / "etc/b").chmod(0o600)
    os.utime(image / "etc/c", (0, 0))
    (image / "usr/bin/new").write_text("new")
    (image / "opt").mkdir()
    (node / "usr/lib/old").mkdir()
    (node / "usr/lib/old/file").write_text("removed from the image")
    (image / "etc/link").unlink()
    (image / "etc/link").symlink_to("b")
    found = {each.path: each for each in differences(image, node)}
    assert found.pop("/etc/a") == Difference(Kind.CHANGED, "/etc/a", ("content", "time"))
    assert found.pop("/etc/b") == Difference(Kind.CHANGED, "/etc/b", ("mode",))
    assert found.pop("/etc/c") == Difference(Kind.CHANGED, "/etc/c", ("time",))
    assert found.pop("/usr/bin/new").kind is Kind.ADDED
    assert found.pop("/opt").kind is Kind.ADDED
    assert found.pop("/usr/lib/old").kind is found.pop("/usr/lib/old/file").kind is Kind.REMOVED
    assert found.pop("/etc/link").kind is Kind.CHANGED
    assert found == {}


@pytest.mark.parametrize(
    "line", ["", "sending incremental file list", "building file list ... done", "./", "total size is 5  speedup is 1.00"]
)
def test_any_other_line_is_nothing(line: str) -> None:
    assert read_item(line) is None


@pytest.mark.parametrize(
    ("path", "reboots"),
    [
        ("/boot/vmlinuz-6.1.0-30-amd64", True),
        ("/boot/initrd.img-6.1.0-30-amd64", True),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", True),
        ("/lib64/ld-linux-x86-64.so.2", True),
        ("/usr/lib/systemd/systemd", True),
        ("/usr/lib/modules/6.1.0-30-amd64/modules.dep", True),
        ("/usr/lib/systemd/system/ssh.service", False),
        ("/usr/lib/x86_64-linux-gnu/libcrypt.so.1", False),
        ("/etc/motd", False),
        ("/boot/config-6.1.0-30-amd64", False),
    ],
)
def test_a_reboot_is_needed_for_what_is_in_memory(path: str, reboots: bool) -> None:
    assert Update((Difference(Kind.CHANGED, path),)).needs_reboot is reboots


def test_what_is_a_node_s_own_is_excluded_from_the_root_on() -> None:
    lines = (data.folder("kickstart") / RULES).read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert len(rules) > 40 and all(rule[:3] in ("- /", "+ /") for rule in rules), "a pattern without a slash would match anywhere"


def test_only_a_machine_s_own_disks_are_captured() -> None:
    mounts = (
        "/dev/vda3 / ext4 rw 0 0\nproc /proc proc rw 0 0\n/dev/vda4 /var xfs rw 0 0\n/dev/vda2 /boot/efi vfat rw 0 0\n"
        "tmpfs /run tmpfs rw 0 0\nfs:/export /mnt/with\\040space nfs4 rw 0 0\noverlay /var/lib/docker/x overlay rw 0 0\n"
    )
    assert foreign_mounts(mounts) == ["/proc", "/run", "/mnt/with space", "/var/lib/docker/x"]
