"""The image server of the running service, asked by real rsync: one node's turn is nobody else's."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootserver.cluster import attributes
from bootserver.cluster import images as cluster_images
from bootserver.cluster.events import Kind
from bootserver.errors import Refused
from bootserver.images.store import ImageStore
from tests.cluster import wait_until
from tests.frontend import STRANGER, Frontend, serving
from tests.protocol.test_node_api import Node

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="needs: apt-get install rsync")
numbers = itertools.count(1)
SECRET_FILE = "of root alone"


@pytest.fixture(scope="module")
def frontend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frontend]:
    """A service with two images, two turns at once, and a boot kernel of its own."""
    with serving(tmp_path_factory.mktemp("image-server")) as frontend:
        frontend.stop()
        frontend.settings(rsync={"transfers": 2, "stalled_seconds": 600})
        for name in ("golden", "other"):
            with ImageStore(frontend.state).draft(name) as draft:
                fill(draft.tree, name)
                draft.publish(source="by hand")
            with frontend.change() as change:
                cluster_images.add(change, name)
        frontend.make_installable()
        with frontend.change() as change:
            attributes.set_attribute(change, attributes.EVERYWHERE, "image", "golden")
        frontend.start()
        yield frontend


def fill(tree: Path, name: str) -> None:
    (tree / "etc").mkdir()
    (tree / "etc/name").write_text(name)
    (tree / "etc/shadow").write_text(SECRET_FILE)
    (tree / "etc/shadow").chmod(0o600)
    os.chown(tree / "etc/shadow", 0, 42)
    (tree / "etc/hard").hardlink_to(tree / "etc/name")
    (tree / "out").symlink_to("/etc")
    (tree / "sparse").touch()
    os.truncate(tree / "sparse", 64 << 20)


@dataclass(frozen=True)
class Turn:
    """A node's turn. :ivar words: what the frontend said."""

    node: Node
    token: str
    words: list[str]

    def rsync(self, target: Path, *, user: str = "", secret: str = "", source: str = "", module: str = "") -> Answer:
        user, secret = user or self.words[1], secret or self.words[2]
        return copy(self.node.frontend, target, user, secret, source or self.node.address, module or self.words[1])


@dataclass(frozen=True)
class Answer:
    status: int
    said: str


def copy(frontend: Frontend, target: Path, user: str, secret: str, source: str, module: str) -> Answer:
    target.mkdir(parents=True, exist_ok=True)
    password = target.with_name(f"{target.name}.password")
    password.write_text(secret + "\n")
    password.chmod(0o600)
    done = frontend.namespace.run(
        ["rsync", "-aHAXS", "--numeric-ids", f"--address={source}", f"--password-file={password}", "--timeout=20",
         f"rsync://{user}@10.77.0.1/{module}/", f"{target}/"],
    )  # fmt: skip
    return Answer(done.returncode, done.stderr)


def begin(frontend: Frontend) -> Node:
    name, address = frontend.add_node(next(numbers))
    frontend.set_action(name, "install")
    return Node(frontend, name, address, "")


def turn(node: Node) -> Turn:
    token = node.exchange()
    assert node.ask("POST", "phase", token, phase="sync").status == 200
    return Turn(node, token, node.ask("POST", "sync", token).text.split())


@pytest.fixture
def mine(frontend: Frontend) -> Iterator[Turn]:
    """A node whose turn it is."""
    begun = turn(begin(frontend))
    assert begun.words[0] == "go", begun.words
    yield begun
    begun.node.ask("POST", "failed", begun.token, why="the test is over")


def test_a_node_copies_its_image_whole(mine: Turn, tmp_path: Path) -> None:
    answer = mine.rsync(tmp_path / "copy")
    assert answer == Answer(0, "")
    copied = tmp_path / "copy"
    assert (copied / "etc/name").read_text() == "golden"
    status = (copied / "etc/shadow").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, 42, 0o600)
    assert (copied / "etc/name").stat().st_ino == (copied / "etc/hard").stat().st_ino
    assert os.readlink(copied / "out") == "/etc" and not (copied / "out").resolve().is_relative_to(copied)
    sparse = (copied / "sparse").stat()
    assert sparse.st_size == 64 << 20 and sparse.st_blocks < 100


