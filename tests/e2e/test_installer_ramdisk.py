"""The installer's ramdisk on machines of many kinds: it finds their disks and cards by itself, has its tools, and never hangs."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.e2e.imaging import installer
from tests.lab.disk import blank_disk
from tests.lab.guest import DiskBus, Firmware, Guest, Machine
from tests.lab.namespace import Namespace
from tests.lab.process import patience
from tests.lab.product import Product

NODE, MAC = "compute-0-0", "52:54:00:77:01:01"
PROMPT = f"{NODE}:.*# $"
BOOT_SECONDS = 25.0
DISK_MB = 512

TOOLS = {
    "lsblk --version": "lsblk from util-linux",
    "sfdisk --version": "sfdisk from util-linux",
    "rsync --version": "rsync +version",
    "mkfs.ext4 -V": "mke2fs 1",
    "mke2fs -V": "mke2fs 1",
    "mdadm --version": "mdadm - v",
    "lvm version": "LVM version",
    "mkfs.xfs -V": "mkfs.xfs version",
    "mkfs.fat --help": "Usage: mkfs.fat",
    "mkswap --version": "mkswap from util-linux",
    "efibootmgr --version": "version [0-9]",
    "tune2fs 2>&1": "tune2fs 1",
    "wipefs --version": "wipefs from util-linux",
    "blkid --version": "blkid from util-linux",
}


class Rescue(Protocol):
    """Boots a machine into the rescue system; it is at its first prompt."""

    def __call__(
        self, bus: DiskBus, card: str, *, action: str = "rescue", disks: int = 1, firmware: Firmware = Firmware.BIOS
    ) -> Guest: ...


@pytest.fixture
def rescue(product: Product, namespace: Namespace, tmp_path: Path) -> Iterator[Rescue]:
    shutil.copytree(installer(), product.tftpboot / "installer")
    product.cli("node", "add", NODE, "--mac", MAC)
    product.cli("bootflags", "set", "console=ttyS0")
    with contextlib.ExitStack() as guests:

        def boot(bus: DiskBus, card: str, *, action: str = "rescue", disks: int = 1, firmware: Firmware = Firmware.BIOS) -> Guest:
            product.cli("pxe", "set", NODE, action)
            images = tuple(blank_disk(tmp_path / f"disk-{number}", DISK_MB) for number in range(disks))
            machine = Machine(firmware=firmware, macs=(MAC,), memory=512, disks=images, bus=bus, card=card)
            return guests.enter_context(Guest(namespace, "guest", machine, tmp_path))

        yield boot


def until_prompt(guest: Guest) -> None:
    guest.wait("This is bootserver's rescue system", patience(BOOT_SECONDS))
    guest.wait("# ", patience(5))
    guest.send("stty cols 400\n")  # so that no command is seen in two lines, of which one looks like an answer
    guest.wait("# ", patience(5))


def ask(guest: Guest, command: str, answer: str, seconds: float = 10) -> str:
    """Type a command, and wait for a line of its answer; what is typed is echoed, and is no answer."""
    guest.send(f"{command}; echo answered $?\n")
    found = guest.wait(f"(?:^|\n) *({answer}[^\n]*)", patience(seconds))[1]
    guest.wait(r"\nanswered \d+", patience(seconds))
    return found


def test_the_rescue_system_has_its_tools_and_they_work(rescue: Rescue) -> None:
    guest = rescue(DiskBus.VIRTIO, "virtio-net-pci", disks=2)
    guest.wait("bootserver installer, kernel 6", patience(BOOT_SECONDS))
    until_prompt(guest)
    for command, answer in TOOLS.items():
        ask(guest, command, answer)

    # A mirror, a volume on it, and file systems: drivers come when they are called for.
    raid = "mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 /dev/vda /dev/vdb 2>/dev/null"
    volume = "pvcreate -q /dev/md0 && vgcreate -q vg /dev/md0 && lvcreate -q -y -n lv -L 400M vg"
    ask(guest, f"{raid} && {volume} >/dev/null 2>&1 && lsblk -nro NAME,TYPE", "vg-lv lvm", 30)
    for kind, make in (("ext4", "mkfs.ext4 -q"), ("xfs", "mkfs.xfs -q -f"), ("vfat", "mkfs.fat -F 32")):
        command = f"{make} /dev/vg/lv >/dev/null 2>&1 && mount -t {kind} /dev/vg/lv /mnt && grep /mnt /proc/mounts"
        ask(guest, command, f"/dev/vg/lv /mnt {kind}", 30)
        ask(guest, "umount /mnt && echo it is off", "it is off")

    guest.send("reboot\n")
    guest.wait("SeaBIOS", patience(10))


@pytest.mark.parametrize(
    ("firmware", "bus", "card", "disk", "driver"),
    [
        (Firmware.BIOS, DiskBus.AHCI, "e1000", "sda", "e1000"),
        pytest.param(Firmware.BIOS, DiskBus.NVME, "e1000e", "nvme0n1", "e1000e", marks=pytest.mark.full),
        (Firmware.UEFI, DiskBus.SCSI, "virtio-net-pci", "sda", "virtio_net"),
    ],
    ids=lambda value: value.name.lower() if isinstance(value, DiskBus | Firmware) else None,
)
def test_disks_and_cards_are_found_by_what_they_say_they_are(
    firmware: Firmware, bus: DiskBus, card: str, disk: str, driver: str, rescue: Rescue
) -> None:
    guest = rescue(bus, card, firmware=firmware)
    until_prompt(guest)
    ask(guest, "until [ -s /run/lease ]; do sleep 1; done; . /run/lease; echo $hostname has $ip", f"{NODE} has 10\\.77\\.")
    ask(guest, "lsblk -bdnro NAME,SIZE -e 11", f"{disk} {DISK_MB << 20}")
    ask(guest, "basename $(readlink -f /sys/class/net/eth0/device/driver)", driver)


def test_a_ticket_is_not_left_lying_about(product: Product, rescue: Rescue) -> None:
    args = "bootserver.rescue bootserver.ticket=1.SECRET.word console=ttyS0 quiet"
    files = ["--kernel", "installer/vmlinuz", "--initrd", "installer/initrd.img"]
    product.cli("pxe", "action", "add", "look", *files, "--args", args)
    guest = rescue(DiskBus.VIRTIO, "virtio-net-pci", action="look")
    until_prompt(guest)
    ask(guest, "cat /proc/cmdline", ".*bootserver.ticket=hidden")
    ask(guest, "grep -c SECRET /proc/cmdline /proc/*/environ 2>/dev/null | grep -vc ':0$'", "0")
    ask(guest, "cat /proc/sys/kernel/dmesg_restrict", "1")
    ask(guest, "grep -rl SECRET /run /tmp /etc /root; echo looked", "looked")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("", ("nobody to ask|holds no ticket|no ticket", "this machine starts again in 30 seconds", "SeaBIOS")),
        pytest.param(
            "bootserver.on_failure=poweroff",
            ("ticket", "this machine switches itself off in 30 seconds", ""),
            marks=pytest.mark.full,
        ),
        pytest.param("bootserver.on_failure=shell", ("ticket", "Here is a shell", "# "), marks=pytest.mark.full),
    ],
    ids=["reboot", "poweroff", "shell"],
)
def test_what_goes_wrong_is_said_in_plain_words_and_ends_as_it_was_told(
    args: str, words: tuple[str, str, str], product: Product, rescue: Rescue
) -> None:
    files = ["--kernel", "installer/vmlinuz", "--initrd", "installer/initrd.img"]
    product.cli("pxe", "action", "add", "fails", *files, "--args", f"{args} console=ttyS0 quiet".strip())
    guest = rescue(DiskBus.VIRTIO, "virtio-net-pci", action="fails")
    guest.wait("bootserver installer, kernel", patience(BOOT_SECONDS))
    said, then, last = words
    guest.wait(f"bootserver installer: .*(?:{said})", patience(20))
    guest.wait(then, patience(5))
    if last:  # half a minute later, for a person to read
        guest.wait(last, patience(10) + 30)


@pytest.mark.full
def test_a_pulled_cable_is_said_in_plain_words_and_not_waited_for_for_ever(product: Product, rescue: Rescue) -> None:
    guest = rescue(DiskBus.VIRTIO, "virtio-net-pci")
    guest.wait(r"initrd\.img\.\.\..* ok", patience(BOOT_SECONDS))
    guest.qmp("set_link", name="card0", up=False)
    guest.wait("rescue system", patience(BOOT_SECONDS))
    guest.wait(f"the network card eth0 .{MAC}. has no link: is the cable in", patience(10) + 30)
