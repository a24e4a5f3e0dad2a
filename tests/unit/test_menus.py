"""Boot menus: what each loader is told for each plan, and that no value ever becomes more than a value."""

from __future__ import annotations

import re
import string
from ipaddress import IPv4Address
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.cluster.plan import EfiApplication, FloppyBoot, LinuxBoot, LocalDisk, Plan, Wait
from bootserver.netboot.menus import MenuContext, Unencodable, console_line, grub, ipxe, pxelinux
from bootserver.values.firmware import Firmware

INSTALL = LinuxBoot("installer/vmlinuz", ("installer/initrd.img", "b.img"), "quiet ip=dhcp", because="action install")
DISK = LocalDisk("action os")
FLASH = FloppyBoot("pxeflash.img", "bigraw keeppxe", because="action pxeflash")
MEMTEST = EfiApplication("memtest86+x64.efi", because="action memtest")
WAIT = Wait("install has no image", seconds=20)
PLANS = (INSTALL, DISK, FLASH, MEMTEST, WAIT)
ENCODERS = (
    (pxelinux, Firmware.BIOS),
    (ipxe, Firmware.BIOS),
    (ipxe, Firmware.UEFI_X64),
    (grub, Firmware.UEFI_X64),
    (grub, Firmware.BIOS),
)


def where(firmware: Firmware = Firmware.BIOS, **changed: object) -> MenuContext:
    facts: dict[str, object] = {
        "name": "compute-0-0",
        "firmware": firmware,
        "server": IPv4Address("10.1.1.1"),
        "again": "menu/01-52-54-00-00-00-01",
    }
    return MenuContext(**(facts | changed))  # type: ignore[arg-type]


# ---- what a person before the machine reads --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "line"),
    [
        (DISK, "compute-0-0: action os, local disk"),
        (LocalDisk("action os: local disk"), "compute-0-0: action os: local disk"),
        (INSTALL, "compute-0-0: action install, kernel installer/vmlinuz"),
        (FLASH, "compute-0-0: action pxeflash, floppy pxeflash.img"),
        (MEMTEST, "compute-0-0: action memtest, program memtest86+x64.efi"),
        (WAIT, "compute-0-0: install has no image, asking again every 20 seconds"),
        (LocalDisk("a\nkernel evil ${x} 'y'"), "compute-0-0: a?kernel evil ??x? ?y?, local disk"),
    ],
)
def test_the_console_says_what_the_machine_does_and_why(plan: Plan, line: str):
    assert console_line(plan, where()) == line


@pytest.mark.parametrize(("encoder", "firmware"), ENCODERS)
def test_every_menu_says_it_on_the_console(encoder: ModuleType, firmware: Firmware):
    for plan in (DISK, INSTALL, WAIT):
        assert console_line(plan, where()) in encoder.render(plan, where(firmware))


# ---- each loader's form -----------------------------------------------------------------------------------------------------


def test_pxelinux_menus_have_the_form_of_rocks():
    assert pxelinux.render(INSTALL, where()) == (
        "say compute-0-0: action install, kernel installer/vmlinuz\n"
        "default rocks\n"
        "prompt 0\n"
        "label rocks\n"
        "\tkernel installer/vmlinuz\n"
        "\tappend initrd=installer/initrd.img,b.img quiet ip=dhcp\n"
    )
    assert "label rocks\n\tlocalboot 0\n" in pxelinux.render(DISK, where())
    assert "\tkernel memdisk\n\tappend initrd=pxeflash.img bigraw keeppxe\n" in pxelinux.render(FLASH, where())


def test_pxelinux_takes_a_kernel_for_a_kernel_whatever_its_name():
    memtest = LinuxBoot("memtest86+x64.bin", (), "", because="action memtest")
    assert pxelinux.render(memtest, where()).endswith("label rocks\n\tlinux memtest86+x64.bin\n")


def test_a_waiting_pxelinux_reads_its_menu_again_without_a_reboot():
    text = pxelinux.render(WAIT, where())
    assert "prompt 1\ntimeout 200\ntotaltimeout 200\n" in text
    assert text.endswith("label rocks\n\tconfig menu/01-52-54-00-00-00-01\n")


