"""The boot loaders below ``tftpboot`` beside the packages that they came from, the Secure Boot chain, and the installer."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from bootserver.cluster.actions import INSTALLER_KERNEL
from bootserver.doctor import efi
from bootserver.doctor.finding import Finding, failure, note, ok, several, warning
from bootserver.doctor.site import Site
from bootserver.errors import Unavailable
from bootserver.install.ramdisk.architecture import X86_64
from bootserver.install.ramdisk.build import describe
from bootserver.install.ramdisk.kernel import choose_kernel
from bootserver.netboot.loaders import GRUB_IMAGES, LOADERS, GrubImage, LoaderFile, NoLoader, boot_file
from bootserver.netboot.placing import make_image
from bootserver.values.firmware import Firmware
from bootserver.values.mac import MacAddress

_SHIM, _GRUB = "shimx64.efi", "grubx64.efi"
_COMPANIONS = {"pxelinux.0": "ldlinux.c32", _SHIM: _GRUB}
"""What a loader fetches at once, and is nothing without."""
_MEND = "bootserver init"


def needed(site: Site) -> set[str]:
    """The loaders that machines of the usual firmware get, as nodes' attributes say."""
    wishes = {node.attributes.get("loader", "auto") for node in (site.view.nodes.values() if site.view else ())} | {"auto"}
    found: set[str] = set()
    for wish in wishes:
        for firmware in (Firmware.BIOS, Firmware.UEFI_X64):
            try:
                name = boot_file(
                    {"loader": wish},
                    firmware,
                    mac=MacAddress(bytes(6)),
                    is_ipxe=False,
                    ipxe_http=False,
                    frontend=site.config.network.address,
                )
            except NoLoader:  # the check of menus says so
                continue
            found |= {name, _COMPANIONS.get(name, name)}
    return found


def boot_loaders(site: Site) -> Iterator[Finding]:
    """Are they there, and as new as their packages?"""
    root = site.config.frontend.tftpboot
    wanted = needed(site)
    entries: tuple[LoaderFile | GrubImage, ...] = (*LOADERS, *GRUB_IMAGES)
    old: list[str] = []
    lacking: list[LoaderFile | GrubImage] = []
    for number, entry in enumerate(entries):
        site.progress("comparing loaders with their packages", number / len(entries))
        path = root / entry.name
        if path.is_symlink():
            yield failure(f"{path} is a link", "links are never served, so nodes don't get it", f"{_MEND} puts a copy there")
        elif path.is_file():
            if is_old(path, entry, quick=site.quick):
                old.append(entry.name)
        elif not getattr(entry, "optional", False):
            lacking.append(entry)
    for entry in [each for each in lacking if each.name in wanted]:
        yield failure(
            f"the loader {entry.name} is not below {root}",
            "machines whose firmware needs it get no boot file",
            f"apt-get install {entry.package}; {_MEND}",
        )
    if others := [each for each in lacking if each.name not in wanted]:
        packages = " ".join(sorted({each.package for each in others}))
        yield note(
            f"loaders that no node needs now are not below {root}: {several(each.name for each in others)}",
            mend=f"apt-get install {packages}; {_MEND}",
        )
    if old:
        yield warning(
            f"older than, or others than, in their packages: {several(old)}",
            "security updates of boot loaders don't reach nodes, and a shim may refuse an older GRUB",
            _MEND,
        )
    if not old and not [each for each in lacking if each.name in wanted]:
        yield ok(f"{len(entries) - len(lacking)} loaders are in place, as in their packages")


def is_old(path: Path, entry: LoaderFile | GrubImage, *, quick: bool) -> bool:
    """Does it differ from what its package has now? Not known where the package is gone."""
    try:
        if isinstance(entry, LoaderFile):
            source = next((each for each in map(Path, entry.sources) if each.is_file()), None)
            return source is not None and source.read_bytes() != path.read_bytes()
        return not quick and make_image(entry) != path.read_bytes()
    except (OSError, subprocess.CalledProcessError):
        return False


def secure_boot(site: Site) -> Iterator[Finding]:
    """Does shim start the GRUB beside it?"""
    root = site.config.frontend.tftpboot
    mend = f"apt-get install shim-signed grub-efi-amd64-signed; {_MEND}"
    if not (root / _SHIM).is_file() or not (root / _GRUB).is_file():
        return  # said by the check of loaders
    try:
        shim, grub = (efi.read((root / name).read_bytes()) for name in (_SHIM, _GRUB))
        vendor = efi.common_name(efi.subject(shim.vendor)) or "its vendor"
        trusted = efi.trusts(shim, grub)
    except (efi.NotPe, OSError) as error:
        yield warning(
            f"Secure Boot: {_SHIM} and {_GRUB} can't be judged: {error}", "machines with Secure Boot may refuse them", mend
        )
        return
    unsigned = [name for name, program in ((_SHIM, shim), (_GRUB, grub)) if not program.signature]
    why = "machines with Secure Boot stop at a red screen, or go on to the next boot entry"
    if unsigned:
        yield warning(f"Secure Boot: {' and '.join(unsigned)} is not signed", why, mend)
    elif not trusted:
        yield failure(
            f"Secure Boot: {_SHIM} trusts {vendor}, who did not sign {_GRUB}", f"{why}: both must be one vendor's", mend
        )
    else:
        yield ok(f"Secure Boot: {_SHIM} and {_GRUB} are signed, both of {vendor}")


def installer(site: Site) -> Iterator[Finding]:
    """Is the installer there, and of the frontend's newest kernel?"""
    settings = site.config.frontend
    report = describe(settings.tftpboot)
    used = site.view is not None and any(node.action.kernel == INSTALLER_KERNEL for node in site.view.nodes.values())
    if report is None:
        make = failure if used else note
        yield make(
            "there is no installer, or its files are not those that it was built as",
            "images can't be installed and nodes can't be rescued",
            "bootserver installer build",
        )
        return
    if not site.quick:
        site.progress("looking for the newest kernel", None)
        try:
            choice = choose_kernel(X86_64, settings.installer_cache)
        except Unavailable:
            choice = None
        newest = None if choice is None else choice.kernel.version if choice.kernel else choice.origin
        if newest is not None and newest not in (report.kernel, report.kernel_origin):
            yield warning(
                f"the installer has the kernel {report.kernel}; this machine's packages have {newest}",
                "drivers for new machines and security updates are missing in it",
                "bootserver installer build",
            )
            return
    yield ok(f"the installer is there (kernel {report.kernel})")
