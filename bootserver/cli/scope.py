"""Attributes as ``attr`` and ``bootflags`` show and set them: everywhere, for appliances, racks, or nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bootserver.cli.session import Session
from bootserver.cli.table import Cell
from bootserver.errors import UsageError

if TYPE_CHECKING:
    from bootserver.cluster.attributes import Place
    from bootserver.cluster.change import Change, Reader
    from bootserver.db.rows import AttributeRow


@dataclass(frozen=True, slots=True)
class Scopes:
    """Where an attribute was asked to be set, as it was typed. Nothing at all means everywhere."""

    nodes: Sequence[str] = ()
    appliances: Sequence[str] = ()
    racks: Sequence[int] = ()

    def places(self, reader: Reader) -> list[tuple[Place, str]]:
        """The places, and how people call them."""
        from bootserver.cluster import appliances, attributes, nodes, selection
        from bootserver.db.rows import Scope

        if sum(map(bool, (self.nodes, self.appliances, self.racks))) > 1:
            raise UsageError("name nodes, or --appliance, or --rack: an attribute is set in one kind of place at a time")
        if self.nodes:
            found = selection.select(reader, self.nodes)
            return [(attributes.Place(Scope.NODE, row.id), row.name) for row in found]
        if self.appliances:
            rows = [appliances.get(reader, name) for name in self.appliances]
            return [(attributes.Place(Scope.APPLIANCE, row.id), f"appliance {row.name}") for row in rows]
        for rack in self.racks:
            if not 0 <= rack <= nodes.MAX_RACK:
                raise UsageError(f"a rack is a number from 0 to {nodes.MAX_RACK}, not {rack}")
        if self.racks:
            return [(attributes.Place(Scope.RACK, rack), f"rack {rack}") for rack in self.racks]
        return [(attributes.EVERYWHERE, "global")]

    def alter(self, session: Session, alteration: Callable[[Change, Place], None], done: str) -> None:
        """Do the same in each place, in one change, and say so."""
        with session.change() as change:
            places = self.places(change)
            for place, _ in places:
                alteration(change, place)
            session.tell(f"{_fold([name for _, name in places], folds=bool(self.nodes))}: {done}")


def _fold(names: list[str], *, folds: bool) -> str:
    if len(names) == 1 or not folds:
        return ", ".join(names)
    from bootserver.cluster.selection import fold

    return fold(names)


def rows_where_set(reader: Reader, scopes: Scopes, wanted: Callable[[AttributeRow], bool]) -> list[tuple[Cell, ...]]:
    """(from, key, value): what is set, and where; narrowed to the appliances and racks that were named."""
    from bootserver.db.rows import ApplianceRow, AttributeRow, NodeRow, Scope

    narrowed = {(place.scope, place.owner) for place, _ in scopes.places(reader)} if scopes != Scopes() else None
    rows = [row for row in reader.rows(AttributeRow) if wanted(row) and (narrowed is None or (row.scope, row.owner) in narrowed)]
    appliances = {row.id: row.name for row in reader.rows(ApplianceRow)}
    of_nodes = any(row.scope is Scope.NODE for row in rows)
    nodes = {row.id: row.name for row in reader.rows(NodeRow)} if of_nodes else {}
    order = list(Scope)

    def where(row: AttributeRow) -> str:
        match row.scope:
            case Scope.GLOBAL:
                return "global"
            case Scope.APPLIANCE:
                return f"appliance {appliances.get(row.owner, row.owner)}"
            case Scope.RACK:
                return f"rack {row.owner}"
            case Scope.NODE:
                return f"node {nodes.get(row.owner, row.owner)}"

    rows.sort(key=lambda row: (order.index(row.scope), row.owner, row.key))
    return [(where(row), row.key, row.value) for row in rows]


def rows_of_nodes(reader: Reader, words: Sequence[str], wanted: Callable[[str], bool]) -> list[tuple[Cell, ...]]:
    """(node, key, value, from): what nodes see, inherited ones too."""
    from bootserver.cluster import selection
    from bootserver.cluster.status import Origins
    from bootserver.db.rows import ApplianceRow, AttributeRow

    origins = Origins(reader.rows(AttributeRow), {row.id: row.name for row in reader.rows(ApplianceRow)})
    return [
        (node.name, key, value, where)
        for node in selection.select(reader, words)
        for key, (value, where) in origins.of(node).items()
        if wanted(key)
    ]
