"""Who asks the node API, and whether it may: token, source address and state must agree; anything else is 403 and an event."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NoReturn

from flask import abort, request

from bootserver.cluster import installs
from bootserver.cluster.change import Change, Reader, open_change, open_reader
from bootserver.cluster.events import Detail, Event, Kind
from bootserver.cluster.installs import Denial
from bootserver.cluster.view import InterfaceView, NodeView
from bootserver.db.rows import InstallRow, NodeRow
from bootserver.web.site import Site, client_address, plain


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


def token() -> str:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def _deny(site: Site, who: Asker | None, why: str) -> NoReturn:
    name, mac = (None, None) if who is None else (who.node.name, who.interface.mac)
    detail: Detail = {"path": request.path, "why": why, "status": 403, "from": str(client_address(site))}
    site.reporter.report(Event(Kind.DENIED, time.time(), name, mac, detail))
    abort(plain(f"403 {why}", 403))
