"""The demonstration: an unknown machine is powered on and becomes compute-0-0, live, in a network of its own.

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

from tests.lab.disk import BOOTED, bootable_disk
from tests.lab.guest import Firmware, Guest, Machine
from tests.lab.namespace import Namespace
from tests.lab.process import patience
from tests.lab.product import Product
from tests.lab.ramdisk import boot_files
from tests.lab.requirements import what_is_missing

MAC = "52:54:00:77:01:01"
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
    files = story.while_waiting("building the guest's kernel and ramdisk (kept for the next time)", boot_files)
    folder = Path(tempfile.mkdtemp(prefix="bootserver-demo-"))
    folder.chmod(0o755)  # the service's user must be able to enter it
    try:
        with Namespace(folder) as namespace:
            story.tell("a network of its own: bridge br0, the frontend is 10.77.0.1")
            product = Product(namespace, folder / "state")
            story.tell("$ bootserver init --interface br0")
            product.init()
            shutil.copy(files.kernel, product.tftpboot / "vmlinuz")
            shutil.copy(files.ramdisk, product.tftpboot / "ramdisk.img")
            for path in (product.tftpboot / "vmlinuz", product.tftpboot / "ramdisk.img"):
                path.chmod(0o644)
            product.start()
            story.tell("$ bootserver serve          (DHCP, TFTP and HTTP answer)")
            arguments = ["--kernel", "vmlinuz", "--initrd", "ramdisk.img", "--args", "console=ttyS0 quiet panic=5"]
            story.command(product, "pxe", "action", "add", "install", *arguments)
            play(story, namespace, product, folder)
            product.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    story.tell("the service has stopped, the network is gone, nothing is left")
    return 0


def play(story: Story, namespace: Namespace, product: Product, folder: Path) -> None:
    """The story itself."""
    story.tell("$ bootserver insert-ethers --batch --count 1     (waits for unknown machines)")
    discovery = product.start_command("insert-ethers", "--batch", "--count", "1")
    time.sleep(1)
    machine = Machine(firmware=Firmware.BIOS, macs=(MAC,), disks=(bootable_disk(folder / "disk"),))
    with Guest(namespace, "guest", machine, folder) as guest:
        story.tell(f"an unknown machine is powered on: {MAC}")
        story.while_waiting("it asks for an address", lambda: discovery.wait_for(r"Inserted node \S+", patience(15)))
        story.quote(discovery.text())
        story.while_waiting("it loads kernel and ramdisk", lambda: guest.wait("LAB-USERLAND", patience(20)))
        who = guest.wait(r"LAB-WHOAMI (\S+)\n", patience(20))[1]
        story.tell(f"its kernel runs, and the frontend tells it who it is: {who}")
        story.while_waiting("it goes through its install", lambda: guest.wait("LAB-UP", patience(30)))
        story.tell("it exchanged its ticket, reported each phase, and says that it is installed")
        story.command(product, "pxe", "list")
        guest.reset()
        story.tell("reset: now it boots its own disk")
        story.while_waiting("firmware, menu, disk", lambda: guest.wait(BOOTED, patience(30)))
        story.command(product, "node", "list")
        time.sleep(0.5)  # the last events are on their way to the journal
        story.command(product, "events", who)


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("demo: network namespaces need root: run `make demo`", file=sys.stderr)
        sys.exit(1)
    sys.exit(main())
