"""Inventories: what machines sent (recorded), and what nobody would send in good faith."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootserver.errors import BootserverError
from bootserver.install import inventory
from bootserver.install.inventory import Card, Disk, FirmwareKind, Inventory, InventoryFault, LeftOut, Product
from bootserver.install.stacked import ArrayState, ExistingArray, ExistingGroup, ExistingVolume

RECORDED = Path(__file__).parents[1] / "data" / "inventory"
GB = 1 << 30


def recorded(name: str) -> dict[str, Any]:
    return inventory.decode((RECORDED / f"{name}.json").read_bytes())


def device(name: str, **facts: Any) -> dict[str, Any]:
    """A block device as lsblk shows it without udev."""
    usual = {
        "name": name,
        "type": "disk",
        "size": 10 * GB,
        "ro": False,
        "rm": False,
        "vendor": None,
        "model": None,
        "log-sec": 512,
    }
    return usual | facts


def document(*devices: dict[str, Any], **facts: Any) -> dict[str, Any]:
    return {"version": 1, "firmware": "bios", "lsblk": {"blockdevices": list(devices)}} | facts


# -- what machines sent ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.json")), ids=lambda path: path.stem)
def test_every_recorded_inventory_is_read(path: Path) -> None:
    found = inventory.parse(inventory.decode(path.read_bytes()))
    assert found.architecture == "x86_64"
    assert found.memory > 500 << 20
    assert all(disk.path.startswith("/sys/devices/") for disk in found.disks)


def test_disks_of_all_kinds_have_the_names_that_are_on_them() -> None:
    found = inventory.parse(recorded("qemu-bios-ten-disks"))
    assert [(disk.name, disk.model, disk.serial) for disk in found.disks] == [
        ("vda", "", 'VB"1\\'),  # virtio-blk
        ("vdb", "", ""),
        ("nvme0n1", "QEMU NVMe Ctrl", "NVME5"),
        ("nvme1n1", "QEMU NVMe Ctrl", "NVME6"),  # of a subsystem, so that it hangs nowhere
        ("sda", "QEMU HARDDISK", "SCSI7"),  # virtio-scsi
        ("sdb", "QEMU HARDDISK", ""),
        ("sde", "QEMU HARDDISK", "MEGA"),  # megaraid
        ("sdg", "QEMU HARDDISK", ""),  # lsi
        ("sdc", "QEMU HARDDISK", "AHCI3"),
        ("sdd", "QEMU HARDDISK", "QM00005"),
    ]
    assert found.left_out == (LeftOut("sdf", "removable", 20 * GB),)
    [subsystem] = [disk for disk in found.disks if disk.name == "nvme1n1"]
    assert "/virtual/" in subsystem.path
    assert subsystem.slot == "/sys/devices/pci0000:00/0000:00:04.0/nvme/nvme1/nvme1n1"


def test_what_is_on_a_disk_is_seen() -> None:
    found = inventory.parse(recorded("qemu-uefi-installed"))
    assert found.firmware is FirmwareKind.UEFI
    [nvme, sata] = found.disks
    assert (nvme.sector_size, nvme.is_gpt, sata.sector_size) == (4096, True, 512)
    assert [(part.name, part.label, part.filesystem, part.start, part.size) for part in nvme.partitions[-2:]] == [
        ("nvme0n1p5", "swap", "swap", 12886999040, 1000 << 20),
        ("nvme0n1p6", "/state/partition1", "ext4", 13935575040, 7538212864),
    ]
    assert [(part.number, part.label, part.filesystem) for part in sata.partitions] == [(1, "/state/partition2", "ext4")]


def test_a_machine_says_what_it_is() -> None:
    found = inventory.parse(recorded("qemu-uefi-nvme-4k-sata"))
    assert found.product == Product('Ac"me\\', "Node", "S123", "11111111-2222-3333-4444-555555555555")
    cards = inventory.parse(recorded("qemu-bios-ten-disks")).cards
    assert cards[0] == Card(
        "eth0", "52:54:00:12:34:56", "/sys/devices/pci0000:00/0000:00:09.0/virtio3", "virtio_net", carrier=None
    )


# -- which disks, in which order ---------------------------------------------------------------------------------

NO_TARGETS: dict[str, tuple[dict[str, Any], str]] = {
    "removable": (device("sdb", rm=True), "sdb (removable, 10.0 GB)"),
    "as old lsblk says it": (device("sdb", rm="1", size="10737418240"), "sdb (removable, 10.0 GB)"),
    "read-only": (device("sdb", ro=True), "sdb (read-only, 10.0 GB)"),
    "no medium": (device("sdb", size=0), "sdb (without a medium)"),
    "CD": (device("sr0", type="rom"), "sr0 (a CD drive, 10.0 GB)"),
    "loop": (device("loop0", type="loop"), "loop0 (a loop device, 10.0 GB)"),
    "md": (device("md0", type="raid1"), "md0 (raid1, 10.0 GB)"),
    "floppy": (device("fd0"), "fd0 (no disk of its own, 10.0 GB)"),
    "eMMC's boot area": (device("mmcblk0boot0"), "mmcblk0boot0 (no disk of its own, 10.0 GB)"),
    "a strange name": (device("c$(reboot)"), "c$(reboot) (with a name that the installer can't handle, 10.0 GB)"),
}


@pytest.mark.parametrize(("what", "said"), NO_TARGETS.values(), ids=NO_TARGETS.keys())
def test_what_is_no_target_is_left_out_with_its_reason(what: dict[str, Any], said: str) -> None:
    found = inventory.parse(document(what, device("vda")))
    assert [disk.name for disk in found.disks] == ["vda"]
    assert [str(each) for each in found.left_out] == [said]


def test_disks_are_sorted_by_where_they_hang_whatever_their_names() -> None:
    slots = [
        "/sys/devices/pci0000:00/0000:00:02.0/ata2/host1/target1:0:0/1:0:0:0/block/sdb",
        "/sys/devices/pci0000:00/0000:00:02.0/ata10/host9/target9:0:0/9:0:0:0/block/sda",
        "/sys/devices/pci0000:00/0000:00:0a.0/virtio4/block/vda",
        "/sys/devices/pci0000:00/0000:00:1d.0/0000:09:00.0/nvme/nvme1/nvme1n1",
        "/sys/devices/pci0000:00/0000:00:1d.0/0000:0a:00.0/nvme/nvme0/nvme0n1",
        "/sys/devices/pci0000:00/0000:00:1d.0/0000:10:00.0/nvme/nvme2/nvme2n1",
        "/sys/devices/pci0000:80/0000:80:01.0/host2/target2:0:9/2:0:9:0/block/sdd",
        "/sys/devices/pci0000:80/0000:80:01.0/host2/target2:0:10/2:0:10:0/block/sdc",
    ]
    names = [slot.rpartition("/")[2] for slot in slots]
    given_order = document(
        *(device(name) for name in sorted(names)),
        disks={name: {"path": slot, "slot": slot} for name, slot in zip(names, slots, strict=True)},
    )
    assert [disk.name for disk in inventory.parse(given_order).disks] == names


def test_the_second_way_to_a_disk_is_no_disk() -> None:
    wwids = {"sda": "naa.5000c5001", "sdb": "naa.5000c5001", "sdc": "eui.0000000000000000", "sdd": "eui.0000000000000000"}
    found = inventory.parse(
        document(
            *map(device, wwids), disks={name: {"path": f"/sys/devices/{name}", "wwid": wwid} for name, wwid in wwids.items()}
        )
    )
    assert [disk.name for disk in found.disks] == ["sda", "sdc", "sdd"]
    assert found.left_out == (LeftOut("sdb", "another way to sda", 10 * GB),)


def test_partitions_that_only_the_kernel_sees_are_seen() -> None:
    seen = {"vda1": {"number": 1, "start": 2048, "size": 4096}}
    [disk] = inventory.parse(document(device("vda"), disks={"vda": {"path": "/sys/devices/x", "partitions": seen}})).disks
    assert (disk.table, [(part.name, part.start, part.size) for part in disk.partitions]) == ("", [("vda1", 1 << 20, 2 << 20)])
    assert not disk.is_empty


def test_a_gpt_of_which_only_the_protection_is_left_is_no_table() -> None:
    table = {"label": "dos", "sectorsize": 512, "partitions": [{"node": "/dev/vda1", "start": 1, "size": 99, "type": "ee"}]}
    given_table = document(device("vda"), disks={"vda": {"path": "/sys/devices/x", "table": {"partitiontable": table}}})
    [disk] = inventory.parse(given_table).disks
    assert (disk.table, len(disk.partitions)) == ("", 1)


def test_several_signs_on_one_partition_are_all_named_and_a_table_is_none() -> None:
    def sign(name: str, kind: str, usage: str = "filesystem") -> dict[str, Any]:
        return {"device": name, "type": kind, "uuid": f"uuid of {kind}", "usage": usage}

    signs = [
        sign("vda", "gpt", "partition-table"), sign("vda1", "ext4"), sign("vda1", "linux_raid_member", "raid"),
        sign("vda2", "vfat"), sign("vda2", "vfat"), sign("vdb", "LVM2_member", "raid"),
    ]  # fmt: skip
    parts = {f"vda{number}": {"number": number, "start": 2048 * number, "size": 2048} for number in (1, 2)}
    disks = {"vda": {"path": "/sys/devices/a", "partitions": parts}, "vdb": {"path": "/sys/devices/b"}}
    vda, vdb = inventory.parse(document(device("vda"), device("vdb"), disks=disks, signatures=[{"signatures": signs}])).disks
    assert [part.filesystem for part in vda.partitions] == ["ext4 and linux_raid_member", "vfat"]
    assert (vda.filesystem, vdb.filesystem, vdb.is_empty) == ("", "LVM2_member", False)


def test_what_lsblk_of_an_installer_with_udev_says_is_enough() -> None:
    child = {
        "name": "sda1", "type": "part", "size": GB, "start": 2048, "partlabel": "/state/partition1", "fstype": "xfs",
        "partuuid": "9b9647d7-58d8-ed46-8c35-d06c67345745", "uuid": "u", "parttype": "0fc63daf-8483-4772-8e79-3d69d8477de4",
    }  # fmt: skip
    [disk] = inventory.parse(document(device("sda", pttype="gpt", serial="S", wwn="0x5000", children=[child]))).disks
    [part] = disk.partitions
    assert (disk.is_gpt, disk.serial, disk.wwn) == (True, "S", "0x5000")
    assert (part.label, part.filesystem, part.start, part.type[:8]) == ("/state/partition1", "xfs", 1 << 20, "0FC63DAF")


# -- what stands on several --------------------------------------------------------------------------------------------

MD = "0a1b2c3d:0a1b2c3d:0a1b2c3d:0a1b2c3d"
MD_UUID = "0a1b2c3d-0a1b-2c3d-0a1b-2c3d0a1b2c3d"


def md(device: str, name: str, members: dict[str, str], **facts: Any) -> dict[str, Any]:
    """An array as the installer shows it. :param members: their places."""
    usual = {
        "device": device, "found": False, "level": "raid1", "array_state": "readonly", "degraded": 0, "size": 2048,
        "members": {member: {"slot": slot, "state": "in_sync"} for member, slot in members.items()},
        "md": {"MD_NAME": name, "MD_UUID": MD},
    }  # fmt: skip
    return usual | facts


def sign(name: str, kind: str, uuid: str = "") -> dict[str, Any]:
    return {"signatures": [{"device": name, "type": kind, "uuid": uuid, "usage": "filesystem"}]}


def test_an_array_is_known_by_its_own_name_and_what_is_on_it() -> None:
    members = {"vdb3": "1", "vda3": "0", "vdc3": "none"}
    found = inventory.parse(
        document(device("vda"), arrays=[md("md100", "any:root", members, degraded=1)], signatures=[sign("md100", "ext4", "u")])
    )
    assert found.arrays == (
        ExistingArray(
            "root", "raid1", MD_UUID, ArrayState.DEGRADED, ("vda3", "vdb3", "vdc3"), 1, 1 << 20, "ext4", "u", ""
        ),
    )  # fmt: skip


def test_an_array_that_ran_already_has_its_device_and_one_that_was_stopped_is_none() -> None:
    arrays = [md("md127", "host:0", {}, found=True), md("md126", "x", {}, array_state="clear", md={})]
    assert [(array.device, array.name) for array in inventory.parse(document(arrays=arrays)).arrays] == [("md127", "0")]


def test_an_array_whose_partitions_have_its_name_is_called_so() -> None:
    def named(*labels: str) -> str:
        table = {
            "label": "gpt", "sectorsize": 512,
            "partitions": [
                {"node": f"/dev/vda{number}", "start": number * 100, "size": 100, "name": label, "type": "X"}
                for number, label in enumerate(labels, 1)
            ],
        }  # fmt: skip
        members = {f"vda{number}": str(number) for number in range(1, len(labels) + 1)}
        disks = {"vda": {"path": "/sys/devices/x", "table": {"partitiontable": table}}}
        return inventory.parse(document(device("vda"), disks=disks, arrays=[md("md127", "debian:0", members)])).arrays[0].name

    assert named("raid state_partition1", "raid state_partition1") == "state_partition1"
    assert named("raid state_partition1", "raid other") == "0"
    assert named("raid state_partition1", "") == "0"
    assert named("raid $(reboot)", "raid $(reboot)") == "0"


def test_an_array_that_can_not_be_started_is_known_by_its_members() -> None:
    said = {"MD_UUID": MD, "MD_LEVEL": "raid5", "MD_NAME": "any:five", "MD_DEVICES": "3"}
    found = inventory.parse(document(device("vda"), raid_members={"vda1": said, "vdb1": said, "vdc1": {"MD_LEVEL": "container"}}))
    assert found.arrays == (ExistingArray("five", "raid5", MD_UUID, ArrayState.FAILED, ("vda1", "vdb1")),)
    running = [md("md100", "any:five", {"vda1": "0"})]
    assert len(inventory.parse(document(device("vda"), raid_members={"vda1": said}, arrays=running)).arrays) == 1


def report(name: str, volumes: list[dict[str, Any]], physical: list[str]) -> dict[str, Any]:
    """A volume group as lvm's fullreport has it."""
    vg = {"vg_name": name, "vg_uuid": "a-b", "vg_free": "4096", "vg_extent_size": "1024", "vg_missing_pv_count": "0"}
    return {"vg": [vg], "pv": [{"pv_name": path, "pv_uuid": "x"} for path in physical], "lv": volumes}


