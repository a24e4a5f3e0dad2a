"""Nodes with several cards: an address on each network before a card is ever seen, and its MAC when it is."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from bootserver.cluster import attributes, interfaces, networks, nodes
from bootserver.cluster.change import Change
from bootserver.cluster.discovery import Request
from bootserver.cluster.events import Kind
from bootserver.db.rows import NetworkRow
from bootserver.errors import NotFound, Refused, UsageError
from bootserver.values.interfaces import Wanted, wanted
from bootserver.values.mac import MacAddress
from tests.administrator import Administrator
from tests.cluster import Cluster, mac, machine, uuid


def add_network(change: Change, name: str, subnet: str, vlan: int | None = None) -> NetworkRow:
    network = IPv4Network(subnet)
    return networks.add(
        change, name, network, frontend=network.network_address + 1, device=f"d-{name}",
        gateway=None, nameservers=[], domain="local", vlan=vlan,
    )  # fmt: skip


@pytest.fixture
def wired(cluster: Cluster) -> Cluster:
    """Each new node is to have a card on `storage` and one on the small `fabric`."""
    with cluster.change() as change:
        add_network(change, "storage", "10.2.0.0/16")
        add_network(change, "fabric", "10.6.0.0/29")
        attributes.set_attribute(change, attributes.EVERYWHERE, "interfaces", "eth1=storage ib0=fabric")
    return cluster


def of(cluster: Cluster, name: str) -> list[tuple[str, MacAddress | None, str]]:
    with cluster.read() as reader:
        return [(row.device, row.mac, str(row.ip)) for row in nodes.interfaces(reader, nodes.get(reader, name))]


def test_a_discovered_node_has_an_address_on_each_network_as_far_from_its_top(wired: Cluster) -> None:
    wired.open_discovery()
    for number in range(3):
        wired.register(machine(number))
    assert of(wired, "compute-0-0") == [
        ("eth0", mac(0), "10.1.255.254"),
        ("eth1", None, "10.2.255.254"),
        ("ib0", None, "10.6.0.6"),
    ]
    assert of(wired, "compute-0-2") == [
        ("eth0", mac(2), "10.1.255.252"),
        ("eth1", None, "10.2.255.252"),
        ("ib0", None, "10.6.0.4"),
    ]


def test_a_place_that_is_taken_or_not_there_in_the_other_network_is_no_hindrance(wired: Cluster) -> None:
    with wired.change() as change:
        other = nodes.add(change, _position(change), name="other")
        nodes.add_interface(change, other, mac=None, ip=IPv4Address("10.2.255.254"), network=networks.get(change, "storage"))
    wired.open_discovery(Request(base_ip=IPv4Address("10.1.255.254")))
    node = wired.register(machine(1))
    assert of(wired, node.name)[1][2] == "10.2.255.253", "the next free one"
    with wired.read() as reader:
        home, fabric = networks.first(reader), networks.get(reader, "fabric")
        assert networks.mirrored(reader, fabric, IPv4Address("10.1.0.7"), home) is None, "65,528 below the top"
        assert networks.mirrored(reader, fabric, IPv4Address("10.1.255.251"), home) == IPv4Address("10.6.0.3")


def _position(change: Change) -> nodes.Position:
    from bootserver.cluster import appliances

    return nodes.Position(appliances.get(change, "compute"))


def test_a_network_that_is_full_keeps_no_machine_out_and_is_told(wired: Cluster) -> None:
    wired.open_discovery()
    for number in range(7):
        wired.register(machine(number))
    assert of(wired, "compute-0-6")[0][0] == "eth0"
    told = [event for event in wired.events if event.kind is Kind.FAILED and "interfaces" in str(event.detail.get("why"))]
    assert told and told[-1].node == "compute-0-6" and "no free address" in str(told[-1].detail["why"])


def test_a_further_card_that_asks_is_the_interface_that_waits_there(wired: Cluster) -> None:
    wired.open_discovery()
    wired.register(machine(1, uuid=uuid(1)))
    assert wired.register(machine(2, uuid=uuid(1), network="storage")).name == "compute-0-0"
    assert of(wired, "compute-0-0")[1] == ("eth1", mac(2), "10.2.255.254")
    wired.register(machine(3, uuid=uuid(1), network="storage"))
    assert of(wired, "compute-0-0")[3] == ("eth2", mac(3), "10.2.255.253"), "nothing waits there any more: a new one"


def test_a_vlan_waits_for_no_mac(wired: Cluster) -> None:
    wired.open_discovery()
    node = wired.register(machine(1, uuid=uuid(1)))
    with wired.change() as change:
        for device in ("eth1", "ib0"):
            change.delete(next(row for row in nodes.interfaces(change, node) if row.device == device))
        nodes.add_interface(change, node, mac=None, ip=None, network=networks.get(change, "storage"), device="eth0.40")
    wired.register(machine(2, uuid=uuid(1), network="storage"))
    assert [(device, known) for device, known, _ in of(wired, "compute-0-0")] == [
        ("eth0", mac(1)), ("eth0.40", None), ("eth1", mac(2)),
    ]  # fmt: skip


def test_the_installer_s_inventory_tells_the_macs_of_cards_by_their_names(wired: Cluster) -> None:
    wired.open_discovery()
    node = wired.register(machine(1))
    wired.register(machine(9))
    with wired.change() as change:
        cards = {"eth0": mac(50), "eth1": mac(2), "ib0": mac(9), "eth7": mac(7)}
        assert interfaces.waits_for_mac(nodes.interfaces(change, node), cards)
        interfaces.learn_macs(change, node, cards)
    assert [(device, known) for device, known, _ in of(wired, node.name)] == [
        ("eth0", mac(1)),  # it has one
        ("eth1", mac(2)),
        ("ib0", None),  # that MAC is another node's
    ]
    with wired.read() as reader:
        assert not interfaces.waits_for_mac(nodes.interfaces(reader, node), {"eth0": mac(50)})


def test_a_discovery_takes_machines_of_its_network_and_cards_of_known_ones_anywhere(wired: Cluster) -> None:
    wired.open_discovery()
    with pytest.raises(Refused, match="insert-ethers --network storage"):
        wired.register(machine(1, network="storage"))
    wired.register(machine(1, uuid=uuid(1)))
    assert wired.register(machine(2, uuid=uuid(1), network="fabric")).name == "compute-0-0"


def test_what_never_installs_does_not_ask_to_netboot(cluster: Cluster) -> None:
    cluster.open_discovery(Request(appliance="bmc"))
    with pytest.raises(Refused, match="asks to netboot, as no bmc does"):
        cluster.register(machine(1))
    assert cluster.register(machine(2, netboots=False)).name == "bmc-0-0"


WRONG = {
    "eth1": "DEVICE=NETWORK",
    "eth1=": "DEVICE=NETWORK",
    "=storage": "no network interface name",
    "eth1=a eth1=b": "eth1 twice",
    "eth1=a b": "DEVICE=NETWORK",
    "eth1/../x=a": "no network interface name",
    "eth1=a;b": "a;b",
    " ".join(f"e{number}=a" for number in range(33)): "at most 32",
}


@pytest.mark.parametrize(("value", "said"), WRONG.items(), ids=WRONG.keys())
def test_an_attribute_that_says_nothing_of_use_is_refused(value: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        attributes.check("interfaces", value)


def test_the_attribute_names_devices_and_networks() -> None:
    assert wanted(" eth1=storage  ib0=fabric ") == (Wanted("eth1", "storage"), Wanted("ib0", "fabric"))
    assert wanted("") == ()


def test_the_attribute_names_networks_that_are_there(cluster: Cluster) -> None:
    with pytest.raises(NotFound, match="no network 'storage'"), cluster.change() as change:
        attributes.set_attribute(change, attributes.EVERYWHERE, "interfaces", "eth1=storage")


# -- as it is typed ----------------------------------------------------------------------------------------------------


@pytest.fixture
def admin(tmp_path, template) -> Administrator:
    admin = Administrator(tmp_path, template)
    admin.does("network", "add", "storage", "10.2.0.0/16", "--frontend", "10.2.1.1", "--device", "eth2")
    return admin


def test_cards_are_added_to_many_nodes_at_once_and_listed(admin: Administrator) -> None:
    for rank in range(3):
        admin.does("node", "add", f"compute-0-{rank}", "--ip", f"10.1.0.{rank + 10}")
    admin.does("network", "add", "fabric", "10.6.0.0/16", "--frontend", "10.6.1.1", "--device", "eth3", "--vlan", "60")
    admin.does("node", "set", "compute-0-[0-2]", "--add-interface", "ib0", "--network", "fabric")
    listed = admin.lists("node", "list", "--interfaces", "compute-0-1")
    assert [(row["device"], row["name"], row["ip"], row["network"], row["vlan"]) for row in listed] == [
        ("eth0", "compute-0-1", "10.1.0.11", "private", None),
        ("ib0", "compute-0-1-ib0", "10.6.0.11", "fabric", 60),
    ]
    admin.does("node", "set", "compute-0-[0-1]", "--remove-interface", "ib0")
    assert len(admin.lists("node", "list", "--interfaces")) == 4
    assert "for one node at a time" in admin.fails(
        "node", "set", "compute", "--add-interface", "eth5", "--ip", "10.1.0.99", status=2
    )


def test_a_node_that_is_added_by_hand_gets_what_its_attribute_says(admin: Administrator) -> None:
    admin.does("attr", "set", "interfaces", "eth1=storage", "--appliance", "compute")
    assert admin.does("node", "add", "compute-0-5", "--ip", "10.1.0.15") == "Added node compute-0-5 (10.1.0.15), eth1 10.2.0.15\n"
    assert (
        admin.does("node", "add", "login-0-0", "--appliance", "login", "--ip", "10.1.0.16")
        == "Added node login-0-0 (10.1.0.16)\n"
    )


def test_a_tag_is_set_and_taken_away_and_is_in_a_dump(admin: Administrator) -> None:
    admin.does("network", "set", "storage", "--vlan", "100")
    assert admin.lists("network", "list")[1]["vlan"] == 100
    dump = admin.does("dump")
    assert "network storage subnet=10.2.0.0/16 frontend=10.2.1.1 device=eth2 vlan=100" in dump
    (admin.folder / "dump").write_text(dump)
    admin.does("network", "set", "storage", "--vlan", "none")
    assert admin.lists("network", "list")[1]["vlan"] is None
    admin.does("restore", str(admin.folder / "dump"))
    assert admin.lists("network", "list")[1]["vlan"] == 100
    for wrong in ("0", "4095", "x", "1e2", "٣"):
        assert "a VLAN is a number from 1 to 4094" in admin.fails("network", "set", "storage", "--vlan", wrong, status=2)


def test_who_adds_a_device_is_told_that_a_running_service_must_be_told(admin: Administrator) -> None:
    add = ("network", "add")
    assert "reload" in admin.does(*add, "mgmt", "10.4.0.0/16", "--frontend", "10.4.1.1", "--device", "eth1.40")
    assert admin.does(*add, "beside", "10.5.0.0/16", "--frontend", "10.5.1.1", "--device", "eth1") == "Added network beside\n"
    assert "reload" in admin.does("network", "set", "storage", "--device", "eth9")


def test_a_bond_waits_for_no_mac_whatever_it_is_called(wired: Cluster) -> None:
    wired.open_discovery()
    node = wired.register(machine(1, uuid=uuid(1)))
    with wired.change() as change:
        for device in ("eth1", "ib0"):
            change.delete(next(row for row in nodes.interfaces(change, node) if row.device == device))
        nodes.add_interface(change, node, mac=None, ip=None, network=networks.get(change, "storage"), device="team0")
        attributes.set_attribute(change, attributes.EVERYWHERE, "bond.team0", "eth1 eth2 mode=802.3ad")
    wired.register(machine(2, uuid=uuid(1), network="storage"))
    assert [(device, known) for device, known, _ in of(wired, "compute-0-0")][1:] == [("team0", None), ("eth1", mac(2))]
