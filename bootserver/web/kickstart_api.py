"""What a distribution's own installer is told: its kickstart, preseed or autoinstall, partition lines, and its two stages.

=====================================  ==============  ======================================================================
GET  /node/kickstart/TICKET            boot ticket     its kickstart, preseed ...; the ticket is exchanged by it
GET  /node/kickstart/TICKET/NAME       boot ticket     cloud-init's NoCloud files; ``user-data`` exchanges the ticket
GET  /install/sbin/kickstart.cgi       boot ticket     the same with ``?ticket=`` at Rocks' place (``arch`` and ``np`` with it)
GET  /node/early                       session token   the early stage's script
POST /node/partitions                  session token   (an inventory) partition lines as its installer reads them
GET  /node/late                        session token   the late stage's script
GET  /node/late-files                  session token   tar: files that it lays over the new system
=====================================  ==============  ======================================================================

The exchange comes last: a kickstart that could not be made, or that there was no time for, leaves the ticket good.
"""

from __future__ import annotations

import re
import threading
import time

from flask import Blueprint, Response, request

from bootserver.cluster import attributes, host_keys, installs, journal, passwords
from bootserver.cluster.change import Reader, open_change, open_reader
from bootserver.cluster.events import Kind
from bootserver.cluster.installs import Denial
from bootserver.cluster.status import frontend_url, secure_url
from bootserver.db.rows import DistributionRow, InstallRow
from bootserver.errors import BootserverError, NotFound
from bootserver.install import inventory, stages
from bootserver.install.answer_file import NOCLOUD, USER_DATA, answer_file
from bootserver.install.inventory import Inventory
from bootserver.install.partition import dialects
from bootserver.install.partition.layout import Layout, lay_out
from bootserver.install.stages import Own
from bootserver.values.mac import MacAddress
from bootserver.values.secret import Secret
from bootserver.web import inventories
from bootserver.web.asker import Asker, archive, json_object, token
from bootserver.web.site import Site, plain

MAX_CARDS = 32
"""Cards that a request's headers are read for."""
AGAIN_SECONDS = 15
"""What who comes while there is no time is told to wait (Rocks' number)."""
_MAC = re.compile(r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}")


def blueprint(site: Site) -> Blueprint:
    routes = Blueprint("kickstart", __name__)
    api = _KickstartApi(site)
    routes.get("/node/kickstart/<ticket>")(api.kickstart)
    routes.get("/node/kickstart/<ticket>/<name>")(api.kickstart)
    routes.get("/install/sbin/kickstart.cgi")(api.rocks)
    routes.get("/node/early")(api.early)
    routes.post("/node/partitions")(api.partitions)
    routes.get("/node/late")(api.late)
    routes.get("/node/late-files")(api.late_files)
    return routes


