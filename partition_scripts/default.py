"""Rocks' layout: /, /var and swap on one disk, data below /state on all that is left.

The system goes where it was, else on the first disk that has room. What is left of its disk is /state/partition1, and each
further disk is one partition, /state/partition2 and so on. Data below /state stay at a reinstall, whatever disk they are on.

A program of your own may begin with it:

    layout = Layout.rocks(machine)
    layout.find("swap")["size"] = 8000
    return layout
"""

from bootserver_partition import Layout


def partition(node, machine):
    return Layout.rocks(machine)
