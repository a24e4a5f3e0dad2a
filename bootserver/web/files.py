"""Files and menus by HTTP, through the resolver that TFTP uses too; kernels and ramdisks go out by sendfile(2)."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import stat
import time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from urllib.parse import quote

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.wsgi import wrap_file

from bootserver.cluster.events import Detail, Event, Kind, Reporter
from bootserver.netboot.content import Content, Denied, Missing
from bootserver.web.site import Site, client_address, plain

ACCELERATED = "/bootserver-files/"
"""nginx' internal location of tftpboot (systemd/nginx-bootserver.conf)."""

_SIOCOUTQ = 0x5411
_TCP_OPEN = (1, 8)  # ESTABLISHED; CLOSE_WAIT: the client has said its last word, and may still be listening
_DRAIN_SECONDS = 10.0
_SILENT_SECONDS = 1.0
_LAST_WINDOW = 256 << 10
"""Bytes: what a client may leave unacknowledged at the end; iPXE's whole window (TCP_MAX_WINDOW_SIZE), since on a busy machine it
boots before it has acknowledged any of it."""


def blueprint(site: Site) -> Blueprint:
    routes = Blueprint("files", __name__)

    @routes.get("/", defaults={"path": ""})
    @routes.get("/<path:path>")
    def file(path: str) -> Response:
        if not path:
            return plain("bootserver")
        address = client_address(site)
        match site.resolve(path, address):
            case Missing():
                return _refuse("404 not found", 404)
            case Denied(why, node, mac):
                detail: Detail = {"path": path[:200], "why": why, "status": 403, "from": str(address)}
                site.reporter.report(Event(Kind.DENIED, time.time(), node, mac, detail))
                return _refuse(f"403 {why}", 403)
            case Content(body=bytes() as body) as content:
                response = Response(body, content_type="text/plain; charset=utf-8")
                if request.method == "GET":
                    _report(site.reporter, content, path, address, len(body), 0.0, True)
                return response
            case Content(body=Path()) as content:
                return _file(site, content, path, address)
        raise AssertionError("the resolver answers with Content, Missing or Denied")

    return routes


def _refuse(text: str, status: int) -> Response:
    # GRUB takes the body of a refusal for the configuration that it asked for, and carries it out.
    return plain("" if request.user_agent.string.startswith("GRUB") else text, status)


def _file(site: Site, content: Content, path: str, address: IPv4Address | IPv6Address) -> Response:
    assert isinstance(content.body, Path)
    try:
        descriptor = os.open(content.body, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return plain("404 not found", 404)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        return plain("404 not found", 404)
    response = Response(content_type="application/octet-stream")
    response.last_modified = status.st_mtime  # type: ignore[assignment]  # werkzeug takes seconds, too
    if site.behind_nginx:
        os.close(descriptor)
        relative = content.body.relative_to(site.files.root)
        response.headers["X-Accel-Redirect"] = ACCELERATED + quote(str(relative))
        if request.method == "GET":
            _report(site.reporter, content, path, address, status.st_size, 0.0, True)
        return response
    response.headers["Accept-Ranges"] = "bytes"
    if request.method == "HEAD":
        os.close(descriptor)
        response.content_length = status.st_size
        return response
    sent = _SentFile(descriptor, status.st_size, site.reporter, content, path, address)
    response.response = wrap_file(request.environ, sent)  # type: ignore[arg-type]  # it has what is used: read, seek, tell
    response.direct_passthrough = True
    response.content_length = status.st_size
    if "Range" in request.headers:
        sent.whole = False
        try:
            response.make_conditional(request.environ, accept_ranges=True, complete_length=status.st_size)
        except HTTPException:  # 416: no such range
            sent.close()
            raise
    return response


class _SentFile:
    """A file that reports, when it is closed, how much of it went out.

    :ivar whole: False for a range of it, which is no file sent.
    """

    def __init__(
        self,
        descriptor: int,
        size: int,
        reporter: Reporter,
        content: Content,
        path: str,
        address: IPv4Address | IPv6Address,
    ) -> None:
        self.whole = True
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        self._size = size
        self._reporter, self._content, self._path, self._address = reporter, content, path, address
        self._connection: socket.socket | None = request.environ.get("gunicorn.socket")
        self._began = time.monotonic()
        self._sent = 0
        self.fileno, self.tell = self._file.fileno, self._file.tell

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size) or b""
        self._sent += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        # socket.sendfile says by this how far it came (gunicorn then moves the descriptor itself back to the beginning).
        self._sent = self._file.seek(offset, whence)
        return self._sent

    def close(self) -> None:
        if self._file.closed:
            return
        sent = self._sent
        self._file.close()
        if self.whole:
            arrived = sent == self._size and self._acknowledged()
            _report(self._reporter, self._content, self._path, self._address, sent, time.monotonic() - self._began, arrived)

    def _acknowledged(self) -> bool:
        """Has the client's kernel acknowledged the last byte (tcp(7), SIOCOUTQ)? sendfile returns when ours has taken it.

        iPXE starts a kernel the moment that it has it, and its last acknowledgement is never sent: so a client that falls
        silent within its last window, and does not break the connection off, has it all.
        """
        if self._connection is None:
            return True
        began = moved = time.monotonic()
        pause, before = 0.0005, -1
        while (now := time.monotonic()) - began < _DRAIN_SECONDS:
            left = _unacknowledged(self._connection)
            if left is None or left == 0:
                return left == 0
            if left != before:
                before, moved = left, now
            elif now - moved > _SILENT_SECONDS and left <= _LAST_WINDOW:
                return True
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
        return False


def _unacknowledged(connection: socket.socket) -> int | None:
    """Bytes that are on their way; None where the connection is broken."""
    left = array.array("i", [0])
    try:
        # the first octet of struct tcp_info is the state (linux/tcp.h)
        state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        fcntl.ioctl(connection.fileno(), _SIOCOUTQ, left)
    except (OSError, ValueError):
        return None
    return left[0] if state in _TCP_OPEN else None


def _report(
    reporter: Reporter,
    content: Content,
    path: str,
    address: IPv4Address | IPv6Address,
    sent: int,
    seconds: float,
    arrived: bool,
) -> None:
    detail: Detail = {"path": path[:200], "bytes": sent, "seconds": round(seconds, 3), "by": "http", "from": str(address)}
    kind = content.what.value if arrived else Kind.NOT_SENT
    reporter.report(Event(kind, time.time(), content.node, content.mac, detail))
