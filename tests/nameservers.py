"""A site beside the cluster: a network namespace on the same bridge, and in it BIND and Knot as a site runs them."""

from __future__ import annotations

import base64
import itertools
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cluster import wait_until
from tests.lab.namespace import BRIDGE, Namespace
from tests.lab.process import Process

CLUSTER = "10.77.0.1"
BIND, KNOT, BIND_PRIMARY, KNOT_PRIMARY = "10.77.0.53", "10.77.0.54", "10.77.0.55", "10.77.0.56"
MEMBER = "10.77.0.60"
STRANGER = "192.0.2.9"
ZONES = ("cluster.test", "0.77.10.in-addr.arpa")
_numbers = itertools.count(1)


def what_is_missing() -> str | None:
    """Why there can be no site here; None when there can."""
    packages = {"named": "bind9", "knotd": "knot", "dig": "bind9-dnsutils", "kdig": "knot-dnsutils", "nsupdate": "bind9-dnsutils"}
    missing = sorted({package for program, package in packages.items() if not _where(program)})
    return f"needs: apt-get install --no-install-recommends {' '.join(missing)}" if missing else None


def _where(program: str) -> str | None:
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class Key:
    """A TSIG key, made for this test."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.secret = base64.b64encode(os.urandom(32)).decode()

    @property
    def bind(self) -> str:
        """As tsig-keygen prints it."""
        return f'key "{self.name}" {{\n\talgorithm hmac-sha256;\n\tsecret "{self.secret}";\n}};\n'

    @property
    def knot(self) -> str:
        return f"  - id: {self.name}\n    algorithm: hmac-sha256\n    secret: {self.secret}\n"

    @property
    def dig(self) -> str:
        return f"hmac-sha256:{self.name}:{self.secret}"


class Site:
    """:ivar transfer: the key of secondaries. :ivar update: that of updates."""

    def __init__(self, cluster: Namespace, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._name = f"{cluster.name}-site"
        self._processes: dict[str, Process] = {}
        self.transfer = Key("transfer")
        self.update = Key("update")

    def __enter__(self) -> Self:
        _ip("netns", "add", self._name)
        try:
            _ip("-n", self._name, "link", "set", "lo", "up")
            _ip("-n", self._name, "link", "add", "s0", "type", "veth", "peer", "name", "site", "netns", self._cluster.name)
            for address in (
                f"{MEMBER}/24",
                f"{BIND}/24",
                f"{KNOT}/24",
                f"{BIND_PRIMARY}/24",
                f"{KNOT_PRIMARY}/24",
                f"{STRANGER}/24",
            ):
                _ip("-n", self._name, "address", "add", address, "dev", "s0")
            _ip("-n", self._name, "link", "set", "s0", "up")
            _ip("-n", self._cluster.name, "link", "set", "site", "master", BRIDGE, "up")
            _ip("-n", self._cluster.name, "route", "add", "192.0.2.0/24", "dev", BRIDGE)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        for process in self._processes.values():
            process.stop()
        subprocess.run(["ip", "netns", "del", self._name], check=False, capture_output=True)

    # -- clients ------------------------------------------------------------------------------------------------------

    def run(self, *words: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ip", "netns", "exec", self._name, *words], check=False, capture_output=True, text=True, timeout=seconds
        )

    def dig(self, *words: str, server: str = CLUSTER, source: str = MEMBER) -> str:
        """What dig prints, in full."""
        return self.run("dig", f"@{server}", "-b", source, "+time=3", "+tries=2", *words).stdout

    def short(self, *words: str, server: str = CLUSTER, source: str = MEMBER) -> list[str]:
        """The data of the answer."""
        done = self.run("dig", f"@{server}", "-b", source, "+time=3", "+tries=2", "+short", *words)
        return [line for line in done.stdout.splitlines() if not line.startswith(";")]

    def says(self, server: str, name: str, kind: str, *wanted: str) -> None:
        """Wait until a server answers so."""
        wait_until(
            f"{server} says {wanted} for {name} {kind}",
            lambda: sorted(self.short(name, kind, server=server)) == sorted(wanted),
            30,
        )

    # -- servers ------------------------------------------------------------------------------------------------------

    def bind(self, address: str, zones: str, *, keys: Sequence[Key] | None = None) -> Process:
        """named, at an address of the site's. :param zones: the rest of its configuration; ``DIR`` is its folder."""
        folder = self._make(f"bind-{address}")
        kept = "".join(key.bind for key in (self.transfer, self.update) if keys is None or key in keys)
        (folder / "named.conf").write_text(
            f"""
options {{
    directory "{folder}"; pid-file none; session-keyfile none; listen-on port 53 {{ {address}; }}; listen-on-v6 {{ none; }};
    recursion no; dnssec-validation no; empty-zones-enable no; notify no; allow-transfer {{ any; }};
    query-source address {address}; transfer-source {address}; notify-source {address};
}};
controls {{ }};
{kept}
{zones.replace("DIR", str(folder))}
"""
        )
        argv = [_where("named") or "named", "-g", "-n", "1", "-c", str(folder / "named.conf")]
        return self._start(f"bind-{address}", argv, r"running$")

    def bind_primary(self, policy: str = 'grant "update" zonesub ANY;', zones: Sequence[str] = ZONES) -> Process:
        """One that takes updates."""
        folder = self._make(f"bind-{BIND_PRIMARY}")
        text = ""
        for zone in zones:
            _new_zone(folder / zone)
            text += f'zone "{zone}" {{ type primary; file "DIR/{zone}"; update-policy {{ {policy} }}; }};\n'
        return self.bind(BIND_PRIMARY, text)

    def knot(self, address: str, text: str) -> Process:
        """knotd, at an address of the site's. :param text: the rest of its configuration; ``DIR`` is its folder."""
        folder = self._make(f"knot-{address}")
        (folder / "knot.conf").write_text(
            f"server:\n    rundir: {folder}\n    listen: {address}@53\nlog:\n  - target: stderr\n    any: info\n"
            f"database:\n    storage: {folder}\nkey:\n{self.transfer.knot}{self.update.knot}{text.replace('DIR', str(folder))}"
        )
        return self._start(f"knot-{address}", [_where("knotd") or "knotd", "-c", str(folder / "knot.conf")], r"server started")

    def knot_primary(self) -> Process:
        """One that takes updates."""
        folder = self._make(f"knot-{KNOT_PRIMARY}")
        text = "acl:\n  - id: updates\n    key: update\n    action: update\nzone:\n"
        for zone in ZONES:
            _new_zone(folder / zone)
            text += f"  - domain: {zone}\n    storage: DIR\n    file: {zone}\n    acl: updates\n"
        return self.knot(KNOT_PRIMARY, text)

    def stop(self, process: Process) -> None:
        process.stop()

    def _make(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir(exist_ok=True, parents=True)
        return folder

    def _start(self, name: str, argv: Sequence[str], ready: str) -> Process:
        log = self._folder / f"{name}-{next(_numbers)}.log"
        process = Process(name, ["ip", "netns", "exec", self._name, *argv], log)
        self._processes[f"{name}-{process.pid}"] = process
        process.wait_for(ready, 30)
        return process


def _new_zone(path: Path) -> None:
    if not path.exists():
        path.write_text("$TTL 60\n@ IN SOA ns.site.example. root.site.example. 1 300 60 86400 60\n@ IN NS ns.site.example.\n")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
