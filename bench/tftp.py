#!/usr/bin/env python3
"""How fast TFTP is, against the servers that a distribution has: dnsmasq, tftpd-hpa and atftpd.

    python bench/tftp.py [--quick]                            everything, about ten minutes (--quick: two)
    python bench/tftp.py --only lockstep,menus                some of it
    python bench/tftp.py --ours 127.0.0.1:69 --root DIR       a server that runs already, for the files of its tftpboot;
                         [--file NAME ...]                    or for these names alone (a %d in one counts: menus of nodes)

Each figure is the median of interleaved rounds: every server in turn, then again, so that whatever else the machine does
meets all of them. Only ratios within one run mean anything. The clients are bench/tftpload.c: one process, any number of
clients, and every byte compared with the file on disk. Everything happens on
the loopback interface of a network namespace that ends with the run.

Needs root (for the namespace) and gcc; the other servers are unpacked from their packages into a cache folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from bench.place import INSIDE, program  # noqa: E402  # found by the line above

OURS = ("ours x1", "ours x2")
PEERS = ("dnsmasq", "tftpd-hpa", "atftpd")
SO_RCVBUFFORCE = 33
PACKAGES = {
    "dnsmasq": ("dnsmasq-base", "usr/sbin/dnsmasq"),
    "tftpd-hpa": ("tftpd-hpa", "usr/sbin/in.tftpd"),
    "atftpd": ("atftpd", "usr/sbin/atftpd"),
}
MENUS = 256


@dataclass(frozen=True)
class Target:
    """What one figure must be, as a multiple of a peer's or as it is."""

    figure: str
    at_least: float
    peer: str = ""  # empty: absolute; "best": the best peer that ran


@dataclass(frozen=True)
class Scenario:
    """One way in which machines ask."""

    name: str
    title: str
    arguments: Sequence[str]  # for tftpload
    figure: str  # what of its output is printed
    unit: str
    bound: float  # seconds after which a server has lost
    targets: Sequence[Target]
    peers: Sequence[str] = PEERS
    quick: dict[str, str] = field(default_factory=dict)  # option -> its smaller value

    def command(self, quick: bool) -> list[str]:
        words = list(self.arguments)
        if quick:
            for option, value in self.quick.items():
                words[words.index(option) + 1] = value
        return [*words, "-T", str(self.bound)]


NOT_ATFTPD = ("dnsmasq", "tftpd-hpa")  # atftpd dies of more descriptors than select() has bits
SCENARIOS = (
    Scenario(
        "lockstep", "100 clients x 10 MB", ["-f", "10m", "-n", "100", "-c", "100", "-b", "1468"], "MBps", "MB/s", 120,
        [Target("MBps", 1.0, "dnsmasq"), Target("MBps", 1.9, "tftpd-hpa")], quick={"-f": "1m"},
    ),
    Scenario(
        "thousand", "1,000 clients x 1 MB", ["-f", "1m", "-n", "1000", "-c", "1000", "-b", "1468"], "MBps", "MB/s", 60,
        [Target("MBps", 1.0, "dnsmasq"), Target("MBps", 1.9, "tftpd-hpa"), Target("retx", 0), Target("lost", 0)], NOT_ATFTPD,
    ),
    Scenario(
        "crowd", "5,000 clients x 100 kB", ["-f", "100k", "-n", "5000", "-c", "5000", "-b", "1468"], "MBps", "MB/s", 60,
        [Target("lost", 0)], (),
    ),
    Scenario(
        "window16", "one client, windowsize 16", ["-f", "10m", "-n", "20", "-c", "1", "-b", "1468", "-w", "16"], "MBps", "MB/s",
        60, [Target("MBps", 2.5, "best")], ("atftpd",), quick={"-n": "5"},
    ),
    Scenario(
        "window64", "one client, windowsize 64", ["-f", "10m", "-n", "20", "-c", "1", "-b", "1468", "-w", "64"], "MBps", "MB/s",
        60, [Target("MBps", 5.0, "best")], ("atftpd",), quick={"-n": "5"},
    ),
    Scenario(
        "loss", "1 % loss, 200 clients x 2 MB", ["-f", "2m", "-n", "200", "-c", "200", "-b", "1468", "-L", "100"], "MBps", "MB/s",
        90, [Target("MBps", 5.0, "dnsmasq"), Target("MBps", 5.0, "tftpd-hpa"), Target("lost", 0)], NOT_ATFTPD,
        quick={"-f": "1m"},
    ),
    Scenario(
        "menus", "20,000 menus of 400 bytes, 200 at once",
        ["-f", "menu%d", "-M", str(MENUS), "-n", "20000", "-c", "200", "-b", "1408"], "fps", "files/s", 60,
        [Target("fps", 1.2, "dnsmasq"), Target("lost", 0)], quick={"-n": "5000"},
    ),
)  # fmt: skip