def test_its_secret_opens_nothing_from_another_address(mine: Turn, frontend: Frontend, tmp_path: Path) -> None:
    for source in (STRANGER, begin(frontend).address):
        answer = mine.rsync(tmp_path / "copy", source=source)
        assert answer.status != 0 and not any((tmp_path / "copy").iterdir())
        frontend.told(Kind.DENIED, path="rsync", **{"from": source})


def test_without_its_secret_or_with_another_one_s_nothing_comes(mine: Turn, frontend: Frontend, tmp_path: Path) -> None:
    second = turn(begin(frontend))
    assert second.words[0] == "go"
    try:
        for wrong in ({"secret": "0" * 64}, {"secret": second.words[2]}, {"user": second.words[1]}, {"user": "root"}):
            answer = mine.rsync(tmp_path / "copy", **wrong)
            assert answer.status == 5 and "auth failed" in answer.said, answer
        assert not any((tmp_path / "copy").iterdir())
    finally:
        second.node.ask("POST", "failed", second.token, why="the test is over")


def test_modules_are_not_listed_and_another_node_s_is_not_there(mine: Turn, frontend: Frontend, tmp_path: Path) -> None:
    listed = frontend.namespace.run(["rsync", f"--address={mine.node.address}", "rsync://10.77.0.1/"])
    assert listed.stdout.strip() == ""
    for module in ("compute-0-99", "other", "golden", "etc"):
        answer = mine.rsync(tmp_path / "copy", module=module)
        assert answer.status == 5 and "Unknown module" in answer.said


