"""Bad neighbours on a real wire: other servers, addresses in use, floods; and nodes that are served all the same."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bootserver.cluster.addresses import InUse
from bootserver.cluster.discovery import Request, open_discovery
from bootserver.cluster.events import Kind
from bootserver.netboot.dhcp import neighbourhood, sightings, waiting
from bootserver.netboot.dhcp.guard import TOLD_OF_ONE
from bootserver.netboot.dhcp.request import MessageType
from bootserver.values.mac import MacAddress
from tests import views
from tests.cluster import wait_until
from tests.frontend import PATIENCE, prepared
from tests.lab.site_dhcp import Station
from tests.protocol.test_dhcp import (
    FRONTEND,
    NODE_IP,
    PXE,
    RELAY_IP,
    STRANGER,
    Client,
    Service,
    Wire,
    message,
    needs,
    pytestmark,  # noqa: F401
    script,
    variables,
)

ROGUE = "10.1.0.66"
PATIENCE_IN_FLOOD = 30.0


class Watchful(Service):
    """The server under test, which looks for other servers and tells of addresses in use."""

    look_seconds = 0.3


@pytest.fixture(scope="module")
def network() -> Iterator[Wire]:
    with Wire() as made:
        yield made


@pytest.fixture
def private():
    return views.network(device="s0")


@pytest.fixture
def known(private):
    return [views.node(on=private), views.node(1, mac=MacAddress.parse("52:54:00:00:00:02"), ip=RELAY_IP, on=private)]


@pytest.fixture
def service(network, private, known, monkeypatch) -> Iterator[Watchful]:
    monkeypatch.setattr(neighbourhood, "FIRST_LOOK", 0.1)
    with Watchful(network, views.view(known, networks=[private])) as running:
        yield running


@contextlib.contextmanager
def address(network: Wire, *addresses: str) -> Iterator[None]:
    """Addresses that somebody on the clients' side has, and answers ARP for."""
    for each in addresses:
        network._ip("-n", network.client, "addr", "add", f"{each}/16", "dev", "c0")
    try:
        yield
    finally:
        for each in addresses:
            network._ip("-n", network.client, "addr", "del", f"{each}/16", "dev", "c0")


@contextlib.contextmanager
def dnsmasq(network: Wire, folder: Path) -> Iterator[None]:
    """Somebody's forgotten DHCP server."""
    words = [
        "ip", "netns", "exec", network.client, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0",
        "--no-ping", f"--listen-address={ROGUE}", "--interface=c0", "--bind-interfaces", "--leasefile-ro",
        f"--pid-file={folder}/pid",
        "--dhcp-range=10.1.3.1,10.1.3.9,255.255.0.0,2m", "--log-facility=-", "--dhcp-authoritative",
    ]  # fmt: skip
    with address(network, ROGUE), subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            yield
        finally:
            running.terminate()


# --- other servers -----------------------------------------------------------------------------------------------------


@needs("dnsmasq")
def test_another_server_is_told_of_with_its_mac_and_address_and_not_twice(service, network, tmp_path):
    with dnsmasq(network, tmp_path):
        wait_until("an alarm", service.alarms, PATIENCE)
        time.sleep(1.0)  # three more questions
    [alarm] = service.alarms()
    # Which of its addresses it names is its own choice.
    assert alarm["server"] in (ROGUE, RELAY_IP)
    assert (alarm["mac"], alarm["device"]) == (views.MAC, "s0")
    assert str(alarm["offers"]).startswith("10.1.3.")


@needs("dnsmasq")
def test_a_server_that_may_be_there_is_no_news(network, private, known, tmp_path, monkeypatch):
    monkeypatch.setattr(neighbourhood, "FIRST_LOOK", 0.1)
    monkeypatch.setattr(Watchful, "allowed", frozenset(map(IPv4Address, (ROGUE, RELAY_IP))))
    with Watchful(network, views.view(known, networks=[private])) as service, Client(network) as client:
        with dnsmasq(network, tmp_path):
            replies = (wire_reply for frame, wire_reply in client.replies(wait=5) if frame)
            client.send(message(mac=views.MAC, xid=5))
            assert next(replies, None) is not None
            time.sleep(1.0)
        assert service.alarms() == []


def test_a_server_whose_offer_a_node_took_is_found_out(service, network):
    # The client's side has the address, so its MAC answers for it.
    with address(network, ROGUE), Client(network) as client:
        taken = {50: socket.inet_aton("10.1.3.3"), 54: socket.inet_aton(ROGUE)}
        for xid in range(3):
            client.send(message(MessageType.REQUEST, taken, xid=xid))
        wait_until("an alarm", service.alarms, PATIENCE)
        client.nothing_comes_but_an_offer_to(views.MAC, 99)
    [alarm] = service.alarms()
    assert (alarm["server"], alarm["mac"]) == (ROGUE, views.MAC)


