"""`dhcp.mode = "off"` beside real servers: dnsmasq, Kea and ISC dhcpd on a machine of their own, by their logs and scripts."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootserver.cluster import discovery, nodes
from bootserver.cluster.change import open_reader
from bootserver.cluster.events import Kind
from bootserver.cluster.load import load_view
from tests.cluster import mac, wait_until
from tests.frontend import PATIENCE, Frontend, prepared
from tests.lab.process import REPOSITORY, Process
from tests.lab.site_dhcp import SiteServer, Station
from tests.protocol.test_insert_ethers import Machine

RUN_SCRIPT = Path("/usr/lib/x86_64-linux-gnu/kea/hooks/libdhcp_run_script.so")
LEASES = "10.77.0.100", "10.77.0.150"


class Site:
    """A site's own DHCP server, its log and its script.

    :ivar log: followed. :ivar aside: where it writes when its log is not what is tested.
    """

    def __init__(self, frontend: Frontend, station: Station) -> None:
        self.frontend = frontend
        self._station = station
        self.folder = frontend.state.parent / "site"
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o777)
        self.log, self.aside = self.folder / "log", self.folder / "aside"
        self.hosts, self.pid_file = self.folder / "hosts", self.folder / "pid"
        self._process: Process | None = None

    def script(self) -> Path:
        """What dnsmasq and Kea call: neither gives arguments of ours, and Kea not even a PATH."""
        path = self.folder / "event.sh"
        command = f"{sys.executable} -m bootserver --config {self.frontend.config} dhcp-event"
        path.write_text(f'#!/bin/sh\nexport PYTHONPATH={REPOSITORY}\nexec {command} "$@" 2>>{self.folder}/script.log\n')
        path.chmod(0o755)
        return path

    @contextlib.contextmanager
    def serving(self, server: SiteServer, *, by_log: bool) -> Iterator[Process]:
        if not server.is_here:
            pytest.skip(f"needs: apt-get install {server.package}")
        log = self.log if by_log else self.aside
        said = self.folder / "said"
        said.unlink(missing_ok=True)
        match server:
            case SiteServer.DNSMASQ:
                command = self.dnsmasq(log, script=not by_log)
            case SiteServer.KEA:
                command = self.kea(log, script=not by_log)
            case SiteServer.ISC:
                command = self.dhcpd()
        environment = {"KEA_PIDFILE_DIR": str(self.folder), "KEA_LOCKFILE_DIR": str(self.folder)}
        process = Process(server.program, self._station.command(*command), said, environment=environment)
        stopped = threading.Event()
        if server is SiteServer.ISC:
            threading.Thread(target=_syslogd, args=(said, log, stopped), daemon=True).start()
        try:
            wait_until(
                f"{server.program} serves",
                lambda: any(_has(each, server.ready) for each in (said, log)),
                PATIENCE,
            )
            yield process
        finally:
            process.stop()
            stopped.set()

    def dnsmasq(self, log: Path, *, script: bool) -> list[str]:
        self.hosts.mkdir(exist_ok=True)
        called = [f"--dhcp-script={self.script()}"] if script else []
        return [
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", f"--log-facility={log}", "--interface=eth0",
            "--bind-interfaces", f"--dhcp-leasefile={self.folder}/leases", "--no-ping", "--dhcp-authoritative",
            f"--dhcp-range={LEASES[0]},{LEASES[1]},255.255.255.0,1h", f"--pid-file={self.pid_file}",
            f"--dhcp-hostsdir={self.hosts}", *called,
        ]  # fmt: skip

    def kea(self, log: Path, *, script: bool) -> list[str]:
        called = [{"library": str(RUN_SCRIPT), "parameters": {"name": str(self.script()), "sync": False}}]
        settings = {
            "interfaces-config": {"interfaces": ["eth0"]},
            "lease-database": {"type": "memfile", "persist": False},
            "hooks-libraries": called if script else [],
            "subnet4": [{"subnet": "10.77.0.0/24", "pools": [{"pool": " - ".join(LEASES)}]}],
            "loggers": [{"name": "kea-dhcp4", "severity": "INFO", "output_options": [{"output": str(log)}]}],
        }
        (self.folder / "kea.json").write_text(json.dumps({"Dhcp4": settings}))
        return ["kea-dhcp4", "-c", str(self.folder / "kea.json")]

    def dhcpd(self) -> list[str]:
        leases, file = self.folder / "dhcpd.leases", self.folder / "dhcpd.conf"
        leases.write_text("")
        file.write_text(
            "authoritative; ping-check false; default-lease-time 3600;\n"
            f"subnet 10.77.0.0 netmask 255.255.255.0 {{ range {LEASES[0]} {LEASES[1]}; }}\n"
        )
        return ["dhcpd", "-4", "-f", "-d", "-cf", str(file), "-lf", str(leases), "--no-pid", "eth0"]


def _syslogd(said: Path, log: Path, stopped: threading.Event) -> None:
    """Gives what a program says the head that a syslog daemon gives it."""
    at = 0
    while not stopped.wait(0.02):
        text = said.read_bytes() if said.exists() else b""
        whole = text[at : text.rfind(b"\n") + 1]
        at += len(whole)
        with log.open("ab") as file:
            for line in whole.splitlines():
                file.write(time.strftime("%b %e %H:%M:%S fe dhcpd[1]: ").encode() + line + b"\n")


def _has(path: Path, words: str) -> bool:
    text = path.read_text(errors="replace") if path.exists() else ""
    return any(word.replace(" +", "") in text.replace("   ", "") for word in words.split("|"))


@pytest.fixture(scope="module")
def site(own_network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with prepared(tmp_path_factory.mktemp("frontend")) as frontend:
        station = Station(frontend.namespace, "site0", addresses=["10.77.0.2/24"])
        with station:
            made = Site(frontend, station)
            settings = f'mode = "off"\nfollow = ["{made.log}"]\nhostsdir = "{made.hosts}"\ndnsmasq_pid_file = "{made.pid_file}"\n'
            frontend.config.write_text(frontend.config.read_text().replace('mode = "server"\n', settings))
            frontend.make_installable()
            frontend.cli("dhcp", "sync")  # makes the folder
            frontend.start()
            yield made
            frontend.stop()
        shutil.rmtree(made.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def machine(site: Site) -> Iterator[Machine]:
    made = Machine(site.frontend)
    yield made
    made.remove()


@pytest.fixture(autouse=True)
def _no_discovery_stays_open(site: Site) -> Iterator[None]:
    yield
    site.frontend.cli("insert-ethers", "--close", status=None)


def is_open(frontend: Frontend) -> None:
    with frontend.change() as change:
        discovery.open_discovery(change, discovery.Request(), "test")
    time.sleep(0.3)  # until the follower's view shows it


def node_of(frontend: Frontend, number: int) -> str | None:
    with open_reader(frontend.databases.cluster) as reader:
        found = load_view(reader, 0).by_mac.get(mac(number))
    return None if found is None else found[0].name


@pytest.mark.parametrize(
    ("number", "server", "by_log"),
    [
        (1, SiteServer.DNSMASQ, True),
        (2, SiteServer.DNSMASQ, False),
        (3, SiteServer.KEA, True),
        (4, SiteServer.KEA, False),
        (5, SiteServer.ISC, True),
    ],
    ids=["dnsmasq's log", "dnsmasq's script", "Kea's log", "Kea's hook", "dhcpd's log"],
)
def test_a_machine_that_a_sites_server_sees_becomes_a_node_with_the_address_that_it_was_given(
    site: Site, machine: Machine, number: int, server: SiteServer, by_log: bool
) -> None:
    frontend = site.frontend
    if server is SiteServer.KEA and not by_log and not RUN_SCRIPT.exists():
        pytest.skip(f"needs {RUN_SCRIPT}")
    with site.serving(server, by_log=by_log):
        is_open(frontend)
        address = machine.power_on(number)
        assert address is not None
        wait_until("it is a node", lambda: node_of(frontend, number) is not None, PATIENCE)
        name = node_of(frontend, number)
        assert name is not None
        wait_until(f"{name} has {address}", lambda: str(frontend.seen(name).interfaces[0].ip) == address, PATIENCE)
        assert frontend.seen(name).install is not None  # armed, as by insert-ethers beside our own server
        seen = [event for event in frontend.events(Kind.SEEN) if event.mac == mac(number)]
        assert {event.detail["by"] for event in seen} == {server.program.removesuffix("-dhcp4")}
        assert seen[0].detail["network"] == "private"


def test_a_node_that_boots_again_is_told_of_and_a_stranger_is_not_made_a_node(site: Site, machine: Machine) -> None:
    with site.serving(SiteServer.ISC, by_log=True):
        with site.frontend.change() as change:
            machine_ = discovery.Machine(mac(11), None, "private", netboots=True)
            name = discovery.register_at_once(change, discovery.Request(), machine_, ip=None, name=None, cpus=1).name
        time.sleep(0.3)
        address = machine.power_on(11)

        def told() -> list[str | None]:
            events = site.frontend.events(Kind.ACKNOWLEDGED, by="dhcpd", address=address)
            return [event.node for event in events if event.mac == mac(11)]

        wait_until("it is told of", lambda: told() == [name], PATIENCE)
        assert machine.power_on(12) is not None
        assert site.frontend.told(Kind.IGNORED, by="dhcpd", because="unknown, and no discovery is open").mac == mac(12)
        assert node_of(site.frontend, 12) is None


def test_dnsmasq_gives_a_node_its_own_address_as_soon_as_it_is_one_and_forgets_it_when_it_goes(
    site: Site, machine: Machine
) -> None:
    frontend = site.frontend
    with site.serving(SiteServer.DNSMASQ, by_log=True) as dnsmasq:
        with frontend.change() as change:
            found = discovery.Machine(mac(21), None, "private", netboots=True)
            name = discovery.register_at_once(change, discovery.Request(), found, ip=None, name=None, cpus=1).name
        address = str(frontend.seen(name).interfaces[0].ip)
        entry = site.hosts / f"bootserver.{name}"
        wait_until("its entry is there", entry.exists, PATIENCE)
        assert entry.stat().st_mode & 0o777 == 0o644
        assert entry.read_text() == f"{mac(21)},{address},{name}\n"
        wait_until("dnsmasq gives it its address", lambda: machine.power_on(21) == address, PATIENCE)
        before = site.log.read_text().count("read ")
        with frontend.change() as change:
            nodes.remove(change, nodes.get(change, name))
        wait_until("its entry is gone", lambda: not entry.exists(), PATIENCE)
        frontend.says("reads its hosts again")
        wait_until("dnsmasq has read them", lambda: site.log.read_text().count("read ") > before, PATIENCE)
        assert dnsmasq.alive, (dnsmasq.returncode, site.log.read_text()[-2500:])
        wait_until("dnsmasq has forgotten it", lambda: machine.power_on(21) != address, PATIENCE)


def test_what_is_no_call_of_a_servers_is_one_line_and_an_event(site: Site) -> None:
    done = site.frontend.cli("dhcp-event", "nonsense", status=2)
    assert done.stderr.startswith("bootserver: 'nonsense' is nothing that dnsmasq")
    assert done.stderr.count("\n") == 1
    wait_until(
        "it is told of",
        lambda: any("dhcp-event: 'nonsense'" in str(event.detail["because"]) for event in site.frontend.events(Kind.ALARM)),
        PATIENCE,
    )


def test_only_root_and_a_servers_group_may_tell(site: Site) -> None:
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    told = [
        sys.executable,
        "-c",
        f"import socket; socket.socket(1, 2).connect({str(site.frontend.state / 'run' / 'dhcp-event.sock')!r})",
    ]
    done = site.frontend.namespace.run([*nobody, *told])
    assert "PermissionError" in done.stderr


def test_the_part_that_reads_is_no_root_and_its_hand_may_little(site: Site) -> None:
    parts = {name: pid for pid, name in site.frontend.processes().items() if name.startswith("bs-follower")}
    assert set(parts) == {"bs-follower", "bs-follower-han"}

    def status(name: str, key: str) -> str:
        lines = Path(f"/proc/{parts[name]}/status").read_text().splitlines()
        return next(line.split()[1] for line in lines if line.startswith(f"{key}:"))

    assert status("bs-follower", "Uid") != "0"
    assert int(status("bs-follower", "CapEff"), 16) == 0
    hand = int(status("bs-follower-han", "CapEff"), 16)
    assert not hand & 1 << 21  # CAP_SYS_ADMIN
    assert not hand & 1 << 5  # CAP_KILL


def test_a_part_or_a_hand_that_dies_is_started_again(site: Site) -> None:
    for victim in ("bs-follower-han", "bs-follower"):
        before = set(site.frontend.processes())
        pid = next(pid for pid, name in site.frontend.processes().items() if name == victim)
        os.kill(pid, 9)

        def both_are_new(before: set[int] = before) -> bool:
            now = {name: pid for pid, name in site.frontend.processes().items() if name.startswith("bs-follower")}
            return set(now) == {"bs-follower", "bs-follower-han"} and not set(now.values()) & before

        wait_until(f"both run again after {victim} was killed", both_are_new, PATIENCE)
    time.sleep(0.5)
    number = 40
    with site.log.open("a") as log:
        log.write(f"Nov 28 17:20:36 fe dhcpd[1]: DHCPDISCOVER from {mac(number)} via eth0\n")
    wait_until(
        "the log is followed", lambda: any(event.mac == mac(number) for event in site.frontend.events(Kind.IGNORED)), PATIENCE
    )


def test_a_node_removed_while_the_service_was_down_goes_by_sync(site: Site) -> None:
    frontend = site.frontend
    stale = site.hosts / "bootserver.gone-0-0"
    other = site.hosts / "printer"
    other.write_text("52:54:00:00:00:77,10.77.0.77,printer\n")
    stale.write_text("52:54:00:00:00:78,10.77.0.78,gone-0-0\n")
    with site.serving(SiteServer.DNSMASQ, by_log=True) as dnsmasq:
        assert "1 removed" in frontend.cli("dhcp", "sync").stdout
        assert dnsmasq.alive
    assert not stale.exists()
    assert other.exists()
    stale.write_text("x\n")
    site.pid_file.write_text(f"{os.getpid()}\n")
    done = frontend.cli("dhcp", "sync", status=1)
    assert "is another program" in done.stderr
