"""Names, as real resolvers, secondaries and a site's own servers see them: dig, kdig, BIND and Knot."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import dns.flags
import dns.message
import pytest

from bootserver.cluster import attributes, nodes
from bootserver.cluster.attributes import Place
from bootserver.cluster.events import Kind
from bootserver.config import load
from bootserver.db.rows import Scope
from tests import nameservers
from tests.cluster import wait_until
from tests.frontend import Frontend, prepared
from tests.nameservers import BIND, BIND_PRIMARY, CLUSTER, KNOT, KNOT_PRIMARY, MEMBER, STRANGER, Key, Site

DOMAIN = "cluster.test"
REVERSE = "0.77.10.in-addr.arpa"
PER_CLIENT = 300
LATE = "10.77.0.2"
"""An address of the frontend's that is there only after the service."""
WORLD = """
zone "example.org" { type primary; file "DIR/example.org"; };
"""
WORLD_ZONE = """$TTL 300
@ IN SOA ns hostmaster 1 300 60 86400 120
@ IN NS ns
ns IN A 198.51.100.1
www IN A 198.51.100.7
short 2 IN A 198.51.100.8
big IN TXT ( {} )
"""
SECONDARY_BIND = f"""
server {CLUSTER} {{ keys {{ transfer; }}; }};
zone "{DOMAIN}" {{ type secondary; primaries {{ {CLUSTER} key transfer; }}; file "DIR/cluster"; }};
zone "{REVERSE}" {{ type secondary; primaries {{ {CLUSTER} key transfer; }}; file "DIR/reverse"; }};
"""
SECONDARY_KNOT = f"""
remote:
  - id: cluster
    address: {CLUSTER}@53
    key: transfer
    via: {KNOT}
acl:
  - id: notify
    address: {CLUSTER}
    action: notify
    key: transfer
zone:
  - domain: {DOMAIN}
    storage: DIR
    master: cluster
    acl: notify
"""


class Cluster:
    """A frontend at work, and a site around it."""

    def __init__(self, frontend: Frontend, site: Site) -> None:
        self.frontend = frontend
        self.site = site
        self.numbers = iter(range(1, 200))

    def add(self) -> tuple[str, str]:
        """A node. :returns: its short name and address."""
        return self.frontend.add_node(next(self.numbers))

    def move(self, name: str, address: str) -> None:
        with self.frontend.change() as change:
            row = nodes.get(change, name)
            change.update(nodes.interfaces(change, row)[0], ip=IPv4Address(address))

    def alias(self, name: str, words: str) -> None:
        with self.frontend.change() as change:
            attributes.set_attribute(change, Place(Scope.NODE, nodes.get(change, name).id), "aliases", words)

    def remove(self, name: str) -> None:
        with self.frontend.change() as change:
            nodes.remove(change, nodes.get(change, name))

    def part(self) -> int:
        [pid] = [pid for pid, name in self.frontend.processes().items() if name == "bs-dns"]
        return pid

    def settings(self, **values: str | int | bool | list[str]) -> None:
        self.frontend.settings(dns=values)  # type: ignore[arg-type]  # a list is written as JSON writes it, too


