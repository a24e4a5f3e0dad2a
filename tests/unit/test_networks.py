"""Networks: which there are, and which address is free."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from bootserver.cluster import appliances, discovery, networks, nodes, seed
from bootserver.cluster.undo import undo
from bootserver.config import Config, Frontend, Network
from bootserver.db.rows import ApplianceRow, InterfaceRow, NetworkRow
from bootserver.errors import BootserverError, NotFound, Refused, UsageError
from tests.cluster import Cluster, machine


def add(cluster: Cluster, name: str = "storage", subnet: str = "10.9.0.0/29", **given: object) -> NetworkRow:
    wanted = {"frontend": IPv4Address("10.9.0.1"), "device": None, "gateway": None, "nameservers": [], "domain": "local"} | given
    with cluster.change() as change:
        return networks.add(change, name, IPv4Network(subnet), **wanted)


def test_a_network_gives_out_all_its_addresses_from_the_top_and_then_says_that_it_is_full(cluster: Cluster) -> None:
    network = add(cluster, gateway=IPv4Address("10.9.0.4"), nameservers=[IPv4Address("10.9.0.2")])
    with cluster.change() as change:
        node = nodes.add(change, nodes.Position(appliances.get(change, "compute")))
        given = [str(nodes.add_interface(change, node, mac=None, ip=None, network=network).ip) for _ in range(3)]
        # .7 is the broadcast address, .4 the gateway's, .2 a name server's, .1 the frontend's, .0 the network's
        assert given == ["10.9.0.6", "10.9.0.5", "10.9.0.3"]
        with pytest.raises(Refused, match=r"network storage \(10\.9\.0\.0/29\) has no free address left"):
            nodes.add_interface(change, node, mac=None, ip=None, network=network)


@pytest.mark.parametrize(
    ("start", "step", "found"),
    [
        (None, 1, "10.1.255.254"),
        ("10.1.255.254", 1, "10.1.255.254"),
        ("10.1.0.9", 1, "10.1.0.9"),
        ("10.1.0.9", 3, "10.1.0.9"),
        ("10.1.1.1", 1, "10.1.1.0"),  # the frontend has it
        ("10.1.1.1", 256, "10.1.0.1"),
        ("10.1.255.255", 1, "10.1.255.254"),  # nobody may have the broadcast address
    ],
)
def test_a_free_address_is_looked_for_downwards_in_steps(cluster: Cluster, start: str | None, step: int, found: str) -> None:
    with cluster.read() as reader:
        network = networks.first(reader)
        address = networks.free_address(reader, network, None if start is None else IPv4Address(start), step)
    assert str(address) == found


def test_a_free_address_is_found_behind_many_that_are_taken(cluster: Cluster) -> None:
    with cluster.change() as change:
        node, network = nodes.add(change, nodes.Position(appliances.get(change, "compute"))), networks.first(change)
        for low in range(600):
            change.insert(InterfaceRow(0, node.id, f"e{low}", None, IPv4Address("10.1.255.254") - low, network.id))
        assert networks.free_address(change, network, None, 1) == IPv4Address("10.1.255.254") - 600
        assert networks.free_address(change, network, None, 7) == IPv4Address("10.1.255.254") - 602
        with pytest.raises(Refused, match="no free address left below"):
            networks.free_address(change, network, IPv4Address("10.1.0.0"), 1)


WRONG = {
    "overlaps": ({"subnet": "10.1.0.0/24"}, "overlaps network private"),
    "exists": ({"name": "private"}, "exists already"),
    "no room": ({"subnet": "10.9.0.0/31"}, "has no room for nodes"),
    "gateway elsewhere": ({"gateway": IPv4Address("10.8.0.1")}, "gateway 10.8.0.1 is not in"),
    "frontend elsewhere": ({"device": "eth2", "frontend": IPv4Address("10.8.0.1")}, "is not in 10.9.0.0/29"),
    "a bad domain": ({"domain": "a b"}, "is no domain name"),
    "a bad device": ({"device": "eth 2"}, "is no network interface name"),
}


@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_network_that_can_not_be_is_refused(cluster: Cluster, given: dict[str, object], said: str) -> None:
    with pytest.raises(BootserverError, match=said):
        add(cluster, **given)
    with cluster.read() as reader:
        assert [row.name for row in reader.rows(NetworkRow)] == ["private"]


def test_a_network_that_only_a_relay_reaches_may_have_its_frontend_elsewhere(cluster: Cluster) -> None:
    assert add(cluster, frontend=IPv4Address("10.1.1.1")).device is None


def test_an_altered_network_must_still_fit(cluster: Cluster) -> None:
    with pytest.raises(UsageError, match="gateway"), cluster.change() as change:
        networks.alter(change, "private", gateway=IPv4Address("192.0.2.1"))
    with cluster.change() as change:
        networks.alter(change, "private", gateway=IPv4Address("10.1.1.2"), nameservers=[IPv4Address("10.1.1.3")])
    [network] = cluster.view().networks
    assert (str(network.gateway), [str(each) for each in network.nameservers]) == ("10.1.1.2", ["10.1.1.3"])


def test_a_network_in_use_stays(cluster: Cluster) -> None:
    cluster.add(1)
    with pytest.raises(Refused, match="network private is in use"), cluster.change() as change:
        networks.remove(change, "private")


@pytest.mark.parametrize("kind", ["network", "appliance"])
def test_a_past_discovery_keeps_nothing_from_being_removed_and_an_open_one_does(cluster: Cluster, kind: str) -> None:
    def remove() -> None:
        with cluster.change() as change:
            networks.remove(change, "private") if kind == "network" else appliances.remove(change, "compute")

    row = cluster.open_discovery()
    with pytest.raises(Refused, match="insert-ethers --close"):
        remove()
    with cluster.change() as change:
        discovery.close(change, row)
    remove()
    with cluster.read() as reader:
        assert not [
            each for each in reader.rows(NetworkRow if kind == "network" else ApplianceRow) if each.name in ("private", "compute")
        ]
    with cluster.change() as change:
        undo(change, change.connection.rows("SELECT max(sequence) AS last FROM change")[0]["last"])
    cluster.open_discovery()
    assert cluster.register(machine(1)).name == "compute-0-0"


def test_who_is_not_there_is_named_with_those_that_are(cluster: Cluster) -> None:
    with cluster.read() as reader, pytest.raises(NotFound, match="no network 'x'; there are private"):
        networks.get(reader, "x")
    with cluster.read() as reader, pytest.raises(NotFound, match="no appliance 'x'; there are compute, login"):
        appliances.get(reader, "x")


# -- what a cluster begins with -----------------------------------------------------------------------------------


def configured(cluster: Cluster, address: str, subnet: str) -> Config:
    network = Network(address=IPv4Address(address), subnet=IPv4Network(subnet))
    return Config(frontend=Frontend(state=cluster.state), network=network)


def test_seeding_again_changes_nothing(cluster: Cluster) -> None:
    before = cluster.dump()
    with cluster.change() as change:
        seed.seed(change, configured(cluster, "10.1.1.1", "10.1.0.0/16"))
    assert cluster.dump() == before


def test_another_subnet_is_taken_over_while_nobody_is_in_the_old_one(cluster: Cluster) -> None:
    with cluster.change() as change:
        discovery.close(change, discovery.open_discovery(change, discovery.Request(), "root"))
        seed.seed(change, configured(cluster, "10.7.0.1", "10.7.0.0/24"))
    assert [str(network.subnet) for network in cluster.view().networks] == ["10.7.0.0/24"]
    cluster.add(1)
    with pytest.raises(Refused, match="in use"), cluster.change() as change:
        seed.seed(change, configured(cluster, "10.8.0.1", "10.8.0.0/24"))
