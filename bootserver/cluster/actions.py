"""Boot actions: named recipes for a boot, those that come with bootserver and those that a site adds."""

from __future__ import annotations

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
    def one_shot(self) -> bool:
        """Is it for one boot only? A BIOS is flashed once."""
        return self.floppy is not None


INSTALLER_KERNEL = "installer/vmlinuz"
INSTALLER_RAMDISK = "installer/initrd.img"
HEADLESS = "bootserver.headless"

# The actions that Rocks ships (`rocks list host pxeaction`), resolved to our own kernels. An install has no kernel of its
# own here: cluster/installs.py finds the one that the node's attributes ask for when it is armed.
SHIPPED: dict[str, BootAction] = {
    action.name: action
    for action in (
        BootAction("os", local_disk=True, shipped=True),
        BootAction("install", shipped=True),
        BootAction("install headless", args=HEADLESS, shipped=True),
        BootAction("rescue", kernel=INSTALLER_KERNEL, initrds=(INSTALLER_RAMDISK,), args="bootserver.rescue", shipped=True),
        BootAction("memtest", kernel="memtest86+x64.bin", efi="memtest86+x64.efi", shipped=True),
        BootAction("pxeflash", floppy="pxeflash.img", args="bigraw keeppxe", shipped=True),
    )
}
