"""From a bare machine to a login prompt of its own disk: real firmware, a real image, and nobody types on it."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.e2e.imaging import (
    DISK_MB,
    GOES_WRONG,
    INSTALL_STORY,
    PHASES,
    SMALL_MB,
    ImageSite,
    Power,
    golden,
    installer,
    wait_for_login,
)
from tests.lab.disk import blank_disk
from tests.lab.guest import DiskBus, Firmware, Guest
from tests.lab.namespace import Namespace
from tests.lab.process import Process, patience
from tests.lab.product import Product

BIOS, UEFI = Firmware.BIOS, Firmware.UEFI
VIRTIO, AHCI, NVME = DiskBus.VIRTIO, DiskBus.AHCI, DiskBus.NVME

ALL = list(itertools.product((BIOS, UEFI), (1, 2), (VIRTIO, AHCI, NVME)))
# Each firmware, each number of disks and each bus at least once; the other pairs of them are in the full matrix.
FEW = [(BIOS, 1, VIRTIO), (UEFI, 1, NVME), (BIOS, 2, AHCI)]
CASES = [
    pytest.param(
        *case, id=f"{case[0].name.lower()}-{case[1]}-{case[2].name.lower()}", marks=[] if case in FEW else pytest.mark.full
    )
    for case in ALL
]


class NewMachine(Protocol):
    """Powers on a machine that has nothing on its disks."""

    def __call__(self, firmware: Firmware, *, disks: int = 1, bus: DiskBus = VIRTIO, megabytes: int = DISK_MB) -> Guest: ...


@pytest.fixture(scope="module", autouse=True)
def made() -> None:
    """What takes long to make is made before the clocks of the tests run."""
    golden(), installer()


@pytest.fixture
def site(product: Product) -> ImageSite:
    """Overrides conftest's: nodes are installed from the golden image."""
    site = ImageSite(product)
    site.make_ready()
    return site


@pytest.fixture
def new_machine(namespace: Namespace, tmp_path: Path) -> Iterator[NewMachine]:
    numbers, power = itertools.count(1), Power(tmp_path)
    with ExitStack() as guests:

        def start(firmware: Firmware, *, disks: int = 1, bus: DiskBus = VIRTIO, megabytes: int = DISK_MB) -> Guest:
            number = next(numbers)
            machine = power.machine(number, firmware, disks=disks, bus=bus, megabytes=megabytes)
            return guests.enter_context(Guest(namespace, f"machine-{number}", machine, tmp_path))

        yield start


@pytest.fixture
def discovery(site: ImageSite) -> Process:
    """``insert-ethers`` for one machine."""
    process = site.product.start_command("insert-ethers", "--batch", "--count", "1")
    time.sleep(2)  # it says nothing until a machine comes
    assert process.alive, process.text()
    return process


@pytest.mark.parametrize(("firmware", "disks", "bus"), CASES)
def test_an_unknown_machine_ends_at_the_login_prompt_of_its_own_disk(
    firmware: Firmware, disks: int, bus: DiskBus, site: ImageSite, discovery: Process, new_machine: NewMachine
) -> None:
    guest = new_machine(firmware, disks=disks, bus=bus)

    guest.wait("compute-0-0 is installed$", patience(90), fail=GOES_WRONG)
    wait_for_login(guest, "compute-0-0")

    site.product.wait_for_events("compute-0-0", INSTALL_STORY, patience(20))
    assert site.phases("compute-0-0") == PHASES
    assert any(event["detail"].get("percent") == 100 for event in site.events("compute-0-0", "phase"))
    assert site.state_of("compute-0-0") == "up"
    assert site.product.action_of("compute-0-0") == "os"
    shown = site.on_node("compute-0-0", "hostname; cat /etc/machine-id; cat /proc/cmdline; systemctl is-system-running --wait")
    name, machine_id, cmdline, running = shown.splitlines()
    assert name == "compute-0-0" and re.fullmatch("[0-9a-f]{32}", machine_id)
    assert "console=ttyS0,115200" in cmdline and "ticket" not in cmdline
    assert running == "running"
    mounted = site.mounted("compute-0-0")
    wanted = {"/": "ext4", "/var": "ext4"} | {f"/state/partition{number}": "ext4" for number in range(1, disks + 1)}
    assert mounted == wanted | ({"/boot/efi": "vfat"} if firmware.is_uefi else {})
    if firmware.is_uefi:
        entries = site.on_node("compute-0-0", "efibootmgr")
        own = re.search(r"^Boot([0-9A-F]{4})\*? bootserver", entries, re.MULTILINE)
        order = re.search(r"^BootOrder: (\S+)", entries, re.MULTILINE)
        assert own and order, entries
        first = order[1].split(",")[0]
        assert re.search(rf"^Boot{first}\*? UEFI PXEv4", entries, re.MULTILINE), f"the network stays first: {entries}"


