"""Kickstart's partition lines: what programs write is read, what Anaconda gets is valid, and one is the other's inverse."""

from __future__ import annotations

import shlex
import warnings
from dataclasses import replace

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pykickstart.errors import KickstartError  # type: ignore[import-untyped,unused-ignore]
from pykickstart.parser import KickstartParser  # type: ignore[import-untyped,unused-ignore]
from pykickstart.version import makeVersion  # type: ignore[import-untyped,unused-ignore]

from bootserver.install.inventory import FirmwareKind, Inventory
from bootserver.install.partition import kickstart, place
from bootserver.install.partition.booting import with_boot_partitions
from bootserver.install.partition.check import LayoutRefused
from bootserver.install.partition.kickstart_line import COMMANDS
from bootserver.install.partition.model import (
    MIB,
    Answer,
    DiskAnswer,
    FileSystem,
    LogicalVolume,
    Partition,
    Raid,
    RaidLevel,
    VolumeGroup,
)
from bootserver.install.partition.plan import DiskPlan, Plan
from tests.disks import disk, machine, there
from tests.golden import golden
from tests.layouts import LAYOUTS, Layout, data, kept_stack, on, rocks

EXT3, EXT4, XFS = FileSystem.EXT3, FileSystem.EXT4, FileSystem.XFS
VERSIONS = ("RHEL7", "RHEL8", "RHEL9", "RHEL10", "F40")

ONE = machine(disk("sda", 40))
TWO = machine(disk("sda", 40, serial="S 1", wwn="naa.5000c500a1b2c3d4"), disk("sdb", 100, slot=1, serial="S2"))
OLD = machine(
    disk("sda", 40, there(1, "", 0.1, 8, disk="sda"), there(5, "/state/partition1", 20, 19, disk="sda")),
    disk("sdb", 40, there(1, "/home", 1, 30, "xfs", disk="sdb"), there(2, "", 32, 2, "ntfs", disk="sdb"), slot=1),
)


def anaconda_reads(text: str, version: str) -> None:
    """As Anaconda's own parser does. :raises KickstartError: it would not."""
    handler = makeVersion(version)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # One on each disk of a mirror is what GRUB needs, and what Anaconda makes; its parser wonders.
        warnings.filterwarnings("ignore", "A partition with the mountpoint (biosboot|None) has already been defined")
        KickstartParser(handler, missingIncludeIsFatal=False).readKickstartFromString(text)


# -- what Anaconda gets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYOUTS)
def test_lines_for_anaconda_are_as_reviewed(name: str) -> None:
    golden(f"{name}.ks", kickstart.lines(LAYOUTS[name].answer, LAYOUTS[name].plan))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_anacondas_own_parser_reads_the_lines(name: str, version: str) -> None:
    anaconda_reads(kickstart.lines(LAYOUTS[name].answer, LAYOUTS[name].plan), version)


def test_anacondas_parser_would_say_so() -> None:
    with pytest.raises(KickstartError):
        anaconda_reads("part / --size=8000 --ondisk=vda --keep\n", "RHEL9")


def test_only_what_goes_is_cleared_where_something_is_kept() -> None:
    text = kickstart.lines(LAYOUTS["two-disks-kept"].answer, LAYOUTS["two-disks-kept"].plan)
    assert "clearpart --list=vda1,vda2,vda3,vda4,vda5 " in text
    assert "--all" not in text
    assert "part /state/partition1 --onpart=vda6 --noformat" in text


def test_a_disk_of_which_nothing_is_kept_gets_a_new_table_beside_one_that_is() -> None:
    foreign = disk("vdb", 40, there(1, "", 1, 30, "ntfs", disk="vdb"), slot=1, table="dos")
    first = disk("vda", 40, there(1, "/state/partition1", 20, 19))
    layout = Layout(machine(first, foreign), Answer((on("vda", *rocks(), data()), on("vdb", data(2)))))
    assert "clearpart --list=vdb1,vdb " in kickstart.lines(layout.answer, layout.plan)


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (kept_stack(grown=True), None),
        (
            Layout(
                ONE,
                Answer(
                    (on("sda", Partition.bios_boot(), Partition.lvm("vg", 512, grow=True)),),
                    groups=(VolumeGroup("vg", (LogicalVolume("root", 8000, XFS, "/"),)),),
                ),
            ),
            r"starts no system whose /boot is in a volume group \(vg\)",
        ),
    ],
)
def test_what_anaconda_can_not_be_told_is_refused(layout: Layout, said: str | None) -> None:
    if said is None:
        assert "logvol /scratch --vgname=data --name=scratch --fstype=xfs --size=512\n" in kickstart.lines(
            layout.answer, layout.plan
        )
        return
    with pytest.raises(LayoutRefused, match=said):
        kickstart.lines(layout.answer, layout.plan)


