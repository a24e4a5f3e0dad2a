"""Programs run in a tree: as if it were a system, and without a trace when they are gone."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bootserver.images import chroot, confined
from bootserver.images.manifest import scan
from bootserver.images.program import ProgramFailed
from tests import trees
from tests.cluster import wait_until


def _what_is_missing() -> str | None:
    busybox = shutil.which("busybox")
    if busybox is None or b"statically" not in subprocess.run(["file", "-L", busybox], capture_output=True).stdout:
        return "needs: apt-get install busybox-static file"
    return trees.what_is_missing()


pytestmark = pytest.mark.skipif(bool(_what_is_missing()), reason=str(_what_is_missing()))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A system of one program."""
    tree = trees.plain_tree(tmp_path / "tree")
    for name in ("usr/sbin", "root", "proc", "sys", "dev", "run", "bin"):
        (tree / name).mkdir(exist_ok=True)
    shutil.copy(str(shutil.which("busybox")), tree / "bin/busybox")
    for name in ("sh", "cat", "ls", "mount", "sleep", "env", "touch", "id", "readlink"):
        (tree / "bin" / name).symlink_to("busybox")
    (tree / "etc/resolv.conf").write_text("# the tree's own\n")
    return tree


def says(tree: Path, script: str) -> list[str]:
    return chroot.run(tree, ["/bin/sh", "-c", script], what="a script")


def test_it_is_a_system_of_its_own(tree: Path) -> None:
    said = says(tree, "cat /proc/1/comm; ls /dev; test -w /dev/null && echo writable; cat /etc/os-release; id -u")
    assert "writable" in said
    assert {"null", "zero", "urandom", "pts", "shm", "fd"} <= set(said)
    assert "ID=debian" in said


def test_nothing_of_the_frontend_is_seen_but_its_network(tree: Path) -> None:
    os.environ["SECRET_OF_THE_FRONTEND"] = "x"
    try:
        said = says(tree, "env; echo processes: /proc/[0-9]*; cat /proc/mounts")
    finally:
        del os.environ["SECRET_OF_THE_FRONTEND"]
    assert not [line for line in said if "SECRET" in line]
    processes = next(line for line in said if line.startswith("processes:")).split()[1:]
    assert len(processes) <= 3, "its init and itself"
    assert not [line for line in said if str(tree.parent) in line]
    assert subprocess.run(["readlink", "/proc/self/ns/net"], capture_output=True, text=True).stdout.strip() in says(
        tree, "readlink /proc/self/ns/net"
    )


def test_names_are_looked_up_as_the_frontend_does_and_the_tree_s_file_stays(tree: Path) -> None:
    assert says(tree, "cat /etc/resolv.conf") == [
        line for line in Path("/etc/resolv.conf").read_text().splitlines() if line.strip()
    ]
    assert (tree / "etc/resolv.conf").read_text() == "# the tree's own\n"


def test_it_leaves_no_trace(tree: Path) -> None:
    for folder in (tree, *(each for each in tree.rglob("*") if each.is_dir() and not each.is_symlink())):
        os.utime(folder, (1_000_000_000, 1_000_000_000))  # long ago: a change now would show
    before = scan(tree).encode()
    says(tree, "ls /")
    assert scan(tree).encode() == before
    assert str(tree) not in Path("/proc/self/mounts").read_text()


def test_no_service_is_started_meanwhile(tree: Path) -> None:
    assert says(tree, f"{confined.POLICY} ssh start; echo $?")[-1] == "101"
    assert not (tree / confined.POLICY.lstrip("/")).exists()


def test_a_policy_of_the_tree_s_own_stays(tree: Path) -> None:
    own = tree / confined.POLICY.lstrip("/")
    own.write_text("#!/bin/sh\nexit 0\n")
    own.chmod(0o755)
    assert says(tree, f"{confined.POLICY} ssh start; echo $?")[-1] == "0"
    assert own.read_text() == "#!/bin/sh\nexit 0\n"


def test_a_failure_says_the_program_s_own_line(tree: Path) -> None:
    with pytest.raises(ProgramFailed, match="installing x failed: no room left") as caught:
        chroot.run(tree, ["/bin/sh", "-c", "echo hello; echo no room left >&2; exit 7"], what="installing x")
    assert caught.value.status == 7
    with pytest.raises(ProgramFailed, match=r"a script failed: /bin/nothing can't be run in this tree: No such file"):
        chroot.run(tree, ["/bin/nothing"], what="a script")


def test_an_interactive_command_s_status_comes_back(tree: Path) -> None:
    assert chroot.interact(tree, ["/bin/sh", "-c", "exit 5"]) == 5
    assert chroot.interact(tree, ["/bin/sh", "-c", "kill -9 $$"]) == 128 + 9


@pytest.mark.parametrize("name", ["proc", "sys", "dev", "run", "etc/resolv.conf", "usr/sbin/policy-rc.d"])
def test_links_of_a_hostile_tree_lead_nowhere(tree: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("whole")
    path = tree / name
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.symlink_to(outside / "file" if "." in name else outside)
    before = scan(outside).encode()
    with contextlib.suppress(ProgramFailed):  # refused is as good
        says(tree, "ls /")
    assert scan(outside).encode() == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_all_is_gone_when_it_is_killed(tree: Path, number: signal.Signals) -> None:
    """The command, what it had started in the background, mounts; and the policy when the tree is used the next time."""
    program = (
        "import sys; from pathlib import Path; from bootserver.images import chroot;"
        "chroot.run(Path(sys.argv[1]), ['/bin/sh', '-c', 'sleep 98765 & touch /etc/begun; sleep 98764'], what='x')"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tree)])
    try:
        wait_until("the command runs", (tree / "etc/begun").exists, 30)
        process.send_signal(number)
        process.wait()
    finally:
        process.kill()
    wait_until("its processes are gone", lambda: not _sleepers())
    assert str(tree) not in Path("/proc/self/mounts").read_text()
    says(tree, "ls /")
    assert not (tree / confined.POLICY.lstrip("/")).exists()


def _sleepers() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"sleep\x009876" in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found
