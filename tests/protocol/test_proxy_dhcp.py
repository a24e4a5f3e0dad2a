"""Beside a site's own DHCP server, on a real wire: what a node is told, which address is believed, and who gets its ticket."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bootserver.cluster.discovery import Request, open_discovery
from bootserver.cluster.events import Kind
from bootserver.netboot.dhcp import wire
from bootserver.netboot.dhcp.request import MessageType, message_type
from bootserver.netboot.dhcp.wire import DhcpPacket
from tests.cluster import mac, wait_until
from tests.frontend import ADDRESS, PATIENCE, Frontend, prepared
from tests.lab.site_dhcp import DEVICE, SiteDhcp, SiteServer, Station
from tests.protocol.test_dhcp import Wire, message, needs

PXE = {60: b"PXEClient:Arch:00000:UNDI:002001", 93: b"\0\0", 55: bytes((1, 3, 6, 43, 54, 60, 66, 67))}
NUMBER = 7
CLIENT = mac(NUMBER)
# Sets the address as an installed system's script does; busybox' own would write resolv.conf on this machine.
SCRIPT = '#!/bin/sh\n[ "$1" = bound ] && ip addr add "$ip/24" dev "$interface" && echo "got $ip"\nexit 0\n'


@pytest.fixture(scope="module")
def frontend(own_network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frontend]:
    """A service beside another DHCP server."""
    with prepared(tmp_path_factory.mktemp("frontend")) as running:
        running.settings(dhcp={"mode": "proxy"}, dns={"enabled": False})
        running.start()
        yield running


@pytest.fixture(scope="module")
def site(frontend: Frontend) -> Iterator[SiteDhcp]:
    if not SiteServer.DNSMASQ.is_here:
        pytest.skip("needs: apt-get install dnsmasq-base")
    with SiteDhcp(frontend.namespace, SiteServer.DNSMASQ) as running:
        yield running


@pytest.fixture
def client(frontend: Frontend) -> Iterator[Station]:
    with Station(frontend.namespace, "client", mac=str(CLIENT)) as station:
        yield station


@pytest.fixture
def node(frontend: Frontend) -> Iterator[str]:
    """A node that we know by its MAC, and by an address that the site's server will not give it."""
    name = f"compute-0-{NUMBER}"
    frontend.cli("insert-ethers", "--batch", "--mac", str(CLIENT), "--rank", str(NUMBER))
    yield name
    frontend.cli("node", "remove", name, "--yes")


def lease(client: Station, folder: Path, *more: str) -> str:
    """Have udhcpc take an address and set it."""
    script = folder / "udhcpc.script"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    done = client.run("udhcpc", "-i", DEVICE, "-n", "-q", "-f", "-t", "5", "-T", "2", "-s", str(script), *more)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("got ")[2].strip()


def udp(station: Station, port: int, address: str = "0.0.0.0") -> socket.socket:
    def build() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, DEVICE.encode())
        made.settimeout(5)
        made.bind((address, port))
        return made

    made = Wire.make(station.name, build)
    assert isinstance(made, socket.socket)
    return made


def asked(link: socket.socket, packet: DhcpPacket, to: tuple[str, int]) -> tuple[DhcpPacket, Any]:
    """Send a question; :returns: the answer, and where it came from."""
    link.sendto(wire.encode(packet), to)
    answer, source = link.recvfrom(2048)
    return wire.decode(answer), source


def until_answered(link: socket.socket, packet: DhcpPacket, to: tuple[str, int]) -> DhcpPacket:
    """Ask again and again, as a machine does that is switched on just before somebody opens a discovery."""
    found: list[DhcpPacket] = []
    link.settimeout(0.5)

    def ask() -> bool:
        link.sendto(wire.encode(packet), to)
        try:
            answer = wire.decode(link.recv(2048))
            while 60 not in answer.options:  # the site's own
                answer = wire.decode(link.recv(2048))
        except TimeoutError:
            return False
        found.append(answer)
        return True

    wait_until("an answer of ours", ask, PATIENCE)
    return found[0]


def at_4011(client: Station, address: str, **fields: Any) -> tuple[DhcpPacket, Any]:
    with udp(client, 68, address) as link:
        return asked(link, message(MessageType.REQUEST, PXE, mac=CLIENT, ciaddr=address, **fields), (ADDRESS, 4011))


def address_of(frontend: Frontend, name: str) -> str:
    return str(frontend.seen(name).interfaces[0].ip)


# --- what is said ------------------------------------------------------------------------------------------------------