@pytest.mark.parametrize(
    ("kernel", "written"),
    [
        ("tftp://10.9.9.9/a/vmlinuz", "10.9.9.9::a/vmlinuz"),
        ("http://10.9.9.9/vmlinuz", None),
        ("tftp://server.example/vmlinuz", None),
        ("tftp://10.9.9.9:99/vmlinuz", None),
    ],
)
def test_pxelinux_fetches_from_another_server_by_tftp_only(kernel: str, written: str | None):
    plan = LinuxBoot(kernel, (), "", because="x")
    if written:
        assert f"\tkernel {written}\n" in pxelinux.render(plan, where())
    else:
        with pytest.raises(Unencodable):
            pxelinux.render(plan, where())


def test_ipxe_fetches_by_http_and_asks_again_if_it_fails():
    assert ipxe.render(INSTALL, where(http_port=8080)) == (
        "#!ipxe\n"
        "echo compute-0-0: action install, kernel installer/vmlinuz\n"
        "kernel --name vmlinuz http://10.1.1.1:8080/installer/vmlinuz quiet ip=dhcp || goto failed\n"
        "initrd --name ramdisk0 http://10.1.1.1:8080/installer/initrd.img || goto failed\n"
        "initrd --name ramdisk1 http://10.1.1.1:8080/b.img || goto failed\n"
        "boot || goto failed\n"
        ":failed\n"
        "imgfree\n"
        "sleep 30\n"
        "chain --replace --autofree http://10.1.1.1:8080/menu/01-52-54-00-00-00-01 || goto failed\n"
    )


def test_ipxe_names_ramdisks_to_the_kernel_under_uefi_only():
    assert " initrd=ramdisk0 initrd=ramdisk1 || goto failed\n" in ipxe.render(INSTALL, where(Firmware.UEFI_X64))
    assert "initrd=" not in ipxe.render(INSTALL, where(Firmware.BIOS))


def test_ipxe_fetches_by_tftp_where_http_is_off():
    text = ipxe.render(INSTALL, where(by_http=False))
    assert "http:" not in text
    assert "tftp://10.1.1.1/installer/vmlinuz " in text


def test_ipxe_starts_the_disk_in_the_way_of_its_firmware():
    assert "sanboot --no-describe --drive 0x80 ||\n" in ipxe.render(DISK, where(Firmware.BIOS))
    assert "chain http://10.1.1.1/localx64.efi || exit 1\n" in ipxe.render(DISK, where(Firmware.UEFI_X64))
    assert "chain http://10.1.1.1/localaa64.efi || exit 1\n" in ipxe.render(DISK, where(Firmware.UEFI_ARM64))


def test_grub_finds_out_whether_it_has_http_before_it_loads_a_kernel_and_never_boots_without_its_ramdisks():
    text = grub.render(INSTALL, where(Firmware.UEFI_X64, http_port=8080))
    assert text.startswith(
        'if [ -z "$menus" ]; then set menus="($root)"; fi\n'
        "echo 'compute-0-0: action install, kernel installer/vmlinuz'\n"
        "set files='(tftp,10.1.1.1)'\n"
        'if [ "$lockdown" != y ]; then insmod http; fi\n'
        "source '(http,10.1.1.1:8080)/grub/by-http.cfg'\n"
        'if linux "$files"/installer/vmlinuz quiet ip=dhcp; then\n'
        '  if initrd "$files"/installer/initrd.img "$files"/b.img; then boot; fi\n'
        "fi\n"
        "echo 'compute-0-0: the boot files did not come, starting anew'\n"
        "sleep 10\n"
        "reboot\n"
    )
    assert text.count("linux ") == 1, "after a linux command that failed GRUB boots a kernel without its command line"
    assert grub.by_http(where(Firmware.UEFI_X64, http_port=8080)) == "set files='(http,10.1.1.1:8080)'\n"


