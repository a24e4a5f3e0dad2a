"""``bootserver dump`` and ``restore``: a cluster as text, there and back; and the last good copy of a damaged database."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootserver.cluster.change import open_change
from bootserver.cluster.dump import _Line, _word, read
from bootserver.cluster.installs import make_node_key
from bootserver.db.backup import backup
from bootserver.db.connection import SqliteDatabase
from bootserver.db.rows import InstallRow, InterfaceRow, NetworkRow, SecretRow
from bootserver.errors import UsageError
from tests.administrator import Administrator


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Administrator(tmp_path_factory.mktemp("template")).folder


@pytest.fixture
def admin(tmp_path: Path, template: Path) -> Administrator:
    (tmp_path / "here").mkdir()
    return Administrator(tmp_path / "here", template)


@pytest.fixture
def other(tmp_path: Path, template: Path) -> Administrator:
    """Another frontend, whose cluster is empty."""
    (tmp_path / "there").mkdir()
    return Administrator(tmp_path / "there", template)


def furnish(admin: Administrator) -> None:
    """Some of everything."""
    admin.has_image()
    admin.has_distribution("debian-12")
    admin.has_file("live/vmlinuz")
    admin.does("network", "add", "storage", "10.2.0.0/24", "--frontend", "10.2.0.1", "--device", "eth2",
               "--gateway", "10.2.0.254", "--nameserver", "10.2.0.1", "--nameserver", "10.2.0.2")  # fmt: skip
    admin.does("appliance", "add", "gpu", "--title", 'GPU "Compute" ${x}')
    admin.does("pxe", "action", "add", "my live", "--kernel", "live/vmlinuz", "--args", "root=/dev/ram quiet")
    admin.does("node", "add", "compute-0-10", "--mac", "52:54:00:00:00:10")
    admin.does("node", "add", "compute-0-2", "--mac", "52:54:00:00:00:02", "--comment", 'it\'s \\ "quoted", größer = #1')
    admin.does("node", "add", "gpu-1-0", "--mac", "52:54:00:00:00:03", "--cpus", "64")
    admin.does("node", "set", "gpu-1-0", "--add-interface", "ib0", "--network", "storage")
    admin.does("pxe", "action", "add", "own", "--localboot", "--node", "gpu-1-0")
    admin.does("pxe", "set", "compute-0-2", "my live")
    admin.does("attr", "set", "image", "golden")
    admin.does("attr", "set", "tz", "Europe/Berlin", "--rack", "1")
    admin.does("attr", "set", "tz", "UTC", "--appliance", "gpu")
    admin.does("attr", "set", "motd", "hello = world # ${x}", "gpu-1-0")


def test_a_dump_restored_into_an_empty_cluster_gives_the_same_dump(admin: Administrator, other: Administrator) -> None:
    furnish(admin)
    text = admin.does("dump")
    file = admin.folder / "cluster.dump"
    admin.does("dump", str(file))
    assert file.read_text() == text
    assert other.does("restore", str(file)) == f"Restored 3 nodes from {file}\n"
    assert other.does("dump") == text


def test_nodes_are_in_natural_order_with_all_that_is_theirs(admin: Administrator) -> None:
    furnish(admin)
    lines = admin.does("dump").splitlines()
    ours = [" ".join(line.split()[:2]) for line in lines if line.startswith(("node", "interface"))]
    assert ours == ["node compute-0-2", "interface compute-0-2", "node compute-0-10", "interface compute-0-10",
                    "node gpu-1-0", "interface gpu-1-0", "interface gpu-1-0"]  # fmt: skip
    assert 'attribute node gpu-1-0 motd value="hello = world # ${x}"' in lines
    assert "action own node=gpu-1-0 local=yes" in lines


def test_no_secret_and_no_armed_install_is_in_a_dump(admin: Administrator, other: Administrator) -> None:
    furnish(admin)
    admin.does("pxe", "set", "gpu-1-0", "install")
    with open_change(admin.databases.cluster, "test", "key") as change:
        key = make_node_key(change, admin.node("gpu-1-0"))
    text = admin.does("dump")
    assert key.reveal() not in text
    assert all(row.value not in text for row in admin.rows(SecretRow))
    assert "install\n" not in text
    (other.folder / "d").write_text(text.replace("node gpu-1-0 appliance=gpu", "node gpu-1-0 action=install appliance=gpu"))
    result = other.run("restore", str(other.folder / "d"))
    assert result.exit_code == 0
    assert "they boot their disks instead" in result.stderr
    assert other.node("gpu-1-0").action is None
    assert other.rows(InstallRow) == []


def test_a_cluster_with_nodes_is_not_overwritten_by_accident(admin: Administrator) -> None:
    furnish(admin)
    file = admin.folder / "d"
    admin.does("dump", str(file))
    admin.does("node", "add", "compute-5-5")
    assert "--merge" in admin.fails("restore", str(file))
    assert "--yes" in admin.fails("restore", str(file), "--replace")
    admin.does("restore", str(file), "--merge")
    assert admin.node("compute-5-5")
    printed = admin.does("restore", str(file), "--replace", "--dry-run")
    assert "- node" in printed and "name=compute-5-5" in printed
    assert admin.node("compute-5-5")
    admin.does("restore", str(file), "--replace", "--yes")
    assert admin.does("dump") == file.read_text()


def test_what_is_as_the_dump_says_is_left_alone_with_its_key_and_its_install(admin: Administrator) -> None:
    furnish(admin)
    admin.does("pxe", "set", "gpu-1-0", "install")
    with open_change(admin.databases.cluster, "test", "key") as change:
        make_node_key(change, admin.node("gpu-1-0"))
    secrets, before = admin.rows(SecretRow), admin.changes()
    (admin.folder / "d").write_text(admin.does("dump"))
    assert admin.does("restore", str(admin.folder / "d"), "--replace", "--yes").startswith("All is as ")
    assert (admin.rows(SecretRow), admin.changes()) == (secrets, before)
    assert admin.node("gpu-1-0").action == "install"


def test_addresses_that_changed_places_are_restored(admin: Administrator) -> None:
    furnish(admin)
    text = admin.does("dump")
    swapped = text.replace("mac=52:54:00:00:00:10", "mac=X").replace("mac=52:54:00:00:00:02", "mac=52:54:00:00:00:10")
    swapped = swapped.replace("mac=X", "mac=52:54:00:00:00:02")
    (admin.folder / "d").write_text(swapped)
    admin.does("restore", str(admin.folder / "d"), "--merge")
    assert admin.does("dump") == swapped


def test_networks_in_another_order_and_of_another_size_are_restored(admin: Administrator) -> None:
    furnish(admin)
    lines = admin.does("dump").splitlines(keepends=True)
    first, second = (index for index, line in enumerate(lines) if line.startswith("network "))
    lines[first], lines[second] = lines[second].replace("10.2.0.0/24", "10.2.0.0/16"), lines[first]
    (admin.folder / "d").write_text("".join(lines))
    assert "--replace" in admin.fails("restore", str(admin.folder / "d"), "--merge", status=2)
    admin.does("restore", str(admin.folder / "d"), "--replace", "--yes")
    assert [row.name for row in admin.rows(NetworkRow)] == ["storage", "private"]
    assert len(admin.rows(InterfaceRow)) == 4
    assert admin.does("dump") == "".join(lines)


def test_a_restore_can_be_undone(admin: Administrator, other: Administrator) -> None:
    furnish(admin)
    before = admin.does("dump")
    (admin.folder / "d").write_text(other.does("dump").replace("subnet=10.1.0.0/16", "subnet=10.0.0.0/8"))
    admin.does("restore", str(admin.folder / "d"), "--replace", "--yes")
    assert admin.lists("node", "list") == []
    admin.does("undo", str(admin.lists("log")[-1]["change"]))
    assert admin.does("dump") == before


NODE = "node a-0-0 appliance=compute rack=0 rank=0 cpus=1 created=2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense x", "'nonsense' is none of network,"),
        ("node a-0-0 appliance=compute", "created= is missing"),
        (NODE + " colour=red", "colour= is not known here"),
        (NODE + " rack=1", "rack= is there twice"),
        (NODE.replace("a-0-0", '"a\\nb"'), "is no name"),
        (NODE.replace("a-0-0", "${x}"), "no word at column"),
        (NODE.replace("rack=0", "rack=-1"), "rack= is a number"),
        (NODE.replace("rack=0", "rack=٣"), "no word at column"),
        (NODE.replace("appliance=compute", "appliance=none"), "no appliance 'none'"),
        (NODE + " action=nope", "no boot action 'nope'"),
        (NODE + ' comment="x', "a string that does not end"),
        (NODE + ' comment="x"y', "a blank is missing"),
        (NODE + ' comment="x\\ny"', "one line of printable text"),
        (NODE + "\n" + NODE, "a-0-0 is there twice"),
        (NODE + "\ninterface a-0-0 eth0 network=private ip=10.99.0.1", "10.99.0.1 is not in network private"),
        (NODE + "\ninterface a-0-0 eth0 network=private mac=52:54", "is no MAC address"),
        (NODE + "\ninterface a-0-0 eth0 network=private ip=10.1.1.1", "Duplicate IP '10.1.1.1'"),
        (NODE + "\ninterface a-0-0 eth0 network=other ip=10.1.0.1", "no network 'other'"),
        ("interface b-0-0 eth0 network=private", "node b-0-0 is not above this line"),
        ("attribute planet x y value=z", "expected: attribute global|appliance|rack|node"),
        ("attribute node nobody k value=v", "there is no node 'nobody'"),
        ("attribute rack 007 k value=v", "a rack is a number"),
        ("attribute global bootflags value=a;b", "a blank is missing"),
        ('attribute global bootflags value="a;b"', "can't be written for every boot loader"),
        ("network n subnet=10.1.2.0/24 frontend=10.1.2.1 domain=local", "overlaps network private"),
        ("network n subnet=10.1.2.1/24 frontend=10.1.2.1 domain=local", "has host bits set"),
        ('action x kernel=k args="a=${y}"', "can't be written for every boot loader"),
        ("action x kernel=../k", "is no path below tftpboot"),
        ("action x", "needs one of"),
        ("action x local=maybe", "local= is yes or no"),
    ],
)  # fmt: skip
def test_what_can_not_be_restored_is_told_with_file_and_line_and_changes_nothing(
    admin: Administrator, line: str, said: str
) -> None:
    file = admin.folder / "d"
    file.write_text(f"# by hand\n\ndump 1\n{line}\n")
    before = admin.does("dump")
    text = admin.fails("restore", str(file), "--merge", status=2)
    assert text.startswith(f"{file}:{4 + line.count(chr(10))}: "), text
    assert said in text
    assert admin.does("dump") == before


@pytest.mark.parametrize(
    "content", [b"", b"# nothing\n", b"rocks add host x\n", b"dump 2\n", b"\xff\xfe\x00", b"SQLite format 3\x00"]
)
def test_a_file_that_is_no_dump_is_refused(admin: Administrator, content: bytes) -> None:
    (admin.folder / "d").write_bytes(content)
    assert str(admin.folder / "d") in admin.fails("restore", str(admin.folder / "d"), status=2)
    assert "there is no file" in admin.fails("restore", str(admin.folder / "none"))


@given(st.text())
def test_any_word_is_read_as_it_was_written(text: str) -> None:
    line = _Line(f"kind x={_word(text)}")
    assert line.one("x") == text


@settings(max_examples=300)
@given(st.text(alphabet='dump 1\nnode="\\\x00é#=attribute', max_size=60))
def test_any_text_is_a_dump_or_a_usage_error(text: str) -> None:
    try:
        read("dump 1\n" + text, "file")
    except UsageError as error:
        assert str(error).startswith("file:")


# -- the last good copy ------------------------------------------------------------------------------------------


def database(admin: Administrator) -> SqliteDatabase:
    found = admin.databases.cluster
    assert isinstance(found, SqliteDatabase)
    return found


def test_a_damaged_database_is_replaced_by_its_last_good_copy_and_kept_aside(admin: Administrator) -> None:
    admin.does("node", "add", "compute-0-0")
    backup(database(admin))
    path = database(admin).path
    path.write_bytes(b"not a database" * 1000)
    assert "bootserver restore --backup" in admin.fails("node", "list")
    assert "Restored the copy of" in admin.does("restore", "--backup")
    assert [row["node"] for row in admin.lists("node", "list")] == ["compute-0-0"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (kept,) = path.parent.glob("cluster.sqlite.damaged-*[0-9]")
    assert kept.read_bytes().startswith(b"not a database")
    admin.does("node", "add", "compute-0-1")


def test_a_sound_database_is_replaced_only_by_those_who_insist(admin: Administrator) -> None:
    backup(database(admin))
    admin.does("node", "add", "compute-0-0")
    assert "is not damaged" in admin.fails("restore", "--backup")
    assert len(admin.lists("node", "list")) == 1
    admin.does("restore", "--backup", "--yes")
    assert admin.lists("node", "list") == []


def test_a_lost_database_comes_back_and_a_damaged_copy_is_not_used(admin: Administrator) -> None:
    assert "there is no copy" in admin.fails("restore", "--backup")
    backup(database(admin))
    path = database(admin).path
    path.unlink()
    admin.does("restore", "--backup")
    assert admin.lists("node", "list") == []
    path.with_name("backup.sqlite").write_bytes(b"x" * 5000)
    assert "is damaged, too" in admin.fails("restore", "--backup", "--yes")
