"""A node's further cards: given an address on their networks before they are ever seen, and their MACs when they are.

The attribute ``interfaces`` says which there are; each new node gets them. Which MAC a card has is told by the card itself, when
it asks for an address while a discovery is open (the node's UUID says whose it is), or by the inventory of the node's installer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from bootserver.cluster import attributes, networks, nodes
from bootserver.cluster.change import Change
from bootserver.cluster.events import Event, Kind
from bootserver.db.rows import InterfaceRow, NetworkRow, NodeRow
from bootserver.values import system
from bootserver.values.interfaces import ATTRIBUTE, wanted
from bootserver.values.mac import MacAddress


def add_wanted(change: Change, node: NodeRow) -> list[InterfaceRow]:
    """Give a node the interfaces that its attribute says and it has not.

    :raises BootserverError: a network is not there, or is full.
    """
    devices = {row.device for row in nodes.interfaces(change, node)}
    return [
        nodes.add_interface(change, node, mac=None, ip=None, network=networks.get(change, each.network), device=each.device)
        for each in wanted(attributes.effective(change, node).get(ATTRIBUTE, ""))
        if each.device not in devices
    ]


def of_card(change: Change, node: NodeRow, mac: MacAddress, network: NetworkRow) -> InterfaceRow:
    """A further card of a node asks on `network`: it is the interface that waits for its MAC there, or a new one."""
    values = attributes.effective(change, node)
    for row in nodes.interfaces(change, node):
        # A bond (an attribute says which there are) or a VLAN has no MAC of its own.
        is_card = "." not in row.device and f"{system.BOND}{row.device}" not in values
        if row.mac is None and row.network_id == network.id and is_card:
            return change.update(row, mac=mac)
    return nodes.add_interface(change, node, mac=mac, ip=None, network=network)


def waits_for_mac(rows: list[InterfaceRow], cards: Mapping[str, MacAddress]) -> bool:
    """Would :func:`learn_macs` learn one?"""
    return any(row.mac is None and row.device in cards for row in rows)


def learn_macs(change: Change, node: NodeRow, cards: Mapping[str, MacAddress]) -> None:
    """What the node's installer found: an interface without a MAC gets that of the card of its name.

    A MAC that is another's already, or that no card can have, is passed over.
    """
    for row in nodes.interfaces(change, node):
        mac = cards.get(row.device)
        if row.mac is not None or mac is None or mac.is_group or change.one(InterfaceRow, "mac = :mac", mac=mac):
            continue
        change.update(row, mac=mac)
        detail = {"device": row.device, "address": str(row.ip), "because": "its installer found the card"}
        change.report(Event(Kind.REGISTERED, time.time(), node.name, mac, detail))
