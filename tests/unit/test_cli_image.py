"""``bootserver image``: golden images as an administrator handles them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from bootserver.cli.progress import ProgressLine
from bootserver.cluster.change import open_change
from bootserver.cluster.selection import fold
from bootserver.db.rows import ImageRow, InstallRow, InstallState
from bootserver.images.store import ImageStore
from tests import archives, trees
from tests.administrator import Administrator

pytestmark = pytest.mark.skipif(bool(trees.what_is_missing()), reason=str(trees.what_is_missing()))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Administrator(tmp_path_factory.mktemp("template")).folder


@pytest.fixture
def admin(tmp_path: Path, template: Path) -> Administrator:
    """A frontend with four nodes, and a tree to import."""
    administrator = Administrator(tmp_path, template)
    for index, name in enumerate(("compute-0-0", "compute-0-1", "compute-1-0", "login-0-0")):
        administrator.does("node", "add", name, "--mac", f"52:54:00:00:00:0{index}")
    trees.plain_tree(tmp_path / "source")
    (tmp_path / "source/etc/motd").write_text("hello\n")
    return administrator


@pytest.fixture
def golden(admin: Administrator) -> Administrator:
    admin.does("image", "import", "golden", str(admin.folder / "source"))
    return admin


def store(admin: Administrator) -> ImageStore:
    return ImageStore(admin.folder)


def test_an_import_says_what_came_of_it_and_what_it_lacks(admin: Administrator) -> None:
    said = admin.does("image", "import", "golden", str(admin.folder / "source")).splitlines()
    assert said[0].startswith("Imported golden: Debian GNU/Linux 12 (bookworm), ")
    assert said[0].endswith(" entries")
    assert said[1] == "Image golden can't boot:"
    assert "  it has no kernel: there is no vmlinuz below /boot" in said
    assert said[-1] == "`bootserver image check golden --mend` mends that"
    assert [row.name for row in admin.rows(ImageRow)] == ["golden"]


def test_an_imported_image_can_be_set_and_installed_from(golden: Administrator) -> None:
    golden.has_file("installer/vmlinuz")
    golden.has_file("installer/initrd.img")
    golden.does("attr", "set", "image", "golden")
    assert golden.does("pxe", "set", "compute-0-0", "install") == "compute-0-0: install\n"


def test_a_list_shows_what_there_is_and_who_uses_it(golden: Administrator) -> None:
    golden.does("image", "clone", "golden", "golden-2")
    golden.does("attr", "set", "image", "golden", "--rack", "0")
    golden.does("attr", "set", "image", "golden-2", "compute-0-1")
    first, second = golden.lists("image", "list")
    assert list(first) == ["name", "distribution", "kernel", "size", "entries", "created", "parent", "nodes"]
    assert (first["name"], first["distribution"], first["kernel"], first["parent"], first["nodes"]) == (
        "golden", "debian-12", None, None, 2
    )  # fmt: skip
    assert (second["name"], second["parent"], second["nodes"], second["size"]) == ("golden-2", "golden", 1, first["size"])
    table = golden.does("image", "list").splitlines()
    assert table[0].split() == ["NAME", "DISTRIBUTION", "KERNEL", "SIZE", "ENTRIES", "CREATED", "PARENT", "NODES"]


def test_no_images_are_an_empty_list(admin: Administrator) -> None:
    assert admin.lists("image", "list") == []


def test_whatever_is_asked_cleans_up_after_commands_that_were_killed(golden: Administrator) -> None:
    (golden.folder / "images/.draft-big-1-abcd/tree/etc").mkdir(parents=True)
    assert [row["name"] for row in golden.lists("image", "list")] == ["golden"]
    assert os.listdir(golden.folder / "images") == ["golden"]


def test_an_image_is_shown_with_its_users(golden: Administrator) -> None:
    golden.does("attr", "set", "image", "golden", "--appliance", "compute")
    said = golden.does("image", "show", "golden")
    assert "set for:      appliance compute\n" in said
    assert f"nodes:        {fold(['compute-0-0', 'compute-0-1', 'compute-1-0'])}\n" in said
    assert "source:       imported from a folder: source\n" in said
    assert "Image golden can't boot:" in said


def test_what_fails_leaves_nothing(admin: Administrator, tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense"
    nonsense.write_bytes(b"MZ")
    assert "looked for a folder, a tar" in admin.fails("image", "import", "golden", str(nonsense))
    (tmp_path / "empty").mkdir()
    assert "holds no root file system" in admin.fails("image", "import", "golden", str(tmp_path / "empty"))
    assert "is no name of an image" in admin.fails("image", "import", "../x", str(admin.folder / "source"), status=2)
    assert admin.lists("image", "list") == []
    assert admin.rows(ImageRow) == []


def test_when_the_database_can_not_take_it_the_files_go(admin: Administrator, monkeypatch: pytest.MonkeyPatch) -> None:
    from bootserver.cluster import images
    from bootserver.errors import Refused

    def refuse(change: object, name: str) -> None:
        raise Refused("the database is full")

    monkeypatch.setattr(images, "add", refuse)
    assert admin.fails("image", "import", "golden", str(admin.folder / "source")) == "the database is full"
    assert os.listdir(admin.folder / "images") == []


def test_a_name_that_is_taken_is_refused(golden: Administrator) -> None:
    for words in (("import", "golden", str(golden.folder / "source")), ("clone", "golden", "golden"),
                  ("create", "golden", "--distribution", "debian-12")):  # fmt: skip
        assert golden.fails("image", *words).startswith("image golden exists already")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "for all nodes; `bootserver attr remove image`"),
        (("--appliance", "compute"), "for appliance compute; `bootserver attr remove image --appliance compute`"),
        (("--rack", "1"), "for rack 1; `bootserver attr remove image --rack 1`"),
        (("compute-0-1",), "for node compute-0-1; `bootserver attr remove image compute-0-1`"),
    ],
)
def test_an_image_that_is_used_stays_and_the_way_out_works(golden: Administrator, words: tuple[str, ...], said: str) -> None:
    golden.does("attr", "set", "image", "golden", *words)
    refusal = golden.fails("image", "remove", "golden", "--yes")
    assert said in refusal
    assert store(golden).names() == ["golden"]
    golden.does(*refusal.split("`")[1].split()[1:])
    assert golden.does("image", "remove", "golden", "--yes") == "Removed image golden\n"
    assert golden.rows(ImageRow) == []
    assert os.listdir(golden.folder / "images") == []


def test_an_image_that_is_being_installed_stays(golden: Administrator) -> None:
    """Whatever the attributes say by now."""
    with open_change(golden.databases.cluster, "test", "an install") as change:
        node = golden.node("compute-0-0")
        change.insert(InstallRow(0, node.id, InstallState.RUNNING, False, "n", "sync", None, "2025-01-01T00:00:00Z", "golden"))
    assert "is being installed on compute-0-0" in golden.fails("image", "remove", "golden", "--yes")
    assert store(golden).names() == ["golden"]


def test_removing_asks_and_a_dry_run_removes_nothing(golden: Administrator) -> None:
    assert "Say so with --yes" in golden.fails("image", "remove", "golden")
    assert "- image id=1 name=golden\n" in golden.does("image", "remove", "golden", "--dry-run")
    assert store(golden).names() == ["golden"]
    assert "no image 'x'" in golden.fails("image", "remove", "x", "--yes")


def test_an_image_that_somebody_works_in_stays(golden: Administrator) -> None:
    with store(golden).altering("golden"):
        assert "in use by another command" in golden.fails("image", "remove", "golden", "--yes")
    assert [row.name for row in golden.rows(ImageRow)] == ["golden"]


def test_what_two_images_differ_in(golden: Administrator) -> None:
    golden.does("image", "clone", "golden", "next")
    assert golden.lists("image", "diff", "golden", "next") == []
    tree = store(golden).tree("next")
    times = (tree / "etc/motd").stat()
    (tree / "etc/motd").write_text("HELLO\n")
    (tree / "etc/motd").chmod(0o600)
    os.utime(tree / "etc/motd", ns=(times.st_atime_ns, times.st_mtime_ns))
    (tree / "etc/new").write_text("x")
    golden.run("image", "check", "next")
    assert golden.lists("image", "diff", "golden", "next") == [
        {"change": "changed", "path": "/etc/motd", "what": ["content", "mode 0644 -> 0600"]},
        {"change": "added", "path": "/etc/new", "what": []},
    ]
    assert "changed  /etc/motd  content, mode 0644 -> 0600" in golden.does("image", "diff", "golden", "next")


def test_a_check_writes_down_what_was_altered_by_hand(golden: Administrator) -> None:
    before = store(golden).describe("golden")
    result = golden.run("image", "check", "golden")
    assert result.exit_code == 1
    assert "Image golden: all is as it was written down\n" in result.stdout
    assert result.stderr == "bootserver: image golden can't boot: it has no kernel\n"
    (store(golden).tree("golden") / "etc/motd").write_text("altered")
    assert "Image golden: 1 entries are not as they were\n" in golden.run("image", "check", "golden").stdout
    assert store(golden).describe("golden").checksum != before.checksum


def test_an_image_without_a_row_is_noted_and_registered_by_a_check(golden: Administrator) -> None:
    """As after an older database was restored."""
    with open_change(golden.databases.cluster, "test", "restored") as change:
        change.delete(golden.rows(ImageRow)[0])
    listed = golden.run("image", "list")
    assert "golden" in listed.stdout
    assert listed.stderr == "bootserver: image golden is not in the database: `bootserver image check golden` puts it there\n"
    assert "Image golden is in the database now\n" in golden.run("image", "check", "golden").stdout
    assert [row.name for row in golden.rows(ImageRow)] == ["golden"]
    with open_change(golden.databases.cluster, "test", "restored") as change:
        change.delete(golden.rows(ImageRow)[0])
    assert golden.does("image", "remove", "golden", "--yes") == "Removed image golden, which was not in the database\n"


def test_a_row_without_files_is_noted_and_can_be_made_again_or_removed(admin: Administrator) -> None:
    admin.has_image("golden")
    admin.has_image("other")
    listed = admin.run("image", "list")
    assert "image golden has no files: make it again, or `bootserver image remove golden`" in listed.stderr
    admin.does("image", "import", "golden", str(admin.folder / "source"))
    assert admin.does("image", "remove", "other", "--yes") == "Removed image other\n"
    assert [row["name"] for row in admin.lists("image", "list")] == ["golden"]


def test_a_container_s_archive_is_imported_by_its_tag(admin: Administrator, tmp_path: Path) -> None:
    images = [(f"golden:{tag}", [archives.joined(archives.ROOT, archives.layer(("etc/motd", tag)))]) for tag in ("11", "12")]
    path = archives.docker_archive(tmp_path / "x.tar", images)
    assert "say which with --tag" in admin.fails("image", "import", "golden", str(path))
    admin.does("image", "import", "golden", str(path), "--tag", "12")
    assert (store(admin).tree("golden") / "etc/motd").read_text() == "12"


def test_only_root_handles_images(admin: Administrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for words in (("list",), ("show", "x"), ("remove", "x", "--yes"), ("import", "x", str(admin.folder / "source"))):
        assert admin.fails("image", *words) == "images hold files of every owner: run it as root"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "x", "--distribution", "debian-99"), "no distribution 'debian-99'"),
        (("create", "x"), "Missing option '--distribution'"),
        (("create", "x", "--distribution", "debian-12", "--architecture", "vax"), "no architecture 'vax'"),
    ],
)
def test_a_wrong_call_is_said_at_once(admin: Administrator, words: tuple[str, ...], said: str) -> None:
    assert said in admin.fails("image", *words, status=2)


def test_a_shell_in_an_image_that_is_not_there_is_refused(admin: Administrator) -> None:
    assert "there is no image 'x'" in admin.fails("image", "shell", "x", "true")


# -- progress ---------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_done_within_a_second_shows_no_progress() -> None:
    stream, clock = io.StringIO(), Clock()
    with ProgressLine("image golden", stream=stream, clock=clock) as progress:
        progress("unpacking", 0.5)
        clock.now = 0.9
        progress("unpacking", 1.0)
    assert stream.getvalue() == ""


def test_progress_is_a_line_at_every_new_step_and_quarter() -> None:
    stream, clock = io.StringIO(), Clock()
    with ProgressLine("image golden", stream=stream, clock=clock) as progress:
        clock.now = 2.0
        for percent in (1, 20, 26, 30, 49, 51, 99, 100):
            progress("installing 60 packages", percent / 100)
        progress("cleaning up")
        progress("cleaning up")
    assert stream.getvalue().splitlines() == [
        "image golden: installing 60 packages 1%",
        "image golden: installing 60 packages 26%",
        "image golden: installing 60 packages 51%",
        "image golden: installing 60 packages 99%",
        "image golden: installing 60 packages 100%",
        "image golden: cleaning up",
    ]


def test_progress_on_a_terminal_is_one_line_that_is_gone_at_the_end() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream, clock = Terminal(), Clock()
    with ProgressLine("image golden", stream=stream, clock=clock) as progress:
        clock.now = 2.0
        progress("installing [60] packages", 0.26)
        progress("installing [60] packages", 0.52)
    assert "image golden: installing [60] packages" in stream.getvalue()
    assert "52%" in stream.getvalue()
    assert "\n\n" not in stream.getvalue()
