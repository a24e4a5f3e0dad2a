"""Partition programs in tests: a site with some of its own, and machines to try them on."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bootserver import data
from bootserver.cluster.view import NodeView
from bootserver.install import inventory
from bootserver.install.inventory import Inventory
from bootserver.install.partition import facts, place, programs
from bootserver.install.partition.inside import bootserver_partition
from bootserver.install.partition.model import Answer
from bootserver.install.partition.plan import Plan
from bootserver.install.partition.programs import Answered, Need
from tests import views

SHIPPED = data.folder(programs.FOLDER)
MACHINES = SHIPPED / "inventories"
ROCKS = Path(__file__).parent / "data" / "rocks"


@cache
def recorded(name: str) -> Inventory:
    """A machine of those that come with bootserver."""
    return inventory.parse(json.loads((MACHINES / f"{name}.json").read_text()))


def node(attributes: Mapping[str, str] | None = None) -> NodeView:
    return dataclasses.replace(views.node(), attributes=dict(attributes or {}))


class Site:
    """A state directory with programs of the site's own."""

    def __init__(self, state: Path) -> None:
        self.state = state
        (state / programs.FOLDER).mkdir(parents=True, exist_ok=True)

    def has(self, name: str, text: str) -> None:
        """:param name: of the file, such as ``mine.py``."""
        (self.state / programs.FOLDER / name).write_text(text)

    def asks(
        self,
        program: str,
        machine: Inventory,
        *,
        who: NodeView | None = None,
        wipe: bool = False,
        need: Need | None = None,
    ) -> Answered:
        found = programs.find(program, self.state)
        return programs.ask(found, who or node(), machine, need or Need(), state=self.state, wipe=wipe)

    def plans(self, program: str, machine: Inventory, **more: Any) -> Plan:
        answered = self.asks(program, machine, **more)
        return place.place(answered.answer, machine, wipe=more.get("wipe", False))


def shape(answer: Answer) -> dict[str, list[str]]:
    """What each disk shall hold, by names."""
    return {each.disk: [part.name for part in each.partitions] for each in answer.disks}


def here(program: str) -> Callable[[NodeView, Inventory, Need, bool], Mapping[str, Any]]:
    """A shipped program in this very process, without its sandbox: a thousand times as fast."""
    module = types.ModuleType(program)
    old = sys.modules.get("bootserver_partition")
    sys.modules["bootserver_partition"] = bootserver_partition
    try:
        exec(compile((SHIPPED / f"{program}.py").read_text(), program, "exec"), module.__dict__)
    finally:
        if old is None:
            del sys.modules["bootserver_partition"]
        else:
            sys.modules["bootserver_partition"] = old

    def ask(who: NodeView, machine: Inventory, need: Need, wipe: bool) -> Mapping[str, Any]:
        return bootserver_partition.answer(module.partition, facts.of_node(who), facts.of_machine(machine, need, wipe=wipe))

    return ask