class _KickstartApi:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._turns = threading.BoundedSemaphore(site.config.install.kickstarts)

    # -- with the boot ticket ------------------------------------------------------------------------------------

    def rocks(self) -> Response:
        return self.kickstart(request.args.get("ticket", "")[:200])

    def kickstart(self, ticket: str, name: str = "") -> Response:
        asker = Asker.of_request(self._site)
        if request.method == "HEAD":  # a look uses nothing up
            return plain("")
        if not self._turns.acquire(blocking=False):
            response = asker.can_not("too many installers ask at once", 503)
            response.headers["Retry-After"] = str(AGAIN_SECONDS)
            return response
        try:
            return self._kickstart(asker, ticket, name)
        finally:
            self._turns.release()

    def _kickstart(self, asker: Asker, ticket: str, name: str) -> Response:
        _compare_cards(asker)
        settings, now = self._site.config.install, time.time()
        with open_reader(self._site.databases.cluster) as reader:
            row = asker.row(reader)
            found = installs.ticketed(reader, row, ticket, now, seconds=settings.ticket_seconds)
            if isinstance(found, Denial):
                asker.deny(found.why)
            install, _ = found
            distribution = _distribution(reader, attributes.effective(reader, row).get("distribution"))
            password = passwords.effective(reader, row)
        session = installs.new_session(install)
        try:
            text = answer_file(
                asker.node,
                distribution,
                self._site.templates,
                self._url(asker),
                token=session,
                authorized_keys=self._site.authorized_keys(),
                password=password,
                name=name,
            )
        except BootserverError as error:
            return asker.can_not(error, 404 if isinstance(error, NotFound) else 409)
        if name in NOCLOUD and name != USER_DATA:  # nothing of it is secret, and all of them are fetched with one ticket
            return plain(text)
        self._exchange(asker, ticket, now, session)
        asker.report(Kind.KICKSTART_SENT, {"bytes": len(text), "status": 200})
        return plain(text)

    def _exchange(self, asker: Asker, ticket: str, now: float, session: Secret) -> None:
        settings = self._site.config.install
        with open_change(
            self._site.databases.cluster, asker.node.name, "fetch kickstart", reporter=self._site.reporter
        ) as change:
            row = asker.row(change)
            result = installs.exchange(
                change, row, ticket, now, seconds=settings.ticket_seconds, attempts=settings.attempts, token=session
            )
            cpus = request.args.get("np", type=int)
            if not isinstance(result, Denial) and cpus is not None and 0 < cpus <= 65536 and cpus != row.cpus:
                change.update(row, cpus=cpus)
        if isinstance(result, Denial):  # outside: what an alarm changed is committed
            asker.deny(result.why)

    # -- with the session token ----------------------------------------------------------------------------------

    def early(self) -> Response:
        asker = Asker.of_request(self._site)
        with asker.look():
            pass
        return plain(stages.early(self._url(asker), Secret(token())))

    def partitions(self) -> Response:
        asker = Asker.of_request(self._site)
        with asker.look() as (reader, _, install):
            kind, seed = _kind(reader, install), installs.uuid_seed(reader, install)
        document = json_object(request.max_content_length)
        try:
            found = inventory.parse(document)
            text = dialects.lines(self._layout(asker, install, found, seed), found, kind)
        except BootserverError as error:
            with asker.session("partitions") as (change, row, install):
                installs.fail(change, row, install, str(error), self._site.config.install.attempts)
            return asker.can_not(error)
        inventories.keep(asker, document)
        return plain(text)

    def late(self) -> Response:
        asker = Asker.of_request(self._site)
        with asker.look() as (reader, _, install):
            kind, seed = _kind(reader, install), installs.uuid_seed(reader, install)
        with self._site.databases.journal.read() as connection:
            document = journal.inventory(connection, asker.node.name)
        functions = dialects.NO_LAYOUT
        try:
            if document is not None and kind in dialects.KINDS:
                functions = dialects.late_functions(self._layout(asker, install, inventory.parse(document), seed), kind)
        except BootserverError as error:
            return asker.can_not(error)
        return plain(stages.late(self._url(asker), Secret(token()), functions))

    def late_files(self) -> Response:
        asker, site = Asker.of_request(self._site), self._site
        with asker.look() as (reader, row, _):
            keys = host_keys.of(reader, row)
        state = site.config.frontend.state
        # Its first word at each start goes by plain HTTP: a node key opens nothing else.
        url = frontend_url(asker.interface.network.frontend, site.config.http.seen_port)
        own = Own(asker.node, keys, site.authorized_keys(), state, site.templates, url, site.service_group)
        try:
            return archive((".", entry) for entry in stages.late_files(own))
        except (BootserverError, OSError) as error:
            return asker.can_not(error)

    # -- what it is made from ------------------------------------------------------------------------------------

    def _layout(self, asker: Asker, install: InstallRow, found: Inventory, seed: bytes) -> Layout:
        """:raises BootserverError: why this machine can't be installed so."""
        frontend = self._site.config.frontend
        return lay_out(asker.node, found, state=frontend.state, user=frontend.user, wipe=install.wipe, seed=seed)

    def _url(self, asker: Asker) -> str:
        """The stages go on as they were asked for: by HTTPS, or not."""
        address, http = asker.interface.network.frontend, self._site.config.http
        return secure_url(address, http.tls_port) if request.is_secure else frontend_url(address, http.seen_port)


def _kind(reader: Reader, install: InstallRow) -> str:
    """The kind of the installer that runs; empty for one of a site's own action."""
    row = _distribution(reader, install.distribution)
    return "" if row is None else row.kind


def _distribution(reader: Reader, name: str | None) -> DistributionRow | None:
    return reader.one(DistributionRow, "name = :name", name=name) if name else None


def _compare_cards(asker: Asker) -> None:
    """Anaconda (inst.ks.sendmac) and Rocks' installer name the machine's cards: none of them the node's is another machine's
    install that came to this address. That one of them is proves nothing: a header is easily written."""
    texts = (request.headers.get(f"X-RHN-Provisioning-MAC-{number}", "") for number in range(MAX_CARDS))
    said = {MacAddress.parse(match[0]) for text in texts if (match := _MAC.search(text))}
    known = {nic.mac for nic in asker.node.interfaces}
    if said and not said & known:
        asker.deny(f"the machine has the cards {', '.join(map(str, sorted(said)))}, and {asker.node.name} none of them")
