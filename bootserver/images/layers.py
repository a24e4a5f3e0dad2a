"""Lays a container's layers one over the other (OCI image specification 1.1, layer.md): each is unpacked by itself, then merged.

A layer may put a link where a later one puts a file "below" it, and GNU tar would follow the link out of the tree. So each layer
is unpacked into an empty folder of its own, and its entries are moved by renames into folders that the kernel keeps inside.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path

from bootserver.errors import Refused
from bootserver.images import program
from bootserver.images.compression import BROKEN, detect, opened
from bootserver.images.containers import ContainerImage, Layer, check_digest
from bootserver.images.store import Draft
from bootserver.tree.inside import Inside
from bootserver.values.progress import Progress

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_CHUNK = 1 << 20
_MAX_DEPTH = 400
TAR_OPTIONS = ("--xattrs", "--xattrs-include=*", "--acls", "--selinux", "--numeric-owner", "--same-owner", "--same-permissions")
"""All that GNU tar can bring back. A hole is written as one where the archive says so."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _Contents:
    """What a layer says, beside files.

    :ivar folders: those that it names; others are only on the way to something.
    :ivar whiteouts: paths of lower layers that are not there any more.
    :ivar opaque: folders whose content of lower layers is not there any more.
    :ivar lower_links: what its hard links lead to in lower layers.
    """

    folders: frozenset[str]
    whiteouts: tuple[str, ...]
    opaque: tuple[str, ...]
    lower_links: frozenset[str]


def apply(draft: Draft, image: ContainerImage, progress: Progress) -> None:
    """Fill a draft's tree with a container's image.

    :raises Refused: a layer is not what its digest says, or no tar. :raises ProgramFailed: it can't be unpacked.
    """
    for number, layer in enumerate(image.layers, 1):
        words = f"unpacking layer {number} of {len(image.layers)}"
        progress(words, (number - 1) / len(image.layers))
        spool, folder = draft.work / "layer.tar", draft.work / "layer"
        folder.mkdir()
        folder.chmod(0o755)
        _spool(image.folder, layer, spool)
        contents = _contents(spool)
        with Inside(draft.tree) as tree:
            for path in contents.opaque:
                for name in tree.names(f"/{path}"):
                    tree.remove(f"/{path}/{name}")
            for path in contents.whiteouts:
                tree.remove(f"/{path}")
            for path in contents.lower_links:
                _lend(tree, folder, path)
            command = ["tar", "--extract", f"--file={spool}", f"--directory={folder}", f"--exclude={_WHITEOUT}*", *TAR_OPTIONS]
            program.run(program.writing_only(folder, command), what=words)
            _merge(tree, folder, draft.tree, contents.folders)
        shutil.rmtree(folder)
        spool.unlink()


def _spool(folder: Path, layer: Layer, spool: Path) -> None:
    """The layer's plain tar, checked as it is written: what is unpacked is what was checked."""
    if layer.digest is not None:
        algorithm, wanted = check_digest(layer.digest)
        with Inside(folder) as inside, os.fdopen(_open(inside, layer), "rb") as file:
            if hashlib.file_digest(file, algorithm).hexdigest() != wanted:
                raise Refused(f"the container's image is damaged: layer {layer.digest[:20]}... has another digest")
    algorithm, wanted = check_digest(layer.diff_id)
    digest = hashlib.new(algorithm)
    with Inside(folder) as inside, os.fdopen(_open(inside, layer), "rb") as file, spool.open("wb") as writing:
        compression = detect(file.read(8))
        file.seek(0)
        try:
            with opened(file, compression, f"unpacking layer {layer.diff_id[:20]}...") as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
                    writing.write(chunk)
        except BROKEN as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # a full disk, not a damaged file
            raise Refused(f"the container's image is damaged: layer {layer.diff_id[:20]}... can't be unpacked") from error
    if digest.hexdigest() != wanted:
        raise Refused(f"the container's image is damaged: layer {layer.diff_id[:20]}... has another digest")


def _open(inside: Inside, layer: Layer) -> int:
    descriptor = inside.open_file(layer.path)
    if descriptor is None:
        raise Refused(f"the container's image is incomplete: there is no {layer.path.lstrip('/')[:100]}")
    return descriptor


