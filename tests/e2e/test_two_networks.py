"""A machine with two cards on two networks: named and addressed on both, its second card learned, and it boots by either."""

from __future__ import annotations

import shutil
from ipaddress import IPv4Interface
from pathlib import Path

from tests.e2e.imaging import installer
from tests.lab.guest import Firmware, Guest, Machine
from tests.lab.namespace import Namespace
from tests.lab.process import patience
from tests.lab.product import Product

NODE, MACS = "compute-0-0", ("52:54:00:77:02:01", "52:54:00:77:02:02")
WIRE, FRONTEND = "br1", IPv4Interface("10.78.0.1/24")
BOOT_SECONDS = 40.0


def interfaces(product: Product) -> list[tuple[str, str, str | None, str]]:
    rows = product.rows("node", "list", "--interfaces", NODE)
    return [(row["name"], row["device"], row["mac"], row["ip"]) for row in rows]


def test_a_node_has_both_its_cards_and_boots_by_either(product: Product, namespace: Namespace, tmp_path: Path) -> None:
    namespace.add_bridge(WIRE, FRONTEND)
    product.cli("network", "add", "storage", str(FRONTEND.network), "--frontend", str(FRONTEND.ip), "--device", WIRE)
    product.cli("attr", "set", "interfaces", "eth1=storage", "--appliance", "compute")
    product.cli("bootflags", "set", "console=ttyS0")
    shutil.copytree(installer(), product.tftpboot / "installer")
    # An install of a kernel of the site's own; with our ramdisk it ends behind its inventory, as there is no image.
    product.cli("pxe", "action", "add", "install", "--kernel", "installer/vmlinuz", "--initrd", "installer/initrd.img")
    product.stop()  # its sockets on the new wire are opened at its start
    product.start()

    discovery = product.start_command("insert-ethers", "--batch", "--count", "1")
    machine = Machine(firmware=Firmware.BIOS, macs=MACS, bridges=("br0", WIRE), memory=512)
    with Guest(namespace, "guest", machine, tmp_path) as guest:
        guest.wait("network: eth0 has 10.77.0.254, and is compute-0-0", patience(BOOT_SECONDS))
        assert interfaces(product)[0] == (NODE, "eth0", MACS[0], "10.77.0.254")
        guest.wait("the installer ended before its work was done", patience(BOOT_SECONDS))
        assert interfaces(product) == [
            (NODE, "eth0", MACS[0], "10.77.0.254"),
            (f"{NODE}-eth1", "eth1", MACS[1], "10.78.0.254"),
        ]
        discovery.wait(10)

        product.cli("pxe", "set", NODE, "rescue")
        guest.power_cycle(boot_card=1)
        guest.wait("network: eth1 has 10.78.0.254, and is compute-0-0", patience(BOOT_SECONDS))
        guest.wait("# ", patience(10))
        guest.send("cat /proc/cmdline\n")
        assert f"http://{FRONTEND.ip}/" in guest.wait("bootserver=[^ ]*", patience(10))[0]
