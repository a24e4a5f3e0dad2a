"""Boot loaders: which one a machine's firmware needs, and which files of which distribution package they are.

What a firmware does with a loader was tried with SeaBIOS, QEMU's iPXE ROM and OVMF (edk2 2022.11); see the comments.
"""

from __future__ import annotations

import enum
from collections.abc import Container, Mapping
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

# By firmware and wanted loader. A pair that is not here is refused.
_FILES: Final[Mapping[tuple[Firmware, Loader], str]] = MappingProxyType(
    {
        (Firmware.BIOS, Loader.AUTO): "pxelinux.0",
        (Firmware.BIOS, Loader.PXELINUX): "pxelinux.0",
        (Firmware.BIOS, Loader.IPXE): "undionly.kpxe",
        (Firmware.BIOS, Loader.GRUB): "grubpc.0",
        (Firmware.UEFI_X64, Loader.AUTO): "shimx64.efi",
        (Firmware.UEFI_X64, Loader.GRUB): "shimx64.efi",
        (Firmware.UEFI_X64, Loader.IPXE): "snponly.efi",
        (Firmware.UEFI_IA32, Loader.AUTO): "grubia32.efi",
        (Firmware.UEFI_IA32, Loader.GRUB): "grubia32.efi",
        (Firmware.UEFI_ARM64, Loader.AUTO): "grubaa64.efi",
        (Firmware.UEFI_ARM64, Loader.GRUB): "grubaa64.efi",
        # Debian's signed GRUB has no HTTP: started by shim over HTTP Boot it ends at its prompt, having asked for nothing. So it
        # is a GRUB of our own making, and HTTP Boot and Secure Boot exclude each other.
        (Firmware.UEFI_X64_HTTP, Loader.AUTO): "grubnetx64.efi",
        (Firmware.UEFI_X64_HTTP, Loader.GRUB): "grubnetx64.efi",
        (Firmware.UEFI_X64_HTTP, Loader.IPXE): "ipxe.efi",
        (Firmware.UEFI_IA32_HTTP, Loader.AUTO): "grubia32.efi",
        (Firmware.UEFI_IA32_HTTP, Loader.GRUB): "grubia32.efi",
        (Firmware.UEFI_ARM64_HTTP, Loader.AUTO): "grubaa64.efi",
        (Firmware.UEFI_ARM64_HTTP, Loader.GRUB): "grubaa64.efi",
    }
)


def wanted_loader(attributes: Mapping[str, str]) -> Loader:
    """The attribute ``loader`` of a node.

    :raises NoLoader: it says something else than the allowed values.
    """
    value = attributes.get("loader", Loader.AUTO.value)
    try:
        return Loader(value)
    except ValueError:
        allowed = ", ".join(loader.value for loader in Loader)
        raise NoLoader(f"attribute loader is {value!r}; allowed are {allowed}") from None


def boot_file(
    attributes: Mapping[str, str],
    firmware: Firmware,
    *,
    mac: MacAddress,
    is_ipxe: bool,
    ipxe_http: bool,
    frontend: IPv4Address,
    http_port: int = 80,
    by_http: bool = True,
    supplied: Container[str] | None = None,
) -> str:
    """What DHCP tells a machine to fetch: a name for its TFTP client, or a URL.

    :param attributes: the node's; only ``loader`` matters. Empty for a machine that is no node.
    :param is_ipxe: it says that it is iPXE (DHCP option 77 or 175).
    :param ipxe_http: this build of iPXE has HTTP (https://ipxe.org/howto/dhcpd, "ipxe.http").
    :param by_http: boot files go by HTTP where the client can. UEFI HTTP Boot gets a URL in any case: it knows nothing else.
    :param supplied: the names that are in place below ``tftpboot``; None: all that are known.
    :raises NoLoader: nothing fits, with what to do.
    """
    loader = wanted_loader(attributes)
    web = f"http://{frontend}" if http_port == 80 else f"http://{frontend}:{http_port}"
    # An iPXE that was asked to be iPXE, or was in the card's ROM, goes on with its script and never with another iPXE. But a
    # ROM that is merely the card's PXE stack (all of QEMU's are iPXE) loads pxelinux or GRUB like any other where told so.
    if is_ipxe and loader in (Loader.AUTO, Loader.IPXE):
        if by_http and ipxe_http:
            return f"{web}/ipxe/{_platform(firmware)}/01-{mac.dashed}"
        # The script under this name fetches everything else by TFTP, too.
        return f"tftp://{frontend}/ipxe/{_platform(firmware)}/tftp/01-{mac.dashed}"
    name = _FILES.get((firmware, loader))
    if name is None:
        raise NoLoader(f"no loader {loader.value} for {firmware.name}: set the attribute loader to auto")
    if supplied is not None and name not in supplied:
        raise NoLoader(f"{name}, the loader for {firmware.name}, is not below tftpboot: {_way_out(name)}")
    return f"{web}/{name}" if firmware.is_http else name


def _platform(firmware: Firmware) -> str:
    match firmware:
        case Firmware.BIOS:
            return "pcbios"
        case Firmware.UEFI_X64 | Firmware.UEFI_X64_HTTP:
            return "efi"
        case Firmware.UEFI_IA32 | Firmware.UEFI_IA32_HTTP:
            return "efi-i386"
        case Firmware.UEFI_ARM64 | Firmware.UEFI_ARM64_HTTP:
            return "efi-arm64"


