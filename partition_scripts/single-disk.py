"""Everything on one disk: the system, and /state/partition1 is what is left of it. All other disks are left alone."""

from bootserver_partition import Layout


def partition(node, machine):
    [disk] = machine.pick(1)

    layout = Layout(machine)
    layout.add("/", on=disk)
    layout.add("/var", on=disk)
    layout.add("swap", on=disk)
    layout.data(disk)
    return layout
