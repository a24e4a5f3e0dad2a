"""Runs the programs that make images: tar, rsync, mmdebstrap. They end with us, and what went wrong is their own line."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from bootserver.errors import BootserverError, Unavailable
from bootserver.images import confined

_KEPT_LINES = 40
_LONGEST_LINE = 400  # characters of a program's line that an error repeats
_POLL_SECONDS = 0.2
_PIPE_BYTES = 1 << 18

TOGETHER = ("setpriv", "--pdeathsig", "KILL", "--")
"""Ends a program when we are killed, so that nothing goes on writing into a draft that is being cleaned up."""
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--")
"""The same for all that it starts: with the first process of its pid namespace all others are killed."""

_SAYS_NOTHING = (
    "Exiting with failure status due to previous errors",
    "Error is not recoverable",
    "Child returned status",
    "rsync error: ",
    "failed to run",
    "main() received",
)


class ProgramFailed(BootserverError):
    """A program ended with an error; the text holds its own line.

    :ivar status: as a shell reports it. :ivar lines: what it said.
    """

    def __init__(self, what: str, lines: Sequence[str], status: int) -> None:
        self.status = status
        self.lines = tuple(lines)
        super().__init__(f"{what} failed: {telling(lines) or f'it says nothing and ends with status {status}'}")


def telling(lines: Sequence[str]) -> str:
    """The line that says why: the first that calls itself an error, else the last one that says anything."""
    said = [line for line in lines if line.strip() and not any(words in line for words in _SAYS_NOTHING)]
    errors = [line for line in said if line.startswith(("E: ", "dpkg: error", "Error: "))]
    return (errors[0] if errors else said[-1] if said else "").strip()[:_LONGEST_LINE]


def writing_only(folder: Path, command: Sequence[str]) -> list[str]:
    """The command, run where everything but `folder` is read-only: whatever an archive's names and links lead to."""
    return [*TOGETHER, *NAMESPACES, sys.executable, "-I", confined.__file__, "write", str(folder), *command]


def need(program: str, package: str) -> str:
    """:raises Unavailable: it is not installed; with the package that brings it."""
    if shutil.which(program) is None:
        raise Unavailable(f"there is no program {program}: apt-get install {package}")
    return program


def run(
    command: Sequence[str],
    *,
    what: str,
    stdin: int | IO[bytes] | None = None,
    watch: Callable[[str], None] | None = None,
    poll: Callable[[int], None] | None = None,
    environment: Mapping[str, str] | None = None,
    fine: Sequence[int] = (0,),
) -> list[str]:
    """Run a program to its end; it is killed when anything goes wrong here.

    :param what: begins the error: ``unpacking x.tar``.
    :param watch: gets each line that it prints, on either output; a carriage return ends one, too.
    :param poll: called several times a second with its process id.
    :param fine: the statuses that are no error.
    :returns: its last lines.
    :raises ProgramFailed: it ended with another status. :raises Unavailable: it is not there.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            umask=0o022,
        )
    except FileNotFoundError as error:
        raise Unavailable(f"there is no program {error.filename}: install it") from None
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    try:
        assert process.stdout is not None
        _follow(process.stdout, lines, watch, (lambda: poll(process.pid)) if poll else None)
        status = process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if status not in fine:
        raise ProgramFailed(what, list(lines), status if status >= 0 else 128 - status)
    return list(lines)


@contextlib.contextmanager
def reading(command: Sequence[str], source: IO[bytes], what: str) -> Iterator[IO[bytes]]:
    """What a program (a decompressor) makes of a file, to be read; it is stopped where it is not read to its end.

    :raises ProgramFailed: it failed before the end.
    """
    try:
        process = subprocess.Popen(
            [*TOGETHER, *command], stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pipesize=_PIPE_BYTES
        )
    except FileNotFoundError as error:
        raise Unavailable(f"there is no program {error.filename}: install it") from None
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout as output, process.stderr as errors:
        try:
            yield output
            if output.read(1):
                return
            said = errors.read(65536).decode(errors="replace").splitlines()
            if process.wait() != 0:
                raise ProgramFailed(what, said, process.returncode)
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()


def _follow(output: IO[bytes], lines: deque[str], watch: Callable[[str], None] | None, poll: Callable[[], None] | None) -> None:
    descriptor, rest = output.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        polled = time.monotonic()
        while True:
            ready = selector.select(_POLL_SECONDS if poll else None)
            if poll and time.monotonic() - polled >= _POLL_SECONDS:
                poll()
                polled = time.monotonic()
            if not ready:
                continue
            chunk = os.read(descriptor, 65536)
            *whole, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
            rest = rest[-_LONGEST_LINE:]
            for line in [*whole, *([rest] if not chunk else [])]:
                text = line.decode(errors="replace")
                if text.strip():
                    lines.append(text)
                if watch and text:
                    watch(text)
            if not chunk:
                return
