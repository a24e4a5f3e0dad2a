"""Boot tickets: what a node that was told to install proves it with.

A ticket stands in the node's boot menu, which is given only to the node's own address, and is exchanged once for a session.
Each menu holds a fresh one, made without the database: the install's number, the time, a nonce, and an HMAC-SHA256
(RFC 2104) over these with the install's secret. So a node that lost power half way simply comes again with a new ticket,
while a second exchange of the same one is an alarm. An attacker on the same wire remains (docs/explanation/security.md).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from bootserver.errors import Refused
from bootserver.values.secret import Secret

_CLOCK_SKEW = 60
"""Seconds that a ticket may seem to come from the future: the frontends of a cluster share a database, not a clock."""


def new_secret() -> Secret:
    """256 random bits."""
    return Secret(secrets.token_hex(32))


def make(install_id: int, secret: Secret, now: float) -> str:
    """A ticket for one boot; its characters need no encoding on a kernel command line."""
    body = f"{install_id}.{int(now):x}.{secrets.token_hex(6)}"
    return f"{body}.{_sign(body, secret)}"


def install_of(ticket: str) -> int | None:
    """The install that a ticket says it is for; nothing is proven yet."""
    number = ticket.partition(".")[0]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 19 else None


def check(ticket: str, secret: Secret, now: float, seconds: int) -> str:
    """:returns: the ticket's nonce. :raises Refused: it is forged, or older than `seconds`."""
    body, _, signature = ticket.rpartition(".")
    if not hmac.compare_digest(_sign(body, secret).encode(), signature.encode()):
        raise Refused("the boot ticket is not genuine")
    _, issued, nonce = body.split(".")
    if not -_CLOCK_SKEW <= now - int(issued, 16) <= seconds:
        raise Refused("the boot ticket is too old: restart the node")
    return nonce


def digest(token: str) -> str:
    """How a token that is only ever compared is kept."""
    return hashlib.sha256(token.encode()).hexdigest()


def _sign(body: str, secret: Secret) -> str:
    return hmac.new(secret.reveal().encode(), body.encode(), hashlib.sha256).hexdigest()[:32]
