"""Nodes by hand: names, ranks, addresses, interfaces; renamed and removed."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from bootserver.cluster import appliances, attributes, boot_actions, installs, networks, nodes
from bootserver.cluster.actions import BootAction
from bootserver.cluster.nodes import Position
from bootserver.db.rows import CLUSTER_ROWS, Scope
from bootserver.errors import BootserverError, NotFound, Refused, UsageError
from bootserver.values.mac import MacAddress
from tests.cluster import Cluster, mac


def add(cluster: Cluster, rack: int = 0, rank: int | None = None, name: str | None = None, appliance: str = "compute") -> str:
    with cluster.change() as change:
        position = Position(appliances.get(change, appliance), rack, rank)
        return nodes.add(change, position, name=name).name


def test_ranks_go_on_from_the_highest_of_appliance_and_rack(cluster: Cluster) -> None:
    assert [add(cluster), add(cluster), add(cluster, rack=1), add(cluster, appliance="login")] == [
        "compute-0-0",
        "compute-0-1",
        "compute-1-0",
        "login-0-0",
    ]
    assert add(cluster, rank=7) == "compute-0-7"
    assert add(cluster) == "compute-0-8"


def test_a_rank_in_the_middle_that_went_is_not_given_out_again(cluster: Cluster) -> None:
    for _ in range(3):
        add(cluster)
    with cluster.change() as change:
        nodes.remove(change, nodes.get(change, "compute-0-1"))
    assert add(cluster) == "compute-0-3"
    assert add(cluster, rank=1) == "compute-0-1"


def test_a_taken_rank_goes_on_to_the_next_free_one(cluster: Cluster) -> None:
    add(cluster)
    assert add(cluster, rank=0) == "compute-0-1"


def test_a_name_by_hand_is_no_rank_s(cluster: Cluster) -> None:
    assert add(cluster, name="fatnode") == "fatnode"
    with pytest.raises(Refused, match="Node fatnode already exists"):
        add(cluster, name="fatnode")


@pytest.mark.parametrize(("rack", "rank"), [(-1, None), (10_000, None), (0, -1), (0, 100_000)])
def test_racks_and_ranks_have_bounds(cluster: Cluster, rack: int, rank: int | None) -> None:
    with pytest.raises(UsageError):
        add(cluster, rack=rack, rank=rank)
    assert cluster.names() == []


def test_interfaces_are_numbered_and_get_addresses_from_the_top(cluster: Cluster) -> None:
    cluster.add(1)
    with cluster.change() as change:
        node, network = nodes.get(change, "compute-0-0"), networks.first(change)
        nodes.add_interface(change, node, mac=mac(2), ip=None, network=network)
        nodes.add_interface(change, node, mac=mac(3), ip=IPv4Address("10.1.0.3"), network=network, device="ib0")
        nodes.add_interface(change, node, mac=None, ip=None, network=network)
    assert [(row.device, str(row.ip)) for row in cluster.interfaces("compute-0-0")] == [
        ("eth0", "10.1.255.254"),
        ("eth1", "10.1.255.253"),
        ("ib0", "10.1.0.3"),
        ("eth2", "10.1.255.252"),
    ]


REFUSED = {
    "a MAC that is another's": ({"mac": mac(1)}, "Duplicate MAC '52:54:00:00:00:01' Specified: it is compute-0-0's"),
    "a group address": ({"mac": MacAddress.parse("01:00:5e:00:00:01")}, "group address"),
    "an address that is another's": ({"ip": IPv4Address("10.1.255.254")}, "Duplicate IP '10.1.255.254' Specified"),
    "the frontend's address": ({"ip": IPv4Address("10.1.1.1")}, "Duplicate IP '10.1.1.1' Specified"),
    "the broadcast address": ({"ip": IPv4Address("10.1.255.255")}, "network or broadcast address"),
    "the network's own address": ({"ip": IPv4Address("10.1.0.0")}, "network or broadcast address"),
    "an address of no network": ({"ip": IPv4Address("192.0.2.1")}, "is in no network of the cluster"),
    "a device that it has": ({"device": "eth0"}, "compute-0-0 has an interface eth0 already"),
    "a device with a newline": ({"device": "eth1\n"}, "is no network interface name"),
}


@pytest.mark.parametrize(("given", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_taken_or_wrong_is_refused_by_name(cluster: Cluster, given: dict[str, object], said: str) -> None:
    cluster.add(1)
    wanted = {"mac": mac(2), "ip": None, "device": None} | given
    with pytest.raises(BootserverError, match=said.replace(".", r"\.")), cluster.change() as change:
        nodes.add_interface(change, nodes.get(change, "compute-0-0"), network=networks.first(change), **wanted)
    assert len(cluster.interfaces("compute-0-0")) == 1


def test_a_name_that_is_taken_is_refused(cluster: Cluster) -> None:
    cluster.add(1)
    cluster.add(2)
    with pytest.raises(Refused, match="Node compute-0-1 already exists"), cluster.change() as change:
        nodes.rename(change, nodes.get(change, "compute-0-0"), "compute-0-1")
    with pytest.raises(UsageError), cluster.change() as change:
        nodes.rename(change, nodes.get(change, "compute-0-0"), "compute\n0")
    assert cluster.names() == ["compute-0-0", "compute-0-1"]


def test_a_removed_node_leaves_nothing_of_itself(cluster: Cluster) -> None:
    cluster.make_installable()
    with cluster.read() as reader:
        before = [(row.table, row.id) for kind in CLUSTER_ROWS for row in reader.rows(kind)]
    node = cluster.add(1)
    cluster.set_action("compute-0-0", "install")
    with cluster.change() as change:
        installs.make_node_key(change, node)
        attributes.set_attribute(change, attributes.Place(Scope.NODE, node.id), "color", "red")
        boot_actions.add(change, BootAction("own", kernel="own/vmlinuz"), node)
    with cluster.change() as change:
        nodes.remove(change, nodes.get(change, "compute-0-0"))
    with cluster.read() as reader:
        assert [(row.table, row.id) for kind in CLUSTER_ROWS for row in reader.rows(kind)] == before


def test_who_is_not_there_is_named(cluster: Cluster) -> None:
    with pytest.raises(NotFound, match="no node 'compute-0-0': `bootserver node list`"), cluster.read() as reader:
        nodes.get(reader, "compute-0-0")
