"""A tree written down: the same for the same tree, and another for whatever a copy could lose."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bootserver.images.difference import Difference, Kind, compare
from bootserver.images.manifest import HEADER, Entry, EntryType, Manifest, ManifestError, scan
from tests import trees

pytestmark = pytest.mark.skipif(bool(trees.what_is_missing()), reason=str(trees.what_is_missing()))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.rich_tree(tmp_path_factory.mktemp("original") / "tree")


@pytest.fixture
def tree(original: Path, tmp_path: Path) -> Path:
    """A copy that may be altered."""
    subprocess.run(["cp", "-a", original, tmp_path / "tree"], check=True)
    return tmp_path / "tree"


def entries(tree: Path) -> dict[bytes, Entry]:
    return {entry.path: entry for entry in scan(tree).entries}


def test_the_same_tree_gives_the_same_bytes_wherever_it_is(original: Path, tree: Path) -> None:
    assert scan(tree).encode() == scan(original).encode()


def test_a_manifest_is_read_back_as_it_was(original: Path) -> None:
    manifest = scan(original)
    assert Manifest.decode(manifest.encode(), Path("manifest")) == manifest
    assert manifest.encode().isascii()
    assert manifest.encode().count(b"\n") == len(manifest.entries) + 1  # a newline in a name is no new line


def test_each_entry_says_what_it_is(original: Path) -> None:
    found = entries(original)
    assert found[b"usr/bin/su"].mode == 0o4755
    assert (found[b"srv/secret"].uid, found[b"srv/secret"].gid) == (1234, 70_000)
    assert found[b"bin"].target == b"usr/bin"
    assert (found[b"srv/null"].type, found[b"srv/null"].device) == (EntryType.CHARACTER_DEVICE, "1:3")
    assert found[b"srv/pipe"].type is EntryType.PIPE
    assert {found[name].group for name in (b"srv/one", b"srv/two", b"usr/lib/three")} == {b"srv/one"}
    assert found[b"srv/no utf-8 \xff\xfe"].size == 5
    assert found[b"."].type is EntryType.FOLDER


def test_a_file_with_three_names_is_counted_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "c").write_bytes(b"y" * 10)
    assert scan(tmp_path).size == 110


def test_a_second_name_outside_of_the_tree_is_no_hard_link_of_it(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/a").write_bytes(b"x")
    os.link(tmp_path / "tree/a", tmp_path / "outside")
    assert entries(tmp_path / "tree")[b"a"].group is None


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("x")
    (tmp_path / "tree/link").symlink_to(tmp_path / "outside")
    assert list(entries(tmp_path / "tree")) == [b".", b"link"]


def _content(tree: Path) -> None:
    times = (tree / "etc/shadow").stat()
    (tree / "etc/shadow").write_bytes(b"toor:*:1:0:99999:7:::\n")  # as long as it was
    os.utime(tree / "etc/shadow", ns=(times.st_atime_ns, times.st_mtime_ns))


def _swap_link(tree: Path) -> None:
    times = (tree / "etc/absolute").lstat()
    (tree / "etc/absolute").unlink()
    (tree / "etc/absolute").symlink_to("/usr/bin")
    os.utime(tree / "etc/absolute", ns=(times.st_atime_ns, times.st_mtime_ns), follow_symlinks=False)


def _split(tree: Path) -> None:
    shutil.copy2(tree / "srv/two", tree / "srv/two.new")
    os.chown(tree / "srv/two.new", 7, 7)
    (tree / "srv/two.new").rename(tree / "srv/two")


CHANGES: dict[str, tuple[Callable[[Path], object], str, tuple[str, ...]]] = {
    "content": (_content, "/etc/shadow", ("content",)),
    "mode": (lambda tree: (tree / "usr/bin/su").chmod(0o755), "/usr/bin/su", ("mode 4755 -> 0755",)),
    "owner": (lambda tree: os.chown(tree / "srv/secret", 1, 70_000), "/srv/secret", ("owner 1234:70000 -> 1:70000",)),
    "owner of a link": (lambda tree: os.lchown(tree / "etc/nowhere", 0, 98), "/etc/nowhere", ("owner 99:98 -> 0:98",)),
    "capability": (
        lambda tree: os.removexattr(tree / "usr/bin/ping", "security.capability"), "/usr/bin/ping", ("attributes",)
    ),
    "attribute": (
        lambda tree: os.setxattr(tree / "srv/attribute", "user.note", b"\0\xff not text"), "/srv/attribute", ("attributes",)
    ),
    "acl": (
        lambda tree: subprocess.run(["setfacl", "-m", "u:1001:r,m::rw", tree / "srv/shared/acl"], check=True),
        "/srv/shared/acl",
        ("attributes",),
    ),
    "default acl": (
        lambda tree: subprocess.run(["setfacl", "-k", tree / "srv/shared"], check=True), "/srv/shared", ("attributes",)
    ),
    "target": (_swap_link, "/etc/absolute", ("target /usr/lib -> /usr/bin",)),
    "time": (lambda tree: os.utime(tree / "srv/attribute", (1, 1)), "/srv/attribute", ("time",)),
}  # fmt: skip


@pytest.mark.parametrize(("change", "path", "what"), CHANGES.values(), ids=CHANGES.keys())
def test_whatever_differs_is_named(
    original: Path, tree: Path, change: Callable[[Path], object], path: str, what: tuple[str, ...]
) -> None:
    change(tree)
    assert compare(scan(original), scan(tree)) == [Difference(Kind.CHANGED, path, what)]


def test_a_hard_link_that_became_a_copy_is_named(original: Path, tree: Path) -> None:
    _split(tree)
    assert compare(scan(original), scan(tree)) == [Difference(Kind.CHANGED, "/srv/two", ("hard links",))]


def test_what_was_added_and_removed_is_named_and_its_folder_is_not(original: Path, tree: Path) -> None:
    (tree / "etc/new").write_text("x")
    (tree / "srv/holes").unlink()
    (tree / "srv/pipe").unlink()
    (tree / "srv/pipe").mkdir()
    assert compare(scan(original), scan(tree)) == [
        Difference(Kind.ADDED, "/etc/new"),
        Difference(Kind.REMOVED, "/srv/holes"),
        Difference(Kind.CHANGED, "/srv/pipe", ("pipe -> folder",)),
    ]


@pytest.mark.parametrize(
    "text",
    [b"", b"no manifest\n", HEADER + b"a f\n", HEADER + b"a x 0644 0 0 0 0 - - - - -\n", HEADER + b"a f 9 0 0 0 0 - - - - -\n"],
)
def test_what_is_no_manifest_is_refused_with_its_place(text: bytes) -> None:
    with pytest.raises(ManifestError, match="manifest"):
        Manifest.decode(text, Path("/x/manifest"))


def test_a_tree_that_is_too_deep_is_refused_rather_than_crashed_on(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(ManifestError, match="folders deep"):
        scan(tmp_path)
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


def test_it_says_how_far_it_is(original: Path) -> None:
    said: list[float | None] = []
    scan(original, lambda _, fraction: said.append(fraction))
    assert said == sorted(said, key=lambda each: each or 0)
    assert said[-1] == 1.0
