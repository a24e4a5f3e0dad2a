"""Boot actions: named recipes for a boot, those that come with bootserver and those that a site adds."""

from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BootAction:
    """A recipe for a boot.

    :ivar kernel: Linux kernel, path below ``tftpboot`` or URL; None for an action without one.
    :ivar local_disk: boot the machine's own disk.
    :ivar floppy: an image for memdisk. Such an action is one-shot: it becomes ``os`` when the last byte was fetched.
    :ivar efi: a UEFI program that takes the kernel's place on UEFI machines.
    :ivar shipped: it comes with bootserver and nobody changed it.
    """

    name: str
    kernel: str | None = None
    initrds: tuple[str, ...] = ()
    args: str = ""
    local_disk: bool = False
    floppy: str | None = None
    efi: str | None = None
    shipped: bool = False

    @property
    def installs(self) -> bool:
        """Does it install the node? ``install`` and ``install ...`` do (Rocks' names); arming one makes a ticket."""
        return self.name == "install" or self.name.startswith("install ")

    @property
    def takes_console(self) -> bool:
        """Does it write to the console that the node's bootflags name? Installers, rescue and memtest86+ read ``console=``."""
        return self.installs or self.kernel in (INSTALLER_KERNEL, MEMTEST_BIOS)

    @property
    def files(self) -> tuple[str, ...]:
        """All that it may boot from, whatever the firmware; memdisk comes first where there is a floppy."""
        loader = None if self.floppy is None else MEMDISK
        return tuple(each for each in (self.kernel, *self.initrds, self.efi, loader, self.floppy) if each)

    def way_out(self, missing: str) -> str:
        """What puts one of its :attr:`files` in place, to be written behind "is not there".

        :returns: ``: ...``, or nothing for a file of the site's own, of which only the site knows.
        """
        if missing in (INSTALLER_KERNEL, INSTALLER_RAMDISK):
            return ": `bootserver installer build`"
        if missing in _PACKAGES:
            return f": install the package {_PACKAGES[missing]}, then `bootserver init` again"
        if missing == self.floppy:
            return f": `bootserver pxe action add {shlex.quote(self.name)} --floppy FILE` takes the site's own"
        return ""

    @property
    def one_shot(self) -> bool:
        """Is it for one boot only? A BIOS is flashed once."""
        return self.floppy is not None


INSTALLER_KERNEL = "installer/vmlinuz"
INSTALLER_RAMDISK = "installer/initrd.img"
HEADLESS = "bootserver.headless"
MEMTEST_BIOS, MEMTEST_UEFI = "memtest86+x64.bin", "memtest86+x64.efi"
MEMDISK = "memdisk"
_PACKAGES = {MEMTEST_BIOS: "memtest86+", MEMTEST_UEFI: "memtest86+", MEMDISK: "syslinux-common"}

# The actions that Rocks ships (`rocks list host pxeaction`), resolved to our own kernels. An install has no kernel of its
# own here: cluster/installs.py finds the one that the node's attributes ask for when it is armed.
SHIPPED: dict[str, BootAction] = {
    action.name: action
    for action in (
        BootAction("os", local_disk=True, shipped=True),
        BootAction("install", shipped=True),
        BootAction("install headless", args=HEADLESS, shipped=True),
        BootAction("rescue", kernel=INSTALLER_KERNEL, initrds=(INSTALLER_RAMDISK,), args="bootserver.rescue", shipped=True),
        BootAction("memtest", kernel=MEMTEST_BIOS, efi=MEMTEST_UEFI, shipped=True),
        BootAction("pxeflash", floppy="pxeflash.img", args="bigraw keeppxe", shipped=True),
    )
}