@pytest.fixture(scope="module")
def cluster(own_network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if missing := nameservers.what_is_missing():
        pytest.skip(missing)
    logs = tmp_path_factory.mktemp("dns")
    with prepared(logs) as frontend, Site(frontend.namespace, logs) as site:
        frontend.config.write_text(frontend.config.read_text().replace('domain = "local"', f'domain = "{DOMAIN}"'))
        frontend.init()
        made = Cluster(frontend, site)
        user = load(frontend.config).frontend.user
        for key in (site.transfer, site.update):
            give(frontend, key, user)
        made.settings(
            forwarders=[BIND], secondaries=[BIND, KNOT], transfer_key=str(frontend.state / "transfer.key"), per_client=PER_CLIENT,
            update_server=BIND_PRIMARY, update_key=str(frontend.state / "update.key"), forward_seconds=2, listen=[LATE],
        )  # fmt: skip
        (logs / f"bind-{BIND}").mkdir()
        big = " ".join(f'"{letter * 200}"' for letter in "abcdefghijklmnop")
        (logs / f"bind-{BIND}" / "example.org").write_text(WORLD_ZONE.format(big))
        frontend.start()
        yield made


def give(frontend: Frontend, key: Key, user: str, name: str | None = None) -> Path:
    """A key's file, as an administrator keeps it: the service's, and nobody else's."""
    import shutil

    path = frontend.state / f"{name or key.name}.key"
    path.write_text(key.bind)
    path.chmod(0o600)
    shutil.chown(path, user, user)
    return path


@pytest.fixture(scope="module")
def world(cluster: Cluster) -> Iterator[None]:
    """A server that knows all other names, and is the cluster's secondary."""
    process = cluster.site.bind(BIND, WORLD + SECONDARY_BIND)
    yield
    cluster.site.stop(process)


# -- a site's own server, which is away at first ------------------------------------------------------------------


def test_a_sites_bind_is_told_of_every_change_also_of_those_while_it_was_away(cluster: Cluster) -> None:
    site = cluster.site
    early, early_address = cluster.add()
    cluster.frontend.told(
        Kind.ALARM, because=f"DNS server {BIND_PRIMARY} does not answer (Connection refused): what has changed waits"
    )
    primary = site.bind_primary()
    site.says(BIND_PRIMARY, f"{early}.{DOMAIN}", "A", early_address)
    last = early_address.rpartition(".")[2]
    site.says(BIND_PRIMARY, f"{last}.{REVERSE}", "PTR", f"{early}.{DOMAIN}.")
    site.says(BIND_PRIMARY, f"frontend.{DOMAIN}", "A", CLUSTER)
    cluster.frontend.says("the server takes updates again")

    by_hand = f"server {BIND_PRIMARY}\nupdate add printer.{DOMAIN}. 60 A 10.77.0.9\nsend\n"
    nsupdate = site.run("sh", "-c", 'printf "$1" | nsupdate -y "$2"', "sh", by_hand.replace("\n", "\\n"), site.update.dig)
    assert nsupdate.returncode == 0, nsupdate.stderr

    cluster.alias(early, "alias")
    site.says(BIND_PRIMARY, f"alias.{DOMAIN}", "CNAME", f"{early}.{DOMAIN}.")
    site.stop(primary)
    late, late_address = cluster.add()
    cluster.remove(early)
    cluster.frontend.stop()  # what waits is on the disk, and not in a process
    cluster.frontend.start()
    primary = site.bind_primary()
    try:
        site.says(BIND_PRIMARY, f"{late}.{DOMAIN}", "A", late_address)
        site.says(BIND_PRIMARY, f"{early}.{DOMAIN}", "A")
        site.says(BIND_PRIMARY, f"alias.{DOMAIN}", "CNAME")
        site.says(BIND_PRIMARY, f"printer.{DOMAIN}", "A", "10.77.0.9")
    finally:
        site.stop(primary)


# -- the cluster's own names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["+notcp", "+tcp", "+noedns", "+bufsize=4096", "+dnssec"])
def test_a_node_is_found_by_its_names_and_by_its_address(cluster: Cluster, way: str) -> None:
    name, address = cluster.add()
    cluster.alias(name, f"db-{name} mail-{name}")
    cluster.site.says(CLUSTER, f"db-{name}.{DOMAIN}", "A", f"{name}.{DOMAIN}.", address)
    short = cluster.site.short
    assert short(way, f"{name}.{DOMAIN}") == [address]
    assert short(way, f"{name}") == [address]
    assert short(way, f"{name}.{DOMAIN}".upper()) == [address]
    assert short(way, "-x", address) == [f"{name}.{DOMAIN}."]
    assert short(way, f"mail-{name}.{DOMAIN}", "CNAME") == [f"{name}.{DOMAIN}."]
    assert short(way, f"frontend.{DOMAIN}") == [CLUSTER]
    assert short(way, DOMAIN, "NS") == [f"frontend.{DOMAIN}."]
    said = cluster.site.dig(way, f"nobody.{DOMAIN}")
    assert "status: NXDOMAIN" in said and re.search(r"^cluster\.test\.\s+60\s+IN\s+SOA", said, re.MULTILINE)
    assert "status: NOERROR" in cluster.site.dig(way, f"{name}.{DOMAIN}", "AAAA")


def test_kdig_agrees(cluster: Cluster) -> None:
    name, address = cluster.add()
    said = cluster.site.run("kdig", f"@{CLUSTER}", "+nsid", "+cookie", f"{name}.{DOMAIN}").stdout
    assert "status: NOERROR" in said and address in said and "WARNING" not in said
    said = cluster.site.run("kdig", f"@{CLUSTER}", "+tcp", "-t", "SOA", REVERSE).stdout
    assert f"frontend.{DOMAIN}. hostmaster.{DOMAIN}." in said


def test_a_change_is_answered_at_once(cluster: Cluster) -> None:
    name, _ = cluster.add()
    for last in (101, 102, 103):
        cluster.site.short(f"{name}.{DOMAIN}")  # what was kept must not stay
        cluster.move(name, f"10.77.0.{last}")
        began = time.monotonic()
        with contextlib.closing(cluster.frontend.socket(socket.SOCK_DGRAM)) as udp:
            udp.connect((CLUSTER, 53))
            query = dns.message.make_query(f"{name}.{DOMAIN}", "A").to_wire()
            wait_until("the new address is answered", partial(answers, udp, query, bytes((10, 77, 0, last))))
        assert cluster.site.short(f"{name}.{DOMAIN}") == [f"10.77.0.{last}"]
        assert cluster.site.short("-x", f"10.77.0.{last}") == [f"{name}.{DOMAIN}."]
        print(f"answered {1e3 * (time.monotonic() - began):.0f} ms after the change")
    cluster.remove(name)
    cluster.site.says(CLUSTER, f"{name}.{DOMAIN}", "A")
    assert cluster.site.short("-x", "10.77.0.103") == []


def answers(udp: socket.socket, query: bytes, wanted: bytes) -> bool:
    udp.send(query)
    return wanted in udp.recv(4096)


def test_an_address_that_comes_later_than_the_service_is_answered_on(cluster: Cluster) -> None:
    cluster.frontend.namespace.run(["ip", "address", "add", f"{LATE}/32", "dev", "br0"])
    cluster.site.says(LATE, f"frontend.{DOMAIN}", "A", CLUSTER)
    assert cluster.site.short("+tcp", f"frontend.{DOMAIN}", server=LATE) == [CLUSTER]


def test_a_reload_takes_new_settings_and_answers_go_on(cluster: Cluster) -> None:
    frontend = cluster.frontend

    def ttl() -> str | None:
        found = re.search(r"^frontend\.\S+\s+(\d+)", cluster.site.dig(f"frontend.{DOMAIN}"), re.MULTILINE)
        return found and found[1]

    with settings(cluster, ttl=77):
        os.kill(frontend.pid, signal.SIGHUP)
        wait_until("the new time is told", lambda: ttl() == "77", 30)
    os.kill(frontend.pid, signal.SIGHUP)
    wait_until("the old time is told", lambda: ttl() == "60", 30)


def test_nobody_learns_what_is_nobodys_business(cluster: Cluster) -> None:
    for words in (["version.bind", "CH", "TXT"], ["hostname.bind", "CH", "TXT"], ["id.server", "CH", "TXT"]):
        assert "status: REFUSED" in cluster.site.dig(*words)
    said = cluster.site.dig("+notcp", f"frontend.{DOMAIN}", "ANY")
    assert "ANSWER: 1," in said


def test_the_part_is_no_root_and_has_no_capabilities(cluster: Cluster) -> None:
    status = Path(f"/proc/{cluster.part()}/status").read_text()
    uids = re.search(r"^Uid:\s+(.*)$", status, re.MULTILINE)
    assert uids is not None and set(uids[1].split()) != {"0"}
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)


