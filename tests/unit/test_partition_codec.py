"""Answers of programs as they cross the wall of their sandbox: read key by key, whatever a stranger sends."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootserver.install.partition import codec
from bootserver.install.partition.codec import AnswerFault
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

ANSWER = Answer(
    (
        DiskAnswer("sda", (Partition.bios_boot(), Partition.esp(256, mounted=True), Partition.raid("root", 8000),
                           Partition.lvm("data", grow=True), Partition.swap(1000))),
        DiskAnswer("sdb", (Partition.raid("root", 8000),
                           Partition.mounted("/state/a", FileSystem.XFS, 512, least=300, grow=True))),
    ),
    (Raid("root", RaidLevel.RAID1, FileSystem.EXT4, "/", spares=0),),
    (VolumeGroup("data", (LogicalVolume("state_b", 512, FileSystem.EXT4, "/state/b", grow=True, keep=True),)),),
)  # fmt: skip


def test_what_is_sent_is_what_is_read() -> None:
    assert codec.answer_of(json.loads(json.dumps(codec.layout_of(ANSWER)))) == ANSWER


def test_data_are_kept_without_being_told_so() -> None:
    part: dict[str, Any] = {"role": "linux", "size": 1, "fs": "ext4", "mount": "/state/x"}
    [disk] = codec.answer_of({"disks": [{"disk": "sda", "partitions": [part]}]}).disks
    assert disk.partitions[0].keep


def changed(*path: str | int, to: object) -> dict[str, Any]:
    document = json.loads(json.dumps(codec.layout_of(ANSWER)))
    target = document
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = to
    found: dict[str, Any] = document
    return found


PART = ("disks", 0, "partitions", 2)
NONSENSE = {
    "no object": (3, "layout is no object: 3"),
    "nothing": (None, "layout is missing: None"),
    "a key that nobody knows": (changed("disc", to=[]), "layout has a key 'disc', and there are disks, groups, raids"),
    "no list": (changed("disks", to={}), "layout.disks is no list: an object"),
    "a disk that is none": (changed("disks", 0, to="sda"), "layout.disks[0] is no object: 'sda'"),
    "a name that is none": (changed("disks", 0, "disk", to=7), "layout.disks[0].disk is no text: 7"),
    "a partition's unknown key": (changed(*PART, "sise", to=1), "layout.disks[0].partitions[2] has a key 'sise', and"),
    "an unknown role": (changed(*PART, "role", to="root"), "layout.disks[0].partitions[2].role is none of linux, swap, esp"),
    "a size that is none": (changed(*PART, "size", to="8G"), "layout.disks[0].partitions[2].size is no whole number: '8G'"),
    "half a MB": (changed(*PART, "size", to=0.5), "layout.disks[0].partitions[2].size is no whole number: 0.5"),
    "less than nothing": (changed(*PART, "size", to=-1), "layout.disks[0].partitions[2].size is not between 0 and"),
    "an absurd size": (changed(*PART, "size", to=1 << 70), "layout.disks[0].partitions[2].size is not between 0 and"),
    "no truth": (changed(*PART, "grow", to="yes"), "layout.disks[0].partitions[2].grow is neither true nor false: 'yes'"),
    "an unknown level": (changed("raids", 0, "level", to="4"), "layout.raids[0].level is none of 0, 1, 5, 6, 10: '4'"),
    "no level": (changed("raids", 0, "level", to=None), "layout.raids[0].level is missing"),
    "too many disks": (changed("disks", to=[{"disk": "sda", "partitions": []}] * 600), "layout.disks has 600 items, and"),
    "too many partitions": (changed("disks", 0, "partitions", to=[{}] * 200), "layout.disks[0].partitions has 200 items"),
    "an endless name": (changed("disks", 0, "disk", to="s" * 5000), "layout.disks[0].disk is a text of 5000 characters"),
}  # fmt: skip


@pytest.mark.parametrize(("document", "told"), NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_told_with_its_place(document: object, told: str) -> None:
    with pytest.raises(AnswerFault) as caught:
        codec.answer_of(document)
    assert str(caught.value).startswith(f"it answers nonsense: {told}")


KEYS = ["disks", "disk", "partitions", "raids", "groups", "volumes", "role", "size", "fs", "mount", "name", "level"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(
        st.sampled_from(KEYS), each, max_size=5),
    max_leaves=30,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_whatever_is_sent_is_an_answer_or_one_fault(document: object) -> None:
    try:
        assert isinstance(codec.answer_of(document), Answer)
    except AnswerFault as error:
        assert str(error).isprintable()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_whatever_comes_out_of_a_sandbox_is_an_object_or_one_fault(data: bytes) -> None:
    with contextlib.suppress(AnswerFault):
        assert isinstance(codec.decode(data), dict)


def test_what_is_nested_without_end_is_a_fault() -> None:
    with pytest.raises(AnswerFault):
        codec.decode(b"[" * 500_000)