def test_the_story_of_a_node(site: ImageSite, discovery: Process, new_machine: NewMachine) -> None:
    """One machine's life: the frontend dies while it is installed; it is updated; it is installed again, and the plug pulled."""
    product = site.product
    put_overrides(product.state)

    guest = new_machine(BIOS)
    guest.wait(r"copied \d+%", patience(60), fail=GOES_WRONG)
    product.crash()
    guest.wait("does not answer, trying again|broke off", patience(30), fail=GOES_WRONG)
    product.start()
    guest.wait("compute-0-0 is installed$", patience(120), fail=GOES_WRONG)
    wait_for_login(guest, "compute-0-0")
    product.wait_for_events("compute-0-0", ("installed", "up"), patience(20))

    expect_overrides(site)
    expect_push(site)
    expect_capture(site)

    keys = site.on_node("compute-0-0", "cat /etc/ssh/ssh_host_*.pub; echo kept >/state/partition1/file; sync")
    machine_id = site.on_node("compute-0-0", "cat /etc/machine-id")
    product.cli("pxe", "set", "compute-0-0", "install")
    guest.reset()
    guest.wait(r"copied \d+%", patience(60), fail=GOES_WRONG)
    guest.power_off()
    assert site.state_of("compute-0-0").startswith("installing (sync")
    guest.power_on()
    guest.wait("compute-0-0 is installed$", patience(120), fail=GOES_WRONG)
    wait_for_login(guest, "compute-0-0")
    site.wait_for_state("compute-0-0", "up", patience(20))
    assert site.on_node("compute-0-0", "cat /etc/ssh/ssh_host_*.pub") in keys
    assert site.on_node("compute-0-0", "cat /state/partition1/file") == "kept\n"
    assert site.on_node("compute-0-0", "cat /etc/machine-id") != machine_id
    assert len(site.events("compute-0-0", "exchanged")) == 3, "installed once, and in two tries again"


def put_overrides(state: Path) -> None:
    for path, text in (
        ("overrides/all/etc/motd", "of all"),
        ("overrides/appliance/compute/etc/motd.j2", "of {{ node.name }} in rack {{ node.rack }}"),
        ("overrides/node/compute-0-0/root/own", "of this node alone"),
        ("scripts/pre-install/10all.look", "#!/bin/sh\necho before >/run/pre-install\n[ ! -e /target/etc ]\n"),
        ("scripts/post-install/50compute.mark", "#!/bin/bash\necho after $(hostname) >/var/lib/post-install\n"),
        ("scripts/post-install/50login.never", "#!/bin/sh\nexit 1\n"),
    ):
        file = state / path
        file.parent.mkdir(parents=True, exist_ok=True)
        for folder in file.relative_to(state).parents:
            (state / folder).chmod(0o755)
        file.write_text(text)
        file.chmod(0o644)


def expect_overrides(site: ImageSite) -> None:
    shown = site.on_node(
        "compute-0-0", "cat /etc/motd; echo; cat /root/own; echo; stat -c '%u:%g %a' /root/own; cat /var/lib/post-install"
    )
    assert shown.splitlines()[:3] == ["of compute-0-0 in rack 0", "of this node alone", "0:0 644"]
    assert shown.splitlines()[3].startswith("after")


def expect_push(site: ImageSite) -> None:
    """What was changed in the image, and exactly that, is changed on the node."""
    product = site.product
    assert product.rows("image", "push", "compute-0-0", "--dry-run") == [], "a node is as its image after its install"
    assert product.rows("image", "drift", "compute-0-0") == []

    (site.tree / "usr/local/bin/new").write_text("#!/bin/sh\n")
    (site.tree / "etc/issue").write_text("changed\n")
    (site.tree / "usr/lib/os-release.old").unlink(missing_ok=True)
    gone = next(iter(sorted((site.tree / "usr/share/bash-completion/completions").iterdir())))
    gone.unlink()
    site.on_node("compute-0-0", "echo mine >/etc/own.conf; echo mine >/home/mine; rm /usr/bin/wall; hostname >/var/lib/mine")
    product.cli("image", "check", "golden")
    wanted = {
        ("added", "/usr/local/bin/new"),
        ("changed", "/etc/issue"),
        ("removed", f"/usr/share/bash-completion/completions/{gone.name}"),
        ("removed", "/etc/own.conf"),
        ("added", "/usr/bin/wall"),
    }
    for command in (("drift", "compute-0-0"), ("push", "compute-0-0", "--dry-run")):
        assert {(row["change"], row["path"]) for row in product.rows("image", *command)} == wanted, command
    told = product.cli("image", "push", "compute-0-0").stdout
    assert "compute-0-0: 5 made equal" in told and "reboot" not in told
    assert product.rows("image", "drift", "compute-0-0") == []
    shown = site.on_node("compute-0-0", "cat /etc/issue; test -e /usr/bin/wall; cat /home/mine /var/lib/mine; cat /etc/hostname")
    assert shown.splitlines() == ["changed", "mine", "compute-0-0", "compute-0-0"]


