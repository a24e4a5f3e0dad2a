"""What is booted once in a while: a test of the memory, a BIOS flashed from a floppy image of the site's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.disk import BOOTED, FLOPPY_BOOTED, boot_floppy, bootable_disk
from tests.lab.guest import Firmware, Guest, Machine
from tests.lab.namespace import Namespace
from tests.lab.process import patience
from tests.lab.product import Product

NODE, MAC = "compute-0-0", "52:54:00:77:01:01"
BOOT_SECONDS = {Firmware.BIOS: 12.0, Firmware.UEFI: 18.0}

PowerOn = Callable[[Firmware], Guest]


@pytest.fixture
def power_on(product: Product, namespace: Namespace, tmp_path: Path) -> Iterator[PowerOn]:
    """Powers on compute-0-0, which has a bootable disk and a serial console."""
    product.cli("node", "add", NODE, "--mac", MAC)
    product.cli("bootflags", "set", "console=ttyS0,115200")
    with ExitStack() as guests:

        def start(firmware: Firmware) -> Guest:
            disk = bootable_disk(tmp_path / "guest.disk")
            # Under UEFI memtest86+ ends at once where there is no graphics card.
            machine = Machine(firmware=firmware, macs=(MAC,), memory=192, disks=(disk,), has_screen=firmware.is_uefi)
            return guests.enter_context(Guest(namespace, "guest", machine, tmp_path))

        yield start


def expect_memory_test(guest: Guest, seconds: float) -> None:
    """memtest86+ tells on the serial console what it is, what it tests, and that it gets on."""
    guest.wait(r"Memtest86\+ v\d", patience(seconds))
    guest.wait(r"\d+KB - \d+MB \[\d+MB of 1\d\dMB\]", patience(30))
    assert guest.wait(r"Status: Testing .*?Pass:  0 +Errors: (\d+)", patience(10))[1] == "0"
    guest.wait(r"[1-9]\d*% #", patience(30))


@pytest.mark.parametrize("loader", ["auto", pytest.param("ipxe", marks=pytest.mark.full)])
def test_memory_is_tested_under_uefi_and_no_floppy_is_booted_there(loader: str, product: Product, power_on: PowerOn) -> None:
    product.cli("attr", "set", "loader", loader)
    product.cli("pxe", "set", NODE, "memtest")
    guest = power_on(Firmware.UEFI)
    expect_memory_test(guest, BOOT_SECONDS[Firmware.UEFI])
    product.wait_for_events(NODE, ("menu sent", "kernel sent"), patience(5))
    assert product.action_of(NODE) == "memtest", "until another action is set"

    (product.tftpboot / "pxeflash.img").write_bytes(bytes(1440 * 1024))
    product.cli("pxe", "set", NODE, "pxeflash")
    guest.reset()
    refusal = f"{NODE}: action pxeflash boots a floppy image, which needs BIOS firmware, and this machine has UEFI"
    guest.wait(r"\s+".join(map(re.escape, refusal.split())), patience(BOOT_SECONDS[Firmware.UEFI]))  # the screen breaks lines
    assert product.action_of(NODE) == "pxeflash", "what was never fetched is not over"


@pytest.mark.parametrize("loader", ["pxelinux", "ipxe"])
def test_a_bios_machine_tests_its_memory_is_flashed_once_and_then_boots_its_disk(
    loader: str, product: Product, power_on: PowerOn, tmp_path: Path
) -> None:
    product.cli("attr", "set", "loader", loader)
    said = product.cli("pxe", "set", NODE, "pxeflash", status=1).stderr
    assert "pxeflash.img is not there: `bootserver pxe action add pxeflash --floppy FILE`" in said
    product.cli("pxe", "action", "add", "pxeflash", "--floppy", str(boot_floppy(tmp_path / "bios.img")))
    product.cli("pxe", "set", NODE, "memtest")
    guest = power_on(Firmware.BIOS)
    expect_memory_test(guest, BOOT_SECONDS[Firmware.BIOS])

    product.cli("pxe", "set", NODE, "pxeflash")
    guest.reset()
    guest.wait(f"{FLOPPY_BOOTED}$", patience(BOOT_SECONDS[Firmware.BIOS]))

    product.wait_for_events(NODE, ("ramdisk sent", "action"), patience(5))
    [node] = product.rows("node", "show", NODE)
    assert node["action"] == "os"
    assert node["events"][-1]["detail"] == {"action": "os", "because": "pxeflash was fetched"}
    guest.reset()
    guest.wait(BOOTED, patience(BOOT_SECONDS[Firmware.BIOS]))
