"""``bootserver partition list`` and ``show``: programs, and what one would do to a node's disks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bootserver.cli.arguments import complete_nodes
from bootserver.cli.session import Session, pass_session
from bootserver.cli.table import Cell, format_option, plain, show
from bootserver.errors import BootserverError, NotFound, Refused, UsageError

if TYPE_CHECKING:
    from bootserver.cluster.view import NodeView
    from bootserver.install.inventory import Inventory
    from bootserver.install.partition.facts import Need
    from bootserver.install.partition.model import Answer
    from bootserver.install.partition.plan import Plan, PlannedFileSystem, PlannedPartition

EMITTED = ("kickstart", "partman", "curtin", "sfdisk", "script", "inventory")
COLUMNS = ("DEVICE", "ON", "NAME", "MOUNTPOINT", "SIZE", "FILESYSTEM", "STATE")


def complete_programs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of programs that begin so; completion never complains."""
    from bootserver.install.partition import programs

    try:
        state = Session(ctx.find_root().params.get("config"), False, {}).config.frontend.state
        return [each.name for each in programs.listed(state) if each.name.startswith(incomplete)]
    except BootserverError:
        return []


@click.command("list")
@format_option
@pass_session
def list_(session: Session, format_: str) -> None:
    """List partition programs: those that came with bootserver, and the site's own.

    \b
    bootserver partition list
    """
    from bootserver.install.partition import programs

    found = programs.listed(session.config.frontend.state)
    rows = [(each.name, "site" if each.is_site else "shipped", str(each.path), each.title()) for each in found]
    if format_ == "table":
        show(("PROGRAM", "FROM", "WHAT"), [(name, origin, title) for name, origin, _, title in rows], format_)
    else:
        show(("PROGRAM", "FROM", "PATH", "WHAT"), rows, format_)


@click.command("show")
@click.argument("node", shell_complete=complete_nodes)
@click.option("--inventory", "file", type=click.Path(path_type=Path), help="A recorded machine [what the node last reported].")
@click.option("--program", metavar="NAME", help="[the node's attribute `partition`]", shell_complete=complete_programs)
@click.option("--wipe", is_flag=True, help="As an install that may keep nothing.")
@click.option("--as", "emitted", type=click.Choice(EMITTED), help="As an installer is told it, not as a table.")
@format_option
@pass_session
def show_(
    session: Session, node: str, file: Path | None, program: str | None, wipe: bool, emitted: str | None, format_: str
) -> None:
    """Show what NODE's disks would become, and write nothing.

    --as says it as an installer is told: kickstart (Anaconda), partman (debian-installer), curtin (Ubuntu), sfdisk (tables
    alone) or script (our own installer); UUIDs are examples. --as inventory prints what the node reported, to be kept.

    \b
    bootserver partition show compute-0-0
    bootserver partition show compute-0-0 --program mirrored-root --wipe
    bootserver partition show compute-0-0 --inventory old-machine.json --as kickstart
    """
    if emitted and format_ != "table":
        raise UsageError("--as and --format are two ways of printing: choose one")
    view = node_view(session, node)
    if emitted == "inventory":
        click.echo(json.dumps(_document(session, view, file), indent=1))
        return
    case = Dry(session, view, _inventory(session, view, file), program, wipe)
    if emitted:
        click.echo(_as(emitted, case.answer, case.plan).rstrip("\n"))
        return
    if format_ != "table":
        show(COLUMNS, _rows(case.plan), format_)
        return
    from bootserver.install.partition.summary import summary

    origin = "the site's own" if case.program.is_site else "shipped"
    click.echo(plain(f"{view.name}: program {case.program.name} ({origin}){', wipe' if wipe else ''}"))
    click.echo("\n".join(plain(line) for line in summary(case.plan).splitlines()))
    for line in (*case.notes, *_left_alone(case.plan, case.inventory)):
        click.echo(plain(line))
    for line in case.said.splitlines():
        session.warn(f"the program prints: {line}")