def test_a_volume_group_is_known_with_what_is_on_its_volumes() -> None:
    volumes = [
        {"lv_name": name, "lv_uuid": uuid, "lv_size": "2048", "lv_layout": layout}
        for name, uuid, layout in (("two", "e-f", "linear"), ("one", "c-d", "thin,sparse"))
    ]
    groups = [report("sys", volumes, ["/dev/vda3", "/dev/md100", "[unknown]"]), report("", [], ["/dev/vdz"]) | {"vg": []}]
    found = inventory.parse(
        document(
            arrays=[md("md100", "any:pv", {})],
            lvm={"report": groups},
            maps={"dm-3": {"uuid": "LVM-abef", "name": "sys-two"}},
            signatures=[sign("dm-3", "xfs", "u")],
        )
    )
    one, two = ExistingVolume("one", 2048, "", "", "c-d", "thin,sparse"), ExistingVolume("two", 2048, "xfs", "u", "e-f")
    assert found.groups == (ExistingGroup("sys", "a-b", ("/dev/vda3", "/dev/md/pv"), (one, two), 0, 4096, 1024),)


def test_multipath_is_one_disk_where_its_first_way_hangs() -> None:
    part = {"name": "mpatha-part1", "kname": "dm-1", "type": "part", "size": 1 << 20}
    whole = {"name": "mpatha", "kname": "dm-0", "type": "mpath", "size": 10 * GB, "log-sec": 512, "children": [part]}
    table = {"label": "gpt", "partitions": [{"node": "/dev/mapper/mpatha-part1", "start": 2048, "size": 2048, "type": "X"}]}
    disks = {
        "sda": {"path": "/sys/devices/b/sda", "slot": "/sys/devices/b/sda", "serial": "S", "wwid": "naa.5"},
        "sdb": {"path": "/sys/devices/a/sdb", "slot": "/sys/devices/a/sdb", "serial": "S", "wwid": "naa.5"},
        "dm-0": {"path": "/sys/devices/virtual/block/dm-0", "table": {"partitiontable": table}},
    }
    ways = [device(name, children=[whole]) for name in ("sda", "sdb")]
    found = inventory.parse(document(*ways, disks=disks, signatures=[sign("dm-1", "xfs", "u")]))
    [disk] = found.disks
    assert (disk.name, disk.node, disk.paths, disk.serial) == ("mpatha", "/dev/mapper/mpatha", ("sda", "sdb"), "S")
    assert (disk.slot, disk.is_gpt) == ("/sys/devices/a/sdb", True)
    assert [(each.number, each.name, each.start, each.filesystem) for each in disk.partitions] == [
        (1, "mpatha-part1", 1 << 20, "xfs")
    ]
    assert [str(each) for each in found.left_out] == ["sda (a way to mpatha, 10.0 GB)", "sdb (a way to mpatha, 10.0 GB)"]


