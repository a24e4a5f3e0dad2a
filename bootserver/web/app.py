"""The web application: files and menus for loaders, the node API for installers.

Flask decodes and encodes; who may have what is decided by the resolver and by :mod:`bootserver.cluster.installs`.
"""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from bootserver.cluster.events import Reporter
from bootserver.cluster.keeper import ViewKeeper
from bootserver.db.connection import Databases
from bootserver.errors import BootserverError, Unavailable
from bootserver.netboot.content import Resolve
from bootserver.netboot.files import FileStore

logger = logging.getLogger(__name__)

MAX_BODY = 1 << 20
"""Bytes of a request: an inventory of a machine with many disks has some hundred thousand."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the application needs of the rest.

    :ivar behind_nginx: files are handed to nginx (X-Accel-Redirect), and X-Real-IP is believed of a proxy on loopback.
    """

    keeper: ViewKeeper
    databases: Databases
    resolve: Resolve
    files: FileStore
    reporter: Reporter
    templates: tuple[Path, ...]
    ticket_seconds: int
    behind_nginx: bool = False


def create_app(site: Site) -> Flask:
    """The WSGI application for one process."""
    from bootserver.web import files, node_api  # here, as they import Site from this module

    app = Flask("bootserver", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.config["MAX_FORM_MEMORY_SIZE"] = MAX_BODY
    # GRUB doubles slashes; a redirect to the tidy path ends a UEFI HTTP boot, which follows none.
    app.url_map.merge_slashes = False
    app.register_blueprint(node_api.blueprint(site))
    app.register_blueprint(files.blueprint(site))
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(BootserverError, _our_error)
    app.register_error_handler(Exception, _defect)
    return app


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


def _http_error(error: HTTPException) -> Response:
    return plain(f"{error.code} {error.name}", error.code or 500)


def _our_error(error: BootserverError) -> Response:
    logger.error("%s %s: %s", request.method, request.path[:200], error)
    response = plain("503 the database is away, try again", 503) if isinstance(error, Unavailable) else plain(f"400 {error}", 400)
    if response.status_code == 503:
        response.headers["Retry-After"] = "5"
    return response


def _defect(error: Exception) -> Response:
    logger.exception("defect in the web application: %s %s", request.method, request.path[:200], exc_info=error)
    return plain("500 a defect of the server; its log tells more", 500)
