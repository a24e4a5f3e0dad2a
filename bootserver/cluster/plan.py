"""What a machine boots: the answer of :func:`bootserver.cluster.boot.boot_plan`, which menus encode for each boot loader.

Paths are below ``tftpboot`` without a leading slash, or URLs; kernel arguments passed
:func:`bootserver.values.grammar.kernel_args`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bootserver.values.mac import MacAddress

CARD = "@card@"


@dataclass(frozen=True, slots=True)
class LocalDisk:
    """Boot the machine's own disk."""

    because: str


@dataclass(frozen=True, slots=True)
class LinuxBoot:
    """Load a kernel by the Linux boot protocol, ramdisks in this order.

    :ivar args: the whole command line. It holds a boot ticket if `has_ticket`: then it goes to the node's own address
        only, and never into a log or a cache.
    """

    kernel: str
    initrds: tuple[str, ...]
    args: str
    because: str
    has_ticket: bool = False

    def by_card(self, mac: MacAddress | None) -> LinuxBoot:
        """Tell the kernel which card it was loaded by, as pxelinux does (IPAPPEND 2): installers go on with that one.

        A word that names ``@card@`` has the MAC address there (``ifname=boot:@card@``), and is left out where nobody knows it.
        """
        words = (word for word in self.args.split() if mac is not None or CARD not in word)
        args = " ".join(words).replace(CARD, str(mac))
        return replace(self, args=args if mac is None else f"{args} BOOTIF=01-{mac.dashed}".strip())


@dataclass(frozen=True, slots=True)
class FloppyBoot:
    """Boot a disk image with memdisk (BIOS only)."""

    image: str
    args: str
    because: str


@dataclass(frozen=True, slots=True)
class EfiApplication:
    """Start a UEFI program that is no Linux kernel, such as memtest86+.

    :ivar args: its load options; the loader passes them on as a kernel's command line.
    """

    path: str
    because: str
    args: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Boot nothing now: tell the person before the machine why, wait, ask again."""

    because: str
    seconds: int = 30


Plan = LocalDisk | LinuxBoot | FloppyBoot | EfiApplication | Wait
