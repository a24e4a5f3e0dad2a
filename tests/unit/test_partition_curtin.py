"""What Ubuntu's installer is told: as curtin's documentation has it (no validator for it can be had here)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped,unused-ignore]
from hypothesis import given
from hypothesis import strategies as st

from bootserver.install.partition import curtin
from bootserver.install.partition.check import LayoutRefused
from bootserver.install.partition.model import MIB, Answer, FileSystem, Role
from bootserver.install.partition.space import end_of
from tests.disks import disk, machine, there
from tests.golden import golden
from tests.layouts import LAYOUTS, Layout, data, kept_stack, on, rocks, two_disks

EXT4 = FileSystem.EXT4

# curtin, topics/storage.rst: the keys of each type, those that have to be there, and what may be referred to.
KEYS: dict[str, tuple[set[str], set[str]]] = {
    "disk": ({"path", "ptable", "preserve"}, {"wipe", "grub_device"}),
    "partition": (
        {"device", "number", "offset", "size", "preserve"},
        {"flag", "uuid", "partition_name", "wipe", "grub_device"},
    ),
    "raid": ({"name", "raidlevel", "devices", "spare_devices", "preserve"}, {"wipe", "path"}),
    "lvm_volgroup": ({"name", "devices", "preserve"}, set()),
    "lvm_partition": ({"name", "volgroup", "size", "preserve"}, {"wipe"}),
    "format": ({"fstype", "volume", "preserve"}, {"uuid"}),
    "mount": ({"device", "path"}, {"options"}),
}
REFERS = {
    "partition": {"disk"},
    "raid": {"partition"},
    "lvm_volgroup": {"partition", "raid"},
    "lvm_partition": {"lvm_volgroup"},
    "format": {"partition", "raid", "lvm_partition"},
    "mount": {"format"},
}
FLAGS = {"boot", "bios_grub", "swap", "raid", "lvm"}


def told(layout: Layout) -> dict[str, Any]:
    text = curtin.storage(layout.answer, layout.plan, layout.inventory)
    found = yaml.safe_load(text)
    assert list(found) == ["storage"]
    # As it stands in a file of more.
    assert yaml.safe_load(f"version: 1\n{text}late-commands: []\n") == {"version": 1, **found, "late-commands": []}
    storage: dict[str, Any] = found["storage"]
    assert set(storage) == {"version", "swap", "config"}
    return storage


def of(storage: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [each for each in storage["config"] if each["type"] == kind]


def references(action: dict[str, Any]) -> Iterator[str]:
    for key in ("device", "volume", "volgroup"):
        if key in action:
            yield action[key]
    yield from action.get("devices", ())
    yield from action.get("spare_devices", ())


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_subiquity_is_told_is_as_reviewed(name: str) -> None:
    golden(f"{name}.curtin", curtin.storage(LAYOUTS[name].answer, LAYOUTS[name].plan, LAYOUTS[name].inventory))


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_action_has_its_keys_and_comes_behind_what_it_refers_to(name: str) -> None:
    seen: dict[str, str] = {}
    mounted: list[str] = []
    for action in told(LAYOUTS[name])["config"]:
        kind = action["type"]
        needed, possible = KEYS[kind]
        keys = set(action) - {"id", "type"}
        assert needed <= keys <= needed | possible
        assert {seen[each] for each in references(action)} <= REFERS.get(kind, set())
        assert action["id"] not in seen
        seen[action["id"]] = kind
        if kind == "mount" and action["path"]:
            parents = [point for point in mounted if action["path"].startswith(point.rstrip("/") + "/")]
            assert action["path"] == "/" or "/" in parents
            mounted.append(action["path"])


@pytest.mark.parametrize("name", LAYOUTS)
def test_partitions_are_in_the_places_of_the_plan(name: str) -> None:
    layout = LAYOUTS[name]
    storage = told(layout)
    for planned in layout.plan.disks:
        parts = [each for each in of(storage, "partition") if each["device"] == f"disk-{planned.disk.name}"]
        assert [each["number"] for each in parts] == sorted(each["number"] for each in parts)
        places = sorted((each["offset"], each["offset"] + each["size"]) for each in parts)
        assert places == [(part.start, part.end) for part in planned.partitions]
        assert all(start % MIB == 0 and end <= end_of(planned.disk) for start, end in places)
        assert {each["flag"] for each in parts if "flag" in each} <= FLAGS
    for group in layout.plan.groups:
        sizes = {part.path: part.size for part in layout.plan.partitions} | {each.path: each.size for each in layout.plan.arrays}
        room = sum(sizes[device] for device in group.devices)
        found = [each["size"] for each in of(storage, "lvm_partition") if each["volgroup"] == f"group-{group.name}"]
        assert all(re.fullmatch(r"[1-9]\d*B", size) for size in found)
        assert sum(int(size[:-1]) for size in found) <= room


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_kept_is_preserved_all_the_way_up_and_nothing_else_is(name: str) -> None:
    layout = LAYOUTS[name]
    actions = {each["id"]: each for each in told(layout)["config"]}
    kept = {part.device for part in layout.plan.partitions if part.kept}
    for part in layout.plan.partitions:
        action = actions[f"partition-{part.device}"]
        assert ("wipe" in action) is not part.kept
        assert part.device not in kept or action["preserve"]
    for planned in layout.plan.disks:
        disk_is_kept = any(part.kept for part in planned.partitions)
        assert actions[f"disk-{planned.disk.name}"]["preserve"] is disk_is_kept
        assert ("wipe" in actions[f"disk-{planned.disk.name}"]) is not disk_is_kept
    for each in actions.values():
        if each["type"] in ("format", "raid", "lvm_volgroup", "lvm_partition") and each["preserve"]:
            assert all(actions[below]["preserve"] for below in references(each))
            assert "wipe" not in each
    for system in layout.plan.file_systems:
        if system.mount_point or not system.is_esp:
            [action] = [each for each in actions.values() if each["type"] == "format" and _is_of(each["volume"], system.path)]
            assert action["preserve"] is system.kept


def _is_of(volume: str, path: str) -> bool:
    kind, _, rest = volume.partition("-")
    return {"partition": f"/dev/{rest}", "raid": f"/dev/md/{rest}", "volume": f"/dev/{rest.replace('-', '/', 1)}"}[kind] == path


def test_the_boot_loader_goes_on_disks_for_a_bios_and_on_efi_system_partitions_for_uefi() -> None:
    bios, uefi = told(LAYOUTS["mirrored-bios"]), told(LAYOUTS["mirrored-uefi"])
    assert [each["id"] for each in bios["config"] if each.get("grub_device")] == ["disk-sda", "disk-sdb"]
    assert [each["id"] for each in uefi["config"] if each.get("grub_device")] == ["partition-sda2", "partition-sdb2"]
    assert [each["path"] for each in of(uefi, "mount")][:2] == ["/", "/boot/efi"]


def test_names_and_uuids_are_those_of_the_plan() -> None:
    layout = LAYOUTS["two-disks"]
    found = {each["id"]: each for each in told(layout)["config"]}
    for part in layout.plan.partitions:
        assert found[f"partition-{part.device}"]["partition_name"] == part.name
        assert found[f"partition-{part.device}"]["uuid"] == part.uuid
        if part.filesystem in ("ext4", "swap"):
            assert found[f"format-partition-{part.device}"]["uuid"] == part.filesystem_uuid


def test_what_is_made_where_it_was_works_with_both_versions_of_curtins_storage() -> None:
    assert told(two_disks())["version"] == 1
    first = disk("vda", 40, there(7, "/state/partition1", 20, 19))
    moved = Layout(machine(first), Answer((on("vda", *rocks(), data()),)))
    storage = told(moved)
    assert storage["version"] == 2
    assert [each["preserve"] for each in of(storage, "partition")] == [False] * 5 + [True]
    other_type = replace(
        first, partitions=(*two_disks().inventory.disks[0].partitions[:5], there(6, "/state/partition1", 20, 19))
    )
    broken = replace(other_type.partitions[0], type=Role.LINUX.value)
    layout = Layout(machine(replace(other_type, partitions=(broken, *other_type.partitions[1:]))), moved.answer)
    assert of(told(layout), "partition")[0]["preserve"] is False


def test_a_layout_without_swap_gets_no_swap_file() -> None:
    assert told(LAYOUTS["single-bios"])["swap"] == {"size": 0}


def test_what_subiquity_can_not_be_told_is_refused_with_a_way_out() -> None:
    paths = replace(disk("mpatha", 40), paths=("sda", "sdb"))
    multipath = Layout(machine(paths), Answer((on("mpatha", *rocks()),)))
    with pytest.raises(LayoutRefused, match=r"which disk behind multipath is mpatha .*: install an image"):
        told(multipath)
    stack = kept_stack()
    stopped = replace(stack.inventory, arrays=(replace(stack.inventory.arrays[0], device=""),))
    with pytest.raises(LayoutRefused, match="did not start array state_partition1, and can't keep it so"):
        told(replace(stack, inventory=stopped))
    group = stack.inventory.groups[0]
    more = replace(group, volumes=(*group.volumes, replace(group.volumes[0], name="var", size=64 * MIB)))
    with pytest.raises(LayoutRefused, match="can't remove volume var from data, of which something is kept"):
        told(replace(stack, inventory=replace(stack.inventory, groups=(more,))))


@given(st.text(max_size=30) | st.sampled_from(['x"\n  evil: true', "\ud83d\ude00", "\x85", "'", "{{ x }}", "true"]))
def test_no_name_can_become_anything_else(name: str) -> None:
    layout = LAYOUTS["single-bios"]
    expected = told(layout)
    part = next(each for each in layout.plan.partitions if each.mount_point == "/var")
    [planned] = layout.plan.disks
    hostile = replace(part, name=name, mount_point=name)
    parts = tuple(hostile if each is part else each for each in planned.partitions)
    plan = replace(layout.plan, disks=(replace(planned, partitions=parts),))
    try:
        found = yaml.safe_load(curtin.storage(layout.answer, plan))
    except LayoutRefused:
        return
    assert [set(each) for each in found["storage"]["config"]] == [set(each) for each in expected["config"]]
