"""`bootserver serve`: opens what needs root, then supervises parts that don't."""

from __future__ import annotations

import gc
import logging
import os
import resource
import socket
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import IPv4Address
from typing import Protocol, TypeVar, cast

from bootserver import config as configuration
from bootserver.cluster.change import open_reader
from bootserver.cluster.reporting import make_pipe
from bootserver.config import Config, DhcpMode
from bootserver.db.connection import DatabaseError, open_databases
from bootserver.db.rows import NetworkRow
from bootserver.errors import BootserverError, Unavailable
from bootserver.netboot.dhcp.advertise import Advertiser, open_advertiser
from bootserver.netboot.dhcp.link import PXE_PORT, Link, open_link, open_pxe_link, open_router_link
from bootserver.service import iproute, privileges, sockets
from bootserver.service.nginx_log import open_log
from bootserver.service.parts import Sockets, make_parts
from bootserver.service.supervisor import Part, Supervisor

logger = logging.getLogger(__name__)

MANY_FILES = 65_536


def serve(config: Config) -> int:
    """Until SIGTERM. :returns: the exit status.

    :raises BootserverError: something that it needs at the start is not there: a port, the state directory, the user.
    """
    if not config.frontend.tftpboot.is_dir():
        raise Unavailable(f"{config.frontend.tftpboot} is not there: run `bootserver init`")
    user = privileges.account(config.frontend.user)
    privileges.check_reach(user, config.frontend.state)
    gc.set_threshold(700)  # Python's own; a command's (cli/main.py) is for processes that end soon
    _allow_many_files()
    opener = _Opener()
    parts = make_parts(config, opener.open(config))
    pid_file = config.frontend.run / "bootserver.pid"
    pid_file.parent.mkdir(mode=0o755, exist_ok=True)
    pid_file.write_text(f"{os.getpid()}\n")
    try:
        return Supervisor(parts, user, lambda: _reload(config, opener)).run()
    finally:
        pid_file.unlink(missing_ok=True)


def _check_tls(config: Config) -> None:
    """:raises Unavailable: certificate and key are none, or not for the service's user to read."""
    certificate, key = config.http.tls_certificate, config.http.tls_key
    assert certificate is not None and key is not None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise Unavailable(f"http.tls_certificate {certificate} and http.tls_key {key} can't be used: {error}") from error
    user = privileges.account(config.frontend.user)
    for file in (certificate, key):
        privileges.check_readable(user, file)


def _allow_many_files() -> None:
    """A socket for each transfer and each download: a mass boot needs some ten thousand (setrlimit(2))."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (MANY_FILES, max(MANY_FILES, hard)))
    except (ValueError, OSError):  # no CAP_SYS_RESOURCE, or the kernel's own limit (fs.nr_open)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(MANY_FILES, hard), hard))


def _reload(old: Config, opener: _Opener) -> list[Part] | None:
    """The parts of the configuration as it is now; None if it can't be used, and the service goes on as it was."""
    try:
        config = configuration.load(old.path)
        if config.frontend != old.frontend:
            raise BootserverError("[frontend] changes with a restart, not with a reload")
        return make_parts(config, opener.open(config))
    except BootserverError as error:
        logger.error("not reloaded, the service goes on as it was: %s", error)
        return None


class _Opener:
    """Opens sockets, and keeps those that the next configuration wants too: what waits in them is not lost."""

    def __init__(self) -> None:
        self._pipe = make_pipe()
        self._open: dict[str, Closable] = {}

    def open(self, config: Config) -> Sockets:
        """:raises Unavailable: a port is taken; what was open stays open."""
        wanted = _Wanted(self._open)
        try:
            opened = self._all(config, wanted)
        except BootserverError:
            wanted.close_new()
            raise
        wanted.close_old()
        self._open = wanted.kept
        return opened

    def _all(self, config: Config, wanted: _Wanted) -> Sockets:
        where, port = config.path, config.tftp.port
        workers = range(config.tftp.workers or os.cpu_count() or 1)
        tftp = [wanted.get(f"tftp {port} {number}", lambda: sockets.tftp(port, f"tftp.port in {where}")) for number in workers]
        http = wanted.get(f"http {config.http.port}", lambda: sockets.tcp(config.http.port, "HTTP", f"http.port in {where}"))
        rsync = wanted.get(
            f"rsync {config.rsync.port}", lambda: sockets.tcp(config.rsync.port, "rsync", f"rsync.port in {where}")
        )
        gate = wanted.get("gate", sockets.channel)
        addresses = wanted.get("addresses", sockets.channel)
        links: list[Link] = []
        pxe: list[Link] = []
        advertisers: list[Advertiser] = []
        devices, routed = _devices(config) if config.dhcp.mode is not DhcpMode.OFF else ([], {})
        for device in devices:
            links.append(wanted.get(f"dhcp {config.dhcp.port} {device}", partial(_link, device, config)))
            if config.dhcp.mode is DhcpMode.PROXY:
                pxe.append(wanted.get(f"pxe {device}", partial(_pxe_link, device, config)))
            if config.network.router_advertisement:
                advertisers.append(wanted.get(f"advertiser {device}", partial(open_advertiser, device)))
        for address, device in routed.items():
            try:
                name = f"{config.dhcp.port} {device} {address}"
                links.append(wanted.get(f"dhcp by routers {name}", partial(_router_link, device, address, config)))
                if config.dhcp.mode is DhcpMode.PROXY:
                    pxe.append(wanted.get(f"pxe by routers {name}", partial(_pxe_link, device, config, address)))
            except Unavailable as error:
                # The networks on our own devices are served all the same.
                logger.error("networks behind routers are not served by %s: %s", device, error)
        nginx = None
        if config.http.behind_nginx:
            nginx = wanted.get("nginx", partial(open_log, config.frontend.run, config.http.nginx_group))
        https = None
        if config.http.tls_port:
            _check_tls(config)
            https = wanted.get(
                f"https {config.http.tls_port}", lambda: sockets.tcp(config.http.tls_port, "HTTPS", f"http.tls_port in {where}")
            )
        names = _names(config, wanted)
        return Sockets(self._pipe, http, rsync, gate, tftp, links, advertisers, nginx, https, pxe, addresses, names)


