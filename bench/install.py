"""Installs of an image in QEMU without KVM: from power-on to a login prompt of the machine's own disk.

    python bench/install.py [--rounds 3] [--guests 8]

* ours against an install as one would write it by hand (``bench/handmade``: virtio alone, no ticket, no report, nothing kept);
  both are netbooted by our own service over HTTP. The aim: at most 1.2 x.
* the copy: our sync phase against the same install in which that phase is a bare rsync. The aim: at least 0.9 x its speed.
* N guests at once against N times one. The aim: at most 0.6 x.
* the server's processor time of one install, by phase.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.handmade_ramdisk import handmade
from bench.place import cpu_seconds, scratch
from tests.e2e.imaging import GOES_WRONG, ImageSite, Power, golden, installer
from tests.lab.guest import DiskBus, Firmware, Guest
from tests.lab.namespace import Namespace
from tests.lab.product import Product, _descendants

SECONDS = 900
BARE_PORT = 8730
BARE = """{% extends "install.sh.j2" %}
{% block sync %}
step "a bare rsync" rsync -aHAXS --numeric-ids rsync://10.77.0.1:8730/golden/ /target/
{% endblock %}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--guests", type=int, default=8)
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("bench: network namespaces need root")
    golden(), installer(), handmade()
    met = [login(options.rounds), copy(options.rounds), many(options.guests)]
    processor()
    return 0 if all(met) else 1


def login(rounds: int) -> bool:
    """Power-on to login, interleaved."""
    took: dict[str, list[float]] = {"by hand": [], "ours": []}
    for _ in range(rounds):
        took["by hand"].append(run(by_hand))
        took["ours"].append(run(ours))
    medians = {name: statistics.median(seconds) for name, seconds in took.items()}
    ratio = medians["ours"] / medians["by hand"]
    for name, seconds in took.items():
        print(f"power-on to login, {name:<8} {medians[name]:6.1f} s   ({', '.join(f'{each:.1f}' for each in seconds)})")
    return judged(f"ours is {ratio:.2f} x", ratio <= 1.2, "1.2")


def run(how: Callable[[ImageSite, Guest], None]) -> float:
    with scratch() as folder, Namespace(folder) as namespace:
        site = make_site(namespace, folder)
        serve_bare(namespace, site, folder)
        machine = Power(folder).machine(1, Firmware.BIOS, disks=1, bus=DiskBus.VIRTIO)
        site.product.cli("insert-ethers", "--batch", "--mac", machine.macs[0])
        with Guest(namespace, "guest", machine, folder) as guest:
            how(site, guest)
            seconds = guest.console.seen_at(r"(compute-0-0|handmade) login:")
    assert seconds is not None
    return seconds


def ours(site: ImageSite, guest: Guest) -> None:
    guest.wait("compute-0-0 login:", SECONDS, fail=GOES_WRONG)


def by_hand(site: ImageSite, guest: Guest) -> None:
    """It is powered on again with its own kernel and ramdisk; what a server does at its end is done by this program."""
    guest.power_off()
    product = site.product
    kernel, ramdisk = handmade()
    arguments = f"console=ttyS0 quiet panic=5 net.ifnames=0 handmade.server=10.77.0.1 handmade.port={BARE_PORT} handmade.quiet"
    product.cli("pxe", "action", "add", "handmade", "--kernel", str(kernel), "--initrd", str(ramdisk), "--args", arguments)
    product.cli("pxe", "set", "compute-0-0", "handmade")
    guest.power_on()
    guest.wait("HANDMADE done", SECONDS, fail="HANDMADE failed.*|Kernel panic")
    product.cli("pxe", "set", "compute-0-0", "os")
    guest.wait("handmade login:", SECONDS, fail="Kernel panic|emergency mode")


def copy(rounds: int) -> bool:
    """The sync phase, ours and bare, of the same install in the same guest."""
    took: dict[str, list[float]] = {"bare rsync": [], "ours": []}
    for _ in range(rounds):
        for name, seconds in took.items():
            with scratch() as folder, Namespace(folder) as namespace:
                site = make_site(namespace, folder)
                serve_bare(namespace, site, folder)
                if name == "bare rsync":
                    (site.product.state / "kickstart" / "bare.sh.j2").write_text(BARE)
                    site.product.cli("attr", "set", "script", "bare.sh.j2")
                install_one(namespace, site, folder)
                seconds.append(phases(site)["sync"])
    medians = {name: statistics.median(seconds) for name, seconds in took.items()}
    ratio = medians["bare rsync"] / medians["ours"]
    for name, seconds in took.items():
        print(f"copy of the image, {name:<10} {medians[name]:6.1f} s   ({', '.join(f'{each:.1f}' for each in seconds)})")
    return judged(f"ours has {ratio:.2f} x the speed", ratio >= 0.9, "0.9")


