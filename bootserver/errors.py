"""The one family of errors that a person reads: what happened, why, and the way out.

Everything that bootserver raises on purpose is a :class:`BootserverError`; the command line prints it as one line and
ends with its exit status. Anything else that reaches the top is a defect of ours.
"""

from __future__ import annotations


class BootserverError(Exception):
    """Something that a person can mend; its text is one line: what, why, the way out."""

    exit_status = 1


class UsageError(BootserverError):
    """The command was called wrongly (exit status 2)."""

    exit_status = 2


class Refused(BootserverError):
    """What was asked for is understood and not allowed in the present state."""


class NotFound(BootserverError):
    """A name that the cluster does not have."""


class Unavailable(BootserverError):
    """Something that bootserver needs (database, file, port) can't be had now."""
