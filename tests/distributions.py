"""Install trees as distributions make them, with a few bytes for each file, and ISOs of them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

NETBOOT = Path("/usr/lib/debian-installer/images/12/amd64/text")
"""Debian's own, of the package debian-installer-12-netboot-amd64."""

_IMAGES = {"images/pxeboot/vmlinuz": "kernel", "images/pxeboot/initrd.img": "ramdisk"}

# As lorax of RHEL 7 writes it: [general] only, and the major number only; .discinfo has the minor one.
CENTOS_7 = """\
[general]
name = CentOS-7
family = CentOS
timestamp = 1603729576.26
variant =
version = 7
packagedir =
arch = x86_64

[stage2]
mainimage = LiveOS/squashfs.img

[images-x86_64]
kernel = images/pxeboot/vmlinuz
initrd = images/pxeboot/initrd.img
boot.iso = images/boot.iso

[images-xen]
kernel = images/pxeboot/vmlinuz
initrd = images/pxeboot/initrd.img
"""

# As productmd writes it, from RHEL 8 and Fedora 21 on; {} are filled in.
PRODUCTMD = """\
[checksums]
images/efiboot.img = sha256:f3c14ca492154f132287f14644bd1ab9405bdf984c51283e31f27bd3fffa2ffb

[general]
; WARNING.0 = This section provides compatibility with pre-productmd treeinfos.
; WARNING.1 = Read productmd documentation for details about new format.
arch = {arch}
family = {family}
name = {family} {version}
packagedir = AppStream/Packages
platforms = {arch},xen
repository = AppStream
timestamp = 1714500000
variant = AppStream
variants = AppStream,BaseOS
version = {version}

[header]
type = productmd.treeinfo
version = 1.2

[images-{arch}]
efiboot.img = images/efiboot.img
initrd = images/pxeboot/initrd.img
kernel = images/pxeboot/vmlinuz

[media]
discnum = 1
totaldiscs = 1

[release]
name = {family}
short = X
version = {version}

[stage2]
mainimage = images/install.img

[tree]
arch = {arch}
build_timestamp = 1714500000
platforms = {arch},xen
variants = AppStream,BaseOS

[variant-AppStream]
id = AppStream
name = AppStream
packages = AppStream/Packages
repository = AppStream
type = variant
uid = AppStream

[variant-BaseOS]
id = BaseOS
name = BaseOS
packages = BaseOS/Packages
repository = BaseOS
type = variant
uid = BaseOS
"""

LEAP_15 = """\
[release]
name = openSUSE Leap
version = 15.6

[general]
arch = x86_64
family = openSUSE Leap
name = openSUSE Leap 15.6
version = 15.6
platforms = x86_64,xen

[images-x86_64]
kernel = boot/x86_64/loader/linux
initrd = boot/x86_64/loader/initrd
"""

CONTENT_12 = """\
CONTENTSTYLE     11
DATADIR          suse
DESCRDIR         suse/setup/descr
DISTRO           cpe:/o:suse:sles:12:sp3,SUSE Linux Enterprise Server 12 SP3
LINGUAS          cs de en
"""

NOBLE = 'Ubuntu-Server 24.04.1 LTS "Noble Numbat" - Release amd64 (20240827)'
JAMMY = 'Ubuntu-Server 22.04.4 LTS "Jammy Jellyfish" - Release amd64 (20240216.1)'