def make_files(root: Path) -> None:
    """What is fetched."""
    for name, size in {"10m": 10_000_000, "2m": 2_000_000, "1m": 1_000_000, "100k": 100_000}.items():
        (root / name).write_bytes(os.urandom(size))
    for number in range(MENUS):
        (root / f"menu{number}").write_bytes(os.urandom(400))
    root.chmod(0o755)


# --- the servers -------------------------------------------------------------------------------------------------------


def serve(port: int, root: Path) -> None:
    """One worker of ours, for static files; this is what ``--serve`` runs."""
    from bootserver.netboot.content import Content, Missing, Resolution, Served
    from bootserver.netboot.files import FileStore
    from bootserver.netboot.tftp.contract import TftpLimits
    from bootserver.netboot.tftp.server import TftpServer

    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    with contextlib.suppress(PermissionError):
        listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
    listener.bind(("127.0.0.1", port))
    files = FileStore(root)

    def resolve(name: str, _address: object) -> Resolution:
        path = files.resolve(name)
        return Missing("no such file") if path is None else Content(path, Served.FILE)

    # All clients have one address here.
    server = TftpServer([listener], resolve, files, lambda _end: None, TftpLimits(transfers_per_client=8000))
    signal.signal(signal.SIGTERM, lambda *_: server.stop(0))
    server.run()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def commands(server: str, port: int, root: Path, scratch: Path) -> list[list[str]]:
    """How a server is started: one command for each process."""
    match server:
        case "dnsmasq":
            return [
                [str(peer_program(server)), "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--enable-tftp",
                 "--tftp-max=9000",
                 f"--tftp-root={root}", "--user=root", "--listen-address=127.0.0.1", "--bind-interfaces",
                 f"--pid-file={scratch}/dnsmasq.pid", "--log-facility=/dev/null"]
            ]  # fmt: skip
        case "tftpd-hpa":
            return [
                [
                    str(peer_program(server)),
                    "--foreground",
                    "--address",
                    f"127.0.0.1:{port}",
                    "-4",
                    "--user",
                    "root",
                    "--secure",
                    str(root),
                ]
            ]
        case "atftpd":
            return [
                [str(peer_program(server)), "--daemon", "--no-fork", "--port", str(port), "--bind-address", "127.0.0.1", "--user",
                 "root.root", "--maxthread", "1000", "--logfile", "/dev/null", str(root)]
            ]  # fmt: skip
        case _:
            one = [sys.executable, str(HERE / "tftp.py"), "--serve", str(port), "--root", str(root)]
            return [one] * int(server[-1])


def peer_program(name: str) -> Path:
    """A peer's program, unpacked from Debian's package and not installed: the packages start services, and conflict."""
    return program(*PACKAGES[name])


@dataclass
class Running:
    """A server under measurement.

    :ivar cpu: seconds that it and its children took; known when it has ended.
    """

    port: int
    cpu: float = 0.0


