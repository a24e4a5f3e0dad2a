"""Scripts for iPXE: https://ipxe.org/scripting and https://ipxe.org/cmd.

iPXE splits a line at white space, expands ``${...}`` anywhere, takes ``||``, ``&&`` and ``;`` for operators and ``#`` for
a comment, and knows no quoting: what it might interpret can't be written, and is refused.
"""

from __future__ import annotations

import re

from bootserver.cluster.plan import EfiApplication, FloppyBoot, LinuxBoot, LocalDisk, Plan, Wait
from bootserver.netboot.menus import MenuContext, Unencodable, console_line, shown, words
from bootserver.values.firmware import Firmware

LOADER = "iPXE"

# Printable ASCII without " # $ & ' < > \ ` { | }; a semicolon only inside a word, where it separates nothing.
_ARGUMENT = re.compile(r"(?!;)[!%()*+,./0-9:;=?@A-Z\[\]^_a-z~-]+")


_ARCHITECTURE = {Firmware.UEFI_IA32: "ia32", Firmware.UEFI_ARM64: "aa64"}


def _word(word: str) -> str:
    if not _ARGUMENT.fullmatch(word):
        raise Unencodable(f"{word!r} can't be written in an iPXE script")
    return word


def _script(plan: Plan, where: MenuContext, *lines: str) -> str:
    # Where anything fails the machine asks again, for ever, from anew: imgfree drops what it had fetched, or the next
    # kernel would get this one's ramdisks too.
    return "\n".join(
        [
            "#!ipxe",
            f"echo {console_line(plan, where)}",
            *lines,
            ":failed",
            "imgfree",
            f"sleep {plan.seconds if isinstance(plan, Wait) else 30}",
            f"chain --replace --autofree {_word(where.url(where.again))} || goto failed",
            "",
        ]
    )


def render(plan: Plan, where: MenuContext) -> str:
    """The iPXE script for a plan.

    :raises Unencodable: iPXE can't do that on this firmware, or a value can't be written.
    """
    match plan:
        case LocalDisk():
            return _script(plan, where, *_local_disk(where))
        case LinuxBoot():
            return _script(plan, where, *_linux(plan, where))
        case FloppyBoot():
            if where.firmware.is_uefi:
                raise Unencodable(f"{plan.image} is a floppy image, and memdisk runs on BIOS only")
            arguments = words(plan.args, _ARGUMENT, LOADER)
            return _script(
                plan,
                where,
                " ".join(["kernel", _word(where.url("memdisk")), *arguments, "|| goto failed"]),
                f"initrd {_word(where.url(plan.image))} || goto failed",
                "boot || goto failed",
            )
        case EfiApplication():
            if not where.firmware.is_uefi:
                raise Unencodable(f"{plan.path} is a UEFI program, and this machine has a BIOS")
            options = words(plan.args, _ARGUMENT, LOADER)
            return _script(plan, where, " ".join(["chain", _word(where.url(plan.path)), *options, "|| goto failed"]))
        case Wait():
            return _script(plan, where)


def _linux(plan: LinuxBoot, where: MenuContext) -> list[str]:
    arguments = words(plan.args, _ARGUMENT, LOADER)
    names = [f"ramdisk{number}" for number, _ in enumerate(plan.initrds)]
    if where.firmware.is_uefi:
        # Under UEFI the kernel's EFI stub fetches its ramdisks itself, by name, out of a file system that iPXE shows it.
        # It puts them together without padding, so the kernel (6.1) loses an uncompressed second one that does not begin
        # at a multiple of four ("invalid magic at start of compressed archive"); a compressed one may begin anywhere.
        arguments += [f"initrd={name}" for name in names]
    return [
        " ".join(["kernel --name vmlinuz", _word(where.url(plan.kernel)), *arguments, "|| goto failed"]),
        *(
            f"initrd --name {name} {_word(where.url(path))} || goto failed"
            for name, path in zip(names, plan.initrds, strict=True)
        ),
        "boot || goto failed",
    ]


def _local_disk(where: MenuContext) -> list[str]:
    if not where.firmware.is_uefi:
        return [
            # Straight to the disk. `exit` gets there too, but only if it is the BIOS' next boot device, and 2 s later.
            "sanboot --no-describe --drive 0x80 ||",
            f"echo {shown(where.name)}: no operating system on the first disk, the BIOS tries its next boot device",
            "exit",
        ]
    # Seen with OVMF and iPXE of 2019: sanboot knows SAN disks only ("No such device"); `exit` opens the setup screen, which
    # stays; `exit 1` has the firmware try every other boot option, minutes of PXE over IPv6 and HTTP Boot, before the disk.
    # A GRUB that does nothing but look for an installed system (placing.py makes it) starts it at once.
    local = where.url(f"local{_ARCHITECTURE.get(where.firmware, 'x64')}.efi")
    return [
        f"chain {_word(local)} || exit 1",
        f"echo {shown(where.name)}: no operating system found on the local disks, asking again",
    ]


def stub() -> str:
    """``autoexec.ipxe``, which iPXE's EFI builds look for beside themselves: goes on to the script for this card.

    netX is the card that iPXE was loaded over; where it knows none (``goto``), the first one.
    """
    return "\n".join(
        [
            "#!ipxe",
            ":again",
            "isset ${netX/ip} || dhcp",
            "chain --replace --autofree ipxe/${platform}-${buildarch}/01-${netX/mac:hexhyp} ||",
            "sleep 10",
            "goto again",
            "",
        ]
    )
