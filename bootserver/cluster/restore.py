"""Brings a cluster in line with a dump, in one change. What is as the dump says already is left alone, so nodes keep their
keys and those that are being installed go on; an install is never armed by it."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address
from typing import TypeVar

from bootserver.cluster import appliances, boot_actions, installs, networks, nodes
from bootserver.cluster.actions import BootAction
from bootserver.cluster.change import Change, Reader
from bootserver.cluster.dump import Document, NodeEntry
from bootserver.db.rows import (
    ApplianceRow,
    AttributeRow,
    BootActionRow,
    DistributionRow,
    InterfaceRow,
    NetworkRow,
    NodeRow,
    Row,
    Scope,
)
from bootserver.errors import NotFound, Refused

R = TypeVar("R", bound=Row)


def is_empty(reader: Reader) -> bool:
    """Are there no nodes yet? What ``init`` makes may be replaced without asking."""
    return reader.one(NodeRow, "id > 0") is None


def restore(change: Change, document: Document, *, replace: bool) -> None:
    """
    :param replace: remove what the dump does not hold; else only add and alter.
    :raises UsageError: something in it can't be, with file and line; nothing is changed then.
    """
    if replace:
        for node in change.rows(NodeRow):
            if node.name not in document.nodes:
                nodes.remove(change, node)
    _clear_addresses(change, document, replace=replace)
    _networks(change, document)
    _distributions(change, document, replace=replace)
    _actions(change, document, None)
    _appliances(change, document)
    for name, entry in document.nodes.items():
        with document.at(entry.line):
            _node(change, document, name, entry)
    _own_actions(change, document)
    _attributes(change, document, replace=replace)
    if replace:
        _remove_rest(change, document)
    _check_names(change, document)


def _clear_addresses(change: Change, document: Document, *, replace: bool) -> None:
    """Take the interfaces of nodes that get others away first: MACs, addresses and UUIDs may have changed places."""
    rebuilt = replace and _networks_differ(change, document)
    names = {row.id: row.name for row in change.rows(NetworkRow)}
    of_nodes: dict[int, list[InterfaceRow]] = {}
    for nic in change.rows(InterfaceRow):
        of_nodes.setdefault(nic.node_id, []).append(nic)
    for node in change.rows(NodeRow):
        entry = document.nodes.get(node.name)
        if entry is None:
            continue
        now = [(nic.device, nic.mac, nic.ip, names[nic.network_id]) for nic in of_nodes.get(node.id, ())]
        wanted = [(nic.device, nic.mac, nic.ip, network) for nic, network, _ in entry.interfaces]
        if rebuilt or now != wanted:
            for nic in of_nodes.get(node.id, ()):
                change.delete(nic)
        if node.uuid is not None and node.uuid != entry.row.uuid:
            change.update(node, uuid=None)
    if rebuilt:
        for network in change.rows(NetworkRow):
            networks.remove(change, network.name)


def _networks_differ(reader: Reader, document: Document) -> bool:
    """Must the networks be made anew? Their order matters, the first is where nodes boot; and a subnet can't be altered."""
    now = [(row.name, row.subnet) for row in reader.rows(NetworkRow)]
    wanted = [(row.name, row.subnet) for row, _ in document.networks.values()]
    return now != wanted[: len(now)]


def _networks(change: Change, document: Document) -> None:
    for name, (wanted, line) in document.networks.items():
        with document.at(line):
            row = change.one(NetworkRow, "name = :name", name=name)
            if row is None:
                networks.add(
                    change, name, wanted.subnet, frontend=wanted.frontend, device=wanted.device, gateway=wanted.gateway,
                    nameservers=[IPv4Address(each) for each in wanted.nameservers.split()], domain=wanted.domain,
                    vlan=wanted.vlan,
                )  # fmt: skip
                continue
            if row.subnet != wanted.subnet:
                raise Refused(f"network {name} is {row.subnet} here: only `restore --replace` makes it another one")
            networks.check(wanted.subnet, wanted.frontend, wanted.device, wanted.gateway)
            _become(change, row, wanted)


def _distributions(change: Change, document: Document, *, replace: bool) -> None:
    known = {row.name: row for row in change.rows(DistributionRow)}
    for name, (wanted, _) in document.distributions.items():
        if name in known:
            _become(change, known[name], wanted)
        else:
            change.insert(wanted)
    if replace:
        for name, row in known.items():
            if name not in document.distributions:
                change.delete(row)


