"""How long commands take as whole processes, with a cluster of 10,000 nodes: medians, in seconds.

    .venv/bin/python bench/cli.py [--nodes 10000] [--events 100000] [--runs 9]

Run it on a machine that does nothing else. The aims (DESIGN.md section 5): `--help` 0.15, a command on one node 0.35,
`node list` 1.0. `user` is the processor's time, which says more where the machine is busy.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from ipaddress import IPv4Address
from pathlib import Path

from bootserver.cluster import journal
from bootserver.cluster.change import Change, open_change
from bootserver.cluster.events import Event, Kind
from bootserver.cluster.seed import seed
from bootserver.config import load
from bootserver.db.connection import open_databases
from bootserver.db.migrate import migrate
from bootserver.db.rows import ApplianceRow, InterfaceRow, NetworkRow, NodeRow
from bootserver.values.mac import MacAddress

AIMS = {
    "--help": 0.15,
    "node --help": 0.15,
    "node show compute-0-0": 0.35,
    "node set compute-0-0 --comment x": 0.35,
    "pxe set compute-0-0 os": 0.35,
    "why compute-0-0": 0.35,
    "attr list compute-0-0": 0.35,
    "node list compute-0-[0-31]": 0.35,
    "node list": 1.0,
    "node list --format json": 1.0,
    "pxe list": 1.0,
    "pxe set compute os": None,
    "dump": None,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bootserver-bench-") as folder:
        config = Path(folder) / "bootserver.toml"
        config.write_text(f'[frontend]\nstate = "{folder}"\n')
        make_cluster(config, options.nodes, options.events)
        print(f"{'command':<34} {'median':>8} {'best':>8} {'user':>8} {'aim':>6}")
        for command, aim in AIMS.items():
            runs = 1 if aim is None else options.runs
            took, user = zip(*(run(config, command.split()) for _ in range(runs)), strict=True)
            shown = "" if aim is None else f"{aim:.2f}"
            print(f"{command:<34} {statistics.median(took):8.3f} {min(took):8.3f} {statistics.median(user):8.3f} {shown:>6}")


def run(config: Path, arguments: list[str]) -> tuple[float, float]:
    """One process. :returns: the time it took, and the processor's time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(
        [Path(sys.executable).with_name("bootserver"), *arguments],
        env=os.environ | {"BOOTSERVER_CONFIG": str(config)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    took = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def make_cluster(path: Path, count: int, events: int) -> None:
    """Racks of 40 nodes, each with an interface, an attribute on every hundredth, and events of the last boots."""
    config = load(path)
    migrate(config)
    databases = open_databases(config)
    with open_change(databases.cluster, "bench", "make") as change:
        seed(change, config)
        appliance = change.one(ApplianceRow, "name = :name", name="compute")
        network = change.one(NetworkRow, "id > 0")
        assert appliance is not None and network is not None
        for index in range(count):
            add(change, index, appliance, network)
    kinds = (Kind.ACKNOWLEDGED, Kind.MENU_SENT, Kind.KERNEL_SENT, Kind.RAMDISK_SENT, Kind.PHASE, Kind.INSTALLED, Kind.UP)
    with databases.journal.write() as connection:
        journal.append(
            connection,
            (
                Event(kinds[index // count % len(kinds)], time.time(), name(index % count), mac(index % count), {"bytes": index})
                for index in range(events)
            ),
        )


def add(change: Change, index: int, appliance: ApplianceRow, network: NetworkRow) -> None:
    node = change.insert(
        NodeRow(0, name(index), appliance.id, index // 40, index % 40, 4, None, None, "", None, "2026-01-01T00:00:00Z")
    )
    address = IPv4Address(int(network.subnet.broadcast_address) - 1 - index)
    change.insert(InterfaceRow(0, node.id, "eth0", mac(index), address, network.id))


def name(index: int) -> str:
    return f"compute-{index // 40}-{index % 40}"


def mac(index: int) -> MacAddress:
    return MacAddress(b"\x52\x54" + index.to_bytes(4, "big"))


if __name__ == "__main__":
    main()
