"""What differs between the machines that the installer's ramdisk is made for: one line for each architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bootserver.errors import UsageError


@dataclass(frozen=True, slots=True)
class Architecture:
    """A kind of machine.

    :ivar name: as ``uname -m`` says it.
    :ivar elf_machine: ``e_machine`` of its programs (System V ABI).
    :ivar kernels: the package that depends on the newest kernel, by the ``ID`` of os-release.
    :ivar folder: where its kernel and its ramdisk are, below ``tftpboot``.
    """

    name: str
    elf_machine: int
    kernels: Mapping[str, str]
    folder: str


X86_64 = Architecture(
    "x86_64", 62, MappingProxyType({"debian": "linux-image-amd64", "ubuntu": "linux-image-generic"}), "installer"
)

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType({each.name: each for each in (X86_64,)})


def architecture(name: str) -> Architecture:
    """:raises UsageError: there is no ramdisk for it."""
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise UsageError(f"there is no installer for {name!r}, only for {', '.join(ARCHITECTURES)}") from None