def test_the_question_for_other_servers_is_not_our_own_client(service, network):
    with Client(network) as client:
        client.sniffer.settimeout(5)
        seen = 0
        while seen < 2:
            frame = client.sniffer.recv(4096)
            seen += len(frame) > 300 and frame[34:38] == b"\0\x44\0\x43"
    assert all(event.mac is None or not event.mac[0] & 2 for event in service.events)


# --- addresses in use --------------------------------------------------------------------------------------------------


def test_an_address_that_another_machine_has_is_not_given_to_a_new_one(service, network, private, known):
    fresh = MacAddress.parse("52:54:00:00:00:33")
    service.view = views.view(known, networks=[private], discovery=views.discovery())
    with address(network, "10.1.255.250"), Client(network) as client:
        client.send(message(options=PXE, mac=fresh, flags=0x8000))
        assert service.registrations.get(timeout=PATIENCE).mac == fresh
        taken = views.node(3, mac=fresh, ip="10.1.255.250", on=private)
        service.view = views.view([*known, taken], networks=[private])
        wait_until("the address is found to be in use", lambda: service.in_use, PATIENCE)
        assert service.in_use == [InUse(fresh, IPv4Address("10.1.255.250"), views.MAC)]
        client.send(message(options=PXE, mac=fresh, flags=0x8000))  # it asks again, and gets nothing
        client.nothing_comes_but_an_offer_to(views.MAC, 77)

        free = views.node(3, mac=fresh, ip="10.1.255.249", on=private)
        service.view = views.view([*known, free], networks=[private])
        _, reply = client.reply()
        assert (reply.chaddr[:6], reply.yiaddr) == (fresh, socket.inet_aton("10.1.255.249"))
    [alarm] = service.alarms()
    assert alarm["because"] == f"10.1.255.250 is in use by {views.MAC}"


def test_nor_to_a_node_that_somebody_has_just_added(service, network, private, known):
    added = MacAddress.parse("52:54:00:00:00:34")
    with address(network, "10.1.255.230"), Client(network) as client:
        node = views.node(4, mac=added, ip="10.1.255.230", on=private)
        service.view = views.view([*known, node], networks=[private])
        client.send(message(mac=added))
        wait_until("the address is found to be in use", lambda: service.in_use, PATIENCE)
        client.nothing_comes_but_an_offer_to(views.MAC, 79)


def test_a_known_node_waits_for_nothing_and_who_has_its_address_is_told(service, network):
    squatter = MacAddress.parse("52:54:00:00:00:02")
    with address(network, "10.1.255.240"), Client(network) as client:
        moved = views.node(1, mac=squatter, ip="10.1.255.240", on=service.view.networks[0])
        service.view = views.view([moved], networks=service.view.networks)
        client.send(message(mac=squatter))
        _, reply = client.reply()
        assert reply.yiaddr == socket.inet_aton("10.1.255.240")
        wait_until("an alarm", service.alarms, PATIENCE)
    [alarm] = service.alarms()
    assert (alarm["address"], alarm["by"]) == ("10.1.255.240", str(views.MAC))


def test_declining_for_ever_fills_no_journal_and_keeps_nobody_from_being_served(service, network):
    declines = message(MessageType.DECLINE, {50: socket.inet_aton(NODE_IP), 54: socket.inet_aton(FRONTEND)})
    other = MacAddress.parse("52:54:00:00:00:02")
    with Client(network) as client:
        for number in range(20 * TOLD_OF_ONE):
            client.send(declines)
            if number % 200 == 0:
                client.nothing_comes_but_an_offer_to(other, number)
                time.sleep(0.3)  # the limit for one MAC in a second is another one
    told = [event for event in service.events if event.mac == views.MAC]
    assert 1 <= len(told) <= TOLD_OF_ONE + 1
    assert {event.kind for event in told} <= {Kind.DECLINED, Kind.IGNORED}


# --- floods ------------------------------------------------------------------------------------------------------------

FLOOD = """
import os, random, socket, sys, time
kind, seconds = sys.argv[1], float(sys.argv[2])
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(("c0", 0))
said = b"" if kind == "bootp" else bytes((53, 1, {"discover": 1, "request": 3, "decline": 4}[kind])) + b"\\x3c\\x09PXEClient\\xff"
sent, end = 0, time.monotonic() + seconds
while time.monotonic() < end:
    mac = b"\\x02" + os.urandom(5)
    fixed = b"\\1\\1\\6\\0" + os.urandom(4) + bytes(20) + mac + bytes(202)
    payload = (fixed + (b"\\x63\\x82\\x53\\x63" + said if said else b"")).ljust(300, b"\\0")
    udp = (68).to_bytes(2) + (67).to_bytes(2) + (8 + len(payload)).to_bytes(2) + b"\\0\\0" + payload
    head = b"\\x45\\0" + (20 + len(udp)).to_bytes(2) + b"\\0\\0\\0\\0\\x40\\x11\\0\\0" + bytes(4) + b"\\xff" * 4
    total = sum(int.from_bytes(head[i:i + 2]) for i in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + (0xFFFF - total).to_bytes(2) + head[12:]
    try:
        out.send(b"\\xff" * 6 + mac + b"\\x08\\0" + head + udp)
        sent += 1
    except OSError:
        time.sleep(0.0005)
print(sent)
"""


