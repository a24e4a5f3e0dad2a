"""The demonstration: an unknown machine is powered on, becomes compute-0-0, copies a golden image and boots its own disk.

A frontend and one guest (QEMU, without KVM) on a bridge in a network namespace; nothing else on this machine is touched, and
nothing of it is left behind.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.e2e.imaging import GOES_WRONG, ImageSite, Power, golden, installer
from tests.lab.guest import DiskBus, Firmware, Guest
from tests.lab.namespace import Namespace
from tests.lab.process import patience
from tests.lab.product import Product
from tests.lab.requirements import what_is_missing

_SPINNER = "|/-\\"


class Story:
    """Tells what happens, with the seconds since the beginning; a step that takes longer than a second shows that it runs."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._plain = not sys.stdout.isatty()

    def tell(self, text: str) -> None:
        seconds = time.monotonic() - self._began
        bold, normal = ("", "") if self._plain else ("\x1b[1m", "\x1b[0m")
        print(f"{bold}{seconds:6.1f} s  {text}{normal}", flush=True)

    def quote(self, text: str) -> None:
        for line in text.rstrip().splitlines():
            print(f"          | {line}", flush=True)

    def command(self, product: Product, *words: str) -> None:
        self.tell("$ bootserver " + " ".join(words))
        self.quote(product.cli(*words).stdout)

    def while_waiting(self, what: str, wait: Callable[[], object]) -> object:
        done = threading.Event()
        spinner = threading.Thread(target=self._spin, args=(what, done), daemon=True)
        if not self._plain:
            spinner.start()
        try:
            return wait()
        finally:
            done.set()
            if not self._plain:
                spinner.join()

    def show_progress(self, guest: Guest, until: str, seconds: float) -> None:
        """The installer's own words, as a bar on a terminal."""
        deadline = time.monotonic() + seconds
        pattern = rf"installer: copied (\d+)% at (\S+), (\d+) s to go|{until}"
        while True:
            found = guest.wait(pattern, deadline - time.monotonic(), fail=GOES_WRONG)
            if found[1] is None:
                break
            percent = int(found[1])
            bar = "#" * (percent * 40 // 100)
            line = f"copying the image  [{bar:<40}] {percent:3}%  {found[2]}, {found[3]} s to go"
            if self._plain:
                self.quote(line)
            else:
                print(f"\r  {line}   ", end="", flush=True)
        if not self._plain:
            print("\r" + " " * 100 + "\r", end="", flush=True)

    def _spin(self, what: str, done: threading.Event) -> None:
        step = 0
        while not done.wait(0.25):
            print(f"\r  {_SPINNER[step % 4]} {what} ...", end="", flush=True)
            step += 1
        print("\r" + " " * (len(what) + 8) + "\r", end="", flush=True)


def main() -> int:
    missing = what_is_missing()
    if missing:
        print(f"demo: {missing}", file=sys.stderr)
        return 1
    story = Story()
    story.tell("the golden image and the installer (made once, two minutes, and kept in .cache)")
    golden(), installer()
    folder = Path(tempfile.mkdtemp(prefix="bootserver-demo-"))
    folder.chmod(0o755)  # the service's user must be able to enter it
    try:
        with Namespace(folder) as namespace:
            story.tell("a network of its own: bridge br0, the frontend is 10.77.0.1")
            product = Product(namespace, folder / "state")
            story.tell("$ bootserver init --interface br0")
            product.init()
            site = ImageSite(product)
            site.make_ready()
            story.command(product, "image", "list")
            product.start()
            story.tell("$ bootserver serve          (DHCP, TFTP, HTTP and rsync answer)")
            play(story, namespace, site, folder)
            product.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    story.tell("the service has stopped, the network is gone, nothing is left")
    return 0


def play(story: Story, namespace: Namespace, site: ImageSite, folder: Path) -> None:
    """The story itself."""
    product = site.product
    story.tell("$ bootserver insert-ethers --batch --count 1     (waits for unknown machines)")
    discovery = product.start_command("insert-ethers", "--batch", "--count", "1")
    time.sleep(1)
    machine = Power(folder).machine(1, Firmware.BIOS, disks=2, bus=DiskBus.VIRTIO)
    with Guest(namespace, "guest", machine, folder) as guest:
        story.tell(f"an unknown machine with two empty disks is powered on: {machine.macs[0]}")
        story.while_waiting("it asks for an address", lambda: discovery.wait_for(r"Inserted node \S+", patience(15)))
        story.quote(discovery.text())
        story.while_waiting("it loads our installer", lambda: guest.wait("installer: installing compute-0-0", patience(40)))
        story.tell("it proved itself by its ticket, told its disks, and got its install script")
        story.show_progress(guest, "compute-0-0 is installed$", patience(90))
        story.tell("it is installed, says so, and starts from its own disk; nobody has typed on it")
        story.command(product, "node", "list")
        story.while_waiting("its first boot", lambda: guest.wait("compute-0-0 login:", patience(90), fail=GOES_WRONG))
        story.tell("a login prompt of its own disk:")
        story.quote("\n".join(guest.console.tail.strip().splitlines()[-3:]))
        site.wait_for_state("compute-0-0", "up", patience(30))
        story.command(product, "node", "list")
        story.tell("$ ssh root@compute-0-0 lsblk")
        story.quote(site.on_node("compute-0-0", "lsblk -o NAME,SIZE,FSTYPE,MOUNTPOINT"))
        story.command(product, "events", "compute-0-0", "--kind", "phase", "--kind", "installed", "--kind", "up")


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("demo: network namespaces need root: run `make demo`", file=sys.stderr)
        sys.exit(1)
    sys.exit(main())