def _way_out(name: str) -> str:
    entry = next((entry for entry in _ALL if entry.name == name), None)
    return f"install {entry.package}, then run bootserver init again" if entry else "put it there"


# ---- where loaders come from --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoaderFile:
    """A file of a distribution package that is copied below ``tftpboot``.

    :ivar package: the Debian package that it is in.
    :ivar sources: where it may be; the first that exists is taken. Debian's path, then those of Red Hat's family.
    :ivar optional: nobody misses it where it is not.
    """

    name: str
    package: str
    sources: tuple[str, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class GrubImage:
    """A GRUB core image that ``grub-mkimage`` makes: unsigned, so not for Secure Boot.

    :ivar format: as ``grub-mkimage --format``.
    :ivar prefix: where it looks for its configuration. The platform is in it, so that the path of a menu says for what.
    :ivar local: it fetches nothing, and starts what it finds on the machine's disks
        (:func:`bootserver.netboot.menus.grub.local_disk`).
    """

    name: str
    package: str
    format: str
    prefix: str
    modules: tuple[str, ...]
    local: bool = False


_SYSLINUX = "/usr/lib/syslinux/modules/bios"
_RED_HAT = ("redhat", "rocky", "almalinux", "centos", "fedora")


def _module(name: str) -> LoaderFile:
    return LoaderFile(name, "syslinux-common", (f"{_SYSLINUX}/{name}", f"/usr/share/syslinux/{name}"))


def _ipxe(name: str, red_hat: str) -> LoaderFile:
    return LoaderFile(name, "ipxe", (f"/usr/lib/ipxe/{name}", f"/usr/share/ipxe/{red_hat}"))


def _efi(name: str, package: str, debian: str, *, optional: bool = False) -> LoaderFile:
    return LoaderFile(name, package, (debian, *(f"/boot/efi/EFI/{vendor}/{name}" for vendor in _RED_HAT)), optional)


LOADERS: Final[tuple[LoaderFile, ...]] = (
    LoaderFile("pxelinux.0", "pxelinux", ("/usr/lib/PXELINUX/pxelinux.0", "/usr/share/syslinux/pxelinux.0")),
    # ldlinux.c32 is the rest of pxelinux itself; the others are for a site's own menus.
    *map(_module, ("ldlinux.c32", "libcom32.c32", "libutil.c32", "chain.c32", "reboot.c32", "poweroff.c32", "menu.c32")),
    LoaderFile("memdisk", "syslinux-common", ("/usr/lib/syslinux/memdisk", "/usr/share/syslinux/memdisk")),
    _ipxe("undionly.kpxe", "undionly.kpxe"),
    _ipxe("snponly.efi", "ipxe-snponly-x86_64.efi"),
    _ipxe("ipxe.efi", "ipxe-x86_64.efi"),
    # shim starts only a GRUB of its own vendor, by the name grubx64.efi.
    _efi("shimx64.efi", "shim-signed", "/usr/lib/shim/shimx64.efi.signed"),
    _efi("grubx64.efi", "grub-efi-amd64-signed", "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"),
    _efi("grubaa64.efi", "grub-efi-arm64-signed", "/usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed", optional=True),
    LoaderFile("memtest86+x64.bin", "memtest86+", ("/boot/memtest86+x64.bin", "/boot/memtest86+/memtest86+x64.bin")),
    LoaderFile("memtest86+x64.efi", "memtest86+", ("/boot/memtest86+x64.efi", "/boot/memtest86+/memtest86+x64.efi")),
)

_MENU_MODULES = ("normal", "minicmd", "configfile", "echo", "test", "true", "sleep", "regexp", "boot", "reboot", "halt")
_DISK_MODULES = ("part_gpt", "part_msdos", "fat", "chain")
_NET_MODULES = ("linux", "gzio", "tftp", "http")

GRUB_IMAGES: Final[tuple[GrubImage, ...]] = (
    GrubImage(
        "grubpc.0",
        "grub-pc-bin",
        "i386-pc-pxe",
        "/grub/i386-pc",
        (*_MENU_MODULES, *_DISK_MODULES, *_NET_MODULES, "linux16", "pxe", "biosdisk"),
    ),
    GrubImage(
        "grubia32.efi",
        "grub-efi-ia32-bin",
        "i386-efi",
        "/grub/i386-efi",
        (*_MENU_MODULES, *_DISK_MODULES, *_NET_MODULES, "efinet", "all_video"),
    ),
    GrubImage(
        "grubnetx64.efi",
        "grub-efi-amd64-bin",
        "x86_64-efi",
        "/grub/x86_64-efi",
        (*_MENU_MODULES, *_DISK_MODULES, *_NET_MODULES, "efinet", "all_video"),
    ),
    GrubImage(
        "localx64.efi",
        "grub-efi-amd64-bin",
        "x86_64-efi",
        "(memdisk)/boot/grub",
        (*_MENU_MODULES, *_DISK_MODULES, "memdisk", "tar"),
        local=True,
    ),
)

GRUB_MODULES: Final = LoaderFile("grub/x86_64-efi", "grub-efi-amd64-bin", ("/usr/lib/grub/x86_64-efi",))
"""The folder of modules that the signed GRUB loads from where Secure Boot is off (``http.mod`` above all)."""

_ALL: Final[tuple[LoaderFile | GrubImage, ...]] = (*LOADERS, *GRUB_IMAGES)
LOADER_FILES: Final = frozenset(entry.name for entry in _ALL) - {"memtest86+x64.bin", "memtest86+x64.efi"}
