"""Who asks the node API, and whether it may: token, source address and state must agree; anything else is 403 and an event.

And what its routes have in common: reading a document, answering with an archive, saying why something can't be.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, NoReturn

from flask import Response, abort, request, send_file

from bootserver.cluster import installs
from bootserver.cluster.change import Change, Reader, open_change, open_reader
from bootserver.cluster.events import Detail, Event, Kind
from bootserver.cluster.installs import Denial
from bootserver.cluster.view import InterfaceView, NodeView
from bootserver.db.rows import InstallRow, NodeRow
from bootserver.install import entries
from bootserver.install.entries import Entry
from bootserver.web.site import Site, client_address, plain

_IN_MEMORY = 4 << 20
"""Bytes of an archive that is put together; a larger one is on the disk meanwhile."""


@dataclass(frozen=True, slots=True)
class Asker:
    """The node that a request comes from, by its address: the one thing that can't be written into a request."""

    site: Site
    node: NodeView
    interface: InterfaceView

    @classmethod
    def of_request(cls, site: Site) -> Asker:
        """403 for anybody who is no node."""
        address = client_address(site)
        found = site.keeper.view.by_ip.get(address) if isinstance(address, IPv4Address) else None
        if found is None:
            _deny(site, None, "no node of the cluster has this address")
        return cls(site, *found)

    def deny(self, why: str) -> NoReturn:
        _deny(self.site, self, why)

    def can_not(self, error: Exception | str, status: int = 409) -> Response:
        """What it asked for can't be: one line for the person before the machine, and an event."""
        self.report(Kind.UNANSWERED, {"path": shown_path(), "status": status, "why": str(error)})
        return plain(f"{status} {error}", status)

    def report(self, kind: Kind, detail: Detail) -> None:
        self.site.reporter.report(Event(kind, time.time(), self.node.name, self.interface.mac, detail))

    def row(self, reader: Reader) -> NodeRow:
        row = reader.one(NodeRow, "id = :id", id=self.node.id)
        if row is None:
            self.deny("the node is gone")
        return row

    @contextmanager
    def session(self, what: str) -> Iterator[tuple[Change, NodeRow, InstallRow]]:
        """A change by a node whose session token is that of its running install."""
        with open_change(self.site.databases.cluster, self.node.name, what, reporter=self.site.reporter) as change:
            node = self.row(change)
            yield change, node, self._install(change, node)

    @contextmanager
    def look(self) -> Iterator[tuple[Reader, NodeRow, InstallRow]]:
        """The same, to read only."""
        with open_reader(self.site.databases.cluster) as reader:
            node = self.row(reader)
            yield reader, node, self._install(reader, node)

    def _install(self, reader: Reader, node: NodeRow) -> InstallRow:
        install = installs.session(reader, node, token())
        if isinstance(install, Denial):
            self.deny(install.why)
        return install


def shown_path() -> str:
    """The path that was asked for, as events and logs may have it: without a boot ticket."""
    ticket = (request.view_args or {}).get("ticket")
    return request.path.replace(ticket, "****") if ticket else request.path


def json_object(limit: int | None) -> dict[str, Any]:
    """The JSON object that a node sent. 400 for what is none, 413 for what is too long.

    :param limit: bytes that a body may have.
    """
    body = request.get_data()
    if request.content_length is None and len(body) == limit:
        abort(413)  # a chunked body is cut off there, without a word
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        abort(plain("400 an inventory is a JSON object", 400))
    return parsed


def archive(found: Iterable[tuple[str, Entry]]) -> Response:
    """Files on their way to a node, as a tar. :raises OSError: one of them can't be read."""
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  # the response closes it
    try:
        entries.write_tar(found, file)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return send_file(file, mimetype="application/x-tar")


def token() -> str:
    """The token of a request. In its URL, too: the wget of debian-installer, by which it gets its first stage, sends no headers
    of ours. Nothing here writes URLs with their queries down."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else request.args.get("token", "")


def _deny(site: Site, who: Asker | None, why: str) -> NoReturn:
    name, mac = (None, None) if who is None else (who.node.name, who.interface.mac)
    detail: Detail = {"path": shown_path(), "why": why, "status": 403, "from": str(client_address(site))}
    site.reporter.report(Event(Kind.DENIED, time.time(), name, mac, detail))
    abort(plain(f"403 {why}", 403))