class Closable(Protocol):
    """A socket, or what holds some."""

    def close(self) -> object: ...


C = TypeVar("C", bound=Closable)


class _Wanted:
    """What is wanted now: taken over from what is open, or opened."""

    def __init__(self, before: Mapping[str, Closable]) -> None:
        self.kept: dict[str, Closable] = {}
        self._before = before

    def get(self, name: str, make: Callable[[], C]) -> C:
        if name not in self._before:
            self.kept[name] = made = make()
            return made
        self.kept[name] = old = self._before[name]
        return cast("C", old)  # the name says what it is

    def close_new(self) -> None:
        for name in self.kept.keys() - self._before.keys():
            self.kept[name].close()

    def close_old(self) -> None:
        for name in self._before.keys() - self.kept.keys():
            self._before[name].close()


def _names(config: Config, wanted: _Wanted) -> list[sockets.DnsPair]:
    """Where names are answered; nowhere, where they are not."""
    if not config.dns.enabled:
        return []
    # Imported where it is wanted: dnspython takes its time.
    from bootserver.service import dns_part

    dns_part.prepare(config, privileges.account(config.frontend.user))
    port, setting = config.dns.port, f"dns.port or dns.enabled in {config.path}"
    found = dns_part.addresses(config)
    return [wanted.get(f"dns {port} {address}", partial(sockets.dns, address, port, setting)) for address in found]


def _devices(config: Config) -> tuple[list[str], dict[IPv4Address, str]]:
    """The frontend's interfaces on the cluster's networks; the configured one first, and alone if the database is away.

    :returns: these, and other devices by those of their addresses that relays of networks behind routers are told.
    """
    try:
        with open_reader(open_databases(config).cluster) as reader:
            rows = reader.rows(NetworkRow)
    except DatabaseError as error:
        logger.error("further networks are not served: %s", error)
        return [config.network.interface], {}
    devices = list(dict.fromkeys([config.network.interface, *(row.device for row in rows if row.device)]))
    routed: dict[IPv4Address, str] = {}
    relayed = [row for row in rows if row.device is None]
    here = iproute.devices() if relayed else {}
    for row in relayed:
        device = here.get(row.frontend)
        if device is None:
            logger.warning("network %s: relays are told %s, which this machine does not have now", row.name, row.frontend)
        # An address of "lo" is reached by any device.
        elif device not in (*devices, "lo"):
            routed[row.frontend] = device
    return devices, routed


def _link(device: str, config: Config) -> Link:
    return _opened(partial(open_link, device, config.dhcp.port), config.dhcp.port, f"DHCP on {device}", config)


def _router_link(device: str, address: IPv4Address, config: Config) -> Link:
    port = config.dhcp.port
    return _opened(partial(open_router_link, device, address, port), port, f"DHCP by routers on {device}", config)


def _pxe_link(device: str, config: Config, address: IPv4Address | None = None) -> Link:
    return _opened(partial(open_pxe_link, device, address), PXE_PORT, f"proxyDHCP on {device}", config)


def _opened(make: Callable[[], Link], port: int, what: str, config: Config) -> Link:
    try:
        return make()
    except Unavailable as error:
        cause = error.__cause__
        if isinstance(cause, OSError):
            raise sockets.taken(cause, socket.SOCK_DGRAM, port, what, f"dhcp.mode in {config.path}") from cause
        raise
