"""Runs a partition program where it can do no harm, whoever we are: the service's user or root.

A program is a site's, and it is told what a stranger's machine says of itself; so it gets a process of its own for each run,
with walls that an ordinary user may build (``inside/cell.py``: namespaces, no capabilities, no network, a root of its own)
and limits. Root becomes the service's user before anything else. What is sent to it is compiled here; nothing of ours
is visible to it. What comes back is at most 1 MiB, and is a stranger's (:mod:`.codec`).

A run takes about 40 ms: the interpreter starts without site-packages, and imports little.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import marshal
import os
import pwd
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

from bootserver.errors import BootserverError, Unavailable
from bootserver.install.document import clean
from bootserver.install.partition import codec
from bootserver.install.partition.codec import AnswerFault
from bootserver.install.partition.inside import cell

_INSIDE = Path(__file__).parent / "inside"
_BOOT = """
import marshal, sys
request = marshal.load(sys.stdin.buffer)
cell, running = {"__name__": "cell"}, {"__name__": "running"}
exec(request["cell"], cell)
exec(request["running"], running)
cell["enclose"](request["limits"], request["shown"], request["hidden"], lambda: running["run"](request))
"""
_PACKAGE = "bootserver.install.partition.inside"
_MODULES = ("bootserver_partition", "rocks_partition", f"{_PACKAGE}.machine", f"{_PACKAGE}.layout")
_MAX_OUTPUT = 1 << 20
_KEPT_WORDS = 1 << 16
_REMEMBERED = 64
_GRACE_SECONDS = 2.0  # a process that was killed is gone by then, but on a machine that stands still


class ProgramFault(BootserverError):
    """A program fails; the text names file and line."""


class TookTooLong(ProgramFault):
    """It did not end in time."""


class NoSandbox(Unavailable):
    """This machine's kernel or service manager forbids what the walls are made of."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may take.

    :ivar seconds: of the clock, and one more of a processor. :ivar memory: bytes, of each process. :ivar tmp: bytes in /tmp.
    :ivar processes: at once.
    """

    seconds: int = 10
    memory: int = 256 << 20
    tmp: int = 8 << 20
    processes: int = 10


@dataclass(frozen=True, slots=True)
class Job:
    """A program, and what it is told.

    :ivar name: of its file, as errors call it. :ivar source: its text. :ivar shell: it is for /bin/sh.
    :ivar rocks: it writes a file, and is not asked by a function.
    :ivar node, machine, rocks_facts: what it is told, as plain values. :ivar environment: beside nothing else.
    """

    name: str
    source: str
    node: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    rocks_facts: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    rocks: bool = False
    shell: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    :ivar result: has ``layout``, ``text`` or ``refused``. :ivar said: what it printed, as printable lines.
    """

    result: Mapping[str, Any]
    said: str = ""


def run(job: Job, *, user: str = "bootserver", hidden: Sequence[Path] = (), limits: Limits | None = None) -> Outcome:
    """Run a program once. The same job is not run again by this process: a machine's script and files must agree.

    :param user: who root becomes; nobody, where there is none of that name.
    :param hidden: folders that it must not see, should they be below those of the system.
    :raises ProgramFault: it raised, took too much, or answered nonsense. :raises NoSandbox: it can't be walled in here.
    """
    limits = limits or Limits()
    # Not of the request itself: marshal writes the same values in different ways.
    asked = [dataclasses.asdict(limits), list(map(str, hidden)), user, *(_plain(getattr(job, key)) for key in Job.__slots__)]
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).digest()
    known = _remembered(key)
    if known is None:
        known = _run(_request(job, hidden, limits), job.name, user, limits)
        _remember(key, known)
    return known


def _request(job: Job, hidden: Sequence[Path], limits: Limits) -> bytes:
    prefix = os.path.realpath(sys.base_prefix)
    return marshal.dumps(
        {
            "cell": _code("cell"),
            "running": _code("running"),
            "modules": {name: _code(name.rpartition(".")[2]) for name in _MODULES},
            "limits": dataclasses.asdict(limits),
            "shown": () if prefix == "/usr" else (prefix,),
            "hidden": tuple(map(str, hidden)),
            "name": job.name,
            "source": job.source,
            "node": _plain(job.node),
            "machine": _plain(job.machine),
            "rocks_facts": _plain(job.rocks_facts),
            "environment": dict(job.environment),
            "rocks": job.rocks,
            "shell": job.shell,
        }
    )


