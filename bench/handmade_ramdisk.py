"""The reference's ramdisk (``bench/handmade``): busybox, three programs with their libraries, and drivers of virtio alone."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.lab.cache import cached, fingerprint
from tests.lab.ramdisk import boot_files, pack

HERE = Path(__file__).resolve().parent / "handmade"
PROGRAMS = ("rsync", "sfdisk", "mke2fs")


def handmade() -> tuple[Path, Path]:
    """:returns: its kernel (Debian's for clouds) and its ramdisk."""
    files = boot_files()
    ramdisk = cached(
        f"handmade-{fingerprint(*sorted(HERE.iterdir()), files.kernel)}", lambda folder: _build(folder, files.kernel)
    )
    return files.kernel, ramdisk / "ramdisk.img"


def _build(folder: Path, kernel: Path) -> None:
    root = folder / "root"
    for name in ("bin", "dev", "etc", "mnt", "modules", "proc", "run", "sbin", "sys", "tmp", "lib", "usr"):
        (root / name).mkdir(parents=True)
    (root / "lib64").symlink_to("lib")
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for name in ("init", "dhcp-event"):
        shutil.copy(HERE / name, root / name)
    for module in sorted((kernel.parent / "modules").iterdir()):
        shutil.copy(module, root / "modules" / module.name)
    # In the order in which they must be loaded; the lab keeps them with the kernel.
    for number, name in enumerate(("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
                                   "failover", "net_failover", "virtio_net", "virtio_blk", "virtio-rng")):  # fmt: skip
        (root / "modules" / f"{name}.ko").rename(root / "modules" / f"{number:02}-{name}.ko")
    for name in PROGRAMS:
        program = shutil.which(name)
        assert program, f"there is no program {name}"
        # busybox' shell runs an applet of its own first: mke2fs is one.
        shutil.copy(program, root / "bin" / ("mkfs.ext4" if name == "mke2fs" else name))
        listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
        for library in re.findall(r"(/\S+\.so\S*)", listed):
            target = root / library.removeprefix("/usr").lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
    shutil.copy("/etc/mke2fs.conf", root / "etc/mke2fs.conf")
    (folder / "ramdisk.img").write_bytes(pack(root))
    shutil.rmtree(root)
