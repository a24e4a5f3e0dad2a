"""Files below tftpboot (bootserver/netboot/files.py): what is served, and all the ways out of the root that lead nowhere."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.netboot.files import CHUNK_SIZE, FileChanged, FileStore, OpenFile, normalise


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "tftpboot"
    (folder / "pxelinux.cfg").mkdir(parents=True)
    (folder / "pxelinux.cfg" / "default").write_text("DEFAULT local\n")
    (folder / "vmlinuz").write_bytes(os.urandom(3 * CHUNK_SIZE + 17))
    (tmp_path / "secret").write_text("root's key\n")
    return folder


@pytest.fixture
def store(root):
    return FileStore(root)


def content(file: OpenFile) -> bytes:
    pieces = []
    offset = 0
    while True:
        begin, data = file.chunk(offset)
        if not data:
            return b"".join(pieces)
        assert begin == offset
        pieces.append(data)
        offset += len(data)


@pytest.mark.parametrize(
    ("asked", "relative"),
    [
        ("vmlinuz", "vmlinuz"),
        ("/vmlinuz", "vmlinuz"),
        ("//boot///vmlinuz", "boot/vmlinuz"),
        ("./boot/./vmlinuz", "boot/vmlinuz"),
        ("\\Boot\\BCD", "Boot/BCD"),
        ("..", None),
        ("../secret", None),
        ("boot/../vmlinuz", None),
        ("..\\secret", None),
        ("a..b", "a..b"),
        ("...", "..."),
        ("", None),
        ("/", None),
        (".", None),
        ("vm\0linuz", None),
        ("vm\nlinuz", None),
        ("x" * 256, None),
        ("é" * 200, None),
        ("a/" * 600 + "b", None),
    ],
)
def test_a_name_has_one_spelling_or_none(asked, relative):
    assert normalise(asked) == relative


@given(st.text(alphabet=st.sampled_from("ab./\\ \0é")))
def test_no_name_leads_out(name):
    relative = normalise(name)
    if relative is not None:
        assert not relative.startswith("/")
        assert ".." not in relative.split("/")
        assert normalise(relative) == relative


def test_a_file_is_found_by_every_spelling_of_its_name(root, store):
    for name in ("pxelinux.cfg/default", "/pxelinux.cfg//default", "pxelinux.cfg\\default"):
        assert store.resolve(name) == root / "pxelinux.cfg" / "default"


def test_small_large_and_empty_files_are_read_byte_for_byte(root, store):
    (root / "empty").touch()
    (root / "exact").write_bytes(os.urandom(2 * CHUNK_SIZE))
    for name in ("pxelinux.cfg/default", "vmlinuz", "empty", "exact"):
        file = store.open(root / name)
        assert (file.size, content(file)) == ((root / name).stat().st_size, (root / name).read_bytes())


def test_nothing_outside_the_root_is_opened(root, store, tmp_path):
    assert store.resolve("../secret") is None
    assert store.resolve(str(tmp_path / "secret")) is None
    for path in (tmp_path / "secret", root / ".." / "secret", root.parent / "tftpboot-other" / "x"):
        with pytest.raises(OSError):
            store.open(path)


def test_a_symbolic_link_is_not_followed_even_to_a_file_below_the_root(root, store, tmp_path):
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "in").symlink_to(root / "vmlinuz")
    (root / "folder").symlink_to(root / "pxelinux.cfg")
    for name in ("out", "in", "folder/default"):
        assert store.resolve(name) is None


def test_a_folder_replaced_by_a_link_is_not_followed_for_a_file_that_is_open_already(root, store, tmp_path):
    assert store.resolve("pxelinux.cfg/default")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "default").write_text("DEFAULT evil\n")
    (root / "pxelinux.cfg").rename(tmp_path / "gone")
    (root / "pxelinux.cfg").symlink_to(elsewhere)
    assert store.resolve("pxelinux.cfg/default") is None


def test_folders_fifos_and_sockets_are_no_files_and_nobody_waits_for_them(root, store):
    os.mkfifo(root / "fifo")
    for name in ("pxelinux.cfg", "fifo", "fifo/x", "missing", "missing/x"):
        assert store.resolve(name) is None


def test_a_replaced_file_is_served_at_once_and_the_old_one_to_its_end(root, store):
    old = (root / "vmlinuz").read_bytes()
    file = store.open(root / "vmlinuz")
    file.chunk(0)
    (root / "new").write_bytes(b"new kernel" * 20_000)
    (root / "new").rename(root / "vmlinuz")
    assert content(store.open(root / "vmlinuz")) == b"new kernel" * 20_000
    assert content(file) == old


def test_a_removed_file_is_missing_at_once(root, store):
    assert store.resolve("vmlinuz")
    (root / "vmlinuz").unlink()
    assert store.resolve("vmlinuz") is None


def test_a_file_truncated_under_a_transfer_is_an_error_and_not_the_end_of_the_process(root, store):
    file = store.open(root / "vmlinuz")
    file.chunk(0)
    os.truncate(root / "vmlinuz", 10)
    with pytest.raises(FileChanged):
        file.chunk(2 * CHUNK_SIZE)


def test_a_file_overwritten_under_a_transfer_is_never_sent_half_old_half_new(root, store):
    file = store.open(root / "vmlinuz")
    file.chunk(0)
    with (root / "vmlinuz").open("r+b") as same:
        same.seek(2 * CHUNK_SIZE)
        same.write(b"another kernel")
    os.utime(root / "vmlinuz", ns=(0, 1))  # some file systems' clocks are coarse
    with pytest.raises(FileChanged):
        file.chunk(2 * CHUNK_SIZE)


def test_chunks_are_shared_and_their_memory_is_bounded(root):
    store = FileStore(root, max_bytes=2 * CHUNK_SIZE)
    file = store.open(root / "vmlinuz")
    assert file.chunk(0)[1] is store.open(root / "vmlinuz").chunk(1)[1]
    assert content(file) == (root / "vmlinuz").read_bytes()
    assert store.cached_bytes <= 2 * CHUNK_SIZE


def test_open_files_are_bounded_and_those_in_use_stay_readable(root):
    store = FileStore(root, max_open=2)
    for number in range(5):
        (root / f"ramdisk{number}").write_bytes(bytes([number]) * (CHUNK_SIZE + 1))
    before = len(os.listdir("/proc/self/fd"))
    first = store.open(root / "ramdisk0")
    for number in range(1, 5):
        store.open(root / f"ramdisk{number}")
    assert len(os.listdir("/proc/self/fd")) - before <= 3
    assert content(first) == bytes(CHUNK_SIZE + 1)
    del first
    assert len(os.listdir("/proc/self/fd")) - before <= 2
