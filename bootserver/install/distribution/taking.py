"""Takes a folder or an ISO as a distribution: finds out what it is, unpacks or copies what must be, and makes its row."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path

from bootserver.cluster import distributions
from bootserver.db.rows import DistributionRow
from bootserver.errors import NotFound, Refused, Unavailable
from bootserver.install.distribution import ubuntu
from bootserver.install.distribution.arguments import arguments
from bootserver.install.distribution.found import Found, Kind
from bootserver.install.distribution.iso import Iso
from bootserver.install.distribution.recognise import PEEK, NoTree, recognise
from bootserver.install.distribution.shelf import Draft, Shelf, room
from bootserver.install.distribution.unpack import unpack
from bootserver.tree.inside import Inside
from bootserver.values import grammar
from bootserver.values.progress import Progress

_KINDS = {kind.value for kind in Kind}
_CHUNK = 1 << 20
_SHOWN = 3  # of a list that a warning repeats


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an administrator says, which goes before what is found.

    :ivar kernel: a path in the tree, an absolute one, or a URL; `initrds` likewise.
    :ivar copies: False for a dry run: look, and leave nothing.
    """

    kind: str | None = None
    version: str | None = None
    kernel: str | None = None
    initrds: tuple[str, ...] = ()
    args: str | None = None
    copies: bool = True

    @classmethod
    def check(
        cls,
        kind: str | None,
        version: str | None,
        kernel: str | None,
        initrds: tuple[str, ...],
        args: str | None,
        *,
        copies: bool,
    ) -> Wanted:
        """:raises UsageError: one of the words can't be."""
        if kind is not None:
            distributions.check_kind(kind)
        if version is not None:
            distributions.check_word(version, "version")
        if args is not None:
            args = grammar.kernel_args(args, of_boot=True)
        return cls(kind, version, kernel, initrds, args, copies)

    @property
    def says_all(self) -> bool:
        return None not in (self.kind, self.kernel, self.args)


@dataclass(slots=True)
class Taken:
    """:ivar unpacked: the draft holds its tree, and is to be published. :ivar warnings: for the administrator, one a line."""

    row: DistributionRow
    unpacked: bool
    warnings: list[str] = field(default_factory=list)


def take(
    name: str, path: Path, wanted: Wanted, *, state: Path, trees: Shelf, draft: Draft, boot: Draft, progress: Progress
) -> Taken:
    """
    :param name: the distribution's, checked.
    :param path: a folder, which stays where it is, or an ISO, which is unpacked into `draft`.
    :param boot: where its kernel and ramdisks are copied.
    :raises BootserverError: it can't be; nothing but drafts was written.
    """
    if path.is_dir():
        return _take_folder(name, path, wanted, state, boot, progress)
    return _take_iso(name, path, wanted, trees, draft, boot, progress)


def _take_folder(name: str, path: Path, wanted: Wanted, state: Path, boot: Draft, progress: Progress) -> Taken:
    # Links in its path are followed now, so that whoever could turn one later can't have something else served.
    tree = path.resolve()
    found = _find(tree, str(path), wanted, None)
    served = found is None or found.served
    if served:
        distributions.check_tree_path(str(tree))
        if not distributions.may_be_served(tree, state.resolve()):
            raise Refused(
                f"{tree} can't be served to nodes: it holds, or lies in, what is the frontend's own ({state}, /etc):"
                " put the tree elsewhere"
            )
    row = _row(name, found, wanted, str(tree) if served else "", str(path))
    return Taken(_with_files(row, found, wanted, tree, boot, progress), False, _warnings(found, wanted, []))


def _take_iso(name: str, path: Path, wanted: Wanted, trees: Shelf, draft: Draft, boot: Draft, progress: Progress) -> Taken:
    with Iso(path) as iso, trees.draft(f"{name}.peek") as peek:
        progress("looking into it", None)
        unpack(iso, peek.folder, only=PEEK, progress=progress)
        itself = f"{name}.iso"
        found = _find(peek.folder, str(path), wanted, itself)
        row = _row(name, found, wanted, str(trees.folder.resolve() / name), str(path))
        source, left_out = peek.folder, []
        if wanted.copies:
            source = draft.folder
            if found is not None and found.iso is not None:
                room(source, os.fstat(iso.descriptor).st_size, str(path))
                left_out = unpack(iso, source, only=ubuntu.PEEK).left_out
                try:
                    iso.copy(source / itself, progress)
                except OSError as error:
                    raise Unavailable(f"{path} can't be copied to {trees.folder}: {error.strerror}") from error
            else:
                room(source, iso.size, str(path))
                left_out = unpack(iso, source, progress=progress).left_out
                # What only the whole tree shows: Agama's, say.
                found = _find(source, str(path), wanted, itself)
        row = _with_files(row, found, wanted, source, boot, progress)
        return Taken(row, True, _warnings(found, wanted, left_out))