def _actions(change: Change, document: Document, node: NodeRow | None) -> None:
    """The actions of the site, or of a node."""
    owner = "" if node is None else node.name
    where = "node_id IS NULL" if node is None else "node_id = :node"
    values = {} if node is None else {"node": node.id}
    known = {row.name: boot_actions.from_row(row) for row in change.rows(BootActionRow, where, **values)}
    for (of, name), (action, line) in document.actions.items():
        if of == owner and known.get(name) != action:
            with document.at(line):
                boot_actions.add(change, action, node)


def _own_actions(change: Change, document: Document) -> None:
    lines = {of: line for (of, _), (_, line) in document.actions.items() if of}
    for of, line in lines.items():
        with document.at(line):
            node = nodes.get(change, of)
        _actions(change, document, node)


def _appliances(change: Change, document: Document) -> None:
    known = {row.name: row for row in change.rows(ApplianceRow)}
    for name, (wanted, _) in document.appliances.items():
        if name in known:
            _become(change, known[name], wanted)
        else:
            change.insert(wanted)


def _node(change: Change, document: Document, name: str, entry: NodeEntry) -> None:
    wanted = dataclasses.replace(entry.row, appliance_id=appliances.get(change, entry.appliance).id)
    node = change.one(NodeRow, "name = :name", name=name)
    if node is None:
        node = change.insert(wanted)
    else:
        action = wanted.action
        if node.action is not None and BootAction(node.action).installs:
            if action is None:
                action = node.action  # whether an install is armed is no part of a dump
            else:
                installs.disarm(change, node)
        node = _become(change, node, dataclasses.replace(wanted, action=action, discovery_id=node.discovery_id))
    if nodes.interfaces(change, node):
        return  # they are as the dump says: the others were taken away before
    for nic, network, line in entry.interfaces:
        with document.at(line):
            row = networks.get(change, network)
            if nic.ip is not None and nic.ip not in row.subnet:
                raise Refused(f"{nic.ip} is not in network {network} ({row.subnet})")
            if nic.ip is not None:
                nodes.add_interface(change, node, mac=nic.mac, ip=nic.ip, network=row, device=nic.device)
            else:
                if nic.mac is not None:
                    nodes.check_mac(change, nic.mac)
                change.insert(dataclasses.replace(nic, node_id=node.id, network_id=row.id))


def _attributes(change: Change, document: Document, *, replace: bool) -> None:
    owners = {Scope.APPLIANCE: {row.name: row.id for row in change.rows(ApplianceRow)}}
    owners[Scope.NODE] = {row.name: row.id for row in change.rows(NodeRow)}
    known = {(row.scope, row.owner, row.key): row for row in change.rows(AttributeRow)}
    wanted = set()
    for (scope, owner, key), (value, line) in document.attributes.items():
        with document.at(line):
            if scope in owners and owner not in owners[scope]:
                raise NotFound(f"there is no {scope.value} {owner!r}")
        number = owners[scope][owner] if scope in owners else int(owner or 0)
        wanted.add((scope, number, key))
        row = known.get((scope, number, key))
        if row is None:
            change.insert(AttributeRow(0, scope, number, key, value))
        else:
            change.update(row, value=value)
    if replace:
        for place, row in known.items():
            if place not in wanted:
                change.delete(row)


def _remove_rest(change: Change, document: Document) -> None:
    names = {row.id: row.name for row in change.rows(NodeRow)}
    for action in change.rows(BootActionRow):
        if ("" if action.node_id is None else names[action.node_id], action.name) not in document.actions:
            change.delete(action)
    for appliance in change.rows(ApplianceRow):
        if appliance.name not in document.appliances:
            appliances.remove(change, appliance.name)
    for network in change.rows(NetworkRow):
        if network.name not in document.networks:
            networks.remove(change, network.name)


def _check_names(change: Change, document: Document) -> None:
    """What nodes and appliances boot must be there, now that all actions are."""
    for appliance, line in document.appliances.values():
        with document.at(line):
            boot_actions.find(change, appliance.action, None)
    for name, entry in document.nodes.items():
        if entry.row.action is not None:
            with document.at(entry.line):
                boot_actions.find(change, entry.row.action, nodes.get(change, name).id)


def _become(change: Change, row: R, wanted: R) -> R:
    """Alter a row to what the dump says; its number stays."""
    return change.update(row, **{name: getattr(wanted, name) for name in row.columns() if name != "id"})