def test_a_killed_part_comes_back_and_answers(cluster: Cluster) -> None:
    name, address = cluster.add()
    cluster.site.says(CLUSTER, f"{name}.{DOMAIN}", "A", address)
    cluster.frontend.kill("dns")
    cluster.site.says(CLUSTER, f"{name}.{DOMAIN}", "A", address)


def test_no_datagram_ends_the_loop(cluster: Cluster) -> None:
    name, address = cluster.add()
    before = cluster.part()
    query = dns.message.make_query(f"{name}.{DOMAIN}", "A").to_wire()
    with contextlib.closing(cluster.frontend.socket(socket.SOCK_DGRAM, source=cluster.add()[1])) as udp:
        udp.connect((CLUSTER, 53))
        for number in range(250):
            damaged = bytearray(query)
            damaged[number % len(query)] ^= 1 << number % 8
            for datagram in (os.urandom(number), bytes(damaged), query[: number % len(query)], bytes((0xC0, 0x0C)) * number, b""):
                with contextlib.suppress(OSError):
                    udp.send(datagram)
    connection = cluster.frontend.connect(port=53)
    connection.sendall(b"\xff\xff" + os.urandom(100))
    connection.close()
    connection = cluster.frontend.connect(port=53)
    connection.sendall(b"\0\x0c" + b"\0" * 11)  # half a message
    assert cluster.site.short(f"{name}.{DOMAIN}") == [address]
    connection.close()
    assert cluster.part() == before
    assert "defect" not in cluster.frontend.log()


