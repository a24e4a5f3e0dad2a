"""The part that answers names, and tells a site's server of them: put together from ``netboot/dns``."""

from __future__ import annotations

import logging
import os
import pwd
from collections.abc import Callable, Sequence
from functools import partial

from bootserver.cluster.change import open_reader
from bootserver.cluster.keeper import ViewKeeper
from bootserver.cluster.reporting import PipeReporter
from bootserver.cluster.view import View
from bootserver.config import Config
from bootserver.db.connection import DatabaseError, open_databases
from bootserver.db.rows import NetworkRow
from bootserver.errors import Unavailable
from bootserver.netboot.dns.answer import Answerer
from bootserver.netboot.dns.backstage import Site
from bootserver.netboot.dns.forward import Forwarder
from bootserver.netboot.dns.keys import read_key
from bootserver.netboot.dns.names import Names, names
from bootserver.netboot.dns.outbox import Outbox
from bootserver.netboot.dns.server import DnsServer
from bootserver.netboot.dns.transfer import Notifier
from bootserver.netboot.dns.update import Courier, Server, Updater
from bootserver.service import privileges
from bootserver.service.sockets import DnsPair
from bootserver.service.supervisor import Ready

logger = logging.getLogger(__name__)


def serve(
    config: Config,
    keeper: ViewKeeper,
    reporter: PipeReporter,
    pairs: Sequence[DnsPair],
    on_terminate: Callable[[Callable[[], object]], None],
    ready: Ready,
) -> None:
    """Answer until SIGTERM."""
    settings = config.dns
    key = None if settings.transfer_key is None else read_key(settings.transfer_key)
    site = Site(
        Forwarder(settings.forwarders, settings.forward_seconds, settings.cache) if settings.forwarders else None,
        settings.secondaries,
        Notifier(settings.secondaries, key) if settings.secondaries else None,
    )
    make = partial(Answerer, ttl=settings.ttl, recursion=bool(settings.forwarders), keys={} if key is None else {key.name: key})
    server = DnsServer(pairs, make, reporter, site, per_client=settings.per_client, on_tick=reporter.flush)
    newest: list[Names] = []
    courier = _courier(config, lambda: newest[-1] if newest else None, reporter)

    def show(view: View) -> None:
        if view.sequence < 0:
            return
        try:
            found = names_of(view, config)
            newest[:] = [found]
            server.show(found)
            if courier is not None:
                courier.changed()
        except Exception:  # in the keeper's thread, which has other things to keep
            logger.exception("defect: the names stay as they are (change %d)", view.sequence)

    keeper.on_change(show)
    show(keeper.view)
    if courier is not None:
        courier.start()
    on_terminate(server.stop)
    ready()
    server.serve()
    reporter.flush()


def names_of(view: View, config: Config) -> Names:
    """The names of a view, as this frontend calls itself."""
    return names(view, frontend=config.frontend.name, domain=config.frontend.domain, address=config.network.address)


def updater(config: Config) -> Updater | None:
    """Who tells the site's server; None where there is none.

    :raises BootserverError: its key can't be used.
    """
    settings = config.dns
    if settings.update_server is None or settings.update_key is None:
        return None
    server = Server(
        settings.update_server, settings.update_port, read_key(settings.update_key), settings.ttl, settings.update_reverse
    )
    return Updater(server, Outbox(config.frontend.dns, settings.update_server))


def _courier(config: Config, newest: Callable[[], Names | None], reporter: PipeReporter) -> Courier | None:
    found = updater(config)
    return None if found is None else Courier(found, newest, reporter)


# -- what is done as root, before the part begins ------------------------------------------------------------------


def addresses(config: Config) -> list[str]:
    """Where names are answered: on each of the cluster's networks, and where the configuration says."""
    found = [config.network.address]
    try:
        with open_reader(open_databases(config).cluster) as reader:
            found += [row.frontend for row in reader.rows(NetworkRow)]
    except DatabaseError as error:
        logger.error("names are not answered on further networks: %s", error)
    return [str(each) for each in dict.fromkeys((*found, *config.dns.listen))]


def prepare(config: Config, user: pwd.struct_passwd | None) -> None:
    """Say now what would otherwise fail in the part: its keys, and the folder that it writes in.

    :raises BootserverError: a key is none, or not for the service's user to read; the folder was not made.
    """
    folder = config.frontend.dns
    owner = os.geteuid() if user is None else user.pw_uid
    if config.dns.update_server is not None and not (folder.is_dir() and folder.stat().st_uid == owner):
        raise Unavailable(f"{folder} is not the service's: run `bootserver init`")
    for path in (config.dns.transfer_key, config.dns.update_key):
        if path is not None:
            read_key(path)
            privileges.check_readable(user, path)
