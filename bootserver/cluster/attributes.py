"""Attributes: keys and values seen by templates and decisions; global < appliance < rack < node, the most specific wins."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bootserver.cluster import networks
from bootserver.cluster.change import Change, Reader
from bootserver.db.rows import ApplianceRow, AttributeRow, NodeRow, Scope
from bootserver.errors import NotFound, UsageError
from bootserver.values import dhcp_options, grammar, interfaces, system

CHOICES = {
    "loader": ("auto", "pxelinux", "grub", "ipxe"),
    "filesystem": ("ext4", "xfs"),
    "after_install": ("reboot", "kexec", "poweroff", "shell"),
    "on_failure": ("reboot", "shell", "poweroff"),
    "selinux": ("enforcing", "permissive", "disabled"),
}
"""Attributes that one of a few words is good for; the first is what counts where it is not set."""
PARTITION = "partition"
"""Names the partition program of a node."""
BOOTFLAGS = "bootflags"
"""Bootflags are an attribute: kernel arguments of the installed system, inherited like all others."""

_PROGRAM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an attribute is set: a scope, and which appliance, rack or node of it (0 for all)."""

    scope: Scope
    owner: int = 0


EVERYWHERE = Place(Scope.GLOBAL)


def check(key: str, value: str) -> tuple[str, str]:
    """An attribute as it may be kept. :raises UsageError: key or value is not allowed."""
    grammar.attribute_key(key)
    grammar.attribute_value(value)
    if key == BOOTFLAGS:
        value = grammar.kernel_args(value)
    if key == PARTITION and not _PROGRAM.fullmatch(value):
        raise UsageError(
            f"{value!r} names no partition program: letters, digits, - and _, without .py (`bootserver partition list`)"
        )
    if key == interfaces.ATTRIBUTE:
        interfaces.wanted(value)
    dhcp_options.check(key, value)
    system.check(key, value)
    if key in CHOICES and value not in CHOICES[key]:
        raise UsageError(f"{key} is one of {', '.join(CHOICES[key])}, not {value!r}")
    return key, value


def choice(attributes: Mapping[str, str], key: str) -> str:
    """A node's word for one of CHOICES. What an old dump brought in that is none of them counts as not set."""
    value = attributes.get(key)
    return value if value in CHOICES[key] else CHOICES[key][0]


def set_attribute(change: Change, place: Place, key: str, value: str) -> None:
    """:raises NotFound: it names a network that is not there."""
    key, value = check(key, value)
    if key == interfaces.ATTRIBUTE:
        for each in interfaces.wanted(value):
            networks.get(change, each.network)
    row = _row(change, place, key)
    if row is None:
        change.insert(AttributeRow(0, place.scope, place.owner, key, value))
    else:
        change.update(row, value=value)


def remove_attribute(change: Change, place: Place, key: str) -> None:
    """:raises NotFound: it is not set there."""
    row = _row(change, place, key)
    if row is None:
        raise NotFound(f"attribute {key} is not set there: `bootserver attr list` shows where it is")
    change.delete(row)


def remove_all(change: Change, place: Place) -> None:
    """Forget what was set for an appliance or node that goes."""
    for row in change.rows(AttributeRow, "scope = :scope AND owner = :owner", scope=place.scope, owner=place.owner):
        change.delete(row)


def effective(reader: Reader, node: NodeRow) -> dict[str, str]:
    """A node's attributes, worked out for this one node."""
    rows = reader.rows(
        AttributeRow,
        "scope = 'global' OR (scope = 'appliance' AND owner = :appliance) OR (scope = 'rack' AND owner = :rack)"
        " OR (scope = 'node' AND owner = :node)",
        appliance=node.appliance_id,
        rack=node.rack,
        node=node.id,
    )
    return Inheritance(rows).of(node)


def why(reader: Reader, node: NodeRow, appliance: ApplianceRow, key: str) -> list[tuple[str, str]]:
    """Where a node's value of an attribute comes from, the winner first: ``[("rack 0", "debian-12"), ...]``."""
    places = (
        (Place(Scope.NODE, node.id), f"node {node.name}"),
        (Place(Scope.RACK, node.rack), f"rack {node.rack}"),
        (Place(Scope.APPLIANCE, node.appliance_id), f"appliance {appliance.name}"),
        (EVERYWHERE, "global"),
    )
    return [(name, row.value) for place, name in places if (row := _row(reader, place, key)) is not None]


class Inheritance:
    """The attributes of many nodes: those without one of their own share a dictionary with their neighbours."""

    def __init__(self, rows: Iterable[AttributeRow]) -> None:
        self._set: dict[tuple[Scope, int], dict[str, str]] = {}
        for row in rows:
            self._set.setdefault((row.scope, row.owner), {})[row.key] = row.value
        self._shared: dict[tuple[int, int], dict[str, str]] = {}

    def of(self, node: NodeRow) -> dict[str, str]:
        """Never to be altered: it may be another node's too."""
        shared = self.of_place(node.appliance_id, node.rack)
        own = self._set.get((Scope.NODE, node.id))
        return {**shared, **own} if own else shared

    def of_place(self, appliance_id: int, rack: int) -> dict[str, str]:
        place = (appliance_id, rack)
        if place not in self._shared:
            empty: Mapping[str, str] = {}
            self._shared[place] = {
                **self._set.get((Scope.GLOBAL, 0), empty),
                **self._set.get((Scope.APPLIANCE, appliance_id), empty),
                **self._set.get((Scope.RACK, rack), empty),
            }
        return self._shared[place]


def _row(reader: Reader, place: Place, key: str) -> AttributeRow | None:
    return reader.one(
        AttributeRow, "scope = :scope AND owner = :owner AND key = :key", scope=place.scope, owner=place.owner, key=key
    )