def cpu_of_the_ended() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def cpu_so_far(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running(server: str, root: Path, scratch: Path) -> Iterator[Running]:
    """A server, from its first answer on."""
    port = 69 if server == "dnsmasq" else free_port()
    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        for command in commands(server, port, root, scratch)
    ]
    try:
        for _ in processes:
            wait_for_answer(port)
        if len(processes) > 1:
            time.sleep(0.5)  # one worker has answered; the other is as old
        answering = Running(port)
        before = sum(cpu_so_far(process.pid) for process in processes)
        yield answering
        reaped = cpu_of_the_ended()
        stop(processes)
        answering.cpu = cpu_of_the_ended() - reaped - before
    finally:
        stop(processes)


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    left = [process for process in processes if process.poll() is None]
    for process in left:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # tftpd-hpa has a child for each transfer
    for process in left:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for_answer(port: int) -> None:
    for _ in range(100):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.1)
            client.sendto(b"\0\1menu0\0octet\0", ("127.0.0.1", port))
            with contextlib.suppress(OSError):
                _, peer = client.recvfrom(2048)
                client.sendto(b"\0\4\0\1", peer)
                return
        time.sleep(0.05)
    raise SystemExit(f"bench: nothing answers on port {port}")


# --- measuring ---------------------------------------------------------------------------------------------------------


def build_load(scratch: Path) -> Path:
    program = scratch / "tftpload"
    subprocess.run(["gcc", "-O2", "-o", str(program), str(HERE / "tftpload.c")], check=True)
    return program


def measure(load: Path, host: str, port: int, root: Path, arguments: Sequence[str]) -> dict[str, Any]:
    command = [str(load), "-h", host, "-p", str(port), "-d", str(root), *arguments]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    if not output:
        raise SystemExit(f"bench: {' '.join(command)} said nothing")
    result: dict[str, Any] = json.loads(output)
    result["lost"] = result["failed"] + result["stalled"]
    return result


Results = dict[str, list[dict[str, Any]]]


def run(scenario: Scenario, servers: Sequence[str], rounds: int, quick: bool, load: Path, root: Path, scratch: Path) -> Results:
    results: Results = {server: [] for server in servers}
    for _ in range(rounds):
        for server in servers:
            with running(server, root, scratch) as answering:
                result = measure(load, "127.0.0.1", answering.port, root, scenario.command(quick))
            result["us_per_packet"] = answering.cpu / max(result["pkts"], 1) * 1e6
            results[server].append(result)
    return results


def median(runs: Sequence[dict[str, Any]], figure: str) -> float:
    return float(statistics.median(run[figure] for run in runs))


def report(scenario: Scenario, results: Results) -> bool:
    """Print one table; whether all targets were met by one worker of ours."""
    print(f"\n{scenario.title}")
    print(
        f"  {'':12}{scenario.unit:>10}{'lost':>7}{'retx':>7}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs/packet':>15}   ours x1, x2 to it"
    )
    mine = [median(results[server], scenario.figure) for server in OURS]
    for server, runs in results.items():
        figures = [median(runs, name) for name in (scenario.figure, "lost", "retx", "p50", "p99", "us_per_packet")]
        ratios = "" if server in OURS or not figures[0] else "   ".join(f"{value / figures[0]:.2f}" for value in mine)
        columns = zip(figures, ("10.1f", "7.0f", "7.0f", "9.1f", "9.1f", "15.2f"), strict=True)
        print(f"  {server:12}" + "".join(f"{figure:{form}}" for figure, form in columns) + f"   {ratios}")
    met = True
    for target in scenario.targets:
        values = [median(results[server], target.figure) for server in OURS]
        peers = [server for server in results if server not in OURS and target.peer in (server, "best")]
        if not target.peer:
            what, good = f"{target.figure} is {target.at_least:g}", [value <= target.at_least for value in values]
        elif not peers:
            continue
        else:
            best = max(median(results[peer], target.figure) for peer in peers)
            what = f"{target.figure} >= {target.at_least:g} x {target.peer}"
            good = [value >= target.at_least * best for value in values]
        met = met and any(good)
        said = (f"{name} {'met' if ok else 'MISSED'}" for name, ok in zip(OURS, good, strict=True))
        print(f"  target: {what}: " + ", ".join(said))
    return met


