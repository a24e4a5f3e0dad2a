"""Boot actions as they are kept: added, overridden for one node, removed, found; and what a node boots next."""

from __future__ import annotations

from collections.abc import Sequence

from bootserver.cluster.actions import SHIPPED, BootAction
from bootserver.cluster.change import Change, Reader
from bootserver.db.rows import ApplianceRow, BootActionRow, NodeRow
from bootserver.errors import NotFound, Refused, UsageError
from bootserver.values import grammar


def from_row(row: BootActionRow) -> BootAction:
    return BootAction(row.name, row.kernel, row.initrds, row.args, row.local_disk, row.floppy)


def find(reader: Reader, name: str, node_id: int | None) -> BootAction:
    """The action of that name for a node: its own, else the site's, else the shipped one.

    :raises NotFound: there is none.
    """
    row = reader.one(
        BootActionRow, "name = :name AND (node_id = :node OR node_id IS NULL) ORDER BY node_id IS NULL", name=name, node=node_id
    )
    if row is not None:
        return from_row(row)
    if name in SHIPPED:
        return SHIPPED[name]
    known = sorted({*SHIPPED, *(each.name for each in reader.rows(BootActionRow, "node_id IS NULL"))})
    raise NotFound(f"no boot action {name!r}; there are {', '.join(known)} (`bootserver pxe action add` makes one)")


def check(action: BootAction) -> BootAction:
    """An action as it may be kept.

    :raises UsageError: it says nothing to boot, or more than one thing, or what can't be written into a boot menu.
    """
    grammar.action_name(action.name)
    ways = [action.kernel is not None, action.local_disk, action.floppy is not None]
    if sum(ways) != 1 and not (action.installs and not any(ways)):
        raise UsageError(f"boot action {action.name!r} needs one of --kernel, --localboot and --floppy")
    if action.initrds and action.kernel is None:
        raise UsageError(f"boot action {action.name!r}: --initrd goes with --kernel")
    if action.installs and any(ways[1:]):
        raise UsageError(
            "an action whose name begins with 'install' installs: it has a kernel, or none to install what attributes say"
        )
    return BootAction(
        action.name,
        None if action.kernel is None else grammar.boot_file(action.kernel),
        tuple(grammar.boot_file(each) for each in action.initrds),
        grammar.kernel_args(action.args, of_boot=True),
        action.local_disk,
        None if action.floppy is None else grammar.boot_path(action.floppy),
    )


def add(change: Change, action: BootAction, node: NodeRow | None) -> BootActionRow:
    """Add an action, or replace the one of that name.

    :param node: for this node only.
    :raises UsageError: it can't be kept, see :func:`check`.
    """
    action = check(action)
    row = BootActionRow(
        0,
        action.name,
        None if node is None else node.id,
        action.kernel,
        action.initrds,
        action.args,
        action.local_disk,
        action.floppy,
    )
    old = _own(change, action.name, node)
    if old is not None:
        change.delete(old)
    return change.insert(row)


def remove(change: Change, name: str, node: NodeRow | None) -> None:
    """:raises NotFound: there is no such action. :raises Refused: nodes or appliances boot it."""
    row = _own(change, name, node)
    if row is None:
        if name in SHIPPED and node is None:
            raise Refused(f"boot action {name!r} comes with bootserver and stays")
        raise NotFound(f"no boot action {name!r}" + ("" if node is None else f" of its own for {node.name}"))
    if node is None and name not in SHIPPED:
        user = change.one(NodeRow, "action = :name", name=name)
        if user is not None:
            raise Refused(f"{user.name} boots {name!r}: `bootserver pxe set {user.name} os` first")
        appliance = change.one(ApplianceRow, "action = :name", name=name)
        if appliance is not None:
            mend = f"bootserver appliance set {appliance.name} --action ..."
            raise Refused(f"appliance {appliance.name} installs by {name!r}: `{mend}` first")
    change.delete(row)


def forget(change: Change, nodes: Sequence[NodeRow]) -> None:
    """Remove the actions of nodes that go."""
    for node in nodes:
        for row in change.rows(BootActionRow, "node_id = :node", node=node.id):
            change.delete(row)


def _own(reader: Reader, name: str, node: NodeRow | None) -> BootActionRow | None:
    if node is None:
        return reader.one(BootActionRow, "name = :name AND node_id IS NULL", name=name)
    return reader.one(BootActionRow, "name = :name AND node_id = :node", name=name, node=node.id)
