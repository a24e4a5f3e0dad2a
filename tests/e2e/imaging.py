"""A site whose nodes are installed from a golden image: what end-to-end tests of images share.

The image and the installer are made once by the product's own commands and kept in ``.cache``, by what goes into them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootserver.images.creating import PACKAGES
from bootserver.install.ramdisk.architecture import X86_64
from tests.administrator import Administrator
from tests.lab.cache import cached, fingerprint
from tests.lab.disk import blank_disk
from tests.lab.guest import DiskBus, Firmware, Guest, Machine
from tests.lab.process import REPOSITORY, patience
from tests.lab.product import Product

IMAGE = "golden"
PREPARE = Path(__file__).parent / "golden" / "prepare"
CONSOLE = "console=ttyS0,115200"
LOGIN = r"{node} login:"
GOES_WRONG = r"Kernel panic|No bootable device|emergency mode|bootserver installer: .*(?:starts again|switches itself off)"

SMALL_MB, DISK_MB = 4096, 16_384
"""Megabytes: a disk that Rocks' layout does not fit on, and one that it does. They take no room until they are written."""

INSTALL_STORY = ("exchanged", "inventory", "script sent", "phase", "installed", "action", "up")
PHASES = ["partition", "format", "sync", "configure", "bootloader", "done"]


def golden() -> Path:
    """The folder of the tests' golden image, as the product keeps it."""
    inputs = fingerprint(PREPARE, *PACKAGES, "debian-12")
    return cached(f"golden-{inputs}", _make_golden) / IMAGE


def _make_golden(folder: Path) -> None:
    state = folder / "state"
    state.mkdir()
    administrator = Administrator(state)
    print("making the tests' golden image (debian-12), once; two minutes", file=sys.stderr, flush=True)
    command = ["image", "create", IMAGE, "--distribution", "debian-12", "--prepare", str(PREPARE)]
    subprocess.run(
        [sys.executable, "-m", "bootserver", "--config", str(administrator.config_path), *command], check=True, cwd=REPOSITORY
    )
    (state / "images" / IMAGE).rename(folder / IMAGE)
    shutil.rmtree(state)


def installer() -> Path:
    """The folder of the installer, as the product has it below ``tftpboot``; built anew when its sources changed."""
    folders = (REPOSITORY / "installer", REPOSITORY / "bootserver/install/ramdisk")
    sources = [path for folder in folders for path in sorted(folder.glob("*")) if path.is_file()]
    return cached(f"installer-{fingerprint(*sources)}", _build_installer) / X86_64.folder


def _build_installer(folder: Path) -> None:
    from bootserver.install.ramdisk.build import build

    kernels = folder.parent / "installer-kernels"  # kept for the next change of a source
    build(folder, kernels, say=lambda words: print(words, file=sys.stderr, flush=True))


class ImageSite:
    """:ivar product: the service, whose nodes are installed from the golden image."""

    def __init__(self, product: Product) -> None:
        self.product = product

    def make_ready(self) -> None:
        """Image and installer in place, and nodes told to use them."""
        product = self.product
        shutil.copytree(installer(), product.tftpboot / X86_64.folder)
        target = product.state / "images" / IMAGE
        # A tree of its own for each test: some alter it.
        subprocess.run(["cp", "--archive", "--reflink=auto", str(golden()), str(target)], check=True)
        shutil.chown(target, 0, (product.state / "db").stat().st_gid)
        product.cli("image", "check", IMAGE)
        product.cli("attr", "set", "image", IMAGE)
        product.cli("bootflags", "set", f"quiet {CONSOLE}")

    @property
    def tree(self) -> Path:
        return self.product.state / "images" / IMAGE / "tree"

    def events(self, node: str, kind: str) -> list[dict[str, Any]]:
        """What is written down of a node, of a kind, oldest first."""
        return self.product.rows("events", node, "--kind", kind, "--last", "1000")

    def phases(self, node: str) -> list[str]:
        """The phases that were reported, each once where it is reported several times in a row."""
        names = [event["detail"]["phase"] for event in self.events(node, "phase")]
        return [name for number, name in enumerate(names) if number == 0 or names[number - 1] != name]

    def state_of(self, node: str) -> str:
        [row] = self.product.rows("node", "list", node)
        return str(row["state"])

    def wait_for_state(self, node: str, state: str, seconds: float) -> None:
        import time

        deadline = time.monotonic() + seconds
        while not self.state_of(node).startswith(state):
            assert time.monotonic() < deadline, f"{node} is {self.state_of(node)!r}, not {state!r}"
            time.sleep(0.5)

    def on_node(self, node: str, command: str) -> str:
        """A command on a running node, by SSH as root with the frontend's key and no question about the node's.

        :returns: what it printed. :raises AssertionError: it failed.
        """
        [row] = self.product.rows("node", "list", node)
        done = self.product.namespace.run(
            ["ssh", "-i", str(self.product.state / "keys" / "id_ed25519"), "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
             "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", f"root@{row['ip']}", command],
            seconds=patience(60),
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def mounted(self, node: str) -> dict[str, str]:
        """Mount point: kind of file system, of what is on disks."""
        found = json.loads(self.on_node(node, "findmnt -J -l -o TARGET,FSTYPE -t ext4,xfs,vfat"))
        return {each["target"]: each["fstype"] for each in found["filesystems"]}


@dataclass(frozen=True, slots=True)
class Power:
    """Builds machines of the lab with empty disks."""

    folder: Path

    def machine(self, number: int, firmware: Firmware, *, disks: int, bus: DiskBus, megabytes: int = DISK_MB) -> Machine:
        paths = tuple(blank_disk(self.folder / f"machine-{number}-{disk}.disk", megabytes) for disk in range(disks))
        return Machine(firmware=firmware, macs=(f"52:54:00:77:{number:02x}:01",), memory=640, disks=paths, bus=bus)


def wait_for_login(guest: Guest, node: str, seconds: float = 60) -> None:
    guest.wait(LOGIN.format(node=node), patience(seconds), fail=GOES_WRONG)
