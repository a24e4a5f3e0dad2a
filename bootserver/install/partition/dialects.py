"""How each kind of installer is told a layout; what kind it is, its distribution says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bootserver.errors import Refused
from bootserver.install.inventory import Inventory
from bootserver.install.partition import curtin, kickstart, late, partman
from bootserver.install.partition.layout import Layout

_Write = Callable[[Layout, Inventory], str]

_DIALECTS: Mapping[str, _Write] = {
    "kickstart": lambda layout, _: kickstart.lines(layout.answer, layout.plan),
    "preseed": lambda layout, _: partman.recipe(layout.answer, layout.plan),
    "autoinstall": lambda layout, inventory: curtin.storage(layout.answer, layout.plan, inventory),
}

KINDS = frozenset(_DIALECTS)
NO_LAYOUT = "name_partitions() { :; }\nfurther_disks() { :; }\n"
"""The last stage's functions where nothing of ours was asked how to partition."""


def lines(layout: Layout, inventory: Inventory, kind: str) -> str:
    """What an installer of a kind reads.

    :param kind: of a :class:`~bootserver.db.rows.DistributionRow`.
    :raises Refused: nobody knows how to tell it. :raises LayoutRefused: it can't be told this layout.
    """
    write = _DIALECTS.get(kind)
    if write is None:
        known = ", ".join(_DIALECTS)
        raise Refused(f"partition lines are there for {known}, and not for {kind or 'this installer'}: its template says them")
    return write(layout, inventory)


def late_functions(layout: Layout, kind: str) -> str:
    """The shell functions of the last stage; debian-installer leaves more to it than others."""
    return late.functions(layout.plan, by_partman=kind == "preseed")
