"""The installer as it is built: whole, the same each time, and only when something has changed."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootserver import data
from bootserver.errors import Unavailable
from bootserver.install.ramdisk.build import build, describe
from bootserver.install.ramdisk.programs import PROGRAMS
from tests.administrator import Administrator
from tests.unit.test_ramdisk import elf

NEEDED = ("busybox", "cpio", *(program.name for program in PROGRAMS if program.required))
VERSION = "6.1.0-99-amd64"


@pytest.fixture(autouse=True)
def programs() -> None:
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        pytest.skip(f"needs {' '.join(missing)}")


class Frontend:
    """A machine with real programs, and a kernel that is enough to be packed."""

    def __init__(self, folder: Path, *, without: str = "") -> None:
        self.root = folder / "root"
        self.tftpboot = folder / "tftpboot"
        self.cache = folder / "cache"
        for name in ("lib", "lib64"):
            (self.root / "usr").mkdir(parents=True, exist_ok=True)
            (self.root / "usr" / name).symlink_to(f"/usr/{name}")
            (self.root / name).symlink_to(f"/{name}")
        for name in {*NEEDED, "mdadm", "mkswap"} - {without}:
            self.install(name)
        kernel = self.cache / f"linux-image-{VERSION}=6.1.1-1"
        modules = kernel / "lib" / "modules" / VERSION
        for name in ("virtio_net", "e1000e", "nvme", "of_this_site"):
            path = modules / "kernel" / f"{name}.ko"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(elf({"alias": [f"pci:{name}"], "description": ["a driver " * 20]}))
        (kernel / "boot").mkdir()
        (kernel / "boot" / f"vmlinuz-{VERSION}").write_bytes(b"a kernel")

    def install(self, name: str) -> None:
        path = shutil.which(name)
        if path is not None:
            (self.root / "usr" / "sbin").mkdir(exist_ok=True)
            shutil.copy(path, self.root / "usr" / "sbin" / name)

    @property
    def drivers(self) -> Path:
        """A site's own list."""
        return self.root / "installer-modules"

    def build(self, *, force: bool = False) -> bool:
        """:returns: whether something was to do."""
        return build(self.tftpboot, self.cache, drivers=self.drivers, force=force, root=self.root).fresh

    @property
    def ramdisk(self) -> bytes:
        return (self.tftpboot / "installer" / "initrd.img").read_bytes()

    def unpack(self, target: Path) -> Path:
        """Unpack the ramdisk as the kernel does: one archive after the other, packed or not."""
        target.mkdir()
        start = self.ramdisk.index(b"\x1f\x8b\x08", self.ramdisk.index(b"TRAILER!!!"))
        for archive in (self.ramdisk[:start], gzip.decompress(self.ramdisk[start:])):
            command = ["cpio", "-id", "--quiet", "--nonmatching", "dev/console", "dev/null"]
            subprocess.run(command, input=archive, cwd=target, check=True, capture_output=True)
        return target


@pytest.fixture
def frontend(tmp_path: Path) -> Frontend:
    return Frontend(tmp_path)


@pytest.fixture
def odd_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path, odd_umask: None) -> None:
    ramdisks = []
    for name in ("one", "another/deeper"):
        frontend = Frontend(tmp_path / name)
        for path in frontend.cache.rglob("*.ko"):
            os.utime(path, (len(name), len(name)))
        frontend.build()
        ramdisks.append(frontend.ramdisk)
        for file in (frontend.tftpboot / "installer").iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o644, "the service reads it as another user"
    assert ramdisks[0] == ramdisks[1]


def test_all_that_an_install_needs_is_in_it(frontend: Frontend, tmp_path: Path) -> None:
    frontend.build()
    root = frontend.unpack(tmp_path / "unpacked")
    for path in data.folder("installer").iterdir():
        inside = root / ("init" if path.name == "init" else f"usr/lib/bootserver/{path.name}")
        if path.is_file():
            assert inside.read_bytes() == path.read_bytes()
    assert os.access(root / "init", os.X_OK)
    assert (root / "lib").readlink() == Path("usr/lib")
    assert (root / "usr/sbin/mkfs.ext4").readlink() == Path("mke2fs")
    assert (root / "usr/sbin/udhcpc").readlink() == Path("/bin/busybox")
    assert not (root / "usr/sbin/mke2fs").is_symlink(), "busybox has one, too, and it is not the one that is meant"
    assert "mke2fs()" in (root / "usr/lib/bootserver/real-names").read_text()
    folder = root / "usr/lib/modules" / VERSION
    assert {path.name for path in folder.iterdir()} == {
        "virtio_net.ko",
        "e1000e.ko.xz",
        "nvme.ko.xz",
        "modules.dep",
        "modules.alias",
    }
    done = subprocess.run(["chroot", str(root), "/usr/sbin/rsync", "--version"], capture_output=True, text=True, check=False)
    if os.geteuid() == 0:
        assert "protocol version" in done.stdout, done.stderr


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mdadm") is None, reason="needs root, for chroot, and mdadm")
def test_a_packed_program_is_unpacked_when_it_is_called(frontend: Frontend, tmp_path: Path) -> None:
    frontend.build()
    root = frontend.unpack(tmp_path / "unpacked")
    program = root / "usr/sbin/mdadm"
    assert program.read_bytes().startswith(b"#!")
    command = ["chroot", str(root), "/usr/sbin/mdadm", "--version"]
    together = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(4)]
    for process in together:
        said = process.communicate(timeout=60)[0].decode()
        assert "mdadm - v" in said
        assert process.returncode == 0
    assert program.read_bytes().startswith(b"\x7fELF")
    assert [path.name for path in (root / "usr/lib/bootserver/packs").iterdir()] == ["mdadm.cpio.xz"], "nothing is left aside"


