"""An image that can't boot says so at once, and what is missing."""

from __future__ import annotations

import gzip
import lzma
import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bootserver.errors import Refused
from bootserver.images import mending, ramdisk
from bootserver.images.bootable import Finding, findings
from bootserver.images.ramdisk import RamdiskError
from bootserver.tree import facts
from bootserver.tree.facts import version_key
from tests import archives, trees

VERSION = "6.1.0-40-amd64"
DRIVERS = ("virtio_blk", "virtio_scsi", "ahci", "nvme", "sd_mod", "ext4")
_ELF = b"\x7fELF\x02\x01\x01" + bytes(11)


def cpio(names: list[str], folder: Path) -> bytes:
    """What cpio(1) makes of empty files of these names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"module" * 100)
    listed = "\n".join([".", *names]).encode()
    return subprocess.run(
        ["cpio", "--create", "--format=newc", "--quiet"], input=listed, cwd=folder, capture_output=True, check=True
    ).stdout


def modules(*drivers: str) -> list[str]:
    return [
        f"usr/lib/modules/{VERSION}/kernel/drivers/{name.replace('_', '-') if name == 'sd_mod' else name}.ko.xz"
        for name in drivers
    ]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """One that can boot, as far as looking at it tells."""
    if (missing := trees.what_is_missing()) is not None:
        pytest.skip(missing)
    tree = trees.plain_tree(tmp_path / "tree")
    for name in ("usr/sbin/grub-install", "usr/lib/grub/i386-pc/normal.mod", "usr/lib/grub/x86_64-efi/normal.mod",
                 "usr/bin/bash", "usr/lib/systemd/systemd-udevd", "usr/sbin/sshd", "usr/bin/rsync", "usr/sbin/update-initramfs",
                 f"boot/vmlinuz-{VERSION}", f"usr/lib/modules/{VERSION}/modules.dep"):  # fmt: skip
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(b"x")
    (tree / "lib").symlink_to("usr/lib")
    (tree / "sbin").symlink_to("usr/sbin")
    (tree / "usr/lib/systemd/systemd").write_bytes(_ELF + struct.pack("<H", 62))
    (tree / "usr/sbin/init").symlink_to("/lib/systemd/systemd")
    lines = [f"kernel/drivers/{name}.ko: kernel/lib/x.ko" for name in DRIVERS]
    (tree / f"usr/lib/modules/{VERSION}/modules.dep").write_text("\n".join(lines))
    (tree / f"boot/initrd.img-{VERSION}").write_bytes(gzip.compress(cpio(modules(*DRIVERS), tmp_path / "full")))
    return tree


def lacks(tree: Path) -> list[str]:
    return [finding.what for finding in findings(tree)]


def test_a_whole_system_lacks_nothing(tree: Path) -> None:
    assert findings(tree) == ()
    found = facts.gather(tree)
    assert (found.distribution, found.architecture, found.family) == ("debian-12", "amd64", facts.Family.DEBIAN)
    assert found.kernel is not None
    assert (found.kernel.version, found.kernel.ramdisk) == (VERSION, f"/boot/initrd.img-{VERSION}")


def _remove(*names: str) -> Callable[[Path], object]:
    return lambda tree: subprocess.run(["rm", "-r", *(str(tree / name) for name in names)], check=True)


def _write(name: str, text: str) -> Callable[[Path], object]:
    def write(tree: Path) -> None:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)

    return write


LACKS: dict[str, tuple[Callable[[Path], object], str, bool]] = {
    "kernel": (_remove(f"boot/vmlinuz-{VERSION}"), "it has no kernel", True),
    "kernel, a link out of the tree": (
        lambda tree: subprocess.run(["ln", "-sf", "/etc/shadow", tree / f"boot/vmlinuz-{VERSION}"], check=True),
        "it has no kernel",
        True,
    ),
    "modules": (_remove(f"usr/lib/modules/{VERSION}"), f"kernel {VERSION} has no modules", True),
    "grub-install": (_remove("usr/sbin/grub-install"), "it has no boot loader", True),
    "BIOS": (_remove("usr/lib/grub/i386-pc"), "it has no GRUB for BIOS", True),
    "UEFI": (_remove("usr/lib/grub/x86_64-efi"), "it has no GRUB for UEFI", True),
    "initrd": (_remove(f"boot/initrd.img-{VERSION}"), f"kernel {VERSION} has no initrd", True),
    "init": (_remove("usr/sbin/init", "usr/lib/systemd/systemd"), "it has no init", True),
    "bash": (_remove("usr/bin/bash"), "it has no bash", False),
    "udev": (_remove("usr/lib/systemd/systemd-udevd"), "it has no udev", False),
    "sshd": (_remove("usr/sbin/sshd"), "it has no sshd", False),
    "rsync": (_remove("usr/bin/rsync"), "it has no rsync", False),
    "MODULES=dep": (
        _write("etc/initramfs-tools/initramfs.conf", "# x\nMODULES=dep\n"),
        "/etc/initramfs-tools/initramfs.conf says MODULES=dep",
        False,
    ),
    "MODULES=dep in conf.d": (
        _write("etc/initramfs-tools/conf.d/driver-policy", 'MODULES="dep"\n'),
        "/etc/initramfs-tools/conf.d/driver-policy says MODULES=dep",
        False,
    ),
    "hostonly": (
        lambda tree: [
            _remove("usr/sbin/update-initramfs")(tree),
            _write("usr/bin/dracut", "x")(tree),
            _write("usr/lib/dracut/dracut.conf.d/01-dist.conf", 'hostonly="yes"\n')(tree),
        ],
        "/usr/lib/dracut/dracut.conf.d/01-dist.conf says hostonly=yes",
        False,
    ),
    "root's mode": (lambda tree: tree.chmod(0o700), "its root folder has mode 0700", True),
}


@pytest.mark.parametrize(("change", "what", "prevents"), LACKS.values(), ids=LACKS.keys())
def test_what_is_missing_is_named(tree: Path, change: Callable[[Path], object], what: str, prevents: bool) -> None:
    change(tree)
    found = {finding.what: finding for finding in findings(tree)}
    assert what in found
    assert found[what].prevents_boot is prevents
    assert found[what].mendable


def test_the_last_setting_wins(tree: Path) -> None:
    _write("etc/initramfs-tools/initramfs.conf", "MODULES=dep\n")(tree)
    _write("etc/initramfs-tools/conf.d/site", "MODULES=most\n")(tree)
    assert findings(tree) == ()


def test_a_container_s_tree_lacks_all_that_a_machine_needs(tmp_path: Path) -> None:
    if (missing := trees.what_is_missing()) is not None:
        pytest.skip(missing)
    found = findings(trees.plain_tree(tmp_path / "tree"))
    assert [finding.prevents_boot for finding in found] == sorted((finding.prevents_boot for finding in found), reverse=True)
    assert {"it has no kernel", "it has no init"} <= {finding.what for finding in found}


# -- initrds ----------------------------------------------------------------------------------------------------------

PACKS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda content: content,
    "gzip": gzip.compress,
    "xz": lambda content: lzma.compress(content, lzma.FORMAT_XZ),
    "lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
    "zstd": archives.zstd,
}


@pytest.mark.parametrize("microcode", [False, True])
@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS.keys())
def test_an_initrd_for_one_machine_is_known_by_what_it_lacks(
    tree: Path, tmp_path: Path, pack: Callable[[bytes], bytes], microcode: bool
) -> None:
    """As one that was made with MODULES=dep in a virtual machine; in front may be an uncompressed one with microcode."""
    early = cpio(["kernel/x86/microcode/GenuineIntel.bin"], tmp_path / "early") if microcode else b""
    target = tree / f"boot/initrd.img-{VERSION}"
    target.write_bytes(early + pack(cpio(modules("virtio_blk", "ext4"), tmp_path / "one")))
    [finding] = findings(tree)
    assert finding.what == f"/boot/initrd.img-{VERSION} was made for one machine's drivers"
    assert "virtio_scsi, ahci, nvme, sd_mod" in finding.why
    target.write_bytes(early + pack(cpio(modules(*DRIVERS), tmp_path / "all")))
    assert findings(tree) == ()


def test_a_kernel_that_has_its_drivers_built_in_needs_none_in_its_initrd(tree: Path, tmp_path: Path) -> None:
    (tree / f"usr/lib/modules/{VERSION}/modules.dep").write_text("kernel/fs/ext4.ko:\n")
    (tree / f"boot/initrd.img-{VERSION}").write_bytes(cpio(["init"], tmp_path / "small"))
    assert findings(tree) == ()


DAMAGED: dict[str, bytes] = {
    "garbage": b"garbage" * 100,
    "cut gzip": gzip.compress(b"070701" + b"0" * 200)[:-20],
    "gzip of garbage": gzip.compress(b"garbage" * 100),
    "zstd of garbage": archives.zstd(b"garbage" * 100) if trees.what_is_missing() is None else b"x",
    "cut header": b"070701" + b"0" * 20,
    "a name without an end": b"070701" + b"0" * 88 + b"ffffffff" + b"0" * 8 + b"x" * 100,
    "a name of no length": b"070701" + b"0" * 200,
    "digits that are none": b"070701" + b"-" * 200,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_an_initrd_that_can_not_be_read_is_a_finding_and_no_crash(tree: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "initrd").write_bytes(content)
    with (tmp_path / "initrd").open("rb") as file, pytest.raises(RamdiskError):
        ramdisk.names(os.dup(file.fileno()))
    (tree / f"boot/initrd.img-{VERSION}").write_bytes(content)
    assert lacks(tree) == [f"/boot/initrd.img-{VERSION} can't be read"]


def test_an_initrd_that_this_frontend_can_not_unpack_is_no_reason_not_to_boot(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / f"boot/initrd.img-{VERSION}").write_bytes(archives.zstd(b"x"))
    monkeypatch.setenv("PATH", "/nowhere")
    [finding] = findings(tree)
    assert finding.what == f"/boot/initrd.img-{VERSION} was not looked into"
    assert "there is no program zstd: apt-get install zstd" in finding.why
    assert not finding.prevents_boot


# -- versions, mending ------------------------------------------------------------------------------------------------


def test_the_newest_kernel_is_the_one_with_the_highest_numbers(tree: Path) -> None:
    for version in ("6.1.0-9-amd64", "6.1.0-10-amd64", "5.10.0-99-amd64"):
        (tree / f"boot/vmlinuz-{version}").write_bytes(b"x")
    (tree / "boot/vmlinuz-0-rescue-0123").write_bytes(b"x")
    found = facts.gather(tree).kernels
    assert [kernel.version for kernel in found] == [VERSION, "6.1.0-10-amd64", "6.1.0-9-amd64", "5.10.0-99-amd64"]
    assert version_key("6.1.0-10") > version_key("6.1.0-9")


def test_what_can_not_be_mended_says_so(tree: Path) -> None:
    (tree / "etc/os-release").write_text("ID=plan9\nPRETTY_NAME='Plan 9'\n")
    assert findings(tree) == ()
    (tree / "usr/sbin/grub-install").unlink()
    with pytest.raises(Refused, match=r"Plan 9 can't be mended \(it has no boot loader\)"):
        mending.mend(tree)
    assert [finding.mendable for finding in findings(tree)] == [False]


def test_a_root_that_only_root_may_enter_is_mended_at_once(tree: Path) -> None:
    tree.chmod(0o700)
    assert mending.mend(tree) == ()
    assert tree.stat().st_mode & 0o777 == 0o755


def test_a_finding_is_one_line() -> None:
    assert str(Finding("it has no kernel", "there is no vmlinuz", True, True)) == "it has no kernel: there is no vmlinuz"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('ID=rocky\nVERSION_ID="9.4"\nPRETTY_NAME="Rocky Linux 9.4"\n', ("rocky-9.4", "Rocky Linux 9.4")),
        ("ID=arch\n", ("arch", "arch")),
        ("ID='x\n", ("linux", "linux")),
        ("", ("linux", "linux")),
        ("ID=x\nPRETTY_NAME=\"a\x1b[31mb\"\n", ("x", "a?[31mb")),
    ],
)  # fmt: skip
def test_os_release_is_read_as_data(tree: Path, text: str, expected: tuple[str, str]) -> None:
    (tree / "etc/os-release").write_text(text)
    found = facts.gather(tree)
    assert (found.distribution, found.title) == expected
