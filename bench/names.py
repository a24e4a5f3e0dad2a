#!/usr/bin/env python3
"""DNS for 10,000 nodes, against dnsmasq with the same names as a hosts file: dnsperf asks both, in turn.

    python bench/names.py [--quick] [--nodes N]

names    answers a second to questions for the address of any node, and processor time of an answer
reverse  the same for the name of any address (where dnsmasq searches all that it has)
first    the same of names that nobody asked for since the names changed
update   seconds from a committed change to its answer, and until a view that loads beside it shows the change

The aim: at least 0.3 times dnsmasq's answers of either kind. dnsperf and the server share the
machine's processors, in either case the same way. Needs root, dnsperf, dnsmasq-base and iproute2.
(Not called dns.py: that would hide dnspython from every benchmark beside it.)
"""

from __future__ import annotations

import argparse
import random
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import dns.message
import dns.rdatatype

from bench.cluster import fill
from bench.place import Service, anonymous_megabytes, bootserver, cpu_seconds, enter_namespace, init, scratch, service
from bootserver.cluster.change import open_change, open_reader
from bootserver.cluster.keeper import ViewKeeper
from bootserver.config import load
from bootserver.db.connection import open_databases
from bootserver.db.rows import InterfaceRow
from bootserver.service.dns_part import names_of

OURS, THEIRS = "10.0.0.1", "10.0.0.3"
FIRST = IPv4Address("10.2.0.0")
AIM: Final = 0.3
UNLIMITED = "\n[dns]\nper_client = 10000000\n"
"""One address asks here for 10,000 nodes."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter and fewer rounds")
    parser.add_argument("--nodes", type=int, default=10_000)
    arguments = parser.parse_args()
    enter_namespace(f"{OURS}/8")
    subprocess.run(["ip", "address", "add", f"{THEIRS}/8", "dev", "br0"], check=True)
    with scratch() as folder:
        config = init(folder, UNLIMITED)
        fill(config, arguments.nodes, FIRST)
        names, reverse = write_questions(folder, arguments.nodes)
        hosts = folder / "hosts"
        hosts.write_text(bootserver(config, "dns", "export", "--format", "hosts"))
        with service(config) as running, dnsmasq(hosts) as peer:
            [part] = [pid for pid, name in running.parts().items() if name == "bs-dns"]
            first = measure_first(arguments.nodes, folder)
            rounds, seconds = (3, 2) if arguments.quick else (7, 4)
            ratios = [measure_rate(questions, part, peer, rounds, seconds) for questions in (names, reverse)]
            print(f"memory    {anonymous_megabytes(part):.0f} MB of our own, anonymous, when all names were asked for")
            print(f"first     {first:.0f} answers/s to names that nobody asked for before")
            measure_update(running, 3 if arguments.quick else 10)
    met = min(ratios) >= AIM
    print("aims met" if met else "aims missed")
    return 0 if met else 1


def write_questions(folder: Path, nodes: int) -> tuple[Path, Path]:
    """Each node's address and reverse name, in no order: what ssh, a scheduler and a file system's clients ask for."""
    order = random.Random(1).sample(range(nodes), nodes)  # the same in each run
    names, reverse = folder / "names", folder / "reverse"
    names.write_text("".join(f"compute-{index // 40}-{index % 40}.local A\n" for index in order))
    reverse.write_text("".join(f"{(FIRST + index).reverse_pointer} PTR\n" for index in order))
    return names, reverse


@contextmanager
def dnsmasq(hosts: Path) -> Iterator[int]:
    command = [
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", f"--addn-hosts={hosts}",
        "--user=root", f"--listen-address={THEIRS}", "--bind-interfaces", "--log-facility=/dev/null", "--local=/local/",
        f"--pid-file={hosts}.pid",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def measure_rate(questions: Path, ours: int, theirs: int, rounds: int, seconds: int) -> float:
    """:returns: our answers a second as a multiple of dnsmasq's."""
    figures: dict[str, list[tuple[float, float]]] = {OURS: [], THEIRS: []}
    for _ in range(rounds + 1):
        for server, pid in ((OURS, ours), (THEIRS, theirs)):
            before = cpu_seconds([pid])
            rate, answered = dnsperf(server, questions, seconds)
            figures[server].append((rate, (cpu_seconds([pid]) - before) / answered * 1e6))
    (our_rate, our_cost), (their_rate, their_cost) = (
        (statistics.median(rate for rate, _ in kept[1:]), statistics.median(cost for _, cost in kept[1:]))
        for kept in figures.values()  # the first round warms caches
    )
    ratio = our_rate / their_rate
    print(
        f"{questions.name:<9} {our_rate:.0f} answers/s, {our_cost:.1f} µs of processor each; "
        f"dnsmasq {their_rate:.0f}/s, {their_cost:.1f} µs: x {ratio:.2f} (aim {AIM})"
    )
    return ratio


