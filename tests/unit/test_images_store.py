"""Where images are kept: whole or not at all, one writer at a time, nothing left of the dead."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from bootserver.errors import NotFound, Refused, UsageError
from bootserver.images.description import Description, DescriptionError
from bootserver.images.store import ImageStore
from tests import trees
from tests.cluster import wait_until

pytestmark = pytest.mark.skipif(bool(trees.what_is_missing()), reason=str(trees.what_is_missing()))


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path)


def make(store: ImageStore, name: str = "golden") -> Description:
    with store.draft(name) as draft:
        trees.plain_tree(draft.tree)
        return draft.publish(source="made by a test")


def entries(store: ImageStore) -> list[str]:
    """All that lies in the folder of images, hidden or not."""
    return sorted(os.listdir(store.folder))


def test_an_image_says_what_it_is(store: ImageStore) -> None:
    made = make(store)
    assert (made.distribution, made.title) == ("debian-12", "Debian GNU/Linux 12 (bookworm)")
    assert (made.parent, made.source, made.kernel) == (None, "made by a test", None)
    assert store.describe("golden") == made
    assert store.manifest("golden").checksum == made.checksum
    assert made.entries == len(store.manifest("golden").entries)
    assert made.size == store.manifest("golden").size > 0


def test_a_draft_is_no_image_until_it_is_published(store: ImageStore) -> None:
    with store.draft("golden") as draft:
        trees.plain_tree(draft.tree)
        assert store.names() == []
        assert not store.exists("golden")
        with pytest.raises(NotFound):
            store.describe("golden")
        draft.publish(source="test")
        assert store.names() == ["golden"]
    assert entries(store) == ["golden"]
    assert sorted(os.listdir(store.folder / "golden")) == ["image.json", "manifest", "tree"]


def test_a_draft_that_fails_leaves_nothing(store: ImageStore) -> None:
    with pytest.raises(ZeroDivisionError), store.draft("golden") as draft:
        trees.rich_tree(draft.tree)
        raise ZeroDivisionError
    assert entries(store) == []


def test_a_draft_that_is_not_published_leaves_nothing(store: ImageStore) -> None:
    with store.draft("golden"):
        pass
    assert entries(store) == []


def test_a_name_that_is_taken_is_refused_before_and_after_the_work(store: ImageStore) -> None:
    with pytest.raises(Refused, match="exists already"), store.draft("golden") as draft:
        make(store)
        draft.publish(source="the slower one")
    with pytest.raises(Refused, match="exists already"), store.draft("golden"):
        pass
    assert store.describe("golden").source == "made by a test"
    assert entries(store) == ["golden"]


@pytest.mark.parametrize("name", ["", ".", "..", ".draft-x", "a/b", "../x", "Golden", "a b", "a\n", "x" * 64, "-a", "ä"])
def test_a_name_is_no_path(store: ImageStore, name: str) -> None:
    with pytest.raises(UsageError, match="is no name of an image"), store.draft(name):
        pass
    for look in (store.tree, store.describe, store.remove):
        with pytest.raises((UsageError, NotFound)):
            look(name)


def test_names_may_hold_versions(store: ImageStore) -> None:
    assert make(store, "debian-12.5_a").name == "debian-12.5_a"


def test_no_user_of_the_frontend_gets_at_an_image_s_programs(store: ImageStore) -> None:
    make(store)
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o711
    assert stat.S_IMODE((store.folder / "golden").stat().st_mode) == 0o710
    assert stat.S_IMODE((store.folder / "golden/tree").stat().st_mode) == 0o755  # it is the nodes' root


def test_the_service_s_group_may_read_descriptions(store: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    os.chown(tmp_path / "db", 4321, 4321)
    make(store)
    assert (store.folder / "golden").stat().st_gid == 4321


def test_removing_is_for_good(store: ImageStore) -> None:
    make(store)
    store.remove("golden")
    assert entries(store) == []
    with pytest.raises(NotFound, match="no image 'golden'"):
        store.remove("golden")


# -- who alters -------------------------------------------------------------------------------------------------------


def test_one_alters_an_image_at_a_time_and_nobody_copies_it_meanwhile(store: ImageStore) -> None:
    make(store)
    with store.altering("golden"):
        for other in (lambda: store.remove("golden"), lambda: store.clone("golden", "copy")):
            with pytest.raises(Refused, match="in use by another command"):
                other()
        with pytest.raises(Refused, match="in use"), store.altering("golden"):
            pass
    with store.using("golden"), store.using("golden"), pytest.raises(Refused, match="in use"), store.altering("golden"):
        pass
    assert entries(store) == ["golden"]


def test_what_was_altered_is_written_down_and_how_it_was_made_stays(store: ImageStore) -> None:
    before = make(store)
    with store.altering("golden") as tree:
        (tree / "etc/new").write_text("x")
        after = store.refresh("golden")
    assert after == store.describe("golden")
    assert after.checksum != before.checksum
    assert (after.entries, after.created, after.source) == (before.entries + 1, before.created, before.source)


def test_an_image_without_its_papers_gets_new_ones(store: ImageStore) -> None:
    made = make(store)
    (store.folder / "golden/image.json").write_text("{")
    (store.folder / "golden/manifest").unlink()
    with pytest.raises(DescriptionError):
        store.describe("golden")
    assert store.names() == ["golden"]
    assert store.refresh("golden").checksum == made.checksum


# -- the dead ---------------------------------------------------------------------------------------------------------

IMPORT = """
import sys
from pathlib import Path
from bootserver.images.importing import import_tree
from bootserver.images.store import ImageStore
store = ImageStore(Path(sys.argv[1]))
with store.draft("big") as draft:
    import_tree(draft, Path(sys.argv[2]))
