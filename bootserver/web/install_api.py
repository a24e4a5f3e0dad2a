"""What an install is made of, for the node that it is for: its script, scripts and files of the site, and its turn to copy.

======================  ==========================================================================================
GET  /node/script       its install script; 409 and why, where it can't be installed so
GET  /node/scripts      tar: the site's pre-install and post-install scripts for it
GET  /node/files        tar: what makes the copied image this node, and the site's overrides
POST /node/sync         ``go MODULE SECRET``, or ``wait SECONDS - AHEAD ESTIMATE`` (both in seconds)
======================  ==========================================================================================

All of them want the session token of the node's running install.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from flask import Blueprint, Response

from bootserver.cluster import host_keys, installs, journal, transfers
from bootserver.cluster.events import Kind
from bootserver.cluster.status import frontend_url
from bootserver.db.rows import InstallRow
from bootserver.errors import BootserverError, NotFound, Refused
from bootserver.images.store import ImageStore
from bootserver.install import inventory, material, render
from bootserver.install.entries import Entry
from bootserver.install.material import Case
from bootserver.web.asker import Asker, archive
from bootserver.web.site import Site, plain

_Gather = Callable[[Case], Iterable[tuple[str, Entry]]]


def blueprint(site: Site) -> Blueprint:
    routes = Blueprint("install", __name__, url_prefix="/node")
    api = _InstallApi(site)
    routes.get("/script")(api.script)
    routes.get("/scripts")(api.scripts)
    routes.get("/files")(api.files)
    routes.post("/sync")(api.sync)
    return routes


class _InstallApi:
    def __init__(self, site: Site) -> None:
        self._site = site

    def script(self) -> Response:
        asker = Asker.of_request(self._site)
        with asker.look() as (_, _, install):
            pass
        try:
            if install.image is None:
                text = render.render(asker.node, "script", self._site.templates, self._url(asker))
            else:
                text = material.script(self._case(asker, install))
        except BootserverError as error:
            return asker.can_not(error, _status(error))
        asker.report(Kind.SCRIPT_SENT, {"bytes": len(text), "status": 200})
        return plain(text)

    def scripts(self) -> Response:
        return self._archive(material.scripts)

    def files(self) -> Response:
        return self._archive(lambda case: ((".", entry) for entry in material.files(case)))

    def sync(self) -> Response:
        asker, settings = Asker.of_request(self._site), self._site.config.rsync
        with asker.look() as (reader, node, install):
            secret = installs.rsync_secret(reader, install)
            running = installs.running(reader)
        if install.image is None:
            return plain("409 this install copies no image", 409)
        if not ImageStore(self._site.config.frontend.state).exists(install.image):
            return plain(f"409 image {install.image} is gone from the frontend", 409)
        with self._site.databases.journal.write() as connection:
            turn = transfers.ask(
                connection,
                node.name,
                install.id,
                time.time(),
                running=running,
                slots=settings.transfers,
                stalled=settings.stalled_seconds,
            )
        if isinstance(turn, transfers.Go):
            return plain(f"go {node.name} {secret.reveal()}")
        asker.report(Kind.PHASE, {"phase": "sync", "ahead": turn.ahead, "remaining": round(turn.estimate)})
        return plain(f"wait {turn.again:.0f} - {turn.ahead} {turn.estimate:.0f}")

    # -- what it is made from ------------------------------------------------------------------------------------

    def _case(self, asker: Asker, install: InstallRow) -> Case:
        """:raises BootserverError: something of it is not there, or makes no sense."""
        assert install.image is not None
        config, node = self._site.config, asker.node
        store = ImageStore(config.frontend.state)
        try:
            image = store.describe(install.image)
        except NotFound as error:
            raise Refused(f"image {install.image} is gone from the frontend: {error}") from error
        with self._site.databases.journal.read() as connection:
            document = journal.inventory(connection, node.name)
        if document is None:
            raise Refused(f"{node.name} has not said what disks it has")
        with asker.look() as (reader, row, _):
            seed, keys = installs.uuid_seed(reader, install), host_keys.of(reader, row)
        return Case(
            node=node,
            image=install.image,
            title=image.title,
            tree=store.tree(install.image),
            size=image.size,
            var_size=image.var_size,
            inventory=inventory.parse(document),
            wipe=install.wipe,
            seed=seed,
            host_keys=keys,
            authorized_keys=self._site.authorized_keys(),
            state=config.frontend.state,
            templates=self._site.templates,
            frontend_url=self._url(asker),
            rsync_port=config.rsync.port,
            service_group=self._site.service_group,
            user=config.frontend.user,
        )

    def _url(self, asker: Asker) -> str:
        return frontend_url(asker.interface.network.frontend, self._site.config.http.seen_port)

    def _archive(self, gather: _Gather) -> Response:
        asker = Asker.of_request(self._site)
        with asker.look() as (_, _, install):
            pass
        if install.image is None:
            return plain("409 this install copies no image", 409)
        try:
            return archive(gather(self._case(asker, install)))
        except (BootserverError, OSError) as error:
            return asker.can_not(error, _status(error))


def _status(error: Exception) -> int:
    """The installer shows the line to the person before the machine, and reports that it failed."""
    return 404 if isinstance(error, render.TemplateMissing) else 409
