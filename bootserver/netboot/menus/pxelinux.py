"""Menus for pxelinux (BIOS): syslinux.txt and pxelinux.txt of syslinux 6.04, in the form that Rocks writes.

Syslinux knows no quoting and no variables: a line is a keyword and the rest of the line. So all that matters is that a
value stays on its line and within its word.
"""

from __future__ import annotations

import re

from bootserver.cluster.plan import EfiApplication, FloppyBoot, LinuxBoot, LocalDisk, Plan, Wait
from bootserver.netboot.menus import MenuContext, Unencodable, console_line, words

LOADER = "pxelinux"

_ARGUMENT = re.compile(r"[!-~]+")
# A ramdisk's name ends at a comma (several ramdisks), a kernel's at a space.
_PATH = re.compile(r"[A-Za-z0-9._+@=~/-]+")
# KERNEL guesses what a file is by these endings (syslinux.txt, "KERNEL file"); LINUX takes it for a kernel, whatever its name.
_GUESSED = (".0", ".bin", ".bs", ".bss", ".c32", ".cbt", ".com", ".img")


def _path(path: str) -> str:
    """A file below the root, relative as the loader's own (``pxelinux.0`` lies at the root)."""
    if path.startswith("tftp://"):
        # pxelinux.txt, "filename syntax": IP::path is fetched from another server.
        host, _, rest = path.removeprefix("tftp://").partition("/")
        if not re.fullmatch(r"[0-9.]+", host) or not _PATH.fullmatch(rest):
            raise Unencodable(f"pxelinux can't fetch {path}: it takes tftp://ADDRESS/path without a port")
        return f"{host}::{rest}"
    if "://" in path:
        raise Unencodable(f"pxelinux fetches by TFTP only, and can't fetch {path}: set the attribute loader to ipxe")
    if not _PATH.fullmatch(path):
        raise Unencodable(f"{path!r} can't be written in a pxelinux menu")
    return path


def _menu(plan: Plan, where: MenuContext, *lines: str) -> str:
    return "\n".join(
        # SAY prints while the file is read, so it stands before anything is loaded.
        [f"say {console_line(plan, where)}", "default rocks", *lines, ""]
    )


def _label(*lines: str) -> tuple[str, ...]:
    return ("prompt 0", "label rocks", *(f"\t{line}" for line in lines))


def render(plan: Plan, where: MenuContext) -> str:
    """The text of ``pxelinux.cfg/...`` for a plan.

    :raises Unencodable: pxelinux can't do that, or a value can't be written.
    """
    match plan:
        case LocalDisk():
            return _menu(plan, where, *_label("localboot 0"))
        case LinuxBoot():
            kernel = _path(plan.kernel)
            keyword = "linux" if kernel.lower().endswith(_GUESSED) else "kernel"
            append = words(plan.args, _ARGUMENT, LOADER)
            if plan.initrds:
                append.insert(0, "initrd=" + ",".join(map(_path, plan.initrds)))
            return _menu(plan, where, *_label(f"{keyword} {kernel}", *_append(append)))
        case FloppyBoot():
            append = [f"initrd={_path(plan.image)}", *words(plan.args, _ARGUMENT, LOADER)]
            return _menu(plan, where, *_label("kernel memdisk", *_append(append)))
        case EfiApplication():
            raise Unencodable(f"{plan.path} is a UEFI program, and pxelinux runs on BIOS only")
        case Wait():
            return _wait(plan, where)


def _append(append: list[str]) -> tuple[str, ...]:
    return (f"append {' '.join(append)}",) if append else ()


def _wait(plan: Wait, where: MenuContext) -> str:
    # CONFIG starts pxelinux anew with this file (it fetches ldlinux.c32 and the file again): no reboot, which on a server
    # takes minutes, and nothing left over from one time to the next. TIMEOUT counts only after PROMPT 1, and a key stops
    # it; TOTALTIMEOUT it does not stop. Both are in tenths of a second.
    return _menu(
        plan,
        where,
        "prompt 1",
        f"timeout {plan.seconds * 10}",
        f"totaltimeout {plan.seconds * 10}",
        "label rocks",
        f"\tconfig {_path(where.again)}",
    )