def _find(tree: Path, shown: str, wanted: Wanted, iso: str | None) -> Found | None:
    """What it is; None where it is nothing known, and the administrator says all that must be."""
    try:
        return recognise(tree, shown, iso=iso)
    except NoTree as error:
        if wanted.says_all:
            return None
        raise NoTree(f"{error}; --kind, --kernel, --initrd and --args say how another one is booted") from error
    except Refused:
        if wanted.says_all:
            return None
        raise


def _row(name: str, found: Found | None, wanted: Wanted, tree: str, shown: str) -> DistributionRow:
    """Its row, without kernel and ramdisks."""
    if found is not None and found.from_disc_only and wanted.kernel is None:
        number = found.version.partition(".")[0] or "12"
        raise Refused(
            f"{shown} is {found.title}, whose ramdisk looks for a disc in the node's own drive, and boots over no network:"
            f" add /usr/lib/debian-installer/images/{number}/amd64/text instead (apt-get install"
            f" debian-installer-{number}-netboot-amd64), or name its linux and initrd.gz with --kernel and --initrd"
        )
    kind = distributions.check_kind(wanted.kind) if wanted.kind else found.kind.value if found else ""
    number = wanted.version or (found.version if found else "")
    if kind in _KINDS and not number:
        raise Refused(f"{shown} does not say its version as a number: say with --version which one's syntax its {kind} has")
    if wanted.args is not None:
        args = wanted.args
    elif found is not None and kind in _KINDS and (kind == found.kind.value or Kind(kind) is not Kind.AUTOINSTALL):
        args = arguments(dataclasses.replace(found, kind=Kind(kind), version=number), name)
    else:
        raise Refused(f"how an installer of kind {kind} is told where its answers are is not known: say it with --args")
    facts = (found.family, found.title, found.architecture) if found else ("", name, "")
    return distributions.check(DistributionRow(0, name, "-", (), args, kind, facts[0], facts[1], number, facts[2], tree))


def _with_files(
    row: DistributionRow, found: Found | None, wanted: Wanted, tree: Path, boot: Draft, progress: Progress
) -> DistributionRow:
    """The row with kernel and ramdisks, which are copied into `boot`."""
    kernel = wanted.kernel or (found.kernel if found else "")
    initrds = wanted.initrds or (found.initrds if found and wanted.kernel is None else ())
    names: dict[str, str] = {}
    with Inside(tree) as inside:
        placed = [_place(each, row.name, names, inside, wanted, boot, progress) for each in (kernel, *initrds)]
    return dataclasses.replace(row, kernel=placed[0], initrds=tuple(placed[1:]))


def _place(text: str, name: str, names: dict[str, str], inside: Inside, wanted: Wanted, boot: Draft, progress: Progress) -> str:
    """A kernel or ramdisk as the row names it, copied if it is a file. :param names: what was copied, by its new name."""
    if "://" in text:
        return grammar.boot_url(text)
    base = text.rpartition("/")[2]
    target, number = base, 2
    while names.setdefault(target, text) != text:  # a/initrd and b/initrd
        target = f"{number}-{base}"
        number += 1
    placed = grammar.boot_path(f"{distributions.FOLDER}/{name}/{target}")
    try:
        if text.startswith("/"):
            descriptor = os.open(text, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK) if Path(text).is_file() else None
        else:
            descriptor = inside.open_file(text)
        if descriptor is None:
            raise NotFound(f"there is no file {text!r}" + ("" if text.startswith("/") else " in the tree"))
        with os.fdopen(descriptor, "rb") as reading:
            whole, done = os.fstat(reading.fileno()).st_size, 0
            if not wanted.copies or (boot.folder / target).exists():
                return placed
            with (boot.folder / target).open("xb") as writing:
                os.fchmod(writing.fileno(), 0o644)  # the service reads it as another user
                while chunk := reading.read(_CHUNK):
                    writing.write(chunk)
                    done += len(chunk)
                    progress(f"copying {base}", done / whole if whole else None)
    except OSError as error:
        raise Unavailable(f"{text} can't be copied to {boot.target}: {error.strerror}") from error
    return placed


def _warnings(found: Found | None, wanted: Wanted, left_out: list[str]) -> list[str]:
    warnings = []
    if left_out:
        more = f" and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
        warnings.append(f"left out of the ISO: {', '.join(left_out[:_SHOWN])}{more}")
    if found is not None and not found.has_packages and found.served and wanted.args is None:
        warnings.append("it holds no packages (a boot medium): the kickstart must name a repository")
    return warnings
