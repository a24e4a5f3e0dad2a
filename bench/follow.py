#!/usr/bin/env python3
"""How many lines of a DHCP server's log are followed in a second: a burst that is appended to a file, until its last line's
event is told.

    python bench/follow.py [--quick] [--lines N]

dhcpd, dnsmasq, kea   a server's lines alone, of 1,000 nodes and of machines that nobody knows
syslog                one line in ten is dhcpd's, the others are other programs'

All of it is the real thing: the hand, which reads the file in a process of its own, its pipe, the parser, what is decided, and
the events' way to a pipe that is read. The aim: 50,000 lines a second. Needs nothing but this checkout.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bootserver.cluster.actions import SHIPPED
from bootserver.cluster.reporting import PipeReporter, make_pipe
from bootserver.cluster.view import ApplianceView, InterfaceView, NetworkView, NodeView, View
from bootserver.netboot.dhcp_events.hosts import hosts
from bootserver.netboot.dhcp_events.learner import Learner
from bootserver.service.follower import Follower, start_hand
from bootserver.values.mac import MacAddress

AIM: Final = 50_000
NODES: Final = 1_000
END: Final = MacAddress.parse("02:ff:ff:ff:ff:ff")
STAMP: Final = "Nov 28 17:20:36 fe"


def mac(number: int) -> MacAddress:
    return MacAddress((0x020000000000 + number).to_bytes(6))


def dhcpd(number: int) -> str:
    machine, address = mac(number % 1500), IPv4Address("10.1.16.0") + number % 1500
    return (
        f"{STAMP} dhcpd[123]: "
        + (
            f"DHCPDISCOVER from {machine} via eth0",
            f"DHCPOFFER on {address} to {machine} (node{number}) via eth0",
            f"DHCPREQUEST for {address} (10.1.1.2) from {machine} (node{number}) via eth0",
            f"DHCPACK on {address} to {machine} (node{number}) via eth0",
        )[number % 4]
    )


def dnsmasq(number: int) -> str:
    machine, address = mac(number % 1500), IPv4Address("10.1.16.0") + number % 1500
    return (
        f"{STAMP} dnsmasq-dhcp[123]: "
        + (
            f"DHCPDISCOVER(eth0) {machine} ",
            f"DHCPOFFER(eth0) {address} {machine} ",
            f"DHCPREQUEST(eth0) {address} {machine} ",
            f"DHCPACK(eth0) {address} {machine} node{number}",
        )[number % 4]
    )


def kea(number: int) -> str:
    machine, address = mac(number % 1500), IPv4Address("10.1.16.0") + number % 1500
    what = (
        ("DHCP4_LEASE_ADVERT", "will be advertised")
        if number % 2
        else ("DHCP4_LEASE_ALLOC", "has been allocated for 3600 seconds")
    )
    return (
        f"2026-11-28 17:21:26.970 INFO  [kea-dhcp4.leases/15082.139639214223872] {what[0]} [hwtype=1 {machine}],"
        f" cid=[01:{machine}], tid=0xdf2ade5f: lease {address} {what[1]}"
    )


def syslog(number: int) -> str:
    return (
        dhcpd(number // 10)
        if number % 10 == 0
        else f"{STAMP} sshd[{number}]: Connection closed by 10.1.2.3 port {number} [preauth]"
    )


def measure(make: Callable[[int], str], lines: int) -> float:
    """:returns: seconds from the burst to its last line's event."""
    frontend, subnet = IPv4Address("10.1.1.1"), IPv4Network("10.1.0.0/16")
    network = NetworkView(1, "private", subnet, "eth0", frontend, frontend, (frontend,), "local", 86_400)
    compute = ApplianceView(1, "compute", installs=True)
    by_mac: dict[bytes, tuple[NodeView, InterfaceView]] = {}
    for number, machine in enumerate([*map(mac, range(NODES)), END]):
        interface = InterfaceView("eth0", machine, IPv4Address("10.1.16.0") + number, network)
        by_mac[machine] = (
            NodeView(number, f"compute-0-{number}", compute, 0, number, None, (interface,), {}, SHIPPED["os"], None),
            interface,
        )
    view = View(1, networks=(network,), by_mac=by_mac)
    burst = "".join(f"{make(number)}\n" for number in range(lines))
    reading, writing = make_pipe()
    os.set_blocking(reading, True)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        log.touch()
        hand = start_hand([str(log)], Path("/nonexistent"))
        reporter = PipeReporter(writing)
        learner = Learner(reporter, reporter.register, lambda _news: None)
        follower = Follower(hand, None, lambda: view, learner, reporter, hosts=hosts, on_tick=reporter.flush)
        ended = threading.Event()

        def read() -> None:
            wanted = str(END).encode()
            rest = b""
            while wanted not in rest:
                rest = rest[-64:] + os.read(reading, 65536)
            ended.set()

        threading.Thread(target=read, daemon=True).start()
        threading.Thread(target=follower.serve, daemon=True).start()
        time.sleep(0.3)
        started = time.monotonic()
        with log.open("a") as file:
            file.write(burst)
            file.write(f"{STAMP} dhcpd: DHCPDISCOVER from {END} via eth0\n")
        if not ended.wait(120):
            raise SystemExit("the last line was not told within two minutes")
        took = time.monotonic() - started
        follower.stop()
        time.sleep(0.1)
        hand.end()
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--lines", type=int, default=200_000)
    arguments = parser.parse_args()
    worst = float("inf")
    for make in (dhcpd, dnsmasq, kea, syslog):
        rates = [arguments.lines / measure(make, arguments.lines) for _ in range(1 if arguments.quick else 3)]
        worst = min(worst, statistics.median(rates))
        print(f"{make.__name__:8} {statistics.median(rates):10,.0f} lines/s  ({', '.join(f'{rate:,.0f}' for rate in rates)})")
    print(f"aim {AIM:,}: {'reached' if worst >= AIM else 'MISSED'}")
    return 0 if worst >= AIM else 1


if __name__ == "__main__":
    sys.exit(main())
