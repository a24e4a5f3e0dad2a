"""Containers' images: which layers there are, that they are what they claim to be, and how they lie one over the other."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from bootserver.errors import Refused
from bootserver.images import layers
from bootserver.images.containers import image_in
from bootserver.images.importing import import_tree
from bootserver.images.store import ImageStore
from tests import archives, trees
from tests.archives import ROOT, OciLayout, docker_archive, layer

pytestmark = pytest.mark.skipif(bool(trees.what_is_missing()), reason=str(trees.what_is_missing()))


@pytest.fixture
def layout(tmp_path: Path) -> OciLayout:
    return OciLayout(tmp_path / "oci")


def take(tmp_path: Path, path: Path, tag: str | None = None) -> Path:
    store = ImageStore(tmp_path / "state")
    with store.draft("imported") as draft:
        draft.publish(source=import_tree(draft, path, tag=tag))
    return store.tree("imported")


def laid(tmp_path: Path, layout: OciLayout, *tars: bytes) -> Path:
    """The tree of a root and these layers over it."""
    layout.add([ROOT, *tars])
    return take(tmp_path, layout.folder)


# -- layers over layers -----------------------------------------------------------------------------------------------


def test_a_later_layer_s_file_is_the_one_that_stays(tmp_path: Path, layout: OciLayout) -> None:
    tree = laid(tmp_path, layout, layer(("etc/a", "old"), ("etc/b", "kept")), layer(("etc/a", "new")))
    assert ((tree / "etc/a").read_text(), (tree / "etc/b").read_text()) == ("new", "kept")


def test_a_whiteout_removes_a_file_and_a_folder_of_lower_layers(tmp_path: Path, layout: OciLayout) -> None:
    below = layer(("srv/file", "x"), ("srv/folder/a/b", "x"), ("srv/kept", "x"))
    tree = laid(tmp_path, layout, below, layer(("srv/.wh.file", ""), ("srv/.wh.folder", ""), (".wh.nothing", "")))
    assert sorted(os.listdir(tree / "srv")) == ["kept"]


def test_what_a_layer_removes_a_later_one_may_bring_back(tmp_path: Path, layout: OciLayout) -> None:
    tars = [layer(("srv/f", "one")), layer(("srv/.wh.f", "")), layer(("srv/f/now a folder", "two"))]
    tree = laid(tmp_path, layout, *tars)
    assert (tree / "srv/f/now a folder").read_text() == "two"


@pytest.mark.parametrize("first", [True, False])
def test_an_opaque_folder_hides_lower_layers_and_not_its_own(tmp_path: Path, layout: OciLayout, first: bool) -> None:
    mark, own = ("srv/d/.wh..wh..opq", ""), ("srv/d/new", "x")
    above = layer(("srv/d", None), *([mark, own] if first else [own, mark]))
    tree = laid(tmp_path, layout, layer(("srv/d/old", "x"), ("srv/d/below/old", "x"), ("srv/beside", "x")), above)
    assert (sorted(os.listdir(tree / "srv/d")), sorted(os.listdir(tree / "srv"))) == (["new"], ["beside", "d"])


def test_no_whiteout_is_left_as_a_file(tmp_path: Path, layout: OciLayout) -> None:
    tree = laid(tmp_path, layout, layer(("new/.wh..wh..opq", ""), ("new/.wh.x", ""), ("new/file", "x"), (".wh..wh.plnk/1.2", "")))
    assert not [name for _, folders, files in os.walk(tree) for name in (*folders, *files) if name.startswith(".wh.")]


@pytest.mark.parametrize(
    ("below", "above"),
    [
        (("srv/x/inside", "x"), ("srv/x", "a file")),
        (("srv/x/inside", "x"), ("srv/x", ("->", "../etc"))),
        (("srv/x", "a file"), ("srv/x/inside", "x")),
        (("srv/x", ("->", "nowhere")), ("srv/x", "a file")),
    ],
)
def test_a_file_takes_a_folder_s_place_and_the_other_way_round(
    tmp_path: Path, layout: OciLayout, below: tuple[str, object], above: tuple[str, object]
) -> None:
    tree = laid(tmp_path, layout, layer(below), layer(above))
    path = tree / above[0]
    if isinstance(above[1], tuple):
        assert os.readlink(path) == above[1][1]
    else:
        assert not path.is_symlink()
        assert path.read_text() == above[1]


def test_a_file_below_a_link_goes_where_the_tree_s_own_link_leads(tmp_path: Path, layout: OciLayout) -> None:
    below = layer(("srv/real/old", "x"), ("var/way", ("->", "/srv/real")))
    tree = laid(tmp_path, layout, below, layer(("var/way/new", "x")))
    assert (tree / "var/way").is_symlink()
    assert sorted(os.listdir(tree / "srv/real")) == ["new", "old"]


def test_a_hard_link_to_a_file_of_a_lower_layer_is_one(tmp_path: Path, layout: OciLayout) -> None:
    tree = laid(tmp_path, layout, layer(("srv/a", "one file")), layer(("srv/b", ("=>", "srv/a"))))
    assert (tree / "srv/a").stat().st_ino == (tree / "srv/b").stat().st_ino
    assert (tree / "srv/b").read_text() == "one file"


def test_a_folder_that_is_named_again_gets_the_later_owner_mode_and_attributes(tmp_path: Path, layout: OciLayout) -> None:
    for name, uid, mode in (("one", 1, 0o700), ("two", 2, 0o1777)):
        tree = tmp_path / name
        (tree / "srv/d").mkdir(parents=True)
        os.chown(tree / "srv/d", uid, uid)
        (tree / "srv/d").chmod(mode)
        os.setxattr(tree / "srv/d", f"user.{name}", b"x")
        (tree / f"srv/d/{name}").write_text(name)
        os.utime(tree / "srv/d", (uid, uid))
    tars = [archives.gnu_tar(tmp_path / name, tmp_path / f"{name}.tar").read_bytes() for name in ("one", "two")]
    folder = laid(tmp_path, layout, *tars) / "srv/d"
    status = folder.stat()
    assert (status.st_uid, status.st_mode & 0o7777, int(status.st_mtime)) == (2, 0o1777, 2)
    assert os.listxattr(folder) == ["user.two"]
    assert sorted(os.listdir(folder)) == ["one", "two"]


def test_a_folder_on_the_way_to_a_file_stays_as_it_was(tmp_path: Path, layout: OciLayout) -> None:
    (tmp_path / "one/srv/d").mkdir(parents=True)
    (tmp_path / "one/srv/d").chmod(0o700)
    below = archives.gnu_tar(tmp_path / "one", tmp_path / "one.tar").read_bytes()
    tree = laid(tmp_path, layout, below, layer(("srv/d/new", "x")))
    assert (tree / "srv/d").stat().st_mode & 0o7777 == 0o700


# -- which image ------------------------------------------------------------------------------------------------------


def test_of_several_architectures_ours_is_taken(tmp_path: Path, layout: OciLayout) -> None:
    ours = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    for name in ("other", ours, "unknown"):
        layout.add([archives.joined(ROOT, layer(("etc/which", name)))], architecture=name, os="linux")
    layout.nest()
    assert (take(tmp_path, layout.folder) / "etc/which").read_text() == ours


def test_of_several_images_the_tag_says_which(tmp_path: Path, layout: OciLayout) -> None:
    for tag in ("site/golden:11", "site/golden:12"):
        layout.add([archives.joined(ROOT, layer(("etc/which", tag)))], tag=tag)
    with pytest.raises(Refused, match=r"say which with --tag; there are site/golden:11, site/golden:12"):
        image_in(layout.folder, None)
    with pytest.raises(Refused, match="no tag '13'; it has site/golden:11, site/golden:12"):
        image_in(layout.folder, "13")
    assert (take(tmp_path, layout.folder, "12") / "etc/which").read_text() == "site/golden:12"


def test_a_docker_archive_s_tag_says_which_and_a_layer_may_be_there_once(tmp_path: Path) -> None:
    images = [(f"golden:{tag}", [ROOT, layer(("etc/which", tag)), ROOT]) for tag in ("11", "12")]
    path = docker_archive(tmp_path / "x.tar", images)
    with pytest.raises(Refused, match=r"there are 2 images .* golden:11, golden:12"):
        take(tmp_path, path)
    assert (take(tmp_path, path, "golden:12") / "etc/which").read_text() == "12"


# -- what is damaged --------------------------------------------------------------------------------------------------


def _blob(layout: OciLayout, descriptor: dict[str, object]) -> Path:
    return layout.folder / "blobs" / str(descriptor["digest"]).replace(":", "/")


def _manifest(layout: OciLayout) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = json.loads(_blob(layout, layout.manifests[0]).read_text())
    return found


def _other_layer(layout: OciLayout) -> None:
    _blob(layout, _manifest(layout)["layers"][0]).write_bytes(layer(("etc/evil", "x")))


def _other_manifest(layout: OciLayout) -> None:
    path = _blob(layout, layout.manifests[0])
    path.write_text(path.read_text() + " ")


def _a_link_for_a_layer(layout: OciLayout) -> None:
    """To a file of the frontend, whose content is what the digest says."""
    path = _blob(layout, _manifest(layout)["layers"][0])
    elsewhere = layout.folder.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def _write(name: str, text: str) -> Callable[[OciLayout], object]:
    return lambda layout: (layout.folder / name).write_text(text)


DAMAGES: dict[str, tuple[Callable[[OciLayout], object], str]] = {
    "another layer": (_other_layer, "layer sha256:.* has another digest"),
    "another manifest": (_other_manifest, "has another digest"),
    "no layer": (lambda layout: _blob(layout, _manifest(layout)["layers"][0]).unlink(), "is incomplete: there is no blobs/"),
    "a link for a layer": (_a_link_for_a_layer, "is incomplete: there is no blobs/"),
    "no index": (lambda layout: (layout.folder / "index.json").unlink(), "there is no index.json"),
    "no JSON": (_write("index.json", "{"), "index.json is not the JSON"),
    "deep JSON": (_write("index.json", "[" * 100_000), "index.json is not the JSON"),
    "a list": (_write("index.json", "[]"), "index.json is not the JSON"),
    "nothing": (_write("index.json", '{"manifests": []}'), "its index names no manifest"),
    "no digest": (_write("index.json", '{"manifests": [{}]}'), "digest is missing"),
    "a digest that is a path": (_write("index.json", '{"manifests": [{"digest": "sha256:../../../x"}]}'), "can't be checked"),
    "a digest of another kind": (_write("index.json", '{"manifests": [{"digest": "md5:00"}]}'), "can't be checked"),
    "another version": (_write("oci-layout", '{"imageLayoutVersion": "9"}'), "version '9' can't be read"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_image_is_refused_with_what_is_wrong(
    tmp_path: Path, layout: OciLayout, damage: Callable[[OciLayout], object], said: str
) -> None:
    layout.add([ROOT])
    damage(layout)
    with pytest.raises(Refused, match=said):
        take(tmp_path, layout.folder)
    assert ImageStore(tmp_path / "state").names() == []


def test_a_layer_that_unpacks_to_something_else_is_refused(tmp_path: Path, layout: OciLayout) -> None:
    """Its packed digest is right, so it is the one that was named; what is in it is not what its configuration says."""
    descriptor = layout.add([ROOT], pack=archives.gzipped)
    manifest = json.loads(_blob(layout, descriptor).read_text())
    manifest["layers"] = [layout.blob(archives.gzipped(layer(("etc/evil", "x"))), f"{archives.LAYER_TYPE}+gzip")]
    layout.manifests = [layout.blob(json.dumps(manifest).encode(), archives.MANIFEST_TYPE)]
    (layout.folder / "index.json").write_text(json.dumps({"manifests": layout.manifests}))
    with pytest.raises(Refused, match="has another digest"):
        take(tmp_path, layout.folder)


def test_a_layer_that_is_no_tar_is_refused(tmp_path: Path, layout: OciLayout) -> None:
    layout.add([b"no tar" * 500])
    with pytest.raises(Refused, match="a layer is no tar"):
        take(tmp_path, layout.folder)


def test_a_docker_archive_s_paths_stay_inside(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(ROOT)
    folder = tmp_path / "docker"
    folder.mkdir()
    config = {"rootfs": {"diff_ids": [archives.digest(ROOT)]}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "manifest.json").write_text(json.dumps([{"Config": "config.json", "Layers": ["../secret"]}]))
    with pytest.raises(Refused, match="there is no"):
        take(tmp_path, folder)


def test_it_says_which_layer_it_is_at(tmp_path: Path, layout: OciLayout) -> None:
    layout.add([ROOT, layer(("etc/a", "x"))])
    store, said = ImageStore(tmp_path / "state"), list[str]()
    with store.draft("x") as draft:
        layers.apply(draft, image_in(layout.folder, None), lambda words, _: said.append(words))
    assert said == ["unpacking layer 1 of 2", "unpacking layer 2 of 2"]