"""


def _endless_tar(path: Path) -> Path:
    """A tar that takes long to unpack: its last file is 4 GB of zeros, which take no room in the archive."""
    small = tarfile.TarInfo("etc")
    small.type, small.mode = tarfile.DIRTYPE, 0o755
    big = tarfile.TarInfo("big")
    big.size = 4 << 30
    with path.open("wb") as file:
        file.write(small.tobuf() + big.tobuf())
        file.truncate(file.tell() + big.size + 10240)
    return path


def test_kill_minus_9_in_the_middle_leaves_nothing_that_is_listed_and_the_next_command_cleans_up(
    store: ImageStore, tmp_path: Path
) -> None:
    archive = _endless_tar(tmp_path / "big.tar")
    process = subprocess.Popen([sys.executable, "-c", IMPORT, str(tmp_path), str(archive)])
    try:
        wait_until("the big file is being unpacked", lambda: _drafted(store, "tree/big"), 30)
        process.send_signal(signal.SIGKILL)
        process.wait()
    finally:
        process.kill()
    wait_until("what it had started is gone, too", lambda: not _at_work_in(store.folder))
    assert store.names() == []
    assert [name.startswith(".draft-big-") for name in entries(store)] == [True]
    make(store, "other")
    assert entries(store) == ["other"]


def test_a_draft_that_is_being_filled_is_left_alone(store: ImageStore) -> None:
    with store.draft("one") as first:
        make(store, "two")
        store.clean()
        assert first.tree.is_dir()
        trees.plain_tree(first.tree)
        first.publish(source="test")
    assert entries(store) == ["one", "two"]


def test_an_image_that_was_being_removed_is_gone_after_the_next_command(store: ImageStore) -> None:
    make(store)
    (store.folder / "golden").rename(store.folder / ".gone-golden-1-abcd")
    assert store.names() == []
    make(store, "other")
    assert entries(store) == ["other"]


def _drafted(store: ImageStore, path: str) -> bool:
    return any((folder / path).exists() for folder in store.folder.glob(".draft-*"))


def _at_work_in(folder: Path) -> list[str]:
    """Processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(process / "cwd").startswith(str(folder)) or str(folder) in (process / "cmdline").read_text():
                found.append(process.name)
    return found


# -- descriptions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": "12"}, "size can't be '12'"),
        ({"size": True}, "size can't be True"),
        ({"kernel": 6}, "kernel can't be 6"),
        ({"name": None}, "name can't be None"),
        ({"more": 1}, "an unknown field 'more'"),
    ],
)
def test_a_description_is_read_strictly(store: ImageStore, change: dict[str, object], said: str) -> None:
    values = json.loads(make(store).encode()) | change
    with pytest.raises(DescriptionError, match=said):
        Description.decode(json.dumps(values).encode(), Path("image.json"))


def test_a_description_that_lacks_something_is_refused(store: ImageStore) -> None:
    values = json.loads(make(store).encode())
    del values["checksum"]
    with pytest.raises(DescriptionError, match="no field 'checksum'"):
        Description.decode(json.dumps(values).encode(), Path("image.json"))
