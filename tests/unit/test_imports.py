"""The rule of the house: imports go down only, and never in a circle. Counted are all of them, those inside functions and
those for type checkers too."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import bootserver

PACKAGE = Path(bootserver.__file__).parent

# From the bottom up. A room may import itself and what is on a lower floor; rooms of one floor don't know each other.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("bootserver",),  # its version
    ("errors", "data"),
    ("tree",),
    ("values",),
    ("config",),
    ("db",),
    ("cluster",),
    ("install", "images", "virt"),
    ("netboot",),
    ("web",),
    ("service",),
    ("doctor",),
    ("cli",),
    ("__main__",),
)
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py")) if "data" not in path.relative_to(PACKAGE).parts}


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


@cache
def imports(module: str) -> set[str]:
    """The modules of ours that a module names, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively: write it out"
            names = [f"{node.module}.{each.name}" for each in node.names]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Late":
            names = [str(argument.value).partition(":")[0] for argument in node.args[:1] if isinstance(argument, ast.Constant)]
        else:
            continue
        for name in names:
            while name.startswith("bootserver") and name not in MODULES:  # a class in a module, not a module
                name = name.rpartition(".")[0]
            if name in MODULES and name != module:
                found.add(name)
    return found


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in MODULES} <= FLOOR_OF.keys()


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module: str) -> None:
    here = room(module)
    up = [name for name in imports(module) if room(name) != here and FLOOR_OF[room(name)] >= FLOOR_OF[here]]
    assert not up, f"{module} imports upwards"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: imports(module) for module in MODULES}
    for module, wanted in graph.items():
        # A package's own modules may be named by it; that they are "in" it is no import.
        graph[module] = {name for name in wanted if not module.startswith(f"{name}.")}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_the_rule_is_not_vacuous() -> None:
    assert "bootserver.db.connection" in imports("bootserver.cluster.change")
    assert "bootserver.cli.node" in imports("bootserver.cli.main"), "commands that are imported late are seen, too"
