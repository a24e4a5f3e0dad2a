"""Where benchmarks run: a network namespace of their own with the product in it, and servers to compare with.

Servers come from Debian's packages, unpacked into a cache folder and not installed: none of them starts by itself on the
machine that is measured, and those that conflict can be compared all the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
CACHE = REPOSITORY / ".cache" / "bench"
INSIDE = "BOOTSERVER_BENCH_INSIDE"  # environment: the namespace has been made


def enter_namespace(address: str) -> None:
    """Start this program again in a network namespace with a bridge ``br0`` that has `address`; it ends with the program."""
    if os.environ.get(INSIDE) == "1":
        return
    os.environ[INSIDE] = "1"
    make = (
        "ip link set lo up && ip link add br0 type bridge stp_state 0 forward_delay 0 && "
        f'ip address add {address} dev br0 && ip link set br0 up && exec "$@"'
    )
    os.execvp("unshare", ["unshare", "--net", "sh", "-c", make, "sh", sys.executable, *sys.argv])


def program(package: str, path: str) -> Path:
    """A program of a Debian package, unpacked."""
    unpacked = CACHE / package / path
    if not unpacked.exists():
        folder = CACHE / package
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True, capture_output=True)
        (archive,) = folder.glob("*.deb")
        subprocess.run(["dpkg", "-x", str(archive), str(folder)], check=True)
    return unpacked


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that the service's user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="bootserver-bench-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Service:
    """The product, at work. :ivar pid: the supervisor's."""

    config: Path
    state: Path
    pid: int

    def parts(self) -> dict[int, str]:
        """Its processes by what they are called."""
        found = {}
        todo = [self.pid]
        while todo:
            children = Path(f"/proc/{(pid := todo.pop())}/task/{pid}/children").read_text().split()
            for child in map(int, children):
                found[child] = Path(f"/proc/{child}/comm").read_text().strip()
                todo.append(child)
        return found


def init(folder: Path, settings: str = "") -> Path:
    """``bootserver init`` in a folder. :returns: the configuration."""
    config = folder / "bootserver.toml"
    bootserver(config, "init", "--interface", "br0", "--state", str(folder / "state"), "--no-installer")
    if settings:
        config.write_text(config.read_text() + settings)
    return config


def bootserver(config: Path, *words: str) -> str:
    command = [sys.executable, "-m", "bootserver", "--config", str(config), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY).stdout


@contextmanager
def service(config: Path) -> Iterator[Service]:
    """``bootserver serve``, from "ready" on."""
    log = config.with_name("serve.log")
    with log.open("w") as output:
        command = [sys.executable, "-m", "bootserver", "--config", str(config), "serve"]
        process = subprocess.Popen(command, stderr=output, stdout=output, cwd=REPOSITORY)
    try:
        while "ready after" not in log.read_text():
            if process.poll() is not None:
                raise SystemExit(f"bench: the service ended:\n{log.read_text()}")
            time.sleep(0.05)
        yield Service(config, config.parent / "state", process.pid)
    finally:
        process.terminate()
        process.wait()


def cpu_seconds(pids: list[int]) -> float:
    """Processor time that processes and their ended children took."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(int(fields[index]) for index in (11, 12, 13, 14))
    return ticks / os.sysconf("SC_CLK_TCK")


def anonymous_megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) / 1024
    return 0.0
