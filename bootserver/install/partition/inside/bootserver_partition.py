"""What a partition program imports: the machine as it is, and the layout that is wanted (docs/reference/partition-programs.md).

::

    from bootserver_partition import Layout

    def partition(node, machine):
        [disk] = machine.pick(1)
        layout = Layout(machine)
        layout.add("/", on=disk)
        layout.add("swap", "2G", on=disk)
        layout.data(disk)
        return layout

Sizes are numbers of MB (2**20 bytes), or texts: ``"512M"``, ``"8G"``, ``"1.5T"``, and ``"50%"`` of the disk. Boot partitions
are added where a layout has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bootserver.install.partition.inside.layout import Layout
from bootserver.install.partition.inside.machine import Array, Disk, Group, Machine, Node, Partition, Refused, Volume, megabytes

__all__ = ["Array", "Disk", "Group", "Layout", "Machine", "Node", "Partition", "Refused", "Volume", "megabytes"]


def answer(function: Callable[[Node, Machine], object], node: Mapping[str, Any], machine: Mapping[str, Any]) -> dict[str, Any]:
    """Ask a program; for whoever runs it."""
    layout = function(Node(node), Machine(machine))
    if not isinstance(layout, Layout):
        raise TypeError(f"{function.__name__}() returned {type(layout).__name__}, and a Layout is wanted")
    return layout.as_answer()