def test_a_volume_that_goes_and_is_not_made_anew_is_refused_for_anaconda() -> None:
    layout = kept_stack()
    old = layout.inventory.groups[0]
    more = replace(old, volumes=(*old.volumes, replace(old.volumes[0], name="var", uuid="x", size=64 * MIB)))
    layout = Layout(replace(layout.inventory, groups=(more,)), layout.answer)
    with pytest.raises(LayoutRefused, match=r"can't remove volume var from data.*`lvremove data/var`"):
        kickstart.lines(layout.answer, layout.plan)


# -- what programs write -------------------------------------------------------------------------------------------

ROCKS = """\
clearpart --all --initlabel --drives=sda
part / --size=6000 --fstype=ext3 --ondisk=sda
part /var --size=2000 --fstype=ext3 --ondisk=sda
part swap --size=2000 --ondisk=sda
part /mydata --size=1 --grow --fstype=ext3 --ondisk=sda
"""


def test_the_lines_of_the_rocks_slides_are_read() -> None:
    assert kickstart.read(ROCKS, ONE) == Answer(
        (
            on(
                "sda",
                Partition.mounted("/", EXT3, 6000),
                Partition.mounted("/var", EXT3, 2000),
                Partition.swap(2000),
                Partition.mounted("/mydata", EXT3, 16, grow=True),
            ),
        )
    )


def test_values_stand_behind_an_equals_sign_or_a_space_quoted_or_not_and_comments_are_passed_over() -> None:
    text = """
# the system
zerombr
partition / --size 8000 --fstype "xfs" --ondrive sda --asprimary --label='root' --fsoptions="noatime,nodev"  # root
bootloader --location=mbr --append="rhgb quiet"
part swap --recommended --ondisk=/dev/sda
"""
    answer = kickstart.read(text, replace(ONE, memory=4 << 30))
    assert answer == Answer((on("sda", Partition.mounted("/", XFS, 8000), Partition.swap(4096)),))


@pytest.mark.parametrize(("memory", "swap"), [(0, 1000), (1, 2048), (4, 4096), (32, 16384), (512, 4096)])
def test_swap_as_anaconda_recommends_it(memory: int, swap: int) -> None:
    answer = kickstart.read("part swap --recommended", replace(ONE, memory=memory << 30))
    assert answer.disks[0].partitions == (Partition.swap(swap),)


def test_without_a_disk_a_partition_goes_on_the_first_that_has_room() -> None:
    text = "part / --size=30000\npart /scratch --size=50000\npart swap --size=1000\npart /small --size=9000 --ondisk=sda\n"
    answer = kickstart.read(text, TWO)
    on_disk = {each.disk: [part.name for part in each.partitions] for each in answer.disks}
    assert on_disk == {"sda": ["/", "swap", "/small"], "sdb": ["/scratch"]}


def test_data_go_where_they_are_when_no_disk_is_said() -> None:
    moved = machine(disk("sda", 400), disk("sdb", 40, there(5, "/state/partition1", 20, 19, disk="sdb"), slot=1))
    answer = kickstart.read("part / --size=8000\npart /state/partition1 --size=1 --grow\n", moved)
    assert {each.disk for each in answer.disks if "/state/partition1" in {p.name for p in each.partitions}} == {"sdb"}
    assert place.place(with_boot_partitions(answer, moved)[0], moved).partitions[-1].kept


