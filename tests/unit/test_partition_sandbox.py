"""The walls around partition programs: whoever runs them, nothing of the frontend is read, written, reached or used up."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import bootserver
from bootserver.install.partition import sandbox
from bootserver.install.partition.sandbox import Job, Limits, NoSandbox, ProgramFault, TookTooLong

IMPATIENT = Limits(seconds=1)
ROCKS = "import rocks_partition\n"
"""A program that imports it is asked for no function, and its prints come back."""


@pytest.fixture(scope="module", autouse=True)
def _sandbox() -> None:
    try:
        sandbox.run(Job("nothing.py", ROCKS))
    except NoSandbox as error:
        pytest.skip(str(error))


Run = Callable[..., str]


def _here(source: str, seconds: int = 30) -> str:
    """As whoever runs the tests: root at the command line, mostly. :returns: what it printed, or how it failed."""
    try:
        return sandbox.run(Job("mine.py", ROCKS + source), limits=Limits(seconds=seconds)).said
    except ProgramFault as error:
        return str(error)


_ALONE = """
import sys
from bootserver.install.partition.sandbox import Job, Limits, ProgramFault, run
try:
    print(run(Job("mine.py", sys.stdin.read()), limits=Limits(seconds=int(sys.argv[1]))).said)
except ProgramFault as error:
    print(error)
