"""Overrides: which file of which scope a node gets, with whose owner and mode; and a site's numbered scripts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bootserver.cluster.view import NodeView
from bootserver.errors import BootserverError, Refused
from bootserver.install import overrides, site_scripts
from bootserver.install.entries import Entry, lay_down, write_tar
from tests import views

GROUP = 4711
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files away")


def put(state: Path, path: str, text: str = "x", mode: int = 0o644) -> Path:
    file = state / "overrides" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
    return file


def collect(state: Path, node: NodeView | None = None) -> dict[str, Entry]:
    def render(name: str, text: str) -> str:
        return text.replace("NODE", "compute-0-0")

    return {entry.path: entry for entry in overrides.collect(state, node or views.node(), render, GROUP)}


def test_the_narrower_scope_wins_and_what_is_alone_stays(tmp_path: Path) -> None:
    put(tmp_path, "all/etc/motd", "all")
    put(tmp_path, "all/etc/issue", "all")
    put(tmp_path, "appliance/compute/etc/motd", "appliance")
    put(tmp_path, "appliance/login/etc/motd", "of another appliance")
    put(tmp_path, "node/compute-0-0/etc/motd", "node")
    put(tmp_path, "node/compute-0-1/etc/issue", "of another node")
    found = collect(tmp_path)
    assert sorted(found) == ["etc", "etc/issue", "etc/motd"]
    assert found["etc/motd"].content == tmp_path / "overrides/node/compute-0-0/etc/motd"
    assert found["etc/issue"].content == tmp_path / "overrides/all/etc/issue"


def test_a_template_is_rendered_and_loses_its_ending(tmp_path: Path) -> None:
    put(tmp_path, "all/etc/conf.j2", "name=NODE\n", 0o600)
    found = collect(tmp_path)
    assert found["etc/conf"].content == b"name=compute-0-0\n" and found["etc/conf"].mode == 0o600
    assert "etc/conf.j2" not in found


def test_a_file_and_its_template_in_one_scope_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "all/etc/conf.j2")
    put(tmp_path, "all/etc/conf")
    with pytest.raises(Refused, match="are the same file of the node"):
        collect(tmp_path)


def test_a_template_may_replace_a_wider_scope_s_file(tmp_path: Path) -> None:
    put(tmp_path, "all/etc/conf")
    put(tmp_path, "node/compute-0-0/etc/conf.j2", "NODE")
    assert collect(tmp_path)["etc/conf"].content == b"compute-0-0"


def test_a_folder_can_not_replace_a_file(tmp_path: Path) -> None:
    put(tmp_path, "all/etc/conf")
    put(tmp_path, "node/compute-0-0/etc/conf/a")
    with pytest.raises(Refused, match="a wider scope has a file of that name"):
        collect(tmp_path)


@needs_root
def test_the_service_s_group_is_root_s_on_the_node(tmp_path: Path) -> None:
    secret = put(tmp_path, "all/etc/shadow", mode=0o640)
    os.chown(secret, 0, GROUP)
    given = put(tmp_path, "all/home/x", mode=0o4755)
    os.chown(given, 1000, 1001)
    given.chmod(0o4755)
    found = collect(tmp_path)
    assert (found["etc/shadow"].gid, found["etc/shadow"].mode) == (0, 0o600)
    assert (found["home/x"].uid, found["home/x"].gid, found["home/x"].mode) == (1000, 1001, 0o4755)


def test_a_link_stays_a_link_and_leads_nowhere_here(tmp_path: Path) -> None:
    put(tmp_path, "all/etc/a")
    (tmp_path / "overrides/all/etc/localtime").symlink_to("/etc/passwd")
    (tmp_path / "overrides/all/etc/folder").symlink_to("/root")
    found = collect(tmp_path)
    assert found["etc/localtime"].link == "/etc/passwd" and found["etc/folder"].link == "/root"
    assert not any(path.startswith("etc/folder/") for path in found)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "all/etc/a")
    os.mkfifo(tmp_path / "overrides/all/etc/pipe")
    with pytest.raises(Refused, match="pipe is no file, folder or symbolic link"):
        collect(tmp_path)


def test_a_template_that_is_no_text_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "all/etc/a.j2").write_bytes(b"\xff\xfe")
    with pytest.raises(BootserverError, match=r"a\.j2 is no UTF-8 text"):
        collect(tmp_path)


@needs_root
def test_entries_are_the_same_in_an_archive_and_in_a_folder(tmp_path: Path) -> None:
    import tarfile

    content = put(tmp_path, "all/etc/a", "from a file")
    entries = [
        Entry("etc", 0o750, folder=True, gid=5),
        Entry("etc/a", 0o640, content, uid=3, gid=4),
        Entry.text("etc/b", "text", 0o4711),
        Entry("etc/c", link="../x"),
        Entry.text("etc/" + "long" * 60, "a name of 244 characters"),
    ]
    lay_down(entries, tmp_path / "laid")
    with (tmp_path / "tar").open("wb") as file:
        write_tar(((".", entry) for entry in entries), file)
    with tarfile.open(tmp_path / "tar") as tar:
        for entry in entries:
            member, laid = tar.getmember(f"./{entry.path}"), (tmp_path / "laid" / entry.path).lstat()
            assert (member.uid, member.gid) == (laid.st_uid, laid.st_gid) == (entry.uid, entry.gid)
            if entry.link is None:
                assert member.mode == laid.st_mode & 0o7777 == entry.mode
            else:
                assert member.linkname == os.readlink(tmp_path / "laid" / entry.path) == entry.link
        assert (read := tar.extractfile("./etc/a")) is not None and read.read() == b"from a file"
    assert (tmp_path / "laid/etc/a").read_text() == "from a file"


# -- scripts ------------------------------------------------------------------------------------------------------


def scripts(state: Path) -> list[str]:
    return [entry.path for entry in site_scripts.collect(state, "post-install", views.node(rack=7), "golden")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "scripts" / "post-install"
    found.mkdir(parents=True)
    return found


def test_scripts_of_its_scopes_come_in_their_order(tmp_path: Path, folder: Path) -> None:
    for name in (
        "50compute.a",
        "10all.z",
        "99compute-7-0.last",
        "20rack7.b",
        "30golden.c",
        "11login.no",
        "12rack70.no",
        "13gold.no",
    ):
        (folder / name).write_text("#!/bin/sh\n")
    assert scripts(tmp_path) == ["10all.z", "20rack7.b", "30golden.c", "50compute.a", "99compute-7-0.last"]


def test_an_editor_s_copies_are_no_scripts_and_a_number_that_is_missing_is_said(tmp_path: Path, folder: Path) -> None:
    for name in ("10all.a~", ".10all.a.swp"):
        (folder / name).write_text("")
    assert scripts(tmp_path) == []
    (folder / "all.b").write_text("")
    with pytest.raises(Refused, match=r"a script is called NNscope\.name, such as 10all\.all\.b"):
        scripts(tmp_path)
