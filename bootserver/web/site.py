"""What the web application works with, and the two things that all its routes need: who asks, and a line of text as answer."""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from flask import Response, request

from bootserver.cluster.events import Reporter
from bootserver.cluster.keeper import ViewKeeper
from bootserver.config import Config
from bootserver.db.connection import Databases
from bootserver.netboot.content import Resolve
from bootserver.netboot.files import FileStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """What the application needs of the rest.

    :ivar templates: folders, the site's first.
    :ivar service_group: the group of the service's user, by which it reads a site's overrides; None without root.
    """

    config: Config

    keeper: ViewKeeper
    databases: Databases
    resolve: Resolve
    files: FileStore
    reporter: Reporter
    templates: tuple[Path, ...]
    service_group: int | None

    @property
    def behind_nginx(self) -> bool:
        """Files are handed to nginx (X-Accel-Redirect), and X-Real-IP is believed of a proxy on loopback."""
        return self.config.http.behind_nginx

    def authorized_keys(self) -> str:
        """Public keys of who may log in to nodes as root: the frontend's own, and those that the site added."""
        try:
            return self.config.frontend.authorized_keys.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""


def client_address(site: Site) -> IPv4Address | IPv6Address:
    """Who asks. A proxy on this machine is believed, if the configuration says that there is one."""
    text = request.remote_addr or "127.0.0.1"
    address = _address(text)
    if site.behind_nginx and address.is_loopback and (real := request.headers.get("X-Real-IP")):
        try:
            return _address(real)
        except ValueError:
            logger.warning("the proxy's X-Real-IP is no address: %r", real[:60])
    return address


def plain(text: str, status: int = 200) -> Response:
    """A line of text, as everything that is not a file."""
    return Response(text if text.endswith("\n") else text + "\n", status, content_type="text/plain; charset=utf-8")


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ipaddress.ip_address(text)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