def many(count: int) -> bool:
    """Guests at once; each time is from the first power-on to the last login."""
    took = {}
    for number in (1, count):
        with scratch() as folder, Namespace(folder) as namespace, ExitStack() as guests:
            site = make_site(namespace, folder)
            power = Power(folder)
            machines = [power.machine(each, Firmware.BIOS, disks=1, bus=DiskBus.VIRTIO) for each in range(1, number + 1)]
            for machine in machines:
                site.product.cli("insert-ethers", "--batch", "--mac", machine.macs[0])
            began = time.monotonic()
            started = [
                guests.enter_context(Guest(namespace, f"guest-{each}", machine, folder)) for each, machine in enumerate(machines)
            ]
            for guest in started:
                guest.wait(r"compute-0-\d+ login:", SECONDS * 2, fail=GOES_WRONG)
            took[number] = time.monotonic() - began
    ratio = took[count] / (count * took[1])
    print(f"one guest {took[1]:.1f} s, {count} at once {took[count]:.1f} s")
    return judged(f"that is {ratio:.2f} x {count} times one", ratio <= 0.6, "0.6")


def processor() -> None:
    """Processor time of the service by phase of one install."""
    with scratch() as folder, Namespace(folder) as namespace:
        site = make_site(namespace, folder)
        assert site.product._service is not None
        supervisor = site.product._service.pid
        samples: list[tuple[float, float]] = []
        stop = threading.Event()

        def sample() -> None:
            while not stop.wait(0.1):
                pids = [supervisor, *(pid for pid, _ in _descendants(supervisor))]
                try:
                    samples.append((time.time(), cpu_seconds(pids)))
                except (FileNotFoundError, ProcessLookupError):  # one has just ended; its time is its parent's from now on
                    continue

        thread = threading.Thread(target=sample)
        thread.start()
        began = time.time()
        install_one(namespace, site, folder)
        stop.set()
        thread.join()
        # (name, end): the netboot ends with the first phase.
        told = [(event["detail"]["phase"], event["time"]) for event in events(site, "phase")]
        [installed] = [event["time"] for event in events(site, "installed")]
    first: dict[str, float] = {}
    for name, at in told:
        first.setdefault(name, at)
    marks = [("netboot", began), *first.items(), ("end", installed)]
    print("processor time of the service:")
    for (name, start), (_, end) in itertools.pairwise(marks):
        print(f"  {name:<11} {at_time(samples, end) - at_time(samples, start):6.2f} s of {end - start:5.1f} s")
    print(f"  in all      {at_time(samples, installed) - at_time(samples, began):6.2f} s of {installed - began:5.1f} s")


def at_time(samples: list[tuple[float, float]], at: float) -> float:
    return max((used for when, used in samples if when <= at + 0.15), default=samples[0][1])


# -- what they share ----------------------------------------------------------------------------------------------


def make_site(namespace: Namespace, folder: Path) -> ImageSite:
    product = Product(namespace, folder / "state")
    product.init()
    site = ImageSite(product)
    site.make_ready()
    product.start()
    return site


def serve_bare(namespace: Namespace, site: ImageSite, folder: Path) -> None:
    """Debian's rsync daemon as it comes, with the image as a module."""
    config = folder / "rsyncd.conf"
    config.write_text(f"uid = 0\ngid = 0\nuse chroot = yes\nreverse lookup = no\n[golden]\npath = {site.tree}\n")
    command = ["rsync", "--daemon", "--no-detach", f"--port={BARE_PORT}", f"--config={config}"]
    namespace.start("bare-rsync", command)


def install_one(namespace: Namespace, site: ImageSite, folder: Path) -> None:
    machine = Power(folder).machine(1, Firmware.BIOS, disks=1, bus=DiskBus.VIRTIO)
    site.product.cli("insert-ethers", "--batch", "--mac", machine.macs[0])
    with Guest(namespace, "guest", machine, folder) as guest:
        guest.wait("compute-0-0 is installed$", SECONDS, fail=GOES_WRONG)


def events(site: ImageSite, kind: str) -> list[dict[str, object]]:
    """With times as numbers: `node show` has them."""
    from bootserver.cluster import journal
    from bootserver.cluster.events import Kind
    from bootserver.config import load
    from bootserver.db.connection import open_databases

    time.sleep(0.3)  # the last ones are on their way
    with open_databases(load(site.product.config)).journal.read() as connection:
        found = journal.read(connection, nodes=["compute-0-0"], kinds=[Kind(kind)])
    return [{"time": entry.event.at, "detail": dict(entry.event.detail)} for entry in found]


def phases(site: ImageSite) -> dict[str, float]:
    """Seconds of each phase, from its first report to the next phase's."""
    begins: dict[str, float] = {}
    for event in events(site, "phase"):
        begins.setdefault(event["detail"]["phase"], event["time"])  # type: ignore[index,arg-type]
    names = list(begins)
    return {name: begins[after] - begins[name] for name, after in itertools.pairwise(names)}


def judged(words: str, met: bool, aim: str) -> bool:
    print(f"{words} ({'aim met' if met else 'aim missed'}: {aim})", flush=True)
    return met


if __name__ == "__main__":
    sys.exit(main())
