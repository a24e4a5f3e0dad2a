"""Menus for GRUB 2 (UEFI, and BIOS by its network image): the GNU GRUB manual, "Shell-like scripting" and "Commands".

Words are put in single quotes, where GRUB interprets nothing (manual, section "Quoting").
"""

from __future__ import annotations

import re

from bootserver.cluster.plan import EfiApplication, FloppyBoot, LinuxBoot, LocalDisk, Plan, Wait
from bootserver.netboot.menus import MenuContext, Unencodable, console_line, shown, words

LOADER = "GRUB"

# The linux command puts backslashes before these when it makes the command line, so a kernel would see another value.
_ARGUMENT = re.compile(r"[!#-&(-\[\]-~]+")
_PLAIN = re.compile(r"[A-Za-z0-9_.,:=/+%@~-]+")
_PRINTABLE = re.compile(r"[ -~]*")

EFI_LOADERS = (
    "/EFI/debian/shimx64.efi",
    "/EFI/BOOT/BOOTX64.EFI",
)


def quoted(word: str) -> str:
    """A word of GRUB's scripting language."""
    if not _PRINTABLE.fullmatch(word):
        raise Unencodable(f"{word!r} can't be written in a GRUB menu")
    if _PLAIN.fullmatch(word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def _console(text: str) -> str:
    return f"echo {quoted(shown(text))}"


def _file(path: str, where: MenuContext) -> tuple[str, str]:
    """How GRUB names a file: the device, and the path on it."""
    if "://" not in path:
        return "$from", "/" + path.lstrip("/")
    scheme, _, rest = path.partition("://")
    host, _, name = rest.partition("/")
    if scheme not in {"http", "tftp"}:
        raise Unencodable(f"GRUB can't fetch {path}: it takes http and tftp")
    return quoted(f"({scheme},{host})"), "/" + name


def _reference(path: str, where: MenuContext) -> str:
    device, name = _file(path, where)
    return device + quoted(name)


def _menu(plan: Plan, where: MenuContext, *lines: str) -> str:
    return "\n".join(
        [
            'if [ -z "$menus" ]; then set menus="($root)"; fi',
            _console(console_line(plan, where)),
            *lines,
            *_again(plan, where),
            "",
        ]
    )


def _from(where: MenuContext) -> list[str]:
    """Where files come from, in ``$from``."""
    tftp = f"set from={quoted(f'(tftp,{where.server})')}"
    if not where.by_http:
        return [tftp]
    return [f"if insmod http; then set from={quoted(f'(http,{where.authority})')}; else {tftp}; fi"]


def _again(plan: Plan, where: MenuContext) -> list[str]:
    return [
        f"sleep {plan.seconds if isinstance(plan, Wait) else 30}",
        'if [ "$asking" != yes ]; then',
        "  set asking=yes",
        "  while true; do",
        f"    if source $menus{quoted('/' + where.again)}; then true; else sleep 10; fi",
        "  done",
        "fi",
    ]


def render(plan: Plan, where: MenuContext) -> str:
    """The text of a ``grub.cfg`` for a plan.

    :raises Unencodable: GRUB can't do that on this firmware, or a value can't be written.
    """
    match plan:
        case LocalDisk():
            return _menu(plan, where, *_local_disk(where))
        case LinuxBoot():
            arguments = map(quoted, words(plan.args, _ARGUMENT, LOADER))
            lines = [*_from(where), " ".join(["linux", _reference(plan.kernel, where), *arguments])]
            if plan.initrds:
                lines.append(" ".join(["initrd", *(_reference(path, where) for path in plan.initrds)]))
            return _menu(plan, where, *lines, "boot")
        case FloppyBoot():
            raise Unencodable(f"{plan.image} is a floppy image")
        case EfiApplication():
            return _menu(plan, where, *_from(where), "insmod chain", f"chainloader {_reference(plan.path, where)}", "boot")
        case Wait():
            return _menu(plan, where)


def _local_disk(where: MenuContext) -> list[str]:
    return [
        "for module in part_gpt part_msdos fat chain regexp; do insmod $module; done",
        f"for file in {' '.join(EFI_LOADERS)}; do",
        "  for disk in (hd*,gpt*) (hd*,msdos*); do",
        '    if [ -f "$disk$file" ]; then',
        '      echo "local disk: $disk$file"',
        '      set root=$disk',
        '      if chainloader "$file"; then boot; fi',
        "    fi",
        "  done",
        "done",
        _console(f"{where.name}: no operating system found on the local disks"),
    ]
