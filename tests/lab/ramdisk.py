"""A real kernel, Debian's for clouds, and a ramdisk of busybox and one script that plays an installer (``ramdisk/init``)."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.lab.cache import cached, fingerprint

_KERNEL = "linux-image-cloud-amd64"  # depends on the newest real one
_SCRIPTS = Path(__file__).with_name("ramdisk")
_BUSYBOX = Path("/bin/busybox")

# In the order in which they must be loaded: busybox' insmod follows no dependencies. The rest is in the kernel itself.
_MODULES = (
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "drivers/block/virtio_blk",
    "drivers/char/hw_random/virtio-rng",
)


@dataclass(frozen=True, slots=True)
class BootFiles:
    """What a test node boots."""

    kernel: Path
    ramdisk: Path


def boot_files() -> BootFiles:
    """The test kernel and its ramdisk, made when they are not in the cache.

    :raises subprocess.CalledProcessError: apt knows no such kernel, or can't fetch it.
    """
    package = _newest_kernel()
    kernel = cached(f"kernel-{package}-{fingerprint(*_MODULES)}", lambda folder: _fetch_kernel(package, folder))
    scripts = sorted(_SCRIPTS.iterdir())
    inputs = fingerprint(package, *_MODULES, _BUSYBOX, *(script.name for script in scripts), *scripts)
    ramdisk = cached(f"ramdisk-{inputs}", lambda folder: _build_ramdisk(kernel, folder))
    return BootFiles(kernel / "vmlinuz", ramdisk / "ramdisk.img")


def _newest_kernel() -> str:
    depends = _output("apt-cache", "depends", "--important", _KERNEL)
    match = re.search(r"Depends: (linux-image-\S+)", depends)
    assert match, f"apt knows no kernel of {_KERNEL}: apt-get update"
    version = re.search(r"^Version: (\S+)", _output("apt-cache", "show", "--no-all-versions", match[1]), re.MULTILINE)
    assert version, f"apt knows {match[1]}, but no version of it: apt-get update"
    return f"{match[1]}={version[1]}"


def _fetch_kernel(package: str, folder: Path) -> None:
    """Put ``vmlinuz`` and our modules into `folder`; nothing is installed on this machine."""
    unpacked = folder / "unpacked"
    # apt's own sandbox user can't write into our folder.
    _output("apt-get", "download", "-o", "APT::Sandbox::User=root", package, cwd=folder)
    [archive] = folder.glob("*.deb")
    _output("dpkg", "-x", str(archive), str(unpacked))
    [kernel] = (unpacked / "boot").glob("vmlinuz-*")
    [tree] = (unpacked / "lib" / "modules").glob("*/kernel")
    kernel.rename(folder / "vmlinuz")
    (folder / "vmlinuz").chmod(0o644)
    (folder / "modules").mkdir()
    for module in _MODULES:
        source = tree / f"{module}.ko"
        source.rename(folder / "modules" / source.name)
    shutil.rmtree(unpacked)
    archive.unlink()


def _build_ramdisk(kernel: Path, folder: Path) -> None:
    root = folder / "root"
    for name in ("bin", "dev", "modules", "proc", "run", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(_BUSYBOX, root / "bin" / "busybox")
    for number, module in enumerate(_MODULES):
        name = f"{Path(module).name}.ko"
        shutil.copy(kernel / "modules" / name, root / "modules" / f"{number:02}-{name}")
    for script in _SCRIPTS.iterdir():
        shutil.copy(script, root / script.name)
        (root / script.name).chmod(0o755)
    (folder / "ramdisk.img").write_bytes(pack(root))
    shutil.rmtree(root)


def pack(root: Path) -> bytes:
    """A folder as a kernel's ramdisk: cpio, gzip."""
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    archive = subprocess.run(
        ["cpio", "--create", "--format=newc", "--quiet", "--reproducible"],
        check=True,
        capture_output=True,
        cwd=root,
        input="\n".join(names).encode(),
    ).stdout
    return subprocess.run(["gzip", "-6", "-n"], check=True, capture_output=True, input=archive).stdout


def _output(*command: str, cwd: Path | None = None) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd).stdout
