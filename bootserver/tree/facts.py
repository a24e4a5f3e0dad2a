"""What a tree is: distribution (os-release(5)), architecture, kernels, boot loaders. Only read, never run."""

from __future__ import annotations

import re
import shlex
import struct
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from bootserver.tree.inside import Inside

_PROGRAMS = ("/sbin/init", "/usr/lib/systemd/systemd", "/bin/bash", "/bin/sh", "/usr/bin/env", "/bin/busybox")
_BITS_64, _LITTLE = 2, 1
_MACHINES = {
    (62, _BITS_64, _LITTLE): "amd64",
    (3, 1, _LITTLE): "i386",
    (183, _BITS_64, _LITTLE): "arm64",
    (40, 1, _LITTLE): "armhf",
    (21, _BITS_64, _LITTLE): "ppc64el",
    (22, _BITS_64, 2): "s390x",
    (243, _BITS_64, _LITTLE): "riscv64",
}
"""``e_machine``, class and byte order of an ELF file (elf(5)), in Debian's words."""

_KERNEL = re.compile(r"vmlinu[xz]-(.+)")
_RAMDISKS = ("/boot/initrd.img-{}", "/boot/initramfs-{}.img", "/boot/initrd-{}")
_LONGEST = 200  # characters of what a tree says of itself


class Family(Enum):
    """How a distribution installs packages and makes ramdisks."""

    DEBIAN = "debian"
    RED_HAT = "redhat"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Kernel:
    """:ivar file: its path in the tree; None where there are only its modules.
    :ivar ramdisk: its initrd's path, if it has one.
    """

    version: str
    file: str | None
    ramdisk: str | None
    has_modules: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """:ivar kernels: the newest first.
    :ivar grub_bios: GRUB for BIOS can be installed from it (its modules are there).
    :ivar grub_uefi: the same for UEFI.
    """

    distribution: str
    title: str
    family: Family
    architecture: str
    kernels: tuple[Kernel, ...]
    grub_install: bool
    grub_bios: bool
    grub_uefi: bool

    @property
    def kernel(self) -> Kernel | None:
        """The newest that can be booted."""
        return next((kernel for kernel in self.kernels if kernel.file is not None), None)


def gather(tree: Path) -> Facts:
    with Inside(tree) as inside:
        release = os_release(inside)
        ident, version = release.get("ID", "linux"), release.get("VERSION_ID", "")
        distribution = f"{ident}-{version}" if version else ident
        return Facts(
            distribution,
            release.get("PRETTY_NAME") or distribution,
            _family(release),
            architecture(inside),
            kernels(inside),
            any(inside.is_file(f"/usr/sbin/{name}") for name in ("grub-install", "grub2-install")),
            inside.is_file("/usr/lib/grub/i386-pc/normal.mod"),
            inside.is_file("/usr/lib/grub/x86_64-efi/normal.mod"),
        )


def os_release(inside: Inside) -> dict[str, str]:
    """The fields of a tree's os-release; without those that can't be read."""
    text = inside.text("/etc/os-release") or inside.text("/usr/lib/os-release") or ""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if not equals or key.startswith("#"):
            continue
        try:
            words = shlex.split(value)
        except ValueError:
            continue
        shown = " ".join(words)[:_LONGEST]
        found[key] = "".join(character if character.isprintable() else "?" for character in shown)
    return found


def _family(release: dict[str, str]) -> Family:
    names = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    if names & {"debian", "ubuntu"}:
        return Family.DEBIAN
    if names & {"rhel", "fedora", "centos"}:
        return Family.RED_HAT
    return Family.OTHER


def architecture(inside: Inside) -> str:
    """By the first program that is there; empty where there is none, or of a machine that we don't know."""
    for path in _PROGRAMS:
        head = inside.read(path, 20) or b""
        if len(head) == 20 and head.startswith(b"\x7fELF"):
            bits, order = head[4], head[5]
            (machine,) = struct.unpack("<H" if order == _LITTLE else ">H", head[18:20])
            return _MACHINES.get((machine, bits, order), "")
    return ""


def kernels(inside: Inside) -> tuple[Kernel, ...]:
    modules = {name for folder in ("/usr/lib/modules", "/lib/modules") for name in inside.names(folder)}
    files = {}
    for name in inside.names("/boot"):
        found = _KERNEL.fullmatch(name)
        # dracut's rescue kernel is a copy of another one
        if found and "rescue" not in name and inside.is_file(f"/boot/{name}"):
            files[found.group(1)] = f"/boot/{name}"
    for version in modules - files.keys():
        if inside.is_file(f"/usr/lib/modules/{version}/vmlinuz"):
            files[version] = f"/usr/lib/modules/{version}/vmlinuz"
    found_versions = sorted(modules | files.keys(), key=version_key, reverse=True)
    return tuple(
        Kernel(
            version,
            files.get(version),
            next((path for each in _RAMDISKS if inside.is_file(path := each.format(version))), None),
            version in modules,
        )
        for version in found_versions
    )


def version_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts versions as people do: 6.1.0-9 before 6.1.0-10."""
    parts = re.findall(r"\d+|[^\d]+", text)
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts)
