"""Nodes behind routers, with the tools that people run: ISC's relay, busybox' client, a kernel that forwards.

The router's uplink is on the cluster's own network, or on the site's LAN, which has a DHCP server of its own.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bootserver.cluster.discovery import Request, open_discovery
from bootserver.cluster.events import Kind
from bootserver.netboot.dhcp import neighbourhood, wire
from bootserver.netboot.dhcp.advertise import Advertiser
from bootserver.netboot.dhcp.link import Link, open_router_link
from bootserver.netboot.dhcp.reply import Route, Via
from bootserver.netboot.dhcp.request import MessageType, message_type
from bootserver.service import iproute
from bootserver.values.mac import MacAddress
from tests import views
from tests.cluster import mac, wait_until
from tests.frontend import ADDRESS, PATIENCE, Frontend, prepared
from tests.lab.process import Process
from tests.lab.site_dhcp import DEVICE, Station
from tests.protocol.test_dhcp import (
    FRONTEND,
    RELAY_IP,
    Client,
    Service,
    Wire,
    message,
    needs,
    pytestmark,  # noqa: F401
    variables,
)
from tests.protocol.test_dhcp_neighbours import dnsmasq
from tests.protocol.test_proxy_dhcp import asked, udp

PXE = {60: b"PXEClient:Arch:00000:UNDI:002001", 93: b"\0\0"}
FAR_NODE = MacAddress.parse("52:54:00:00:09:01")
FAR_IP = "10.9.0.254"
SITE, SITE_SERVER = "192.0.2.10", "192.0.2.1"
SECOND, ELSEWHERE = "10.1.1.77", "198.51.100.1"
LAN = "lan0"
# What an installed system's script does; busybox' own would write resolv.conf on this machine.
SCRIPT = """#!/bin/sh
env > {folder}/env.$$ && mv {folder}/env.$$ {folder}/env.$1
[ "$1" = bound ] && ip addr add "$ip/$mask" dev "$interface" && [ -n "$router" ] && ip route add default via $router
exit 0
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Lan:
    """The site's own LAN: the frontend is on it, and no network of the cluster is. Its DHCP server is the site's."""

    def __init__(self, frontend: Frontend, folder: Path) -> None:
        self.name = f"{frontend.namespace.name}-lan"
        self._frontend = frontend
        self._folder = folder
        self._server: Process | None = None

    def __enter__(self) -> Lan:
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
        ip("-n", self.name, "addr", "add", f"{SITE_SERVER}/24", "dev", "br0")
        ip("-n", self.name, "link", "set", "br0", "up")
        ip("-n", self.name, "link", "set", "lo", "up")
        lab = self._frontend.namespace.name
        ip("-n", self.name, "link", "add", "port0", "type", "veth", "peer", "name", LAN, "netns", lab)
        ip("-n", self.name, "link", "set", "port0", "master", "br0", "up")
        ip("-n", lab, "addr", "add", f"{SITE}/24", "dev", LAN)
        ip("-n", lab, "link", "set", LAN, "up")
        self._server = Process("dnsmasq", ["ip", "netns", "exec", self.name, *self._dnsmasq()], self._folder / "dnsmasq.log")
        self._server.wait_for("sockets bound|DHCP, IP range", PATIENCE)
        return self

    def _dnsmasq(self) -> list[str]:
        return [
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--log-facility=-", "--log-dhcp",
            "--interface=br0", "--bind-interfaces", "--leasefile-ro", "--no-ping", "--dhcp-authoritative", "--user=root",
            "--dhcp-range=192.0.2.100,192.0.2.150,255.255.255.0,1h", f"--pid-file={self._folder}/pid",
        ]  # fmt: skip

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.stop()
        ip("netns", "del", self.name)

    def log(self) -> str:
        assert self._server is not None
        return self._server.text()


class Plugged(Station):
    """A machine on a bridge of another namespace than the lab's."""

    def __init__(self, where: str, name: str, *, mac: str | None = None, addresses: tuple[str, ...] = ()) -> None:
        super().__init__(type("Where", (), {"name": where})(), name, mac=mac, addresses=addresses)


