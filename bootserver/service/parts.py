"""The parts of the service: what each process is made of, put together from the rooms below.

recorder
    writes down events and registers machines (:mod:`bootserver.service.recorder`).
dhcp
    one process: every worker would get a copy of each broadcast, and all would answer.
tftp-0, tftp-1 ...
    share the port (``SO_REUSEPORT``), one for each processor.
web
    Flask under gunicorn, which has workers of its own.

follower
    learns from a site's DHCP server and tells a site's dnsmasq of the nodes (:mod:`bootserver.service.follower`). Its hand, which
    reads logs, is root.
dns
    answers names, and tells a site's server of them (:mod:`bootserver.service.dns_part`).
rsync, rsync-gate
    the image server, the one part that is root; and who tells it whose turn it is.

All others run as the service's user; the supervisor opened their sockets.
"""

from __future__ import annotations

import gc
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

from bootserver import data
from bootserver.cluster.addresses import News
from bootserver.cluster.discovery import Machine
from bootserver.cluster.events import Event, Kind
from bootserver.cluster.keeper import ViewKeeper
from bootserver.cluster.reporting import PipeReporter
from bootserver.cluster.view import InterfaceView, NodeView
from bootserver.config import Config, DhcpMode
from bootserver.db.backup import backup, backup_path
from bootserver.db.connection import Databases, SqliteDatabase, open_databases
from bootserver.images.store import ImageStore
from bootserver.netboot import loaders
from bootserver.netboot.content import Resolve
from bootserver.netboot.dhcp.advertise import Advertiser
from bootserver.netboot.dhcp.answer import Responder
from bootserver.netboot.dhcp.link import Link
from bootserver.netboot.dhcp.loop import Loop
from bootserver.netboot.dhcp.neighbours import OwnAddress
from bootserver.netboot.dhcp.proxy import ProxyResponder
from bootserver.netboot.dhcp.proxy_server import ProxyServer
from bootserver.netboot.dhcp.request import DhcpRequest, Registration
from bootserver.netboot.dhcp.rogue import Rogues
from bootserver.netboot.dhcp.server import DhcpServer
from bootserver.netboot.dhcp.tail import BootFile
from bootserver.netboot.files import FileStore
from bootserver.netboot.resolver import Resolver
from bootserver.netboot.tftp.contract import TftpLimits, TransferEnd
from bootserver.netboot.tftp.server import TftpServer
from bootserver.netboot.tftp.transfer import Outcome
from bootserver.service import nginx_log, privileges, rsync_gate
from bootserver.service.addresses import Scribe, Teller
from bootserver.service.planning import planner
from bootserver.service.recorder import Recorder
from bootserver.service.rsync_server import RsyncServer
from bootserver.service.sockets import Channel, DnsPair
from bootserver.service.supervisor import GRACE_SECONDS, Part, Ready
from bootserver.values.firmware import Firmware

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Sockets:
    """What the supervisor opened.

    :ivar pipe: reports, reading and writing end.
    :ivar gate: the rsync part's question, and who answers it.
    :ivar tftp: those of each worker.
    :ivar nginx: where nginx tells what it sent; None where there is none in front.
    :ivar https: None where nothing is answered by HTTPS.
    :ivar pxe: port 4011, where firmware asks a proxyDHCP server for its boot file.
    :ivar dns: UDP and TCP of each address that names are answered on.
    :ivar addresses: what the DHCP part learns of nodes' addresses, and who writes it down; None: nobody.
    """

    pipe: tuple[int, int]
    http: socket.socket
    rsync: socket.socket
    gate: Channel
    tftp: Sequence[Sequence[socket.socket]]
    dhcp: Sequence[Link]
    advertisers: Sequence[Advertiser]
    nginx: socket.socket | None = None
    https: socket.socket | None = None
    pxe: Sequence[Link] = ()
    addresses: Channel | None = None
    dns: Sequence[DnsPair] = ()


