"""From power-on to work: real firmware, a real kernel, and the service with nothing known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import pytest

from tests.e2e.conftest import PowerOn
from tests.lab.disk import BOOTED
from tests.lab.guest import Firmware, Guest
from tests.lab.process import Process, patience
from tests.lab.product import Product


@dataclass(frozen=True, slots=True)
class Way:
    """A way from firmware to kernel.

    :ivar loader: what the attribute ``loader`` says; None leaves it unset.
    :ivar passes: what the console says on the way, in this order, as proof that it is this way.
    :ivar seconds: from power-on to userland, on an idle machine.
    """

    name: str
    firmware: Firmware
    loader: str | None
    passes: tuple[str, ...]
    seconds: float


WAYS = (
    Way("bios-pxelinux", Firmware.BIOS, "pxelinux", ("iPXE initialising", "PXELINUX|SYSLINUX"), 12),
    Way("bios-ipxe-http", Firmware.BIOS, None, ("iPXE initialising", r"http://\S+vmlinuz"), 8),
    Way("uefi-shim-grub", Firmware.UEFI, None, ("PXEv4", "Welcome to GRUB|GNU GRUB"), 18),
    Way("uefi-ipxe", Firmware.UEFI, "ipxe", ("PXEv4", "iPXE initialising", r"http://\S+vmlinuz"), 15),
    Way("uefi-http", Firmware.UEFI_HTTP, None, ("HTTPv4",), 18),
)

KERNEL_STORY = ("menu sent", "kernel sent", "ramdisk sent")
INSTALL_STORY = ("exchanged", "script sent", "inventory", "phase", "installed", "up")
PHASES = ("partition", "format", "sync", "configure", "bootloader")


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_an_unknown_machine_is_named_installed_boots_its_disk_and_obeys(
    way: Way, site: Product, discover: Callable[[int], Process], power_on: PowerOn
) -> None:
    if way.loader is not None:
        site.cli("attr", "set", "loader", way.loader)
    discovery = discover(1)

    guest = power_on(way.firmware)
    for sign in way.passes:
        guest.wait(sign, patience(way.seconds))
    guest.wait("LAB-USERLAND", patience(way.seconds))
    expect_identity(guest, "compute-0-0")
    expect_install(guest)
    discovery.wait_for(r"^Inserted node compute-0-0$", patience(5))
    assert discovery.wait(patience(5)) == 0

    assert site.action_of("compute-0-0") == "os"
    guest.reset()
    guest.wait(BOOTED, patience(way.seconds + 30))

    site.cli("pxe", "set", "compute-0-0", "probe")
    guest.reset()
    guest.wait("LAB-USERLAND", patience(way.seconds))
    cmdline = guest.wait(r"LAB-CMDLINE (.*)\n", patience(5))[1]
    assert "ticket" not in cmdline, "only an install has a ticket"
    expect_identity(guest, "compute-0-0")
    assert site.action_of("compute-0-0") == "probe"

    # It was installed, then booted its disk, then probed: each boot asked for its menu.
    story = ("registered", "acknowledged", *KERNEL_STORY, *INSTALL_STORY, "menu sent", *KERNEL_STORY)
    site.wait_for_events("compute-0-0", story, patience(5))


def test_two_network_cards_of_one_machine_are_one_node(
    site: Product, discover: Callable[[int], Process], power_on: PowerOn
) -> None:
    discovery = discover(2)
    guest = power_on(Firmware.BIOS, cards=2, uuid=UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff"))
    expect_identity(guest, "compute-0-0", seconds=15)
    expect_install(guest)
    site.cli("pxe", "set", "compute-0-0", "probe")

    guest.power_cycle(boot_card=1)  # with insert-ethers still open for one more machine

    expect_identity(guest, "compute-0-0", seconds=15)
    assert [row["node"] for row in site.rows("pxe", "list") if row["node"].startswith("compute-")] == ["compute-0-0"]
    assert discovery.text().count("Inserted node") == 1
    assert discovery.alive, "it waits for a second machine, and none has come"


@pytest.mark.full
def test_eight_machines_at_once_are_eight_nodes_and_all_get_installed(
    site: Product, discover: Callable[[int], Process], power_on: PowerOn
) -> None:
    discovery = discover(8)
    guests = [power_on(Firmware.BIOS) for _ in range(8)]
    names = {guest.wait(r"LAB-WHOAMI (\S+)\n", patience(60))[1] for guest in guests}
    assert names == {f"compute-0-{rank}" for rank in range(8)}
    for guest in guests:
        expect_install(guest, seconds=30)
    assert discovery.wait(patience(5)) == 0
    assert {site.action_of(name) for name in names} == {"os"}


def expect_identity(guest: Guest, name: str, *, seconds: float = 5) -> None:
    """The booted kernel has a lease with its name, and the service says by HTTP that it is it."""
    assert guest.wait(r"LAB-DHCP ip=\S+ hostname=(\S*) ", patience(seconds))[1] == name
    assert guest.wait(r"LAB-WHOAMI (\S+)\n", patience(5))[1] == name


def expect_install(guest: Guest, *, seconds: float = 5) -> None:
    """It goes through the node API from its ticket to "up"."""
    assert guest.wait(r"LAB-SCRIPT (.*)\n", patience(seconds))[1].strip(), "the install script is empty"
    for phase in PHASES:
        guest.wait(f"LAB-PHASE {phase}$", patience(seconds))
    guest.wait("LAB-INSTALLED", patience(seconds))
    guest.wait("LAB-UP", patience(seconds))
    guest.wait(r"LAB-DONE \w+\n", patience(seconds))