class Router:
    """A router between an uplink and the nodes' cable, with a relay on it.

    :ivar node: the machine behind it.
    """

    def __init__(self, uplink: Station, folder: Path) -> None:
        self._uplink = uplink
        self._folder = folder
        self.node = f"{uplink.name}-n"
        self._relay: Process | None = None
        self._words: list[str] = []

    def __enter__(self) -> Router:
        ip("netns", "add", self.node)
        ip("-n", self._uplink.name, "link", "add", "eth1", "type", "veth", "peer", "name", DEVICE, "netns", self.node)
        self._uplink.ip("addr", "add", "10.9.0.1/24", "dev", "eth1")
        self._uplink.ip("link", "set", "eth1", "up")
        ip("-n", self.node, "link", "set", DEVICE, "address", str(FAR_NODE), "up")
        ip("-n", self.node, "link", "set", "lo", "up")
        done = self._uplink.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        assert done.returncode == 0, done.stderr
        return self

    def relays(self, server: str, *more: str) -> None:
        self._words = ["dhcrelay", "-4", "-d", "--no-pid", "-id", "eth1", "-iu", DEVICE, *more, server]
        self.relays_again()

    def relays_again(self) -> None:
        self._relay = Process("dhcrelay", self._uplink.command(*self._words), self._folder / "dhcrelay.log")
        self._relay.wait_for("Sending on   Socket/fallback", PATIENCE)

    def stops_relaying(self) -> None:
        if self._relay is not None:
            self._relay.stop()
            self._relay = None

    def __exit__(self, *_: object) -> None:
        self.stops_relaying()
        ip("netns", "del", self.node)


@contextlib.contextmanager
def udhcpc(namespace: str, folder: Path, *more: str) -> Iterator[Process]:
    """A client that stays, as on an installed system; it sets what it is given."""
    script = folder / "udhcpc.script"
    script.write_text(SCRIPT.format(folder=folder))
    script.chmod(0o755)
    words = ["udhcpc", "-i", DEVICE, "-f", "-t", "10", "-T", "1", "-s", str(script), *more]
    # Ahead of the server on this processor: see renewed_past_the_relay.
    client = Process("udhcpc", ["chrt", "-f", "1", "ip", "netns", "exec", namespace, *words], folder / "udhcpc.log")
    try:
        yield client
    finally:
        client.stop()


def has(folder: Path, what: str) -> dict[str, str]:
    """What the client was given, once its script was run for that."""
    wait_until(f"the client is {what}", (folder / f"env.{what}").exists, PATIENCE)
    return variables(folder / f"env.{what}")


def renewed_past_the_relay(client: Process, router: Router, folder: Path) -> dict[str, str]:
    """Have a client renew its lease while there is no relay: ISC's takes unicasts that it sees pass, too.

    busybox (1.35) sends by a connected socket of its own, and loses an answer that comes before it has closed that one. No server
    is that quick on a real wire; here it happens, and the client is asked again when the relay has helped it up.
    """
    for _ in range(5):
        router.stops_relaying()
        client.signal(signal.SIGUSR1)
        with contextlib.suppress(AssertionError):
            wait_until("the client has renewed", (folder / "env.renew").exists, 2)
            break
        router.relays_again()
        has(folder, "renew")
        (folder / "env.renew").unlink()
    return has(folder, "renew")


@pytest.fixture
def frontend(own_network: None, tmp_path: Path) -> Iterator[Frontend]:
    with prepared(tmp_path) as made:
        made.settings(dns={"enabled": False})
        yield made


def add_far(frontend: Frontend, told: str, router: str) -> None:
    """The network behind the router; relays are told `told`."""
    frontend.cli("network", "add", "far", "10.9.0.0/24", "--frontend", told, "--gateway", "10.9.0.1")
    ip("-n", frontend.namespace.name, "route", "add", "10.9.0.0/24", "via", router)


