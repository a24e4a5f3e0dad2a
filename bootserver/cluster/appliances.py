"""Appliances: kinds of nodes."""

from __future__ import annotations

from bootserver.cluster import attributes, boot_actions
from bootserver.cluster.change import Change, Reader
from bootserver.db.rows import ApplianceRow, DiscoveryRow, NodeRow, Scope, SecretRow
from bootserver.errors import NotFound, Refused
from bootserver.values import grammar

# name, base name, title (as insert-ethers' list shows it), default action, installs
SHIPPED = (
    ("compute", "compute", "Compute", "install", True),
    ("login", "login", "Login", "install", True),
    ("nas", "nas", "NAS Appliance", "install", True),
    ("vm-container", "vm-container", "VM Container", "install", True),
    ("bmc", "bmc", "Remote Management", "os", False),
    ("switch", "switch", "Ethernet Switches", "os", False),
    ("power", "power", "Power Units", "os", False),
)


def get(reader: Reader, name: str) -> ApplianceRow:
    """:raises NotFound: there is none of that name."""
    row = reader.one(ApplianceRow, "name = :name", name=name)
    if row is None:
        known = ", ".join(each.name for each in reader.rows(ApplianceRow))
        raise NotFound(f"no appliance {name!r}; there are {known}")
    return row


def add(change: Change, name: str, *, base_name: str | None, title: str | None, action: str, installs: bool) -> ApplianceRow:
    """A new kind of node.

    :param action: what insert-ethers arms for its nodes.
    :param installs: its nodes netboot; a switch never does.
    """
    grammar.host_label(name)
    grammar.host_label(base_name or name)
    grammar.attribute_value(title or name)
    boot_actions.find(change, action, None)
    if change.one(ApplianceRow, "name = :name", name=name):
        raise Refused(f"appliance {name} exists already: `bootserver appliance set {name} ...` alters it")
    return change.insert(ApplianceRow(0, name, base_name or name, title or name.capitalize(), action, installs))


def alter(change: Change, name: str, *, base_name: str | None, title: str | None, action: str | None) -> ApplianceRow:
    row = get(change, name)
    if base_name is not None:
        row = change.update(row, base_name=grammar.host_label(base_name))
    if title is not None:
        row = change.update(row, title=grammar.attribute_value(title))
    if action is not None:
        boot_actions.find(change, action, None)
        row = change.update(row, action=action)
    return row


def remove(change: Change, name: str) -> None:
    """:raises Refused: nodes of it exist."""
    row = get(change, name)
    node = change.one(NodeRow, "appliance_id = :appliance", appliance=row.id)
    if node is not None:
        raise Refused(f"appliance {name} has nodes ({node.name} ...): remove them first")
    for discovery in change.rows(DiscoveryRow, "appliance_id = :appliance", appliance=row.id):
        if discovery.open:
            raise Refused(f"a discovery is open for appliance {name}: `bootserver insert-ethers --close` ends it")
        change.delete(discovery)
    attributes.remove_all(change, attributes.Place(Scope.APPLIANCE, row.id))
    for secret in change.rows(SecretRow, "name LIKE :names", names=f"appliance/{row.id}/%"):
        change.delete(secret)  # a later one may get the same number
    change.delete(row)
