"""Makes an image of what somebody else made: a folder, a tar, a container's image, a squashfs. What it is, its content says."""

from __future__ import annotations

import contextlib
import enum
import os
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bootserver.errors import NotFound, Refused, Unavailable
from bootserver.images import containers, identity, layers, program
from bootserver.images.compression import BROKEN, Compression, detect, opened
from bootserver.images.program import ProgramFailed
from bootserver.images.store import Draft
from bootserver.values.progress import Progress, quiet

_SQUASHFS_MAGIC = b"hsqs"
_END_OF_TAR = 1024
_LOOKED_FOR = "a folder, a tar (plain, gzip, bzip2, xz, zstd), an OCI layout, a docker archive, a squashfs"

# What is first in a container's archive, and never in a root file system.
_CONTAINER = re.compile(
    r"(\./)?(oci-layout|index\.json|manifest\.json|repositories|blobs(/.*)?|[0-9a-f]{64}(\.json|/.*)?|[0-9a-f]{64})"
)

ARCHIVE_OPTIONS = ("--no-same-owner", "--no-same-permissions", "--no-xattrs", "--no-acls", "--no-selinux")


class Form(enum.Enum):
    """What is imported, as people call it."""

    FOLDER = "a folder"
    TAR = "a tar"
    CONTAINER_FOLDER = "a container's image"
    CONTAINER_TAR = "a container's image in a tar"
    SQUASHFS = "a squashfs"


@dataclass(frozen=True, slots=True)
class Found:
    """:ivar compression: of a tar."""

    form: Form
    compression: Compression = Compression.NONE


def recognize(path: Path) -> Found:
    """What a file or folder is.

    :raises NotFound: there is none. :raises Refused: it is nothing that can be imported.
    """
    if path.is_dir():
        is_container = any((path / name).is_file() for name in ("oci-layout", "manifest.json"))
        return Found(Form.CONTAINER_FOLDER if is_container else Form.FOLDER)
    try:
        with path.open("rb") as file:
            if not path.is_file():
                raise Refused(f"{path} is neither a file nor a folder")
            head = file.read(512)
            if head.startswith(_SQUASHFS_MAGIC):
                return Found(Form.SQUASHFS)
            compression = detect(head)
            file.seek(0)
            first = _first_member(file, compression, path)
    except FileNotFoundError:
        raise NotFound(f"there is no file or folder {str(path)!r}") from None
    except OSError as error:
        raise Unavailable(f"{path} can't be read: {error.strerror or error}") from error
    if first is None:
        packed = compression is not Compression.NONE
        what = "what is packed in it is no tar" if packed else f"it begins with {head[:8].hex() or 'nothing'}"
        raise Refused(f"{path} can't be imported, {what}: looked for {_LOOKED_FOR}")
    return Found(Form.CONTAINER_TAR if _CONTAINER.fullmatch(first) else Form.TAR, compression)


