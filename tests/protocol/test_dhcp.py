"""The DHCP server on a real wire: a veth pair between two network namespaces, and the clients that administrators use."""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bootserver.cluster.addresses import InUse
from bootserver.cluster.events import Event, Kind
from bootserver.cluster.view import View
from bootserver.errors import Unavailable
from bootserver.netboot.dhcp import wire
from bootserver.netboot.dhcp.advertise import Advertiser, open_advertiser
from bootserver.netboot.dhcp.answer import Responder
from bootserver.netboot.dhcp.link import Link, open_link
from bootserver.netboot.dhcp.request import MessageType, Registration, message_type
from bootserver.netboot.dhcp.rogue import Rogues
from bootserver.netboot.dhcp.server import DhcpServer
from bootserver.netboot.dhcp.tail import BootFile
from bootserver.netboot.dhcp.wire import DhcpPacket
from bootserver.values.mac import MacAddress
from tests import views

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2: it makes network namespaces"
)

NODE_IP = "10.1.255.254"
RELAY_IP = "10.1.0.2"
FRONTEND = "10.1.1.1"
STRANGER = MacAddress.parse("52:54:00:99:99:99")
PXE = {60: b"PXEClient:Arch:00000:UNDI:002001", 93: b"\0\0"}


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def inside(namespace: str) -> None:
    """Move this thread into a network namespace; sockets that it opens stay there."""
    with open(f"/run/netns/{namespace}") as handle:
        if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), 0x40000000):  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), "setns")


