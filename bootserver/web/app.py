"""The web application: files and menus for loaders, the node API for installers.

Flask decodes and encodes; who may have what is decided by the resolver and by :mod:`bootserver.cluster.installs`.
"""

from __future__ import annotations

import logging
import socket

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from bootserver.errors import BootserverError, Unavailable
from bootserver.web import distro_files, files, install_api, kickstart_api, node_api
from bootserver.web.asker import shown_path
from bootserver.web.site import Site, plain

logger = logging.getLogger(__name__)

MAX_BODY = 1 << 20
"""Bytes of a request: an inventory of a machine with many disks has some hundred thousand."""

GRUB_SILENCE = 4
"""Seconds after which a GRUB that acknowledges nothing is gone."""


def create_app(site: Site) -> Flask:
    """The WSGI application for one process."""
    app = Flask("bootserver", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.config["MAX_FORM_MEMORY_SIZE"] = MAX_BODY
    # GRUB doubles slashes; a redirect to the tidy path ends a UEFI HTTP boot, which follows none.
    app.url_map.merge_slashes = False
    app.before_request(_forget_grub_soon)
    app.register_blueprint(node_api.blueprint(site))
    app.register_blueprint(install_api.blueprint(site))
    app.register_blueprint(kickstart_api.blueprint(site))
    app.register_blueprint(distro_files.blueprint(site))
    app.register_blueprint(files.blueprint(site))
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(BootserverError, _our_error)
    app.register_error_handler(Exception, _defect)
    return app


def _forget_grub_soon() -> None:
    """Let a connection of GRUB die within seconds of its machine.

    GRUB 2.06 begins each life with the same ports and nearly the same sequence numbers (net/tcp.c: the clock since power-on). A
    connection that its last life left behind answers the SYN of the next one, and GRUB waits for half a minute, then gives
    up; seen with OVMF at the second boot within a minute. Other clients choose their ports at random.
    """
    connection: socket.socket | None = request.environ.get("gunicorn.socket")
    if connection is not None and request.user_agent.string.startswith("GRUB"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GRUB_SILENCE * 1000)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, 1)


def _http_error(error: HTTPException) -> Response:
    return plain(f"{error.code} {error.name}", error.code or 500)


def _our_error(error: BootserverError) -> Response:
    logger.error("%s %s: %s", request.method, shown_path()[:200], error)
    response = plain("503 the database is away, try again", 503) if isinstance(error, Unavailable) else plain(f"400 {error}", 400)
    if response.status_code == 503:
        response.headers["Retry-After"] = "5"
    return response


def _defect(error: Exception) -> Response:
    logger.exception("defect in the web application: %s %s", request.method, shown_path()[:200], exc_info=error)
    return plain("500 a defect of the server; its log tells more", 500)
