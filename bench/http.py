"""HTTP: many slow downloads beside menus, and what a file costs, against nginx.

    python bench/http.py [--quick]

The aims: 1,000 downloads held open at a trickle change the p99 of a menu request by less than 3 x; a 64 MB file costs at
most 1.5 x nginx' processor time with the server that is built in, a 1 MB file at most 1.1 x where nginx is in front.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.cluster import fill
from bench.place import Service, cpu_seconds, enter_namespace, init, program, scratch, service

MENU = "/pxelinux.cfg/0A020001"
PLAIN = 8081
"""nginx alone."""
FRONT = 80
BEHIND = 8080


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--trickle", nargs=3, metavar=("HOST", "PORT", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.trickle:
        trickle(options.trickle[0], int(options.trickle[1]), int(options.trickle[2]))
        return 0
    program("nginx", "usr/sbin/nginx")  # while there still is a network to have it from
    enter_namespace("10.0.0.1/8")
    with scratch() as folder:
        config = init(folder)
        fill(config, 1000, IPv4Address("10.2.0.0"))
        make_files(folder / "state" / "tftpboot")
        with service(config) as running, nginx(folder, None):
            slowed = slow_readers(running, 200 if options.quick else 1000)
            large = compare("64 MB, built in", "/64m", 20 if options.quick else 100, web_pids(running), folder)
            compare("1 MB, built in", "/1m", 200 if options.quick else 1000, web_pids(running), folder)
        config.write_text(config.read_text() + f"\n[http]\nport = {BEHIND}\npublic_port = 80\nbehind_nginx = true\n")
        with service(config) as running, nginx(folder, folder / "state"):
            # nginx and all of ours, which turn what it says into events
            ours = [*nginx_pids(folder, "front"), *running.parts()]
            small = compare("1 MB, nginx in front", "/1m", 500 if options.quick else 4000, ours, folder, port=FRONT)
    met = slowed < 3 and large <= 1.5 and small <= 1.1
    print("aims met" if met else "aims missed")
    return 0 if met else 1


def make_files(root: Path) -> None:
    for name, size in {"64m": 64 << 20, "1m": 1 << 20, "60m": 60_000_000}.items():
        (root / name).write_bytes(os.urandom(1 << 20) * (size >> 20) + bytes(size & 0xFFFFF))
        (root / name).chmod(0o644)


# -- slow readers ------------------------------------------------------------------------------------------------


def slow_readers(running: Service, count: int) -> float:
    """:returns: the p99 of a menu request beside the downloads, as a multiple of that without."""
    alone = menu_latencies()
    reader = subprocess.Popen([sys.executable, __file__, "--trickle", "10.0.0.1", "80", str(count)], stdout=subprocess.PIPE)
    assert reader.stdout is not None
    reader.stdout.readline()  # all of them have their first bytes
    beside = menu_latencies()
    reader.terminate()
    reader.wait()
    ratio = beside[1] / alone[1]
    print(f"slow readers    menu p50/p99 {alone[0] * 1e3:.1f}/{alone[1] * 1e3:.1f} ms alone")
    beside_them = f"{beside[0] * 1e3:.1f}/{beside[1] * 1e3:.1f} ms beside {count} downloads at 10 kB/s"
    print(f"                {beside_them}: p99 x {ratio:.2f} (aim: under 3)")
    return ratio


def menu_latencies() -> tuple[float, float]:
    """p50 and p99 of 2,000 menu requests, one after the other, a connection each."""
    took = []
    for _ in range(2000):
        began = time.perf_counter()
        fetch("10.0.0.1", 80, MENU)
        took.append(time.perf_counter() - began)
    took.sort()
    return took[len(took) // 2], took[len(took) * 99 // 100]


def trickle(host: str, port: int, count: int) -> None:
    """Hold `count` downloads open, each at 10 kB/s, until SIGTERM."""
    sockets = []
    for _ in range(count):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        connection.connect((host, port))
        connection.sendall(b"GET /60m HTTP/1.0\r\n\r\n")
        sockets.append(connection)
    for connection in sockets:
        assert connection.recv(100), "the server hung up"
        connection.setblocking(False)
    print("all", flush=True)
    while True:
        began = time.monotonic()
        for connection in sockets:
            with suppress(BlockingIOError):
                assert connection.recv(10_000), "the server hung up"
        time.sleep(max(0.0, 1 - (time.monotonic() - began)))


# -- what a file costs -------------------------------------------------------------------------------------------


def compare(title: str, path: str, count: int, pids: list[int], folder: Path, port: int = 80) -> float:
    """:returns: our processor time for a file, as a multiple of that of nginx alone."""
    plain = nginx_pids(folder, "plain")
    ours, theirs = [], []
    for _ in range(3):
        ours.append(cost(pids, port, path, count))
        theirs.append(cost(plain, PLAIN, path, count))
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(
        f"{title:<21} {statistics.median(ours) * 1e6:.0f} us, nginx alone {statistics.median(theirs) * 1e6:.0f} us: x {ratio:.2f}"
    )
    return ratio


def cost(pids: list[int], port: int, path: str, count: int) -> float:
    before = cpu_seconds(pids)
    for _ in range(count):
        fetch("10.0.0.1", port, path)
    time.sleep(0.3)  # events are on their way
    return (cpu_seconds(pids) - before) / count


_BUFFER = bytearray(1 << 20)


def fetch(host: str, port: int, path: str) -> int:
    with socket.create_connection((host, port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        size = 0
        while got := connection.recv_into(_BUFFER):
            if size == 0:
                assert _BUFFER[9:12] == b"200", bytes(_BUFFER[:200])
            size += got
    return size


def web_pids(running: Service) -> list[int]:
    return [pid for pid, name in running.parts().items() if name == "bs-web"]


# -- nginx -------------------------------------------------------------------------------------------------------


@contextmanager
def nginx(folder: Path, front_of: Path | None) -> Iterator[None]:
    """nginx alone on PLAIN; and in front of the service, with the configuration that we ship, if there is a state folder."""
    binary = program("nginx", "usr/sbin/nginx")
    processes = [start_nginx(binary, folder, "plain", plain_configuration(folder))]
    if front_of is not None:
        shipped = (Path(__file__).parent.parent / "systemd" / "nginx-bootserver.conf").read_text()
        processes.append(start_nginx(binary, folder, "front", shipped.replace("/var/lib/bootserver", str(front_of))))
    try:
        time.sleep(0.5)
        yield
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def plain_configuration(folder: Path) -> str:
    return f"server {{ listen {PLAIN}; root {folder}/state/tftpboot; sendfile on; tcp_nopush on; access_log off; }}"


def start_nginx(binary: Path, folder: Path, name: str, server: str) -> subprocess.Popen[bytes]:
    work = folder / f"nginx-{name}"
    work.mkdir(exist_ok=True)
    temporary = "".join(f"{kind}_temp_path {work}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (work / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; user www-data; pid {work}/pid; error_log {work}/error.log;"
        f"events {{ worker_connections 4096; }} http {{ {temporary} {server} }}"
    )
    return subprocess.Popen([binary, "-c", str(work / "nginx.conf")], stderr=subprocess.DEVNULL)


def nginx_pids(folder: Path, name: str) -> list[int]:
    master = int((folder / f"nginx-{name}" / "pid").read_text())
    return [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]


if __name__ == "__main__":
    sys.exit(main())
