"""What the cluster's zones hold: names of nodes and of the frontend, aliases, reverse zones."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.cluster.view import InterfaceView, NodeView, View
from bootserver.netboot.dns.names import Entry, Kind, Names, names, reverse_name, reverse_zones
from bootserver.netboot.dns.zonefile import hosts_file, zone_file
from tests import views

PRIVATE = views.network()
STORAGE = views.network(2, name="storage", subnet="10.9.0.0/24", frontend="10.9.0.1")


def of(view: View, domain: str = "local") -> Names:
    return names(view, frontend="frontend", domain=domain, address=views.FRONTEND)


def node(*interfaces: InterfaceView, rank: int = 0, aliases: str | None = None) -> NodeView:
    made = dataclasses.replace(views.node(rank), interfaces=interfaces) if interfaces else views.node(rank)
    return made if aliases is None else dataclasses.replace(made, attributes={"aliases": aliases})


def nic(device: str, ip: str | None, on: object = PRIVATE) -> InterfaceView:
    return dataclasses.replace(views.node().interfaces[0], device=device, ip=None if ip is None else IPv4Address(ip), network=on)


def test_a_node_has_its_name_and_its_address_points_back() -> None:
    found = of(views.view([views.node()]))
    assert found.entries["compute-0-0.local"] == Entry(Kind.ADDRESS, ("10.1.255.254",), "compute-0-0")
    assert found.entries["254.255.1.10.in-addr.arpa"] == Entry(Kind.POINTER, ("compute-0-0.local",), "compute-0-0")
    assert found.find("compute-0-0") == ("compute-0-0.local", found.entries["compute-0-0.local"])
    assert set(found.zones) == {"local", "1.10.in-addr.arpa"}
    assert not found.troubles


def test_the_frontend_has_its_name_on_each_network() -> None:
    found = of(views.view(networks=[PRIVATE, STORAGE]))
    addresses = {name: entry.values for name, entry in found.entries.items() if entry.kind is Kind.ADDRESS}
    assert addresses == {"frontend.local": ("10.1.1.1",), "frontend-storage.local": ("10.9.0.1",)}
    assert found.entries["1.0.9.10.in-addr.arpa"].values == ("frontend-storage.local",)


def test_one_address_of_the_frontend_that_serves_two_networks_has_one_name() -> None:
    far = views.network(2, name="far", subnet="10.3.0.0/24", device=None, frontend="10.1.1.1")
    found = of(views.view(networks=[PRIVATE, far]))
    assert [name for name, entry in found.entries.items() if entry.kind is Kind.ADDRESS] == ["frontend.local"]


def test_the_first_interface_with_an_address_is_the_node_and_others_add_their_device() -> None:
    several = node(
        nic("bmc", None),
        nic("eth0", "10.1.0.5"),
        nic("ib0", "10.9.0.5", STORAGE),
        nic("eth1.100", "10.1.0.6"),
        nic("Bond0:1", "10.1.0.7"),
    )
    found = of(views.view([several], networks=[PRIVATE, STORAGE]))
    assert {
        name: entry.values for name, entry in found.entries.items() if entry.owner == "compute-0-0" and name.endswith("local")
    } == {
        "compute-0-0.local": ("10.1.0.5",),
        "compute-0-0-ib0.local": ("10.9.0.5",),
        "compute-0-0-eth1-100.local": ("10.1.0.6",),
        "compute-0-0-bond0-1.local": ("10.1.0.7",),
    }
    assert found.entries["5.0.9.10.in-addr.arpa"].values == ("compute-0-0-ib0.local",)


def test_a_network_with_a_domain_of_its_own_has_the_names_in_there_too() -> None:
    storage = dataclasses.replace(STORAGE, domain="storage.example")
    found = of(views.view([node(nic("eth0", "10.1.0.5"), nic("ib0", "10.9.0.5", storage))], networks=[PRIVATE, storage]))
    assert set(found.zones) >= {"local", "storage.example"}
    for name in ("compute-0-0.storage.example", "compute-0-0-ib0.storage.example", "compute-0-0-ib0.local"):
        assert found.entries[name].values == ("10.9.0.5",)
    assert found.entries["frontend.storage.example"].values == ("10.9.0.1",)
    assert found.entries["5.0.9.10.in-addr.arpa"].values == ("compute-0-0-ib0.storage.example",)


def test_a_domain_below_another_is_part_of_its_zone() -> None:
    storage = dataclasses.replace(STORAGE, domain="storage.local")
    found = of(views.view([node(nic("ib0", "10.9.0.5", storage))], networks=[PRIVATE, storage]))
    assert "storage.local" not in found.zones
    zone = found.zone_of("compute-0-0.storage.local")
    assert zone is not None and zone.apex == "local"
    assert "storage.local" in found.inner


def test_aliases_are_words_in_the_clusters_domain() -> None:
    found = of(views.view([node(aliases="www, Mail.local. a.b")]))
    for alias in ("www.local", "mail.local", "a.b.local"):
        assert found.entries[alias] == Entry(Kind.ALIAS, ("compute-0-0.local",), "compute-0-0")
    assert "b.local" in found.inner


@pytest.mark.parametrize(
    ("aliases", "said"),
    [
        ("bad_name", "alias 'bad_name' of compute-0-0 is no name"),
        ("-x", "is no name"),
        ("a..d", "is no name"),
        ("x" * 64, "is no name"),
        ("frontend", "alias frontend of compute-0-0 is a name of frontend's already"),
        ("compute-0-1", "alias compute-0-1 of compute-0-0 is a name of compute-0-1's already"),
    ],
)  # fmt: skip
def test_an_alias_that_can_not_be_is_left_out_and_said(aliases: str, said: str) -> None:
    other = views.node(1, mac=None, ip="10.1.0.9")
    found = of(views.view([node(aliases=aliases), other]))
    assert any(said in trouble for trouble in found.troubles), found.troubles
    assert not [
        entry for name, entry in found.entries.items() if entry.kind is Kind.ALIAS and "." not in name.removesuffix(".local")
    ]


def test_an_inherited_alias_is_one_nodes() -> None:
    nodes = [dataclasses.replace(views.node(rank, ip=f"10.1.0.{rank + 1}"), attributes={"aliases": "all"}) for rank in range(3)]
    found = of(views.view(nodes))
    assert found.entries["all.local"].values == ("compute-0-0.local",)
    assert found.troubles == ("alias all is asked for by 3 nodes: compute-0-0 has it",)


def test_a_node_named_as_another_nodes_interface_keeps_its_name() -> None:
    taken = dataclasses.replace(views.node(1, ip="10.1.0.8"), name="compute-0-0-eth1")
    found = of(views.view([taken, node(nic("eth0", "10.1.0.5"), nic("eth1", "10.1.0.6"))]))
    assert found.entries["compute-0-0-eth1.local"].values == ("10.1.0.8",)
    assert "10.1.0.6 of compute-0-0" in found.troubles[0]


@pytest.mark.parametrize(
    ("subnet", "zones", "parts"),
    [
        ("10.0.0.0/8", ["10"], 0),
        ("10.1.0.0/16", ["1.10"], 0),
        ("192.168.5.0/24", ["5.168.192"], 0),
        ("172.16.0.0/12", [f"{octet}.172" for octet in range(16, 32)], 0),
        ("10.4.0.0/22", ["0.4.10", "1.4.10", "2.4.10", "3.4.10"], 0),
        ("192.168.5.64/26", ["5.168.192"], 1),
    ],
)
def test_reverse_zones_are_cut_at_octets(subnet: str, zones: list[str], parts: int) -> None:
    found = reverse_zones(IPv4Network(subnet))
    assert [zone.apex for zone in found] == [f"{zone}.in-addr.arpa" for zone in zones]
    assert all(len(zone.parts) == parts for zone in found)


def test_of_a_small_network_only_its_own_addresses_are_answered() -> None:
    low = views.network(subnet="192.168.5.0/26", frontend="192.168.5.1")
    high = views.network(2, name="high", subnet="192.168.5.192/26", frontend="192.168.5.193")
    found = of(views.view(networks=[low, high]))
    ours = {last for last in range(256) if found.zone_of(f"{last}.5.168.192.in-addr.arpa")}
    assert ours == set(range(64)) | set(range(192, 256))
    assert found.zone_of("5.168.192.in-addr.arpa") is not None
    for name in (
        "256.5.168.192.in-addr.arpa",
        "0000999.5.168.192.in-addr.arpa",
        "x.5.168.192.in-addr.arpa",
        "٣.5.168.192.in-addr.arpa",
    ):
        assert found.zone_of(name) is None


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_every_address_of_a_network_is_in_exactly_its_zones(address: int, prefix: int) -> None:
    subnet = IPv4Network((address, prefix), strict=False)
    zones = {zone.apex: zone for zone in reverse_zones(subnet)}
    assert len(zones) <= 128
    found = Names(1, "local", "f.local", zones)
    assert found.zone_of(reverse_name(IPv4Address(address))) is not None


def test_the_same_names_at_another_time_are_the_same() -> None:
    one = of(views.view([views.node()]))
    later = dataclasses.replace(one, serial=99)
    assert one.says_the_same(later)
    assert not one.says_the_same(of(views.view([views.node(ip="10.1.0.9")])))


def test_the_serial_is_the_change_logs_number() -> None:
    assert of(dataclasses.replace(views.view(), sequence=4711)).serial == 4711


def test_a_hosts_file_has_short_names_behind_full_ones() -> None:
    lines = list(hosts_file(of(views.view([node(aliases="www")]))))
    assert "10.1.255.254\tcompute-0-0.local compute-0-0 www.local www" in lines


def test_a_zone_file_holds_one_zone() -> None:
    found = of(views.view([node(aliases="www")]))
    forward = list(zone_file(found, found.zones["local"], 60))
    assert forward == [
        "$ORIGIN local.", "$TTL 60", "@ IN SOA frontend.local. hostmaster.local. 1 300 60 1209600 60", "@ IN NS frontend.local.",
        "frontend IN A 10.1.1.1", "compute-0-0 IN A 10.1.255.254", "www IN CNAME compute-0-0.local.",
    ]  # fmt: skip
    reverse = list(zone_file(found, found.zones["1.10.in-addr.arpa"], 60))
    assert reverse[4:] == ["1.1 IN PTR frontend.local.", "254.255 IN PTR compute-0-0.local."]
