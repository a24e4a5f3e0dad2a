"""Who is installed from what: where attributes name an image or a distribution, and which nodes have it by inheritance."""

from __future__ import annotations

from bootserver.cluster.attributes import Inheritance
from bootserver.cluster.change import Reader
from bootserver.db.rows import ApplianceRow, AttributeRow, NodeRow, Scope


def places(reader: Reader, key: str, name: str) -> list[str]:
    """Where attribute `key` says `name`: ``all nodes``, ``appliance compute``, ``rack 0``, ``node compute-0-0``."""
    appliances = {row.id: row.name for row in reader.rows(ApplianceRow)}
    found = []
    for row in reader.rows(AttributeRow, "key = :key AND value = :name ORDER BY id", key=key, name=name):
        match row.scope:
            case Scope.GLOBAL:
                found.append("all nodes")
            case Scope.APPLIANCE:
                found.append(f"appliance {appliances.get(row.owner, row.owner)}")
            case Scope.RACK:
                found.append(f"rack {row.owner}")
            case Scope.NODE:
                node = reader.one(NodeRow, "id = :id", id=row.owner)
                found.append(f"node {node.name if node else row.owner}")
    return found


def nodes_by(reader: Reader, key: str) -> dict[str, list[str]]:
    """The names of the nodes that have each value of attribute `key`."""
    inheritance = Inheritance(reader.rows(AttributeRow, "key = :key", key=key))
    found: dict[str, list[str]] = {}
    for node in reader.rows(NodeRow):
        value = inheritance.of(node).get(key)
        if value:
            found.setdefault(value, []).append(node.name)
    return found


def used(key: str, found: list[str]) -> str:
    """Places in words, with the command that takes the first away: ``it is set for rack 0; `bootserver ...` first``."""
    kind, _, which = found[0].partition(" ")
    scope = "" if found[0] == "all nodes" else f" {which}" if kind == "node" else f" --{kind} {which}"
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"it is set for {found[0]}{more}; `bootserver attr remove {key}{scope}` first"
