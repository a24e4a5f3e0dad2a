"""Arrays and volume groups in answers: what is refused, how large they become, what of them stays."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.install.inventory import Disk, FirmwareKind, Inventory
from bootserver.install.partition import place
from bootserver.install.partition.check import LayoutRefused
from bootserver.install.partition.model import (
    MIB,
    UNFINISHED,
    Answer,
    DiskAnswer,
    FileSystem,
    LogicalVolume,
    Partition,
    Raid,
    RaidLevel,
    VolumeGroup,
    data_name,
    is_data_name,
)
from bootserver.install.partition.plan import Plan
from bootserver.install.partition.stack import CHUNK, EXTENT, usable
from bootserver.install.partition.summary import summary
from bootserver.install.stacked import ArrayState, ExistingVolume
from tests.disks import GB, array, disk, group, machine, machine_after, member, there, uuids, volume

EXT4, XFS, SWAP, VFAT = FileSystem.EXT4, FileSystem.XFS, FileSystem.SWAP, FileSystem.VFAT
ONE, FIVE, ZERO = RaidLevel.RAID1, RaidLevel.RAID5, RaidLevel.RAID0
BIOS, ROOT = Partition.bios_boot(), Partition.mounted("/", EXT4, 5000)


def on(name: str, *partitions: Partition) -> DiskAnswer:
    return DiskAnswer(name, partitions)


def mirror(*more: Raid, root: Raid | None = None, size: int = 5000, boot: bool = True) -> Answer:
    """A mirrored root, and arrays beside it."""
    raids = (root or Raid("root", ONE, EXT4, "/"), *more)
    parts = [Partition.raid(each.name, size) for each in raids]
    return Answer((on("vda", BIOS, *parts), on("vdb", *([BIOS] if boot else []), *parts)), raids)


def lvm(*volumes: LogicalVolume, name: str = "sys", disks: str = "a") -> Answer:
    """A root, and a group on disks."""
    answers = [on(f"vd{each}", Partition.lvm(name, 1000, grow=True)) for each in disks]
    answers[0] = on("vda", BIOS, ROOT, *answers[0].partitions)
    return Answer(tuple(answers), groups=(VolumeGroup(name, volumes),))


def two(size: float = 20) -> Inventory:
    return machine(disk("vda", size), disk("vdb", size, slot=1))


VAR = LogicalVolume("var", 2000, EXT4, "/var")

# -- answers that make no sense ------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Answer, str]] = {
    "a member of nothing": (
        Answer((on("vda", BIOS, ROOT, Partition.raid("x", 10)),)),
        "a partition of vda is a member of array x, which is not there",
    ),
    "a volume of nothing": (
        Answer((on("vda", BIOS, ROOT, Partition.lvm("x", 10)),)),
        "a partition of vda is a member of volume group x, which is not there",
    ),
    "an array of nothing": (
        Answer((on("vda", BIOS, ROOT),), (Raid("x", ONE, EXT4, "/x"),)),
        "array x has 0 members, and RAID 1 needs 2",
    ),
    "a group of nothing": (
        Answer((on("vda", BIOS, ROOT),), groups=(VolumeGroup("x", (VAR,)),)),
        "volume group x has no partition and no array",
    ),
    "no volumes": (lvm(), "volume group sys has no volumes"),
    "too few": (mirror(Raid("x", FIVE, EXT4, "/x")), "array x has 2 members, and RAID 5 needs 3"),
    "only spares": (mirror(Raid("x", ONE, EXT4, "/x", spares=1)), "array x has 1 members beside 1 spares, and RAID 1 needs 2"),
    "spares of RAID 0": (mirror(Raid("x", ZERO, EXT4, "/x", spares=1)), "array x can't have 1 spares"),
    "two on one disk": (
        Answer(
            (on("vda", BIOS, ROOT, Partition.raid("x", 10), Partition.raid("x", 10)),), (Raid("x", ONE, EXT4, "/x"),)
        ),
        "the layout has 2 partitions called raid x on vda",
    ),
    "unequal": (
        Answer(
            (on("vda", BIOS, ROOT, Partition.raid("x", 100)), on("vdb", Partition.raid("x", 200))),
            (Raid("x", ONE, EXT4, "/x"),),
        ),
        "the members of array x have 100 and 200 MB: they have to be of one size",
    ),
    "two of a name": (mirror(Raid("root", ONE, EXT4, "/x")), "the layout has the array root 2 times"),
    "for nothing": (mirror(Raid("x", ONE)), "array x is for nothing"),
    "FAT": (mirror(Raid("x", ONE, VFAT, "/x")), "array x can't be vfat, and the firmware reads none"),
    "an ESP": (mirror(Raid("x", ONE, EXT4, "/boot/efi")), "array x can't hold /boot/efi"),
    "a kept root": (mirror(root=Raid("root", ONE, EXT4, "/", keep=True)), "array root can't be kept"),
    "a file system and a group": (
        mirror(Raid("x", ONE, EXT4, "/x", member="g")), "array x is a member of a volume group, and has no file system"
    ),
    "a group that is not there": (mirror(Raid("x", ONE, member="g")), "array x is a member of volume group g, which"),
    "data of another name": (
        mirror(Raid("x", ONE, EXT4, "/state/partition1")),
        "array x has to be called state_partition1: by that name a later install finds /state/partition1",
    ),
    "a name like data": (mirror(Raid("state_x", ONE, EXT4, "/x")), "array state_x can't be called so: it would be taken"),
    "a physical volume like data": (
        replace(mirror(Raid("state", ONE, member="g")), groups=(VolumeGroup("g", (VAR,)),)),
        "array state can't be called so",
    ),
    "a hostile name": (mirror(Raid("a b;c", ONE, EXT4, "/x")), "'array a b;c' can't be called so"),
    "a path": (mirror(Raid("../x", ONE, EXT4, "/x")), "can't be called so"),
    "an option": (mirror(Raid("-x", ONE, EXT4, "/x")), "can't be called so"),
    "a long name": (mirror(Raid("x" * 29, ONE, EXT4, "/x")), "at most 28 characters"),
    "a device": (lvm(VAR, name="mapper"), "volume group mapper can't be called so: there are devices of that name"),
    "a disk": (lvm(VAR, name="sda"), "volume group sda can't be called so"),
    "LVM's own": (lvm(replace(VAR, name="x_rimage_0")), "volume sys/x_rimage_0 can't be called so"),
    "unfinished": (lvm(replace(VAR, name="unfinished_x")), "volume sys/unfinished_x can't be called so"),
    "two volumes": (lvm(VAR, VAR), "the layout has the volume of sys var 2 times"),
    "two of a mount point": (lvm(VAR, replace(VAR, name="x")), "the layout has the mount point /var 2 times"),
    "a volume of nothing at all": (lvm(replace(VAR, size=0)), "volume sys/var can't have 0 MB"),
    "a huge volume": (lvm(replace(VAR, size=1 << 60)), "volume sys/var can't have"),
    "tiny XFS": (lvm(replace(VAR, file_system=XFS, size=100)), "volume sys/var has 100 MB, and xfs needs 300 MB"),
    "a full group": (lvm(replace(VAR, size=16_000)), "volume group sys is too small: it has 15.1 GB"),
    "a volume in /etc": (lvm(replace(VAR, mount_point="/etc")), "/etc can't be on a partition of its own"),
    "tiny array": (mirror(Raid("x", ONE, XFS, "/x"), size=300), r"array x would have \d+ MB, and needs 300 MB"),
}  # fmt: skip


@pytest.mark.parametrize(("wrong", "said"), WRONG.values(), ids=WRONG.keys())
def test_an_answer_that_makes_no_sense_is_refused(wrong: Answer, said: str) -> None:
    with pytest.raises(LayoutRefused, match=said):
        place.place(wrong, two())


@pytest.mark.parametrize(
    ("mount_point", "name"),
    [
        ("/state", "state"),
        ("/state/partition1", "state_partition1"),
        ("/state/a=b@c", "state_a_b_c"),
        ("/state/x/y", "state_x_y"),
    ],
)
def test_what_holds_data_is_called_as_its_mount_point_is(mount_point: str, name: str) -> None:
    assert data_name(mount_point) == name
    assert is_data_name(name)


@pytest.mark.parametrize("name", ["stately", "root", "the_state", ""])
def test_other_names_are_no_data(name: str) -> None:
    assert not is_data_name(name)


# -- booting -------------------------------------------------------------------------------------------------------


def test_a_mirrored_root_starts_from_each_of_its_disks() -> None:
    assert place.place(mirror(), two()).bios_disks == ("/dev/vda", "/dev/vdb")
    with pytest.raises(LayoutRefused, match="needs a BIOS boot partition on each disk of the array of /, and vdb has none"):
        place.place(mirror(boot=False), two())


def test_a_boot_mirror_does_where_root_is_elsewhere() -> None:
    boot = Raid("boot", ONE, EXT4, "/boot")
    parts = (BIOS, Partition.raid("boot", 500))
    answer = Answer((on("vda", *parts), on("vdb", *parts), on("vdc", ROOT)), (boot,))
    plan = place.place(answer, machine(disk("vda"), disk("vdb", slot=1), disk("vdc", slot=2)))
    assert plan.bios_disks == ("/dev/vda", "/dev/vdb")
    assert plan.root_disk.disk.name == "vdc"


def test_uefi_gets_its_boot_loader_on_each_disk_of_a_mirror() -> None:
    esps = [Partition.esp(256, mounted=mounted) for mounted in (False, True)]
    parts = [Partition.raid("root", 5000)]
    answer = Answer((on("vda", esps[0], *parts), on("vdb", esps[1], *parts)), (Raid("root", ONE, EXT4, "/"),))
    uefi = replace(two(), firmware=FirmwareKind.UEFI)
    plan = place.place(answer, uefi)
    assert [(each.disk, each.device) for each in plan.esps] == [("/dev/vdb", "/dev/vdb1"), ("/dev/vda", "/dev/vda1")]
    assert plan.esp == plan.esps[0], "the one that is mounted"
    lacking = replace(answer, disks=(answer.disks[0], on("vdb", *parts)))
    with pytest.raises(LayoutRefused, match="needs one EFI system partition that is mounted"):
        place.place(lacking, uefi)
    lacking = replace(answer, disks=(on("vda", *parts), answer.disks[1]))
    with pytest.raises(LayoutRefused, match="an EFI system partition on each disk of the array of /, and vda has none"):
        place.place(lacking, uefi)


def test_a_root_on_volumes_knows_the_disks_below() -> None:
    volumes = (LogicalVolume("root", 5000, EXT4, "/"), VAR)
    pv = (BIOS, Partition.raid("pv", grow=True))
    answer = Answer((on("vda", *pv), on("vdb", *pv)), (Raid("pv", ONE, member="sys"),), (VolumeGroup("sys", volumes),))
    plan = place.place(answer, two())
    assert plan.root.path == "/dev/sys/root"
    assert [each.disk.name for each in plan.root_disks] == ["vda", "vdb"]
    assert plan.groups[0].devices == ("/dev/md/pv",)
    assert [each.path for each in plan.mounted] == ["/dev/sys/root", "/dev/sys/var"]


# -- sizes ---------------------------------------------------------------------------------------------------------

MEMBER = 1024 * MIB
LEFT = MEMBER - 4 * MIB


@pytest.mark.parametrize(
    ("level", "members", "spares", "size"),
    [
        (ZERO, [MEMBER, MEMBER * 2], 0, LEFT + LEFT + MEMBER),
        (ONE, [MEMBER, MEMBER], 0, LEFT),
        (ONE, [MEMBER, MEMBER * 3], 0, LEFT),
        (ONE, [MEMBER] * 3, 1, LEFT),
        (FIVE, [MEMBER] * 4, 0, LEFT * 3),
        (FIVE, [MEMBER] * 4, 1, LEFT * 2),
        (RaidLevel.RAID6, [MEMBER] * 5, 0, LEFT * 3),
        (RaidLevel.RAID10, [MEMBER] * 4, 0, LEFT * 2),
        (RaidLevel.RAID10, [MEMBER] * 5, 0, LEFT * 5 // 2 // CHUNK * CHUNK),
        (ONE, [4096 * GB] * 2, 0, 4096 * GB - 130 * MIB),
    ],
)
def test_what_an_array_holds(level: RaidLevel, members: list[int], spares: int, size: int) -> None:
    assert usable(level, members, spares) == size


def test_members_that_grow_are_as_large_as_the_smallest_and_others_take_the_rest() -> None:
    small, large = disk("vda", 20), disk("vdb", 60, slot=1)
    parts = (BIOS, Partition.raid("root", 5000), Partition.raid("state_partition1", 100, grow=True))
    rest = Partition.mounted("/state/partition2", EXT4, 100, grow=True)
    raids = (Raid("root", ONE, EXT4, "/"), Raid("state_partition1", ONE, EXT4, "/state/partition1"))
    plan = place.place(Answer((on("vda", *parts), on("vdb", *parts, rest)), raids), machine(small, large))
    members = [part for part in plan.partitions if part.member == "state_partition1"]
    assert members[0].size == members[1].size == (20 * 1024 - 2 - 1 - 5000) * MIB
    [rest_of_it] = [part for part in plan.partitions if part.name == "/state/partition2"]
    assert rest_of_it.size > 39 * GB


def test_members_of_a_stripe_take_what_is_there() -> None:
    raids = (Raid("state_fast", ZERO, XFS, "/state/fast"),)
    striped = [on(name, Partition.raid("state_fast", 100, grow=True)) for name in ("vdb", "vdc")]
    inventory = machine(disk("vda"), disk("vdb", 20, slot=1), disk("vdc", 40, slot=2))
    plan = place.place(Answer((on("vda", BIOS, ROOT), *striped), raids), inventory)
    assert plan.arrays[0].size > 59.8 * GB


def test_volumes_are_whole_extents_and_share_what_is_left() -> None:
    data = [LogicalVolume(f"state_{name}", size, EXT4, f"/state/{name}", grow=True) for name, size in (("a", 17), ("b", 9000))]
    plan = place.place(lvm(LogicalVolume("swap", 5, SWAP), *data), two())
    sizes = {each.name: each.size for each in plan.volumes}
    assert sizes["swap"] == 2 * EXTENT
    assert all(size % EXTENT == 0 for size in sizes.values())
    [pv] = [part for part in plan.partitions if part.name == "lvm sys"]
    assert sum(sizes.values()) == (pv.size - MIB) // EXTENT * EXTENT
    assert sizes["state_b"] == 2250 * EXTENT
    assert sizes["state_a"] > 6000 * MIB


# -- what stays ----------------------------------------------------------------------------------------------------

DATA = Raid("state_partition1", ONE, EXT4, "/state/partition1")
KEPT_PARTS = [member(number, "raid state_partition1", 12, 7, disk=name) for number, name in ((4, "vda"), (5, "vdb"))]


def kept_machine(*arrays: Any, parts: Any = KEPT_PARTS) -> Inventory:
    first, second = parts
    arrays = arrays or (array("state_partition1", "vda4", "vdb5", size=6.9),)
    return machine(disk("vda", 20, first), disk("vdb", 20, second, slot=1), arrays=arrays)


def with_data(name: str = "state_partition1", parts: str = "ab") -> Answer:
    raids = (Raid("root", ONE, EXT4, "/"), replace(DATA, name=name))
    partitions = (BIOS, Partition.raid("root", 5000), Partition.raid(name, 200, grow=True))
    return Answer(tuple(on(f"vd{each}", *partitions) for each in parts), raids)


def test_an_array_with_data_stays_with_its_members() -> None:
    plan = place.place(with_data(), kept_machine())
    root, data = plan.arrays
    assert (root.kept, data.kept, data.is_data) == (False, True, True)
    assert data.size == int(6.9 * GB)
    assert [(part.device, part.start, part.number) for part in plan.partitions if part.kept] == [
        ("vda4", 12 * GB, 4), ("vdb5", 12 * GB, 5),
    ]  # fmt: skip
    assert data.filesystem_uuid == array("state_partition1").filesystem_uuid
    assert "RAID 1 of vda4, vdb5" in summary(plan)


def test_with_wipe_it_does_not() -> None:
    plan = place.place(with_data(), kept_machine(), wipe=True)
    assert not any(each.kept for each in plan.partitions)
    assert not any(each.kept for each in plan.arrays)


def test_an_array_is_also_known_by_the_names_of_its_partitions() -> None:
    """An installer that can't name its arrays (md127) named their partitions; the inventory's name comes of them."""
    assert place.place(with_data(), kept_machine(array("state_partition1", "vda4", "vdb5"))).arrays[1].kept


def test_an_array_that_was_not_finished_is_made_anew() -> None:
    parts = [replace(each, label=UNFINISHED) for each in KEPT_PARTS]
    plan = place.place(with_data(), kept_machine(parts=parts))
    assert not any(each.kept for each in plan.arrays)
    half = [KEPT_PARTS[0], parts[1]]
    assert place.place(with_data(), kept_machine(parts=half)).arrays[1].kept, "its data were there before its first name"


def test_a_new_disk_gets_the_member_that_is_gone() -> None:
    inventory = machine(
        disk("vda", 20, KEPT_PARTS[0]),
        disk("vdb", 20, slot=1),
        arrays=[array("state_partition1", "vda4", size=6.9, state=ArrayState.DEGRADED)],
    )
    plan = place.place(with_data(), inventory)
    old, new = (part for part in plan.partitions if part.member == "state_partition1")
    assert (old.kept, new.kept, new.size) == (True, False, old.size)
    assert plan.arrays[1].devices == ("vda4", new.device)
    assert not new.is_data, "it has its name at once: an array that is finished must never seem not to be"


def test_volumes_with_data_stay_and_others_of_their_group_go() -> None:
    inventory = machine(
        disk("vda", 20, member(7, "lvm sys", 10, 9.5)),
        groups=[
            group("sys", ["/dev/vda7"], volume("state_a", 4, "xfs"), volume("root", 3), volume("unfinished_state_b", 1), free=1.5)
        ],
    )
    volumes = (
        LogicalVolume("state_a", 100, EXT4, "/state/a"),
        LogicalVolume("state_b", 100, EXT4, "/state/b", grow=True),
        replace(VAR, name="root"),
    )
    plan = place.place(lvm(*volumes), inventory)
    [only] = plan.groups
    assert (only.kept, only.gone, only.uuid) == (True, ("root", "unfinished_state_b"), "uuid of sys")
    assert [(each.name, each.kept, each.filesystem) for each in only.volumes] == [
        ("state_a", True, "xfs"), ("state_b", False, "ext4"), ("root", False, "ext4"),
    ]  # fmt: skip
    assert only.volumes[1].size == int(5.5 * GB) - 2000 * MIB
    assert [part.device for part in plan.partitions if part.kept] == ["vda7"]


def test_what_a_thin_pool_holds_is_no_room() -> None:
    thin = [ExistingVolume("pool", 3 * GB, layout="thin,pool"), ExistingVolume("thin", 90 * GB, layout="thin,sparse")]
    inventory = machine(
        disk("vda", 20, member(7, "lvm sys", 10, 9.5)),
        groups=[group("sys", ["/dev/vda7"], volume("state_a", 4), *thin, free=1)],
    )
    answer = lvm(LogicalVolume("state_a", 100, EXT4, "/state/a"), replace(VAR, size=1100))
    with pytest.raises(LayoutRefused, match=r"volume group sys is too small: it has 1.0 GB"):
        place.place(answer, inventory)


def test_a_group_that_stays_takes_what_is_added() -> None:
    inventory = machine(
        disk("vda", 20, member(7, "lvm sys", 10, 9.5)),
        disk("vdb", 20, slot=1),
        groups=[group("sys", ["/dev/vda7"], volume("state_a", 4), free=5)],
    )
    plan = place.place(lvm(LogicalVolume("state_a", 1, EXT4, "/state/a"), replace(VAR, grow=True), disks="ab"), inventory)
    assert plan.groups[0].devices == ("/dev/vda7", "/dev/vdb1")
    assert plan.volumes[1].size > 24.9 * GB


# -- what must not go ----------------------------------------------------------------------------------------------

ON_TWO = kept_machine()
IN_GROUP = machine(
    disk("vda", 20, member(7, "lvm sys", 10, 9)),
    disk("vdb", 20, slot=1),
    groups=[group("sys", ["/dev/vda7"], volume("state_a", 4))],
)
WANTS_A = LogicalVolume("state_a", 100, EXT4, "/state/a")
PLAIN = Answer((on("vda", BIOS, ROOT),))

LOST: dict[str, tuple[Answer, Inventory, str]] = {
    "an array that the layout forgets": (
        PLAIN, ON_TWO, r"vda hold array state_partition1 \(6.9 GB\), which the layout does not keep: --wipe gives it up",
    ),
    "a member of it": (
        Answer((on("vdb", BIOS, ROOT),)), ON_TWO, r"vdb hold array state_partition1",
    ),
    "a volume that the layout forgets": (
        PLAIN, IN_GROUP, r"vda hold volume sys/state_a \(4.0 GB\), which the layout does not keep: --wipe",
    ),
    "a volume of a group on an array": (
        PLAIN,
        machine(
            disk("vda", 20, member(4, "raid pv", 10, 9)),
            arrays=[array("pv", "vda4", "vdb4", filesystem="LVM2_member", state=ArrayState.DEGRADED)],
            groups=[group("sys", ["/dev/md/pv"], volume("state_a"))],
        ),
        r"vda hold volume sys/state_a",
    ),
    "a group of another name": (
        lvm(WANTS_A, name="other"), IN_GROUP, r"vda hold volume sys/state_a|state_a is on volume group sys",
    ),
    "an array where the layout wants a partition": (
        Answer((on("vda", BIOS, ROOT), on("vdc", Partition.mounted("/state/partition1", EXT4, 100)))),
        machine(*ON_TWO.disks[1:], disk("vda"), disk("vdc", slot=2), arrays=[array("state_partition1", "vdb5")]),
        "/state/partition1 is on an array of vdb5, the layout wants it on vdc",
    ),
    "a partition where the layout wants a volume": (
        lvm(WANTS_A, disks="a"),
        machine(disk("vda"), disk("vdb", 20, there(1, "/state/a", 1, 5, disk="vdb"), slot=1)),
        "/state/a is on vdb, and the layout makes it anew",
    ),
    "data twice": (
        PLAIN,
        machine(
            disk("vda"), disk("vdb", 20, there(1, "/state/a", 1, 5, disk="vdb"), slot=1),
            groups=[group("x", [], volume("state_a"))],
        ),
        "/state/a is on vdb and on volume group x",
    ),
    "a failed array": (
        with_data(),
        kept_machine(array("state_partition1", "vda4", "vdb5", size=0, state=ArrayState.FAILED, filesystem="")),
        r"array state_partition1 can't be kept, too few of its members are there \(vda4, vdb5\): mend it, or --wipe",
    ),
    "a level that is none of ours": (
        with_data(), kept_machine(array("state_partition1", "vda4", "vdb5", level="linear")), "can't be kept, it is linear",
    ),
    "an unreadable array": (
        with_data(), kept_machine(array("state_partition1", "vda4", "vdb5", filesystem="crypto_LUKS")),
        "array state_partition1 can't be kept, it holds crypto_LUKS",
    ),
    "an array on more disks": (
        with_data(),
        machine(
            *ON_TWO.disks, disk("vdc", 20, member(1, "raid state_partition1", 1, 7, disk="vdc"), slot=2),
            arrays=[array("state_partition1", "vda4", "vdb5", "vdc1")],
        ),
        "array state_partition1 has a member vdc1, where the layout wants none of it",
    ),
    "two arrays of a name": (
        with_data(),
        kept_machine(array("state_partition1", "vda4"), array("state_partition1", "vdb5")),
        "state_partition1 is on an array of vda4 and on an array of vdb5",
    ),
    "a group with a disk gone": (
        lvm(WANTS_A),
        replace(IN_GROUP, groups=(group("sys", ["/dev/vda7"], volume("state_a"), missing=1),)),
        "volume group sys can't be kept, 1 of its physical volumes are gone",
    ),
    "a thin volume": (
        lvm(WANTS_A),
        replace(IN_GROUP, groups=(group("sys", ["/dev/vda7"], volume("state_a", layout="thin,sparse")),)),
        "volume sys/state_a can't be kept, it is thin,sparse",
    ),
    "an unreadable volume": (
        lvm(WANTS_A),
        replace(IN_GROUP, groups=(group("sys", ["/dev/vda7"], volume("state_a", filesystem="")),)),
        "volume sys/state_a can't be kept, it holds nothing that can be read",
    ),
    "a group on a disk more": (
        lvm(WANTS_A),
        replace(
            IN_GROUP,
            disks=(IN_GROUP.disks[0], disk("vdb", 20, member(1, "lvm sys", 1, 9, disk="vdb"), slot=1)),
            groups=(group("sys", ["/dev/vda7", "/dev/vdb1"], volume("state_a")),),
        ),
        "there is a volume group sys on vdb, which the layout leaves alone",
    ),
    "a group on two partitions of a disk": (
        lvm(WANTS_A),
        replace(
            IN_GROUP,
            disks=(disk("vda", 20, member(7, "lvm sys", 10, 9), member(8, "lvm sys", 1, 5)),),
            groups=(group("sys", ["/dev/vda7", "/dev/vda8"], volume("state_a")),),
        ),
        "volume group sys is on /dev/vda8, too, where the layout wants nothing of it",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "inventory", "said"), LOST.values(), ids=LOST.keys())
def test_no_data_go_or_are_mixed_up(answer: Answer, inventory: Inventory, said: str) -> None:
    with pytest.raises(LayoutRefused, match=said):
        place.place(answer, inventory)


def test_a_group_of_somebody_else_on_a_disk_that_is_left_alone_is_in_the_way_even_with_wipe() -> None:
    others = machine(
        disk("vda"), disk("vdb", 20, member(1, "x", 1, 9, disk="vdb"), slot=1), groups=[group("sys", ["/dev/vdb1"], volume("x"))]
    )
    with pytest.raises(LayoutRefused, match="there is a volume group sys on vdb"):
        place.place(lvm(VAR), others, wipe=True)
    assert place.place(lvm(VAR, name="other"), others).volumes


# -- anything ------------------------------------------------------------------------------------------------------


@st.composite
def answers(draw: st.DrawFn) -> tuple[Answer, tuple[Disk, ...]]:
    """A system, and up to three arrays and groups on up to five disks."""
    count = draw(st.integers(2, 5))
    names = [f"vd{'abcde'[index]}" for index in range(count)]
    disks = tuple(disk(name, draw(st.floats(16, 64)), slot=index) for index, name in enumerate(names))
    parts: dict[str, list[Partition]] = {name: [] for name in names}
    parts["vda"] += [BIOS, ROOT]
    raids: list[Raid] = []
    groups: list[VolumeGroup] = []
    for number in range(draw(st.integers(1, 3))):
        on_disks = draw(st.lists(st.sampled_from(names), unique=True, min_size=1))
        grow, size = draw(st.booleans()), draw(st.integers(100, 3000))
        levels = [level for level in RaidLevel if level.least_members <= len(on_disks)]
        level: RaidLevel | None = None
        is_array = draw(st.booleans())
        if levels and is_array:
            level = draw(st.sampled_from(levels))
        in_group = level is None or draw(st.booleans())
        name = f"state_{number}" if not in_group and draw(st.booleans()) else f"x{number}"
        point = f"/state/{number}" if name.startswith("state") else f"/x{number}"
        if level is not None:
            raids.append(Raid(name, level, member=f"g{number}") if in_group else Raid(name, level, EXT4, point))
        for each in on_disks:
            parts[each].append(Partition.raid(name, size, grow=grow) if level else Partition.lvm(f"g{number}", size, grow=grow))
        if in_group:
            volumes = [
                LogicalVolume(f"state_g{number}{index}", draw(st.integers(16, 400)), EXT4, f"/state/g{number}{index}",
                              grow=draw(st.booleans()))
                for index in range(draw(st.integers(1, 3)))
            ]  # fmt: skip
            groups.append(VolumeGroup(f"g{number}", tuple(volumes)))
    answer = Answer(tuple(on(name, *each) for name, each in parts.items() if each), tuple(raids), tuple(groups))
    return answer, disks


@given(answers())
def test_whatever_is_wanted_nothing_overlaps_and_what_is_kept_never_moves(given_answer: tuple[Answer, tuple[Disk, ...]]) -> None:
    answer, disks = given_answer
    try:
        plan = place.place(answer, machine(*disks), new_uuid=uuids())
    except LayoutRefused as refused:
        assert "too small" in str(refused) or "would have" in str(refused) or "no room" in str(refused)
        return
    makes_sense(plan)
    # Once more: all data stay where they are, with all that they are on.
    left = [each for each in disks if each.name not in {done.disk.name for done in plan.disks}]
    second = place.place(answer, machine_after(plan, *left), new_uuid=uuids())
    makes_sense(second)
    kept = [each for each in plan.file_systems if each.is_data]
    assert [(each.path, each.size, each.filesystem_uuid) for each in second.file_systems if each.kept] == [
        (each.path, each.size, each.filesystem_uuid) for each in kept
    ]
    for system in kept:
        [same] = [each for each in second.file_systems if each.filesystem_uuid == system.filesystem_uuid]
        assert [(part.device, part.start, part.size, part.uuid) for part in second.below(same)] == [
            (part.device, part.start, part.size, part.uuid) for part in plan.below(system)
        ]
    assert {each.uuid for each in second.arrays if each.kept} <= {each.uuid for each in plan.arrays}


def makes_sense(plan: Plan) -> None:
    for each in plan.disks:
        for one, other in pairwise(each.partitions):
            assert one.end <= other.start
        for part in each.partitions:
            assert part.start >= MIB and part.end <= each.disk.size - 33 * each.disk.sector_size
    by_device = {part.device: part for part in plan.partitions}
    for found in plan.arrays:
        members = [by_device[device] for device in found.devices]
        assert all(part.member == found.name for part in members)
        sizes = {part.size for part in members}
        assert found.level is ZERO or found.kept or len(sizes) == 1, "nothing is lost by unequal members"
        assert found.size < sum(part.size for part in members)
    room = {part.path: part.size for part in plan.partitions} | {each.path: each.size for each in plan.arrays}
    for made in plan.groups:
        assert sum(each.size for each in made.volumes) < sum(room[device] for device in made.devices)
        assert all(each.size % EXTENT == 0 for each in made.volumes)
