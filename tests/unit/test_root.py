"""A root on RAID or LVM: what the kernel, the initrd and GRUB are told, and what an image must have for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from bootserver.errors import Refused
from bootserver.install.partition import place, shell
from bootserver.install.partition.model import (
    Answer,
    DiskAnswer,
    FileSystem,
    LogicalVolume,
    Partition,
    Raid,
    RaidLevel,
    VolumeGroup,
)
from bootserver.install.partition.plan import Plan
from bootserver.install.root import Boot, boot_of, check_target, root_words
from bootserver.install.system import Own, kernel_line, system_files
from bootserver.install.target import Network, Target, look_at
from tests import views
from tests.disks import disk, machine, uuids

EXT4, XFS = FileSystem.EXT4, FileSystem.XFS
DEBIAN = Target(
    Network.NETWORKD, "/boot/vmlinuz-6", "/boot/initrd.img-6", "grub", True, True, False, "etc/mdadm/mdadm.conf", True, False
)
RED_HAT = replace(DEBIAN, mdadm_conf="etc/mdadm.conf", has_dracut=True)
MIRROR, FIVE = RaidLevel.RAID1, RaidLevel.RAID5


def planned(*partitions: Partition, raids: tuple[Raid, ...] = (), groups: tuple[VolumeGroup, ...] = ()) -> Plan:
    """The same partitions on three disks; those with a mount point on the first only."""
    names = ("vda", "vdb", "vdc")
    disks = tuple(
        DiskAnswer(name, (Partition.bios_boot(), *(part for part in partitions if name == "vda" or part.mount_point is None)))
        for name in names
    )
    inventory = machine(*(disk(name, 30, slot=slot) for slot, name in enumerate(names)))
    return place.place(Answer(disks, raids, groups), inventory, new_uuid=uuids())


ROOT = Partition.mounted("/", EXT4, 5000)
PLAIN = planned(ROOT)
ON_RAID = planned(Partition.raid("root", 5000), raids=(Raid("root", MIRROR, EXT4, "/"),))
VOLUMES = VolumeGroup("my-sys", (LogicalVolume("root", 5000, XFS, "/"),))
ON_LVM = planned(Partition.lvm("my-sys", 6000), groups=(VOLUMES,))
ON_BOTH = planned(Partition.raid("pv", 6000), raids=(Raid("pv", FIVE, member="my-sys"),), groups=(VOLUMES,))
BOOT_APART = planned(
    Partition.raid("boot", 500), Partition.lvm("my-sys", 6000), raids=(Raid("boot", MIRROR, EXT4, "/boot"),), groups=(VOLUMES,)
)


def md(plan: Plan) -> str:
    return shell.md_uuid(plan.arrays[0].uuid)


@pytest.mark.parametrize(
    ("plan", "word", "dracut"),
    [
        (PLAIN, f"root=UUID={PLAIN.root.filesystem_uuid}", ()),
        (ON_RAID, f"root=UUID={ON_RAID.root.filesystem_uuid}", (f"rd.md.uuid={md(ON_RAID)}",)),
        (ON_LVM, "root=/dev/mapper/my--sys-root", ("rd.lvm.lv=my-sys/root",)),
        (ON_BOTH, "root=/dev/mapper/my--sys-root", (f"rd.md.uuid={md(ON_BOTH)}", "rd.lvm.lv=my-sys/root")),
        (BOOT_APART, "root=/dev/mapper/my--sys-root", ("rd.lvm.lv=my-sys/root",)),
    ],
    ids=["plain", "RAID", "LVM", "both", "/boot apart"],
)
def test_the_kernel_and_the_initrd_are_told_where_root_is(plan: Plan, word: str, dracut: tuple[str, ...]) -> None:
    assert root_words(plan, DEBIAN) == (word, ())
    assert root_words(plan, RED_HAT) == (word, dracut)


@pytest.mark.parametrize(
    ("plan", "filesystem", "is_apart", "modules"),
    [
        (PLAIN, "ext4", False, ()),
        (ON_RAID, "ext4", False, ("mdraid1x",)),
        (ON_LVM, "xfs", False, ("lvm",)),
        (ON_BOTH, "xfs", False, ("mdraid1x", "raid5rec", "lvm")),
        (BOOT_APART, "ext4", True, ("mdraid1x",)),
    ],
    ids=["plain", "RAID", "LVM", "both", "/boot apart"],
)
def test_grub_has_the_modules_that_it_reads_kernels_with(
    plan: Plan, filesystem: str, is_apart: bool, modules: tuple[str, ...]
) -> None:
    found = boot_of(plan)
    assert (found.filesystem, found.is_apart, found.modules) == (filesystem, is_apart, modules)
    assert found.uuid == next(each for each in plan.mounted if each.mount_point == ("/boot" if is_apart else "/")).filesystem_uuid


def own(plan: Plan, target: Target) -> Own:
    word, words = root_words(plan, target)
    return Own(
        views.node(), "Title", shell.fstab(plan), plan.root.filesystem_uuid, plan.root.filesystem, UUID(int=5), {},
        "http://10.1.1.1/", "#!/bin/sh\n", word, words, boot_of(plan), shell.mdadm_conf(plan),
    )  # fmt: skip


def test_a_menu_names_the_kernel_as_grub_sees_it() -> None:
    made = own(BOOT_APART, RED_HAT)
    files = {entry.path: entry.content for entry in system_files(made, RED_HAT)}
    menu = files["boot/grub/grub.cfg"]
    assert isinstance(menu, bytes)
    lines = [line.strip() for line in menu.decode().splitlines()]
    assert "linux /vmlinuz-6 'root=/dev/mapper/my--sys-root' 'ro' 'rd.lvm.lv=my-sys/root'" in lines
    assert "initrd /initrd.img-6" in lines
    assert f"search --no-floppy --fs-uuid --set=root {boot_of(BOOT_APART).uuid}" in lines
    assert lines.index("insmod mdraid1x") < lines.index("insmod ext2") < lines.index("menuentry 'Title' {")
    later = files["etc/default/grub.d/bootserver.cfg"]
    assert isinstance(later, bytes) and b"rd.lvm.lv=my-sys/root" in later
    assert files["etc/mdadm.conf"] == shell.mdadm_conf(BOOT_APART).encode()


def test_a_root_on_a_partition_has_nothing_of_it() -> None:
    files = {entry.path for entry in system_files(own(PLAIN, DEBIAN), DEBIAN)}
    assert not any("mdadm" in path for path in files)
    assert kernel_line(own(PLAIN, RED_HAT)) == f"root=UUID={PLAIN.root.filesystem_uuid} ro"
    assert boot_of(PLAIN) == Boot(PLAIN.root.filesystem_uuid, "ext4")


@pytest.mark.parametrize(
    ("plan", "target", "said"),
    [
        (
            ON_RAID,
            replace(DEBIAN, mdadm_conf=None),
            "has RAID arrays, and the image lacks mdadm: install the package mdadm in it",
        ),
        (ON_LVM, replace(DEBIAN, has_lvm=False), "has LVM volumes, and the image lacks lvm2: install the package lvm2 in it"),
        (ON_BOTH, replace(DEBIAN, ramdisk=None), "has / on RAID or LVM, and the image has no initrd"),
    ],
)
def test_an_image_that_could_not_start_is_refused_with_what_to_install(plan: Plan, target: Target, said: str) -> None:
    with pytest.raises(Refused, match=said):
        check_target(plan, target)
    check_target(PLAIN, target)
    check_target(plan, DEBIAN)


@pytest.mark.parametrize(
    ("paths", "conf", "has_lvm", "has_dracut"),
    [
        ((), None, False, False),
        (("usr/sbin/mdadm", "etc/mdadm/x", "sbin/lvm"), "etc/mdadm/mdadm.conf", True, False),
        (("usr/sbin/mdadm", "usr/sbin/lvm", "usr/bin/dracut"), "etc/mdadm.conf", True, True),
    ],
)
def test_what_an_image_has_is_seen(tmp_path: Path, paths: tuple[str, ...], conf: str, has_lvm: bool, has_dracut: bool) -> None:
    for path in ("boot/vmlinuz-6", *paths):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    found = look_at(tmp_path)
    assert (found.mdadm_conf, found.has_lvm, found.has_dracut) == (conf, has_lvm, has_dracut)
