"""The system on two disks that mirror each other, swap too: a node lives on when one of them dies.

What is left of the pair is a mirrored /state/partition1, and each further disk is one data partition.
"""

from bootserver_partition import Layout


def partition(node, machine):
    pair = machine.pick(2)

    layout = Layout(machine)
    layout.raid("/", on=pair)
    layout.raid("/var", on=pair)
    layout.raid("swap", on=pair)
    layout.raid("/state/partition1", on=pair, grow=True)
    layout.data(machine.others(pair))
    return layout
