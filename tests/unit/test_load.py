"""The view: what the tables say, with all that is inherited already worked out."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from bootserver.cluster import attributes, installs, networks, nodes
from bootserver.cluster.actions import SHIPPED
from bootserver.cluster.attributes import EVERYWHERE
from bootserver.cluster.discovery import Request
from bootserver.db.rows import BootActionRow
from tests.cluster import Cluster, mac, uuid


def test_a_node_is_found_by_name_mac_address_and_uuid(cluster: Cluster) -> None:
    cluster.add(1)
    with cluster.change() as change:
        node = change.update(nodes.get(change, "compute-0-0"), uuid=uuid(1).hex())
        nodes.add_interface(change, node, mac=mac(2), ip=None, network=networks.first(change))
    view = cluster.view()
    node_view = view.nodes["compute-0-0"]
    assert view.by_uuid == {uuid(1): node_view}
    assert set(view.by_mac) == {mac(1), mac(2)}
    assert view.by_mac[bytes(mac(2))] == (node_view, node_view.interfaces[1])
    assert view.by_ip[IPv4Address("10.1.255.253")] == (node_view, node_view.interfaces[1])
    assert [each.device for each in node_view.interfaces] == ["eth0", "eth1"]


def test_an_empty_cluster_has_its_network_and_nothing_else(cluster: Cluster) -> None:
    view = cluster.view()
    [network] = view.networks
    assert (network.name, str(network.subnet), network.device) == ("private", "10.1.0.0/16", "eth1")
    assert network.nameservers == (), "no server answers names until one is named"
    assert not view.nodes and not view.by_mac and not view.by_ip and view.discovery is None
    assert view.network_of(IPv4Address("10.1.7.7")) == network
    assert view.network_of(IPv4Address("192.0.2.1")) is None


def test_an_interface_without_mac_or_address_is_in_no_index(cluster: Cluster) -> None:
    cluster.add(1)
    with cluster.change() as change:
        [nic] = nodes.interfaces(change, nodes.get(change, "compute-0-0"))
        change.update(nic, mac=None, ip=None)
    view = cluster.view()
    assert not view.by_mac and not view.by_ip and "compute-0-0" in view.nodes


def test_its_number_is_that_of_the_last_change(cluster: Cluster) -> None:
    before = cluster.view().sequence
    cluster.add(1)
    assert cluster.view().sequence == before + 1


def test_an_armed_install_comes_with_its_secret_and_a_parked_one_with_why(cluster: Cluster) -> None:
    cluster.make_installable()
    cluster.add(1)
    cluster.set_action("compute-0-0", "install")
    install = cluster.seen("compute-0-0").install
    assert install is not None and install.parked is None and len(install.secret.reveal()) == 64
    with cluster.change() as change:
        node, row = nodes.get(change, "compute-0-0"), cluster.install("compute-0-0")
        assert row is not None
        installs.park(change, node, row, "an alarm")
    install = cluster.seen("compute-0-0").install
    assert install is not None and install.parked == "an alarm"


def test_an_action_that_is_gone_boots_the_disk(cluster: Cluster) -> None:
    cluster.add(1)
    with cluster.change() as change:
        change.update(nodes.get(change, "compute-0-0"), action="vanished")
    seen = cluster.seen("compute-0-0")
    assert seen.action == SHIPPED["os"] and seen.unresolved == "there is no boot action 'vanished'"


def test_a_site_s_own_os_is_obeyed(cluster: Cluster) -> None:
    cluster.add(1)
    with cluster.change() as change:
        change.insert(BootActionRow(0, "os", None, "diskless/vmlinuz", (), "", False, None))
    assert cluster.seen("compute-0-0").action.kernel == "diskless/vmlinuz"


@pytest.mark.parametrize("name", ["install", "install headless"])
def test_an_install_follows_the_attributes_as_they_are_now(cluster: Cluster, name: str) -> None:
    cluster.add(1)
    with cluster.change() as change:
        change.update(nodes.get(change, "compute-0-0"), action=name)
        attributes.set_attribute(change, EVERYWHERE, "image", "lost")
    assert (
        cluster.seen("compute-0-0").unresolved == "there is no image 'lost': `bootserver image list` shows those that there are"
    )
    with cluster.change() as change:
        attributes.remove_attribute(change, EVERYWHERE, "image")
    unresolved = cluster.seen("compute-0-0").unresolved
    assert unresolved is not None and "neither an image nor a distribution" in unresolved


def test_an_open_discovery_is_seen_and_a_closed_one_is_not(cluster: Cluster) -> None:
    row = cluster.open_discovery(Request(appliance="switch", mac=mac(7), confirm=True))
    seen = cluster.view().discovery
    assert seen is not None
    assert (seen.id, seen.appliance, seen.installs, seen.mac, seen.confirm) == (row.id, "switch", False, mac(7), True)
    with cluster.change() as change:
        change.update(row, open=None)
    assert cluster.view().discovery is None