def test_what_ignoredisk_leaves_is_used() -> None:
    text = "ignoredisk --only-use=sdb\npart / --size=8000\n"
    assert kickstart.read(text, TWO).disks[0].disk == "sdb"
    assert kickstart.read("ignoredisk --drives=sda\npart / --size=8000\n", TWO).disks[0].disk == "sdb"
    with pytest.raises(LayoutRefused, match="line 2: part /: disk sda is not to be used"):
        kickstart.read("ignoredisk --only-use=sdb\npart / --size=8000 --ondisk=sda\n", TWO)


@pytest.mark.parametrize(
    ("name", "is_disk"),
    [
        ("/dev/disk/by-id/wwn-0x5000c500a1b2c3d4", "sda"),
        ("disk/by-id/ata-SEAGATE_S_1", "sda"),
        ("/dev/disk/by-id/virtio-S2", "sdb"),
        ("/dev/sdb", "sdb"),
    ],
)
def test_a_disk_is_known_by_its_serial_number_or_wwn(name: str, is_disk: str) -> None:
    assert kickstart.read(f"part / --size=8000 --ondisk={name}", TWO).disks[0].disk == is_disk


def test_what_is_kept_is_named_by_its_partition() -> None:
    text = "clearpart --all\npart / --size=8000 --ondisk=sda\npart /home --onpart=sdb1 --noformat\n"
    answer = kickstart.read(text + "part /state/partition1 --onpart=sda5 --noformat\n", OLD)
    assert answer.disks[1].partitions == (Partition.mounted("/home", EXT4, 30 * 1024, keep=True),)
    plan = place.place(with_boot_partitions(answer, OLD)[0], OLD)
    assert {part.name for part in plan.partitions if part.kept} == {"/home", "/state/partition1"}


def test_a_partition_that_is_formatted_where_it_is_becomes_one_of_its_size() -> None:
    answer = kickstart.read("clearpart --all\npart / --onpart=/dev/sda1 --fstype=xfs\n", OLD)
    assert answer.disks[0].partitions == (Partition.mounted("/", XFS, 8 * 1024),)


def test_arrays_and_groups_are_read() -> None:
    text = """
part raid.01 --size=8000 --ondisk=sda
part raid.02 --size=8000 --ondisk=sdb
part raid.11 --size=1 --grow --ondisk=sda
part raid.12 --size=1 --grow --ondisk=sdb
raid / --level=1 --device=md0 --fstype=xfs raid.01 raid.02
raid pv.01 --level=RAID0 --device=/dev/md/pv raid.11 raid.12
volgroup data --pesize=4096 pv.01
logvol /state/data --vgname=data --name=lv0 --size=1 --grow --fstype=xfs
logvol swap --vgname data --name swap --size 2000
"""
    answer = kickstart.read(text, TWO)
    assert answer.raids == (Raid("md0", RaidLevel.RAID1, XFS, "/"), Raid("pv", RaidLevel.RAID0, member="data"))
    volumes = (LogicalVolume("state_data", 300, XFS, "/state/data", grow=True), LogicalVolume("swap", 2000, FileSystem.SWAP))
    assert answer.groups == (VolumeGroup("data", volumes),)
    assert answer.disks[0].partitions == (Partition.raid("md0", 8000), Partition.raid("pv", 1, grow=True))
    place.place(with_boot_partitions(answer, TWO)[0], TWO)


def test_a_percentage_of_a_group_is_a_size() -> None:
    text = "part pv.01 --size=20000 --ondisk=sda\nvolgroup v pv.01\nlogvol / --vgname=v --name=r --percent=25\n"
    assert kickstart.read(text, TWO).groups[0].volumes[0].size == 5000
    with pytest.raises(LayoutRefused, match=r"line 3: logvol /: 25% of what\?"):
        kickstart.read(text.replace("20000", "20000 --grow"), TWO)
    assert kickstart.read(text.replace("=25", "=100"), TWO).groups[0].volumes[0].grow


def test_a_most_size_shrinks_to_the_least_where_there_is_no_room() -> None:
    answer = kickstart.read("part /scratch --size=1000 --grow --maxsize=9000 --ondisk=sda", ONE)
    assert answer.disks[0].partitions == (Partition.mounted("/scratch", EXT4, 9000, least=1000),)