def test_multipath_of_another_name_is_left_out_with_its_reason() -> None:
    whole = {"name": "3600508b400105e21", "kname": "dm-0", "type": "mpath", "size": 10 * GB}
    found = inventory.parse(document(device("sda", children=[whole])))
    assert not found.disks
    assert str(found.left_out[0]).startswith("3600508b400105e21 (multipath, and not called mpatha or the like: set user_friendly")


@pytest.mark.parametrize(
    ("name", "first"), [("hda", "hda1"), ("dasda", "dasda1"), ("mmcblk0", "mmcblk0p1"), ("nvme0n1", "nvme0n1p1")]
)
def test_disks_of_old_and_of_large_machines_are_disks(name: str, first: str) -> None:
    [disk] = inventory.parse(document(device(name))).disks
    assert disk.partition_name(1) == first


# -- nonsense ------------------------------------------------------------------------------------------------------

NONSENSE: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "inventory.version is no whole number: None"),
    "another version": ({"version": 2}, "the inventory is of version 2, and this frontend reads 1"),
    "no firmware": ({"version": 1}, "inventory.firmware is neither bios nor uefi: None"),
    "a list of firmware": ({"version": 1, "firmware": ["bios"]}, "inventory.firmware is no text: a list"),
    "lsblk a text": (document() | {"lsblk": "x"}, "inventory.lsblk is no object: 'x'"),
    "disks a number": (document(device("vda"), disks=7), "inventory.disks is no object: 7"),
    "a huge disk": (document(device("vda", size=10**30)), r"blockdevices\[0\].size is not between 0 and \d+: a number"),
    "a fraction": (document(device("vda", size=1.5)), r"blockdevices\[0\].size is no whole number: 1.5"),
    "a negative disk": (document(device("vda", size=-1)), "is not between"),
    "odd sectors": (document(device("vda", **{"log-sec": 520})), "log-sec is no size of a sector: 520"),
    "a maybe": (document(device("vda", rm="maybe")), "rm is neither true nor false: 'maybe'"),
    "a path outside sysfs": (document(device("vda"), disks={"vda": {"path": "/etc"}}), "disks.vda.path is no path in sysfs"),
    "a long name": (document(device("v" * 5000)), "name is a text of 5000 characters"),
    "many disks": (document(*[device("vda")] * 600), "has 600 items, and at most 512 make sense"),
    "a strange partition": (
        document(device("vda"), disks={"vda": {"path": "/sys/devices/x", "partitions": {"vdb1": {}}}}),
        "disks.vda.partitions.vdb1 is no partition of vda",
    ),
    "partition 200": (
        document(device("vda"), disks={"vda": {"path": "/sys/devices/x", "partitions": {"vda200": {"number": 200}}}}),
        "is no partition of vda",
    ),
    "an array of a million": (document(arrays=[md("md0", "x", {}, degraded=10**6)]), "degraded is not between 0 and 1024"),
    "arrays a number": (document(arrays=7), "inventory.arrays is no list: 7"),
    "a volume without a size": (document(lvm={"report": [report("x", [{}], [])]}), "lv_size is no whole number: None"),
    "lvm a list": (document(lvm=[]), "inventory.lvm is no object: a list"),
    "no UUID": (
        document(
            device("vda"),
            disks={
                "vda": {
                    "path": "/sys/devices/x",
                    "table": {
                        "partitiontable": {
                            "label": "gpt",
                            "partitions": [{"node": "/dev/vda1", "start": 1, "size": 1, "uuid": "x\ny"}],
                        }
                    },
                }
            },
        ),
        r"partitions\[0\].uuid is no UUID: 'x",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("nonsense", "said"), NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_named_with_its_place(nonsense: dict[str, Any], said: str) -> None:
    with pytest.raises(InventoryFault, match=said) as fault:
        inventory.parse(nonsense)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("data", [b"", b"\xff", b"[1]", b"{", b"[" * 100_000, b'{"version": ' + b"9" * 5000 + b"}"])
def test_what_is_no_document_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(InventoryFault):
        inventory.parse(inventory.decode(data))


def test_no_text_of_a_machine_reaches_a_terminal_as_it_is() -> None:
    hostile = "\x1b[2J\u202e\u00e9\ud800\n"
    [disk] = inventory.parse(
        document(device("vda", model=f"x{hostile}"), disks={"vda": {"path": "/sys/devices/x", "serial": f"y{hostile}"}})
    ).disks
    assert disk.words == "vda (x?[2J????, serial y?[2J????)"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
BASES = [json.loads(path.read_text()) for path in sorted(RECORDED.glob("*.json"))]


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, each in inner for place in places(each, (*here, key)))]


PLACES = [places(base) for base in BASES]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_document_with_anything_anywhere_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(BASES) - 1))
    changed = copy.deepcopy(BASES[number])
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(PLACES[number][1:]))
        target = changed
        try:
            for key in way:
                target = target[key]
            target[last] = data.draw(JSON)
        except (KeyError, IndexError, TypeError, AttributeError):  # what was there is gone by the change before
            continue
    try:
        found = inventory.parse(changed)
    except InventoryFault as fault:
        assert str(fault).isprintable()
        return
    assert isinstance(found, Inventory)
    assert all(isinstance(disk, Disk) and disk.words.isprintable() for disk in found.disks)


@given(JSON)
def test_no_document_at_all_is_refused(value: Any) -> None:
    with pytest.raises(BootserverError):
        inventory.parse(value)
