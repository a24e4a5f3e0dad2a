"""What the TFTP server shows to the rest of the house: what it may spend, and what it tells of each request."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from bootserver.netboot.content import Content
from bootserver.netboot.tftp.transfer import Outcome, Patience


@dataclass(frozen=True, slots=True)
class TftpLimits:
    """What one server spends.

    :ivar transfers: at once; the next request is told to come again later.
    :ivar transfers_per_client: the same, for one address.
    :ivar windowsize: blocks (RFC 7440) that go out before an ACK, at most.
    :ivar burst: bytes that they have, at most.
    :ivar idle_ports: sockets kept for the next transfers.
    :ivar restart_silence: a request from the port of a transfer under way is the client's repetition; after this many
        seconds without an ACK it is a machine that was reset and happens to choose the same port again.
    """

    transfers: int = 8000
    transfers_per_client: int = 64
    windowsize: int = 64
    burst: int = 96 * 1024
    idle_ports: int = 256
    restart_silence: float = 1.0
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True)
class TransferEnd:
    """What became of a request.

    :ivar path: as the client wrote it; empty if the request could not be read.
    :ivar content: what it was answered with; None if there was nothing to send.
    :ivar sent: bytes that the client has acknowledged.
    :ivar why: for people, where the outcome alone doesn't tell.
    """

    path: str
    address: IPv4Address | IPv6Address
    port: int
    content: Content | None
    outcome: Outcome
    sent: int
    seconds: float
    blksize: int
    windowsize: int
    retransmissions: int
    why: str
