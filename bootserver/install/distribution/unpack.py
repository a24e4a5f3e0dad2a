"""Unpacks an ISO: libarchive reads it as nobody, and we write, who know only files, folders and links that stay inside.

bsdtar turns the ISO into a tar stream, with no right to write anything and no privilege to lose: a program that parses a
hostile format is the wrong one to be root. Of the stream nothing is believed: names are checked, modes and owners are ours
(0644, 0755, root), links are made when all is written, devices and pipes are left out.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO, cast

from bootserver.errors import Refused, Unavailable
from bootserver.install.distribution.iso import Iso
from bootserver.values.progress import Progress, quiet

PROGRAM, PACKAGE = "bsdtar", "libarchive-tools"

_CHUNK = 1 << 17
_PIPE_BYTES = 1 << 20
_MAX_ENTRIES = 1_000_000
_MAX_MEMORY = 2 << 30
"""Bytes of address space that the program may have; a DVD's directory takes some ten MB."""
_GROWTH = 4
"""A tree has at most so many times its ISO's bytes (zisofs compresses): more is a bomb."""


@dataclass(slots=True)
class Unpacked:
    """:ivar left_out: what was not taken, and why, in words: links that lead out, devices.
    :ivar missing: of a selection, files that others of it are the same as, by name; they must be unpacked as well.
    """

    entries: int = 0
    size: int = 0
    left_out: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def unpack(iso: Iso, target: Path, *, only: Sequence[str] = (), progress: Progress = quiet) -> Unpacked:
    """Unpack an ISO into an empty folder that nobody else can write to.

    :param only: patterns of what to unpack, as bsdtar(1) takes them; none: all.
    :raises Refused: the ISO is damaged, or holds what no honest one does. :raises Unavailable: no program, or no space left.
    """
    done = _unpack(iso, target, only, progress)
    # Equal files are stored once. In a selection the name that has the content may be one that was not selected.
    if done.missing:
        shutil.rmtree(target)
        target.mkdir(0o700)
        done = _unpack(iso, target, [*only, *map(_literal, done.missing)], progress)
    if done.missing:
        raise Refused(f"{iso.path} is damaged: {done.missing[0]!r} is the same as nothing")
    return done


def _unpack(iso: Iso, target: Path, only: Sequence[str], progress: Progress) -> Unpacked:
    writer = _Writer(iso, target, bool(only), progress)
    try:
        with _stream(iso, only) as stream, tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as tar:
            while (member := tar.next()) is not None:
                writer.take(tar, member)
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
        writer.link()
    except (tarfile.TarError, UnicodeError, ValueError) as error:
        raise Refused(f"{iso.path} can't be unpacked: {error}") from error
    except OSError as error:
        raise Unavailable(f"{iso.path} can't be unpacked to {target}: {error.strerror or error}") from error
    return writer.done


