"""Which node a BMC is of, by their names: nothing is stored, so a rename is all that it takes to pair them otherwise.

``compute-0-0-bmc`` is of ``compute-0-0``, whatever else there is. ``bmc-0-0`` is of the one machine that stands at the same rack
and rank and has no other: of several (``compute-0-0`` and ``login-0-0``) the compute node, as it is the appliance that comes in
numbers; where there is none or more than one of it, it is of nobody until it is renamed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from bootserver.cluster.change import Reader
from bootserver.cluster.view import View
from bootserver.db.rows import ApplianceRow, NodeRow

APPLIANCE: Final = "bmc"
SUFFIX: Final = "-bmc"
_FIRST: Final = "compute"
_PLACE = re.compile(r".+(-\d{1,4}-\d{1,5})")


class Named(NamedTuple):
    """:ivar installs: its appliance does: it is a machine that may have a BMC."""

    name: str
    appliance: str
    installs: bool


def pairs(nodes: Iterable[Named]) -> dict[str, str]:
    """The node of each BMC, by the BMC's name; one that has none is not in it."""
    nodes = list(nodes)
    controllers = sorted(node.name for node in nodes if node.appliance == APPLIANCE)
    if not controllers:
        return {}
    machines = {node.name: node for node in nodes if node.installs}
    found = {name: name.removesuffix(SUFFIX) for name in controllers if name.removesuffix(SUFFIX) in machines}
    left: dict[str, list[Named]] = {}
    for node in machines.keys() - found.values():
        if place := _PLACE.fullmatch(node):
            left.setdefault(place.group(1), []).append(machines[node])
    for name in controllers:
        place = _PLACE.fullmatch(name)
        if name in found or place is None:
            continue
        at_place = left.get(place.group(1), [])
        if len(at_place) > 1:
            at_place = [node for node in at_place if node.appliance == _FIRST]
        if len(at_place) == 1:
            found[name] = at_place[0].name
            del left[place.group(1)]  # one that a second BMC claims is the first one's
    return found


def of_view(view: View) -> dict[str, str]:
    """:func:`pairs` of all nodes of a view."""
    return pairs(Named(node.name, node.appliance.name, node.appliance.installs) for node in view.nodes.values())


def of_cluster(reader: Reader) -> dict[str, str]:
    """:func:`pairs` of all nodes."""
    appliances: Mapping[int, ApplianceRow] = {row.id: row for row in reader.rows(ApplianceRow)}
    if not any(row.name == APPLIANCE for row in appliances.values()):
        return {}
    kinds = ((row.name, appliances[row.appliance_id]) for row in reader.rows(NodeRow))
    return pairs(Named(name, kind.name, kind.installs) for name, kind in kinds)
