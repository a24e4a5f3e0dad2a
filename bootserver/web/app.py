"""The web application: files and menus for loaders, the node API for installers.

Flask decodes and encodes; who may have what is decided by the resolver and by :mod:`bootserver.cluster.installs`.
"""

from __future__ import annotations

import logging

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from bootserver.errors import BootserverError, Unavailable
from bootserver.web import files, node_api
from bootserver.web.site import Site, plain

logger = logging.getLogger(__name__)

MAX_BODY = 1 << 20
"""Bytes of a request: an inventory of a machine with many disks has some hundred thousand."""


def create_app(site: Site) -> Flask:
    """The WSGI application for one process."""
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
