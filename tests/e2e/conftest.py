"""What the end-to-end tests share: a network, the service in it with nothing known, and machines to power on."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Protocol
from uuid import UUID

import pytest

from tests.lab.capture import Capture, tell
from tests.lab.disk import bootable_disk
from tests.lab.guest import Firmware, Guest, Machine
from tests.lab.namespace import Namespace
from tests.lab.process import Process, unwind_on_sigterm
from tests.lab.product import Product
from tests.lab.ramdisk import BootFiles, boot_files
from tests.lab.requirements import what_is_missing

_HERE = Path(__file__).parent
_SHOWN = 6000  # characters of each log under a failed test
_LOGS = pytest.StashKey[list[tuple[str, Callable[[], str]]]]()
_KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=5"


class PowerOn(Protocol):
    """Powers a new machine on."""

    def __call__(self, firmware: Firmware, *, cards: int = 1, uuid: UUID | None = None) -> Guest: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.path.is_relative_to(_HERE)]
    if not ours:
        return
    unwind_on_sigterm()
    missing = what_is_missing()
    for item in ours:
        # Minutes, on a machine whose cores are busy with guests: each wait has its own limit, this one is the last resort.
        item.add_marker(pytest.mark.timeout(1800))
        if missing:
            item.add_marker(pytest.mark.skip(reason=missing))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under a failed test, show what the service and the wire said."""
    report = yield
    if report.failed:
        for name, read in item.stash.get(_LOGS, []):
            report.sections.append((name, read()[-_SHOWN:]))
    return report


@pytest.fixture
def namespace(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Namespace]:
    """A network of the test's own; what is said on it is recorded."""
    with Namespace(tmp_path) as namespace:
        capture = Capture(namespace, "wire")
        logs = request.node.stash.setdefault(_LOGS, [])
        logs.append(("the wire", lambda: tell(capture.path)))
        yield namespace


@pytest.fixture
def product(request: pytest.FixtureRequest, namespace: Namespace) -> Iterator[Product]:
    """The service, at work, with nothing known."""
    folder = Path(tempfile.mkdtemp(prefix="bootserver-e2e-"))
    folder.chmod(0o755)
    try:
        product = Product(namespace, folder / "state")
        request.node.stash.setdefault(_LOGS, []).append(("the service's log", product.log))
        with product:
            yield product
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def lab_files() -> BootFiles:
    """The kernel and the ramdisk that nodes boot in tests."""
    try:
        return boot_files()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"needs a kernel, which apt can't get: {' '.join(error.cmd)}: {error.stderr.strip()[-300:]}")


@pytest.fixture
def site(product: Product, lab_files: BootFiles) -> Product:
    """The service of a site whose ``install`` boots the lab's ramdisk, and which has an action ``probe`` that does too."""
    lab = product.tftpboot / "lab"
    lab.mkdir(mode=0o755)
    shutil.copy(lab_files.kernel, lab / "vmlinuz")
    shutil.copy(lab_files.ramdisk, lab / "ramdisk.img")
    for path in lab.iterdir():
        path.chmod(0o644)
    for action in ("install", "probe"):
        files = ["--kernel", "lab/vmlinuz", "--initrd", "lab/ramdisk.img"]
        product.cli("pxe", "action", "add", action, *files, "--args", _KERNEL_ARGUMENTS)
    return product


@pytest.fixture
def discover(site: Product) -> Callable[[int], Process]:
    """Opens ``insert-ethers`` for so many machines."""

    def start(count: int) -> Process:
        discovery = site.start_command("insert-ethers", "--batch", "--count", str(count))
        time.sleep(2)  # it says nothing until a machine comes; a machine needs longer than this to its first question
        assert discovery.alive, discovery.text()
        return discovery

    return start


@pytest.fixture
def power_on(namespace: Namespace, tmp_path: Path) -> Iterator[PowerOn]:
    """Powers on new machines, each with a bootable disk, and pulls their plugs at the end."""
    numbers = itertools.count(1)
    with contextlib.ExitStack() as guests:

        def start(firmware: Firmware, *, cards: int = 1, uuid: UUID | None = None) -> Guest:
            number = next(numbers)
            machine = Machine(
                firmware=firmware,
                macs=tuple(f"52:54:00:77:{number:02x}:{card:02x}" for card in range(1, cards + 1)),
                uuid=uuid,
                disks=(bootable_disk(tmp_path / f"guest-{number}.disk"),),
            )
            return guests.enter_context(Guest(namespace, f"guest-{number}", machine, tmp_path))

        yield start
