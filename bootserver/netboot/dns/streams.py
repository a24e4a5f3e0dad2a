"""DNS over TCP (RFC 7766): queries that want more room than a datagram has, and transfers of whole zones."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Final

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 10.0
"""RFC 7766 section 6.2.3: seconds."""
SEND_SECONDS: Final = 30.0
MAX_CONNECTIONS: Final = 500
MAX_OF_ONE: Final = 50

Respond = Callable[[bytes, str], AsyncIterator[bytes]]
"""A query and whose it is; what it gives is sent, one message after the other."""


class Streams:
    """Serves connections in one event loop. :param respond: never raises for what a client sent."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self._open: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        peer = writer.get_extra_info("peername")
        host = peer[0] if peer else ""
        if not host or self._open.total() >= MAX_CONNECTIONS or self._open[host] >= MAX_OF_ONE:
            writer.close()
            return
        self._open[host] += 1
        try:
            while True:
                length = int.from_bytes(await asyncio.wait_for(reader.readexactly(2), IDLE_SECONDS))
                query = await asyncio.wait_for(reader.readexactly(length), IDLE_SECONDS)
                answered = False
                async for wire in self._respond(query, host):
                    answered = True
                    writer.write(len(wire).to_bytes(2) + wire)
                    await asyncio.wait_for(writer.drain(), SEND_SECONDS)
                if not answered:
                    return
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            return
        except Exception:  # a defect of ours costs this connection, and nobody else anything
            log.exception("defect in the DNS server, TCP")
        finally:
            self._open[host] -= 1
            if not self._open[host]:
                del self._open[host]
            writer.close()
