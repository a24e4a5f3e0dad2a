"""Images of what others made: all that files have survives, whatever the form, and nothing is written elsewhere."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bootserver.errors import BootserverError, NotFound, Refused
from bootserver.images import program
from bootserver.images.difference import compare
from bootserver.images.importing import Form, import_tree, recognize
from bootserver.images.manifest import scan
from bootserver.images.store import ImageStore
from tests import archives, trees
from tests.archives import OciLayout, docker_archive, gnu_tar, layer

pytestmark = pytest.mark.skipif(bool(trees.what_is_missing()), reason=str(trees.what_is_missing()))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.rich_tree(tmp_path_factory.mktemp("original") / "tree")


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "state")


def take(store: ImageStore, path: Path, tag: str | None = None) -> Path:
    """Import it. :returns: the image's tree."""
    with store.draft("imported") as draft:
        draft.publish(source=import_tree(draft, path, tag=tag))
    return store.tree("imported")


def _oci(tree: Path, folder: Path, pack: Callable[[bytes], bytes] | None = None) -> OciLayout:
    layout = OciLayout(folder / "oci")
    layout.add([gnu_tar(tree, folder / "layer.tar").read_bytes()], pack=pack)
    return layout


FORMS: dict[str, tuple[Form, Callable[[Path, Path], Path]]] = {
    "folder": (Form.FOLDER, lambda tree, folder: tree),
    "tar": (Form.TAR, lambda tree, folder: gnu_tar(tree, folder / "x.tar")),
    "tar.gz": (Form.TAR, lambda tree, folder: gnu_tar(tree, folder / "x.tar.gz", "--gzip")),
    "tar.bz2": (Form.TAR, lambda tree, folder: gnu_tar(tree, folder / "x.tar.bz2", "--bzip2")),
    "tar.xz": (Form.TAR, lambda tree, folder: gnu_tar(tree, folder / "x.tar.xz", "--xz")),
    "tar.zst": (Form.TAR, lambda tree, folder: gnu_tar(tree, folder / "x.tar.zst", "--zstd")),
    "a name that says nothing": (Form.TAR, lambda tree, folder: gnu_tar(tree, folder / "golden", "--zstd")),
    "oci folder": (Form.CONTAINER_FOLDER, lambda tree, folder: _oci(tree, folder).folder),
    "oci folder, gzip": (Form.CONTAINER_FOLDER, lambda tree, folder: _oci(tree, folder, archives.gzipped).folder),
    "oci folder, zstd": (Form.CONTAINER_FOLDER, lambda tree, folder: _oci(tree, folder, archives.zstd).folder),
    "oci tar": (Form.CONTAINER_TAR, lambda tree, folder: _oci(tree, folder).archive(folder / "x.oci")),
    "docker save": (
        Form.CONTAINER_TAR,
        lambda tree, folder: docker_archive(
            folder / "x.docker", [("golden:12", [gnu_tar(tree, folder / "layer.tar").read_bytes()])]
        ),
    ),
    "squashfs": (Form.SQUASHFS, lambda tree, folder: archives.squashfs(tree, folder / "x.squashfs")),
}


@pytest.mark.parametrize(("form", "pack"), FORMS.values(), ids=FORMS.keys())
def test_all_that_files_have_survives(
    original: Path, tmp_path: Path, store: ImageStore, form: Form, pack: Callable[[Path, Path], Path]
) -> None:
    packed = pack(original, tmp_path)
    assert recognize(packed).form is form
    tree = take(store, packed)
    lost = compare(scan(original), scan(tree))
    if form is Form.SQUASHFS:  # its format has no place for ACLs, and for nothing else
        assert {each.path for each in lost} == trees.WITH_ACL
        assert {each.what for each in lost} == {("attributes",)}
    else:
        assert lost == []
    holes = (tree / "srv/holes").stat()
    assert holes.st_size == trees.HOLE + 3
    assert holes.st_blocks * 512 < trees.HOLE / 4, "a sparse file became a full one"
    assert (tree / "srv/one").stat().st_ino == (tree / "usr/lib/three").stat().st_ino


