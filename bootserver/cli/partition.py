"""``bootserver partition``: what a partition program would do to a machine's disks, before it does."""

from __future__ import annotations

import click

from bootserver.cli.lazy import Late, LateGroup


@click.group(
    cls=LateGroup,
    sections={
        "Commands": {
            "list": Late("bootserver.cli.partition_show:list_", "List partition programs."),
            "show": Late("bootserver.cli.partition_show:show_", "Show what a node's disks would become."),
            "test": Late("bootserver.cli.partition_test:test", "Try a program on many machines."),
        }
    },
)
def partition() -> None:
    """What a partition program would do to a machine's disks, before it does.

    The attribute `partition` names a node's program. A site's own are in partition_scripts/ of the state directory.
    """