def _first_member(file: IO[bytes], compression: Compression, path: Path) -> str | None:
    """The name of the first thing in a tar; None where there is no tar, or nothing in it."""
    name = None
    with (
        contextlib.suppress(tarfile.TarError, ProgramFailed, *BROKEN),
        opened(file, compression, f"unpacking {path.name}") as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        member = tar.next()
        # What is damaged further on is still a tar: unpacking it will say so.
        name = None if member is None else member.name
    return name


def import_tree(draft: Draft, path: Path, *, tag: str | None = None, progress: Progress = quiet) -> str:
    """Fill a draft with what is in `path`, and take its host's identity out.

    :param tag: which image of a container's archive that holds several.
    :returns: how it was made, in words.
    :raises Refused: it can't be imported, or holds no root file system.
    """
    found = recognize(path)
    if tag is not None and found.form not in (Form.CONTAINER_FOLDER, Form.CONTAINER_TAR):
        raise Refused(f"{path} is {found.form.value}: only a container's image has tags")
    match found.form:
        case Form.FOLDER:
            _copy_folder(draft, path, progress)
        case Form.TAR:
            unpack_tar(draft.tree, path, found.compression, layers.TAR_OPTIONS, "unpacking", progress)
        case Form.CONTAINER_FOLDER:
            layers.apply(draft, containers.image_in(path, tag), progress)
        case Form.CONTAINER_TAR:
            unpacked = draft.work / "archive"
            unpacked.mkdir()
            # Only what it says, as plain files of ours: no owners, no attributes.
            unpack_tar(unpacked, path, found.compression, ARCHIVE_OPTIONS, "unpacking the archive", progress)
            layers.apply(draft, containers.image_in(unpacked, tag), progress)
        case Form.SQUASHFS:
            _unpack_squashfs(draft.tree, path, progress)
    _check_root(draft.tree, path)
    identity.strip(draft.tree)
    return f"imported from {found.form.value}: {path.name}"


def unpack_tar(
    folder: Path, path: Path, compression: Compression, options: Sequence[str], words: str, progress: Progress
) -> None:
    """Unpack a tar with GNU tar into an empty folder.

    tar itself takes no absolute name, no ``..`` and makes links that lead away last (its manual, section 10.2); besides, all
    that is outside of the folder is read-only to it. A second archive over the first would not be safe: see ``layers.py``.

    :param options: what of owners, modes and attributes to keep.
    :raises ProgramFailed: it is damaged, or holds what can't be made.
    """
    program.need("tar", "tar")
    command = ["tar", "--extract", "--file=-", f"--directory={folder}", *options]
    if compression is not Compression.NONE:
        command.append(f"--use-compress-program={program.need(compression.value, compression.value)}")
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if compression is Compression.NONE:
            _check_end(file, path)
        progress(words, 0.0)

        def poll(_: int) -> None:
            # tar's standard input is our own open file: its position is how far tar has read.
            progress(words, min(1.0, os.lseek(file.fileno(), 0, os.SEEK_CUR) / size) if size else None)

        program.run(program.writing_only(folder, command), what=f"unpacking {path.name}", stdin=file, poll=poll)


def _check_end(file: IO[bytes], path: Path) -> None:
    """GNU tar takes a tar that is cut off between two members for a whole one. What is compressed notices by itself."""
    file.seek(max(0, os.fstat(file.fileno()).st_size - _END_OF_TAR))
    if file.read(_END_OF_TAR).strip(b"\0"):
        raise Refused(f"{path} is cut off: a tar ends with {_END_OF_TAR} bytes of zero")
    file.seek(0)


def _copy_folder(draft: Draft, path: Path, progress: Progress) -> None:
    source = path.resolve()
    if draft.folder.resolve().is_relative_to(source):
        raise Refused(f"{path} holds the images themselves ({draft.folder.parent}): copy what you want of it elsewhere first")
    program.need("rsync", "rsync")
    progress("copying", 0.0)

    def watch(line: str) -> None:
        if found := re.search(r"\s(\d+)%\s", line):
            progress("copying", int(found.group(1)) / 100)

    command = [
        "rsync",
        "-aHAXS",
        "--numeric-ids",
        "--info=progress2",
        "--no-inc-recursive",
        "--exclude=/proc/*",
        "--exclude=/sys/*",
    ]
    whole = program.writing_only(draft.tree, [*command, f"{source}/", f"{draft.tree}/"])
    program.run(whole, what=f"copying {path}", watch=watch)


def _unpack_squashfs(tree: Path, path: Path, progress: Progress) -> None:
    program.need("unsquashfs", "squashfs-tools")
    size = path.stat().st_size
    progress("unpacking", 0.0)
    command = ["unsquashfs", "-no-progress", "-force", "-xattrs", "-dest", str(tree), str(path.resolve())]
    program.run(
        program.writing_only(tree, command),
        what=f"unpacking {path.name}",
        poll=lambda process: progress("unpacking", min(1.0, _bytes_read(process) / size)),
    )


def _bytes_read(process: int) -> int:
    """By a process and those that it started, a child at a time: ours are each one's only one."""
    count = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        while True:
            count = max(count, int(Path(f"/proc/{process}/io").read_text().split()[1]))
            process = int(Path(f"/proc/{process}/task/{process}/children").read_text().split()[0])
    return count


def _check_root(tree: Path, path: Path) -> None:
    names = {entry.name for entry in tree.iterdir() if entry.is_dir() or entry.is_symlink()}
    if "etc" not in names or not names & {"usr", "bin"}:
        holds = ", ".join(sorted(entry.name for entry in tree.iterdir())[:5]) or "nothing"
        raise Refused(f"{path} holds no root file system: looked for etc and usr at its top, and there is {holds}")
