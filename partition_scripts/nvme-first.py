"""The system on the first NVMe disk, whatever comes before it in the machine; each other disk is one data partition."""

from bootserver_partition import Layout


def partition(node, machine):
    [fast] = machine.pick(1, kind="nvme")

    layout = Layout(machine)
    layout.add("/", on=fast)
    layout.add("/var", on=fast)
    layout.add("swap", on=fast)
    layout.data(fast, machine.others(fast))
    return layout
