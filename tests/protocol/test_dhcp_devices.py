"""Switches and BMCs on a management network of their own: real DHCP clients that ask as devices do, and what they fetch then."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bootserver.cluster import discovery
from bootserver.cluster.change import open_reader
from bootserver.cluster.events import Kind
from tests.cluster import mac, wait_until
from tests.frontend import PATIENCE, Frontend, prepared
from tests.protocol.test_dhcp import needs, variables

FRONTEND, GATEWAY = "10.78.0.1", "10.78.0.2"
# What ONIE's discovery runs (rootconf/default/bin/discover and lib/onie/functions of its source), for a made-up machine: its user
# class, its own sub-options of 125, and the list of what it asks for.
ONIE = (
    "-V", "onie_vendor:x86_64-acme_s1-r0", "-x", "77:6f6e69655f646863705f757365725f636c617373",
    "-x", "125:0000A67F14" + "030761636D655F7331" + "04067838365F3634" + "050130",
    *(word for code in (7, 43, 54, 66, 67, 72, 114, 125) for word in ("-O", str(code))),
)  # fmt: skip
IDRAC = ("-V", "iDRAC", "-x", "hostname:idrac-ABC1234", "-O", "ntpsrv", "-O", "tzdbstr", "-O", "search")
CONFIGURATION = b"hostname switch-0-0\n"


class Device:
    """A device with one port on the management network, in a namespace of its own.

    :param folder: where its clients keep their files.
    """

    def __init__(self, frontend: Frontend, folder: Path) -> None:
        self.name = f"{frontend.namespace.name}-d"
        self._folder = folder
        self._script = folder / "script"
        self._script.write_text(
            "#!/bin/sh\n# udhcpc says its case in $1 and its facts in $ip, dhclient in $reason and $new_ip_address\n"
            "case ${reason:-$1} in bound|BOUND) ;; *) exit 0;; esac\n"
            'ip addr flush dev eth0; ip addr add "${ip:-$new_ip_address}/24" dev eth0\n'
            f"env > {folder}/env.new && mv {folder}/env.new {folder}/env\n"
        )
        self._script.chmod(0o755)
        _ip("netns", "add", self.name)
        try:
            _ip("-n", frontend.namespace.name, "link", "add", "mgmt0", "type", "veth", "peer", "name", "eth0", "netns", self.name)
            _ip("-n", frontend.namespace.name, "addr", "add", f"{FRONTEND}/24", "dev", "mgmt0")
            _ip("-n", frontend.namespace.name, "link", "set", "mgmt0", "up")
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=False)

    def power_on(self, number: int) -> None:
        """It starts with the MAC of that number, and no address."""
        for change in (["down"], ["address", str(mac(number))], ["up"]):
            _ip("-n", self.name, "link", "set", "eth0", *change)
        _ip("-n", self.name, "addr", "flush", "dev", "eth0")
        (self._folder / "env").unlink(missing_ok=True)

    def udhcpc(self, *options: str) -> dict[str, str]:
        """busybox' client, which ONIE and many BMCs run. :returns: what it was told."""
        done = self.run(
            "busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "4", "-T", "2", "-s", str(self._script), *options
        )
        assert done.returncode == 0, done.stderr
        return variables(self._folder / "env")

    def dhclient(self, configuration: str) -> dict[str, str]:
        """ISC's client, which NX-OS, EOS, Cumulus Linux and SONiC are built on. :returns: what it was told."""
        settings = self._folder / "dhclient.conf"
        settings.write_text(configuration)
        files = ("-cf", settings, "-sf", self._script, "-lf", self._folder / "leases", "-pf", self._folder / "pid")
        (self._folder / "leases").unlink(missing_ok=True)
        words = [*self._inside, "dhclient", "-4", "-1", "-d", *map(str, files), "eth0"]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
            end = time.monotonic() + PATIENCE
            while not (self._folder / "env").exists() and client.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
            client.terminate()
        return variables(self._folder / "env")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._inside, *words], capture_output=True, text=True, timeout=60, check=False)

    def fetch(self, *words: str) -> bytes:
        """:param words: a program that writes a file to the path that comes last."""
        target = self._folder / "fetched"
        target.unlink(missing_ok=True)
        done = self.run(*words, str(target))
        assert done.returncode == 0, done.stderr
        return target.read_bytes()

    @property
    def _inside(self) -> Sequence[str]:
        return ("ip", "netns", "exec", self.name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@pytest.fixture(scope="module")
def frontend(own_network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frontend]:
    """A service with a management network beside the nodes' own, which begins to serve when :func:`device` is there."""
    with prepared(tmp_path_factory.mktemp("frontend")) as made:
        made.cli("network", "add", "mgmt", "10.78.0.0/24", "--frontend", FRONTEND, "--gateway", GATEWAY, "--device", "mgmt0")
        settings = {
            "ntp-servers": ("@frontend@ 10.78.0.3",),
            "domain-search": ("mgmt.example.org example.org",),
            "static-routes": ("10.77.0.0/24=@frontend@",),
            "timezone": ("Europe/Berlin",),
            "boot-file": ("switches/@name@.cfg", "--appliance", "switch"),
            "default-url": ("http://@frontend@/onie-installer", "--appliance", "switch"),
            "log-servers": ("@frontend@", "--appliance", "switch"),
            "vendor-specific": ("-f @name@.xml -i @frontend@ -n bmcs -s 5", "--appliance", "bmc"),
        }
        for name, words in settings.items():
            made.cli("attr", "set", *words[1:], "--", f"dhcp.{name}", words[0])
        made.file("switches/switch-0-0.cfg", CONFIGURATION)
        made.file("onie-installer", b"#!/bin/sh\necho a network operating system\n")
        yield made


@pytest.fixture(scope="module")
def device(frontend: Frontend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    made = Device(frontend, tmp_path_factory.mktemp("device"))
    frontend.start()
    yield made
    made.remove()


def discovered(frontend: Frontend, device: Device, appliance: str, *options: str) -> dict[str, str]:
    """Plug it in while a discovery is open. :returns: what it was told by its first answer."""
    words = ("--appliance", appliance, "--network", "mgmt", "--rank", "0", "--batch", "--count", "1")
    command = frontend.start_command("insert-ethers", *words)
    wait_until("the discovery is open", lambda: _is_open(frontend) or not command.alive, PATIENCE)
    told = device.udhcpc(*options)
    assert command.wait(PATIENCE) == 0
    assert command.text() == f"Inserted node {appliance}-0-0\n"
    return told


def _is_open(frontend: Frontend) -> bool:
    with open_reader(frontend.databases.cluster) as reader:
        return discovery.current(reader) is not None


def add(frontend: Frontend, appliance: str, rank: int, number: int) -> str:
    """A machine whose MAC is known. :returns: its address."""
    words = ("--appliance", appliance, "--network", "mgmt", "--rank", str(rank), "--batch", "--mac", str(mac(number)))
    frontend.cli("insert-ethers", *words)
    return str(frontend.seen(f"{appliance}-0-{rank}").interfaces[0].ip)


def test_a_switch_with_onie_is_discovered_and_finds_its_operating_system(frontend: Frontend, device: Device) -> None:
    device.power_on(101)
    told = discovered(frontend, device, "switch", *ONIE)
    assert (told["hostname"], told["router"], told["opt7"]) == ("switch-0-0", GATEWAY, socket.inet_aton(FRONTEND).hex())
    url = bytes.fromhex(told["opt114"]).decode()
    assert url == f"http://{FRONTEND}/onie-installer"
    assert device.fetch("curl", "-sSf", url, "-o") == b"#!/bin/sh\necho a network operating system\n"
    assert frontend.told(Kind.FILE_SENT, path="onie-installer").node == "switch-0-0"
    assert frontend.told(Kind.SEEN, network="mgmt", **{"vendor class": "onie_vendor:x86_64-acme_s1-r0"}).mac == mac(101)


@needs("dhclient")
def test_a_switch_that_asks_for_little_is_told_its_configuration_and_fetches_it(frontend: Frontend, device: Device) -> None:
    frontend.file("switches/switch-0-1.cfg", b"hostname switch-0-1\n")
    address = add(frontend, "switch", 1, 102)
    device.power_on(102)
    told = device.dhclient("request subnet-mask, routers, host-name;\n")
    assert (told["new_ip_address"], told["new_host_name"], told["new_routers"]) == (address, "switch-0-1", GATEWAY)
    assert (told["new_filename"], told["new_bootfile_name"], told["new_next_server"]) == (
        "switches/switch-0-1.cfg", "switches/switch-0-1.cfg", FRONTEND,
    )  # fmt: skip
    assert not {"new_ntp_servers", "new_tftp_server_name"} & told.keys(), "it did not ask for these"
    fetched = device.fetch("busybox", "tftp", "-g", "-r", told["new_filename"], told["new_next_server"], "-l")
    assert fetched == b"hostname switch-0-1\n"
    assert frontend.told(Kind.FILE_SENT, path="switches/switch-0-1.cfg").node == "switch-0-1"
    assert frontend.events(Kind.ACKNOWLEDGED, file="switches/switch-0-1.cfg")[-1].node == "switch-0-1"


@needs("dhclient")
def test_a_switch_that_asks_for_servers_is_told_ours(frontend: Frontend, device: Device) -> None:
    add(frontend, "switch", 2, 103)
    device.power_on(103)
    told = device.dhclient(
        "option tftp-server-address code 150 = array of ip-address;\n"
        "option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;\n"
        "request subnet-mask, routers, tftp-server-name, tftp-server-address, ntp-servers, domain-search,\n"
        "  rfc3442-classless-static-routes;\n"
    )
    assert (told["new_tftp_server_name"], told["new_tftp_server_address"]) == (FRONTEND, FRONTEND)
    assert told["new_ntp_servers"] == f"{FRONTEND} 10.78.0.3"
    assert told["new_domain_search"] == "mgmt.example.org. example.org."
    # 10.77.0.0/24 by the frontend; and the router, which a client that reads this option reads nowhere else.
    assert told["new_rfc3442_classless_static_routes"] == "24 10 77 0 10 78 0 1 0 10 78 0 2"


def test_a_bmc_is_discovered_and_gets_its_name_its_time_and_no_boot_file(frontend: Frontend, device: Device) -> None:
    device.power_on(104)
    told = discovered(frontend, device, "bmc", *IDRAC)
    assert (told["hostname"], told["ip"]) == ("bmc-0-0", str(frontend.seen("bmc-0-0").interfaces[0].ip))
    assert (told["ntpsrv"], told["tzdbstr"]) == (f"{FRONTEND} 10.78.0.3", "Europe/Berlin")
    assert told["search"] == "mgmt.example.org example.org"
    assert bytes.fromhex(told["opt43"]) == f"-f bmc-0-0.xml -i {FRONTEND} -n bmcs -s 5".encode()
    assert not {"boot_file", "bootfile", "opt114"} & told.keys()
    frontend.told(Kind.REGISTERED, **{"vendor class": "iDRAC", "host name": "idrac-ABC1234"})
    device.power_on(104)
    assert device.udhcpc(*IDRAC)["ip"] == told["ip"], "it keeps its address"


def test_a_change_of_a_setting_is_told_at_the_next_request(frontend: Frontend, device: Device) -> None:
    add(frontend, "bmc", 3, 105)
    device.power_on(105)
    assert "mtu" not in device.udhcpc("-O", "mtu")
    frontend.cli("attr", "set", "dhcp.mtu", "9000", "bmc-0-3")

    def told() -> bool:
        device.power_on(105)
        return device.udhcpc("-O", "mtu").get("mtu") == "9000"

    wait_until("it is told its MTU", told, PATIENCE)


def test_a_node_that_installs_keeps_its_loader_and_that_is_logged(frontend: Frontend, device: Device) -> None:
    frontend.cli("attr", "set", "dhcp.boot-file", "switches/@name@.cfg", "--appliance", "compute")
    add(frontend, "compute", 0, 106)
    device.power_on(106)
    told = device.udhcpc("-V", "PXEClient:Arch:00000:UNDI:002001", "-x", "0x5d:0000", "-O", "ntpsrv", "-O", "bootfile")
    assert (told["boot_file"], told["bootfile"], told["ntpsrv"]) == ("pxelinux.0", "pxelinux.0", f"{FRONTEND} 10.78.0.3")
    frontend.says("DHCP setting left out: dhcp.boot-file is not for appliance compute")
