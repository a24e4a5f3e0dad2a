"""What the lab needs of the machine that it runs on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.lab.guest import OVMF_CODE, OVMF_VARIABLES

_PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "ip": "iproute2",
    "setpriv": "util-linux",
    "tcpdump": "tcpdump",
    "cpio": "cpio",
    "busybox": "busybox-static",
    "apt-get": "apt",
    "sfdisk": "fdisk",
    "mformat": "mtools",
    "grub-mkimage": "grub-common",
    "mmdebstrap": "mmdebstrap",
    "rsync": "rsync",
    "ssh": "openssh-client",
}
_FILES = {
    OVMF_CODE: "ovmf",
    OVMF_VARIABLES: "ovmf",
    Path("/usr/lib/ipxe/qemu/efi-virtio.rom"): "ipxe-qemu",
    Path("/usr/lib/grub/x86_64-efi"): "grub-efi-amd64-bin",
}


def what_is_missing() -> str | None:
    """Why the lab can't run here, with the way out; None when it can."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun, for guests' network cards"
    packages = {package for program, package in _PROGRAMS.items() if not shutil.which(program)}
    packages |= {package for file, package in _FILES.items() if not file.exists()}
    if packages:
        return f"needs: apt-get install {' '.join(sorted(packages))}"
    return None
