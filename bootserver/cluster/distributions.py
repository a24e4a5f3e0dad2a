"""Distributions as the cluster knows them: install trees of distributions' own installers, and who is installed from which.

What a tree is, is found out by :mod:`bootserver.install.distribution`; here are its row, and what a row may say.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from bootserver.cluster import uses
from bootserver.cluster.change import Change, Reader
from bootserver.db.rows import (
    DistributionRow,
    InstallRow,
    InstallState,
    NodeRow,
)
from bootserver.errors import NotFound, Refused, UsageError
from bootserver.values import grammar

ATTRIBUTE = "distribution"
FOLDER = "distro"
"""Below ``tftpboot``, where kernels are copied, and in URLs, where the tree is."""
MAX_TREE = 1024

# A folder's name and a word in URLs; never one that begins with a dot (drafts do).
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
# Names the template KIND.j2, so no "/" and no "..".
_KIND = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~+-]{0,31}")
_NEVER = tuple(map(Path, ("/etc", "/proc", "/sys", "/dev")))


def check_name(text: str) -> str:
    """A distribution's name. :raises UsageError: it can't be one."""
    if not _NAME.fullmatch(text):
        raise UsageError(
            f"{text!r} is no name of a distribution: lower-case letters, digits, '.', '_' and '-', at most 63, the first no '.'"
        )
    return text


def check_kind(text: str) -> str:
    """Of what an installer is told by: the name of a template. :raises UsageError: it can't be one."""
    if not _KIND.fullmatch(text):
        raise UsageError(f"{text!r} is no kind of installer: kickstart, preseed, autoinstall, autoyast, or a template's name")
    return text


def check_word(text: str, what: str) -> str:
    """A version, a family, an architecture. :raises UsageError: it is none."""
    if not _WORD.fullmatch(text):
        raise UsageError(f"{text!r} is no {what}: letters, digits, '.', '_', '~', '+' and '-', at most 32")
    return text


def check(row: DistributionRow) -> DistributionRow:
    """All but the name, whoever wrote it; what is empty is not known.

    :returns: the row, with arguments and paths in their one spelling. :raises UsageError: something in it can't be.
    """
    if row.kind:
        check_kind(row.kind)
    for what in ("family", "version", "architecture"):
        if getattr(row, what):
            check_word(getattr(row, what), what)
    if row.tree:
        check_tree_path(row.tree)
    return dataclasses.replace(
        row,
        kernel=grammar.boot_file(row.kernel),
        initrds=tuple(map(grammar.boot_file, row.initrds)),
        args=grammar.kernel_args(row.args, of_boot=True),
        title=grammar.attribute_value(row.title),
    )


def check_tree_path(text: str) -> str:
    """An absolute folder without ``..``. :raises UsageError: it is none."""
    if not text.startswith("/") or len(text) > MAX_TREE or not text.isprintable() or ".." in text.split("/"):
        raise UsageError(f"a tree is an absolute folder without '..' and control characters, not {text[:200]!r}")
    return text


def may_be_served(tree: Path, state: Path) -> bool:
    """Whether a folder may go out to whoever asks: none that holds what is the frontend's own, or lies within it.

    :param tree: without links in it. :param state: the state directory, likewise.
    """
    if tree.is_relative_to(state / "distributions") and tree != state / "distributions":
        return True
    return not any(tree.is_relative_to(folder) or folder.is_relative_to(tree) for folder in (state, *_NEVER))


def get(reader: Reader, name: str) -> DistributionRow:
    """:raises NotFound: there is none of that name."""
    row = reader.one(DistributionRow, "name = :name", name=name)
    if row is None:
        raise NotFound(f"no distribution {name!r}; {_there_are([each.name for each in reader.rows(DistributionRow)])}")
    return row


def put(change: Change, row: DistributionRow, *, replace: bool) -> DistributionRow:
    """Add a distribution, or make the one of its name what `row` says.

    :param replace: there may be one already.
    :raises Refused: there is one and may not be, or it is being installed from now. :raises UsageError: it can't be.
    """
    check_name(row.name)
    row = check(row)
    old = change.one(DistributionRow, "name = :name", name=row.name)
    if old is None:
        return change.insert(row)
    if not replace:
        raise Refused(taken(row.name))
    _refuse_while_installing(change, row.name)
    return change.update(old, **{name: getattr(row, name) for name in row.columns() if name != "id"})


def taken(name: str) -> str:
    return f"distribution {name} exists already: --replace makes it this one, or choose another name"


def remove(change: Change, name: str, *, used: bool = False) -> DistributionRow:
    """
    :param used: also where attributes name it; nodes that have them can't be installed then.
    :returns: what it was. :raises Refused: somebody uses it. :raises NotFound: there is none.
    """
    row = get(change, name)
    _refuse_while_installing(change, name)
    if not used and (found := uses.places(change, ATTRIBUTE, name)):
        raise Refused(f"distribution {name} is used: {uses.used(ATTRIBUTE, found)}, or --used")
    change.delete(row)
    return row


def _refuse_while_installing(reader: Reader, name: str) -> None:
    running = reader.rows(InstallRow, "distribution = :name AND state = :state", name=name, state=InstallState.RUNNING)
    for install in running:
        node = reader.one(NodeRow, "id = :id", id=install.node_id)
        if node is not None:
            raise Refused(
                f"distribution {name} is being installed on {node.name}: wait for its end, or `bootserver pxe set {node.name} os`"
            )


def _there_are(names: list[str]) -> str:
    return f"there are {', '.join(names)}" if names else "`bootserver distro add` makes one"
