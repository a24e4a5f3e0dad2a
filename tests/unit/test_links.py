"""What a node's cards, bonds and VLANs are, before any installed system is told of them."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address

import pytest

from bootserver.cluster.view import InterfaceView, NetworkView, NodeView
from bootserver.errors import Refused
from bootserver.install.inventory import Card
from bootserver.install.links import Link, links, with_cards
from bootserver.values.mac import MacAddress
from tests import views

PRIVATE, TAGGED = views.network(), views.network(vlan=100)
STORAGE = views.network(2, name="storage", subnet="10.2.0.0/16", gateway="10.2.1.1", nameservers=())
MANAGEMENT = views.network(3, name="mgmt", subnet="10.4.0.0/16", gateway=None, nameservers=(), vlan=40)

BOTH = "eth0 eth1"


def nic(device: str, network: NetworkView = PRIVATE, *, mac: int | None = None, ip: bool = True) -> InterfaceView:
    return InterfaceView(device, None if mac is None else address(mac), network.subnet[9] if ip else None, network)


def address(number: int) -> MacAddress:
    return MacAddress.parse(f"52:54:00:00:00:{number:02x}")


def node(*nics: InterfaceView, **attributes: str) -> NodeView:
    keys = {key.replace("_", "."): value for key, value in attributes.items()}
    return dataclasses.replace(views.node(), interfaces=nics, attributes=keys)


def shown(link: Link) -> str:
    """``eth0.40 on eth0: 10.4.0.9/16``"""
    on = f" on {link.parent.device}/{link.vlan}" if link.parent else ""
    of = f" of {' '.join(member.device for member in link.members)}" if link.members else ""
    by = "" if link.mac is None else f" ({link.mac[-2:]})"
    return f"{link.device}{by}{on}{of}: {link.address or '-'}{' gw' if link.gateway else ''}"


@pytest.mark.parametrize(
    ("made_for", "expected"),
    [
        (node(nic("eth0", mac=1)), ["eth0 (01): 10.1.0.9/16 gw"]),
        (node(nic("eth0", TAGGED, mac=1)), ["eth0 (01): -", "eth0.100 on eth0/100: 10.1.0.9/16 gw"]),
        (node(nic("eth1", MANAGEMENT)), ["eth1: -", "eth1.40 on eth1/40: 10.4.0.9/16"]),
        (
            node(nic("eth0", mac=1), nic("eth0.40", MANAGEMENT)),
            ["eth0 (01): 10.1.0.9/16 gw", "eth0.40 on eth0/40: 10.4.0.9/16"],
        ),
        (
            node(nic("eth0", TAGGED, mac=1), nic("eth0.40", MANAGEMENT), nic("eth0.7", STORAGE)),
            [
                "eth0 (01): -",
                "eth0.100 on eth0/100: 10.1.0.9/16 gw",
                "eth0.40 on eth0/40: 10.4.0.9/16",
                "eth0.7 on eth0/7: 10.2.0.9/16",
            ],
        ),
        (node(nic("eth0", TAGGED, mac=1, ip=False)), ["eth0 (01): -"]),
        (
            node(nic("eth0", mac=1), nic("ib0", STORAGE), nic("eth1", STORAGE)),
            ["eth0 (01): 10.1.0.9/16 gw", "ib0: 10.2.0.9/16", "eth1: 10.2.0.9/16"],
        ),
        (
            node(nic("eth0", TAGGED, mac=1), nic("eth1", STORAGE, mac=2), bond_bond0="eth0 eth1"),
            ["eth0 (01): -", "eth1 (02): -", "bond0 of eth0 eth1: -", "bond0.100 on bond0/100: 10.1.0.9/16 gw"],
        ),
        (
            node(nic("eth0", mac=1), nic("eth1", mac=2), nic("bond0", MANAGEMENT), nic("bond0.7", STORAGE), bond_bond0=BOTH),
            [
                "eth0 (01): -",
                "eth1 (02): -",
                "bond0 of eth0 eth1: -",
                "bond0.40 on bond0/40: 10.4.0.9/16",
                "bond0.7 on bond0/7: 10.2.0.9/16 gw",
            ],
        ),
        (
            node(nic("eth0", TAGGED, mac=1), nic("eth1", STORAGE, mac=2)),
            ["eth0 (01): -", "eth1 (02): 10.2.0.9/16", "eth0.100 on eth0/100: 10.1.0.9/16 gw"],
        ),
    ],
    ids=[
        "a card", "a card whose network has a tag", "one that nobody has seen", "a VLAN beside it", "three VLANs and no card",
        "a card without an address", "cards by their names", "a bond that its first card's address goes to",
        "a bond with an interface of its own", "the default route is the first interface's, whenever its link is made",
    ],
)  # fmt: skip
def test_each_interface_is_a_link_with_its_address(made_for: NodeView, expected: list[str]) -> None:
    assert [shown(link) for link in links(made_for)] == expected


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (node(nic("eth0", mac=1), nic("eth0.7", MANAGEMENT)), "interface eth0.7 is VLAN 7, and its network mgmt is VLAN 40"),
        (node(nic("eth0", MANAGEMENT, mac=1), nic("eth0.40", STORAGE)), "VLAN 40 on eth0 is two interfaces'"),
        (node(nic("eth0.40", MANAGEMENT)), "VLAN 40 on eth0, which the node does not have"),
        (node(nic("eth0", mac=1), nic("eth0.4095", STORAGE)), "VLAN 4095 on eth0"),
        (node(nic("eth0", mac=1), nic("eth0.7", STORAGE), bond_bond0="eth0"), "VLAN 7 on eth0, which the node does not have"),
        (node(nic("ib0", MANAGEMENT)), "ib0 is InfiniBand, which has no VLANs"),
        (node(nic("enp193s0f1np1", MANAGEMENT, mac=1)), "'enp193s0f1np1.40' is no network interface name"),
        (node(nic("eth0", STORAGE), bond_bond0="eth0"), "no card eth0, or its MAC address is not known"),
    ],
)
def test_what_can_not_be_made_is_refused_in_one_line(wrong: NodeView, why: str) -> None:
    with pytest.raises(Refused) as refusal:
        links(wrong)
    assert why in str(refusal.value) and "\n" not in str(refusal.value)


def test_options_of_a_bond_have_names_whichever_way_they_were_said() -> None:
    [_, bond] = links(node(nic("eth0", mac=1), bond_bond0="eth0 mode=4 lacp_rate=1 xmit_hash_policy=layer3+4 miimon=100"))
    assert bond.options == {"mode": "802.3ad", "lacp_rate": "fast", "xmit_hash_policy": "layer3+4", "miimon": "100"}


def card(name: str, mac: str) -> Card:
    return Card(name, mac, "0000:00:03.0", "virtio_net", True)


def test_an_inventory_tells_the_addresses_of_cards_that_nobody_has_seen() -> None:
    before = node(nic("eth0", mac=1), nic("eth1", STORAGE), nic("ib0", STORAGE), nic("eth2", STORAGE), nic("eth0.40", MANAGEMENT))
    cards = [
        card("eth0", "52:54:00:00:00:09"),  # the frontend knows better
        card("eth1", "52:54:00:00:00:02"),
        card("eth2", "52:54:00:00:00:01"),  # another one's already
        card("ib0", "80:00:02:08:fe:80:00:00:00:00:00:00:f4:52:14:03:00:7b:cb:a1"),
        card("eth3", "ff:ff:ff:ff:ff:ff"),
    ]
    macs = {each.device: each.mac for each in with_cards(before, cards).interfaces}
    assert macs == {"eth0": address(1), "eth1": address(2), "ib0": None, "eth2": None, "eth0.40": None}


def test_an_address_is_of_its_own_network() -> None:
    [_, vlan] = links(node(nic("eth1", MANAGEMENT)))
    assert vlan.address is not None and vlan.address.ip == IPv4Address("10.4.0.9") and vlan.domain == "local"