def make_parts(config: Config, sockets: Sockets) -> list[Part]:
    """All parts that a configuration asks for."""
    parts = [Part("recorder", partial(_recorder, config, sockets))]
    if config.dhcp.mode is not DhcpMode.OFF:
        parts.append(Part("dhcp", partial(_dhcp, config, sockets)))
    if config.dhcp.mode is DhcpMode.OFF or config.dhcp.hostsdir is not None:
        parts.append(Part("follower", partial(_follower, config, sockets), as_root=True))
    parts += [Part(f"tftp-{number}", partial(_tftp, config, sockets, each)) for number, each in enumerate(sockets.tftp)]
    if sockets.dns:
        parts.append(Part("dns", partial(_dns, config, sockets)))
    parts.append(Part("web", partial(_web, config, sockets)))
    if sockets.https is not None:
        parts.append(Part("web-tls", partial(_web, config, sockets, tls=True)))
    parts.append(Part("rsync-gate", partial(_rsync_gate, config, sockets)))
    parts.append(Part("rsync", partial(_rsync, config, sockets), as_root=True))
    return parts


# -- what several parts have -------------------------------------------------------------------------------------


class _Core:
    """A process's own view, and its way to report."""

    def __init__(self, config: Config, sockets: Sockets) -> None:
        self.databases: Databases = open_databases(config)
        cluster = self.databases.cluster
        copy = SqliteDatabase(backup_path(cluster)) if isinstance(cluster, SqliteDatabase) else None
        self.keeper = ViewKeeper(cluster, config.dhcp.lease_seconds, copy, frontend_resolves=config.dns.for_nodes)
        self.reporter = PipeReporter(sockets.pipe[1])
        self.keeper.start()
        # What was imported and loaded so far is never garbage: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()


def _resolver(config: Config, core: _Core, files: FileStore) -> Resolve:
    resolver = Resolver(
        lambda: core.keeper.view,
        planner(config),
        files,
        frontend=config.network.address,
        http_port=config.http.seen_port,
        by_http=config.http.boot_files,
    )
    # Where we give no addresses, who has one is found out before a ticket goes there.
    return resolver if config.dhcp.mode is DhcpMode.SERVER else OwnAddress(resolver, lambda: core.keeper.view)


def _on_terminate(stop: Callable[[], object]) -> None:
    def handler(_number: int, _frame: FrameType | None) -> None:
        stop()

    signal.signal(signal.SIGTERM, handler)


# -- the parts ---------------------------------------------------------------------------------------------------


def _recorder(config: Config, sockets: Sockets, ready: Ready) -> None:
    core = _Core(config, sockets)
    cluster = core.databases.cluster
    copy = partial(backup, cluster) if isinstance(cluster, SqliteDatabase) else None
    recorder = Recorder(
        sockets.pipe[0],
        core.databases,
        core.keeper,
        config.database.keep_events_days,
        copy,
        tftpboot=config.frontend.tftpboot,
    )
    if sockets.nginx is not None:
        files = FileStore(config.frontend.tftpboot)
        follower = partial(nginx_log.follow, sockets.nginx, _resolver(config, core, files), recorder.enqueue)
        threading.Thread(target=follower, name="nginx", daemon=True).start()
    if sockets.addresses is not None:
        scribe = Scribe(sockets.addresses[1], cluster, recorder.enqueue)
        threading.Thread(target=scribe.run, name="addresses", daemon=True).start()
    _on_terminate(recorder.stop)
    ready()
    recorder.run()


def _dhcp(config: Config, sockets: Sockets, ready: Ready) -> None:
    core = _Core(config, sockets)
    supplied = _Supplied(config.frontend.tftpboot)

    def boot_file(node: NodeView, interface: InterfaceView, request: DhcpRequest) -> BootFile | None:
        return _boot_file(config, supplied, node, interface, request)

    def register(found: Registration) -> None:
        firmware = None if found.firmware is None else found.firmware.name
        said = found.vendor_class, found.host_name
        core.reporter.register(Machine(found.mac, found.uuid, found.network.name, found.netboots, firmware, *said))

    tell = _ignore if sockets.addresses is None else Teller(sockets.addresses[0])
    server: Loop
    if config.dhcp.mode is DhcpMode.PROXY:
        server = ProxyServer(
            sockets.dhcp,
            sockets.pxe,
            lambda: core.keeper.view,
            ProxyResponder(boot_file),
            core.reporter,
            register,
            tell,
            allowed=frozenset(config.dhcp.site_servers),
            advertisers=sockets.advertisers,
            on_tick=core.reporter.flush,
            look_seconds=config.dhcp.look_seconds,
        )
    else:
        server = DhcpServer(
            sockets.dhcp,
            lambda: core.keeper.view,
            Responder(boot_file, no_proxy_wait=config.dhcp.no_proxy_wait),
            core.reporter,
            register,
            advertisers=sockets.advertisers,
            on_tick=core.reporter.flush,
            rogues=Rogues(frozenset(config.dhcp.site_servers)),
            look_seconds=config.dhcp.look_seconds,
            in_use=tell,
        )
    _on_terminate(server.stop)
    ready()
    server.serve()
    core.reporter.flush()


