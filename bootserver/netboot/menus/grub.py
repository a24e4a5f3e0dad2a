"""Menus for GRUB 2 (UEFI, and BIOS by its network image): the GNU GRUB manual 2.06, "Shell-like scripting" and "Commands".

Words are put in single quotes, between which GRUB interprets nothing (manual, section "Quoting").

A menu may need no module that is not in Debian's signed image: under Secure Boot GRUB is locked down and refuses to load
any other ("prohibited by secure boot policy"), and ``insmod`` is true all the same.
"""

from __future__ import annotations

import re

from bootserver.cluster.plan import EfiApplication, FloppyBoot, LinuxBoot, LocalDisk, Plan, Wait
from bootserver.netboot.menus import MenuContext, Unencodable, console_line, shown, words
from bootserver.values.firmware import Firmware

LOADER = "GRUB"

# Printable ASCII without " ' and \, before which the linux command puts a backslash: the kernel would see another value.
_ARGUMENT = re.compile(r"[!#-&(-\[\]-~]+")
_PLAIN = re.compile(r"[A-Za-z0-9_.,:=/+%@~-]+")
BY_HTTP = "grub/by-http.cfg"
_PRINTABLE = re.compile(r"[ -~]*")

# A vendor's own loader goes before the one for removable media: that one may be a stick's, and shim's fallback there
# resets the machine after making boot entries.
_VENDORS = ("debian", "ubuntu", "rocky", "almalinux", "centos", "redhat", "fedora", "opensuse", "sles")
_ARCHITECTURE = {Firmware.UEFI_IA32: "ia32", Firmware.UEFI_ARM64: "aa64"}


def efi_loaders(firmware: Firmware) -> tuple[str, ...]:
    """Where an installed system's loader is on an EFI system partition (UEFI 2.10, section 3.5.1.1), in order of trial."""
    suffix = _ARCHITECTURE.get(firmware, "x64")
    shims = tuple(f"/EFI/{vendor}/shim{suffix}.efi" for vendor in _VENDORS)
    # grub-install without shim-signed writes grubx64.efi alone.
    grubs = tuple(f"/EFI/{vendor}/grub{suffix}.efi" for vendor in _VENDORS)
    return (*shims, *grubs, f"/EFI/BOOT/BOOT{suffix.upper()}.EFI", "/EFI/Microsoft/Boot/bootmgfw.efi")


def quoted(word: str) -> str:
    """A word of GRUB's scripting language.

    :raises Unencodable: it holds what no single-quoted word can, such as a newline.
    """
    if not _PRINTABLE.fullmatch(word):
        raise Unencodable(f"{word!r} can't be written in a GRUB menu")
    if _PLAIN.fullmatch(word):
        return word
    return "'" + word.replace("'", r"'\''") + "'"


def stub() -> str:
    """``grub.cfg``, as the signed GRUB asks for it: goes on to the menu for this platform and card.

    It does so for ever, so a menu that waits only has to end (``asking`` tells it), and a server that is away may come back.
    """
    return "\n".join(
        [
            'set menus="($root)"',
            "set asking=yes",
            "while true; do",
            # The MAC has colons here; turning them into dashes would take the regexp command.
            '  source "$menus/grub/$grub_cpu-$grub_platform/grub.cfg-01-$net_default_mac"',
            "  sleep 1",
            "done",
            "",
        ]
    )


def render(plan: Plan, where: MenuContext) -> str:
    """The text of a ``grub.cfg`` for a plan.

    :raises Unencodable: GRUB can't do that on this firmware, or a value can't be written.
    """
    match plan:
        case LocalDisk():
            return _menu(plan, where, *local_disk(where.firmware, where.name))
        case LinuxBoot():
            return _menu(plan, where, *_linux(plan, where))
        case FloppyBoot():
            if where.firmware.is_uefi:
                raise Unencodable(f"{plan.image} is a floppy image, and memdisk runs on BIOS only")
            append = map(quoted, words(plan.args, _ARGUMENT, LOADER))
            return _menu(
                plan,
                where,
                *_fetching(
                    where,
                    # memdisk calls the BIOS: it wants the 16-bit boot protocol, which the linux command leaves behind.
                    f"if {' '.join(['linux16', _file('memdisk'), *append])}; then",
                    f"  if initrd16 {_file(plan.image)}; then boot; fi",
                    "fi",
                ),
            )
        case EfiApplication():
            if not where.firmware.is_uefi:
                raise Unencodable(f"{plan.path} is a UEFI program, and this machine has a BIOS")
            options = map(quoted, words(plan.args, _ARGUMENT, LOADER))
            chainload = " ".join(["chainloader", _file(plan.path), *options])
            return _menu(plan, where, *_fetching(where, f"if {chainload}; then boot; fi"))
        case Wait():
            return _menu(plan, where)