def make(folder: Path, files: Mapping[str, str]) -> Path:
    """A tree of these files; a content that begins with ``->`` is a link to what follows."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("-> "):
            path.symlink_to(content.removeprefix("-> "))
        else:
            path.write_text(content)
    return folder


def rocky(version: str = "9.4", *, family: str = "Rocky Linux", arch: str = "x86_64") -> dict[str, str]:
    """A DVD of the RHEL family, 8 or later."""
    return {
        ".treeinfo": PRODUCTMD.format(family=family, version=version, arch=arch),
        ".discinfo": f"1714500000.0\n{version}\n{arch}\n",
        "media.repo": "[InstallMedia]\n",
        "BaseOS/repodata/repomd.xml": "<repomd/>",
        "BaseOS/Packages/b/bash-5.1.8-9.el9.x86_64.rpm": "rpm " * 1000,
        "AppStream/repodata/repomd.xml": "<repomd/>",
        "images/install.img": "squashfs",
        **_IMAGES,
    }


def centos_7() -> dict[str, str]:
    return {
        ".treeinfo": CENTOS_7,
        ".discinfo": "1603728831.612616\n7.9\nx86_64\n",
        "repodata/repomd.xml": "<repomd/>",
        "LiveOS/squashfs.img": "squashfs",
        **_IMAGES,
    }


def netboot(family: str = "debian", arch: str = "amd64") -> dict[str, str]:
    """What is in netboot.tar.gz."""
    folder = f"{family}-installer/{arch}"
    says = {
        "debian": "This is a Debian 11 (bullseye) installation netboot image.\n",
        "ubuntu": "This is an installation system for Ubuntu 18.04.\n",
    }
    files = {
        f"{folder}/linux": "kernel",
        f"{folder}/initrd.gz": "ramdisk",
        f"{folder}/boot-screens/f1.txt": f"Welcome!\n{says[family]}",
        "pxelinux.0": f"-> {folder}/pxelinux.0",
    }
    return files | ({"version.info": "Debian version:  11 (bullseye)\n"} if family == "debian" else {})


def mirror(codename: str = "bookworm", number: str = "12.5") -> dict[str, str]:
    """A mirror of packages, with the installer's images."""
    images = f"dists/{codename}/main/installer-amd64/current/images/netboot"
    return {
        f"dists/{codename}/Release": f"Origin: Debian\nSuite: stable\nVersion: {number}\nCodename: {codename}\n",
        "dists/stable": f"-> {codename}",
        "pool/main/b/bash/bash_5.2.deb": "deb",
        **{f"{images}/{name}": content for name, content in netboot().items() if name != "version.info"},
    }


def debian_disc() -> dict[str, str]:
    return {
        ".disk/info": 'Debian GNU/Linux 12.5.0 "Bookworm" - Official amd64 DVD Binary-1 with firmware 20240210-11:28',
        "install.amd/vmlinuz": "kernel",
        "install.amd/initrd.gz": "ramdisk for discs",
        "dists/bookworm/Release": "Version: 12.5\nCodename: bookworm\n",
        "pool/main/b/bash/bash_5.2.deb": "deb",
        "debian": "-> .",
    }


def live_server(info: str = NOBLE) -> dict[str, str]:
    return {
        ".disk/info": info,
        "casper/vmlinuz": "kernel",
        "casper/initrd": "ramdisk",
        "casper/ubuntu-server-minimal.squashfs": "squashfs " * 1000,
        "dists/noble/Release": "Version: 24.04\nCodename: noble\n",
        "pool/main/b/bash/bash_5.2.deb": "deb",
    }


def leap() -> dict[str, str]:
    return {
        ".treeinfo": LEAP_15,
        "media.1/media": "openSUSE - openSUSE-Leap-15.6-DVD-x86_64-Build709.1-Media\n",
        "media.1/products": "/ openSUSE-Leap 15.6-1\n",
        "boot/x86_64/loader/linux": "kernel",
        "boot/x86_64/loader/initrd": "ramdisk",
        "repodata/repomd.xml": "<repomd/>",
    }


def sle_12() -> dict[str, str]:
    return {name: content for name, content in leap().items() if name != ".treeinfo"} | {"content": CONTENT_12}


def sle_15_arm() -> dict[str, str]:
    return {
        "media.1/media": "SUSE - SLE-15-SP4-Full-aarch64-GM-Media1\n",
        "media.1/products": "/ SLES15-SP4 15.4-0\n",
        "boot/aarch64/linux": "kernel",
        "boot/aarch64/initrd": "ramdisk",
    }


def without(files: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: content for name, content in files.items() if name not in names}


def what_is_missing() -> str | None:
    """Why no ISO can be made and unpacked here; None when it can."""
    needed = {"xorriso": "xorriso", "bsdtar": "libarchive-tools"}
    missing = [package for program, package in needed.items() if not shutil.which(program)]
    return f"needs: apt-get install {' '.join(missing)}" if missing else None


def make_iso(target: Path, folder: Path, *options: str) -> Path:
    """An ISO with Rock Ridge and Joliet, as distributions make theirs."""
    options = options or ("-R", "-J", "-joliet-long")
    subprocess.run(
        ["xorriso", "-as", "mkisofs", "-quiet", *options, "-V", "TEST", "-o", str(target), str(folder)],
        check=True,
        capture_output=True,
    )
    return target
