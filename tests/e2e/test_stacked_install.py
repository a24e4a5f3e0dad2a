"""Installs whose root is on RAID or LVM, from a bare machine to its login prompt; and a mirror whose first disk is gone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.administrator import Administrator
from tests.e2e.imaging import GOES_WRONG, IMAGE, PHASES, ImageSite, Power, golden, installer, wait_for_login
from tests.lab.cache import cached, fingerprint
from tests.lab.guest import DiskBus, Firmware, Guest
from tests.lab.namespace import Namespace
from tests.lab.process import REPOSITORY, patience
from tests.lab.product import Product

pytestmark = pytest.mark.full

NODE = "compute-0-0"
INSTALL = (
    "export DEBIAN_FRONTEND=noninteractive; apt-get -q update && apt-get -q install -y --no-install-recommends mdadm lvm2 "
    "&& apt-get clean && rm -rf /var/lib/apt/lists/*"
)


def stacked() -> Path:
    """The folder of the golden image with mdadm and lvm2 in it."""
    return cached(f"stacked-{fingerprint(golden().parent.name, INSTALL)}", _make) / IMAGE


def _make(folder: Path) -> None:
    state = folder / "state"
    (state / "images").mkdir(parents=True)
    administrator = Administrator(state)
    subprocess.run(["cp", "--archive", "--reflink=auto", str(golden()), str(state / "images" / IMAGE)], check=True)
    for words in (["check", IMAGE], ["shell", IMAGE, "sh", "-c", INSTALL]):
        command = [sys.executable, "-m", "bootserver", "--config", str(administrator.config_path), "image", *words]
        subprocess.run(command, check=True, cwd=REPOSITORY)
    (state / "images" / IMAGE).rename(folder / IMAGE)
    shutil.rmtree(state)


@pytest.fixture(scope="module", autouse=True)
def made() -> None:
    """What takes long to make is made before the clocks of the tests run."""
    stacked(), installer()


@pytest.fixture
def site(product: Product) -> ImageSite:
    site = ImageSite(product)
    site.make_ready()
    target = product.state / "images" / IMAGE
    shutil.rmtree(target)
    subprocess.run(["cp", "--archive", "--reflink=auto", str(stacked()), str(target)], check=True)
    shutil.chown(target, 0, (product.state / "db").stat().st_gid)
    product.cli("image", "check", IMAGE)
    return site


@pytest.mark.parametrize(
    ("firmware", "program", "root"),
    [
        (Firmware.BIOS, "mirrored-root", "raid1"),
        (Firmware.UEFI, "mirrored-root", "raid1"),
        (Firmware.BIOS, "lvm", "lvm"),
        (Firmware.UEFI, "lvm", "lvm"),
    ],
)
def test_a_machine_starts_from_what_its_program_made(
    firmware: Firmware, program: str, root: str, site: ImageSite, namespace: Namespace, tmp_path: Path
) -> None:
    product = site.product
    machine = Power(tmp_path).machine(1, firmware, disks=2, bus=DiskBus.VIRTIO)
    product.cli("node", "add", NODE, "--mac", machine.macs[0])
    product.cli("attr", "set", "partition", program)
    product.cli("pxe", "set", NODE, "install")
    with Guest(namespace, "machine", machine, tmp_path) as guest:
        guest.wait(f"{NODE} is installed$", patience(120), fail=GOES_WRONG)
        wait_for_login(guest, NODE, 90)
        assert site.phases(NODE) == PHASES
        site.wait_for_state(NODE, "up", patience(20))
        assert root_kind(site) == root
        if root == "raid1":
            # The first disk dies: the machine starts from the second, with all that it had.
            site.on_node(NODE, "echo kept >/state/partition1/file; sync")
            guest.power_cycle(disks=(machine.disks[1],))
            wait_for_login(guest, NODE, 120)
            assert site.on_node(NODE, "cat /state/partition1/file") == "kept\n"
            assert "[_U]" in site.on_node(NODE, "cat /proc/mdstat") or "[U_]" in site.on_node(NODE, "cat /proc/mdstat")


def root_kind(site: ImageSite) -> str:
    """What lsblk calls that which / is on."""
    source = site.on_node(NODE, "findmnt -no SOURCE /").strip()
    [device] = json.loads(site.on_node(NODE, f"lsblk -J -o NAME,TYPE {source}"))["blockdevices"]
    return str(device["type"])