def a_machine_comes_up_behind(router: Router, frontend: Frontend, told: str, folder: Path) -> None:
    """From an unknown machine's first DISCOVER to its RELEASE."""
    with frontend.change() as change:
        open_discovery(change, Request(appliance="compute", network="far"), "test")
    with udhcpc(router.node, folder, "-V", "PXEClient:Arch:00000:UNDI:002001", "-x", "0x5d:0000") as client:
        bound = has(folder, "bound")
        assert (bound["ip"], bound["mask"], bound["router"], bound["serverid"]) == (FAR_IP, "24", "10.9.0.1", told)
        assert bound["siaddr"] == told
        assert str(frontend.seen("compute-0-0").interfaces[0].mac) == str(FAR_NODE)
        frontend.told(Kind.ACKNOWLEDGED, address=FAR_IP)

        file = frontend.file("site/far", b"across a router " * 2000)
        fetched = folder / "fetched"
        words = ["curl", "-sS", "--max-time", "20", "-o", str(fetched), f"tftp://{told}/site/far"]
        done = subprocess.run(["ip", "netns", "exec", router.node, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert fetched.read_bytes() == file

        assert renewed_past_the_relay(client, router, folder)["ip"] == FAR_IP
        wait_until("the renewal is told", lambda: len(frontend.events(Kind.ACKNOWLEDGED, address=FAR_IP)) >= 2, PATIENCE)
        client.signal(signal.SIGUSR2)
        assert frontend.told(Kind.RELEASED).node == "compute-0-0"
    assert frontend.events(Kind.ALARM) == []


@needs("dhcrelay")
@needs("udhcpc")
def test_a_machine_behind_a_router_of_the_clusters_network(frontend, tmp_path):
    add_far(frontend, ADDRESS, "10.77.0.9")
    frontend.start()
    uplink = Station(frontend.namespace, "router", addresses=["10.77.0.9/24"])
    with uplink, Router(uplink, tmp_path) as router:
        router.relays(ADDRESS)
        a_machine_comes_up_behind(router, frontend, ADDRESS, tmp_path)
    # The discovery is for the other network: who asks on ours is not taken.
    with Station(frontend.namespace, "near", mac=str(mac(3))) as near:
        near.run("udhcpc", "-i", DEVICE, "-n", "-q", "-f", "-t", "1", "-T", "1", "-s", "/bin/true", "-x", "0x5d:0000")
        event = frontend.told(Kind.IGNORED, device="br0")
    assert (event.mac, event.detail["because"]) == (
        mac(3), "unknown, and the open discovery takes machines on far, not on private",
    )  # fmt: skip


@needs("dhcrelay")
@needs("udhcpc")
@needs("dnsmasq")
def test_a_machine_behind_a_router_on_the_sites_own_lan_whose_dhcp_server_is_left_alone(frontend, tmp_path):
    """The relay asks by its uplink's address, which is in no network of ours, and says which link it means (RFC 3527)."""
    (tmp_path / "site").mkdir()
    with Lan(frontend, tmp_path) as lan:
        add_far(frontend, SITE, "192.0.2.9")
        frontend.start()
        uplink = Plugged(lan.name, "router", addresses=("192.0.2.9/24",))
        with uplink, Router(uplink, tmp_path) as router, Plugged(lan.name, "desk", mac=str(mac(5))) as desk:
            router.relays(SITE, "-U", DEVICE)
            a_machine_comes_up_behind(router, frontend, SITE, tmp_path)
            with udhcpc(desk.name, tmp_path / "site", "-x", "0x5d:0000", "-V", "PXEClient") as client:
                assert has(tmp_path / "site", "bound")["serverid"] == SITE_SERVER
                client.signal(signal.SIGUSR1)
                assert has(tmp_path / "site", "renew")["serverid"] == SITE_SERVER
        asked = {line.split("br0) ")[1].split()[-1] for line in lan.log().splitlines() if "DHCPDISCOVER(br0)" in line}
        assert asked == {str(mac(5))}, "nobody but the site's machine asked the site's server"
    frontend.add_node(7)  # what was said before is written down by now
    machines = {event.mac for event in frontend.events() if event.mac is not None}
    assert machines <= {FAR_NODE, mac(7)}
    assert frontend.events(Kind.ALARM) == []


def test_a_device_that_is_taken_there_keeps_nobody_else_from_being_served(frontend, tmp_path):
    with Lan(frontend, tmp_path):
        add_far(frontend, SITE, "192.0.2.9")
        frontend.cli("network", "add", "gone", "10.8.0.0/24", "--frontend", "192.0.2.77")

        def take() -> socket.socket:
            taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, LAN.encode())
            taken.bind(("0.0.0.0", 67))
            return taken

        taken = Wire.make(frontend.namespace.name, take)
        assert isinstance(taken, socket.socket)
        with taken:
            frontend.start()
            frontend.says(f"networks behind routers are not served by {LAN}: port 67 (DHCP by routers on {LAN}) is taken by")
            frontend.says("network gone: relays are told 192.0.2.77, which this machine does not have now")
        with Station(frontend.namespace, "near", mac=str(mac(1))) as near:
            frontend.cli("insert-ethers", "--batch", "--mac", str(mac(1)))
            done = near.run("udhcpc", "-i", DEVICE, "-n", "-q", "-f", "-t", "5", "-T", "1", "-s", "/bin/true")
            assert done.returncode == 0, done.stderr


def test_beside_a_sites_server_boot_files_are_asked_for_by_routers_too(frontend, tmp_path):
    """The site's relays tell both servers; the firmware then asks ours at port 4011, from where it is."""
    frontend.settings(dhcp={"mode": "proxy"}, dns={"enabled": False})
    with Lan(frontend, tmp_path) as lan, Plugged(lan.name, "router", addresses=("192.0.2.9/24",)) as router:
        add_far(frontend, SITE, "192.0.2.9")
        frontend.cli("insert-ethers", "--batch", "--mac", str(FAR_NODE), "--network", "far")
        frontend.start()
        asks = PXE | {82: b"\5\4" + socket.inet_aton("10.9.0.1"), 55: b"\x3c\x42\x43"}
        with udp(router, 67, "192.0.2.9") as relay, udp(router, 68, "192.0.2.9") as firmware:
            offer, source = asked(relay, message(options=asks, mac=FAR_NODE, giaddr="192.0.2.9"), (SITE, 67))
            assert (source, offer.siaddr, offer.yiaddr) == ((SITE, 67), socket.inet_aton(SITE), bytes(4))
            boot, source = asked(firmware, message(MessageType.REQUEST, asks, mac=FAR_NODE), (SITE, 4011))
            assert (source, boot.siaddr) == ((SITE, 4011), socket.inet_aton(SITE))
            assert boot.options[67]


# --- the link itself ---------------------------------------------------------------------------------------------------


class ByRouters(Service):
    """The server under test on a device that has no network of ours; it would look for other servers, too."""

    look_seconds = 0.1

    def __init__(self, network: Wire) -> None:
        far = views.network(2, name="far", subnet="10.9.0.0/24", device=None, frontend=FRONTEND, gateway="10.9.0.1")
        here = views.network(3, name="here", subnet="10.1.0.0/16", device=None, frontend=FRONTEND)
        nodes = [views.node(mac=FAR_NODE, ip=FAR_IP, on=far), views.node(1, ip=RELAY_IP, on=here)]
        super().__init__(network, views.view(nodes, networks=[far, here]))

    def open_links(self) -> list[Link]:
        return [open_router_link("s0", IPv4Address(FRONTEND))]

    def open_advertisers(self) -> list[Advertiser]:
        return []

    @property
    def received(self) -> int:
        assert self._server is not None
        return self._server.counters.received


@pytest.fixture(scope="module")
def cable() -> Iterator[Wire]:
    with Wire() as made:
        yield made


@needs("dnsmasq")
def test_what_is_said_on_a_sites_lan_does_not_even_reach_the_server(cable, tmp_path, monkeypatch):
    monkeypatch.setattr(neighbourhood, "FIRST_LOOK", 0.0)
    with ByRouters(cable) as service, dnsmasq(cable, tmp_path), Client(cable) as client:
        for kind in (None, *MessageType):
            client.send(message(kind, PXE))
            client.send(message(kind, PXE, ciaddr=RELAY_IP))  # it renews by broadcast: its own server has gone
            client.send(message(kind, PXE, giaddr=RELAY_IP))  # a relay that asks everybody
            client.send(message(kind, PXE), to=FRONTEND)
        client.send(b"\1" * 20, to=FRONTEND)
        client.send(message(MessageType.REQUEST, ciaddr=RELAY_IP, xid=9), to=FRONTEND)
        own = (wire.decode(reply) for frame, reply in client.replies() if frame[26:30] == socket.inet_aton(FRONTEND))
        reply = next(own)
        assert (reply.xid, message_type(reply), reply.ciaddr) == (9, MessageType.ACK, socket.inet_aton(RELAY_IP))
        time.sleep(0.3)  # three questions for other servers, were there any
        assert service.received == 1
        assert [event.kind for event in service.events] == [Kind.ACKNOWLEDGED]


def test_a_relay_there_is_answered_from_the_address_that_it_asked(cable):
    cable._ip("-n", cable.server, "addr", "add", f"{SECOND}/16", "dev", "s0")
    try:
        with ByRouters(cable) as service, Client(cable, port=67) as relay:
            asks = message(options=PXE | {82: b"\5\4" + socket.inet_aton("10.9.0.1")}, mac=FAR_NODE, giaddr=RELAY_IP)
            relay.udp.settimeout(5)
            relay.send(asks, to=SECOND)  # no relay was told that one
            relay.send(asks._replace(xid=9), to=FRONTEND)
            answer, source = relay.udp.recvfrom(2048)
            assert service.has_told(Kind.OFFERED)
        reply = wire.decode(answer)
        assert (reply.xid, source, reply.yiaddr, reply.options[54]) == (
            9, (FRONTEND, 67), socket.inet_aton(FAR_IP), socket.inet_aton(FRONTEND),
        )  # fmt: skip
    finally:
        cable._ip("-n", cable.server, "addr", "del", f"{SECOND}/16", "dev", "s0")


@pytest.mark.parametrize("told", [SECOND, ELSEWHERE], ids=["a second address", "an address that is translated on the way"])
def test_a_relay_on_a_network_of_ours_hears_us_by_the_address_that_it_was_told_if_that_is_here(cable, told):
    private = views.network(device="s0")
    far = views.network(2, name="far", subnet="10.9.0.0/24", device=None, frontend=told, gateway="10.9.0.1")
    node = views.node(mac=FAR_NODE, ip=FAR_IP, on=far)
    cable._ip("-n", cable.server, "addr", "add", f"{SECOND}/16", "dev", "s0")
    try:
        with Service(cable, views.view([node], networks=[private, far])), Client(cable, port=67) as relay:
            asks = message(options={82: b"\5\4" + socket.inet_aton("10.9.0.1")}, mac=FAR_NODE, giaddr=RELAY_IP)
            relay.udp.settimeout(5)
            relay.send(asks, to=SECOND)
            answer, source = relay.udp.recvfrom(2048)
        assert wire.decode(answer).options[54] == socket.inet_aton(told)
        assert source == (SECOND if told == SECOND else FRONTEND, 67)
    finally:
        cable._ip("-n", cable.server, "addr", "del", f"{SECOND}/16", "dev", "s0")


def test_nothing_is_broadcast_there_whatever_becomes_of_a_reply(cable):
    link = cable.make(cable.server, lambda: open_router_link("s0", IPv4Address(FRONTEND)))
    assert isinstance(link, Link)
    try:
        for via, address in ((Via.BROADCAST, "255.255.255.255"), (Via.FRAME, RELAY_IP)):
            way = Route(via, address, 68)
            assert not link.send(b"x", way, to_mac=bytes(6), to=bytes(4), source=socket.inet_aton(FRONTEND))
        assert link.send(b"x", Route(Via.UNICAST, RELAY_IP, 68), to_mac=bytes(6), to=bytes(4), source=bytes(4))
    finally:
        link.close()


def test_every_address_of_this_machine_is_found_with_its_device(cable):
    cable._ip("-n", cable.server, "addr", "add", "192.0.2.5/24", "dev", "s0", "label", "s0:site")
    try:
        found = cable.make(cable.server, iproute.devices)
    finally:
        cable._ip("-n", cable.server, "addr", "del", "192.0.2.5/24", "dev", "s0")
    assert found == {IPv4Address("127.0.0.1"): "lo", IPv4Address(FRONTEND): "s0", IPv4Address("192.0.2.5"): "s0"}
