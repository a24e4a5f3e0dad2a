"""Boot loaders: which one a machine's firmware needs, and which files of which distribution package they are.

What a firmware does with a loader was tried with SeaBIOS, QEMU's iPXE ROM and OVMF (edk2 2022.11); see the comments.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Final

from bootserver.errors import BootserverError
from bootserver.values.firmware import Firmware
from bootserver.values.mac import MacAddress


class Loader(enum.Enum):
    """What the attribute ``loader`` of a node may say; without one it is ``auto``."""

    AUTO = "auto"
    PXELINUX = "pxelinux"
    GRUB = "grub"
    IPXE = "ipxe"


class NoLoader(BootserverError):
    """There is no boot loader for this firmware that would do what is wanted; the text says what to do."""


IPXE_PLATFORMS: Final[Mapping[str, Firmware]] = MappingProxyType(
    {
        # ${platform}, and ${platform}-${buildarch}: https://ipxe.org/cfg/platform, https://ipxe.org/cfg/buildarch.
        "pcbios": Firmware.BIOS,
        "pcbios-i386": Firmware.BIOS,
        "pcbios-x86_64": Firmware.BIOS,
        "efi": Firmware.UEFI_X64,
        "efi-x86_64": Firmware.UEFI_X64,
        "efi-i386": Firmware.UEFI_IA32,
        "efi-arm64": Firmware.UEFI_ARM64,
    }
)
GRUB_PLATFORMS: Final[Mapping[str, Firmware]] = MappingProxyType(
    {
        # $grub_cpu-$grub_platform: the folders that GRUB keeps its modules in.
        "i386-pc": Firmware.BIOS,
        "x86_64-efi": Firmware.UEFI_X64,
        "i386-efi": Firmware.UEFI_IA32,
        "arm64-efi": Firmware.UEFI_ARM64,
    }
)

# What is fetched over TFTP, by firmware and wanted loader.
_NETWORK: Final[Mapping[tuple[Firmware, Loader], str]] = MappingProxyType(
    {
        (Firmware.BIOS, Loader.AUTO): "pxelinux.0",
        (Firmware.BIOS, Loader.PXELINUX): "pxelinux.0",
        (Firmware.BIOS, Loader.IPXE): "undionly.kpxe",
        (Firmware.BIOS, Loader.GRUB): "grub/i386-pc.0",
        (Firmware.UEFI_X64, Loader.AUTO): "shimx64.efi",
        (Firmware.UEFI_X64, Loader.GRUB): "shimx64.efi",
        (Firmware.UEFI_X64, Loader.IPXE): "snponly.efi",
        (Firmware.UEFI_IA32, Loader.AUTO): "grubia32.efi",
        (Firmware.UEFI_IA32, Loader.GRUB): "grubia32.efi",
        (Firmware.UEFI_ARM64, Loader.AUTO): "grubaa64.efi",
        (Firmware.UEFI_ARM64, Loader.GRUB): "grubaa64.efi",
        (Firmware.UEFI_ARM64, Loader.IPXE): "snponly-arm64.efi",
        (Firmware.UEFI_X64_HTTP, Loader.AUTO): "HTTP",
        (Firmware.UEFI_X64_HTTP, Loader.GRUB): "HTTP",
        (Firmware.UEFI_X64_HTTP, Loader.IPXE): "snponly.efi",
        (Firmware.UEFI_IA32_HTTP, Loader.AUTO): "grubia32.efi",
        (Firmware.UEFI_IA32_HTTP, Loader.GRUB): "grubia32.efi",
        (Firmware.UEFI_ARM64_HTTP, Loader.AUTO): "grubaa64.efi",
        (Firmware.UEFI_ARM64_HTTP, Loader.GRUB): "grubaa64.efi",
        (Firmware.UEFI_ARM64_HTTP, Loader.IPXE): "snponly-arm64.efi",
    }
)