def test_what_is_up_to_date_stays(frontend: Frontend) -> None:
    assert frontend.build()
    before = (frontend.tftpboot / "installer" / "initrd.img").stat()
    assert not frontend.build()
    assert (frontend.tftpboot / "installer" / "initrd.img").stat().st_ino == before.st_ino
    assert frontend.build(force=True)
    assert (frontend.tftpboot / "installer" / "initrd.img").stat().st_ino != before.st_ino


@pytest.mark.parametrize("change", ["program changed", "program added", "kernel", "ramdisk damaged", "description gone"])
def test_what_is_not_up_to_date_is_built(change: str, frontend: Frontend) -> None:
    frontend.build()
    installer = frontend.tftpboot / "installer"
    match change:
        case "program changed":
            os.utime(frontend.root / "usr/sbin/rsync", (1, 1))
        case "program added":
            shutil.copy(frontend.root / "usr/sbin/rsync", frontend.root / "usr/sbin/kexec")
        case "kernel":
            old = frontend.cache / f"linux-image-{VERSION}=6.1.1-1"
            old.rename(frontend.cache / f"linux-image-{VERSION}=6.1.1-2")
        case "ramdisk damaged":
            (installer / "initrd.img").write_bytes(b"half")
        case "description gone":
            (installer / "build.json").unlink()
    assert frontend.build()
    assert not frontend.build()


@pytest.mark.parametrize("name", ["rsync", "mke2fs", "sfdisk", "lsblk", "busybox"])
def test_a_program_that_it_can_not_do_without_is_named_with_its_package(name: str, tmp_path: Path) -> None:
    packages = {program.name: program.package for program in PROGRAMS} | {"busybox": "busybox-static"}
    frontend = Frontend(tmp_path, without=name)
    with pytest.raises(Unavailable, match=f"without {name}: apt-get install {packages[name]}$"):
        frontend.build()
    assert not (frontend.tftpboot / "installer" / "initrd.img").exists()


def test_a_busybox_without_what_our_scripts_call_is_refused(frontend: Frontend) -> None:
    busybox = frontend.root / "usr/sbin/busybox"
    busybox.unlink()
    # The program that stands for it must be one, with libraries like any other, and list no applets.
    shutil.copy("/bin/true", busybox)
    with pytest.raises(Unavailable, match=r"has no .*udhcpc.*: apt-get install busybox-static"):
        frontend.build()


def test_show_tells_what_it_is_made_of_and_what_it_lacks(tmp_path: Path, template: Path) -> None:
    admin = Administrator(tmp_path, template)
    assert "`bootserver installer build`" in admin.fails("installer", "show")
    frontend = Frontend(tmp_path / "frontend")
    report = build(admin.tftpboot, frontend.cache, root=frontend.root)

    text = admin.does("installer", "show")
    assert text.startswith(f"installer for x86_64, kernel {VERSION}\n")
    assert "kexec (package kexec-tools)" in text
    assert "drivers that this kernel does not have: " in text
    assert '"kernel": "6.1.0-99-amd64"' in admin.does("installer", "show", "--format", "json")
    kept = describe(admin.tftpboot)
    assert kept is not None
    assert (kept.modules, kept.missing_programs) == (3, report.missing_programs)


def test_an_architecture_that_there_is_no_installer_for_is_a_wrong_command(tmp_path: Path, template: Path) -> None:
    admin = Administrator(tmp_path, template)
    assert "only for x86_64" in admin.fails("installer", "build", "--architecture", "vax", status=2)


def test_a_site_s_own_drivers_are_taken_along(frontend: Frontend, tmp_path: Path) -> None:
    frontend.build()
    assert not list(frontend.unpack(tmp_path / "without").rglob("of_this_site.ko*"))
    frontend.drivers.write_text("# our own card\nof_this_site\n")
    assert frontend.build(), "a list that was not there is one more input"
    assert list(frontend.unpack(tmp_path / "with").rglob("of_this_site.ko*"))
    assert not frontend.build()
