"""Overrides: files that are laid over an image, by scope, at install and at update.

``<state>/overrides/all`` < ``appliance/NAME`` < ``node/NAME``: of two files of the same path, that of the narrower scope is
taken. A file ``X.j2`` is a template for X, rendered with the node's attributes.

The service, an ordinary user, reads them: what others must not read belongs to the service's group (``chgrp bootserver``,
mode 0640). On the node that group becomes root's, and loses its bits, so 0640 root:bootserver here is 0600 root:root there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from bootserver.cluster.view import NodeView
from bootserver.errors import Refused
from bootserver.install.entries import Entry

TEMPLATE = ".j2"
FOLDER = "overrides"

Render = Callable[[str, str], str]
"""(name for messages, template's text) -> text."""


def scopes(state: Path, node: NodeView) -> list[Path]:
    """Where a node's overrides are, the widest scope first."""
    root = state / FOLDER
    return [root / "all", root / "appliance" / node.appliance.name, root / "node" / node.name]


def collect(state: Path, node: NodeView, render: Render, service_group: int | None) -> list[Entry]:
    """A node's overrides, each path once, folders before what is in them.

    :param service_group: the group by which the service reads them; None where there is none such.
    :raises Refused: one can't be read, is no file, folder or link, or stands in two ways; with its path.
    """
    found: dict[str, Entry] = {}
    for scope in scopes(state, node):
        here: dict[str, Path] = {}
        for source, entry in _scope(scope, render, service_group):
            if entry.path in here:
                raise Refused(f"{source} and {here[entry.path]} are the same file of the node: remove one of them")
            here[entry.path] = source
            old = found.get(entry.path)
            if old is not None and old.folder != entry.folder:
                raise Refused(f"{source}: a wider scope has a {'folder' if old.folder else 'file'} of that name")
            found[entry.path] = entry
    return [found[path] for path in sorted(found)]


def _scope(scope: Path, render: Render, service_group: int | None) -> Iterator[tuple[Path, Entry]]:
    if not scope.is_dir():
        return
    for folder, names, files in os.walk(scope, onerror=_unreadable):
        names.sort()
        for name in sorted([*names, *files]):
            source = Path(folder, name)
            path = str(source.relative_to(scope))
            status = source.lstat()
            uid, gid, mode = status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)
            if gid == service_group:
                gid, mode = 0, mode & ~0o070
            if stat.S_ISLNK(status.st_mode):
                yield source, Entry(path, link=os.readlink(source), uid=uid, gid=gid)  # noqa: PTH115
            elif stat.S_ISDIR(status.st_mode):
                yield source, Entry(path, mode, folder=True, uid=uid, gid=gid)
            elif not stat.S_ISREG(status.st_mode):
                raise Refused(f"{source} is no file, folder or symbolic link: it can't be laid over an image")
            elif not os.access(source, os.R_OK):
                raise _unreadable_by_service(source)
            elif name.endswith(TEMPLATE):
                yield source, Entry(path.removesuffix(TEMPLATE), mode, _render(source, render), uid=uid, gid=gid)
            else:
                yield source, Entry(path, mode, source, uid=uid, gid=gid)


def _render(source: Path, render: Render) -> bytes:
    try:
        return render(str(source), source.read_text(encoding="utf-8")).encode()
    except UnicodeDecodeError as error:
        raise Refused(f"{source} is no UTF-8 text, so it can't be a template") from error


def _unreadable(error: OSError) -> None:
    raise _unreadable_by_service(Path(str(error.filename)))


def _unreadable_by_service(path: Path) -> Refused:
    return Refused(f"{path} can't be read by the service: `chgrp bootserver {path}; chmod g+rX {path}`")
