"""Tells systemd how the service is (sd_notify(3)): a datagram to the socket that it names."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send a state such as ``READY=1``; nothing happens where systemd does not ask for it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.connect(address)
            channel.send(state.encode())
        except OSError:  # a service that can't tell is still a service
            pass