def MEMBER_OF_LOOPBACK(cluster: Cluster) -> str:  # noqa: N802
    return cluster.add()[1]


def test_a_flood_from_one_address_is_cut_short_and_others_are_answered(cluster: Cluster) -> None:
    name, address = cluster.add()
    _, flooder = cluster.add()
    query = dns.message.make_query(f"{name}.{DOMAIN}", "A").to_wire()
    with contextlib.closing(cluster.frontend.socket(socket.SOCK_DGRAM, source=flooder)) as udp:
        udp.connect((CLUSTER, 53))
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        for _ in range(PER_CLIENT * 6):
            udp.send(query)
        assert cluster.site.short("+notcp", f"{name}.{DOMAIN}") == [address]
        udp.settimeout(0.5)
        answers = []
        with contextlib.suppress(TimeoutError):
            while True:
                answers.append(dns.message.from_wire(udp.recv(4096)))
    whole = [each for each in answers if each.answer]
    cut = [each for each in answers if each.flags & dns.flags.TC]
    assert PER_CLIENT <= len(whole) < PER_CLIENT * 5
    assert cut and all(len(each.to_wire()) <= len(query) for each in cut)
    assert len(whole) + len(cut) < PER_CLIENT * 6


# -- other names --------------------------------------------------------------------------------------------------


def test_the_clusters_machines_get_other_names_and_strangers_do_not(cluster: Cluster, world: None) -> None:
    assert cluster.site.short("www.example.org") == ["198.51.100.7"]
    assert cluster.site.short("+tcp", "www.example.org") == ["198.51.100.7"]
    assert "flags: qr rd ra;" in cluster.site.dig("www.example.org")
    for way in ("+notcp", "+tcp"):
        said = cluster.site.dig(way, "www.example.org", source=STRANGER)
        assert "status: REFUSED" in said and "198.51.100.7" not in said
        assert cluster.site.short(way, f"frontend.{DOMAIN}", source=STRANGER) == [CLUSTER], "the zone itself is no secret"
    assert "status: NXDOMAIN" in cluster.site.dig("nobody.example.org")
    assert "status: REFUSED" in cluster.site.dig("+norecurse", "other.example.org")


def test_an_answer_that_is_too_large_for_a_datagram_comes_by_tcp(cluster: Cluster, world: None) -> None:
    [text] = cluster.site.short("big.example.org", "TXT")
    assert len(text) > 3000


def test_what_is_remembered_gets_older_and_is_forgotten_in_time(cluster: Cluster, world: None) -> None:
    def ttl() -> int:
        found = re.search(r"^www\.example\.org\.\s+(\d+)", cluster.site.dig("www.example.org"), re.MULTILINE)
        assert found is not None
        return int(found[1])

    first = ttl()
    time.sleep(1.1)
    assert ttl() < first
    assert re.search(r"^short\.example\.org\.\s+[12]\s", cluster.site.dig("short.example.org"), re.MULTILINE)
    time.sleep(2)
    assert re.search(r"^short\.example\.org\.\s+2\s", cluster.site.dig("short.example.org"), re.MULTILINE), "asked for again"


