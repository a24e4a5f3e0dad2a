"""Disks: empty ones to install on, and one that says on the console that it was booted, whatever the firmware."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.lab.cache import cached, fingerprint

SECTOR = 512
BOOTED = "LAB-LOCALDISK booted"
FLOPPY_BOOTED = "LAB-FLOPPY booted"

_MIB = 1 << 20
_SIZE = 8 * _MIB
_ESP_SIZE = 6 * _MIB

# What the BIOS runs: print the text behind it with int 10h, function 0Eh, and halt.
_BOOT_CODE = bytes.fromhex(
    "31c0"  # xor ax, ax
    "8ed8"  # mov ds, ax
    "be157c"  # mov si, 7c15h: the text, right behind the code
    "ac"  # next: lodsb
    "84c0"  # test al, al
    "7406"  # jz stop
    "b40e"  # mov ah, 0eh
    "cd10"  # int 10h
    "ebf5"  # jmp next
    "f4"  # stop: hlt
    "ebfd"  # jmp stop
)
_BOOT_CODE_LIMIT = 440  # then come the disk's signature and the partition table

# What a floppy's boot sector does, as a program on it would: read its last sector by the BIOS, which only finds it if the whole
# image came, and write the text that is there to the serial port itself.
_FLOPPY_CODE = bytes.fromhex(
    "31c0"  # xor ax, ax
    "8ed8"  # mov ds, ax
    "8ec0"  # mov es, ax
    "8ed0"  # mov ss, ax
    "bc007c"  # mov sp, 7c00h
    "b80102"  # mov ax, 0201h: read one sector
    "bb007e"  # mov bx, 7e00h: to here
    "b9124f"  # mov cx, 4f12h: cylinder 79, sector 18,
    "b601"  # mov dh, 1: head 1, of the drive in dl, which it was booted from
    "cd13"  # int 13h
    "721a"  # jc stop
    "be007e"  # mov si, 7e00h
    "ac"  # next: lodsb
    "84c0"  # test al, al
    "7412"  # jz stop
    "88c4"  # mov ah, al
    "bafd03"  # mov dx, 3fdh: the line's status
    "ec"  # wait: in al, dx
    "a820"  # test al, 20h: may the next character be written?
    "74fb"  # jz wait
    "88e0"  # mov al, ah
    "baf803"  # mov dx, 3f8h
    "ee"  # out dx, al
    "ebe9"  # jmp next
    "f4"  # stop: hlt
    "ebfd"  # jmp stop
)
_FLOPPY_SECTORS = 2880

# What UEFI runs: GRUB with nothing but this. It must not come back: the firmware would go on to the next device.
_GRUB = f"""\
echo "{BOOTED}"
while true; do sleep 60; done
"""
_GRUB_MODULES = ("echo", "normal", "sleep", "test", "true")


def blank_disk(path: Path, megabytes: int) -> Path:
    """An empty disk; it takes no room until it is written."""
    with path.open("wb") as disk:
        disk.truncate(megabytes * _MIB)
    return path


def bootable_disk(path: Path) -> Path:
    """A small GPT disk that prints :data:`BOOTED`: from its boot sector under BIOS, from its ESP under UEFI."""
    _partition(blank_disk(path, _SIZE // _MIB))
    with path.open("r+b") as disk:
        code = _BOOT_CODE + f"{BOOTED}\r\n\0".encode()
        assert len(code) <= _BOOT_CODE_LIMIT
        disk.write(code)
    esp = f"{path}@@{_MIB}"  # mtools' way to say "from this byte on"
    _run("mformat", "-i", esp, "-T", str(_ESP_SIZE // 512), "-h", "16", "-s", "63", "::")
    _run("mmd", "-i", esp, "::/EFI", "::/EFI/BOOT")
    _run("mcopy", "-i", esp, str(_efi_program()), "::/EFI/BOOT/BOOTX64.EFI")
    return path


def boot_floppy(path: Path) -> Path:
    """A 1.44 MB floppy image that says :data:`FLOPPY_BOOTED`, as a BIOS flash program would begin."""
    boot_sector = _FLOPPY_CODE.ljust(SECTOR - 2, b"\0") + b"\x55\xaa"
    last_sector = f"\r\n{FLOPPY_BOOTED}\r\n".encode().ljust(SECTOR, b"\0")
    path.write_bytes(boot_sector + bytes((_FLOPPY_SECTORS - 2) * SECTOR) + last_sector)
    return path


def _partition(disk: Path) -> None:
    layout = f"label: gpt\nstart={_MIB // 512}, size={_ESP_SIZE // 512}, type=uefi\n"
    _run("sfdisk", "--quiet", str(disk), stdin=layout)


def _efi_program() -> Path:
    def make(folder: Path) -> None:
        config = folder / "grub.cfg"
        config.write_text(_GRUB)
        output = str(folder / "localdisk.efi")
        _run("grub-mkimage", "-O", "x86_64-efi", "-p", "/", "-c", str(config), "-o", output, *_GRUB_MODULES)

    return cached(f"localdisk-{fingerprint(_GRUB, *_GRUB_MODULES)}", make) / "localdisk.efi"


def _run(*command: str, stdin: str = "") -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, input=stdin)