def _ignore(_news: News) -> None:
    """Where nobody writes addresses down."""


def _follower(config: Config, sockets: Sockets, ready: Ready) -> None:
    # Imported in this process alone: the others have no use for it.
    from bootserver.netboot.dhcp_events.hosts import hosts
    from bootserver.netboot.dhcp_events.learner import Learner
    from bootserver.service import follower, hook_socket
    from bootserver.service.dnsmasq_hosts import HostsFolder

    dhcp, user = config.dhcp, privileges.account(config.frontend.user)
    learns = dhcp.mode is DhcpMode.OFF
    hand = follower.start_hand(dhcp.follow if learns else (), dhcp.dnsmasq_pid_file)
    hook = hook_socket.listen(config.frontend.run, dhcp.event_group) if learns else None
    privileges.become(user, "follower")
    core = _Core(config, sockets)
    tell = _ignore if sockets.addresses is None else Teller(sockets.addresses[0])
    part = follower.Follower(
        hand,
        hook,
        lambda: core.keeper.view,
        Learner(core.reporter, core.reporter.register, tell),
        core.reporter,
        hosts=partial(hosts, http_port=config.http.seen_port, by_http=config.http.boot_files),
        folder=None if dhcp.hostsdir is None else HostsFolder(dhcp.hostsdir),
        on_tick=core.reporter.flush,
    )
    _on_terminate(part.stop)
    ready()
    try:
        part.serve()
    finally:
        hand.end()
        core.reporter.flush()


