"""A guest's power-on to userland (QEMU without KVM, BIOS, a 14 MB kernel): ours, and a plain dnsmasq.

    python bench/boot.py [--rounds 3]

The aim: at most 0.5 x the time that the same guest takes with dnsmasq as it comes. Each of the three things that make the
difference can be switched off, and is here: the empty IPv6 router advertisement (network.router_advertisement), iPXE's option
175.176 (dhcp.no_proxy_wait), HTTP for kernel and ramdisk (http.boot_files).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.place import scratch
from tests.lab.guest import Firmware, Guest, Machine
from tests.lab.namespace import Namespace
from tests.lab.product import Product
from tests.lab.ramdisk import boot_files

MAC = "52:54:00:77:01:01"
ARGUMENTS = "console=ttyS0 quiet panic=5"
SETTINGS = {
    "ours": {},
    "ours, no advertisement": {"network": {"router_advertisement": False}},
    "ours, proxy wait": {"dhcp": {"no_proxy_wait": False}},
    "ours, kernel by TFTP": {"http": {"boot_files": False}},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    if os.geteuid() != 0:
        raise SystemExit("bench: network namespaces need root")
    took: dict[str, list[float]] = {}
    for _ in range(rounds):
        took.setdefault("dnsmasq", []).append(boot(serve_with_dnsmasq))
        for name, settings in SETTINGS.items():
            took.setdefault(name, []).append(boot(lambda namespace, folder, s=settings: serve_with_ours(namespace, folder, s)))
    medians = {name: statistics.median(seconds) for name, seconds in took.items()}
    for name, seconds in medians.items():
        print(f"{name:<24} {seconds:5.1f} s   x {seconds / medians['dnsmasq']:.2f}")
    met = medians["ours"] <= 0.5 * medians["dnsmasq"]
    print("aim met (0.5)" if met else "aim missed (0.5)")
    return 0 if met else 1


def boot(serve: Callable[[Namespace, Path], None]) -> float:
    """Seconds from power-on to the first line of userland."""
    with scratch() as folder, Namespace(folder) as namespace:
        serve(namespace, folder)
        machine = Machine(firmware=Firmware.BIOS, macs=(MAC,))
        with Guest(namespace, "guest", machine, folder) as guest:
            guest.wait("LAB-USERLAND", 180)
            seconds = guest.console.seen_at("LAB-USERLAND")
    assert seconds is not None
    return seconds


def serve_with_dnsmasq(namespace: Namespace, folder: Path) -> None:
    root = folder / "tftpboot"
    (root / "pxelinux.cfg").mkdir(parents=True)
    files = boot_files()
    for source, name in (
        (Path("/usr/lib/PXELINUX/pxelinux.0"), "pxelinux.0"),
        (Path("/usr/lib/syslinux/modules/bios/ldlinux.c32"), "ldlinux.c32"),
        (files.kernel, "vmlinuz"),
        (files.ramdisk, "ramdisk.img"),
    ):
        shutil.copy(source, root / name)
    menu = f"default l\nprompt 0\nlabel l\n kernel vmlinuz\n append initrd=ramdisk.img {ARGUMENTS}\n"
    (root / "pxelinux.cfg" / "default").write_text(menu)
    settings = [
        "port=0", "interface=br0", "bind-interfaces", "no-ping", "user=root", "dhcp-authoritative", "enable-tftp",
        f"dhcp-leasefile={folder}/leases", "dhcp-range=10.77.0.100,10.77.0.199,255.255.255.0,1h", f"tftp-root={root}",
        "dhcp-boot=pxelinux.0", f"pid-file={folder}/pid",
    ]  # fmt: skip
    (folder / "dnsmasq.conf").write_text("\n".join(settings) + "\n")
    namespace.start("dnsmasq", ["dnsmasq", "--keep-in-foreground", f"--conf-file={folder}/dnsmasq.conf"])


def serve_with_ours(namespace: Namespace, folder: Path, settings: dict[str, dict[str, bool]]) -> None:
    product = Product(namespace, folder / "state")
    product.init()
    product.settings(**settings)
    files = boot_files()
    for source, name in ((files.kernel, "vmlinuz"), (files.ramdisk, "ramdisk.img")):
        shutil.copy(source, product.tftpboot / name)
        (product.tftpboot / name).chmod(0o644)
    product.cli("pxe", "action", "add", "probe", "--kernel", "vmlinuz", "--initrd", "ramdisk.img", "--args", ARGUMENTS)
    product.cli("node", "add", "--mac", MAC)
    product.cli("pxe", "set", "compute-0-0", "probe")
    product.start()


if __name__ == "__main__":
    sys.exit(main())
