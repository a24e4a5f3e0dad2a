"""The system on one disk, all others striped (RAID 0) into one fast /state/partition1.

When one of them dies, all that is on them is gone.
"""

from bootserver_partition import Layout, Refused


def partition(node, machine):
    [system] = machine.pick(1)
    striped = machine.others(system)
    if len(striped) < 2:
        raise Refused(f"it stripes at least two disks beside the system's, and the machine has {len(striped)}")

    layout = Layout(machine)
    layout.add("/", on=system)
    layout.add("/var", on=system)
    layout.add("swap", on=system)
    layout.raid("/state/partition1", level=0, on=striped, grow=True, fs="xfs")
    layout.data(system)
    return layout
