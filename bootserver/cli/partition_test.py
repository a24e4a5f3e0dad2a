"""``bootserver partition test``: one program, many machines."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bootserver.cli.arguments import complete_nodes
from bootserver.cli.partition_show import complete_programs, need, node_view
from bootserver.cli.progress import ProgressLine
from bootserver.cli.session import Session, pass_session
from bootserver.cli.table import format_option, show
from bootserver.errors import Refused

if TYPE_CHECKING:
    from bootserver.cluster.view import NodeView
    from bootserver.install.inventory import Inventory
    from bootserver.install.partition.plan import Plan
    from bootserver.install.partition.programs import Need, Program

COLUMNS = ("INVENTORY", "FIRMWARE", "DISKS", "RESULT", "WHAT")
OK, REFUSED, FAILED = "ok", "refused", "failed"
_KINDS = {"PlannedPartition": "partition", "PlannedArray": "array", "PlannedVolume": "volume"}
_MOST = 4  # disks and mount points that a line names


@click.command("test")
@click.argument("program", shell_complete=complete_programs)
@click.option("--inventory", "files", type=click.Path(path_type=Path), multiple=True, help="A recorded machine [all].")
@click.option(
    "--node", metavar="NODE", help="Whose name and attributes the program sees [a made-up one's].", shell_complete=complete_nodes
)
@click.option("--wipe", is_flag=True, help="As an install that may keep nothing.")
@format_option
@pass_session
def test(session: Session, program: str, files: tuple[Path, ...], node: str | None, wipe: bool, format_: str) -> None:
    """Try PROGRAM on recorded machines: those that came with bootserver, and a site's own in inventories/ beside its programs.

    A machine that the program refuses with a reason is as it should be; exit status 1 says that it failed (raised, took too
    much, answered nonsense), or that an answer can't be carried out for a reason that no machine has.

    \b
    bootserver partition test mirrored-root
    bootserver partition test mine --node compute-0-0 --inventory old-machine.json
    """  # fmt: skip
    from bootserver.install.partition import library, programs

    state = session.config.frontend.state
    found = programs.find(program, state)
    machines = [library.Recorded(path.stem, path) for path in files] or library.recorded(state)
    if not machines:
        raise Refused(f"there are no recorded machines in {state / programs.FOLDER / library.FOLDER}: say --inventory FILE")
    view = _made_up() if node is None else node_view(session, node)
    wanted = programs.Need() if node is None else need(session, view)
    rows = []
    with ProgressLine(f"program {program}") as progress:
        for number, machine in enumerate(machines):
            progress(f"tried on {len(machines)} machines", number / len(machines))
            inventory = machine.inventory()
            result, what, is_over = _try(session, found, view, inventory, wanted, wipe)
            disks = [each.name for each in inventory.disks]
            shown = _several(disks) if format_ == "table" else disks
            rows.append((machine.name, inventory.firmware.value, shown, result, what))
            if is_over:
                session.warn(f"the other {len(machines) - number - 1} machines are left out: each would take as long")
                break
    show(COLUMNS, rows, format_)
    failed = sum(row[3] == FAILED for row in rows)
    if failed:
        raise Refused(f"program {program} failed on {failed} of {len(machines)} machines")


def _try(
    session: Session, program: Program, node: NodeView, inventory: Inventory, wanted: Need, wipe: bool
) -> tuple[str, str, bool]:
    """:returns: the result, in words, and whether there is no sense in going on."""
    from bootserver.install.partition import place, programs
    from bootserver.install.partition.sandbox import TookTooLong

    frontend = session.config.frontend
    try:
        answered = programs.ask(program, node, inventory, wanted, state=frontend.state, user=frontend.user, wipe=wipe)
        plan = place.place(answered.answer, inventory, wipe=wipe)
    except programs.LayoutRefused as error:
        return REFUSED, str(error), False
    except programs.ProgramFault as error:
        return FAILED, str(error), isinstance(error, TookTooLong)
    return OK, brief(plan, inventory), False


def brief(plan: Plan, inventory: Inventory) -> str:
    """A plan in a line: where ``/`` is, what is kept, what is new below /state, how many disks it has to do with."""
    below = [part.device for part in plan.below(plan.root)]
    root = plan.root.path.removeprefix("/dev/")
    words = [f"/ on {root}" + (f" ({', '.join(below)})" if below != [root] else "")]
    kept = [each.mount_point or "" for each in plan.file_systems if each.kept]
    new = Counter(_KINDS[type(each).__name__] for each in plan.file_systems if each.is_data and not each.kept)
    if kept:
        words.append(f"keeps {_several(kept)}")
    words += [f"{count} new data {kind}{'' if count == 1 else 's'}" for kind, count in new.items()]
    words.append(f"{len(plan.disks)} of {len(inventory.disks)} disks")
    return "; ".join(words)


def _several(names: list[str]) -> str:
    more = len(names) - _MOST
    return " ".join(names[:_MOST]) + (f" and {more} more" if more > 0 else "")


def _made_up() -> NodeView:
    from bootserver.cluster.actions import SHIPPED
    from bootserver.cluster.view import ApplianceView, NodeView

    return NodeView(0, "compute-0-0", ApplianceView(0, "compute", installs=True), 0, 0, None, (), {}, SHIPPED["os"], None)