def local_disk(firmware: Firmware, name: str) -> list[str]:
    """Start what is installed on the machine's disks; falls through, and says so, where nothing is."""
    nothing = _echo(f"{name}: no operating system found on the local disks")
    if not firmware.is_uefi:
        return ["set root=(hd0)", "if chainloader (hd0)+1; then boot; fi", nothing]
    return [
        # Built into the signed image; a GRUB of another making may have to load them, and may fail to.
        "for module in part_gpt part_msdos fat chain regexp; do insmod $module; done",
        f"for file in {' '.join(efi_loaders(firmware))}; do",
        # Not by `search --file`: it prints an error for each file that is not there.
        "  for disk in (hd*,gpt*) (hd*,msdos*); do",
        '    if [ -f "$disk$file" ]; then',
        '      echo "starting $disk$file"',
        # The program is told that it came from $root: shim looks there for its grubx64.efi, and without this found none.
        '      set root="$disk"',
        '      if chainloader "$file"; then boot; fi',
        "    fi",
        "  done",
        "done",
        # Not `exit`: OVMF opens its setup screen then, and stays there.
        nothing,
    ]


def _linux(plan: LinuxBoot, where: MenuContext) -> list[str]:
    linux = " ".join(["linux", _file(plan.kernel), *map(quoted, words(plan.args, _ARGUMENT, LOADER))])
    if not plan.initrds:
        return _fetching(where, f"if {linux}; then boot; fi")
    # Never boots without a ramdisk that failed to come: an installer's kernel would panic, where it can ask again.
    initrd = " ".join(["initrd", *map(_file, plan.initrds)])
    return _fetching(where, f"if {linux}; then", f"  if {initrd}; then boot; fi", "fi")


def _menu(plan: Plan, where: MenuContext, *lines: str) -> str:
    return "\n".join(
        [
            'if [ -z "$menus" ]; then set menus="($root)"; fi',
            _echo(console_line(plan, where)),
            *lines,
            # Here whatever was to boot did not. A menu that is sourced by a loop ends; the first one of all is the loop, so
            # that none is ever nested in another but once, however long a machine waits.
            f"sleep {plan.seconds if isinstance(plan, Wait) else 30}",
            'if [ "$asking" != yes ]; then',
            "  set asking=yes",
            "  while true; do",
            f'    source "$menus"{quoted("/" + where.again)}',
            # However source ends: it is not to ask a thousand times a second.
            "    sleep 1",
            "  done",
            "fi",
            "",
        ]
    )


def _echo(text: str) -> str:
    return f"echo {quoted(shown(text))}"


def by_http(where: MenuContext) -> str:
    """What ``grub/by-http.cfg`` holds: fetched by HTTP, it proves that this GRUB has HTTP."""
    return f"set files={quoted(f'(http,{where.authority})')}\n"


def _fetching(where: MenuContext, *lines: str) -> list[str]:
    """Lines that boot from ``$files``, the device that files come from; once, for this life of GRUB.

    GRUB 2.06 (Debian's) boots a kernel without its command line if an earlier ``linux`` failed half way. So whether HTTP works
    is found out before, and where the files did not come after all the machine starts anew.
    """
    choose = [f"set files={quoted(f'(tftp,{where.server})')}"]
    if where.by_http:
        # Debian's signed image has no HTTP of its own, and can't load it under Secure Boot (lockdown=y). Whether it works is
        # found out by fetching: insmod is true even where it failed, and `[ -f ... ]` lists folders, which no network has.
        choose += [
            'if [ "$lockdown" != y ]; then insmod http; fi',
            f"source {quoted(f'(http,{where.authority})/{BY_HTTP}')}",
        ]
    failed = _echo(f"{where.name}: the boot files did not come, starting anew")
    return [*choose, *lines, failed, "sleep 10", "reboot"]


def _file(path: str) -> str:
    """How GRUB names a file."""
    scheme, separator, rest = path.partition("://")
    if not separator:
        return f'"$files"{quoted("/" + path.lstrip("/"))}'
    host, _, name = rest.partition("/")
    if scheme not in {"http", "tftp"}:
        raise Unencodable(f"GRUB can't fetch {path}: it takes http and tftp")
    return quoted(f"({scheme},{host})/{name}")