def test_reqpart_can_ask_for_boot() -> None:
    assert kickstart.read("reqpart --add-boot\n", ONE).disks[0].partitions == (Partition.mounted("/boot", EXT4, 1024),)
    assert kickstart.read("reqpart\n", ONE) == Answer(())


FAULTS = {
    "no such disk": ("\n\npart /data --size=5 --ondisk sdz", r"line 3: part /data: there is no disk sdz; the machine has sda, "),
    "by-path": ("part / --size=1 --ondisk=/dev/disk/by-path/pci-0", "line 1: part /: by-path is not known here"),
    "nobody's serial": ("part / --size=1 --ondisk=/dev/disk/by-id/ata-y", "no disks are called .*ata-y"),
    "no size": ("part /", r"line 1: part /: how large\? --size=MB"),
    "size of words": ("part / --size=8G", "line 1: part / --size=8G: option --size needs a whole number, not '8G'"),
    "no value": ("part / --size", "option --size needs a value"),
    "flag with a value": ("part / --size=1 --grow=yes", "option --grow has no value"),
    "unknown option": ("part / --size=1 --encrypted", "option --encrypted can't be done; these can: --size, --grow,"),
    "unknown command": ("rm -rf /", "line 1: rm -rf /: rm is no command of partition lines"),
    "unknown system": ("part / --size=1 --fstype=zfs", "there is no file system zfs here: ext3, ext4, xfs, vfat, swap"),
    "quotes": ('part / --size=1 --label="x', "line 1: .*: no closing quotation"),
    "autopart": ("autopart --type=lvm", "line 1: autopart --type=lvm: the distribution's own layout is not used"),
    "btrfs": ("btrfs / --data=0 x", "there is no btrfs here"),
    "snapshot": ("snapshot a/b --name=c", "there are no snapshots here"),
    "no mount point": ("part --size=1", "one mount point is wanted"),
    "a word": ("part var --size=1", "line 1: part var: this is none of swap, raid.N, pv.N, biosboot, and no mount point"),
    "twice": ("part /a --size=16\npart /a --size=16", "line 2: part /a: /a is there already, on line 1"),
    "kept where?": ("part /a --noformat", r"--noformat needs --onpart"),
    "no such partition": ("part /a --onpart=sda9", "there is no partition sda9; the machine has sda1, sda5, sdb1, sdb2"),
    "nameless": (
        "clearpart --all\npart /a --onpart=sda1 --noformat",
        "line 2: part /a: sda1 is without a name .*`sfdisk --part-label DISK 1 /a` gives it one",
    ),
    "another disk": ("part /a --onpart=sda1 --ondisk=sdb", "--onpart is on sda, --ondisk says sdb"),
    "not cleared": ("part / --size=900 --ondisk=sda", r"line 1: part /: sda1 \(ext4\) is on sda, and no line says that it goes"),
    "not Linux": ("clearpart --linux\npart /home --onpart=sdb1 --noformat", r"sdb2 \(ntfs\) is on sdb, and no line says"),
    "not that disk": ("clearpart --all --drives=sda\npart / --size=900 --ondisk=sdb", r"sdb1 \(xfs\) is on sdb"),
    "not listed": ("clearpart --list=sdb1\npart / --size=900 --ondisk=sdb", r"sdb2 \(ntfs\) is on sdb"),
    "no room": ("part / --size=90000000", r"line 1: part /: no disk has room for 90000000 MB: sda has .* left, sdb has"),
    "unused member": ("part raid.7 --size=50", "line 1: part raid.7: nothing is made of raid.7"),
    "no member": ("raid / --level=1 --device=md0 raid.1", "line 1: raid /: no line makes raid.1"),
    "member of two": (
        "part raid.1 --size=9\nraid / --level=1 --device=a raid.1\nraid /a --level=1 --device=b raid.1",
        "line 3: raid /a: raid.1 is used on line 2 already",
    ),
    "a level": ("raid / --level=7 --device=md0 raid.1", "--level is one of RAID0, RAID1, RAID5, RAID6, RAID10, not '7'"),
    "no such array": ("raid / --device=x --useexisting", "there is no array x; the machine has none"),
    "no such group": ("logvol / --vgname=x --size=9", "there is no line for volume group x before it"),
    "group that is not there": ("volgroup x --useexisting", "there is no volume group x; the machine has none"),
    "nothing of pv": (
        "part raid.1 --size=9 --ondisk=sda\npart raid.2 --size=9 --ondisk=sdb\nraid pv.1 --level=1 --device=a raid.1 raid.2",
        "line 3: raid pv.1: nothing is made of pv.1",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_names_the_line(text: str, said: str) -> None:
    with pytest.raises(LayoutRefused, match=said):
        kickstart.read(text, OLD)


def test_a_fault_is_one_clean_line_however_long_the_line_was() -> None:
    with pytest.raises(LayoutRefused) as raised:
        kickstart.read(f"part /x\x1b[2J{'y' * 5000} --size=1", ONE)
    assert len(str(raised.value)) < 400
    assert "/x?[2Jyyy" in str(raised.value)
    assert str(raised.value).isprintable()


def test_too_much_is_refused_at_once() -> None:
    for text in ("part / --size=1\n" * 3000, "#" * 1_000_000):
        with pytest.raises(LayoutRefused, match="partition lines"):
            kickstart.read(text, ONE)


@given(st.text(st.characters(codec="utf-8"), max_size=200))
@example("part / --size=1 --ondisk=\x00")
@example("part 'a\\")
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    for each in (text, f"part {text}", f"clearpart {text}\nraid {text}\nvolgroup {text}\nlogvol {text}"):
        try:
            kickstart.read(each, OLD)
        except LayoutRefused as error:
            assert str(error).isprintable()


# -- one is the other's inverse ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYOUTS)
def test_anacondas_lines_are_read_as_the_same_plan(name: str) -> None:
    layout = LAYOUTS[name]
    answer = kickstart.read(kickstart.lines(layout.answer, layout.plan), layout.inventory)
    again, _ = with_boot_partitions(answer, layout.inventory)
    assert shape(place.place(again, layout.inventory)) == shape(layout.plan)


def shape(plan: Plan) -> object:
    """All but UUIDs and numbers, and boot partitions: of those that nobody needs Anaconda has no word."""
    parts = {
        (each.disk.name, part.name, part.start, part.size, part.filesystem, part.mount_point, part.kept)
        for each in plan.disks
        for part in each.partitions
        if not part.is_esp and not part.is_bios_boot
    }
    arrays = [(array.name, array.level, array.size, array.member, array.mount_point, array.kept) for array in plan.arrays]
    volumes = [(each.group, each.name, each.size, each.mount_point, each.filesystem, each.kept) for each in plan.volumes]
    return parts, arrays, volumes


POINTS = st.text("abz09._+@=-", min_size=1, max_size=6).filter(lambda text: text[0] != "." and text not in ("bin", "lib"))
NAMES = st.text("abz09_.+", min_size=1, max_size=8).filter(lambda text: text[0] not in ".+-")
SYSTEMS = st.sampled_from([EXT3, EXT4, XFS])
SIZES = st.integers(512, 3000)


@st.composite
def answers(draw: st.DrawFn) -> tuple[Answer, Inventory]:
    """A system on one to three disks, with partitions, an array, a group."""
    firmware = draw(st.sampled_from(FirmwareKind))
    names = draw(st.permutations(["sda", "vdb", "nvme0n1"]))[: draw(st.integers(1, 3))]
    first = [Partition.bios_boot() if firmware is FirmwareKind.BIOS else Partition.esp(256, mounted=True)]
    first.append(Partition.mounted("/", draw(SYSTEMS), 5000))
    disks: dict[str, list[Partition]] = {name: [] for name in names}
    disks[names[0]] = first
    for number, point in enumerate(draw(st.lists(POINTS, max_size=5, unique=True))):
        before = draw(st.sampled_from(["/x", "/state/"]))
        part = Partition.mounted(f"{before}{point}", draw(SYSTEMS), draw(SIZES), grow=draw(st.booleans()))
        disks[names[number % len(names)]].append(part)
    disks[draw(st.sampled_from(names))].append(Partition.swap(draw(SIZES)))
    raids: list[Raid] = []
    groups: list[VolumeGroup] = []
    if len(names) > 1 and draw(st.booleans()):
        size, grow = draw(SIZES), draw(st.booleans())
        for name in names:
            disks[name].append(Partition.raid("md5", size, grow=grow))
        spares = 1 if len(names) == 3 and draw(st.booleans()) else 0
        raids.append(Raid("md5", RaidLevel.RAID1, draw(SYSTEMS), "/srv", spares))
    if draw(st.booleans()):
        group = draw(NAMES.map(lambda name: f"vg{name}"))
        disks[names[-1]].append(Partition.lvm(group, 9000, grow=draw(st.booleans())))
        volumes = [LogicalVolume(f"v{number}", draw(SIZES), XFS, f"/v{number}") for number in range(draw(st.integers(1, 2)))]
        groups.append(VolumeGroup(group, (*volumes, LogicalVolume("last", 512, XFS, "/last", grow=draw(st.booleans())))))
    used = tuple(DiskAnswer(name, tuple(parts)) for name, parts in disks.items() if parts)
    inventory = machine(*(disk(name, 60, slot=slot) for slot, name in enumerate(names)), firmware=firmware)
    return Answer(used, tuple(raids), tuple(groups)), inventory


@settings(max_examples=60)
@given(answers())
def test_what_is_told_to_anaconda_is_read_as_the_same_answer(case: tuple[Answer, Inventory]) -> None:
    answer, inventory = case
    layout = Layout(inventory, answer)
    text = kickstart.lines(answer, layout.plan)
    assert kickstart.read(text, inventory) == answer
    anaconda_reads(text, "RHEL9")


HOSTILE = st.text(min_size=1, max_size=20) | st.sampled_from(
    ["x\n%end", "x --ondisk=sdb", "$(reboot)", "`id`", "a'b", 'a"b', "{{ x }}", "-x"]
)


@given(HOSTILE, st.sampled_from(["mount point", "array", "group", "volume", "disk"]))
def test_no_name_can_become_anything_else(name: str, what: str) -> None:
    assume(name.strip())
    plain = LAYOUTS["lvm-on-raid"]
    expected = kickstart.lines(plain.answer, plain.plan)
    raids, groups, disks = plain.answer.raids, plain.answer.groups, plain.plan.disks
    plan = plain.plan
    match what:
        case "mount point":
            raids = (replace(raids[0], mount_point=name), raids[1])
            plan = replace(plan, arrays=(replace(plan.arrays[0], mount_point=name), plan.arrays[1]))
        case "array":
            plan = replace(plan, arrays=(replace(plan.arrays[0], name=name), plan.arrays[1]))
            raids = (replace(raids[0], name=name), raids[1])
            disks = tuple(_renamed_member(each, "boot", name) for each in disks)
            plan = replace(plan, disks=disks)
        case "group":
            plan = replace(plan, groups=(replace(plan.groups[0], name=name),))
            groups = (replace(groups[0], name=name),)
        case "volume":
            first = replace(plan.groups[0].volumes[0], name=name)
            plan = replace(plan, groups=(replace(plan.groups[0], volumes=(first,)),))
            groups = (VolumeGroup("system", (replace(groups[0].volumes[0], name=name),)),)
        case "disk":
            disks = tuple(replace(each, disk=replace(each.disk, name=name)) for each in disks)
            plan = replace(plan, disks=disks)
    try:
        text = kickstart.lines(Answer(plain.answer.disks, raids, groups), plan)
    except (LayoutRefused, KeyError):
        return
    assert len(text.split("\n")) <= len(expected.split("\n"))
    for line in text.splitlines():
        words = shlex.split(line)
        assert words == line.split(" ")
        assert words[0] in COMMANDS
        assert len(words) <= max(len(was.split(" ")) for was in expected.splitlines())


def _renamed_member(each: DiskPlan, old: str, new: str) -> DiskPlan:
    parts = tuple(replace(part, member=new) if part.member == old else part for part in each.partitions)
    return replace(each, partitions=parts)