class Wire:
    """Two namespaces and the veth pair ``s0`` (the server's) and ``c0`` (the clients') between them."""

    def __init__(self) -> None:
        self.server, self.client = f"bsdhcp-s{os.getpid()}", f"bsdhcp-c{os.getpid()}"

    def __enter__(self) -> Wire:
        for name in (self.server, self.client):
            self._ip("netns", "add", name)
        self._ip("-n", self.server, "link", "add", "s0", "type", "veth", "peer", "name", "c0", "netns", self.client)
        self._ip("-n", self.server, "addr", "add", f"{FRONTEND}/16", "dev", "s0")
        self._ip("-n", self.client, "link", "set", "c0", "address", str(views.MAC))
        self._ip("-n", self.client, "addr", "add", f"{RELAY_IP}/16", "dev", "c0")
        for name, device in ((self.server, "s0"), (self.client, "c0"), (self.server, "lo"), (self.client, "lo")):
            self._ip("-n", name, "link", "set", device, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in (self.server, self.client):
            subprocess.run(["ip", "netns", "del", name], check=False)

    @staticmethod
    def _ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    def run(self, *command: str | Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """A program in the clients' namespace."""
        words = ["ip", "netns", "exec", self.client, *map(str, command)]
        return subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)

    @staticmethod
    def make(namespace: str, build: Callable[[], object]) -> object:
        """What `build` makes in a namespace, such as a socket."""
        results: list[object] = []

        def work() -> None:
            try:
                inside(namespace)
                results.append(build())
            except Exception as error:  # handed to the caller
                results.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if isinstance(results[0], Exception):
            raise results[0]
        return results[0]


class Service:
    """The server under test, in a thread of its own. What it answers from is :attr:`view`; assign another to change it.

    :cvar look_seconds: how often it looks for other servers; 0: never.
    :cvar allowed: servers that it says nothing of.
    """

    look_seconds: float = 0
    allowed: frozenset[IPv4Address] = frozenset()

    def __init__(self, network: Wire, view: View) -> None:
        self.wire = network
        self.view = view
        self.events: list[Event] = []
        self.registrations: queue.Queue[Registration] = queue.Queue()
        self.in_use: list[InUse] = []
        self._server: DhcpServer | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def report(self, event: Event) -> None:
        self.events.append(event)

    def open_links(self) -> list[Link]:
        return [open_link("s0")]

    def open_advertisers(self) -> list[Advertiser]:
        return [open_advertiser("s0")]

    def _serve(self) -> None:
        inside(self.wire.server)
        links, advertisers = self.open_links(), self.open_advertisers()
        self._server = DhcpServer(
            links,
            lambda: self.view,
            Responder(lambda node, interface, asked: BootFile("pxelinux.0")),
            self,
            self.registrations.put,
            advertisers=advertisers,
            on_tick=self._ready.set,
            rogues=Rogues(self.allowed) if self.look_seconds else None,
            look_seconds=self.look_seconds,
            in_use=self.in_use.append,
        )
        try:
            self._server.serve()
        finally:
            for each in (*links, *advertisers):
                each.close()

    def __enter__(self) -> Service:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()
        assert self._server.counters.defects == 0

    def alarms(self) -> list[dict[str, object]]:
        return [dict(event.detail) | {"mac": event.mac} for event in self.events if event.kind is Kind.ALARM]

    def has_told(self, *kinds: Kind) -> bool:
        """Have these kinds of events been reported, no others, in this order? An event comes just after its packet."""
        end = time.monotonic() + 5
        while len(self.events) < len(kinds) and time.monotonic() < end:
            time.sleep(0.01)
        return [event.kind for event in self.events] == list(kinds)

    def wait_for(self, kind: Kind) -> Event:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for event in self.events:
                if event.kind is kind:
                    return event
            time.sleep(0.01)
        raise AssertionError(f"no event {kind}: {self.events}")


class Client:
    """A hand-made client: it sends from port 68 (or 67, as a relay) and sees every frame that comes in."""

    def __init__(self, network: Wire, *, port: int = 68) -> None:
        def build() -> tuple[socket.socket, socket.socket]:
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"c0")
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            udp.bind(("0.0.0.0", port))
            sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
            sniffer.bind(("c0", 0x0800))
            return udp, sniffer

        built = network.make(network.client, build)
        assert isinstance(built, tuple)
        self.udp, self.sniffer = built

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.udp.close()
        self.sniffer.close()

    def send(self, packet: DhcpPacket | bytes, to: str = "255.255.255.255") -> None:
        self.udp.sendto(packet if isinstance(packet, bytes) else wire.encode(packet), (to, 67))

    def replies(self, *, wait: float = 5.0) -> Iterator[tuple[bytes, bytes]]:
        """Frames that hold a reply, as they come: the whole frame, and its DHCP message."""
        end = time.monotonic() + wait
        while (left := end - time.monotonic()) > 0:
            self.sniffer.settimeout(left)
            try:
                frame, (_, _, direction, _, _) = self.sniffer.recvfrom(4096)
            except TimeoutError:
                return
            if direction == socket.PACKET_OUTGOING or len(frame) < 42 or frame[23] != socket.IPPROTO_UDP:
                continue
            (source,) = struct.unpack_from("!H", frame, 34)
            if source == 67:
                yield frame, frame[42 : 34 + int.from_bytes(frame[38:40])]

    def reply(self) -> tuple[bytes, DhcpPacket]:
        """:returns: the next reply's frame and message."""
        frame, message = next(self.replies(), (b"", b""))
        assert frame, "no reply came"
        return frame, wire.decode(message)

    def nothing_comes_but_an_offer_to(self, mac: bytes, xid: int) -> None:
        """Nothing was answered before: what is asked last is the only thing that is answered."""
        self.send(message(mac=mac, xid=xid))
        _, answer = self.reply()
        assert (answer.xid, answer.chaddr[:6]) == (xid, mac)


def message(
    kind: MessageType | None = MessageType.DISCOVER,
    options: dict[int, bytes] | None = None,
    *,
    mac: bytes = views.MAC,
    ciaddr: str = "0.0.0.0",
    giaddr: str = "0.0.0.0",
    flags: int = 0,
    xid: int = 0x01020304,
) -> DhcpPacket:
    said = {} if kind is None else {53: bytes((kind.value,))}
    none = bytes(4)
    return DhcpPacket(
        1, 1, 6, 0, xid, 0, flags, socket.inet_aton(ciaddr), none, none, socket.inet_aton(giaddr), mac.ljust(16, b"\0"),
        bytes(64), bytes(128), said | (options or {}),
    )  # fmt: skip


@pytest.fixture(scope="module")
def network() -> Iterator[Wire]:
    with contextlib.ExitStack() as stack:
        made = Wire()
        stack.callback(made.__exit__)
        yield made.__enter__()


@pytest.fixture
def private():
    return views.network(device="s0")


@pytest.fixture
def service(network, private) -> Iterator[Service]:
    known = [views.node(on=private), views.node(1, mac=MacAddress.parse("52:54:00:00:00:02"), ip=RELAY_IP, on=private)]
    with Service(network, views.view(known, networks=[private])) as running:
        yield running


# --- clients that people run ------------------------------------------------------------------------------------------