class Dry:
    """A program run for a machine, and its answer placed. :raises BootserverError: why it can't be."""

    def __init__(self, session: Session, node: NodeView, inventory: Inventory, program: str | None, wipe: bool) -> None:
        from bootserver.install.partition import place, programs
        from bootserver.install.partition.layout import uuids

        frontend = session.config.frontend
        name = program or node.attributes.get(programs.ATTRIBUTE) or programs.DEFAULT
        self.inventory = inventory
        self.program = programs.find(name, frontend.state)
        answered = programs.ask(
            self.program, node, inventory, need(session, node), state=frontend.state, user=frontend.user, wipe=wipe
        )
        new_uuids = uuids(node.name.encode())  # the same each time: two outputs can be compared
        self.answer, self.notes, self.said = answered.answer, answered.notes, answered.said
        self.plan = place.place(answered.answer, inventory, wipe=wipe, new_uuid=lambda: next(new_uuids))


def node_view(session: Session, words: str) -> NodeView:
    """:raises UsageError: the words mean several nodes."""
    from bootserver.cluster import selection
    from bootserver.cluster.load import load_view

    with session.read() as reader:
        row, *more = selection.select(reader, [words])
        if more:
            raise UsageError(f"disks are those of one node; {words} means {len(more) + 1}")
        return load_view(reader, session.config.dhcp.lease_seconds).nodes[row.name]


def need(session: Session, node: NodeView) -> Need:
    """What would be installed: the size of the node's image, as far as it is known."""
    from bootserver.cluster import attributes
    from bootserver.images.description import DescriptionError
    from bootserver.images.store import ImageStore
    from bootserver.install.partition.facts import Need

    filesystem = attributes.choice(node.attributes, "filesystem")
    name = node.attributes.get("image")
    try:
        image = ImageStore(session.config.frontend.state).describe(name) if name else None
    except (DescriptionError, NotFound, OSError):
        image = None
    return Need(image.size, image.var_size, filesystem) if image else Need(filesystem=filesystem)


def _document(session: Session, node: NodeView, file: Path | None) -> object:
    from bootserver.cluster import journal
    from bootserver.install import inventory
    from bootserver.install.partition import library

    if file is not None:
        return inventory.decode(library.content(file))
    with session.databases.journal.read() as connection:
        document = journal.inventory(connection, node.name)
    if document is None:
        raise Refused(f"{node.name} has never reported its disks: an install tells them; or say --inventory FILE")
    return document


def _inventory(session: Session, node: NodeView, file: Path | None) -> Inventory:
    from bootserver.install import inventory
    from bootserver.install.inventory import InventoryFault
    from bootserver.install.partition import library

    if file is not None:
        return library.load(file)
    document = _document(session, node, None)
    assert isinstance(document, dict)
    try:
        return inventory.parse(document)
    except InventoryFault as error:
        raise InventoryFault(f"what {node.name} reported makes no sense: {error}") from error


def _as(emitted: str, answer: Answer, plan: Plan) -> str:
    match emitted:
        case "kickstart":
            from bootserver.install.partition import kickstart

            return kickstart.lines(answer, plan)
        case "partman":
            from bootserver.install.partition import partman

            return partman.recipe(answer, plan)
        case "curtin":
            from bootserver.install.partition import curtin

            return curtin.storage(answer, plan)
    from bootserver.install.partition import shell

    if emitted == "script":
        return shell.functions(plan)
    return "\n".join(f"# sfdisk {each.disk.node}\n{shell.table(each)}\n" for each in plan.disks if each.is_written)


def _rows(plan: Plan) -> Iterator[tuple[Cell, ...]]:
    for each in plan.disks:
        for part in each.partitions:
            yield _row(part, [each.disk.name], part.name)
    for array in plan.arrays:
        yield _row(array, list(array.devices), array.name)
    for group in plan.groups:
        for volume in group.volumes:
            yield _row(volume, [device.removeprefix("/dev/") for device in group.devices], f"{group.name}/{volume.name}")


def _row(system: PlannedPartition | PlannedFileSystem, on: list[str], name: str) -> tuple[Cell, ...]:
    state = "kept" if system.kept else "new"
    return system.path, on, name, system.mount_point, system.size, system.filesystem or None, state


def _left_alone(plan: Plan, inventory: Inventory) -> Iterator[str]:
    used = {each.disk.name for each in plan.disks}
    left = [disk.words for disk in inventory.disks if disk.name not in used]
    if left:
        yield f"left alone: {', '.join(left)}"
    if inventory.left_out:
        yield f"nothing can be installed on: {', '.join(map(str, inventory.left_out))}"