def test_names_of_the_cluster_are_answered_while_the_world_is_away(cluster: Cluster) -> None:
    """No server runs at the forwarder's address in this test, or it runs and does not know the name."""
    name, address = cluster.add()
    cluster.site.says(CLUSTER, f"{name}.{DOMAIN}", "A", address)
    said = cluster.site.dig("+time=10", "+tries=1", "www.nowhere.test")
    assert "status: SERVFAIL" in said
    assert cluster.site.short(f"{name}.{DOMAIN}") == [address]


# -- secondaries --------------------------------------------------------------------------------------------------


def test_bind_and_knot_have_the_zone_and_hear_of_changes(cluster: Cluster, world: None) -> None:
    name, address = cluster.add()
    knot = cluster.site.knot(KNOT, SECONDARY_KNOT)
    try:
        for server in (BIND, KNOT):
            cluster.site.says(server, f"{name}.{DOMAIN}", "A", address)
        cluster.site.says(BIND, "1." + REVERSE, "PTR", f"frontend.{DOMAIN}.")
        other, its_address = cluster.add()
        cluster.remove(name)
        for server in (BIND, KNOT):  # the SOA's refresh is minutes away: this is NOTIFY
            cluster.site.says(server, f"{other}.{DOMAIN}", "A", its_address)
            cluster.site.says(server, f"{name}.{DOMAIN}", "A")
    finally:
        cluster.site.stop(knot)


def test_a_transfer_wants_a_named_secondary_and_its_key(cluster: Cluster) -> None:
    site = cluster.site
    key = site.transfer.dig
    whole = site.dig("-y", key, DOMAIN, "AXFR", source=BIND)
    assert whole.count("IN\tSOA") == 2 and "frontend." in whole
    assert "IN\tSOA" in site.dig("-y", key, DOMAIN, "IXFR=1", source=KNOT)
    wrong = Key("transfer")
    for source, words in (
        (MEMBER, ["-y", key]),
        (STRANGER, ["-y", key]),
        (BIND, []),
        (BIND, ["-y", wrong.dig]),
        (BIND, ["-y", Key("x").dig]),
    ):
        said = site.dig(*words, DOMAIN, "AXFR", source=source)
        assert "IN\tA\t" not in said and "Transfer failed" in said, (source, words)
    told = cluster.frontend.told
    told(Kind.DENIED, **{"from": BIND, "why": "key transfer has another secret than here"})
    told(Kind.DENIED, **{"from": BIND, "why": "nobody here knows key x"})
    told(Kind.DENIED, **{"from": BIND, "why": "its question is not signed with dns.transfer_key", "path": f"dns AXFR {DOMAIN}"})
    told(Kind.DENIED, **{"from": STRANGER, "path": f"dns AXFR {DOMAIN}"})
    lines = [line for line in cluster.frontend.log().splitlines() if "another secret than here" in line]
    assert len(lines) == 1, "one clear line"
    for _ in range(3):
        site.dig("-y", wrong.dig, DOMAIN, "AXFR", source=BIND)
    assert len([line for line in cluster.frontend.log().splitlines() if "another secret than here" in line]) == 1
    assert site.transfer.secret not in cluster.frontend.log()


def test_a_zone_that_is_none_of_ours_is_not_transferred(cluster: Cluster) -> None:
    said = cluster.site.dig("-y", cluster.site.transfer.dig, "example.org", "AXFR", source=BIND)
    assert "Transfer failed" in said


# -- and told by hand ---------------------------------------------------------------------------------------------


def test_a_knot_is_told_by_hand_and_told_all_again(cluster: Cluster) -> None:
    site, frontend = cluster.site, cluster.frontend
    name, address = cluster.add()
    with settings(cluster, update_server=KNOT_PRIMARY):
        process = site.knot_primary()
        try:
            said = frontend.cli("dns", "sync").stdout
            assert re.fullmatch(rf"\d+ names sent to {KNOT_PRIMARY}\n", said)
            site.says(KNOT_PRIMARY, f"{name}.{DOMAIN}", "A", address)
            site.says(KNOT_PRIMARY, f"{address.rpartition('.')[2]}.{REVERSE}", "PTR", f"{name}.{DOMAIN}.")
            assert frontend.cli("dns", "sync").stdout == f"{KNOT_PRIMARY} was told nothing\n"
            lost = f"server {KNOT_PRIMARY}\nzone {DOMAIN}.\nupdate delete {name}.{DOMAIN}. A\nsend\n"
            done = site.run("sh", "-c", 'printf "$1" | nsupdate -y "$2"', "sh", lost.replace("\n", "\\n"), site.update.dig)
            assert done.returncode == 0, done.stderr
            site.says(KNOT_PRIMARY, f"{name}.{DOMAIN}", "A")
            frontend.cli("dns", "sync", "--all")
            site.says(KNOT_PRIMARY, f"{name}.{DOMAIN}", "A", address)
            cluster.remove(name)
            assert frontend.cli("dns", "sync").stdout == f"2 names sent to {KNOT_PRIMARY}\n"
            site.says(KNOT_PRIMARY, f"{name}.{DOMAIN}", "A")
        finally:
            site.stop(process)