def test_a_machine_that_netboots_gets_an_offer_without_an_address_beside_the_sites(
    frontend: Frontend, site: SiteDhcp, client: Station, node: str
) -> None:
    with udp(client, 68) as link:
        link.sendto(wire.encode(message(options=PXE, mac=CLIENT, flags=0x8000)), ("255.255.255.255", 67))
        offers = [wire.decode(link.recvfrom(2048)[0]) for _ in range(2)]
    sites, ours = sorted(offers, key=lambda offer: offer.yiaddr == wire.NO_ADDRESS)
    assert socket.inet_ntoa(sites.options[54]) == site.address
    assert (socket.inet_ntoa(ours.siaddr), ours.options[60]) == (ADDRESS, b"PXEClient")


def test_other_machines_hear_nothing_of_us(frontend: Frontend, site: SiteDhcp, client: Station, node: str) -> None:
    with udp(client, 68) as link:
        link.settimeout(1)
        link.sendto(wire.encode(message(mac=CLIENT, flags=0x8000)), ("255.255.255.255", 67))
        assert socket.inet_ntoa(wire.decode(link.recv(2048)).options[54]) == site.address
        with pytest.raises(TimeoutError):
            link.recv(2048)


@needs("udhcpc")
def test_at_port_4011_a_node_hears_its_boot_file_and_its_address_is_known_by_then(
    frontend: Frontend, site: SiteDhcp, client: Station, node: str, tmp_path: Path
) -> None:
    address = lease(client, tmp_path)
    answer, source = at_4011(client, address)
    assert source == (ADDRESS, 4011)
    assert (message_type(answer), answer.options[67], answer.siaddr) == (
        MessageType.ACK,
        b"pxelinux.0\0",
        socket.inet_aton(ADDRESS),
    )
    assert address_of(frontend, node) == address
    # Asked again, as firmware does whose answer was lost, it is answered again.
    assert at_4011(client, address)[0].options[67] == b"pxelinux.0\0"
    frontend.told(Kind.ACKNOWLEDGED, address=address, because=f"the site's DHCP server {site.address} gave it")


@needs("udhcpc")
def test_an_installed_nodes_lease_is_learned_from_its_request_alone(
    frontend: Frontend, site: SiteDhcp, client: Station, node: str, tmp_path: Path
) -> None:
    address = lease(client, tmp_path)
    wait_until("the address is learned", lambda: address_of(frontend, node) == address, PATIENCE)


def test_an_unknown_machine_is_registered_and_offered_at_once(frontend: Frontend, client: Station) -> None:
    with frontend.change() as change:
        open_discovery(change, Request(rank=50, count=1), "test")
    with udp(client, 68) as link:
        question = message(options=PXE, mac=CLIENT, flags=0x8000)
        offer = until_answered(link, question, ("255.255.255.255", 67))
    assert (offer.yiaddr, offer.options[60]) == (wire.NO_ADDRESS, b"PXEClient")
    assert frontend.told(Kind.REGISTERED).node == "compute-0-50"
    frontend.cli("node", "remove", "compute-0-50", "--yes")


# --- what is believed --------------------------------------------------------------------------------------------------


def test_an_address_that_another_machine_answers_for_is_not_believed(frontend: Frontend, client: Station, node: str) -> None:
    """Who says to be the node, and is not, is answered with a boot file, which is no secret, and is no step further."""
    before = address_of(frontend, node)
    with Station(frontend.namespace, "liar", mac="02:00:00:00:00:66", addresses=["10.77.0.60/24"]) as liar:
        answer, _ = at_4011(liar, "10.77.0.60")
        assert answer.options[67] == b"pxelinux.0\0"
        alarm = frontend.told(Kind.ALARM, address="10.77.0.60")
    assert (alarm.node, alarm.detail["by"]) == (node, "02:00:00:00:00:66")
    assert address_of(frontend, node) == before


@needs("udhcpc")
def test_a_ticket_goes_to_the_node_and_not_to_who_has_its_address_by_now(
    frontend: Frontend, site: SiteDhcp, client: Station, node: str, tmp_path: Path
) -> None:
    frontend.make_installable()
    frontend.set_action(node, "install")
    address = lease(client, tmp_path)
    at_4011(client, address)
    menu = f"http://{ADDRESS}/pxelinux.cfg/01-{CLIENT.dashed}"
    curl = ("curl", "-s", "--max-time", "10", "-w", "%{http_code}", menu)
    wait_until("its menu", lambda: "200" in client.run(*curl).stdout[-3:], PATIENCE)
    assert "bootserver.ticket=" in client.run(*curl).stdout
    client.ip("addr", "flush", "dev", DEVICE)
    with Station(frontend.namespace, "heir", mac="02:00:00:00:00:67", addresses=[f"{address}/24"]) as heir:
        said = heir.run(*curl).stdout
    assert said.endswith("403") and "ticket=" not in said
    frontend.told(Kind.DENIED)


