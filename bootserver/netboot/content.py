"""What a request for a path is answered with, whether it came by TFTP or by HTTP."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from bootserver.cluster.events import Kind
from bootserver.values.mac import MacAddress


class Served(enum.Enum):
    """What a file is for; its value is the event that tells that it was sent."""

    LOADER = Kind.LOADER_SENT
    MENU = Kind.MENU_SENT
    KERNEL = Kind.KERNEL_SENT
    RAMDISK = Kind.RAMDISK_SENT
    FILE = Kind.FILE_SENT


@dataclass(frozen=True, slots=True)
class Content:
    """A file below ``tftpboot`` (its path), or a text rendered just now (its bytes).

    :ivar node: the name of the node that asked, or None for a machine that the cluster does not know.
    """

    body: bytes | Path
    what: Served
    node: str | None = None
    mac: MacAddress | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such file (TFTP error 1, HTTP 404)."""

    why: str


@dataclass(frozen=True, slots=True)
class Denied:
    """It is not for this machine, or not now (TFTP error 2, HTTP 403)."""

    why: str
    node: str | None = None
    mac: MacAddress | None = None


Resolution = Content | Missing | Denied
Resolve = Callable[[str, IPv4Address | IPv6Address], Resolution]
"""A path as the client wrote it, and the client's address."""