def measure_running(arguments: argparse.Namespace, load: Path) -> None:
    """Only ours, wherever it runs: the files below its root, or names that it answers though no file has them."""
    host, _, port = arguments.ours.rpartition(":")
    for name in arguments.file or sorted(path.name for path in arguments.root.iterdir() if path.is_file()):
        for _ in range(arguments.rounds):
            options = ["-f", name, "-n", str(arguments.transfers), "-c", str(arguments.clients), "-b", "1468", "-T", "120"]
            if "%d" in name:
                options += ["-M", str(arguments.count)]
            if not arguments.compare:
                options += ["-X"]
            result = measure(load, host or "127.0.0.1", int(port), arguments.root or Path(), options)
            print(f"{name}: " + "  ".join(f"{key} {result[key]}" for key in ("MBps", "fps", "lost", "retx", "p50", "p99", "err")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, smaller files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="scenarios: " + ",".join(scenario.name for scenario in SCENARIOS))
    parser.add_argument("--peers", default=",".join(PEERS), help="which of them")
    parser.add_argument("--json", type=Path, help="write every result there, too")
    running_one = parser.add_argument_group("a server that runs already")
    running_one.add_argument("--ours", metavar="HOST:PORT")
    running_one.add_argument("--root", type=Path, help="its tftpboot, to compare with")
    running_one.add_argument("--file", action="append", help="fetch this name (again: several); a %%d in it counts up")
    running_one.add_argument("--count", type=int, default=1, help="... to this number")
    running_one.add_argument("--clients", type=int, default=200)
    running_one.add_argument("--transfers", type=int, default=20000)
    running_one.add_argument("--no-compare", dest="compare", action="store_false", help="contents are no files: don't compare")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(20000, hard), hard))
    if arguments.serve:
        serve(arguments.serve, arguments.root)
        return 0
    if not arguments.ours:
        for peer in arguments.peers.split(","):
            peer_program(peer)  # while there still is a network to have it from
        enter_namespace()
    with tempfile.TemporaryDirectory(prefix="bootserver-bench-") as folder:
        scratch = Path(folder)
        scratch.chmod(0o755)
        load = build_load(scratch)
        if arguments.ours:
            measure_running(arguments, load)
            return 0
        return compare(arguments, load, scratch)


def enter_namespace() -> None:
    """Start again in a network namespace of our own: dnsmasq serves TFTP on port 69 only, which may be taken here."""
    if os.environ.get(INSIDE) != "1":
        os.environ[INSIDE] = "1"
        # tftpd-hpa does not start (getaddrinfo with AI_ADDRCONFIG) where loopback addresses are all there is.
        inside = 'ip link set lo up && ip address add 192.0.2.1/32 dev lo && exec "$@"'
        os.execvp("unshare", ["unshare", "--net", "sh", "-c", inside, "sh", sys.executable, *sys.argv])


def compare(arguments: argparse.Namespace, load: Path, scratch: Path) -> int:
    root = scratch / "tftpboot"
    root.mkdir()
    make_files(root)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}")
    present = arguments.peers.split(",")
    only = set(arguments.only.split(",")) - {""}
    everything: dict[str, Results] = {}
    met = True
    for scenario in SCENARIOS:
        if only and scenario.name not in only:
            continue
        servers = [*OURS, *(peer for peer in present if peer in scenario.peers)]
        rounds = 1 if arguments.quick else arguments.rounds
        results = everything[scenario.name] = run(scenario, servers, rounds, arguments.quick, load, root, scratch)
        met = report(scenario, results) and met
        sys.stdout.flush()
    if arguments.json:
        arguments.json.write_text(json.dumps(everything, indent=1))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
