"""``bootserver pxe``, ``bootflags``, ``attr`` and ``why``: what nodes boot, and why."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from bootserver.db.rows import AttributeRow, BootActionRow, InstallRow, SecretRow
from tests.administrator import Administrator


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Administrator(tmp_path_factory.mktemp("template")).folder


@pytest.fixture
def admin(tmp_path: Path, template: Path) -> Administrator:
    """A frontend with four nodes in two racks."""
    administrator = Administrator(tmp_path, template)
    for index, name in enumerate(("compute-0-0", "compute-0-1", "compute-0-2", "compute-1-0")):
        administrator.does("node", "add", name, "--mac", f"52:54:00:00:00:0{index}")
    return administrator


def test_an_install_is_armed_by_the_two_words_that_everybody_types(admin: Administrator) -> None:
    admin.has_image()
    admin.does("attr", "set", "image", "golden")
    assert admin.does("pxe", "set", "compute-0-0", "install") == "compute-0-0: install\n"
    assert admin.node("compute-0-0").action == "install"
    assert len(admin.rows(InstallRow)) == 1
    assert [row["kind"] for row in admin.lists("events", "compute-0-0")] == ["armed"]


def test_an_install_that_has_nothing_to_install_says_what_to_type(admin: Administrator) -> None:
    text = admin.fails("pxe", "set", "compute-0-0", "install")
    assert "`bootserver attr set image NAME`" in text
    assert admin.node("compute-0-0").action is None
    assert admin.rows(InstallRow) == []


def test_an_action_of_two_words_needs_no_quotes(admin: Administrator) -> None:
    admin.has_image()
    admin.does("attr", "set", "image", "golden")
    assert admin.does("pxe", "set", "compute-0-0", "compute-1-0", "install", "headless") == (
        "compute-[0-1]-0: install headless\n"
    )
    assert admin.does("pxe", "set", "compute-0-1", "install headless") == "compute-0-1: install headless\n"
    assert {admin.node(name).action for name in ("compute-0-0", "compute-1-0", "compute-0-1")} == {"install headless"}


def test_many_nodes_are_folded_in_what_is_said(admin: Administrator) -> None:
    assert admin.does("pxe", "set", "rack0", "os") == "compute-0-[0-2]: os\n"


def test_one_node_that_can_not_install_keeps_all_from_it(admin: Administrator) -> None:
    admin.has_image()
    admin.does("attr", "set", "image", "golden", "--rack", "0")
    assert admin.fails("pxe", "set", "compute", "install").startswith("compute-1-0 can't install")
    assert admin.rows(InstallRow) == []


def test_a_dry_run_arms_nothing_and_shows_no_secret(admin: Administrator) -> None:
    admin.has_image()
    admin.does("attr", "set", "image", "golden")
    printed = admin.does("pxe", "set", "rack0", "install", "--dry-run")
    assert "~ node compute-0-0: action None -> install" in printed
    assert "value=****" in printed
    assert admin.rows(InstallRow) == []
    assert admin.rows(SecretRow) == []
    assert admin.lists("events") == []


def test_an_action_whose_file_is_missing_is_refused_with_the_file(admin: Administrator) -> None:
    assert str(admin.tftpboot / "installer/vmlinuz") in admin.fails("pxe", "set", "compute-0-0", "rescue")


@pytest.mark.parametrize(
    ("action", "there", "missing", "way_out"),
    [
        ("rescue", ["installer/vmlinuz"], "installer/initrd.img", "`bootserver installer build`"),
        ("memtest", [], "memtest86+x64.bin", "install the package memtest86+, then `bootserver init` again"),
        ("memtest", ["memtest86+x64.bin"], "memtest86+x64.efi", "install the package memtest86+, then `bootserver init` again"),
        ("pxeflash", ["pxeflash.img"], "memdisk", "install the package syslinux-common, then `bootserver init` again"),
        ("pxeflash", ["memdisk"], "pxeflash.img", "`bootserver pxe action add pxeflash --floppy FILE` takes the site's own"),
    ],
)
def test_what_puts_a_missing_file_in_place_is_said(
    admin: Administrator, action: str, there: list[str], missing: str, way_out: str
) -> None:
    for path in there:
        file = admin.tftpboot / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
    said = admin.fails("pxe", "set", "compute-0-0", action)
    assert f"compute-0-0 can't {action}: {admin.tftpboot / missing} is not there: {way_out}" in said


def test_the_list_says_what_an_install_comes_from(admin: Administrator) -> None:
    admin.has_image()
    admin.does("attr", "set", "image", "golden")
    admin.does("pxe", "set", "rack0", "install")
    admin.does("attr", "set", "distribution", "debian-12", "compute-0-1")
    rows = {row["node"]: row for row in admin.lists("pxe", "list")}
    assert (rows["compute-0-0"]["action"], rows["compute-0-0"]["install"]) == ("install", "image golden")
    assert "both an image" in rows["compute-0-1"]["install"]
    assert (rows["compute-1-0"]["action"], rows["compute-1-0"]["because"]) == ("os", "nothing is set, so its disk")


def test_why_tells_the_whole_way_and_masks_the_ticket(admin: Administrator) -> None:
    admin.has_image()
    admin.has_distribution("debian-12")
    admin.does("attr", "set", "image", "golden", "--appliance", "compute")
    admin.does("pxe", "set", "compute-0-0", "install")
    text = admin.does("why", "compute-0-0")
    assert "installer/vmlinuz installer/initrd.img quiet bootserver=http://10.1.1.1/ bootserver.ticket=****" in text
    assert "golden (appliance compute)" in text
    assert "armed since" in text
    admin.does("attr", "set", "image", "silver", "compute-0-0")
    assert admin.does("why", "compute-0-0", "image") == (
        "compute-0-0: image = silver (node compute-0-0)\n  instead of golden (appliance compute)\n"
    )
    assert "there is no image 'silver'" in admin.does("why", "compute-0-0")


def test_a_kernel_from_elsewhere_is_copied_below_tftpboot_for_all_to_read(admin: Administrator, tmp_path: Path) -> None:
    (tmp_path / "vmlinuz-6").write_bytes(b"kernel")
    (tmp_path / "a").mkdir()
    for folder in (".", "a"):
        (tmp_path / folder / "initrd.img").write_bytes(folder.encode())
    (tmp_path / "vmlinuz-6").chmod(0o600)
    admin.does("pxe", "action", "add", "my live", "--kernel", str(tmp_path / "vmlinuz-6"),
               "--initrd", str(tmp_path / "initrd.img"), "--initrd", str(tmp_path / "a/initrd.img"),
               "--args", "quiet  a=b")  # fmt: skip
    (row,) = admin.rows(BootActionRow)
    assert row.kernel == "actions/my+live/vmlinuz-6"
    assert row.initrds == ("actions/my+live/initrd.img", "actions/my+live/2-initrd.img")
    assert row.args == "quiet a=b"
    copied = admin.tftpboot / row.kernel
    assert copied.read_bytes() == b"kernel"
    assert stat.S_IMODE(copied.stat().st_mode) == 0o644
    assert sorted(path.name for path in copied.parent.iterdir()) == ["2-initrd.img", "initrd.img", "vmlinuz-6"]
    admin.does("pxe", "set", "compute-0-0", "my", "live")
    assert admin.node("compute-0-0").action == "my live"


def test_a_refused_action_leaves_no_copy_behind(admin: Administrator, tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(b"kernel")
    admin.fails("pxe", "action", "add", "x", "--kernel", str(tmp_path / "vmlinuz"), "--localboot", status=2)
    admin.does("pxe", "action", "add", "x", "--kernel", str(tmp_path / "vmlinuz"), "--dry-run")
    admin.fails("pxe", "action", "add", "x", "--kernel", str(tmp_path / "vmlinuz"), "--node", "nobody")
    assert [path for path in admin.tftpboot.rglob("*") if path.is_file()] == []
    assert admin.rows(BootActionRow) == []


def test_a_file_that_is_below_tftpboot_already_is_not_copied(admin: Administrator) -> None:
    admin.has_file("live/vmlinuz")
    admin.does("pxe", "action", "add", "one", "--kernel", "live/vmlinuz")
    admin.does("pxe", "action", "add", "two", "--kernel", str(admin.tftpboot / "live/vmlinuz"))
    assert {row.kernel for row in admin.rows(BootActionRow)} == {"live/vmlinuz"}
    assert "no file live/other below" in admin.fails("pxe", "action", "add", "x", "--kernel", "live/other")


def test_a_node_has_an_action_of_its_own(admin: Administrator) -> None:
    admin.has_file("k")
    admin.does("pxe", "action", "add", "debug", "--kernel", "k", "--node", "compute-0-0")
    admin.does("pxe", "set", "compute-0-0", "debug")
    assert "no boot action 'debug'" in admin.fails("pxe", "set", "compute-0-1", "debug")
    assert "an action of its own" in admin.does("why", "compute-0-0")
    admin.does("pxe", "set", "compute-0-0", "os")
    admin.does("pxe", "action", "remove", "debug", "--node", "compute-0-0", "--yes")
    assert admin.rows(BootActionRow) == []


def test_an_action_that_a_node_boots_stays(admin: Administrator) -> None:
    admin.has_file("k")
    admin.does("pxe", "action", "add", "live", "--kernel", "k")
    admin.does("pxe", "set", "compute-0-0", "live")
    assert "compute-0-0 boots 'live'" in admin.fails("pxe", "action", "remove", "live", "--yes")
    assert "comes with bootserver" in admin.fails("pxe", "action", "remove", "os", "--yes")


@pytest.mark.parametrize(
    "words",
    [
        ("pxe", "action", "add", "a\nb", "--localboot"),
        ("pxe", "action", "add", "a'b", "--localboot"),
        ("pxe", "action", "add", "${x}", "--localboot"),
        ("pxe", "action", "add", "../x", "--localboot"),
        ("pxe", "action", "add", "x", "--kernel", "k", "--args", 'a="b c"'),
        ("pxe", "action", "add", "x", "--kernel", "k", "--args", "a=${net0/mac}"),
        ("pxe", "action", "add", "x", "--kernel", "k", "--args", ";b"),
        ("pxe", "action", "add", "x", "--kernel", "../../etc/passwd"),
        ("pxe", "action", "add", "x", "--kernel", "file:///etc/passwd"),
        ("pxe", "action", "add", "x", "--kernel", "http://user@host/k"),
        ("bootflags", "set", "compute-0-0", "quiet\nkernel evil"),
        ("bootflags", "set", "compute-0-0", "a=`id`"),
        ("attr", "set", "a b", "x"),
        ("attr", "set", "a\n", "x"),
        ("attr", "set", "a", "x\ny"),
        ("attr", "set", "a", "\x1b[2J"),
        ("attr", "set", "a", "x" * 5000),
        ("attr", "set", "loader", "lilo"),
        ("attr", "set", "a", "x", "--rack", "-1"),
        ("pxe", "set", "os"),
    ],
)
def test_hostile_or_wrong_words_are_refused_in_one_line(admin: Administrator, words: tuple[str, ...]) -> None:
    admin.has_file("k")
    before = admin.changes()
    admin.fails(*words, status=2)
    assert admin.changes() == before


def test_attributes_are_set_in_every_kind_of_place_and_the_nearest_wins(admin: Administrator) -> None:
    assert admin.does("attr", "set", "tz", "UTC") == "global: tz = UTC\n"
    assert admin.does("attr", "set", "tz", "CET", "--appliance", "compute") == "appliance compute: tz = CET\n"
    assert admin.does("attr", "set", "tz", "EET", "--rack", "0", "--rack", "7") == "rack 0, rack 7: tz = EET\n"
    assert admin.does("attr", "set", "tz", 'it\'s ${x} "quoted"', "compute-0-[0-1]").startswith("compute-0-[0-1]: tz = ")
    seen = {row["node"]: (row["value"], row["from"]) for row in admin.lists("attr", "list", "compute")}
    assert seen == {
        "compute-0-0": ('it\'s ${x} "quoted"', "node compute-0-0"),
        "compute-0-1": ('it\'s ${x} "quoted"', "node compute-0-1"),
        "compute-0-2": ("EET", "rack 0"),
        "compute-1-0": ("CET", "appliance compute"),
    }
    assert [row["from"] for row in admin.lists("attr", "list")] == [
        "global", "appliance compute", "rack 0", "rack 7", "node compute-0-0", "node compute-0-1",
    ]  # fmt: skip
    admin.does("attr", "remove", "tz", "--node", "compute-0-0")
    assert "not set there" in admin.fails("attr", "remove", "tz", "compute-0-0")
    assert len(admin.rows(AttributeRow)) == 5


def test_bootflags_are_inherited_kernel_arguments(admin: Administrator) -> None:
    admin.does("bootflags", "set", "console=ttyS0,115200 quiet")
    admin.does("bootflags", "set", "compute-0-0", "nosmp")
    rows = admin.lists("bootflags", "list", "rack0")
    assert [(row["node"], row["flags"]) for row in rows] == [
        ("compute-0-0", "nosmp"), ("compute-0-1", "console=ttyS0,115200 quiet"), ("compute-0-2", "console=ttyS0,115200 quiet"),
    ]  # fmt: skip
    admin.does("bootflags", "remove", "compute-0-0")
    assert admin.lists("bootflags", "list") == [{"from": "global", "flags": "console=ttyS0,115200 quiet"}]
