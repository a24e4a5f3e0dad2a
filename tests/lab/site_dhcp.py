"""Other machines on the lab's bridge: a namespace with a cable each; and a site's own DHCP server on one of them."""

from __future__ import annotations

import enum
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.namespace import BRIDGE, Namespace
from tests.lab.process import Process, patience

DEVICE = "eth0"


class Station:
    """A machine that is plugged into the lab's bridge.

    :ivar name: of its namespace.
    """

    def __init__(self, namespace: Namespace, name: str, *, mac: str | None = None, addresses: Sequence[str] = ()) -> None:
        self.name = f"{namespace.name}-{name}"
        self._lab = namespace.name
        self._plug = name
        self._mac = mac
        self._addresses = addresses

    def __enter__(self) -> Self:
        _ip("netns", "add", self.name)
        try:
            _ip("-n", self._lab, "link", "add", self._plug, "type", "veth", "peer", "name", DEVICE, "netns", self.name)
            _ip("-n", self._lab, "link", "set", self._plug, "master", BRIDGE, "up")
            if self._mac is not None:
                self.ip("link", "set", DEVICE, "address", self._mac)
            for device in ("lo", DEVICE):
                self.ip("link", "set", device, "up")
            for address in self._addresses:
                self.ip("addr", "add", address, "dev", DEVICE)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Pull the cable, and scrap the machine."""
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)
        subprocess.run(["ip", "-n", self._lab, "link", "del", self._plug], check=False, capture_output=True)

    def ip(self, *arguments: str) -> None:
        _ip("-n", self.name, *arguments)

    def command(self, *argv: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, *argv: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """A program on it, to its end."""
        return subprocess.run(self.command(*argv), check=False, capture_output=True, text=True, timeout=seconds)


class SiteServer(enum.Enum):
    """Which program it is.

    :ivar program: its executable. :ivar package: where Debian has it. :ivar ready: what it says when it serves.
    """

    DNSMASQ = ("dnsmasq", "dnsmasq-base", r"DHCP, sockets bound|DHCP, IP range")
    KEA = ("kea-dhcp4", "kea-dhcp4-server", "DHCP4_STARTED")
    ISC = ("dhcpd", "isc-dhcp-server", "Server starting service|Sending on +Socket")

    def __init__(self, program: str, package: str, ready: str) -> None:
        self.program = program
        self.package = package
        self.ready = ready

    @property
    def is_here(self) -> bool:
        return shutil.which(self.program) is not None


class SiteDhcp:
    """A DHCP server at `address` that gives out `first` to `last`.

    :param boot_file: what it tells every machine to boot, from itself; None: it knows of no boot files.
    :param next_server: where it says that boot files are; None: as the program does it by itself.
    """

    def __init__(
        self,
        namespace: Namespace,
        server: SiteServer,
        *,
        address: str = "10.77.0.2",
        first: str = "10.77.0.100",
        last: str = "10.77.0.150",
        boot_file: str | None = None,
        next_server: str | None = None,
    ) -> None:
        self.server = server
        self.address = address
        self._station = Station(namespace, "site0", addresses=[f"{address}/24"])
        self._first, self._last = first, last
        self._boot_file = boot_file
        self._next_server = next_server or (None if boot_file is None else address)
        # dnsmasq, Kea and dhcpd change to users of their own, who can't enter pytest's folders.
        self._folder = Path(tempfile.mkdtemp(prefix="bootserver-site-"))
        self._folder.chmod(0o777)
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self._station.__enter__()
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Start it and wait until it serves."""
        log = self._folder / "log"
        command = self._station.command(*self._command())
        environment = {"KEA_PIDFILE_DIR": str(self._folder), "KEA_LOCKFILE_DIR": str(self._folder)}
        self._process = Process(self.server.program, command, log, environment=environment)
        self._process.wait_for(self.server.ready, patience(5))

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None

    def log(self) -> str:
        log = self._folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def close(self) -> None:
        self.stop()
        self._station.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _command(self) -> list[str]:
        match self.server:
            case SiteServer.DNSMASQ:
                return self._dnsmasq()
            case SiteServer.KEA:
                return self._kea()
            case SiteServer.ISC:
                return self._isc()

    def _dnsmasq(self) -> list[str]:
        boot = [] if self._next_server is None else [f"--dhcp-boot={self._boot_file or ''},,{self._next_server}"]
        return [
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--log-facility=-", "--log-dhcp",
            f"--interface={DEVICE}", "--bind-interfaces", "--leasefile-ro", "--no-ping", "--dhcp-authoritative",
            f"--dhcp-range={self._first},{self._last},255.255.255.0,1h", f"--pid-file={self._folder}/pid", *boot,
        ]  # fmt: skip

    def _kea(self) -> list[str]:
        subnet = {
            "subnet": "10.77.0.0/24",
            "pools": [{"pool": f"{self._first} - {self._last}"}],
            "option-data": [{"name": "routers", "data": self.address}],
        }
        if self._boot_file is not None:
            subnet["boot-file-name"] = self._boot_file
        if self._next_server is not None:
            subnet["next-server"] = self._next_server
        settings = {
            "interfaces-config": {"interfaces": [DEVICE]},
            "lease-database": {"type": "memfile", "persist": False},
            "valid-lifetime": 3600,
            "subnet4": [subnet],
            "loggers": [{"name": "kea-dhcp4", "severity": "INFO", "output_options": [{"output": "stdout"}]}],
        }
        file = self._folder / "kea.json"
        file.write_text(json.dumps({"Dhcp4": settings}))
        return ["kea-dhcp4", "-c", str(file)]

    def _isc(self) -> list[str]:
        file, leases = self._folder / "dhcpd.conf", self._folder / "leases"
        leases.touch()
        boot = "" if self._boot_file is None else f'filename "{self._boot_file}"; '
        boot += "" if self._next_server is None else f"next-server {self._next_server};"
        file.write_text(
            f"authoritative; default-lease-time 3600; ping-check false; {boot}\n"
            f"subnet 10.77.0.0 netmask 255.255.255.0 {{ range {self._first} {self._last}; option routers {self.address}; }}\n"
        )
        return ["dhcpd", "-4", "-f", "-d", "-cf", str(file), "-lf", str(leases), "-pf", str(self._folder / "pid"), DEVICE]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
