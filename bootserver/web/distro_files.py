"""Install trees of distributions, below ``/distro/NAME/``: packages, and the later stages of their installers.

Who asks is not looked at: a tree holds no secrets, as files below ``tftpboot`` don't. Only regular files of the tree go out,
found by openat2(2), which no link leads out of; a folder is 404, and neither listed nor redirected to. Ranges (dnf's zchunk,
``curl -C``) and conditional requests (apt) are answered.

A package is no event: an install fetches a thousand. What is one is kernel and ramdisk, which are below ``tftpboot`` by the
same URLs, and go out as all files there do (:mod:`bootserver.web.files`).
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import quote

from flask import Blueprint, Response, current_app, request
from werkzeug.wsgi import wrap_file

from bootserver.cluster import distributions
from bootserver.cluster.change import open_reader
from bootserver.db.connection import DatabaseError
from bootserver.db.rows import DistributionRow
from bootserver.errors import Unavailable
from bootserver.tree.inside import Inside
from bootserver.web.site import Site, plain

ACCELERATED = "/bootserver-distro/"
"""nginx' internal location of unpacked trees (systemd/nginx-bootserver.conf). Others are sent by us: nginx knows no folder of
theirs, and one location for all of the frontend's files would be one too many."""

_NOT_FOUND = "404 not found"


@dataclass(frozen=True, slots=True)
class _Tree:
    """:ivar folder: without links in it; None where nothing of it may be served. :ivar boots: what lies below ``tftpboot``."""

    folder: str | None
    boots: frozenset[str]


class _Trees:
    """The trees by name, read again when the cluster has changed: they are asked for thousands of times in an install."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._sequence: int | None = None
        self._trees: Mapping[str, _Tree] = {}

    def get(self, name: str) -> _Tree | None:
        """:raises DatabaseError: it can't be read, and never could be since we began."""
        sequence = self._site.keeper.view.sequence
        if sequence != self._sequence:
            with self._lock:
                if sequence != self._sequence:
                    self._read(sequence)
        return self._trees.get(name)

    def _read(self, sequence: int) -> None:
        state = self._site.config.frontend.state.resolve()
        try:
            with open_reader(self._site.databases.cluster) as reader:
                rows = reader.rows(DistributionRow)
        except DatabaseError:
            if self._sequence is None:
                raise
            return  # nodes go on installing by what was there last
        self._trees = {row.name: _tree(row, state) for row in rows}
        self._sequence = sequence


def _tree(row: DistributionRow, state: Path) -> _Tree:
    # Looked at here as well as when it is added: a dump that was restored says what it likes.
    served = bool(row.tree) and distributions.may_be_served(Path(row.tree), state)
    return _Tree(row.tree if served else None, frozenset((row.kernel, *row.initrds)))


def blueprint(site: Site) -> Blueprint:
    routes = Blueprint("distro_files", __name__, url_prefix=f"/{distributions.FOLDER}")
    trees = _Trees(site)

    @routes.get("/<name>/<path:path>")
    @routes.get("/<name>//<path:path>")  # of who writes the tree's URL with a slash, and a path with one
    def file(name: str, path: str) -> Response:
        tree = trees.get(name)
        below = f"{distributions.FOLDER}/{name}/{path}"
        if tree is None or tree.folder is None or below in tree.boots:
            return _of_tftpboot(below)
        if "\0" in path:
            return plain(_NOT_FOUND, 404)
        descriptor = _open(tree.folder, path)
        if descriptor is None:
            return plain(_NOT_FOUND, 404)
        return _send(site, tree.folder, descriptor)

    return routes


def _of_tftpboot(path: str) -> Response:
    """Kernel, ramdisk, or a file that a site put there itself: with their events, as all files below ``tftpboot``."""
    return cast("Response", current_app.view_functions["files.file"](path=path))


def _open(folder: str, path: str) -> int | None:
    """A regular file of a tree; None where there is none."""
    try:
        with Inside(Path(folder)) as inside:
            descriptor = inside.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, Unavailable):
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode) and _real(descriptor).startswith(f"{folder}/"):
        return descriptor
    # A folder, a device; or the tree's own folder has become a link to elsewhere since it was added.
    os.close(descriptor)
    return None


def _real(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 (no path of ours)


def _send(site: Site, folder: str, descriptor: int) -> Response:
    status = os.fstat(descriptor)
    response = Response(content_type="application/octet-stream")
    response.last_modified = status.st_mtime  # type: ignore[assignment]  # werkzeug takes seconds, too
    response.set_etag(f"{status.st_mtime_ns:x}-{status.st_size:x}")
    unpacked = f"{site.config.frontend.state.resolve()}/distributions/"
    if site.behind_nginx and folder.startswith(unpacked):
        # By its real path: nginx follows no links (disable_symlinks). It answers ranges and conditions itself.
        relative = _real(descriptor).removeprefix(unpacked)
        os.close(descriptor)
        del response.headers["ETag"]
        response.headers["X-Accel-Redirect"] = ACCELERATED + quote(os.fsencode(relative))
        return response
    file = os.fdopen(descriptor, "rb", buffering=0)
    response.response = wrap_file(request.environ, file)  # gunicorn sends a file of its own by sendfile(2)
    response.direct_passthrough = True
    response.content_length = status.st_size
    response.call_on_close(file.close)
    try:
        response.make_conditional(request.environ, accept_ranges=True, complete_length=status.st_size)
    except BaseException:  # 416: no such range
        file.close()
        raise
    return response
