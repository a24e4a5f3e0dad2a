"""The node API: what an installing node proves and reports. Plain texts, so that a busybox shell is enough.

Each request wants token, source address and state to agree; anything else is 403, an event, and the mark in insert-ethers.
What an install is made of is fetched beside it (:mod:`bootserver.web.install_api`).

=============================  =================  ==============================================
request                        proves itself by   answer
=============================  =================  ==============================================
GET  /node/whoami              its address        its name
POST /node/exchange            boot ticket        a session token
POST /node/inventory           session token      (a JSON object of at most 1 MiB)
POST /node/phase               session token      (form: phase, percent, rate, remaining, message)
POST /node/failed              session token      (form: why)
POST /node/key                 session token      its node key
POST /node/host-key/NAME       session token      (a file of its SSH host keys is kept)
POST /node/installed           session token      the ticket is closed, the action becomes os
POST /node/up                  node key           (the installed system is at work)
=============================  =================  ==============================================
"""

from __future__ import annotations

import re
import time

from flask import Blueprint, Response, request

from bootserver.cluster import host_keys, installs, transfers
from bootserver.cluster.change import open_change, open_reader
from bootserver.cluster.events import Kind
from bootserver.cluster.installs import Denial
from bootserver.web import inventories
from bootserver.web.asker import Asker, json_object, token
from bootserver.web.site import Site, plain

MAX_MESSAGE = 300
"""Characters of a node's own words that are kept."""

_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([kMGT]?)B/s")
_WEEK = 7 * 86400
_UNITS = {"": 1e-6, "k": 1e-3, "M": 1.0, "G": 1e3, "T": 1e6}


def blueprint(site: Site) -> Blueprint:
    routes = Blueprint("node", __name__, url_prefix="/node")
    api = _NodeApi(site)
    routes.get("/whoami")(api.whoami)
    routes.post("/exchange")(api.exchange)
    routes.post("/inventory")(api.inventory)
    routes.post("/phase")(api.phase)
    routes.post("/failed")(api.failed)
    routes.post("/key")(api.key)
    routes.post("/host-key/<name>")(api.host_key)
    routes.post("/installed")(api.installed)
    routes.post("/up")(api.up)
    return routes


class _NodeApi:
    def __init__(self, site: Site) -> None:
        self._site = site

    def _asker(self) -> Asker:
        return Asker.of_request(self._site)

    def whoami(self) -> Response:
        return plain(self._asker().node.name)

    def exchange(self) -> Response:
        asker, settings = self._asker(), self._site.config.install
        ticket = request.form.get("ticket", "")[:200]
        with open_change(
            self._site.databases.cluster, asker.node.name, "exchange ticket", reporter=self._site.reporter
        ) as change:
            result = installs.exchange(
                change, asker.row(change), ticket, time.time(), seconds=settings.ticket_seconds, attempts=settings.attempts
            )
        if isinstance(result, Denial):  # outside: what an alarm changed is committed
            asker.deny(result.why)
        return plain(result.reveal())

    def inventory(self) -> Response:
        asker = self._asker()
        with asker.look():
            pass
        inventories.keep(asker, json_object(request.max_content_length))
        return plain("ok")

    def phase(self) -> Response:
        asker, name = self._asker(), request.form.get("phase", "")
        with asker.session("phase") as (change, node, install):
            denial = installs.report_phase(change, node, install, name, _progress())
        if denial is not None:
            asker.deny(denial.why)
        with self._site.databases.journal.write() as connection:
            if name in installs.BEFORE_SYNC or name == "sync":
                transfers.heard_of(connection, asker.node.name, time.time())
            else:
                transfers.close(connection, asker.node.name, time.time())
        return plain("ok")

    def failed(self) -> Response:
        asker = self._asker()
        why = _words(request.form.get("why", "")) or "it did not say why"
        with asker.session("failed") as (change, node, install):
            installs.fail(change, node, install, why, self._site.config.install.attempts)
        with self._site.databases.journal.write() as connection:
            transfers.close(connection, asker.node.name, time.time())
        return plain("ok")

    def key(self) -> Response:
        with self._asker().session("node key") as (change, node, _install):
            key = installs.make_node_key(change, node)
        return plain(key.reveal())

    def host_key(self, name: str) -> Response:
        text = request.get_data(cache=False).decode("ascii", "replace")
        with self._asker().session("host key") as (change, node, _install):
            host_keys.keep(change, node, name, text)
        return plain("ok")

    def installed(self) -> Response:
        asker = self._asker()
        with asker.session("installed") as (change, node, _install):
            installs.finish(change, node)
        with self._site.databases.journal.write() as connection:
            transfers.close(connection, asker.node.name, time.time())
        return plain("ok")

    def up(self) -> Response:
        asker = self._asker()
        with open_reader(self._site.databases.cluster) as reader:
            genuine = installs.has_node_key(reader, asker.row(reader), token())
        if not genuine:
            asker.deny("the node key is not this node's")
        asker.report(Kind.UP, {})
        return plain("ok")


def _progress() -> dict[str, float | str | None]:
    """How far a phase is, as far as it makes sense: percent, MB/s, seconds that remain (the rate in rsync's own words)."""
    detail: dict[str, float | str | None] = {}
    percent = request.form.get("percent", type=float)
    if percent is not None and 0 <= percent <= 100:
        detail["percent"] = percent
    if rate := _RATE.fullmatch(request.form.get("rate", "")):
        detail["rate"] = round(float(rate[1]) * _UNITS[rate[2]], 3)
    remaining = request.form.get("remaining", type=int)
    if remaining is not None and 0 <= remaining < _WEEK:
        detail["remaining"] = remaining
    if message := _words(request.form.get("message", "")):
        detail["message"] = message
    return detail


def _words(text: str) -> str:
    """A node's own words, as they may be kept and shown: one line, printable, not long."""
    return "".join(character if character.isprintable() else " " for character in text)[:MAX_MESSAGE].strip()
