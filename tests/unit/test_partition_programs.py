"""Partition programs: found, asked, and what they answer; those of Rocks as they stand in its node files."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootserver.cluster.view import ApplianceView
from bootserver.errors import NotFound
from bootserver.install.inventory import FirmwareKind
from bootserver.install.partition import default, programs, rocks, sandbox
from bootserver.install.partition.check import LayoutRefused
from bootserver.install.partition.inside.bootserver_partition import megabytes
from bootserver.install.partition.inside.machine import Disk
from bootserver.install.partition.model import FileSystem, Role
from bootserver.install.partition.programs import Need
from bootserver.install.partition.sandbox import Job, NoSandbox, ProgramFault
from tests import views
from tests.disks import GB, after, disk, machine, there
from tests.programs import ROCKS, Site, node, recorded, shape

ONE = machine(disk("sda", 100))
TWO = machine(disk("sda", 100), disk("sdb", 100, slot=1))


@pytest.fixture(scope="module", autouse=True)
def _sandbox() -> None:
    try:
        sandbox.run(Job("nothing.py", "import rocks_partition"))
    except NoSandbox as error:
        pytest.skip(str(error))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def written(lines: str) -> str:
    """A program of Rocks that writes these lines."""
    return f"<pre arg='--interpreter /opt/rocks/bin/python'>\nopen('/tmp/user_partition_info', 'w').write({lines!r})\n</pre>\n"


# -- the program of the slide --------------------------------------------------------------------------------------


def test_the_program_of_the_slide_runs_as_it_stands_there(site: Site) -> None:
    site.has("slide.xml", (ROCKS / "slide.xml").read_text())
    plan = site.plans("slide", ONE)
    found = [(part.mount_point or part.name, part.filesystem, part.size >> 20) for part in plan.partitions]
    rest = 100 * 1024 - 2 - 1 - 256 - 6000 - 2000 - 2000
    assert sorted(found) == sorted([("bios", "", 1), ("esp", "vfat", 256), ("/", "ext3", 6000), ("/var", "ext3", 2000),
                                    ("swap", "swap", 2000), ("/mydata", "ext3", rest)])  # fmt: skip


def test_what_it_lacks_to_boot_is_added_and_told(site: Site) -> None:
    site.has("slide.xml", (ROCKS / "slide.xml").read_text())
    answered = site.asks("slide", ONE)
    assert answered.notes == (
        "sda: a BIOS boot partition (1 MB) and an EFI system partition (256 MB) added, which the program does not have",
    )
    uefi = dataclasses.replace(ONE, firmware=FirmwareKind.UEFI)
    assert site.plans("slide", uefi).esp is not None


def test_where_it_writes_nothing_the_machine_gets_rocks_layout(site: Site) -> None:
    site.has("slide.xml", (ROCKS / "slide.xml").read_text())
    assert site.asks("slide", TWO).answer == default.layout(TWO, image_size=0)


def test_the_slide_s_program_may_have_any_name_and_ending(site: Site) -> None:
    site.has("slide.py", (ROCKS / "slide.xml").read_text())
    site.has("node.xml", f"<?xml version='1.0'?>\n<kickstart>\n{(ROCKS / 'slide.xml').read_text()}</kickstart>\n")
    assert site.asks("slide", ONE).answer == site.asks("node", ONE).answer


# -- the words of Rocks --------------------------------------------------------------------------------------------


def test_rocks_own_words_mean_what_they_did(site: Site) -> None:
    usual = default.layout(TWO, image_size=0)
    site.has("all.xml", written("rocks force-default\n"))
    site.has("first.xml", written("rocks force-default-root-disk-only\n"))
    site.has("nothing.xml", written("\n"))
    assert site.asks("all", TWO).answer == usual
    assert site.asks("nothing", TWO).answer == usual
    assert site.asks("first", TWO).answer == dataclasses.replace(usual, disks=usual.disks[:1])


def test_nobody_can_partition_by_hand_at_an_install(site: Site) -> None:
    site.has("manual.xml", written("rocks manual\n"))
    with pytest.raises(LayoutRefused, match="wants a person to partition"):
        site.asks("manual", ONE)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("rocks please", r"mine\.xml: it wrote 'rocks please', and there are rocks force-default, "),
        ("make it so\n", r"mine\.xml: what it wrote into /tmp/user_partition_info is nonsense: line 1: .* is no command"),
        ("part / --size=much --ondisk=sda\n", r"mine\.xml: what it wrote .* is nonsense: line 1: .* whole number"),
        ("part / --size=10 --fstype='\n", r"mine\.xml: what it wrote .* is nonsense: line 1: "),
    ],
)
def test_nonsense_in_its_file_is_told_with_the_line(site: Site, lines: str, told: str) -> None:
    site.has("mine.xml", written(lines))
    with pytest.raises(ProgramFault, match=told):
        site.asks("mine", ONE)


def test_a_disk_that_is_not_there_is_no_fault_of_the_program(site: Site) -> None:
    site.has("mine.xml", written("clearpart --all\npart / --size=9000 --ondisk=hda\n"))
    with pytest.raises(LayoutRefused, match="there is no disk hda"):
        site.asks("mine", ONE)


# -- what programs of Rocks are told -------------------------------------------------------------------------------


def said(site: Site, source: str, *, on: str = "uefi-ours-mirrored-4k") -> str:
    site.has("mine.xml", f"<pre arg='--interpreter /opt/rocks/bin/python'>\nimport os\n{source}\n</pre>")
    try:
        return site.asks("mine", recorded(on)).said
    except LayoutRefused:
        site.has("mine.xml", f"<pre arg='--interpreter /opt/rocks/bin/python'>\nimport os, rocks_partition\n{source}\n</pre>")
        return site.asks("mine", recorded(on), wipe=True).said


def test_the_helpers_answer_as_rocks_had_them(site: Site) -> None:
    told = said(
        site,
        "import rocks_partition\np = rocks_partition.RocksPartition()\nprint(p.getDisks())\nprint(p.getRaids())\n"
        "print(p.getLVMs())\nprint(p.getNodePartInfo(['nvme0n1'])['nvme0n1'][0])\nprint(p.getNodePartInfo(['sdz']))",
    )
    assert told.splitlines() == [
        "['nvme0n1', 'nvme1n1']",
        "['root', 'state_partition1', 'swap', 'var']",
        "[]",
        "('nvme0n1p1', '1', '1', 'ef', '', '', '', '')",
        "{'sdz': []}",
    ]


def test_data_have_their_mount_point_in_the_helpers_answer(site: Site) -> None:
    told = said(site, "import rocks_partition\nprint(rocks_partition.RocksPartition().getNodePartInfo(['sda'])['sda'][-1])",
                on="bios-ours-sata")  # fmt: skip
    assert told == "('sda6', '13258', '444604', '83', 'ext4', '', '', '/state/partition1')"


def test_volumes_are_named_with_their_group(site: Site) -> None:
    told = said(site, "import rocks_partition\nprint(rocks_partition.RocksPartition().getLVMs())", on="bios-foreign-lvm")
    assert told == "['rl/home', 'rl/root', 'rl/swap']"


def test_the_environment_names_the_node(site: Site) -> None:
    told = said(site, "print({k: v for k, v in os.environ.items() if k.startswith('Node_')})")
    assert ast.literal_eval(told) == {
        "Node_Hostname": "compute-0-0", "Node_Name": "compute-0-0", "Node_Membership": "Compute", "Node_Appliance": "compute",
        "Node_Rack": "0", "Node_Rank": "0", "Node_Address": "10.1.255.254", "Node_Netmask": "255.255.0.0",
    }  # fmt: skip


def test_a_shell_s_program_works_too(site: Site) -> None:
    site.has("shell.xml", '<pre>\nif [ "&hostname;" = compute-0-0 ]; then\n'
             "  echo &quot;rocks force-default-root-disk-only&quot; &gt; /tmp/user_partition_info\nfi\n</pre>")  # fmt: skip
    assert list(shape(site.asks("shell", TWO).answer)) == ["sda"]
    site.has("shell.xml", "<pre arg='--interpreter /bin/sh'>\nexit 3\n</pre>")
    with pytest.raises(ProgramFault, match=r"shell\.xml: its shell script ended with status 3"):
        site.asks("shell", TWO)
    site.has("shell.xml", "<pre arg='--interpreter /usr/bin/perl'>\nexit 3\n</pre>")
    with pytest.raises(ProgramFault, match=r"shell\.xml:1: it wants the interpreter perl, and there are python and sh"):
        site.asks("shell", TWO)


def test_a_file_that_was_left_open_is_read_whole(site: Site) -> None:
    site.has(
        "open.py", "import rocks_partition\nfile = open('/tmp/user_partition_info', 'w')\nfile.write('rocks force-default')\n"
    )
    assert len(site.asks("open", TWO).answer.disks) == 2


# -- out of XML ----------------------------------------------------------------------------------------------------


def source(text: str, **values: str) -> str:
    return rocks.script(text, "mine.xml", values).source


def test_a_program_keeps_the_lines_that_it_has_in_its_file(site: Site) -> None:
    text = "<kickstart>\n<!-- one\ntwo -->\n<pre arg='--interpreter python'>\nx = 1\n\nraise ValueError(x)\n</pre></kickstart>"
    site.has("mine.xml", text)
    with pytest.raises(ProgramFault, match=r"^mine\.xml:7: ValueError: 1$"):
        site.asks("mine", ONE)
    site.has("mine.xml", text.replace("raise ValueError(x)", "print x"))
    with pytest.raises(ProgramFault, match=r"^mine\.xml:7: SyntaxError: Missing parentheses in call to 'print'.*Python 3"):
        site.asks("mine", ONE)


def test_entities_comments_and_cdata_are_xml_s() -> None:
    text = "<pre arg='--interpreter python'>a &lt; b &amp;&amp; c<!-- no\n -->&gt;&quot;&apos;<![CDATA[ &lt; <var name='x'/> ]]>"
    text += "</pre>"
    assert source(text) == "a < b && c\n>\"' &lt; <var name='x'/> "


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<kickstart/>", "mine.xml: it has no <pre> ... </pre>"),
        ("<pre>a</pre>\n<pre>b</pre>", "mine.xml: it has 2 <pre>, on lines 1, 2, and one program is wanted"),
        (
            "\n<pre arg='--interpreter python'>\n'<var name=\"nix\"/>'</pre>",
            "mine.xml:3: there is no variable 'nix': `bootserver attr",
        ),
        ("<pre arg='--interpreter python'>x = &nix;</pre>", "mine.xml:1: there is no variable 'nix'"),
    ],
)
def test_what_is_no_program_is_told_with_the_line(text: str, told: str) -> None:
    with pytest.raises(ProgramFault) as caught:
        source(text)
    assert str(caught.value).startswith(told)


def test_of_several_sections_the_one_that_partitions_is_taken() -> None:
    assert "user_partition_info" in source(
        "<pre>echo one</pre>\n<pre>echo x > /tmp/user_partition_info</pre>\n<pre>echo three</pre>"
    )


QUOTES = ("'{}'", '"{}"', "'''{}'''", '"""{}"""', "f'{}'", "b'{}'", "'%s' % '{}'")


@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # bytes know no \\u
@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30), st.sampled_from(QUOTES))
def test_a_value_stays_inside_its_quotes_whatever_it_holds(value: str, quotes: str) -> None:
    text = "<pre arg='--interpreter python'>found = " + quotes.format("<var name='x' />") + "\n# <var name='x'/>\nend = 1\n</pre>"
    tree = ast.parse(source(text, x=value))
    assert [type(each) for each in tree.body] == [ast.Assign, ast.Assign], "nothing of it is a statement of its own"
    assert not [each for each in ast.walk(tree) if isinstance(each, (ast.Call, ast.Attribute, ast.Name)) and
                getattr(each, "id", "") not in ("found", "end")]  # fmt: skip
    if quotes in QUOTES[:4]:
        namespace: dict[str, object] = {}
        exec(source(text, x=value), namespace)
        assert namespace["found"] == value


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20))
def test_outside_of_quotes_a_value_is_a_number_or_refused(value: str) -> None:
    text = "<pre arg='--interpreter python'>\nrank = <var name='x'/>\n</pre>"
    try:
        found = source(text, x=value)
    except ProgramFault as error:
        assert str(error).startswith("mine.xml:2: the value of x is")
        return
    assert isinstance(ast.literal_eval(found.strip().removeprefix("rank = ")), int)


@pytest.mark.parametrize("value", ["$(id)", "`id`", "a;b", "a\nb", "'", '"', "a|b", "a>b", "\\"])
def test_a_shell_gets_no_value_that_could_be_more_than_a_word(value: str) -> None:
    with pytest.raises(ProgramFault, match="a shell script can't hold it"):
        source('<pre>x="<var name="x"/>"</pre>', x=value)


def test_a_membership_is_called_as_its_users_know_it() -> None:
    nas = dataclasses.replace(node({"color": "red"}), appliance=ApplianceView(3, "nas", installs=True))
    found = rocks.variables(nas)
    assert (found["Node_Membership"], found["membership"], found["color"]) == ("NAS Appliance", "NAS Appliance", "red")


# -- found ---------------------------------------------------------------------------------------------------------


def test_a_site_s_own_program_takes_the_place_of_a_shipped_one(site: Site) -> None:
    site.has("default.py", '"""Mine."""\nfrom bootserver_partition import Refused\n\ndef partition(node, machine):\n'
             "    raise Refused(f'not on {node.name}')\n")  # fmt: skip
    found = {each.name: each for each in programs.listed(site.state)}
    assert (found["default"].is_site, found["default"].title()) == (True, "Mine.")
    assert not found["lvm"].is_site
    with pytest.raises(LayoutRefused, match=r"^not on compute-0-0$"):
        site.asks("default", ONE)


@pytest.mark.parametrize("name", ["nix", "../default", "/etc/passwd", "", "default.py", "inventories", "a\nb", "x" * 300])
def test_what_is_no_program_is_not_found(site: Site, name: str) -> None:
    with pytest.raises(NotFound, match=r"no partition program .* there are data-striping, default, "):
        programs.find(name, site.state)


def test_a_file_that_can_t_be_a_program_is_told(site: Site) -> None:
    site.has("long.py", "#" * (1 << 19))
    (site.state / "partition_scripts" / "bytes.py").write_bytes(b"x = '\xff'")
    with pytest.raises(ProgramFault, match=r"long\.py has more than 256 KiB, and is no program"):
        site.asks("long", ONE)
    with pytest.raises(ProgramFault, match=r"bytes\.py: no UTF-8 text: .* at byte 5"):
        site.asks("bytes", ONE)
    assert {each.title() for each in programs.listed(site.state) if each.is_site} == {""}


def test_where_no_program_can_be_run_a_machine_still_gets_the_shipped_layout(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise NoSandbox("no namespaces here")

    monkeypatch.setattr(sandbox, "run", forbidden)
    assert site.asks("default", ONE).answer == default.layout(ONE, image_size=0)
    with pytest.raises(NoSandbox):
        site.asks("lvm", ONE)
    site.has("default.py", "")
    with pytest.raises(NoSandbox):
        site.asks("default", ONE)


# -- what new programs can say -------------------------------------------------------------------------------------

API = "from bootserver_partition import Layout, Refused\n\ndef partition(node, machine):\n    layout = Layout(machine)\n"


def answers(site: Site, body: str, *, on: object = ONE, **more: object) -> programs.Answered:
    site.has("mine.py", API + "".join(f"    {line}\n" for line in body.splitlines()) + "    return layout\n")
    return site.asks("mine", on, **more)  # type: ignore[arg-type]


def test_sizes_are_numbers_and_texts(site: Site) -> None:
    found = answers(site, "d = machine.disks[0]\nlayout.add('/', '10%', on=d)\nlayout.add('/a', '1.5G', on=d)\n"
                    "layout.add('/b', 700, on=d)\nlayout.add('/c', '2 GiB', on=d)\nlayout.add('/d', on=d)")  # fmt: skip
    sizes = {part.mount_point: (part.size, part.grow) for part in found.answer.disks[0].partitions if part.role is Role.LINUX}
    assert sizes == {"/": (10240, False), "/a": (1536, False), "/b": (700, False), "/c": (2048, False), "/d": (512, True)}


@pytest.mark.parametrize("size", ["much", "", "-1", "-5G", "nan", "inf", "1e99", "5X", "G", None, [], True])
def test_what_is_no_size_is_a_fault(size: object) -> None:
    with pytest.raises(ValueError, match="is no size"):
        megabytes(size)  # type: ignore[arg-type]


def test_a_percentage_is_of_a_disk(site: Site) -> None:
    with pytest.raises(ProgramFault, match=r"mine\.py:6: ValueError: '50%' of what\?"):
        answers(site, "group = layout.group('g', on=machine.disks[0])\nlayout.add('/', '50%', on=group)")


def test_an_image_s_size_counts(site: Site) -> None:
    body = "layout.add('/', on=machine.disks[0])\nlayout.add('/var', on=machine.disks[0])"
    found = answers(site, body, need=Need(20 * GB, 8 * GB, "xfs"))
    root, var = (part for part in found.answer.disks[0].partitions if part.role is Role.LINUX)
    assert (root.size, root.least, root.file_system) == (30 * 1024, 22 * 1024, FileSystem.XFS)
    assert (var.size, var.mount_point) == (12 * 1024, "/var")


def test_attributes_are_seen_and_can_t_be_altered(site: Site) -> None:
    who = dataclasses.replace(views.node(), attributes={"swap": "3000"})
    body = "d = machine.disks[0]\nlayout.add('/', on=d)\nlayout.add('swap', node.attributes['swap'], on=d)"
    found = answers(site, body, who=who)
    assert [part.size for part in found.answer.disks[0].partitions if part.role is Role.SWAP] == [3000]
    with pytest.raises(ProgramFault, match="'mappingproxy' object does not support item assignment"):
        answers(site, "node.attributes['a'] = 'b'")


def test_rocks_layout_is_a_beginning(site: Site) -> None:
    site.has("mine.py", "from bootserver_partition import Layout\n\ndef partition(node, machine):\n"
             "    layout = Layout.rocks(machine)\n    layout.find('swap')['size'] = 8000\n    return layout\n")  # fmt: skip
    usual = default.layout(TWO, image_size=0)
    found = site.asks("mine", TWO).answer
    assert shape(found) == shape(usual)
    assert [part.size for part in found.disks[0].partitions if part.role is Role.SWAP] == [8000]


def test_arrays_and_groups_stand_on_disks_and_on_each_other(site: Site) -> None:
    found = answers(site, "pv = layout.raid(None, on=machine.disks, grow=True)\ngroup = layout.group('all', on=pv)\n"
                    "layout.raid('/boot', on=machine.disks)\nlayout.add('/', on=group)\nlayout.data(group)", on=TWO)  # fmt: skip
    assert shape(found.answer) == {name: ["bios", "esp", "raid pv", "raid boot"] for name in ("sda", "sdb")}
    assert [(each.name, each.member, each.mount_point) for each in found.answer.raids] == [
        ("pv", "all", None),
        ("boot", None, "/boot"),
    ]
    [group] = found.answer.groups
    assert [(each.name, each.mount_point, each.grow) for each in group.volumes] == [
        ("root", "/", False),
        ("state_partition1", "/state/partition1", True),
    ]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("layout.add('/', on='sda')", "TypeError: 'sda' is no disk of the machine: machine.disk('sda') is one"),
        ("machine.pick(1, kind='tape')", "ValueError: 'tape' is no kind of disk: nvme, ssd, hdd"),
        ("layout.add('/', on=machine.disks[7])", "IndexError: list index out of range"),
    ],
)
def test_a_misuse_is_told_with_its_line(site: Site, body: str, told: str) -> None:
    with pytest.raises(ProgramFault) as caught:
        answers(site, body)
    assert str(caught.value) == f"mine.py:5: {told}"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("machine.disk('sdz')", "it wants disk sdz, and the machine has sda (100.0 GB)"),
        ("machine.pick(2)", "it wants 2 disks with 12.9 GB free, and the machine has sda (100.0 GB)"),
        ("machine.pick(1, kind='nvme')", "it wants 1 NVMe disk with 12.9 GB free, and the machine has sda (100.0 GB)"),
        ("machine.pick(1, room='1T')", "it wants 1 disk with 1T free, and the machine has sda (100.0 GB)"),
        ("layout.find('/nix')", "the layout has no /nix"),
        ("raise Refused('too old\\n\\x1b[2J')", "too old ?[2J"),
    ],
)
def test_a_machine_that_lacks_something_is_refused_with_a_reason(site: Site, body: str, told: str) -> None:
    with pytest.raises(LayoutRefused) as caught:
        answers(site, body)
    assert str(caught.value) == told


def test_nonsense_in_a_layout_is_told(site: Site) -> None:
    with pytest.raises(
        ProgramFault, match=r"mine\.py: it answers nonsense: layout\.disks\[0\]\.partitions\[0\]\.fs is none of ext3"
    ):
        answers(site, "layout.add('/', on=machine.disks[0], fs='zfs')")
    with pytest.raises(ProgramFault, match=r"mine\.py: it answers nonsense: layout\.raids\[0\]\.level is none of 0, 1, 5"):
        answers(site, "layout.raid('/', on=machine.disks, level=4)")


def test_a_disk_s_kind_is_told_where_it_is_known() -> None:
    told = dict.fromkeys(Disk.__slots__) | {"partitions": []}
    nvme, ssd, hdd = (Disk({**told, "kind": kind}) for kind in ("nvme", "ssd", "hdd"))
    from bootserver.install.partition.inside.machine import is_of

    assert [is_of(each, "ssd") for each in (nvme, ssd, hdd)] == [True, True, False]
    assert [is_of(each, "hdd") for each in (nvme, ssd, hdd)] == [False, False, True]
    assert nvme.is_nvme
    assert not ssd.is_nvme


def test_the_system_stays_on_the_disk_that_has_it(site: Site) -> None:
    first = site.plans("single-disk", machine(disk("sdb", 100, slot=1)))
    second = site.plans("single-disk", machine(disk("sda", 100), *after(first)))
    assert [each.disk.name for each in second.disks] == ["sdb"]
    wiped = site.plans("single-disk", machine(disk("sda", 100), *after(first)), wipe=True)
    assert [each.disk.name for each in wiped.disks] == ["sda"]


def test_a_new_data_partition_takes_a_number_that_no_disk_has(site: Site) -> None:
    old = disk("sdb", 100, there(1, "/state/partition1", 0.1, 90, disk="sdb"), slot=1)
    plan = site.plans("single-disk", machine(disk("sda", 100), old))
    assert [part.mount_point for part in plan.partitions if part.is_data] == ["/state/partition2"]


# -- the manual ----------------------------------------------------------------------------------------------------


def test_the_programs_of_the_manual_work(site: Site) -> None:
    text = (Path(__file__).parent.parent.parent / "docs" / "how-to" / "partition-disks.md").read_text()
    own, old = (re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "xml"))
    assert own
    assert old
    site.has("worker.py", own[1])
    site.has("old.xml", old[1])
    plan = site.plans("worker", recorded("uefi-nvme-and-4-hdd"))
    assert [each.mount_point for each in plan.mounted] == ["/", "/boot/efi", "/state/scratch"]
    with pytest.raises(LayoutRefused, match=r"^a worker has three disks, one of them large; this machine has \[sda, sdb\]$"):
        site.asks("worker", recorded("bios-sas-pair"))
    assert site.plans("old", recorded("bios-sata-blank")).root.size == 6000 << 20