@contextlib.contextmanager
def flooding(network: Wire, *command: str) -> Iterator[subprocess.Popen[str]]:
    words = ["ip", "netns", "exec", network.client, *command]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as attacker:
        try:
            yield attacker
        finally:
            attacker.terminate()


def attack(network: Wire, kind: str, seconds: float) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    return flooding(network, sys.executable, "-c", FLOOD, kind, str(seconds))


@needs("udhcpc")
@pytest.mark.parametrize("kind", ["bootp", "discover"])
def test_a_known_node_gets_its_address_in_a_flood_of_invented_machines(kind, service, network, private, known, tmp_path):
    # The worst case: a discovery is open that would take any machine.
    service.view = views.view(known, networks=[private], discovery=views.discovery(installs=False))
    with attack(network, kind, 2.0) as attacker:
        time.sleep(0.3)
        done = network.run("udhcpc", "-i", "c0", "-n", "-q", "-f", "-t", "20", "-T", "1", "-s", script(tmp_path))
        assert done.returncode == 0, done.stderr
        assert variables(tmp_path / "env.bound")["ip"] == NODE_IP
        sent = int(attacker.communicate(timeout=PATIENCE_IN_FLOOD)[0])
    assert sent > 2000, "that was no flood"
    wait_until("an alarm", service.alarms, PATIENCE)
    assert [alarm for alarm in service.alarms() if "a flood" in str(alarm["because"])]
    strangers = [event for event in service.events if event.mac is not None and event.mac[0] == 2]
    assert len(strangers) <= sightings.TOLD_AT_ONCE + 5
    assert service.registrations.qsize() <= waiting.MAX_ON_ONE_WAY * 2


@needs("perfdhcp")
@needs("dhcpstarv")
def test_a_starvation_attack_starves_no_node(service, network, private, known):
    # Debian 12's dhcpig is no attack: its DISCOVER is refused by Debian's own scapy. The flood above sends more.
    machines = [
        views.node(rank, mac=MacAddress((0x020000000000 + rank).to_bytes(6)), ip=f"10.1.9.{rank}", on=private)
        for rank in range(60)
    ]
    service.view = views.view([*known, *machines], networks=[private], discovery=views.discovery(installs=False))
    with flooding(network, "dhcpstarv", "-i", "c0", "-p") as attacker:
        asked = {event.mac for event in service.events}
        wait_until("the tool is at work", lambda: len({event.mac for event in service.events} - asked) > 0, PATIENCE)
        options = ("-4", "-r", "100", "-R", "50", "-n", "150", "-b", "mac=02:00:00:00:00:00", "-l", RELAY_IP, "-W", "500000")
        done = network.run("perfdhcp", *options, FRONTEND)
        assert attacker.poll() is None, "the tool ended before the nodes had been served"
    assert done.stdout.count("drops: 0\n") == 2, done.stdout + done.stderr
    own = {machine.interfaces[0].mac for machine in machines} | {views.MAC}
    assert all(event.node is None or event.mac in own for event in service.events if event.kind is Kind.OFFERED)
    assert {views.MAC, STRANGER}.isdisjoint(service.in_use)


# --- the whole service -------------------------------------------------------------------------------------------------


@needs("udhcpc")
def test_a_discovered_machine_is_given_the_next_address_where_its_own_is_in_use(own_network, tmp_path):
    """From the ARP answer through the recorder to the lease: the machine is asked for by nobody."""
    with prepared(tmp_path) as frontend, contextlib.ExitStack() as cables:
        frontend.settings(dns={"enabled": False})
        frontend.start()
        squatter, fresh = "02:00:00:00:00:99", "52:54:00:00:00:44"
        has = [f"10.77.0.{number}/24" for number in (254, 253)]
        cables.enter_context(Station(frontend.namespace, "squat", mac=squatter, addresses=has))
        machine = cables.enter_context(Station(frontend.namespace, "fresh", mac=fresh))
        with frontend.change() as change:
            open_discovery(change, Request(appliance="switch"), "test")
        done = machine.run("udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "20", "-T", "1", "-s", str(script(tmp_path)))
        assert done.returncode == 0, done.stderr + frontend.log()
        assert variables(tmp_path / "env.bound")["ip"] == "10.77.0.252"
        assert str(frontend.seen("switch-0-0").interfaces[0].ip) == "10.77.0.252"
        assert {str(event.detail["by"]) for event in frontend.events(Kind.ALARM)} == {squatter}