def test_a_clone_is_the_same_again(original: Path, store: ImageStore) -> None:
    take(store, original)
    description = store.clone("imported", "copy")
    assert store.manifest("copy").encode() == store.manifest("imported").encode()
    assert (description.parent, description.checksum) == ("imported", store.describe("imported").checksum)
    assert (store.tree("copy") / "srv/holes").stat().st_blocks * 512 < trees.HOLE / 4


def test_sockets_of_a_folder_come_along(tmp_path: Path, store: ImageStore) -> None:
    tree = trees.plain_tree(tmp_path / "tree")
    trees.bind_socket(tree / "usr/lib/socket")
    assert compare(scan(tree), scan(take(store, tree))) == []


# -- what is refused --------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file or folder"):
        recognize(tmp_path / "nothing")


@pytest.mark.parametrize(
    "content", [b"", b"MZ\x90\0", b"\x1f\x8b\x08garbage", b"\x28\xb5\x2f\xfdgarbage", b"BZhgarbage", b"x" * 5000]
)
def test_nonsense_is_refused_with_what_was_looked_for(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(content)
    with pytest.raises(Refused, match="looked for a folder, a tar"):
        recognize(path)


def test_a_packed_file_that_is_no_tar_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.zst"
    path.write_bytes(archives.zstd(b"hello " * 1000))
    with pytest.raises(Refused, match="what is packed in it is no tar"):
        recognize(path)


def test_a_tar_that_is_cut_off_makes_no_image(original: Path, tmp_path: Path, store: ImageStore) -> None:
    whole = gnu_tar(original, tmp_path / "x.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Refused, match=r"cut\.tar is cut off"):
        take(store, tmp_path / "cut.tar")
    packed = archives.zstd(archives.joined(archives.ROOT, layer(("usr/random", os.urandom(1 << 20)))))
    (tmp_path / "cut.tar.zst").write_bytes(packed[:-1000])
    with pytest.raises(BootserverError, match=r"unpacking cut\.tar\.zst failed: tar: Unexpected EOF"):
        take(store, tmp_path / "cut.tar.zst")
    assert store.names() == []
    assert list(store.folder.iterdir()) == []


def test_a_tree_that_is_no_root_is_refused_with_what_there_is(tmp_path: Path, store: ImageStore) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(layer(("rootfs/", None), ("rootfs/etc", None)))
    with pytest.raises(Refused, match=r"looked for etc and usr at its top, and there is rootfs"):
        take(store, path)


def test_the_state_directory_can_not_be_imported_into_itself(store: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    with pytest.raises(Refused, match="holds the images themselves"):
        take(store, tmp_path)


def test_a_tag_is_for_containers(tmp_path: Path, store: ImageStore) -> None:
    with pytest.raises(Refused, match="only a container's image has tags"):
        take(store, trees.plain_tree(tmp_path / "tree"), tag="12")


# -- what is hostile --------------------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the state directory that nothing may touch."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "victim").write_text("whole")
    (folder / "full").mkdir()
    (folder / "full/file").write_text("there")
    return folder


def up(outside: Path) -> str:
    """The way to it from anywhere."""
    return "../" * 30 + str(outside).lstrip("/")


HOSTILE_TARS: dict[str, Callable[[Path], bytes]] = {
    "absolute name": lambda outside: layer((f"{outside}/new", "x"), (f"{outside}/victim", "x")),
    "dots": lambda outside: layer((f"{up(outside)}/new", "x"), (f"{up(outside)}/victim", "x")),
    "through a link": lambda outside: layer(("way", ("->", str(outside))), ("way/new", "x"), ("way/victim", "x")),
    "through a link of dots": lambda outside: layer(("way", ("->", up(outside))), ("way/new", "x"), ("way/victim", "x")),
    "through two links": lambda outside: layer(
        ("a", ("->", "b")), ("b", ("->", str(outside))), ("a/new", "x"), ("b/victim", "x")
    ),
    "through a hard link": lambda outside: layer(("mine", ("=>", f"{outside}/victim")), ("mine", "x")),
    "a hard link to a link": lambda outside: layer(
        ("way", ("->", f"{outside}/victim")), ("mine", ("=>", "way")), ("mine", "x"), ("way", "x")
    ),
    "a link that becomes a folder": lambda outside: layer(("way", ("->", str(outside))), ("way", None), ("way/new", "x")),
}


@pytest.mark.parametrize("make", HOSTILE_TARS.values(), ids=HOSTILE_TARS.keys())
@pytest.mark.parametrize("form", ["tar", "oci", "docker"])
def test_a_hostile_archive_writes_nothing_outside(
    tmp_path: Path, store: ImageStore, outside: Path, form: str, make: Callable[[Path], bytes]
) -> None:
    before = scan(outside).encode()
    content = make(outside)
    if form == "tar":
        path = tmp_path / "x.tar"
        path.write_bytes(archives.joined(archives.ROOT, content))
    elif form == "oci":
        layout = OciLayout(tmp_path / "oci")
        layout.add([archives.ROOT, content])
        path = layout.folder
    else:
        path = docker_archive(tmp_path / "x.tar", [("x", [archives.ROOT, content])])
    try:
        take(store, path)
    except BootserverError:
        assert store.names() == []  # refused is as good
    assert scan(outside).encode() == before


HOSTILE_LAYERS: dict[str, Callable[[Path], list[bytes]]] = {
    "a link below, a file above": lambda outside: [
        layer(("way", ("->", str(outside)))), layer(("way/new", "x"), ("way/victim", "x"))
    ],
    "a link of dots below": lambda outside: [layer(("way", ("->", up(outside)))), layer(("way/new", "x"), ("way/victim", "x"))],
    "a whiteout through a link": lambda outside: [
        layer(("way", ("->", str(outside)))), layer(("way/.wh.victim", ""), ("way/.wh.full", ""))
    ],
    "opaque through a link": lambda outside: [layer(("way", ("->", str(outside)))), layer(("way/.wh..wh..opq", ""))],
    "a whiteout of dots": lambda outside: [layer((f"{up(outside)}/.wh.victim", ""), ("etc/.wh...", ""), (".wh...", ""))],
    "a hard link to below through a link": lambda outside: [
        layer(("way", ("->", str(outside)))), layer(("mine", ("=>", "way/victim")), ("mine", "x"))
    ],
    "a folder over a link": lambda outside: [layer(("way", ("->", str(outside)))), layer(("way", None), ("way/new", "x"))],
}  # fmt: skip


@pytest.mark.parametrize("make", HOSTILE_LAYERS.values(), ids=HOSTILE_LAYERS.keys())
def test_hostile_layers_write_and_remove_nothing_outside(
    tmp_path: Path, store: ImageStore, outside: Path, make: Callable[[Path], list[bytes]]
) -> None:
    before = scan(outside).encode()
    layout = OciLayout(tmp_path / "oci")
    layout.add([archives.ROOT, *make(outside)])
    try:
        take(store, layout.folder)
    except BootserverError:
        assert store.names() == []
    assert scan(outside).encode() == before


def test_whatever_unpacks_can_write_into_its_folder_only(tmp_path: Path, outside: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    program.run(program.writing_only(mine, ["touch", str(mine / "new")]), what="touching")
    assert (mine / "new").is_file()
    with pytest.raises(program.ProgramFailed, match="Read-only file system"):
        program.run(program.writing_only(mine, ["touch", str(outside / "new")]), what="touching")
    with pytest.raises(program.ProgramFailed, match="Read-only file system"):
        program.run(program.writing_only(mine, ["rm", str(outside / "victim")]), what="removing")


def test_a_folder_with_links_out_of_it_is_copied_as_it_is(tmp_path: Path, store: ImageStore, outside: Path) -> None:
    tree = trees.plain_tree(tmp_path / "tree")
    (tree / "etc/way").symlink_to(outside)
    (tree / "etc/hostname").symlink_to(outside / "victim")
    (tree / "var/log/syslog").symlink_to(outside / "victim")
    before = scan(outside).encode()
    copied = take(store, tree)
    assert os.readlink(copied / "etc/way") == str(outside)
    assert scan(outside).encode() == before


def test_nothing_stays_mounted(original: Path, tmp_path: Path, store: ImageStore) -> None:
    take(store, gnu_tar(original, tmp_path / "x.tar"))
    mounts = subprocess.run(["cat", "/proc/self/mounts"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in mounts
