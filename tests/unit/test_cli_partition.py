"""``bootserver partition``, and what ``node show`` tells of a node's disks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootserver.cluster import journal
from bootserver.install.partition import library, sandbox
from bootserver.install.partition.sandbox import Job, NoSandbox
from tests.administrator import Administrator
from tests.programs import MACHINES

NODE = "compute-0-0"


@pytest.fixture(scope="module", autouse=True)
def _sandbox() -> None:
    try:
        sandbox.run(Job("nothing.py", "import rocks_partition"))
    except NoSandbox as error:
        pytest.skip(str(error))


@pytest.fixture
def admin(tmp_path: Path, template: Path) -> Iterator[Administrator]:
    found = Administrator(tmp_path, template)
    found.does("node", "add", NODE, "--mac", "52:54:00:00:00:01")
    yield found


def path(machine: str) -> str:
    return str(MACHINES / f"{machine}.json")


def reports(admin: Administrator, machine: str | dict[str, object]) -> None:
    body = json.dumps(machine) if isinstance(machine, dict) else Path(path(machine)).read_text()
    with admin.databases.journal.write() as connection:
        journal.keep_inventory(connection, NODE, body)


def has_program(admin: Administrator, name: str, text: str) -> None:
    folder = admin.folder / "partition_scripts"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)


# -- list ----------------------------------------------------------------------------------------------------------


def test_programs_are_listed_with_what_they_say_of_themselves(admin: Administrator) -> None:
    has_program(admin, "mine.py", '"""Mine, \x1b[31mall mine."""\n')
    has_program(admin, "slide.xml", "<pre>")
    has_program(admin, "broken.py", "def (")
    (admin.folder / "partition_scripts" / "notes.txt").write_text("no program")
    found = {each["program"]: (each["from"], each["what"]) for each in admin.lists("partition", "list")}
    assert found["mine"] == ("site", "Mine, \x1b[31mall mine.")
    assert found["slide"] == ("site", "a program of Rocks")
    assert found["broken"] == ("site", "")
    assert found["lvm"][0] == "shipped"
    assert "notes" not in found
    table = admin.does("partition", "list")
    assert "\x1b" not in table
    assert table.splitlines()[0].split() == ["PROGRAM", "FROM", "WHAT"]


# -- show ----------------------------------------------------------------------------------------------------------


def test_what_a_node_last_reported_is_shown_partitioned(admin: Administrator) -> None:
    reports(admin, "bios-ours-sata")
    lines = admin.does("partition", "show", NODE).splitlines()
    assert lines[0] == "compute-0-0: program default (shipped)"
    assert [line.split()[-1] for line in lines[2:]] == ["new"] * 5 + ["kept"]
    wiped = admin.does("partition", "show", NODE, "--wipe").splitlines()
    assert wiped[0] == "compute-0-0: program default (shipped), wipe"
    assert [line.split()[-1] for line in wiped[2:]] == ["new"] * 6


def test_a_node_s_program_is_its_attribute_s_or_another_for_once(admin: Administrator) -> None:
    reports(admin, "uefi-nvme-and-4-hdd")
    admin.does("attr", "set", "partition", "nvme-first", NODE)
    assert "program nvme-first (shipped)" in admin.does("partition", "show", NODE)
    shown = admin.does("partition", "show", NODE, "--program", "single-disk")
    assert "left alone: sdb (ST8000NM0055-1RM112" in shown


def test_rows_for_programs(admin: Administrator) -> None:
    rows = admin.lists("partition", "show", NODE, "--inventory", path("bios-sas-pair"), "--program", "mirrored-root")
    root = next(each for each in rows if each["mountpoint"] == "/")
    assert root == {"device": "/dev/md/root", "on": ["sda3", "sdb3"], "name": "root", "mountpoint": "/", "size": root["size"],
                    "filesystem": "ext4", "state": "new"}  # fmt: skip
    volume = admin.lists("partition", "show", NODE, "--inventory", path("bios-sata-blank"), "--program", "lvm")[-1]
    assert (volume["device"], volume["name"]) == ("/dev/system/state_partition1", "system/state_partition1")


EMITTED = {
    "kickstart": "part / --fstype=ext4",
    "partman": "/state/partition1",
    "curtin": '"type": "partition"',
    "sfdisk": "label: gpt",
    "script": "partition_disks() {",
}


@pytest.mark.parametrize(("emitted", "holds"), EMITTED.items())
def test_each_installer_s_words_can_be_seen(admin: Administrator, emitted: str, holds: str) -> None:
    words = ("partition", "show", NODE, "--inventory", path("uefi-nvme-blank"), "--as", emitted)
    shown = admin.does(*words)
    assert holds in shown
    assert shown == admin.does(*words), "two outputs can be compared"


def test_what_a_node_reported_can_be_kept_for_tests(admin: Administrator, tmp_path: Path) -> None:
    reports(admin, "bios-24-sas")
    kept = admin.does("partition", "show", NODE, "--as", "inventory")
    assert json.loads(kept) == json.loads(Path(path("bios-24-sas")).read_text())
    folder = admin.folder / "partition_scripts" / "inventories"
    folder.mkdir(parents=True)
    (folder / "our-server.json").write_text(kept)
    assert "our-server" in [each.name for each in library.recorded(admin.folder)]


def test_what_a_program_prints_and_what_was_added_is_shown(admin: Administrator) -> None:
    has_program(admin, "mine.xml", "<pre arg='--interpreter python'>\nprint('disks!', '\x1b[2J')\n"
                "open('/tmp/user_partition_info', 'w').write('part / --size=9000\\n')\n</pre>")  # fmt: skip
    result = admin.run("partition", "show", NODE, "--program", "mine", "--inventory", path("bios-sata-blank"))
    assert result.exit_code == 0, result.output
    assert "sda: a BIOS boot partition (1 MB) and an EFI system partition (256 MB) added" in result.stdout
    assert result.stderr == "bootserver: the program prints: disks! ?[2J\n"


def test_an_image_s_size_counts(admin: Administrator) -> None:
    admin.does("attr", "set", "filesystem", "xfs", NODE)
    rows = admin.lists("partition", "show", NODE, "--inventory", path("bios-sata-blank"))
    assert {each["filesystem"] for each in rows if each["mountpoint"] == "/"} == {"xfs"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "compute-0-0 has never reported its disks: an install tells them; or say --inventory FILE"),
        (("--inventory", "/nonexistent/x.json"), "/nonexistent/x.json: it can't be read: No such file or directory"),
        (("--inventory", "/"), "/: it can't be read: Is a directory"),
        (("--inventory", "/dev/zero"), "/dev/zero: it has more than 1 MiB, and is no inventory"),
        (("--inventory", __file__), f"{__file__}: the inventory is no JSON: Extra data: line 1 column 3 (char 2)"),
        (("--inventory", path("bios-virtio-tiny"), "--program", "lvm"),
         "it wants 1 disk with 12.9 GB free, and the machine has vda (4.0 GB)"),
    ],
)  # fmt: skip
def test_what_can_t_be_shown_is_one_line(admin: Administrator, words: tuple[str, ...], told: str) -> None:
    assert admin.fails("partition", "show", NODE, *words) == told


def test_a_file_of_100_mb_is_refused_without_being_read_whole(admin: Administrator, tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        os.truncate(file.fileno(), 100 << 20)
    assert admin.fails("partition", "show", NODE, "--inventory", str(large)).endswith("and is no inventory")


def test_a_machine_that_reported_nonsense_is_told(admin: Administrator) -> None:
    reports(admin, {"version": 1, "firmware": "coreboot"})
    told = "what compute-0-0 reported makes no sense: inventory.firmware is neither bios nor uefi: 'coreboot'"
    assert admin.fails("partition", "show", NODE) == told


def test_wrong_usage(admin: Administrator) -> None:
    admin.fails("partition", "show", NODE, "--as", "kickstart", "--format", "json", status=2)
    admin.does("node", "add", "compute-0-1")
    assert "one node" in admin.fails("partition", "show", "compute-0-[0-1]", status=2)


# -- test ----------------------------------------------------------------------------------------------------------


def test_a_program_is_tried_on_all_machines(admin: Administrator) -> None:
    rows = admin.lists("partition", "test", "nvme-first")
    assert len(rows) >= 25
    found = {each["inventory"]: each["result"] for each in rows}
    assert (found["uefi-nvme-blank"], found["bios-24-sas"]) == ("ok", "refused")
    assert next(each for each in rows if each["inventory"] == "uefi-nvme-and-4-hdd") == {
        "inventory": "uefi-nvme-and-4-hdd", "firmware": "uefi", "disks": ["sda", "sdb", "sdc", "sdd", "nvme0n1"], "result": "ok",
        "what": "/ on nvme0n1p3; 5 new data partitions; 5 of 5 disks",
    }  # fmt: skip


def test_one_that_fails_is_exit_status_1_and_says_where(admin: Administrator) -> None:
    has_program(admin, "mine.py", "def partition(node, machine):\n    return machine.disks[1].name\n")
    one, two = path("bios-sata-blank"), path("bios-sas-pair")
    result = admin.run("partition", "test", "mine", "--inventory", one, "--inventory", two, "--format", "json")
    assert result.exit_code == 1
    assert [each["what"] for each in json.loads(result.stdout)] == [
        "mine.py:2: IndexError: list index out of range",
        "mine.py: TypeError: partition() returned str, and a Layout is wanted",
    ]
    assert result.stderr == "bootserver: program mine failed on 2 of 2 machines\n"


def test_one_that_never_ends_is_tried_once(admin: Administrator, monkeypatch: pytest.MonkeyPatch) -> None:
    has_program(admin, "mine.py", "while True: pass\n")
    monkeypatch.setattr(sandbox.Limits, "__init__", _impatient(sandbox.Limits.__init__))
    words = ("--inventory", path("bios-sata-blank"), "--inventory", path("bios-sas-pair"))
    result = admin.run("partition", "test", "mine", *words, "--format", "json")
    assert [each["what"] for each in json.loads(result.stdout)] == ["mine.py: it did not end within 1 seconds"]
    assert "the other 1 machines are left out" in result.stderr


def _impatient(original: object) -> object:
    def init(self: sandbox.Limits) -> None:
        original(self, seconds=1)  # type: ignore[operator]

    return init


def test_a_program_sees_the_node_that_it_is_tried_for(admin: Administrator) -> None:
    has_program(admin, "mine.py", "from bootserver_partition import Refused\n\ndef partition(node, machine):\n"
                "    raise Refused(f'{node.name} {node.attributes.get(\"color\")} {machine.wipe}')\n")  # fmt: skip
    admin.does("attr", "set", "color", "red", NODE)
    [row] = admin.lists("partition", "test", "mine", "--node", NODE, "--wipe", "--inventory", path("bios-sata-blank"))
    assert row["what"] == "compute-0-0 red True"


def test_what_is_no_machine_is_one_line(admin: Administrator) -> None:
    told = admin.fails("partition", "test", "lvm", "--inventory", __file__)
    assert told == f"{__file__}: the inventory is no JSON: Extra data: line 1 column 3 (char 2)"
    assert admin.fails("partition", "test", "nix").startswith("no partition program 'nix'; there are data-striping, default, ")


# -- the attribute, node show --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "default.py", "a b", "", "x" * 65])
def test_the_attribute_names_a_program_and_no_path(admin: Administrator, name: str) -> None:
    assert "names no partition program" in admin.fails("attr", "set", "partition", name, status=2)


def test_node_show_tells_the_disks_that_a_node_reported(admin: Administrator) -> None:
    reports(admin, "uefi-ours-mirrored-4k")
    lines = [line.strip() for line in admin.does("node", "show", NODE).splitlines()]
    [first, _] = [line for line in lines if line.startswith("disk ")]
    assert first.startswith("disk       nvme0n1 3577.0 GB Dell Ent NVMe v2 AGN RI U.2 3.84TB, serial ")
    assert first.endswith(" (gpt)")
    assert "partition  nvme0n1p3 7.8 GB raid root linux_raid_member" in lines
    assert "array      root 7.8 GB raid1 of nvme0n1p3, nvme1n1p3 (whole)" in lines
    [found] = json.loads(admin.does("node", "show", NODE, "--format", "json"))
    assert [each["name"] for each in found["reported"]["disks"]] == ["nvme0n1", "nvme1n1"]
    assert found["reported"]["fault"] is None
    reports(admin, "uefi-ours-lvm")
    assert "volume     system/root 7.8 GB ext4" in admin.does("node", "show", NODE)
    reports(admin, "uefi-multipath-two-luns")
    assert "no target  sda (a way to mpatha, 100.0 GB)" in admin.does("node", "show", NODE)


def test_node_show_survives_a_machine_that_reported_nonsense(admin: Administrator) -> None:
    assert [each["reported"]["disks"] for each in json.loads(admin.does("node", "show", NODE, "--format", "json"))] == [[]]
    reports(admin, {"version": 1, "firmware": "bios", "lsblk": {"blockdevices": [{"name": 7}]}})
    shown = admin.does("node", "show", NODE)
    assert "disks      it reported nonsense: inventory.lsblk.blockdevices[0].name is no text: 7" in shown