def _contents(spool: Path) -> _Contents:
    folders, names, links = set[str](), set[str](), set[str]()
    whiteouts, opaque = [], []
    try:
        with tarfile.open(spool, "r:", errors="surrogateescape") as tar:
            for member in tar:
                path = _normal(member.name)
                if path is None:
                    continue
                names.add(path)
                parent, _, name = path.rpartition("/")
                if name == _OPAQUE:
                    opaque.append(parent)
                elif name.startswith(_WHITEOUT):
                    hidden = name.removeprefix(_WHITEOUT)
                    # what begins with two is aufs' own, and ".." would be the folder above
                    if hidden not in ("", ".", "..") and not hidden.startswith(_WHITEOUT):
                        whiteouts.append(f"{parent}/{hidden}" if parent else hidden)
                elif member.isdir():
                    folders.add(path)
                elif member.islnk() and (target := _normal(member.linkname)):
                    links.add(target)
    except (tarfile.TarError, *BROKEN) as error:
        raise Refused(f"the container's image is damaged: a layer is no tar ({error})") from error
    return _Contents(frozenset(folders), tuple(whiteouts), tuple(opaque), frozenset(links - names))


def _normal(name: str) -> str | None:
    """A member's path as tar unpacks it; None for one that leads out, which tar does not unpack."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return None if ".." in parts else "/".join(parts)


def _lend(tree: Inside, folder: Path, path: str) -> None:
    """Give a layer's hard link what it leads to: the file of a lower layer, under its name."""
    parent, _, name = path.rpartition("/")
    (folder / parent).mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, FileExistsError), tree.folder(f"/{parent}") as lower:
        os.link(name, folder / path, src_dir_fd=lower, follow_symlinks=False)


# -- merging ----------------------------------------------------------------------------------------------------------


def _merge(tree: Inside, layer: Path, root: Path, named: frozenset[str]) -> None:
    source, target = os.open(layer, _FOLDER), os.open(root, _FOLDER)
    try:
        _merge_folder(tree, source, target, "", named)
    finally:
        os.close(source)
        os.close(target)


def _merge_folder(tree: Inside, source: int, target: int, path: str, named: frozenset[str]) -> None:
    if path.count("/") > _MAX_DEPTH:
        raise Refused(f"a layer is more than {_MAX_DEPTH} folders deep: no system has that")
    status = _Status(source)  # now: its time changes with each entry that is taken out of it
    for name in sorted(os.listdir(source)):
        below, its_path = None, f"{path}/{name}" if path else name
        if stat.S_ISDIR(os.stat(name, dir_fd=source, follow_symlinks=False).st_mode):
            below = _existing_folder(tree, target, name, its_path, its_path in named)
        if below is None:
            _replace(source, target, name)
            continue
        inner = os.open(name, _FOLDER, dir_fd=source)
        try:
            _merge_folder(tree, inner, below, its_path, named)
        finally:
            os.close(inner)
            os.close(below)
    if path in named:
        status.give(target)


def _existing_folder(tree: Inside, target: int, name: str, path: str, named: bool) -> int | None:
    """The folder of lower layers that a layer's folder goes into; None where it takes the place of what is there."""
    try:
        status = os.stat(name, dir_fd=target, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        return os.open(name, _FOLDER, dir_fd=target)
    if stat.S_ISLNK(status.st_mode) and not named:
        # var/run -> /run below, and the layer has var/run/x: the tree's own /run is meant
        with contextlib.suppress(OSError):
            return tree.open(f"/{path}", os.O_RDONLY | os.O_DIRECTORY)
    return None


def _replace(source: int, target: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(name, dir_fd=target, follow_symlinks=False).st_mode):
            shutil.rmtree(name, dir_fd=target)
        elif stat.S_ISDIR(os.stat(name, dir_fd=source, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=target)
    os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)


class _Status:
    """Owner, mode, attributes and time of a folder: those that a layer names are as the layer has them."""

    def __init__(self, folder: int) -> None:
        self._status = os.fstat(folder)
        self._attributes = {name: os.getxattr(folder, name) for name in os.listxattr(folder)}

    def give(self, folder: int) -> None:
        status = self._status
        os.fchown(folder, status.st_uid, status.st_gid)
        os.fchmod(folder, stat.S_IMODE(status.st_mode))
        for name in os.listxattr(folder):
            if name not in self._attributes:
                os.removexattr(folder, name)
        for name, value in self._attributes.items():
            os.setxattr(folder, name, value)
        os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))
