"""Where ``bootserver dhcp-event`` hands its line to the service: a socket in ``<state>/run``.

A datagram is taken whole or not at all, and who sends it waits for nothing but the kernel.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import socket
import time
from pathlib import Path
from typing import Final

from bootserver.errors import Unavailable
from bootserver.netboot.dhcp_events.sighting import Sighting, Trouble, encode

NAME: Final = "dhcp-event.sock"
_PATIENCE: Final = 1.0
"""Seconds that a service which is just starting again is waited for; dnsmasq's own helper waits, not dnsmasq."""
_PAUSE: Final = 0.1
_NOBODY: Final = frozenset({errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN, errno.ENOBUFS})


def listen(folder: Path, group: str) -> socket.socket:
    """Open it, as root.

    :param group: who may say something beside root; a group that this machine does not have is no matter.
    :raises Unavailable: it can't be made.
    """
    path = folder / NAME
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    mine = os.getegid()
    try:
        if os.geteuid() == 0:
            with contextlib.suppress(KeyError):
                os.setegid(grp.getgrnam(group).gr_gid)  # the part has no CAP_CHOWN: a file's group is its maker's
        aside = folder / f"{NAME}.new"
        aside.unlink(missing_ok=True)
        listener.bind(str(aside))
        aside.chmod(0o660)
        aside.replace(path)
    except OSError as error:
        listener.close()
        raise Unavailable(f"{path} can't be made: {error.strerror}") from error
    finally:
        os.setegid(mine)
    return listener


def send(folder: Path, message: Sighting | Trouble) -> None:
    """:raises Unavailable: the service is not there, or is not told by this user."""
    deadline = time.monotonic() + _PATIENCE
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(_PATIENCE)
        while True:
            try:
                sender.sendto(encode(message), str(folder / NAME))
                return
            except PermissionError:
                raise Unavailable(
                    "this user may not tell the service: put it into the group dhcp.event_group, or run it as root"
                ) from None
            except OSError as error:
                if error.errno not in _NOBODY or time.monotonic() >= deadline:
                    why = "it does not run, or dhcp.mode is not off" if error.errno in _NOBODY else error.strerror
                    raise Unavailable(f"the service was not told: {why} ({folder / NAME})") from error
            time.sleep(_PAUSE)
