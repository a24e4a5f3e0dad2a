"""Only what is free: the system where it was, or on an empty disk, and everything that another made stays as it is.

Rocks' layout takes over all disks at a first install. This one never touches a disk that holds what no install of ours made,
makes no new data partitions where there are data already, and keeps all of those, also in arrays and volume groups.
"""

from bootserver_partition import Layout


def partition(node, machine):
    free = [disk for disk in machine.disks if disk.is_empty or disk.is_ours]
    [system] = machine.pick(1, among=free)

    layout = Layout(machine)
    layout.add("/", on=system)
    layout.add("/var", on=system)
    layout.add("swap", on=system)
    kept = layout.keep(machine.disks, machine.arrays, machine.groups)
    if not kept:
        layout.data(system)
    return layout