class _Writer:
    def __init__(self, iso: Iso, target: Path, is_selection: bool, progress: Progress) -> None:
        self.done = Unpacked()
        self._iso = iso
        self._target = target
        self._is_selection = is_selection
        self._progress = progress
        self._limit = iso.size * _GROWTH
        self._links: list[tuple[str, str]] = []

    def take(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        self.done.entries += 1
        if self.done.entries > _MAX_ENTRIES:
            raise Refused(f"{self._iso.path} holds more than {_MAX_ENTRIES} entries")
        name = self._name(member.name)
        if not name:
            return  # the root
        if member.isdir():
            self._folder(name)
        elif member.isfile():
            self._folder(os.path.dirname(name))  # noqa: PTH120 (names, not paths of ours)
            self._file(name, cast("BinaryIO", tar.extractfile(member)), member.size)
        elif member.islnk():
            self._same(name, self._name(member.linkname))
        elif member.issym():
            self._links.append((name, member.linkname))
        else:
            self.done.left_out.append(f"{name} (no file, folder or link)")

    def _name(self, text: str) -> str:
        """A name below the target. :raises Refused: it leads out; no honest ISO has such a name."""
        parts = [part for part in text.split("/") if part not in ("", ".")]
        if text.startswith("/") or ".." in parts or "\0" in text:
            raise Refused(f"{self._iso.path} holds the name {text[:100]!r}, which leads out of it: that is no honest ISO")
        return "/".join(parts)

    def _folder(self, name: str) -> None:
        # Nothing here is a link while files are written, and nobody else can write: plain paths stay inside.
        path = self._target
        for part in name.split("/") if name else ():
            path /= part
            with contextlib.suppress(FileExistsError):
                path.mkdir(0o755)
                path.chmod(0o755)  # whatever the umask is

    def _file(self, name: str, source: BinaryIO, size: int) -> None:
        if self.done.size + size > self._limit:
            raise Refused(f"{self._iso.path} would take more than {_GROWTH} times its own size: that is no honest ISO")
        try:
            with (self._target / name).open("xb", buffering=0) as file:
                os.fchmod(file.fileno(), 0o644)
                while chunk := source.read(_CHUNK):
                    view = memoryview(chunk)
                    while view:
                        view = view[file.write(view) :]
                    self.done.size += len(chunk)
                    if not self._is_selection:
                        self._progress("unpacking", min(1.0, self.done.size / self._iso.size))
        except FileExistsError:
            raise Refused(f"{self._iso.path} holds the name {name!r} twice") from None

    def _same(self, name: str, of: str) -> None:
        source = self._target / of
        if not source.is_file():
            self.done.missing.append(of)
            return
        self._folder(os.path.dirname(name))  # noqa: PTH120
        try:
            os.link(source, self._target / name)
        except FileExistsError:
            raise Refused(f"{self._iso.path} holds the name {name!r} twice") from None

    def link(self) -> None:
        """Make the links, at last, of those that stay inside."""
        for name, to in self._links:
            above = os.path.dirname(name)  # noqa: PTH120
            if to.startswith("/") or os.path.normpath(f"{above}/{to}" if above else to).split("/")[0] == "..":
                self.done.left_out.append(f"{name} (a link to {to}, which is outside)")
                continue
            self._folder(above)
            try:
                (self._target / name).symlink_to(to)
            except FileExistsError:
                raise Refused(f"{self._iso.path} holds the name {name!r} twice") from None


@contextlib.contextmanager
def _stream(iso: Iso, only: Sequence[str]) -> Iterator[IO[bytes]]:
    """What libarchive makes of an ISO: a tar. :raises Refused: it says that the ISO is damaged."""
    if shutil.which(PROGRAM) is None:
        raise Unavailable(f"there is no program {PROGRAM}, which reads ISOs: apt-get install {PACKAGE}")
    command = [
        *_as_nobody(),
        PROGRAM,
        "-cf",
        "-",
        "-b",
        "2048",
        "--format=pax",
        *(f"--include={pattern}" for pattern in only),
        "@-",
    ]
    # In the plain C locale it can't write names that are not ASCII.
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    os.lseek(iso.descriptor, 0, os.SEEK_SET)
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            command, stdin=iso.descriptor, stdout=subprocess.PIPE, stderr=said, env=environment, cwd="/", pipesize=_PIPE_BYTES
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield process.stdout
            while process.stdout.read(_CHUNK):
                pass  # what pads the end
        except tarfile.TarError as error:
            # The stream ends early when the program gives up, and it says why.
            if process.wait() != 0:
                raise _damaged(iso, said) from error
            raise
        except BaseException:
            process.kill()
            raise
        if process.wait() != 0:
            raise _damaged(iso, said)


def _damaged(iso: Iso, said: IO[bytes]) -> Refused:
    said.seek(0)
    lines = said.read(8192).decode(errors="replace").splitlines()
    why = next((line.strip() for line in lines if line.strip()), "the program that reads it ended early")
    return Refused(f"{iso.path} can't be unpacked, it is damaged: {why.removeprefix(f'{PROGRAM}: ')[:300]}")


def _as_nobody() -> list[str]:
    """What gives all rights up before the program is run, and ends it with us (setpriv(1), prlimit(1))."""
    limits = ["prlimit", f"--as={_MAX_MEMORY}", "--core=0", "--"]
    together = ["setpriv", "--pdeathsig", "KILL", "--no-new-privs"]
    if os.geteuid() != 0:
        return [*together, "--", *limits]
    try:
        account = pwd.getpwnam("nobody")
        user, group = account.pw_uid, account.pw_gid
    except KeyError:
        user = group = 65534  # the kernel's own (overflowuid)
    ids = [f"--reuid={user}", f"--regid={group}", "--clear-groups", "--inh-caps=-all"]
    return [*together, *ids, "--", *limits]


def _literal(name: str) -> str:
    """A name as a pattern that matches it alone."""
    return "".join(f"\\{character}" if character in "*?[]\\" else character for character in name)