def test_nothing_can_be_written_into_an_image(mine: Turn, frontend: Frontend, tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("evil")
    password = tmp_path / "password"
    password.write_text(mine.words[2] + "\n")
    password.chmod(0o600)
    done = frontend.namespace.run(
        ["rsync", "-a", f"--address={mine.node.address}", f"--password-file={password}", str(tmp_path / "evil"),
         f"rsync://{mine.words[1]}@10.77.0.1/{mine.words[1]}/"],
    )  # fmt: skip
    assert done.returncode != 0 and "read only" in done.stderr
    assert not (ImageStore(frontend.state).tree("golden") / "evil").exists()


def test_no_link_of_an_image_leads_out_of_it(mine: Turn, frontend: Frontend, tmp_path: Path) -> None:
    answer = mine.rsync(tmp_path / "copy", module=f"{mine.words[1]}/out")
    assert not (tmp_path / "copy/passwd").exists(), answer


@pytest.mark.parametrize("end", ["installed", "failed", "configure", "disarmed"])
def test_when_its_turn_is_over_its_secret_is_worth_nothing(end: str, frontend: Frontend, tmp_path: Path) -> None:
    mine = turn(begin(frontend))
    assert mine.rsync(tmp_path / "before").status == 0
    match end:
        case "installed":
            mine.node.ask("POST", "installed", mine.token)
        case "failed":
            mine.node.ask("POST", "failed", mine.token, why="no disk")
        case "configure":
            mine.node.ask("POST", "phase", mine.token, phase="configure")
        case "disarmed":
            frontend.cli("pxe", "set", mine.node.name, "os")
    answer = mine.rsync(tmp_path / "copy")
    assert answer.status != 0 and not any((tmp_path / "copy").iterdir())


def test_a_node_that_installs_nothing_gets_nothing(frontend: Frontend, tmp_path: Path) -> None:
    name, address = frontend.add_node(next(numbers))
    answer = copy(frontend, tmp_path / "copy", name, "0" * 64, address, name)
    assert answer.status == 5 and f"{name} installs no image now" in answer.said
    assert frontend.told(Kind.DENIED, path="rsync", **{"from": address})


def test_a_third_one_waits_and_gets_the_first_turn_that_is_given_back(frontend: Frontend, tmp_path: Path) -> None:
    first, second, third = (turn(begin(frontend)) for _ in range(3))
    assert (first.words[0], second.words[0], third.words[0]) == ("go", "go", "wait")
    assert third.words[3] == "1", "one must end before it is its turn"
    wait_until("its state says that it waits", lambda: "1 before it" in states(frontend)[third.node.name])
    refused = Turn(third.node, third.token, ["go", third.node.name, "0" * 64]).rsync(tmp_path / "early")
    assert "it is not the turn of" in refused.said
    first.node.ask("POST", "phase", first.token, phase="configure")
    now = Turn(third.node, third.token, third.node.ask("POST", "sync", third.token).text.split())
    assert now.words[0] == "go" and now.rsync(tmp_path / "copy").status == 0
    for each in (first, second, third):
        each.node.ask("POST", "failed", each.token, why="the test is over")


def states(frontend: Frontend) -> dict[str, str]:
    return {row["node"]: row["state"] for row in frontend.rows("node", "list")}


def test_an_image_that_is_gone_is_said(frontend: Frontend) -> None:
    node = begin(frontend)
    with frontend.change() as change:
        attributes.set_attribute(change, attributes.Place(attributes.Scope.NODE, frontend.node(node.name).id), "image", "lost")
    token = node.exchange()
    answer = node.ask("POST", "sync", token)
    assert answer.status == 409 and "image lost is gone from the frontend" in answer.text
    node.ask("POST", "failed", token, why="the test is over")


def test_an_image_that_is_being_altered_is_not_copied(mine: Turn, frontend: Frontend, tmp_path: Path) -> None:
    with ImageStore(frontend.state).altering("golden"):
        answer = mine.rsync(tmp_path / "copy")
        assert answer.status == 5 and "image golden is being altered, try again" in answer.said
    assert mine.rsync(tmp_path / "copy").status == 0


def test_a_transfer_ends_with_its_part_and_can_be_begun_again(mine: Turn, frontend: Frontend, tmp_path: Path) -> None:
    tree = ImageStore(frontend.state).tree("golden")
    with (tree / "large").open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(1 << 20))
    target = tmp_path / "copy"
    target.mkdir()
    password = tmp_path / "password"
    password.write_text(mine.words[2] + "\n")
    password.chmod(0o600)
    command = ["rsync", "-a", "--bwlimit=2000", f"--address={mine.node.address}", f"--password-file={password}",
               f"rsync://{mine.words[1]}@10.77.0.1/{mine.words[1]}/", f"{target}/"]  # fmt: skip
    client = frontend.namespace.start(f"rsync-{mine.node.name}", command)
    try:
        wait_until("the copy runs", lambda: any(target.rglob(".large*")), 30)
        servers = [pid for pid, name in frontend.processes().items() if name == "rsync"]
        assert servers
        with pytest.raises(Refused, match="in use by another command"), ImageStore(frontend.state).altering("golden"):
            pass
        assert set(capabilities(servers[0])) == {"dac_read_search", "setgid", "setuid", "sys_chroot"}
        frontend.kill("rsync")
        assert client.wait(30) != 0
        wait_until("no rsync is left", lambda: not any(Path(f"/proc/{pid}").exists() for pid in servers), 30)
        wait_until("it copies again", lambda: mine.rsync(target).status == 0, 60)
        assert (target / "large").stat().st_size == 64 << 20
    finally:
        client.stop()
        (tree / "large").unlink()


def capabilities(pid: int) -> list[str]:
    """What a process may do, by capsh's names."""
    mask = next(line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("CapPrm"))
    shown = subprocess.run(["capsh", f"--decode={mask}"], capture_output=True, text=True, check=True).stdout
    return [word.removeprefix("cap_") for word in shown.strip().partition("=")[2].split(",") if word]