def test_a_uefi_program_is_given_its_options():
    plan = EfiApplication("memtest86+x64.efi", "action memtest", "console=ttyS0,115200 keyboard=legacy")
    by_grub, by_ipxe = (loader.render(plan, where(Firmware.UEFI_X64)) for loader in (grub, ipxe))
    assert 'if chainloader "$files"/memtest86+x64.efi console=ttyS0,115200 keyboard=legacy; then boot; fi\n' in by_grub
    assert "chain http://10.1.1.1/memtest86+x64.efi console=ttyS0,115200 keyboard=legacy || goto failed\n" in by_ipxe
    assert "chain http://10.1.1.1/memtest86+x64.efi || goto failed\n" in ipxe.render(MEMTEST, where(Firmware.UEFI_X64))


def test_grub_never_leaves_for_the_firmware():
    for plan in (DISK, INSTALL, MEMTEST, WAIT):
        assert "exit" not in grub.render(plan, where(Firmware.UEFI_X64))


def test_grub_looks_for_every_vendors_loader_and_says_so_when_there_is_none():
    text = grub.render(DISK, where(Firmware.UEFI_X64))
    for path in ("/EFI/debian/shimx64.efi", "/EFI/BOOT/BOOTX64.EFI", "/EFI/Microsoft/Boot/bootmgfw.efi"):
        assert path in text
    assert "echo 'compute-0-0: no operating system found on the local disks'\n" in text
    assert "/EFI/BOOT/BOOTIA32.EFI" in grub.render(DISK, where(Firmware.UEFI_IA32))
    assert "chainloader (hd0)+1" in grub.render(DISK, where(Firmware.BIOS))


@pytest.mark.parametrize(
    ("encoder", "firmware", "plan"),
    [
        (pxelinux, Firmware.BIOS, MEMTEST),
        (ipxe, Firmware.BIOS, MEMTEST),
        (grub, Firmware.BIOS, MEMTEST),
        (ipxe, Firmware.UEFI_X64, FLASH),
        (grub, Firmware.UEFI_X64, FLASH),
        (grub, Firmware.UEFI_X64, LinuxBoot("https://mirror.example/vmlinuz", (), "", because="x")),
    ],
)
def test_what_a_loader_cant_do_is_refused(encoder: ModuleType, firmware: Firmware, plan: Plan):
    with pytest.raises(Unencodable):
        encoder.render(plan, where(firmware))


# ---- nothing becomes more than a value --------------------------------------------------------------------------------------
# These go past the grammar at the door (bootserver/values/grammar.py) on purpose: the encoders are the second lock.

HOSTILE = st.text(
    alphabet=st.one_of(
        st.sampled_from("\n\r\t\x00\x0b\x85\u2028 '\"`$\\{};&|<>#%=,()*?[]~!:/"),
        st.sampled_from(string.ascii_letters),
        st.characters(),
    ),
    max_size=40,
)
ANYTHING = st.builds(
    lambda kernel, initrds, args, because, kind: {
        "linux": LinuxBoot(kernel, tuple(initrds), args, because=because),
        "floppy": FloppyBoot(kernel, args, because=because),
        "efi": EfiApplication(kernel, because, args),
        "disk": LocalDisk(because),
        "wait": Wait(because),
    }[kind],
    HOSTILE,
    st.lists(HOSTILE, max_size=2),
    HOSTILE,
    HOSTILE,
    st.sampled_from(["linux", "floppy", "efi", "disk", "wait"]),
)

# For each loader, the lines that a menu may be made of, its variables and operators included.
_SAFE_SAY = r"[A-Za-z0-9 .,:=/+@_()\[\]%!*~^?-]*"
_LINES = {
    pxelinux: re.compile(
        rf"say {_SAFE_SAY}|default rocks|prompt [01]|(total)?timeout \d+|label rocks|\tlocalboot 0"
        r"|\t(kernel|linux|config) [A-Za-z0-9._+@=~/:-]+|\tappend [!-~]+( [!-~]+)*|"
    ),
    ipxe: re.compile(
        rf"#!ipxe|echo {_SAFE_SAY}|(kernel|initrd|chain|sleep|boot|sanboot|imgfree)( [!%()*+,./0-9:=?@A-Z\[\]^_a-z~-]+)*"
        r"( \|\|( goto failed| exit 1)?)?|:failed|exit|"
    ),
}


