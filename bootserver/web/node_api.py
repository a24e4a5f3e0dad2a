"""The node API: what an installing node asks and reports. Plain texts, so that busybox wget and a shell are enough.

Each request wants token, source address and state to agree; anything else is 403, an event, and the mark in insert-ethers.

==========================  =====================  ==============================================
request                     proves itself with     answer
==========================  =====================  ==============================================
GET  /node/whoami           its address            its name
POST /node/exchange         boot ticket (form)     a session token
GET  /node/script           session token          its install script
GET  /node/kickstart        session token          its kickstart, preseed or autoinstall
POST /node/inventory        session token          (a JSON object of at most 1 MiB)
POST /node/phase            session token          (form: phase, percent, message)
POST /node/failed           session token          (form: why)
POST /node/key              session token          its node key
POST /node/installed        session token          the ticket is closed, the action becomes os
POST /node/up               node key               (the installed system is at work)
==========================  =====================  ==============================================
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import NoReturn

from flask import Blueprint, Response, abort, request

from bootserver.cluster import installs, journal
from bootserver.cluster.change import Change, open_change, open_reader
from bootserver.cluster.events import Detail, Event, Kind
from bootserver.cluster.installs import Denial
from bootserver.cluster.view import InterfaceView, NodeView
from bootserver.db.rows import InstallRow, NodeRow
from bootserver.install import render
from bootserver.values.secret import Secret
from bootserver.web.site import Site, client_address, plain

_SESSION_KINDS = {"script": Kind.SCRIPT_SENT, "kickstart": Kind.KICKSTART_SENT}
MAX_MESSAGE = 300
"""Characters of a node's own words that are kept."""


def blueprint(site: Site) -> Blueprint:
    routes = Blueprint("node", __name__, url_prefix="/node")
    api = _NodeApi(site)
    routes.get("/whoami")(api.whoami)
    routes.post("/exchange")(api.exchange)
    routes.get("/script")(lambda: api.material("script"))
    routes.get("/kickstart", endpoint="kickstart")(lambda: api.material("kickstart"))
    routes.post("/inventory")(api.inventory)
    routes.post("/phase")(api.phase)
    routes.post("/failed")(api.failed)
    routes.post("/key")(api.key)
    routes.post("/installed")(api.installed)
    routes.post("/up")(api.up)
    return routes


class _NodeApi:
    def __init__(self, site: Site) -> None:
        self._site = site

    # -- who asks ------------------------------------------------------------------------------------------------

    def _who(self) -> tuple[NodeView, InterfaceView]:
        """The node at this address; 403 for anybody else."""
        address = client_address(self._site)
        found = self._site.keeper.view.by_ip.get(address) if isinstance(address, IPv4Address) else None
        if found is None:
            self._deny(None, "no node of the cluster has this address")
        return found

    def _deny(self, who: tuple[NodeView, InterfaceView] | None, why: str) -> NoReturn:
        name, mac = (None, None) if who is None else (who[0].name, who[1].mac)
        detail: Detail = {"path": request.path, "why": why, "status": 403, "from": str(client_address(self._site))}
        self._site.reporter.report(Event(Kind.DENIED, time.time(), name, mac, detail))
        abort(plain(f"403 {why}", 403))

    def _token(self) -> str:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    @contextmanager
    def _session(self, what: str) -> Iterator[tuple[Change, NodeView, NodeRow, InstallRow]]:
        """A change of a node whose session token is that of its running install."""
        who = self._who()
        with open_change(self._site.databases.cluster, who[0].name, what, reporter=self._site.reporter) as change:
            node = change.one(NodeRow, "id = :id", id=who[0].id)
            install = Denial("the node is gone") if node is None else installs.session(change, node, self._token())
            if node is None or isinstance(install, Denial):
                self._deny(who, install.why if isinstance(install, Denial) else "the node is gone")
            yield change, who[0], node, install

    # -- what it asks --------------------------------------------------------------------------------------------

    def whoami(self) -> Response:
        return plain(self._who()[0].name)

    def exchange(self) -> Response:
        who = self._who()
        ticket = request.form.get("ticket", "")[:200]
        with open_change(self._site.databases.cluster, who[0].name, "exchange ticket", reporter=self._site.reporter) as change:
            node = change.one(NodeRow, "id = :id", id=who[0].id)
            result: Secret | Denial = Denial("the node is gone")
            if node is not None:
                result = installs.exchange(change, node, ticket, time.time(), self._site.ticket_seconds)
        if isinstance(result, Denial):  # outside: what an alarm changed is committed
            self._deny(who, result.why)
        return plain(result.reveal())

    def material(self, what: str) -> Response:
        with self._session(what) as (_change, view, _node, _install):
            pass
        try:
            text = render.render(view, what, self._site.templates, request.host_url)
        except render.TemplateMissing as error:
            return plain(f"404 {error}", 404)
        mac = view.interfaces[0].mac if view.interfaces else None
        detail = {"bytes": len(text), "status": 200}
        self._site.reporter.report(Event(_SESSION_KINDS[what], time.time(), view.name, mac, detail))
        return plain(text)

    def inventory(self) -> Response:
        with self._session("inventory") as (_change, view, _node, _install):
            pass
        body = request.get_data()
        if request.content_length is None and len(body) == request.max_content_length:
            abort(413)  # a chunked body is cut off there, without a word
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            return plain("400 an inventory is a JSON object", 400)
        with self._site.databases.journal.write() as connection:
            journal.keep_inventory(connection, view.name, json.dumps(parsed))
        self._site.reporter.report(Event(Kind.INVENTORY, time.time(), view.name, detail={"bytes": len(body)}))
        return plain("ok")

    def phase(self) -> Response:
        detail: dict[str, float | str | None] = {}
        percent = request.form.get("percent", type=float)
        if percent is not None and 0 <= percent <= 100:
            detail["percent"] = percent
        if message := _words(request.form.get("message", "")):
            detail["message"] = message
        with self._session("phase") as (change, _view, node, install):
            denial = installs.report_phase(change, node, install, request.form.get("phase", ""), detail)
        if denial is not None:
            self._deny(self._who(), denial.why)
        return plain("ok")

    def failed(self) -> Response:
        with self._session("failed") as (change, _view, node, install):
            installs.fail(change, node, install, _words(request.form.get("why", "")) or "it did not say why")
        return plain("ok")

    def key(self) -> Response:
        with self._session("node key") as (change, _view, node, _install):
            key = installs.make_node_key(change, node)
        return plain(key.reveal())

    def installed(self) -> Response:
        with self._session("installed") as (change, _view, node, _install):
            installs.finish(change, node)
        return plain("ok")

    def up(self) -> Response:
        who = self._who()
        with open_reader(self._site.databases.cluster) as reader:
            node = reader.one(NodeRow, "id = :id", id=who[0].id)
            genuine = node is not None and installs.has_node_key(reader, node, self._token())
        if not genuine:
            self._deny(who, "the node key is not this node's")
        self._site.reporter.report(Event(Kind.UP, time.time(), who[0].name, who[1].mac))
        return plain("ok")


def _words(text: str) -> str:
    """A node's own words, as they may be kept and shown: one line, printable, not long."""
    return "".join(character if character.isprintable() else " " for character in text)[:MAX_MESSAGE].strip()