def _plain(value: Any) -> Any:
    """Only what marshal writes, whatever kind of mapping or sequence it was."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value


@functools.cache
def _code(name: str) -> CodeType:
    return compile((_INSIDE / f"{name}.py").read_text(encoding="utf-8"), name, "exec", dont_inherit=True, optimize=2)


def _run(request: bytes, name: str, user: str, limits: Limits) -> Outcome:
    with os.fdopen(os.memfd_create("partition-program"), "w+b") as sent:
        sent.write(request)
        sent.seek(0)
        process = _start(sent.fileno(), name, user)
    try:
        answer, said = _listen(process, name, limits)
    finally:
        _end(process)
    if process.returncode == cell.NO_WALLS:
        raise NoSandbox(_forbidden(clean(answer.decode(errors="replace"))[:200]))
    if not answer:
        raise ProgramFault(f"{name}: {_how_it_ended(process.returncode, limits)}{_last_words(said)}")
    try:
        result = codec.decode(answer)
    except AnswerFault as error:
        raise ProgramFault(f"{name}: {error}") from error
    if "fault" in result:
        raise ProgramFault(_fault(result["fault"], name, limits))
    return Outcome(result, _printable(said))


def _start(request: int, name: str, user: str) -> subprocess.Popen[bytes]:
    interpreter: str = getattr(sys, "_base_executable", sys.executable)  # a virtual environment's may be in somebody's home
    who = _become(user)
    try:
        return subprocess.Popen(
            # -I would ignore the environment, and with it the seed that makes sets come in the same order each time.
            [interpreter, "-S", "-s", "-P", "-B", "-X", "utf8", "-c", _BOOT],
            stdin=request,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LC_ALL": "C", "PYTHONHASHSEED": "0"},  # noqa: S108 (its own)
            start_new_session=True,
            user=None if who is None else who.pw_uid,
            group=None if who is None else who.pw_gid,
            extra_groups=None if who is None else (),
            umask=0o022,
        )
    except OSError as error:
        whom = "" if who is None else f" by user {who.pw_name}"
        raise NoSandbox(f"{name} can't be run: {interpreter} can't be started{whom}: {error.strerror}") from error


def _become(user: str) -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in (user, "nobody"):
        try:
            who = pwd.getpwnam(name)
        except KeyError:
            continue
        if who.pw_uid != 0:
            return who
    raise NoSandbox(f"there is neither a user {user!r} nor a user nobody: partition programs never run as root")


def _listen(process: subprocess.Popen[bytes], name: str, limits: Limits) -> tuple[bytes, bytes]:
    """:returns: its answer, and what it printed. :raises ProgramFault: it does not end, or says too much."""
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = time.monotonic() + limits.seconds
    answer, said = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, (answer, "answers"))
        selector.register(process.stderr, selectors.EVENT_READ, (said, "prints"))
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                break
            for ready, _ in selector.select(left):
                chunk = os.read(ready.fd, 1 << 16)
                if not chunk:
                    selector.unregister(ready.fileobj)
                    continue
                heard, what = ready.data
                heard += chunk
                if len(heard) > _MAX_OUTPUT:
                    raise ProgramFault(f"{name}: it {what} more than {_MAX_OUTPUT >> 20} MB")
    try:
        process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TookTooLong(f"{name}: it did not end within {limits.seconds} seconds") from None
    return bytes(answer), bytes(said)


def _end(process: subprocess.Popen[bytes]) -> None:
    """With the first process everything inside is killed."""
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            process.kill()
        process.wait(_GRACE_SECONDS)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _how_it_ended(status: int, limits: Limits) -> str:
    number = status - 128 if status > 128 else -status
    if number == signal.SIGKILL:
        return f"it took more than {limits.seconds} seconds of a processor, or more memory than there is"
    if 0 < number < signal.NSIG:
        return f"it crashed ({signal.Signals(number).name})"
    return f"it ended with status {status} and without an answer"


def _last_words(said: bytes) -> str:
    lines = [line for line in _printable(said).splitlines() if line.strip()]
    return f": {lines[-1][:200]}" if lines else ""


def _fault(found: object, name: str, limits: Limits) -> str:
    if not isinstance(found, dict):
        return f"{name}: it answers nonsense: a fault that is none"
    line, kind, words = found.get("line"), found.get("kind"), str(found.get("words", ""))
    if kind == "MemoryError":
        kind, words = "", f"it used more than {limits.memory >> 20} MB of memory"
    if isinstance(kind, str) and issubclass(getattr(__import__("builtins"), kind, object), SyntaxError):
        words += " (programs are Python 3)" if "print" in words or "parenthes" in words or "octal" in words else ""
    where = f"{name}:{line}" if isinstance(line, int) else name
    said = ": ".join(str(each) for each in (kind, words) if each)
    return clean(f"{where}: {said or 'it fails and does not say why'}".replace("\n", " "))[:600]


def _printable(said: bytes) -> str:
    text = said[:_KEPT_WORDS].decode(errors="replace")
    return "\n".join(clean(line) for line in text.splitlines())


def _forbidden(why: str) -> str:
    return f"partition programs run in namespaces of their own, which this machine forbids ({why}): {_way_out()}"


def _way_out() -> str:
    """The setting that forbids it, as far as it can be seen."""
    for name, wrong, setting in (
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
    ):
        try:
            if Path("/proc/sys", name).read_text().strip() == wrong:
                return f"`sysctl -w {setting}`, and a line in /etc/sysctl.d to keep it"
        except OSError:
            continue
    return "allow unprivileged user namespaces (sysctl user.max_user_namespaces, RestrictNamespaces= of the service's unit)"


# -- what was answered before --------------------------------------------------------------------------------------

_known: OrderedDict[bytes, Outcome] = OrderedDict()
_lock = threading.Lock()


def _remembered(key: bytes) -> Outcome | None:
    with _lock:
        return _known.get(key)


def _remember(key: bytes, outcome: Outcome) -> None:
    with _lock:
        _known[key] = outcome
        while len(_known) > _REMEMBERED:
            _known.popitem(last=False)
