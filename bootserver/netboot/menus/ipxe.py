"""Scripts for iPXE: https://ipxe.org/scripting and https://ipxe.org/cmd.

iPXE splits a line at white space, expands ``${...}`` anywhere, takes ``||``, ``&&`` and ``;`` for operators and ``#`` for
a comment, and knows no quoting: what it might interpret can't be written, and is refused.
"""

from __future__ import annotations

import re

from bootserver.cluster.plan import EfiApplication, FloppyBoot, LinuxBoot, LocalDisk, Plan, Wait
from bootserver.netboot.menus import MenuContext, Unencodable, console_line, words

LOADER = "iPXE"

# Printable ASCII without " # $ & ' ; < > \ ` { | }
_ARGUMENT = re.compile(r"[!%()*+,./0-9:=?@A-Z\[\]^_a-z~-]+")


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
            return _script(plan, where, f"chain {_word(where.url(plan.path))} || goto failed")
        case Wait():
            return _script(plan, where)


def _linux(plan: LinuxBoot, where: MenuContext) -> list[str]:
    arguments = words(plan.args, _ARGUMENT, LOADER)
    names = [f"ramdisk{number}" for number, _ in enumerate(plan.initrds)]
    if where.firmware.is_uefi:
        # Under UEFI the kernel's EFI stub fetches its ramdisks itself, by name, out of a file system that iPXE shows it.
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
    if where.firmware.is_uefi:
        return ["exit 1"]
    return [
        "sanboot --no-describe --drive 0x80 ||",
        f"echo {where.name}: the first disk has no operating system, the BIOS tries its next boot device",
        "exit",
    ]