@contextlib.contextmanager
def settings(cluster: Cluster, **values: str | int | bool | list[str]) -> Iterator[None]:
    """Other settings, for commands: the service goes on with its own."""
    before = cluster.frontend.config.read_text()
    cluster.settings(**values)
    try:
        yield
    finally:
        cluster.frontend.config.write_text(before)


@pytest.mark.parametrize("server", ["bind", "knot"])
def test_a_wrong_key_is_told_in_one_line(cluster: Cluster, server: str) -> None:
    site, frontend = cluster.site, cluster.frontend
    address = BIND_PRIMARY if server == "bind" else KNOT_PRIMARY
    user = load(frontend.config).frontend.user
    process = site.bind_primary('deny "update" zonesub ANY;') if server == "bind" else site.knot_primary()
    try:
        for number, wrong in enumerate((Key("update"), Key("unknown"))):
            path = give(frontend, wrong, user, f"wrong-{number}")
            with settings(cluster, update_server=address, update_key=str(path)):
                cluster.add()
                done = frontend.cli("dns", "sync", "--all", status=1)
                said = f"DNS server {address} does not take key {wrong.name}: name, algorithm and secret must be those of "
                assert said + "dns.update_key; " in done.stderr and re.search(r"; \d+ names wait\n$", done.stderr), done.stderr
                assert wrong.secret not in done.stderr + done.stdout
    finally:
        site.stop(process)


def test_a_refusal_and_a_zone_that_is_missing_are_told_in_one_line_each(cluster: Cluster) -> None:
    site, frontend = cluster.site, cluster.frontend
    process = site.bind_primary('grant "update" subdomain none.cluster.test. ANY;', zones=[DOMAIN])
    try:
        cluster.add()
        done = frontend.cli("dns", "sync", "--all", status=1)
        lines = done.stderr.splitlines()
        assert lines[0] == f"bootserver: DNS server {BIND_PRIMARY} refuses: key update may not update zone {DOMAIN} there"
        assert lines[1].startswith(
            f"bootserver: DNS server {BIND_PRIMARY} does not have zone {REVERSE}: make it there, and let the key"
        )
        assert len(lines) == 2
    finally:
        site.stop(process)


def test_names_go_into_a_zone_above_the_clusters_own(cluster: Cluster) -> None:
    site, frontend = cluster.site, cluster.frontend
    name, address = cluster.add()
    process = site.bind_primary(zones=["test", "10.in-addr.arpa"])
    try:
        frontend.cli("dns", "sync", "--all")
        site.says(BIND_PRIMARY, f"{name}.{DOMAIN}", "A", address)
        assert "test.\t" in site.dig("test", "SOA", server=BIND_PRIMARY)
        assert site.short("-x", address, server=BIND_PRIMARY) == [f"{name}.{DOMAIN}."]
    finally:
        site.stop(process)


def test_an_exported_zone_is_what_real_servers_load(cluster: Cluster, tmp_path: Path) -> None:
    name, _ = cluster.add()
    for zone in (DOMAIN, REVERSE):
        path = tmp_path / zone
        path.write_text(cluster.frontend.cli("dns", "export", zone).stdout)
        done = cluster.site.run("env", f"PATH={os.environ['PATH']}:/usr/sbin", "named-checkzone", zone, str(path))
        assert done.returncode == 0, done.stdout + done.stderr
    assert f"\n{name} IN A " in (tmp_path / DOMAIN).read_text()
