"""VLAN devices on a real wire: one cable with an untagged network and two VLANs, of which one is another's."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootserver.cluster.events import Kind
from bootserver.cluster.view import View
from bootserver.netboot.dhcp import neighbourhood, probe, wire
from bootserver.netboot.dhcp.advertise import Advertiser
from bootserver.netboot.dhcp.link import Link, open_link
from bootserver.netboot.dhcp.reply import frame
from bootserver.values.mac import MacAddress
from tests import views
from tests.cluster import wait_until
from tests.frontend import PATIENCE
from tests.protocol.test_dhcp import (
    FRONTEND,
    NODE_IP,
    Client,
    Service,
    Wire,
    message,
    needs,
    pytestmark,  # noqa: F401
    script,
    variables,
)

MANAGEMENT = "10.4.1.1"
BMC = MacAddress.parse("52:54:00:00:04:01")
BMC_IP = "10.4.255.254"
OTHERS = "10.9.0.1"
ELSEWHERE = MacAddress.parse("02:00:00:00:02:00")


class Serving(Service):
    """The server under test on several devices of one cable, looking for other servers all the time."""

    look_seconds = 0.3

    def __init__(self, network: Wire, view: View, *devices: str) -> None:
        super().__init__(network, view)
        self._devices = devices

    def open_links(self) -> list[Link]:
        return [open_link(device) for device in self._devices]

    def open_advertisers(self) -> list[Advertiser]:
        return []


@pytest.fixture(scope="module")
def network() -> Iterator[Wire]:
    """The frontend's s0, without an address, and the clients' c0."""
    with Wire() as made:
        made._ip("-n", made.server, "addr", "flush", "dev", "s0")
        yield made


def add_vlan(network: Wire, namespace: str, device: str, tag: int) -> str:
    """A VLAN device of another one."""
    name = f"{device}.{tag}"
    words = ["ip", "-n", namespace, "link", "add", "link", device, "name", name, "type", "vlan", "id", str(tag)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this kernel has no VLAN devices (802.1Q): {done.stderr.strip()}")
    network._ip("-n", namespace, "link", "set", name, "up")
    return name


@pytest.fixture
def vlan(network: Wire) -> Iterator[None]:
    """s0.100, with an address, and c0.100."""
    ours = add_vlan(network, network.server, "s0", 100)
    theirs = add_vlan(network, network.client, "c0", 100)
    network._ip("-n", network.server, "addr", "add", f"{MANAGEMENT}/16", "dev", ours)
    network._ip("-n", network.client, "link", "set", theirs, "address", str(BMC))
    yield
    network._ip("-n", network.server, "link", "del", ours)
    network._ip("-n", network.client, "link", "del", theirs)


@pytest.fixture
def untagged(network: Wire) -> Iterator[None]:
    """The frontend has an address on the untagged network, too."""
    network._ip("-n", network.server, "addr", "add", f"{FRONTEND}/16", "dev", "s0")
    yield
    network._ip("-n", network.server, "addr", "del", f"{FRONTEND}/16", "dev", "s0")


@pytest.fixture
def view() -> View:
    private = views.network(device="s0")
    management = views.network(2, name="mgmt", subnet="10.4.0.0/16", device="s0.100", frontend=MANAGEMENT, gateway=None)
    nodes = [views.node(on=private), views.node(1, mac=BMC, ip=BMC_IP, on=management, appliance=views.SWITCH)]
    return views.view(nodes, networks=[private, management])


def lease(network: Wire, folder: Path, device: str) -> dict[str, str]:
    done = network.run("udhcpc", "-i", device, "-n", "-q", "-f", "-t", "5", "-T", "2", "-s", script(folder))
    assert done.returncode == 0, done.stderr
    return variables(folder / "env.bound")


@needs("udhcpc")
def test_a_vlan_is_served_where_its_card_itself_has_no_address(network, vlan, view, tmp_path):
    with Serving(network, view, "s0.100") as service, Client(network) as sniffer:
        got = lease(network, tmp_path, "c0.100")
        assert (got["ip"], got["mask"], got["serverid"]) == (BMC_IP, "16", MANAGEMENT)
        assert service.has_told(Kind.OFFERED, Kind.ACKNOWLEDGED)
        # By a frame to its MAC, which the kernel gave the tag.
        frames = [frame for frame, _ in sniffer.replies(wait=0.5)]
        assert [frame[:6] for frame in frames] == [BMC, BMC]


@needs("udhcpc")
def test_who_asks_untagged_and_who_asks_in_a_vlan_each_get_their_own_networks_address(network, untagged, vlan, view, tmp_path):
    with Serving(network, view, "s0", "s0.100"):
        for device, address, server in (("c0", NODE_IP, FRONTEND), ("c0.100", BMC_IP, MANAGEMENT)):
            got = lease(network, tmp_path, device)
            assert (got["ip"], got["serverid"]) == (address, server)


def test_a_node_that_asks_in_another_vlan_than_its_own_is_told_of(network, untagged, vlan, view):
    with Serving(network, view, "s0", "s0.100") as service, Client(network) as client:
        client.send(message(mac=BMC))
        event = service.wait_for(Kind.IGNORED)
        client.nothing_comes_but_an_offer_to(views.MAC, 4)
    assert event.detail == {"because": "it belongs on network mgmt, and asks elsewhere", "device": "s0"}


# --- a VLAN of others' on the same cable ------------------------------------------------------------------------------


class Switch:
    """A switch that has VLAN 200 on one port, d1, and our cable on another: what is said on d1 passes our card, with the tag."""

    def __init__(self, network: Wire) -> None:
        self._network = network
        network._ip("-n", network.client, "link", "add", "d0", "type", "veth", "peer", "name", "d1")
        network._ip("-n", network.client, "addr", "add", f"{OTHERS}/24", "dev", "d0")
        for device in ("d0", "d1"):
            network._ip("-n", network.client, "link", "set", device, "up")
        self._port, self._cable = self._socket("d1", 0x0003), self._socket("c0", 0)
        self._port.settimeout(0.1)
        self._off = threading.Event()
        self._thread = threading.Thread(target=self._forward)

    def _socket(self, device: str, protocol: int) -> socket.socket:
        def build() -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            made.bind((device, protocol))  # 3: ETH_P_ALL
            return made

        made = Wire.make(self._network.client, build)
        assert isinstance(made, socket.socket)
        return made

    def _forward(self) -> None:
        while not self._off.is_set():
            with contextlib.suppress(TimeoutError):
                seen, (_, _, direction, *_) = self._port.recvfrom(4096)
                if direction != socket.PACKET_OUTGOING:
                    self.tagged(seen)

    def tagged(self, seen: bytes) -> None:
        """Send a frame of VLAN 200 down our cable."""
        self._cable.send(seen[:12] + b"\x81\x00" + (200).to_bytes(2) + seen[12:])

    def asks(self, octets: bytes) -> None:
        """A machine in VLAN 200 sends a frame."""
        self._port.send(octets)

    def __enter__(self) -> Switch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._off.set()
        self._thread.join()
        self._port.close()
        self._cable.close()
        self._network._ip("-n", self._network.client, "link", "del", "d0")


class Tap:
    """What a packet socket of s0 gets without a filter, for comparison."""

    def __init__(self, network: Wire, protocol: int) -> None:
        def build() -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            made.bind(("s0", protocol))
            made.setblocking(False)
            return made

        made = Wire.make(network.server, build)
        assert isinstance(made, socket.socket)
        self._socket = made

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def sees(self, part: bytes) -> bool:
        """Has a frame with this part come since the last time?"""
        with contextlib.suppress(BlockingIOError):
            while True:
                if part in self._socket.recv(4096):
                    return True
        return False


@contextlib.contextmanager
def dnsmasq(network: Wire, folder: Path) -> Iterator[None]:
    """The DHCP server of VLAN 200, which is nothing of ours."""
    words = [
        "ip", "netns", "exec", network.client, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0",
        "--no-ping", "--interface=d0", "--except-interface=lo", "--bind-interfaces", "--leasefile-ro",
        f"--pid-file={folder}/pid", "--dhcp-range=10.9.0.10,10.9.0.90,255.255.255.0,2m", "--log-facility=-",
        "--dhcp-authoritative",
    ]  # fmt: skip
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            yield
        finally:
            running.terminate()


@pytest.fixture(params=["no device for it", "a device for it"])
def other_vlan(request, network: Wire) -> Iterator[None]:
    """VLAN 200 as the frontend's kernel sees it: without a device it takes the tag off and calls the frame somebody else's."""
    if request.param == "no device for it":
        yield
        return
    device = add_vlan(network, network.server, "s0", 200)
    yield
    network._ip("-n", network.server, "link", "del", device)


@needs("dnsmasq")
def test_the_server_of_another_vlan_is_no_rogue(network, untagged, other_vlan, view, tmp_path, monkeypatch):
    monkeypatch.setattr(neighbourhood, "FIRST_LOOK", 0.1)
    asks = frame(
        wire.encode(message(mac=ELSEWHERE, flags=0x8000)),
        to_mac=b"\xff" * 6, from_mac=ELSEWHERE, to=b"\xff" * 4, source=bytes(4), ports=(68, 67),
    )  # fmt: skip
    offer = socket.inet_aton(OTHERS) + b"\xff" * 4 + b"\0\x43\0\x44"
    with Serving(network, view, "s0") as service, Switch(network) as switch, Tap(network, 0x0800) as tap:

        def an_offer_passes() -> bool:
            switch.asks(asks)
            return tap.sees(offer)

        with dnsmasq(network, tmp_path):
            for which in ("an offer", "another"):
                wait_until(f"{which} in VLAN 200 passes the frontend's card", an_offer_passes, PATIENCE)
        with Client(network) as client:
            client.nothing_comes_but_an_offer_to(views.MAC, 5)
        assert service.alarms() == []


def test_who_has_an_address_in_another_vlan_is_not_in_the_way(network, untagged, other_vlan, view):
    """The same addresses may be used in each: nothing is routed between them."""
    own = socket.inet_aton(NODE_IP)
    has_it = probe._ARP.pack(b"\xff" * 6, ELSEWHERE, 0x0806, 1, 0x0800, 6, 4, 2, ELSEWHERE, own, b"\xff" * 6, own)
    with (
        Serving(network, view, "s0") as service,
        Switch(network) as switch,
        Client(network) as client,
        Tap(network, 0x0806) as tap,
    ):

        def a_claim_passes() -> bool:
            switch.tagged(has_it)
            return tap.sees(has_it[14:])

        client.send(message())
        client.reply()
        end = time.monotonic() + 0.5  # the node's address is asked for within 0.4 s
        while time.monotonic() < end:
            wait_until("a claim passes the frontend's card", a_claim_passes, PATIENCE)
        assert service.alarms() == []