def test_an_offer_of_a_server_that_is_not_the_sites_is_an_alarm_and_not_believed(own_network: None, tmp_path: Path) -> None:
    with prepared(tmp_path) as frontend:
        frontend.settings(dhcp={"mode": "proxy", "site_servers": ["10.77.0.2"]}, dns={"enabled": False})
        frontend.start()
        frontend.cli("insert-ethers", "--batch", "--mac", str(CLIENT))
        with (
            Station(frontend.namespace, "client", mac=str(CLIENT), addresses=["10.77.0.98/24", "10.77.0.66/24"]) as client,
            udp(client, 68) as link,
        ):
            taken = {50: socket.inet_aton("10.77.0.98"), 54: socket.inet_aton("10.77.0.66")}

            def told() -> bool:
                # Until the DHCP part knows the node, too.
                link.sendto(wire.encode(message(MessageType.REQUEST, taken, mac=CLIENT)), ("255.255.255.255", 67))
                return bool(frontend.events(Kind.ALARM, server="10.77.0.66"))

            wait_until("an alarm", told, PATIENCE)
            [alarm] = frontend.events(Kind.ALARM)
        assert alarm.mac == CLIENT, "who answers for the server's address"
        assert address_of(frontend, "compute-0-0") != "10.77.0.98"


# --- relays ------------------------------------------------------------------------------------------------------------


def test_a_node_behind_a_relay_is_registered_answered_and_known_by_its_address(frontend: Frontend) -> None:
    relayed = mac(70)
    frontend.cli("network", "add", "far", "10.88.0.0/24", "--frontend", ADDRESS)
    frontend.namespace.run(["ip", "route", "add", "10.88.0.0/24", "via", "10.77.0.3"])
    addresses = ["10.77.0.3/24", "10.88.0.1/24", "10.88.0.50/24"]
    with Station(frontend.namespace, "relay", addresses=addresses) as relay, udp(relay, 67) as link:
        with frontend.change() as change:
            open_discovery(change, Request(rank=70, count=1, network="far"), "test")
        agent = {82: b"\1\4eth7"}
        offer = until_answered(link, message(options=PXE | agent, mac=relayed, giaddr="10.88.0.1"), (ADDRESS, 67))
        assert (offer.giaddr, offer.yiaddr, offer.options[82]) == (socket.inet_aton("10.88.0.1"), wire.NO_ADDRESS, agent[82])
        takes = {50: socket.inet_aton("10.88.0.50"), 54: socket.inet_aton("10.88.0.5")}
        link.sendto(wire.encode(message(MessageType.REQUEST, takes | agent, mac=relayed, giaddr="10.88.0.1")), (ADDRESS, 67))
        with udp(relay, 68, "10.88.0.50") as node:
            question = message(MessageType.REQUEST, PXE, mac=relayed, ciaddr="10.88.0.50")
            answer, source = asked(node, question, (ADDRESS, 4011))
    assert (source, answer.options[67]) == ((ADDRESS, 4011), b"pxelinux.0\0")
    assert address_of(frontend, "compute-0-70") == "10.88.0.50"


# --- modes -------------------------------------------------------------------------------------------------------------


def ports(frontend: Frontend) -> set[int]:
    table = frontend.namespace.run(["cat", "/proc/net/udp"]).stdout.splitlines()[1:]
    return {struct.unpack("!H", bytes.fromhex(line.split()[1].rpartition(":")[2]))[0] for line in table}


def test_a_reload_changes_the_mode(frontend: Frontend, node: str) -> None:
    import os
    import signal

    def reload(mode: str, done: Callable[[], bool]) -> None:
        frontend.settings(dhcp={"mode": mode})
        os.kill(frontend.pid, signal.SIGHUP)
        wait_until(f"mode {mode}", done, PATIENCE)

    assert {67, 4011} <= ports(frontend)
    reload("off", lambda: not {67, 4011} & ports(frontend))
    reload("server", lambda: 67 in ports(frontend) and 4011 not in ports(frontend))
    reload("proxy", lambda: {67, 4011} <= ports(frontend))