def script(tmp_path: Path) -> Path:
    path = tmp_path / "bound"
    path.write_text(f"#!/bin/sh\nenv > {tmp_path}/env.$$ && mv {tmp_path}/env.$$ {tmp_path}/env.${{reason:-$1}}\n")
    path.chmod(0o755)
    return path


def variables(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


@needs("udhcpc")
@pytest.mark.parametrize("broadcast", [(), ("-B",)], ids=["unicast to its MAC", "broadcast"])
def test_udhcpc_gets_its_address(service, network, tmp_path, broadcast):
    done = network.run("udhcpc", "-i", "c0", "-n", "-q", "-f", "-t", "3", "-T", "2", *broadcast, "-s", script(tmp_path))
    assert done.returncode == 0, done.stderr
    got = variables(tmp_path / "env.bound")
    assert (got["ip"], got["mask"], got["router"], got["dns"]) == (NODE_IP, "16", FRONTEND, FRONTEND)
    assert (got["hostname"], got["domain"], got["siaddr"], got["boot_file"]) == ("compute-0-0", "local", FRONTEND, "pxelinux.0")
    assert service.has_told(Kind.OFFERED, Kind.ACKNOWLEDGED)
    assert service.events[0].node == "compute-0-0"
    assert service.events[0].detail["address"] == NODE_IP


@needs("dhclient")
def test_dhclient_gets_its_address(service, network, tmp_path):
    files = ("-cf", "/dev/null", "-sf", script(tmp_path), "-lf", tmp_path / "leases", "-pf", tmp_path / "pid")
    words = ["ip", "netns", "exec", network.client, "dhclient", "-4", "-1", "-d", *map(str, files), "c0"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as dhclient:
        end = time.monotonic() + 60
        while not (tmp_path / "env.BOUND").exists() and dhclient.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        dhclient.terminate()
    got = variables(tmp_path / "env.BOUND")
    assert (got["new_ip_address"], got["new_routers"]) == (NODE_IP, FRONTEND)
    assert service.wait_for(Kind.ACKNOWLEDGED).node == "compute-0-0"


@needs("dhcping")
def test_dhcping_is_answered(service, network):
    done = network.run("dhcping", "-c", RELAY_IP, "-s", FRONTEND, "-h", "52:54:00:00:00:02", "-t", "5")
    assert done.returncode == 0, done.stdout + done.stderr


@needs("dhcping")
def test_dhcping_s_inform_is_answered(service, network):
    done = network.run("dhcping", "-i", "-c", RELAY_IP, "-s", FRONTEND, "-h", "52:54:00:00:00:02", "-t", "5")
    assert done.returncode == 0, done.stdout + done.stderr


@needs("perfdhcp")
def test_perfdhcp_s_four_way_exchanges_are_all_answered(service, network, private):
    machines = [
        views.node(rank, mac=MacAddress((0x020000000000 + rank).to_bytes(6)), ip=f"10.1.9.{rank}", on=private)
        for rank in range(60)
    ]
    service.view = views.view(machines, networks=[private])
    options = ("-4", "-r", "100", "-R", "50", "-n", "200", "-b", "mac=02:00:00:00:00:00", "-l", RELAY_IP, "-W", "500000")
    done = network.run("perfdhcp", *options, FRONTEND)
    assert done.stdout.count("drops: 0\n") == 2, done.stdout + done.stderr
    assert done.stdout.count("received packets: 200\n") == 2, done.stdout


# --- hand-made messages ----------------------------------------------------------------------------------------------


def test_a_relay_is_answered_at_its_address_and_gets_its_information_back(service, network):
    with Client(network, port=67) as relay:
        relay.send(message(options=PXE | {82: b"\1\4eth7\2\3abc"}, giaddr=RELAY_IP), to=FRONTEND)
        answer = relay.udp.recv(2048)
    reply = wire.decode(answer)
    assert message_type(reply) is MessageType.OFFER
    assert (reply.giaddr, reply.yiaddr) == (socket.inet_aton(RELAY_IP), socket.inet_aton(NODE_IP))
    assert answer.rstrip(b"\0").endswith(b"\x52\x0b\1\4eth7\2\3abc\xff")


def test_a_machine_without_an_address_gets_a_frame_to_its_mac(service, network):
    with Client(network) as client:
        client.send(message())
        frame, reply = client.reply()
    assert frame[:6] == views.MAC
    assert frame[30:34] == socket.inet_aton(NODE_IP)
    assert message_type(reply) is MessageType.OFFER


def test_a_machine_that_wants_a_broadcast_gets_one(service, network):
    with Client(network) as client:
        client.send(message(flags=0x8000))
        frame, reply = client.reply()
    assert frame[:6] == b"\xff" * 6
    assert frame[30:34] == b"\xff" * 4
    assert reply.flags == 0x8000


def test_a_renewal_is_answered_at_the_address_that_the_machine_has(service, network):
    mac = MacAddress.parse("52:54:00:00:00:02")
    with Client(network) as client:
        client.send(message(MessageType.REQUEST, mac=mac, ciaddr=RELAY_IP), to=FRONTEND)
        frame, reply = client.reply()
    assert frame[30:34] == socket.inet_aton(RELAY_IP)
    assert message_type(reply) is MessageType.ACK


def test_a_wrong_address_is_refused_with_a_broadcast(service, network):
    with Client(network) as client:
        client.send(message(MessageType.REQUEST, {50: socket.inet_aton("10.1.7.7")}))
        frame, reply = client.reply()
    assert (frame[:6], message_type(reply)) == (b"\xff" * 6, MessageType.NAK)
    assert "10.1.7.7" in str(service.wait_for(Kind.REFUSED).detail["because"])


def test_bootp_is_answered(service, network):
    with Client(network) as client:
        client.send(message(None))
        _, reply = client.reply()
    assert (reply.yiaddr, message_type(reply)) == (socket.inet_aton(NODE_IP), None)


def test_an_unknown_machine_gets_nothing_and_is_told_of_once(service, network):
    with Client(network) as client:
        for kind in (*MessageType, None, MessageType.DISCOVER):
            client.send(message(kind, PXE | {50: socket.inet_aton("10.1.7.7")}, mac=STRANGER))
        client.nothing_comes_but_an_offer_to(views.MAC, 77)
    told = [event for event in service.events if event.mac == STRANGER]
    assert [event.kind for event in told] == [Kind.IGNORED]
    assert told[0].detail["because"] == "unknown, and no discovery is open"


def test_declining_and_releasing_do_not_take_the_address_away(service, network):
    with Client(network) as client:
        client.send(message(MessageType.DECLINE, {50: socket.inet_aton(NODE_IP), 54: socket.inet_aton(FRONTEND)}))
        client.send(message(MessageType.RELEASE, {54: socket.inet_aton(FRONTEND)}, ciaddr=NODE_IP))
        client.send(message())
        _, reply = client.reply()
    assert reply.yiaddr == socket.inet_aton(NODE_IP)
    assert service.has_told(Kind.DECLINED, Kind.RELEASED, Kind.OFFERED)


def test_a_discovered_machine_gets_its_first_offer_without_asking_again(service, network, private):
    service.view = views.view([], networks=[private], discovery=views.discovery())
    with Client(network) as client:
        client.send(message(options=PXE, mac=STRANGER, xid=4711))
        machine = service.registrations.get(timeout=10)
        assert (machine.mac, machine.network) == (STRANGER, private)
        service.view = views.view([views.node(mac=STRANGER, ip="10.1.255.250", on=private)], networks=[private])
        _, reply = client.reply()
    assert (reply.xid, reply.yiaddr) == (4711, socket.inet_aton("10.1.255.250"))
    assert service.has_told(Kind.SEEN, Kind.OFFERED)


def test_a_flood_of_invented_machines_registers_no_more_than_can_wait(service, network, private):
    service.view = views.view([views.node(on=private)], networks=[private], discovery=views.discovery(installs=False))
    with Client(network) as client:
        for number in range(2000):
            client.send(message(mac=b"\x02\0\0\0" + number.to_bytes(2)))
        client.nothing_comes_but_an_offer_to(views.MAC, 78)
    assert service.registrations.qsize() == 256
    assert 1 <= sum(event.kind is Kind.SEEN for event in service.events) < 256


def test_one_machine_that_floods_is_answered_twenty_times_a_second(service, network):
    with Client(network) as client:
        begun = time.monotonic()
        for _ in range(2000):
            client.send(message())
        count = sum(1 for _ in client.replies(wait=1.0))
        seconds = int(time.monotonic() - begun) + 2
    assert 20 <= count <= 20 * seconds


def test_no_datagram_ends_the_service(service, network):
    whole = wire.encode(message(options=PXE | {97: bytes(17), 61: b"x" * 60, 77: b"\4iPXE", 175: b"\xb1\1\1"}))
    with Client(network) as client:
        for length in range(0, len(whole), 3):
            client.send(whole[:length])
        for position in range(len(whole)):
            client.send(whole[:position] + b"\xff" + whole[position + 1 :])
        for length in (2047, 2048, 2049, 9000, 60_000):
            client.send(whole.ljust(length, b"\xfe"))
        time.sleep(1.1)  # so that its own MAC may ask again
        client.send(message(xid=79))
        assert any(wire.decode(reply).xid == 79 for _, reply in client.replies())


def test_a_replaced_view_is_answered_from_at_once(service, network, private):
    with Client(network) as client:
        client.send(message())
        client.reply()
        service.view = views.view([replace(views.node(on=private, ip="10.1.200.1"), name="login-0-0")], networks=[private])
        client.send(message(options={55: b"\x0c"}))
        _, reply = client.reply()
    assert (reply.yiaddr, reply.options[12]) == (socket.inet_aton("10.1.200.1"), b"login-0-0")


def test_without_a_raw_socket_a_machine_gets_a_broadcast(network, private):
    link = network.make(network.server, lambda: open_link("s0"))
    assert isinstance(link, Link)
    assert link.raw is not None
    link.raw.close()
    seen = DhcpServer(
        [replace(link, raw=None)],
        lambda: views.view([views.node(on=private)], networks=[private]),
        Responder(lambda *_: None),
        type("Nobody", (), {"report": lambda self, event: None})(),
        lambda machine: None,
    )
    thread = threading.Thread(target=seen.serve)
    thread.start()
    try:
        with Client(network) as client:
            client.send(message())
            frame, reply = client.reply()
        assert (frame[:6], reply.yiaddr) == (b"\xff" * 6, socket.inet_aton(NODE_IP))
    finally:
        seen.stop()
        thread.join(10)
        link.udp.close()


# --- opening the sockets ---------------------------------------------------------------------------------------------


def test_a_port_that_another_server_has_is_an_error_that_says_what_to_do(service, network):
    with pytest.raises(Unavailable, match=r"port 67 \(DHCP\) on s0 is taken: stop the other"):
        network.make(network.server, lambda: open_link("s0"))


def test_a_device_that_is_not_there_is_named(network):
    with pytest.raises(Unavailable, match="no network device nope0"):
        network.make(network.server, lambda: open_link("nope0"))
    with pytest.raises(Unavailable, match="nope0"):
        network.make(network.server, lambda: open_advertiser("nope0"))


# --- IPv6 router solicitations ---------------------------------------------------------------------------------------


def solicitor(hops: int) -> socket.socket:
    index = socket.if_nametoindex("c0")
    icmp = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, hops)
    icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    icmp.setsockopt(
        socket.IPPROTO_ICMPV6, 1, struct.pack("=8I", *([0xFFFFFFFF] * 4), ~(1 << (134 & 31)) & 0xFFFFFFFF, *([0xFFFFFFFF] * 3))
    )
    icmp.settimeout(5)
    return icmp


def solicit(icmp: socket.socket) -> None:
    end = time.monotonic() + 10
    while True:  # a link-local address is tentative for a second or two
        try:
            icmp.sendto(bytes((133, 0, 0, 0, 0, 0, 0, 0)), ("ff02::2", 0))
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def test_a_router_solicitation_is_answered_with_no_router_and_no_prefix(service, network):
    icmp = network.make(network.client, lambda: solicitor(255))
    assert isinstance(icmp, socket.socket)
    with icmp:
        solicit(icmp)
        advertisement = icmp.recv(2048)
    assert len(advertisement) == 16
    assert advertisement[0] == 134
    assert advertisement[5:8] == b"\0\0\0"  # no flags, lifetime 0


def test_a_solicitation_that_came_through_a_router_is_dropped(service, network):
    near, far = (network.make(network.client, lambda hops=hops: solicitor(hops)) for hops in (255, 64))
    assert isinstance(near, socket.socket)
    assert isinstance(far, socket.socket)
    with near, far:
        for _ in range(3):
            solicit(far)
        far.settimeout(0.5)
        with pytest.raises(TimeoutError):
            far.recv(2048)
        solicit(near)
        assert near.recv(2048)[0] == 134
