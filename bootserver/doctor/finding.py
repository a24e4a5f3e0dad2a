"""What a check found: said so that who reads it knows what to type next."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Severity(enum.IntEnum):
    """How bad it is; the worst one decides the exit status."""

    OK = 0
    NOTE = 1  # nothing to do, or something that could not be looked at
    WARNING = 2  # some nodes, or some day
    FAILURE = 3  # nodes don't boot now


@dataclass(frozen=True, slots=True)
class Finding:
    """:ivar what: what was seen. :ivar why: why it matters. :ivar mend: the command that mends it.
    :ivar check: the name of the check that found it.
    """

    severity: Severity
    what: str
    why: str = ""
    mend: str = ""
    check: str = ""


def ok(what: str) -> Finding:
    return Finding(Severity.OK, what)


def note(what: str, why: str = "", mend: str = "") -> Finding:
    return Finding(Severity.NOTE, what, why, mend)


def warning(what: str, why: str, mend: str) -> Finding:
    return Finding(Severity.WARNING, what, why, mend)


def failure(what: str, why: str, mend: str) -> Finding:
    return Finding(Severity.FAILURE, what, why, mend)


def exit_status(findings: Iterable[Finding]) -> int:
    """0: all is well, or only notes; 1: warnings; 2: failures."""
    worst = max((finding.severity for finding in findings), default=Severity.OK)
    return {Severity.WARNING: 1, Severity.FAILURE: 2}.get(worst, 0)


MOST_NAMED = 4


def several(names: Iterable[str]) -> str:
    """A few names, and how many more there are."""
    listed = list(names)
    more = len(listed) - MOST_NAMED
    return ", ".join(listed[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
