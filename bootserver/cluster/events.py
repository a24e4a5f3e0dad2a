"""Events: what nodes do, appended and never updated.

A node's state, the story of a boot and insert-ethers' list are all read off this one stream. Protocol servers only
*report*: they hand an :class:`Event` to a :class:`Reporter` and go on. The recorder (``bootserver/service/recorder.py``)
is the one process that writes them down.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bootserver.values.mac import MacAddress

Detail = Mapping[str, str | int | float | bool | None]


class Kind(enum.Enum):
    """What can happen. The value is what ``bootserver events`` prints and the database keeps."""

    # a machine on the wire
    SEEN = "seen"  # it asks for an address
    IGNORED = "ignored"  # and gets none; the detail says why
    ASKS = "asks to join"  # a discovery with --confirm is open
    REGISTERED = "registered"  # discovery made it a node
    OFFERED = "offered"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"  # a DHCPNAK: it asked for an address that is not its own
    DECLINED = "declined"
    RELEASED = "released"
    # what it fetches
    LOADER_SENT = "loader sent"
    MENU_SENT = "menu sent"
    KERNEL_SENT = "kernel sent"
    RAMDISK_SENT = "ramdisk sent"
    FILE_SENT = "file sent"
    NOT_SENT = "not sent"  # a transfer that failed half way
    DENIED = "denied"  # 403: not from this machine, or not now
    UNANSWERED = "unanswered"  # what it asked for can't be made, or not now; the detail has the HTTP status and why
    # an installation
    ARMED = "armed"
    EXCHANGED = "exchanged"  # a ticket for a session
    SCRIPT_SENT = "script sent"
    KICKSTART_SENT = "kickstart sent"
    INVENTORY = "inventory"
    PHASE = "phase"
    INSTALLED = "installed"
    FAILED = "failed"
    PARKED = "parked"
    UP = "up"
    ACTION = "action"  # what it boots next has changed by itself (a one-shot action, an install that is done)
    # the service itself
    ALARM = "alarm"
    LOST = "lost"  # events that could not be kept; the detail says how many


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    :ivar at: seconds since the epoch (UTC).
    :ivar node: the node's name, or None for a machine that the cluster does not know.
    :ivar detail: plain facts (``{"bytes": 42, "seconds": 0.1, "path": "pxelinux.0"}``); never a secret.
    """

    kind: Kind
    at: float
    node: str | None = None
    mac: MacAddress | None = None
    detail: Detail = field(default_factory=dict)


class Reporter(Protocol):
    """Where protocol servers put what happened. Never blocks, never raises."""

    def report(self, event: Event) -> None: ...
