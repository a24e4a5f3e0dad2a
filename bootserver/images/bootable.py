"""Can a node that gets this tree boot, and be worked with afterwards? What keeps it from that, and whether it can be mended.

Found out by reading only, so that an image from anywhere can be looked at. Debian's and Ubuntu's ways are initramfs-tools(7) and
GRUB; those of Red Hat's family are dracut.conf(5) and GRUB.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path

from bootserver.errors import BootserverError, Unavailable
from bootserver.images import ramdisk
from bootserver.tree.facts import Facts, Family, Kernel, gather
from bootserver.tree.inside import Inside

_DISK_DRIVERS = ("virtio_blk", "virtio_scsi", "ahci", "nvme", "sd_mod")
"""What common machines, physical and virtual, have their disks at."""

NO_INIT = "it has no init"
_INITS = ("/sbin/init", "/usr/lib/systemd/systemd", "/lib/systemd/systemd")
_UDEV = ("/usr/lib/systemd/systemd-udevd", "/lib/systemd/systemd-udevd", "/sbin/udevd", "/usr/bin/udevadm", "/bin/udevadm")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a tree lacks.

    :ivar what: ``it has no kernel``.
    :ivar why: what comes of that.
    :ivar mendable: :func:`~bootserver.images.mending.mend` can do it.
    :ivar prevents_boot: a node could not start with it, or not be installed.
    """

    what: str
    why: str
    mendable: bool
    prevents_boot: bool

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


def findings(tree: Path) -> tuple[Finding, ...]:
    """What a tree lacks, what prevents booting first; nothing where all is well.

    :raises Unavailable: it can't be read.
    """
    facts = gather(tree)
    mends = facts.family is not Family.OTHER
    found: list[Finding] = []
    with Inside(tree) as inside:
        found += _kernel(facts, mends)
        found += _boot_loader(facts, mends)
        found += _ramdisk(inside, facts, mends)
        found += _system(inside, mends)
    return tuple(sorted(found, key=lambda finding: not finding.prevents_boot))


def _kernel(facts: Facts, mends: bool) -> list[Finding]:
    kernel = facts.kernel
    if kernel is None:
        return [Finding("it has no kernel", "there is no vmlinuz below /boot", mends, True)]
    if not kernel.has_modules:
        why = f"there is no /usr/lib/modules/{kernel.version}, so it would drive no disk and no network card"
        return [Finding(f"kernel {kernel.version} has no modules", why, mends, True)]
    return []


def _boot_loader(facts: Facts, mends: bool) -> list[Finding]:
    if facts.architecture not in ("amd64", "i386"):
        return []
    if not facts.grub_install:
        return [Finding("it has no boot loader", "there is no grub-install to put GRUB on a node's disk", mends, True)]
    found = []
    if not facts.grub_bios:
        why = "there is no /usr/lib/grub/i386-pc, so nodes with a BIOS can't boot it"
        found.append(Finding("it has no GRUB for BIOS", why, mends, True))
    if not facts.grub_uefi:
        why = "there is no /usr/lib/grub/x86_64-efi, so nodes with UEFI can't boot it"
        found.append(Finding("it has no GRUB for UEFI", why, mends, True))
    return found


def _ramdisk(inside: Inside, facts: Facts, mends: bool) -> list[Finding]:
    kernel = facts.kernel
    found = []
    if (setting := host_only(inside)) is not None:
        why = "an initrd that is made with it holds the drivers of the machine it was made on, and no others"
        found.append(Finding(setting, why, mends, False))
    if kernel is None:
        return found
    if kernel.ramdisk is None:
        why = "without one the kernel does not find its root by UUID"
        return [*found, Finding(f"kernel {kernel.version} has no initrd", why, mends, True)]
    try:
        lacking = _lacking_drivers(inside, kernel)
    except Unavailable as error:  # for want of a program of the frontend's
        return [*found, Finding(f"{kernel.ramdisk} was not looked into", str(error), False, False)]
    except BootserverError as error:
        return [*found, Finding(f"{kernel.ramdisk} can't be read", str(error), mends, True)]
    if lacking:
        why = f"it lacks {', '.join(lacking)}, which other machines have their disks at"
        found.append(Finding(f"{kernel.ramdisk} was made for one machine's drivers", why, mends, True))
    return found


def host_only(inside: Inside) -> str | None:
    """The setting that makes an initrd for one machine only, as its file says it; None where there is none.

    The last file that says something wins, as for initramfs-tools and dracut themselves.
    """
    if inside.is_file("/usr/sbin/update-initramfs"):
        said = _setting(inside, "/etc/initramfs-tools/initramfs.conf", "/etc/initramfs-tools/conf.d", r"\s*MODULES=[\"']?(\w+)")
        if said is not None and said[1] in ("dep", "list"):
            return f"{said[0]} says MODULES={said[1]}"
    elif inside.is_file("/usr/bin/dracut"):
        pattern = r"\s*hostonly=[\"']?\s*(\w+)"
        said = _setting(inside, None, "/usr/lib/dracut/dracut.conf.d", pattern)
        said = _setting(inside, "/etc/dracut.conf", "/etc/dracut.conf.d", pattern) or said
        if said is not None and said[1] == "yes":
            return f"{said[0]} says hostonly={said[1]}"
    return None


def _setting(inside: Inside, file: str | None, folder: str, pattern: str) -> tuple[str, str] | None:
    last = None
    for path in [*([file] if file else []), *(f"{folder}/{name}" for name in inside.names(folder))]:
        for line in (inside.text(path) or "").splitlines():
            if found := re.match(pattern, line):
                last = (path, found.group(1))
    return last


def _lacking_drivers(inside: Inside, kernel: Kernel) -> list[str]:
    """Disk drivers that the kernel has as modules, and its initrd has not."""
    modules = inside.text(f"/lib/modules/{kernel.version}/modules.dep") or ""
    there = {_module_name(line.partition(":")[0]) for line in modules.splitlines()}
    wanted = [driver for driver in _DISK_DRIVERS if driver in there]
    if not wanted or kernel.ramdisk is None:
        return []
    descriptor = inside.open_file(kernel.ramdisk)
    if descriptor is None:
        return wanted
    held = {_module_name(name) for name in ramdisk.names(descriptor) if ".ko" in name}
    return [driver for driver in wanted if driver not in held]


def _module_name(path: str) -> str:
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def _system(inside: Inside, mends: bool) -> list[Finding]:
    found = []
    if not _any(inside, _INITS):
        found.append(Finding(NO_INIT, "there is no /sbin/init to start it", mends, True))
    if not _any(inside, ("/bin/bash", "/usr/bin/bash")):
        found.append(Finding("it has no bash", "the unit that reports a node's first boot is written for it", mends, False))
    if not _any(inside, _UDEV):
        found.append(Finding("it has no udev", "nothing would load the drivers of a node's network cards", mends, False))
    if not inside.is_file("/usr/sbin/sshd"):
        found.append(Finding("it has no sshd", "nobody can log in, and image push, capture and drift can't work", mends, False))
    if not inside.is_file("/usr/bin/rsync"):
        found.append(Finding("it has no rsync", "image push, capture and drift can't work", mends, False))
    status = inside.stat("/")
    if status is not None and stat.S_IMODE(status.st_mode) & 0o555 != 0o555:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        found.append(Finding(f"its root folder has mode {mode}", "nobody but root could use anything in it", True, True))
    return found


def _any(inside: Inside, paths: tuple[str, ...]) -> bool:
    return any(inside.is_file(path) for path in paths)