"""
_SERVICE = (
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--no-new-privs",
    "--bounding-set=-all",
    "--inh-caps=-all",
)


def _as_service(source: str, seconds: int = 30) -> str:
    """As a part of the service: an ordinary user without a capability, who can't get any."""
    root = Path(bootserver.__file__).parent.parent
    done = subprocess.run(
        [*_SERVICE, sys.executable, "-c", _ALONE, str(seconds)], input=ROCKS + source, capture_output=True, text=True, cwd="/",
        env={"PYTHONPATH": str(root), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


@pytest.fixture(params=["as the administrator", "as the service"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "as the administrator":
        return _here
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("becoming another user needs root and setpriv")
    if subprocess.run([*_SERVICE, "test", "-r", bootserver.__file__], check=False).returncode != 0:
        pytest.skip("this checkout can't be read by other users")
    return _as_service


# -- nothing is read -----------------------------------------------------------------------------------------------


def test_no_file_of_the_frontend_is_seen(run: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t")
    paths = ["/etc/shadow", "/etc/passwd", "/etc/bootserver", "/root", "/home", "/var/lib", "/proc/1/environ", "/run", "/sys",
             "/dev/sda", "/dev/vda", "/proc/self/root", str(secret), bootserver.__file__]  # fmt: skip
    said = run(f"import os\nfor path in {paths!r}:\n    print(path, os.path.lexists(path))")
    assert said.splitlines() == [f"{path} False" for path in paths]


def test_what_is_hidden_is_empty_even_below_the_system_s_folders() -> None:
    job = Job("mine.py", ROCKS + "import os\nprint(os.listdir('/usr/share'), os.listdir('/usr') != [])")
    assert sandbox.run(job, hidden=[Path("/usr/share")]).said == "[] True"


def test_no_environment_and_no_open_file_is_inherited(run: Run) -> None:
    said = run(
        "import os\nprint(sorted(os.environ))\nfor n in range(64):\n    try:\n        os.fstat(n)\n        print(n)\n"
        "    except OSError:\n        pass"
    )
    environment, *descriptors = said.splitlines()
    assert environment == "['HOME', 'LC_ALL', 'PATH', 'PYTHONHASHSEED']"
    assert descriptors == ["0", "1", "2", "3"], "standard input, output and error, and what it answers by"


# -- nothing is written --------------------------------------------------------------------------------------------


def test_only_its_own_tmp_can_be_written(run: Run) -> None:
    name = f"bootserver-{os.getpid()}"
    said = run(
        f"for path in ('/{name}', '/usr/{name}', '/etc/{name}', '/dev/{name}', '/usr/bin/python3', '/tmp/{name}'):\n"
        "    try:\n        open(path, 'a').close(); print(path, 'written')\n"
        "    except OSError as error: print(path, error.strerror)"
    )
    assert [line for line in said.splitlines() if line.endswith("written")] == [f"/tmp/{name} written"]
    assert not Path("/tmp", name).exists()


def test_its_tmp_is_empty_and_gone_afterwards(run: Run) -> None:
    marker = Path("/tmp") / f"bootserver-{os.getpid()}"
    text = f"import os\nprint(os.listdir('/tmp'))\nopen('{marker}', 'w').write('x')"
    assert [run(text), run(text + " ")] == ["[]", "[]"]
    assert not marker.exists()


def test_nothing_is_mounted_or_regained(run: Run) -> None:
    said = run(
        "import ctypes, os\nlibc = ctypes.CDLL(None)\n"
        "print(os.getuid() != 0, libc.unshare(1 << 28), libc.unshare(1 << 17), libc.mount(b'none', b'/tmp', b'tmpfs', 0, None),"
        " libc.setuid(0), libc.chroot(b'/tmp'))"
    )
    assert said == "True -1 -1 -1 -1 -1"


# -- nothing is reached --------------------------------------------------------------------------------------------


def test_there_is_no_network(run: Run) -> None:
    said = run(
        "import socket\nprint([name for _, name in socket.if_nameindex()])\n"
        "for address in ('127.0.0.1', '10.1.1.1'):\n"
        "    try:\n        socket.create_connection((address, 80), 1); print('reached')\n"
        "    except OSError as error: print(error.strerror)"
    )
    assert said.splitlines() == ["['lo']", "Network is unreachable", "Network is unreachable"]


def test_no_other_process_is_seen_or_killed(run: Run) -> None:
    said = run(
        f"import os\nprint(os.getpid())\nfor pid in (1, {os.getpid()}):\n"
        "    try:\n        os.kill(pid, 9); print('sent')\n    except OSError as error: print(error.strerror)\nprint('alive')"
    )
    # The first process of a namespace takes no signal from inside it (pid_namespaces(7)); all others are not there.
    assert said.splitlines() == ["2", "sent", "No such process", "alive"]


# -- nothing is used up --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    ["while True: pass", "import time; time.sleep(60)", "import os; os.close(1); os.close(2); os.close(3)\nwhile True: pass"],
)
def test_a_loop_without_end_is_ended(run: Run, source: str) -> None:
    assert run(source, seconds=1) == "mine.py: it did not end within 1 seconds"


def test_memory_has_a_limit(run: Run) -> None:
    assert run("x = 'x' * 1_000_000_000") == "mine.py: it used more than 256 MB of memory"


NAMED = f"bs-{os.getpid()}"
"""What processes inside call themselves, to be told from all others."""
_NAME_IT = f"import ctypes, os, time\nctypes.CDLL(None).prctl(15, b'{NAMED}')\n"  # PR_SET_NAME


def test_forks_have_a_limit_and_none_is_left_behind(run: Run) -> None:
    said = run(
        f"{_NAME_IT}children = 0\ntry:\n    while True:\n        if os.fork() == 0:\n            os.setsid()\n"
        "            time.sleep(4711)\n        children += 1\nexcept OSError as error: print(0 < children < 16, error.strerror)"
    )
    assert said == "True Resource temporarily unavailable"
    assert named() == []


def test_a_fork_bomb_goes_out(run: Run) -> None:
    assert run(f"{_NAME_IT}while True: os.fork()").startswith("mine.py:4: BlockingIOError")
    assert named() == []


def named() -> list[str]:
    """Processes of this machine that were made inside."""
    found = []
    for file in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if file.read_text().strip() == NAMED:
                found.append(file.parent.name)
    return found


def test_a_file_has_a_limit(run: Run) -> None:
    assert run("open('/tmp/big', 'w').write('x' * 100_000_000)") == "mine.py:2: OSError: [Errno 27] File too large"


def test_all_files_together_have_a_limit(run: Run) -> None:
    said = run("for n in range(100): open(f'/tmp/{n}', 'w').write('x' * 1_000_000)")
    assert said == "mine.py:2: OSError: [Errno 28] No space left on device"


def test_what_it_prints_has_a_limit(run: Run) -> None:
    assert run("while True: print('x' * 1000)") == "mine.py: it prints more than 1 MB"


def test_what_it_answers_has_a_limit() -> None:
    source = "import os\nwhile True: os.write(3, b'x' * 65536)"
    with pytest.raises(ProgramFault, match=r"mine\.py: it answers more than 1 MB"):
        sandbox.run(Job("mine.py", source), limits=IMPATIENT)


# -- how it ends ---------------------------------------------------------------------------------------------------

ENDS = {
    "raises": ("x = 1\n\nraise KeyError('y')", "mine.py:3: KeyError: 'y'"),
    "raises in a module": ("import json\njson.loads('{')", "mine.py:2: JSONDecodeError: Expecting property name"),
    "raises without a word": ("assert False", "mine.py:1: AssertionError"),
    "raises several lines": ("raise ValueError('a\\nb\\x1b[31m')", "mine.py:1: ValueError: a b?[31m"),
    "no syntax": ("a = 1\nx = (\n", "mine.py:2: SyntaxError: '(' was never closed"),
    "Python 2 print": ("a = 1\nprint 'x'\n", "mine.py:2: SyntaxError: Missing parentheses in call to 'print'. Did you mean"),
    "Python 2 except": ("try: pass\nexcept OSError, e: pass", "mine.py:2: SyntaxError: multiple exception types must be"),
    "no function": ("x = 1", "mine.py: it has no function partition(node, machine)"),
    "exit": ("import sys; sys.exit('no idea')", "mine.py:1: it ended itself with no idea"),
    "exit at once": ("import os; os._exit(3)", "mine.py: it ended with status 3 and without an answer"),
    "exit at once with words": ("import os; os.write(2, b'oh no\\n'); os._exit(0)",
                                "mine.py: it ended with status 0 and without an answer: oh no"),
    "crashes": ("import ctypes; ctypes.string_at(0)", "mine.py: it crashed (SIGSEGV)"),
    "kills itself": ("import os; os.kill(os.getpid(), 9)", "mine.py: it took more than 10 seconds of a processor, or"),
    "nested too deeply": ("x = " + "(" * 10000, "mine.py:1: SyntaxError: too many nested parentheses"),
    "a null": ("x = '\0'", "mine.py"),
    "answers no JSON": ("import os; os.write(3, b'nonsense'); os._exit(0)", "mine.py: it answers nonsense: Expecting value"),
    "answers a list": ("import os; os.write(3, b'[]'); os._exit(0)", "mine.py: it answers nonsense: a list"),
    "answers a wrong fault": ("import os; os.write(3, b'{\"fault\": 7}'); os._exit(0)", "mine.py: it answers nonsense"),
    "answers a hostile fault": ("import os; os.write(3, b'{\"fault\": {\"kind\": [], \"line\": {}, \"words\": 3}}'); os._exit(0)",
                                "mine.py: 3"),
    "returns nothing": ("def partition(node, machine): pass", "mine.py: TypeError: partition() returned NoneType, and a Layout"),
    "returns a list": ("def partition(node, machine): return []", "mine.py: TypeError: partition() returned list, and a Layout"),
    "wrong arguments": ("def partition(): pass", "mine.py: TypeError: partition() takes 0 positional arguments but 2 were given"),
}  # fmt: skip


@pytest.mark.parametrize(("source", "told"), ENDS.values(), ids=ENDS.keys())
def test_what_is_wrong_is_one_line_with_file_and_line(source: str, told: str) -> None:
    job = Job("mine.py", source, **_told())
    with pytest.raises(ProgramFault) as caught:
        sandbox.run(job)
    assert str(caught.value).startswith(told)
    assert str(caught.value).isprintable()


def _told() -> dict[str, dict[str, object]]:
    from bootserver.install.partition import facts
    from tests.programs import node, recorded

    return {
        "node": facts.of_node(node()),
        "machine": facts.of_machine(recorded("uefi-virtio-blank"), facts.Need(), wipe=False),
    }


def test_one_that_takes_too_long_is_told_from_others() -> None:
    with pytest.raises(TookTooLong):
        sandbox.run(Job("mine.py", "while True: pass"), limits=IMPATIENT)


def test_sets_come_in_the_same_order_each_time() -> None:
    source = ROCKS + "print({'sda', 'sdb', 'sdc', 'sdd', 'sde'})"
    assert len({sandbox.run(Job(f"mine-{number}.py", source)).said for number in range(4)}) == 1


def test_the_same_question_gets_the_same_answer_though_the_program_rolls_dice() -> None:
    source = ROCKS + "import random\nprint(random.random())"
    job = Job("dice.py", source, machine={"disks": [{"name": f"sd{letter}"} for letter in "abc"], "wipe": False})
    again = Job("".join(["dice", ".py"]), source, machine={"wipe": False, "disks": [{"name": f"sd{letter}"} for letter in "abc"]})
    assert sandbox.run(job) == sandbox.run(again)
    assert sandbox.run(job) != sandbox.run(dataclasses.replace(job, environment={"Node_Hostname": "compute-0-1"}))


def test_where_namespaces_are_forbidden_the_way_out_is_told(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("forbidding namespaces needs root and unshare")
    script = f"echo 0 >/proc/sys/user/max_user_namespaces && exec {sys.executable} -c '{_FORBIDDEN}'"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", script], capture_output=True, text=True,
        env={"PYTHONPATH": str(Path(bootserver.__file__).parent.parent), "PATH": os.environ["PATH"]}, cwd="/", timeout=60,
        check=False,
    )  # fmt: skip
    if done.returncode != 0 and "unshare:" in done.stderr:
        pytest.skip(f"this machine makes no such namespace: {done.stderr.strip()}")
    told = json.loads(done.stdout)
    assert told.startswith("partition programs run in namespaces of their own, which this machine forbids (unshare: ")
    assert "`sysctl -w user.max_user_namespaces=10000`" in told


_FORBIDDEN = """
import json, os
os.geteuid = lambda: 1000
from bootserver.install.partition.sandbox import Job, NoSandbox, run
try:
    run(Job("mine.py", ""))
except NoSandbox as error:
    print(json.dumps(str(error)))
"""


def test_programs_never_run_as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("who is not root can't become it")
    assert sandbox.run(Job("mine.py", ROCKS + "import os\nprint(os.getuid() == 0)"), user="root").said == "False"
