"""How an installed system comes to its root where that is on RAID or LVM: what the image must have, the kernel and GRUB be told.

The initrd starts arrays and volumes: Debian's by udev, all that it sees; dracut's only those that its command line names
(dracut.cmdline(7)). GRUB reads both by itself, when it has the modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bootserver.errors import Refused
from bootserver.install.partition.model import RaidLevel
from bootserver.install.partition.plan import Plan, PlannedVolume
from bootserver.install.partition.shell import md_uuid
from bootserver.install.target import Target

_RECOVERY = {RaidLevel.RAID5: "raid5rec", RaidLevel.RAID6: "raid6rec"}


@dataclass(frozen=True, slots=True)
class Boot:
    """Where GRUB finds kernels.

    :ivar uuid: of the file system. :ivar filesystem: its kind. :ivar is_apart: it is not that of ``/``, but mounted at /boot.
    :ivar modules: what GRUB needs to read it, beside the file system's.
    """

    uuid: str
    filesystem: str
    is_apart: bool = False
    modules: tuple[str, ...] = ()


def boot_of(plan: Plan) -> Boot:
    apart = next((each for each in plan.mounted if each.mount_point == "/boot"), None)
    system = apart or plan.root
    modules = ["mdraid1x"] if (arrays := plan.arrays_below(system)) else []
    modules += sorted({_RECOVERY[each.level] for each in arrays if each.level in _RECOVERY})
    modules += ["lvm"] if isinstance(system, PlannedVolume) else []
    return Boot(system.filesystem_uuid, system.filesystem, apart is not None, tuple(modules))


def root_words(plan: Plan, target: Target) -> tuple[str, tuple[str, ...]]:
    """:returns: the word ``root=``, and what the initrd has to be told beside."""
    root = plan.root
    if not isinstance(root, PlannedVolume):
        word = f"root=UUID={root.filesystem_uuid}"
    else:  # initrds that start no volumes by themselves start the one that is named
        word = f"root=/dev/mapper/{root.group.replace('-', '--')}-{root.name.replace('-', '--')}"
    return word, tuple(_dracut(plan)) if target.has_dracut else ()


def _dracut(plan: Plan) -> Iterator[str]:
    for array in plan.arrays_below(plan.root):
        yield f"rd.md.uuid={md_uuid(array.uuid)}"
    if isinstance(plan.root, PlannedVolume):
        yield f"rd.lvm.lv={plan.root.group}/{plan.root.name}"


def check_target(plan: Plan, target: Target) -> None:
    """:raises Refused: the image can't work with the plan's arrays or volumes."""
    for what, is_there, program in (("RAID arrays", target.mdadm_conf, "mdadm"), ("LVM volumes", target.has_lvm, "lvm2")):
        if (plan.arrays if program == "mdadm" else plan.groups) and not is_there:
            raise Refused(
                f"the layout has {what}, and the image lacks {program}: install the package {program} in it "
                "(`bootserver image shell NAME`), and make its initrd anew"
            )
    root = plan.root
    if target.ramdisk is None and (isinstance(root, PlannedVolume) or plan.arrays_below(root)):
        raise Refused("the layout has / on RAID or LVM, and the image has no initrd: no kernel starts from it by itself")
