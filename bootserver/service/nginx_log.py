"""What nginx sent, as events: it serves files below ``tftpboot`` itself and tells of each by syslog (RFC 3164).

So a file costs what it costs nginx alone (through the application a small one would cost twice as much), and the story of a
boot is whole all the same.
"""

from __future__ import annotations

import grp
import ipaddress
import json
import logging
import os
import socket
import time
from collections.abc import Callable
from ipaddress import IPv6Address
from pathlib import Path

from bootserver.cluster.events import Detail, Event, Kind
from bootserver.netboot.content import Content, Resolve

logger = logging.getLogger(__name__)

NAME = "nginx.sock"
"""In ``<state>/run``; systemd/nginx-bootserver.conf names it."""
_MAX_LINE = 8192


def open_log(folder: Path, group: str) -> socket.socket:
    """The socket that nginx' workers may write to, and nobody else: its lines become events."""
    path = folder / NAME
    path.unlink(missing_ok=True)
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    log.bind(str(path))
    try:
        path.chmod(0o660)
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
    except (KeyError, PermissionError) as error:
        logger.warning("nginx may not be able to report what it sends: group %s: %s", group, error)
    return log


def follow(log: socket.socket, resolve: Resolve, keep: Callable[[Event], None]) -> None:
    """Turn each line into an event, for ever; for a thread."""
    while True:
        event = read(log.recv(_MAX_LINE), resolve)
        if event is not None:
            keep(event)


def read(line: bytes, resolve: Resolve) -> Event | None:
    """The event that a line tells of; None for one that tells of nothing sent."""
    try:
        fields = json.loads(line[line.index(b"{") :])
        address = ipaddress.ip_address(fields["address"])
        path, status, sent = str(fields["path"])[:200], int(fields["status"]), int(fields["bytes"])
        seconds, whole = float(fields["seconds"]), fields["complete"] == "OK"
    except (ValueError, KeyError, TypeError):
        return None
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    if status != 200 or sent == 0:
        return None
    found = resolve(path, address)
    if not isinstance(found, Content):
        return None
    detail: Detail = {"path": path.lstrip("/"), "bytes": sent, "seconds": seconds, "by": "http", "from": str(address)}
    return Event(found.what.value if whole else Kind.NOT_SENT, time.time(), found.node, found.mac, detail)
