"""Beside a site's own DHCP server: real firmware takes its address there and its boot file from us, and is installed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import PowerOn
from tests.e2e.test_netboot import PHASES
from tests.lab.guest import Firmware
from tests.lab.process import Process, patience
from tests.lab.product import Product, _descendants
from tests.lab.site_dhcp import SiteDhcp, SiteServer


@dataclass(frozen=True, slots=True)
class Way:
    """A way from firmware to kernel beside a site's server.

    :ivar loader: what the attribute ``loader`` says; None leaves it unset.
    :ivar passes: what the console says on the way, in this order.
    :ivar boot_file: what the site's own server tells all machines to boot: none of ours may fall for it.
    :ivar next_server: where the site's server says that boot files are.
    """

    server: SiteServer
    firmware: Firmware
    loader: str | None
    passes: tuple[str, ...]
    boot_file: str | None = None
    next_server: str | None = None

    def __str__(self) -> str:
        return f"{self.server.name}-{self.firmware.name}-{self.loader or 'auto'}{'-lured' if self.boot_file else ''}".lower()


PXELINUX = ("iPXE initialising", "PXELINUX|SYSLINUX")
IPXE_ROM = ("iPXE initialising", r"http://\S+vmlinuz")
UEFI_IPXE = ("PXEv4", "iPXE initialising", r"http://\S+vmlinuz")
UEFI_GRUB = ("PXEv4", "Welcome to GRUB|GNU GRUB")
UEFI_HTTP = ("HTTPv4",)
LURE = "not-ours.0"

ESSENTIAL = (
    Way(SiteServer.DNSMASQ, Firmware.BIOS, "pxelinux", PXELINUX),
    Way(SiteServer.KEA, Firmware.UEFI, None, UEFI_IPXE),
    Way(SiteServer.ISC, Firmware.BIOS, None, IPXE_ROM, LURE),
)
ALL = tuple(
    way
    for server in SiteServer
    for way in (
        *(Way(server, Firmware.BIOS, "pxelinux", PXELINUX, lure) for lure in (None, LURE)),
        *(Way(server, Firmware.BIOS, None, IPXE_ROM, lure) for lure in (None, LURE)),
        *(Way(server, Firmware.UEFI, None, UEFI_IPXE, lure) for lure in (None, LURE)),
        # Debian's GRUB looks for its server in the site's ACK, whatever we say.
        Way(server, Firmware.UEFI, "grub", UEFI_GRUB, next_server="10.77.0.1"),
        Way(server, Firmware.UEFI_HTTP, None, UEFI_HTTP),
    )
)
REST = tuple(way for way in ALL if way not in ESSENTIAL)


@pytest.fixture
def beside(site: Product) -> Iterator[Callable[..., SiteDhcp]]:
    """Makes the service one beside a site's own DHCP server."""
    with ExitStack() as stack:

        def start(server: SiteServer, **how: str | None) -> SiteDhcp:
            if not server.is_here:
                pytest.skip(f"needs: apt-get install {server.package}")
            site.stop()
            site.settings(dhcp={"mode": "proxy"})
            running = stack.enter_context(SiteDhcp(site.namespace, server, **how))
            site.start()
            return running

        yield start


@pytest.mark.parametrize("way", [*ESSENTIAL, *(pytest.param(way, marks=pytest.mark.full) for way in REST)], ids=str)
def test_an_unknown_machine_beside_a_sites_server_is_named_and_installed(
    way: Way,
    beside: Callable[..., SiteDhcp],
    site: Product,
    discover: Callable[[int], Process],
    power_on: PowerOn,
) -> None:
    beside(way.server, boot_file=way.boot_file, next_server=way.next_server)
    if way.loader is not None:
        site.cli("attr", "set", "loader", way.loader)
    discovery = discover(1)

    guest = power_on(way.firmware)
    for sign in way.passes:
        guest.wait(sign, patience(25))
    guest.wait("LAB-USERLAND", patience(25))
    # Its address is the site's; the node API knows it by that address, and its name is ours.
    address = guest.wait(r"LAB-DHCP ip=(\S+) ", patience(10))[1]
    assert address.startswith("10.77.0.1"), "the site's server gives .100 to .150"
    assert guest.wait(r"LAB-WHOAMI (\S+)\n", patience(5))[1] == "compute-0-0"
    assert guest.wait(r"LAB-SCRIPT (.*)\n", patience(10))[1].strip(), "the install script is empty"
    for phase in PHASES:
        guest.wait(f"LAB-PHASE {phase}$", patience(5))
    guest.wait("LAB-UP", patience(5))
    discovery.wait_for(r"^Inserted node compute-0-0$", patience(5))

    assert site.action_of("compute-0-0") == "os"
    [row] = [row for row in site.rows("node", "list") if row["node"] == "compute-0-0"]
    assert row["ip"] == address
    site.wait_for_events("compute-0-0", ("registered", "offered", "acknowledged", "menu sent", "exchanged", "up"), patience(5))


def processes(site: Product) -> dict[int, str]:
    """All that the service started: process id and name."""
    assert site._service is not None
    return dict(_descendants(site._service.pid))


@pytest.mark.full
def test_ipxe_that_took_the_sites_offer_alone_is_brought_back_and_tries_again(
    beside: Callable[..., SiteDhcp], site: Product, power_on: PowerOn
) -> None:
    """It boots what the site's server names: a script of ours, which asks until we know the machine's address."""
    beside(SiteServer.DNSMASQ, boot_file="autoexec.ipxe", next_server="10.77.0.1")
    site.cli("insert-ethers", "--batch", "--mac", "52:54:00:77:01:01")
    site.cli("pxe", "set", "compute-0-0", "install")
    [dhcp] = [pid for pid, name in processes(site).items() if name == "bs-dhcp"]
    os.kill(dhcp, signal.SIGSTOP)  # no offer of ours comes, and no address is learned
    try:
        guest = power_on(Firmware.BIOS)
        guest.wait(r"autoexec\.ipxe", patience(15), fail=None)
        guest.wait(r"ipxe/pcbios\S*/01-52-54-00-77-01-01\S*", patience(15), fail=None)
        guest.wait(r"(?i)denied|ipxe\.org/", patience(5), fail=None)  # to an address that may be anybody's
    finally:
        os.kill(dhcp, signal.SIGCONT)
    guest.wait("LAB-USERLAND", patience(30))
    assert guest.wait(r"LAB-WHOAMI (\S+)\n", patience(5))[1] == "compute-0-0"
