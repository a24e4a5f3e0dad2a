"""``image push``, ``drift`` and ``capture`` where nodes can't be reached: told for each, and nothing is done by halves."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from bootserver.images.store import ImageStore
from tests.administrator import Administrator

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or any(shutil.which(name) is None for name in ("ssh", "rsync")),
    reason="needs root, and: apt-get install openssh-client rsync",
)


@pytest.fixture
def admin(tmp_path: Path, template: Path) -> Administrator:
    """Four nodes of an image, at addresses where nobody is; a key that opens nothing."""
    admin = Administrator(tmp_path, template)
    with ImageStore(tmp_path).draft("golden") as draft:
        (draft.tree / "etc").mkdir()
        draft.publish(source="by hand")
    admin.run("image", "check", "golden")  # it can not boot, and is known from now on
    admin.does("attr", "set", "image", "golden")
    # Loopback, where no ssh listens on these addresses: it is refused at once, and no packet leaves this machine.
    admin.does("network", "add", "nobody", "127.9.0.0/24", "--frontend", "127.9.0.1")
    for number in range(4):
        admin.does("node", "add", "--mac", f"52:54:00:00:00:0{number}", "--ip", f"127.9.0.{number + 10}")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/id_ed25519").write_text("no key\n")
    (tmp_path / "keys/id_ed25519").chmod(0o600)
    return admin


def test_each_node_that_can_not_be_reached_is_named_with_ssh_s_own_reason(admin: Administrator) -> None:
    result = admin.run("image", "drift", "compute-0-0")
    assert result.exit_code == 1
    assert (
        "compute-0-0: compute-0-0 can't be reached by ssh (ssh: connect to host 127.9.0.10 port 22: Connection refused)"
        in result.stderr
    )
    assert result.stderr.splitlines()[-1] == "bootserver: nothing is known of compute-0-0"


def test_a_push_stops_when_more_failed_than_may(admin: Administrator) -> None:
    result = admin.run("image", "push", "compute", "--batch", "1")
    assert result.exit_code == 1 and result.stderr.count("can't be reached") == 1
    assert "1 of 4 nodes failed (compute-0-0), 3 were not tried; running it again goes on" in result.stderr
    result = admin.run("image", "push", "compute", "--batch", "2", "--max-failures", "2")
    assert result.stderr.count("can't be reached") == 4, "two failed, and that is not more than two"
    assert "4 of 4 nodes failed (compute-0-[0-3]); running it again goes on" in result.stderr


def test_a_node_without_an_image_is_said(admin: Administrator) -> None:
    admin.does("attr", "set", "image", "", "--node", "compute-0-1")
    assert "compute-0-1: it has no image: `bootserver attr set image NAME`" in admin.run("image", "push", "compute-0-1").stderr


def test_an_image_is_captured_from_one_node_and_a_failure_leaves_none(admin: Administrator) -> None:
    assert "an image is captured from one node; compute means 4" in admin.fails("image", "capture", "new", "compute", status=2)
    assert "can't be reached by ssh" in admin.fails("image", "capture", "new", "compute-0-0")
    assert [row["name"] for row in admin.lists("image", "list")] == ["golden"]
    assert [name for name in os.listdir(admin.folder / "images") if name != "golden"] == []
