"""Boot menus rendered for 10,000 known nodes, against dnsmasq with the same menus as files; and what the view costs.

    python bench/menus.py [--quick]

The aims: as many menus a second as dnsmasq sends files, a worker under 100 MB of anonymous memory, and a registration that
costs the same at 100 and at 10,000 nodes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from ipaddress import IPv4Address
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.cluster import fill
from bench.place import HERE, Service, anonymous_megabytes, enter_namespace, init, scratch, service
from bootserver.cluster import discovery
from bootserver.cluster.change import open_change, open_reader
from bootserver.cluster.load import load_view
from bootserver.config import load
from bootserver.db.connection import open_databases
from bootserver.values.mac import MacAddress

NODES = 10_000
FIRST = IPv4Address("10.2.0.0")  # 0A02hhhh: tftpload can count in a file name
PATTERN = "pxelinux.cfg/0A02%04X"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    enter_namespace("10.0.0.1/8")
    with scratch() as folder:
        load_program = folder / "tftpload"
        subprocess.run(["gcc", "-O2", "-o", load_program, HERE / "tftpload.c"], check=True)
        registration = {count: measure_registration(folder / f"r{count}", count) for count in (100, NODES)}
        config = init(folder)
        fill(config, NODES, FIRST)
        measure_view(config)
        with service(config) as running:
            menus = folder / "menus"
            fetch_all(menus)
            ratio = compare(load_program, menus, rounds=1 if quick else 5, transfers=5_000 if quick else 20_000)
            memory = report_memory(running)
    few, many = registration[100], registration[NODES]
    print(f"registration    {few * 1e3:.1f} ms at 100 nodes, {many * 1e3:.1f} ms at {NODES}: x {many / few:.2f}")
    met = ratio >= 1.0 and memory < 100
    print("aims met" if met else "aims missed")
    return 0 if met else 1


def measure_registration(folder: Path, count: int) -> float:
    """Seconds of one registration (a committed transaction), median of 50."""
    folder.mkdir(mode=0o755)
    config = init(folder)
    fill(config, count, FIRST)
    databases = open_databases(load(config))
    with open_change(databases.cluster, "bench", "open") as change:
        discovery.open_discovery(change, discovery.Request(max_new=100), "bench")
    took = []
    for index in range(50):
        began = time.perf_counter()
        with open_change(databases.cluster, "discovery", "register") as change:
            row = discovery.current(change)
            assert row is not None
            discovery.register(
                change, row, discovery.Machine(MacAddress(b"\x02\0\0\0\0" + bytes([index])), None, "private", True)
            )
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def measure_view(config: Path) -> None:
    databases = open_databases(load(config))
    took = []
    for _ in range(5):
        began = time.perf_counter()
        with open_reader(databases.cluster) as reader:
            view = load_view(reader, 86400)
        took.append(time.perf_counter() - began)
    print(f"view            {statistics.median(took) * 1e3:.0f} ms to load {len(view.nodes)} nodes")


def fetch_all(menus: Path) -> None:
    """The menus as they are now, for dnsmasq to serve and for the load generator to compare with."""
    from bootserver.cluster.plan import LocalDisk
    from bootserver.netboot.menus import MenuContext, pxelinux
    from bootserver.values.firmware import Firmware

    (menus / "pxelinux.cfg").mkdir(parents=True)
    for index in range(NODES):
        rack, rank = divmod(index, 40)
        path = PATTERN % index
        where = MenuContext(f"compute-{rack}-{rank}", Firmware.BIOS, IPv4Address("10.0.0.1"), path)
        (menus / path).write_text(pxelinux.render(LocalDisk("action os, local disk"), where))


def compare(program: Path, menus: Path, rounds: int, transfers: int) -> float:
    """:returns: our menus a second, as a multiple of dnsmasq's files."""
    dnsmasq = [
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--enable-tftp", "--tftp-max=9000",
        f"--tftp-root={menus}", "--user=root", "--listen-address=127.0.0.2", "--bind-interfaces", "--log-facility=/dev/null",
        f"--pid-file={menus}/pid",
    ]  # fmt: skip
    # Ours listens on all addresses; the more specific socket gets what is sent to it.
    peer = subprocess.Popen(dnsmasq, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    figures: dict[str, list[float]] = {"127.0.0.1": [], "127.0.0.2": []}
    try:
        for _ in range(rounds + 1):
            for host, kept in figures.items():
                kept.append(measure(program, menus, host, transfers))
    finally:
        peer.terminate()
        peer.wait()
    ours, theirs = (statistics.median(kept[1:] or kept) for kept in figures.values())  # the first round warms caches
    print(
        f"menus           {ours:.0f}/s rendered for {NODES} nodes; dnsmasq {theirs:.0f} files/s: x {ours / theirs:.2f} (aim 1.0)"
    )
    return ours / theirs


def measure(program: Path, menus: Path, host: str, transfers: int) -> float:
    arguments = [
        "-h",
        host,
        "-p",
        "69",
        "-d",
        str(menus),
        "-f",
        PATTERN,
        "-M",
        str(NODES),
        "-n",
        str(transfers),
        "-c",
        "200",
        "-b",
        "1408",
    ]
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    figures = json.loads(done.stdout)
    if done.returncode or figures["completed"] != transfers:
        raise SystemExit(f"bench: {host}: {done.stdout}{done.stderr}")
    return float(figures["fps"])


def report_memory(running: Service) -> float:
    """:returns: the largest part's anonymous megabytes."""
    used = {name: anonymous_megabytes(pid) for pid, name in running.parts().items()}
    print("memory          " + ", ".join(f"{name} {size:.0f} MB" for name, size in used.items()) + " (aim: under 100 MB each)")
    return max(used.values())


if __name__ == "__main__":
    sys.exit(main())