def dnsperf(server: str, questions: Path, seconds: int) -> tuple[float, float]:
    """:returns: answers a second, and how many there were."""
    command = ["dnsperf", "-s", server, "-p", "53", "-d", str(questions), "-l", str(seconds), "-c", "8", "-q", "200", "-e"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures = {
        name: re.search(rf"{name}:\s+([\d.]+)", said) for name in ("Queries per second", "Queries completed", "Queries lost")
    }
    rate, done, lost = (float(found[1]) if found else 0.0 for found in figures.values())
    if "NOERROR" not in said or "NXDOMAIN" in said or "SERVFAIL" in said or lost > done / 100:
        raise SystemExit(f"bench: {server} did not answer well:\n{said}")
    return rate, done


def measure_first(nodes: int, folder: Path) -> float:
    """Answers a second to names that are asked for once each (their addresses; the reverse names stay for later)."""
    path = folder / "once"
    path.write_text("".join(f"compute-{index // 40}-{index % 40}.local A\n" for index in range(nodes)))
    command = ["dnsperf", "-s", OURS, "-d", str(path), "-n", "1", "-c", "8", "-q", "100", "-e"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"Queries per second:\s+([\d.]+)", said)
    return float(found[1]) if found else 0.0


def measure_update(running: Service, times: int) -> None:
    """The time until a change is answered, and until a view of our own shows the same change."""
    config = load(running.config)
    cluster = open_databases(config).cluster
    keeper = ViewKeeper(cluster, config.dhcp.lease_seconds)
    keeper.start()
    query = dns.message.make_query("compute-0-0.local", dns.rdatatype.A).to_wire()
    answered, seen = [], []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        udp.connect((OURS, 53))
        for turn in range(times):
            time.sleep(4)  # a keeper that has just loaded rests for a while
            address, before = IPv4Address("10.9.0.1") + turn, keeper.view
            with open_reader(cluster) as reader:
                row = reader.one(InterfaceRow, "id = 1")
            assert row is not None
            with open_change(cluster, "bench", "another address") as change:
                change.update(row, ip=address)
            began = time.perf_counter()
            in_view = in_dns = 0.0
            while not (in_view and in_dns):
                time.sleep(0.001)
                if not in_view and keeper.view is not before:
                    in_view = time.perf_counter() - began
                if not in_dns:
                    udp.send(query)
                    if address.packed in udp.recv(512):
                        in_dns = time.perf_counter() - began
            answered.append(in_dns)
            seen.append(in_view)
    keeper.stop()
    until_answer, until_view = statistics.median(answered), statistics.median(seen)
    began = time.perf_counter()
    found = names_of(keeper.view, config)
    made = time.perf_counter() - began
    print(
        f"update    {until_answer * 1e3:.0f} ms from a committed change to its answer, {until_view * 1e3:.0f} ms until another "
        f"view shows it (all load at once); {made * 1e3:.0f} ms of it to make {len(found.entries)} names"
    )


if __name__ == "__main__":
    sys.exit(main())