@pytest.mark.parametrize(("encoder", "firmware"), [pair for pair in ENCODERS if pair[0] is not grub])
@given(plan=ANYTHING, name=HOSTILE)
def test_no_value_adds_a_line_or_a_variable(encoder: ModuleType, firmware: Firmware, plan: Plan, name: str):
    try:
        text = encoder.render(plan, where(firmware, name=name))
    except Unencodable:
        return
    assert text.isascii()
    lines = text.split("\n")
    assert len(lines) <= 16
    for line in lines:
        assert _LINES[encoder].fullmatch(line), line
    if encoder is ipxe:
        assert "$" not in text and text.count("||") <= 8


@pytest.mark.parametrize("firmware", [Firmware.BIOS, Firmware.UEFI_X64])
@given(plan=ANYTHING, name=HOSTILE)
def test_no_value_adds_a_line_or_a_variable_to_grub(firmware: Firmware, plan: Plan, name: str):
    try:
        text = grub.render(plan, where(firmware, name=name))
    except Unencodable:
        return
    assert text.isascii()
    example: Plan
    match plan:
        case LinuxBoot():
            example = LinuxBoot("k", ("i",) * len(plan.initrds), "", because="b")
        case FloppyBoot():
            example = FloppyBoot("k", "", because="b")
        case EfiApplication():
            example = EfiApplication("k", because="b")
        case LocalDisk():
            example = LocalDisk("b")
        case Wait():
            example = Wait("b")
    skeleton = grub.render(example, where(firmware))
    assert text.count("\n") == skeleton.count("\n")
    # What stands outside of single quotes is what our own templates have, and plain characters.
    bare = re.sub(r"'[^'\n]*'", "", text.replace("\\'", ""))
    allowed = re.sub(r"'[^'\n]*'", "", skeleton)
    for special in '$`"&|<>#{}\\;*?[]()':
        assert bare.count(special) <= allowed.count(special), special


@given(st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30))
def test_a_grub_word_reads_as_itself(word: str):
    """By a reader of GRUB's quoting of its own: outside of quotes a backslash takes the next character as it is."""
    read, inside, characters = "", False, iter(grub.quoted(word))
    for character in characters:
        if character == "'":
            inside = not inside
        elif character == "\\" and not inside:
            read += next(characters)
        else:
            assert inside or re.fullmatch(r"[A-Za-z0-9_.,:=/+%@~-]", character)
            read += character
    assert not inside
    assert read == word


@pytest.mark.parametrize("argument", ["a\nkernel evil", "a\tb", "a\x00", "ä", "a\u2028b", "a\x0bb"])
@pytest.mark.parametrize(("encoder", "firmware"), ENCODERS)
def test_an_argument_that_no_menu_can_hold_is_refused(encoder: ModuleType, firmware: Firmware, argument: str):
    with pytest.raises(Unencodable):
        encoder.render(LinuxBoot("k", (), argument, because="x"), where(firmware))


@pytest.mark.parametrize("argument", ["${net0/ip}", "a||b", "||", "&&", ";", "#x", 'x="y"', "x\\", "a'b", "{"])
def test_ipxe_refuses_what_it_would_interpret(argument: str):
    with pytest.raises(Unencodable):
        ipxe.render(LinuxBoot("k", (), argument, because="x"), where())


def test_grub_quotes_what_it_would_interpret():
    text = grub.render(LinuxBoot("k", (), "a=${prefix} b;c d|e f#g", because="x"), where(Firmware.UEFI_X64))
    assert """linux "$files"/k 'a=${prefix}' 'b;c' 'd|e' 'f#g'; then""" in text


def test_a_command_line_longer_than_a_kernel_takes_is_refused():
    for encoder, firmware in ENCODERS:
        with pytest.raises(Unencodable):
            encoder.render(LinuxBoot("k", (), "x" * 2100, because="x"), where(firmware))


def test_stubs_go_on_by_the_card():
    assert "grub.cfg-01-$net_default_mac" in grub.stub()
    assert ipxe.stub().startswith("#!ipxe\n")
