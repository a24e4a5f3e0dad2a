"""debian-installer itself, as Debian packs it for netboot, on its way through our menu, ticket, preseed and early stage.

It goes as far as its packages are on the frontend: the components that it fetches from a mirror (partman among them) are not, so
the command that partman would run first is run from ``preseed/early_command``, word by word as it was preseeded.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab.cache import cached, fingerprint
from tests.lab.disk import blank_disk
from tests.lab.guest import Firmware, Guest, Machine
from tests.lab.namespace import Namespace
from tests.lab.process import patience
from tests.lab.product import Product

NETBOOT = Path("/usr/lib/debian-installer/images/12/amd64/text")
MAC = "52:54:00:77:04:01"

# Its netboot ramdisk has no driver of a disk but USB's: the others are fetched, and here they come in a second ramdisk, as a
# site adds drivers or firmware.
TEMPLATE = """\
{% extends "preseed.j2" %}
{% block answers %}
{{ super() }}
d-i preseed/early_command string sh /lab/early >/dev/console 2>&1
{% endblock %}
"""

# What partman would do: its question holds our command.
EARLY = """\
insmod /lab/virtio_blk.ko
command=$(debconf-get partman/early_command)
echo "LAB-COMMAND ${#command}"
sh -c "$command"
echo "LAB-EARLY $?"
cat /tmp/bootserver-partitions
"""


def drivers() -> Path:
    """A ramdisk with the driver of virtio disks, of the kernel that the installer has."""
    image = NETBOOT / "debian-installer/amd64/initrd.gz"

    def make(folder: Path) -> None:
        listed = subprocess.run(
            f"zcat {image} | cpio -t --quiet 'lib/modules/*/kernel'", shell=True, capture_output=True, text=True
        )
        release = listed.stdout.split("/")[2]
        subprocess.run(["apt-get", "download", f"linux-image-{release}"], cwd=folder, check=True, capture_output=True)
        (package,) = folder.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder / "x")], check=True)
        (module,) = (folder / "x").rglob("virtio_blk.ko*")
        (folder / "root/lab").mkdir(parents=True)
        shutil.copy(module, folder / "root/lab/virtio_blk.ko")
        (folder / "root/lab/early").write_text(EARLY)
        subprocess.run(f"cd {folder}/root && find . | cpio -o -H newc --quiet >{folder}/drivers.img", shell=True, check=True)
        for each in (folder / "x", folder / "root"):
            shutil.rmtree(each)
        package.unlink()

    return cached(f"d-i-drivers-{fingerprint(image, EARLY)}", make) / "drivers.img"


@pytest.mark.skipif(not NETBOOT.is_dir(), reason="needs: apt-get install debian-installer-12-netboot-amd64")
def test_debian_installer_fetches_its_preseed_tells_its_disks_and_gets_its_recipe(
    product: Product, namespace: Namespace, tmp_path: Path
) -> None:
    extra = tmp_path / "drivers.img"
    shutil.copy(drivers(), extra)
    ramdisk = str(NETBOOT / "debian-installer/amd64/initrd.gz")
    product.cli("distro", "add", "bookworm", str(NETBOOT), "--initrd", ramdisk, "--initrd", str(extra))
    (product.state / "kickstart").mkdir(exist_ok=True)
    (product.state / "kickstart/lab.j2").write_text(TEMPLATE)
    for key, value in (("distribution", "bookworm"), ("kickstart", "lab.j2"), ("mirror", "http://mirror.invalid/debian")):
        product.cli("attr", "set", key, value)
    product.cli("bootflags", "set", "console=ttyS0")
    product.cli("network", "set", "private", "--nameserver", "10.77.0.1")
    assert "Inserted node compute-0-0" in product.cli("insert-ethers", "--batch", "--mac", MAC).stdout
    assert product.action_of("compute-0-0") == "install"

    disk = blank_disk(tmp_path / "disk.img", 16_384)
    machine = Machine(firmware=Firmware.BIOS, macs=(MAC,), memory=1536, disks=(disk,))
    with Guest(namespace, "di", machine, tmp_path) as guest:
        guest.wait("LAB-EARLY 0", patience(150))
        guest.wait("partman-auto/disk", patience(10))
        product.wait_for_events("compute-0-0", ("kickstart sent", "inventory", "phase"), patience(10))

    shown = json.loads(product.cli("node", "show", "compute-0-0", "--format", "json").stdout)[0]
    assert shown["state"] == "installing"
    kinds = [event["kind"] for event in product.rows("events", "compute-0-0")]
    assert "alarm" not in kinds and "denied" not in kinds
