"""The clock: is it kept by somebody (adjtimex(2)), and did it go back?"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator

from bootserver.cluster import journal
from bootserver.db.connection import DatabaseError, open_databases
from bootserver.doctor.finding import Finding, failure, ok, warning
from bootserver.doctor.site import Site

_STA_UNSYNC = 0x40
_SLACK = 60.0


class _Timex(ctypes.Structure):
    """The beginning of struct timex (linux/timex.h), and room for the rest."""

    _fields_ = [  # ctypes wants a list
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    ]


def is_kept() -> bool | None:
    """Does a time daemon keep it? None: the kernel does not say."""
    timex = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
        return None
    return not timex.status & _STA_UNSYNC


def clock(site: Site) -> Iterator[Finding]:
    """Tickets, leases and certificates go by it, and installing nodes take it from the frontend."""
    newest = _newest_event(site)
    now = time.time()
    if newest is not None and newest > now + _SLACK:
        yield failure(
            f"the clock went back: the journal has an event of {_text(newest)}, and it is {_text(now)}",
            "boot tickets made before are not valid, and what is stuck is not seen",
            "date shows it; set it by chronyc makestep, or by date -s",
        )
        return
    if is_kept() is False:
        yield warning(
            "nobody keeps the clock of this machine",
            "it drifts; certificates and packages' signatures are refused on nodes whose clock is far off",
            "apt-get install chrony",
        )
        return
    yield ok(f"the clock is kept, and says {_text(now)}" if is_kept() else f"the clock says {_text(now)}")


def _newest_event(site: Site) -> float | None:
    try:
        with open_databases(site.config).journal.read() as connection:
            entries = journal.read(connection, last=1)
    except DatabaseError:
        return None
    return entries[0].event.at if entries else None


def _text(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
