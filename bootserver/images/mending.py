"""Makes a tree bootable: installs a kernel, GRUB and what a node is worked with by, and builds an initrd with all drivers.

Debian and Ubuntu are proven by tests. Red Hat's family (dnf, dracut) is written after their manuals and has not been tried.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence
from pathlib import Path

from bootserver.errors import Refused
from bootserver.images import chroot, identity
from bootserver.images.apt import Reading
from bootserver.images.bootable import NO_INIT, Finding, findings, host_only
from bootserver.tree.facts import Facts, Family, gather
from bootserver.tree.inside import Inside
from bootserver.values.progress import Progress, quiet

DRIVERS_FILE = "/etc/initramfs-tools/conf.d/bootserver"
DRIVERS = "# nodes are not the machine that this initrd is made on\nMODULES=most\n"
_DRACUT_FILE = "/etc/dracut.conf.d/zz-bootserver.conf"
_DRACUT = '# nodes are not the machine that this initrd is made on\nhostonly="no"\n'


def mend(tree: Path, progress: Progress = quiet) -> tuple[Finding, ...]:
    """Do what can be done about :func:`~bootserver.images.bootable.findings`. The tree's own programs are run, as root.

    Packages come from where the tree's own package sources say.

    :returns: what is still lacking.
    :raises Refused: it is of a family that we can't mend. :raises ProgramFailed: a package could not be installed.
    """
    facts = gather(tree)
    tree.chmod(stat.S_IMODE(tree.stat().st_mode) | 0o555)
    found = findings(tree)
    if not found:
        return found
    if facts.family is Family.DEBIAN:
        _mend_debian(tree, facts, found, progress)
    elif facts.family is Family.RED_HAT:
        _mend_red_hat(tree, progress)
    else:
        raise Refused(f"{facts.title} can't be mended ({found[0].what}): only Debian, Ubuntu and Red Hat's family can")
    identity.strip(tree)  # openssh-server has made host keys, say
    return findings(tree)


def kernel_package(distribution: str, architecture: str) -> str:
    """The package that brings the kernel, and each newer one."""
    if distribution.startswith("ubuntu"):
        return "linux-image-generic"
    return f"linux-image-{architecture}"


GRUB_PACKAGES = {"amd64": ("grub-pc-bin", "grub-efi-amd64-bin", "grub2-common"), "arm64": ("grub-efi-arm64-bin", "grub2-common")}
"""GRUB's modules and grub-install, for BIOS and UEFI at once; the packages that install it themselves exclude each other."""


def _mend_debian(tree: Path, facts: Facts, found: Sequence[Finding], progress: Progress) -> None:
    with Inside(tree) as inside:
        missing = _missing(inside, facts, found)
        if inside.is_folder("/etc/initramfs-tools") or "initramfs-tools" in missing:
            inside.make_folder("/etc/initramfs-tools/conf.d")
            inside.write(_last_file(inside), DRIVERS.encode())
        if missing:
            _install(tree, inside, missing, progress)
        progress("building the initrd", None)
        if inside.is_file("/usr/sbin/update-initramfs"):
            for kernel in gather(tree).kernels:
                if kernel.file:
                    how = "-c" if kernel.ramdisk is None else "-u"
                    _quietly(tree, ["update-initramfs", how, "-k", kernel.version], "building the initrd")
        elif inside.is_file("/usr/bin/dracut"):
            _mend_dracut(tree, inside)


def _missing(inside: Inside, facts: Facts, found: Sequence[Finding]) -> list[str]:
    """The packages that are to be installed."""
    wanted = [*GRUB_PACKAGES.get(facts.architecture, ()), "udev", "bash", "openssh-server", "rsync"]
    if not inside.is_file("/usr/bin/dracut"):
        wanted.append("initramfs-tools")
    if facts.kernel is None or not facts.kernel.has_modules:
        wanted.append(kernel_package(facts.distribution, facts.architecture))
    if any(finding.what == NO_INIT for finding in found):
        wanted.append("systemd-sysv")
    has = _installed(inside)
    return [name for name in wanted if name not in has]


def _install(tree: Path, inside: Inside, packages: Sequence[str], progress: Progress) -> None:
    _apt(tree, "fetching package lists", ["apt-get", "update"], progress)
    command = ["apt-get", "install", "--yes", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", *packages]
    _apt(tree, f"installing {len(packages)} packages", command, progress)
    _apt(tree, "cleaning up", ["apt-get", "clean"], progress)
    forget_package_lists(inside)


def forget_package_lists(inside: Inside) -> None:
    """An image is copied to every node, and its package lists are old by then."""
    for name in inside.names("/var/lib/apt/lists"):
        if name not in ("lock", "partial", "auxfiles"):
            inside.remove(f"/var/lib/apt/lists/{name}")


def _last_file(inside: Inside) -> str:
    """A name that is read behind all that set MODULES now."""
    names = [name for name in inside.names("/etc/initramfs-tools/conf.d") if name > "bootserver"]
    says = [name for name in names if re.search("^ *MODULES=", inside.text(f"/etc/initramfs-tools/conf.d/{name}") or "", re.M)]
    return f"/etc/initramfs-tools/conf.d/{max(says)}-bootserver" if says else DRIVERS_FILE


def _mend_red_hat(tree: Path, progress: Progress) -> None:
    """Untried: there was no tree to try it on."""
    packages = ["kernel", "grub2-pc", "grub2-pc-modules", "grub2-efi-x64", "grub2-efi-x64-modules", "grub2-tools", "shim-x64"]
    packages += ["dracut", "dracut-config-generic", "systemd", "systemd-udev", "bash", "openssh-server", "rsync"]
    progress(f"installing {len(packages)} packages", None)
    _quietly(tree, ["dnf", "--assumeyes", "--setopt=install_weak_deps=False", "install", *packages], "installing packages")
    _quietly(tree, ["dnf", "clean", "all"], "cleaning up")
    progress("building the initrd", None)
    with Inside(tree) as inside:
        _mend_dracut(tree, inside)


def _mend_dracut(tree: Path, inside: Inside) -> None:
    inside.make_folder("/etc/dracut.conf.d")
    if host_only(inside) is not None:
        inside.write(_DRACUT_FILE, _DRACUT.encode())
    _quietly(tree, ["dracut", "--no-hostonly", "--regenerate-all", "--force"], "building the initrd")


def _apt(tree: Path, words: str, command: list[str], progress: Progress) -> None:
    reading = Reading(lambda _, fraction: progress(words, fraction))
    progress(words, None)
    chroot.run(tree, command, what=words, watch=reading, environment=chroot.UNATTENDED)


def _quietly(tree: Path, command: list[str], what: str) -> None:
    chroot.run(tree, command, what=what, environment=chroot.UNATTENDED)


def _installed(inside: Inside) -> set[str]:
    """Packages that dpkg knows as installed."""
    found, name = set(), ""
    for line in (inside.read("/var/lib/dpkg/status", 256 << 20) or b"").decode(errors="replace").splitlines():
        if line.startswith("Package: "):
            name = line[9:].strip()
        elif line == "Status: install ok installed":
            found.add(name)
    return found
