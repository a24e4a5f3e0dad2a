"""The programs that come with bootserver, on every machine that comes with it: what each does, and that no data are lost.

They run in this process, through the same functions as in their sandbox; once each in the sandbox, too.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from bootserver.cli.partition_test import brief
from bootserver.install.inventory import FirmwareKind, Inventory
from bootserver.install.partition import booting, codec, default, library, place, programs, sandbox
from bootserver.install.partition.check import LayoutRefused
from bootserver.install.partition.inside.machine import Refused
from bootserver.install.partition.model import Answer, is_data, is_data_name
from bootserver.install.partition.plan import Plan
from bootserver.install.partition.programs import Need
from bootserver.install.partition.sandbox import Job, NoSandbox
from tests.programs import SHIPPED, here, node, recorded

NOWHERE = Path("/nonexistent")
PROGRAMS = sorted(path.stem for path in SHIPPED.glob("*.py"))
MACHINES = [each.name for each in library.recorded(NOWHERE)]
GOLDEN = Path(__file__).parent.parent / "data" / "partition" / "shipped.txt"


@cache
def answered(program: str, machine: str, wipe: bool = False, firmware: FirmwareKind | None = None) -> Answer | str:
    """What a program answers, or why it does not want the machine."""
    found = on(machine, firmware)
    try:
        facts = here(program)(node(), found, Need(), wipe)
    except Refused as error:
        return str(error)
    return booting.with_boot_partitions(codec.answer_of(facts), found)[0]


def on(machine: str, firmware: FirmwareKind | None) -> Inventory:
    return replace(recorded(machine), firmware=firmware) if firmware else recorded(machine)


def plan(program: str, machine: str, wipe: bool = False, firmware: FirmwareKind | None = None) -> Plan | str:
    answer = answered(program, machine, wipe, firmware)
    if isinstance(answer, str):
        return answer
    try:
        return place.place(answer, on(machine, firmware), wipe=wipe)
    except LayoutRefused as error:
        return str(error)


def test_there_is_something_to_test() -> None:
    assert PROGRAMS == ["data-striping", "default", "keep-state", "lvm", "mirrored-root", "nvme-first", "single-disk"]
    assert len(MACHINES) >= 25
    disks = [len(recorded(each).disks) for each in MACHINES]
    assert (min(disks), max(disks)) == (0, 24)
    names = {disk.name.rstrip("0123456789n")[:4] for each in MACHINES for disk in recorded(each).disks}
    assert {"hda", "sda", "vda", "nvme", "dasd", "mpat"} <= names
    assert {recorded(each).firmware for each in MACHINES} == set(FirmwareKind)
    assert {disk.sector_size for each in MACHINES for disk in recorded(each).disks} == {512, 4096}


def test_what_each_program_does_on_each_machine() -> None:
    """Looked at by eye once; what changes it changes it there, too."""
    lines = []
    for program in PROGRAMS:
        for machine in MACHINES:
            found = plan(program, machine)
            lines.append(
                f"{program:14} {machine:29} " + ("refused" if isinstance(found, str) else brief(found, recorded(machine)))
            )
    assert "\n".join([*lines, ""]) == GOLDEN.read_text()


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_data_are_lost_on_any_machine(program: str) -> None:
    for machine in MACHINES:
        found = plan(program, machine)
        if isinstance(found, str):
            continue
        named = {each.disk.name for each in found.disks}
        there = {part.filesystem_uuid for disk in recorded(machine).disks if disk.name in named
                 for part in disk.partitions if disk.is_gpt and is_data(part.label)}  # fmt: skip
        there |= {array.filesystem_uuid for array in recorded(machine).arrays if is_data_name(array.name)}
        there |= {volume.filesystem_uuid for group in recorded(machine).groups for volume in group.volumes
                  if is_data_name(volume.name)}  # fmt: skip
        kept = {each.filesystem_uuid for each in found.file_systems if each.kept}
        below = {each.uuid for each in found.arrays if each.kept}
        missed = there - kept
        untouched = {array.filesystem_uuid for array in recorded(machine).arrays
                     if not named & {disk.name for disk in recorded(machine).disks
                                     for part in disk.partitions if part.name in array.members}}  # fmt: skip
        assert not missed - untouched, (machine, below)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("firmware", FirmwareKind)
def test_every_machine_that_is_wiped_and_large_enough_can_be_started(program: str, firmware: FirmwareKind) -> None:
    took = 0
    for machine in MACHINES:
        found = plan(program, machine, wipe=True, firmware=firmware)
        if isinstance(found, str):
            continue
        took += 1
        assert not [each for each in found.file_systems if each.kept]
        assert (found.esp is not None) == (firmware is FirmwareKind.UEFI)
        assert bool(found.bios_disks) == (firmware is FirmwareKind.BIOS)
    assert took >= 3


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_a_program_made_it_makes_again_and_keeps_the_data(program: str) -> None:
    ours = {"default": "uefi-ours-nvme-and-4-hdd", "mirrored-root": "bios-ours-mirrored", "data-striping": "uefi-ours-striped",
            "lvm": "uefi-ours-lvm", "nvme-first": "uefi-ours-nvme-first",
            "single-disk": "bios-ours-sata", "keep-state": "bios-ours-sata"}  # fmt: skip
    found = plan(program, ours[program])
    assert not isinstance(found, str), found
    data = [each for each in found.file_systems if each.is_data]
    assert data
    assert all(each.kept for each in data)
    assert not found.root.kept


@pytest.mark.parametrize("machine", MACHINES)
def test_default_is_what_the_frontend_s_own_layout_is(machine: str) -> None:
    """It is asked instead where no program can be run."""
    found = answered("default", machine)
    try:
        assert found == default.layout(recorded(machine), image_size=0)
    except LayoutRefused as error:
        assert found == str(error)


@pytest.mark.parametrize("program", PROGRAMS)
def test_in_its_sandbox_a_program_says_the_same(program: str) -> None:
    machine = "uefi-nvme-and-4-hdd"
    try:
        sandbox.run(Job("nothing.py", "import rocks_partition"))
    except NoSandbox as error:
        pytest.skip(str(error))
    assert programs.answer(program, node(), recorded(machine), Need(), state=NOWHERE) == answered(program, machine)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_is_short_and_says_what_it_does(program: str) -> None:
    found = programs.find(program, NOWHERE)
    assert found.title()
    assert len(found.source().splitlines()) < 40