def expect_capture(site: ImageSite) -> None:
    """A running node is made an image: its software, and nothing that is its own."""
    site.on_node("compute-0-0", "echo tuned >/etc/tuned.conf; sync")
    told = site.product.cli("image", "capture", "tuned", "compute-0-0").stdout
    assert "Captured tuned: Debian GNU/Linux 12" in told and "Image tuned can boot" in told
    tree = site.product.state / "images" / "tuned" / "tree"
    assert (tree / "etc/tuned.conf").read_text() == "tuned\n"
    for gone in ("etc/bootserver", "state/partition1/file", "proc/cpuinfo", "etc/systemd/network/10-bootserver-eth0.network"):
        assert not (tree / gone).exists(), gone
    assert not list((tree / "etc/ssh").glob("ssh_host_*"))
    assert (tree / "etc/machine-id").read_text() == "" and (tree / "etc/hostname").read_text() == ""
    site.product.cli("image", "remove", "tuned", "--yes")


def test_what_can_not_be_installed_says_so_on_the_console_and_in_its_events(
    site: ImageSite, new_machine: NewMachine, tmp_path: Path
) -> None:
    """No disk, a disk that is too small, an image that is gone, an rsync that is refused; and after three tries it is parked."""
    product = site.product
    product.cli("insert-ethers", "--batch", "--mac", "52:54:00:77:01:01")
    product.cli("attr", "set", "on_failure", "shell")  # no waiting for a restart
    guest = new_machine(BIOS, megabytes=SMALL_MB)
    says = r"bootserver installer: (the frontend refuses: .*)\n"

    words = guest.wait(says, patience(60), fail="Kernel panic")[1]
    assert "disk too small: vda" in words and "has 4.0 GB, the layout needs" in words
    expect_failure(site, words, "failed")

    guest.power_cycle(disks=())
    words = guest.wait(says, patience(60), fail="Kernel panic")[1]
    assert "no disk found" in words
    expect_failure(site, words, "failed")

    guest.power_cycle(disks=(blank_disk(tmp_path / "large.disk", DISK_MB),))
    (product.state / "images/golden").rename(product.state / "images/hidden")
    words = guest.wait(says, patience(60), fail="Kernel panic")[1]
    assert "image golden is gone from the frontend" in words
    expect_failure(site, words, "parked")
    guest.power_cycle()
    guest.wait("compute-0-0: action install is parked: 3 installs in a row failed", patience(60))

    (product.state / "images/hidden").rename(product.state / "images/golden")
    product.cli("pxe", "set", "compute-0-0", "install")
    template = product.state / "kickstart/refused.sh.j2"
    template.write_text('{% extends "install.sh.j2" %}{% block sync %}sync_image 1\n{% endblock %}')
    product.cli("attr", "set", "script", template.name)
    guest.power_cycle()
    words = guest.wait(r"bootserver installer: (the image does not come .*)\n", patience(90), fail="Kernel panic")[1]
    assert "Connection refused" in words
    expect_failure(site, words, "failed")


def expect_failure(site: ImageSite, words: str, state: str) -> None:
    site.wait_for_state("compute-0-0", state, patience(10))
    told = site.events("compute-0-0", "failed")[-1]["detail"]["why"]
    assert told in words or words in told


@pytest.mark.full
def test_eight_machines_at_once_are_all_installed(site: ImageSite, new_machine: NewMachine) -> None:
    product = site.product
    discovery = product.start_command("insert-ethers", "--batch", "--count", "8")
    time.sleep(2)
    guests = [new_machine(BIOS) for _ in range(8)]
    for guest in guests:
        guest.wait(r"compute-0-\d login:", patience(400), fail=GOES_WRONG)
    assert discovery.wait(patience(5)) == 0
    for rank in range(8):
        site.wait_for_state(f"compute-0-{rank}", "up", patience(60))