class _Supplied:
    """The names that are in place below ``tftpboot`` now."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (self._root / name).is_file()


def _boot_file(
    config: Config, supplied: _Supplied, node: NodeView, interface: InterfaceView, request: DhcpRequest
) -> BootFile | None:
    if not node.appliance.installs:
        return None
    attributes = node.attributes
    if config.dhcp.mode is DhcpMode.PROXY and _loses_its_server(request, attributes) and _UEFI_IPXE in supplied:
        attributes = {**attributes, "loader": loaders.Loader.IPXE.value}
    try:
        chosen = loaders.boot_file(
            attributes,
            request.firmware or Firmware.BIOS,
            mac=request.mac,
            is_ipxe=request.is_ipxe,
            ipxe_http=request.ipxe_http,
            frontend=interface.network.frontend,
            http_port=config.http.seen_port,
            by_http=config.http.boot_files,
            supplied=supplied,
        )
    except loaders.NoLoader as error:
        logger.warning("node=%s gets no boot file: %s", node.name, error)
        return None
    http_boot = request.firmware is not None and request.firmware.is_http and not request.is_ipxe
    return BootFile(chosen, url="://" in chosen, http_boot=http_boot)


_UEFI_IPXE = "snponly.efi"


def _loses_its_server(request: DhcpRequest, attributes: Mapping[str, str]) -> bool:
    """Would it get GRUB for want of a wish, which can't be started beside a site's DHCP server?

    Debian's GRUB (2.06, seen with OVMF) looks for its server in the site's ACK alone, not in what we said, and ends at its
    prompt. One that was wished for is given: the site's server may well name us as next-server.
    """
    wish = attributes.get("loader", loaders.Loader.AUTO.value)
    return request.firmware is Firmware.UEFI_X64 and not request.is_ipxe and wish == loaders.Loader.AUTO.value


def _tftp(config: Config, sockets: Sockets, listeners: Sequence[socket.socket], ready: Ready) -> None:
    core = _Core(config, sockets)
    files = FileStore(config.frontend.tftpboot)
    limits = TftpLimits(
        transfers=config.tftp.max_transfers,
        transfers_per_client=config.tftp.max_per_client,
        windowsize=config.tftp.max_window,
    )
    server = TftpServer(
        listeners, _resolver(config, core, files), files, lambda end: _report_transfer(core.reporter, end), limits
    )
    server.add_tick(core.reporter.flush, FLUSH_SECONDS)
    _on_terminate(lambda: server.stop(GRACE_SECONDS))
    ready()
    server.run()
    core.reporter.flush()


_NO_EVENT = frozenset({Outcome.PROBED, Outcome.MISSING, Outcome.REFUSED})
"""Firmware probes sizes and asks for many files that need not be there: that is how it works, and no news."""


def _report_transfer(reporter: PipeReporter, end: TransferEnd) -> None:
    if end.outcome in _NO_EVENT:
        return
    content = end.content
    detail: dict[str, str | int | float | bool | None] = {
        "path": end.path[:200].lstrip("/"),
        "bytes": end.sent,
        "seconds": round(end.seconds, 3),
        "by": "tftp",
        "from": str(end.address),
    }
    if end.outcome is Outcome.DENIED:
        reporter.report(Event(Kind.DENIED, time.time(), detail=detail | {"why": end.why, "status": 403}))
        return
    if content is None:
        return
    kind = content.what.value
    if end.outcome is not Outcome.SENT:
        kind = Kind.NOT_SENT
        detail["why"] = end.why
    if end.retransmissions:
        detail["retransmissions"] = end.retransmissions
    reporter.report(Event(kind, time.time(), content.node, content.mac, detail))


def _web(config: Config, sockets: Sockets, ready: Ready, *, tls: bool = False) -> None:
    # Imported in this process alone: the others need neither Flask nor gunicorn.
    from bootserver.service.web_server import WebServer
    from bootserver.web.app import create_app
    from bootserver.web.site import Site

    def application() -> object:
        core = _Core(config, sockets)
        files = FileStore(config.frontend.tftpboot)
        _flush_always(core.reporter)
        return create_app(
            Site(
                config=config,
                keeper=core.keeper,
                databases=core.databases,
                resolve=_resolver(config, core, files),
                files=files,
                reporter=core.reporter,
                templates=(config.frontend.state / "kickstart", data.folder("kickstart")),
                service_group=privileges.group(config.frontend.user),
            )
        )

    http = config.http
    if not tls:
        WebServer(application, sockets.http.fileno(), http.workers, http.threads, ready).run()
    else:
        assert sockets.https is not None and http.tls_certificate is not None and http.tls_key is not None
        files = (http.tls_certificate, http.tls_key)
        WebServer(application, sockets.https.fileno(), http.workers, http.threads, ready, files).run()


def _dns(config: Config, sockets: Sockets, ready: Ready) -> None:
    # Imported in this process alone: dnspython takes its time.
    from bootserver.service import dns_part

    core = _Core(config, sockets)
    dns_part.serve(config, core.keeper, core.reporter, sockets.dns, _on_terminate, ready)


def _rsync_gate(config: Config, sockets: Sockets, ready: Ready) -> None:
    databases, reporter, stopped = open_databases(config), PipeReporter(sockets.pipe[1]), threading.Event()
    _flush_always(reporter)
    _on_terminate(stopped.set)
    ready()
    rsync_gate.answer(sockets.gate[1], databases, reporter, stopped.is_set)
    reporter.flush()


def _rsync(config: Config, sockets: Sockets, ready: Ready) -> None:
    server = RsyncServer(
        sockets.rsync,
        partial(rsync_gate.ask, sockets.gate[0]),
        ImageStore(config.frontend.state),
        config.frontend.run / "rsync",
    )
    _on_terminate(server.stop)
    ready()
    server.serve()


def _flush_always(reporter: PipeReporter) -> None:
    def flush() -> None:
        while True:
            time.sleep(FLUSH_SECONDS)
            reporter.flush()

    threading.Thread(target=flush, name="reports", daemon=True).start()
    # A worker that ends says what it still knows.
    import atexit

    atexit.register(reporter.flush)
