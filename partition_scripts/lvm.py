"""One volume group on one disk, with volumes for /, /var, swap and /state/partition1; /boot is outside.

Other disks are left alone: `vgextend system /dev/...` makes the group larger later.
"""

from bootserver_partition import Layout


def partition(node, machine):
    [disk] = machine.pick(1)

    layout = Layout(machine)
    layout.add("/boot", on=disk)
    system = layout.group("system", on=disk)
    layout.add("/", on=system)
    layout.add("/var", on=system)
    layout.add("swap", on=system)
    layout.data(system)
    return layout
