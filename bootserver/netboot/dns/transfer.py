"""The zones for secondaries: whole transfers (AXFR, RFC 5936) to those that are named and sign, and NOTIFY (RFC 1996).

An incremental transfer is answered with the whole zone, as RFC 1995 section 4 allows: 10,000 nodes are some 700 kB.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from typing import Final

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig

from bootserver.netboot.dns.answer import UDP_PAYLOAD, Answerer, absolute
from bootserver.netboot.dns.names import Zone

log = logging.getLogger(__name__)

RECORDS_A_MESSAGE: Final = 200
"""Some 8 kB: the loop is not held for longer than a few milliseconds."""
NOTIFY_AFTER: Final = 0.5
"""Seconds: many changes in a row are told of once."""
NOTIFY_TIMES: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds that each try waits for a secondary's word; it looks by itself anyway, every few minutes."""
NOTIFY_PORT: Final = 53


def refusal(query: dns.message.Message, client: str, secondaries: Sequence[IPv4Address]) -> str | None:
    """Why this client gets no transfer, or None. A query with a wrong signature does not come so far."""
    if IPv4Address(client) not in secondaries:
        return "it is no secondary: dns.secondaries names those"
    if not query.had_tsig:
        return "its question is not signed with dns.transfer_key"
    return None


def messages(query: dns.message.Message, answerer: Answerer, zone: Zone) -> Iterator[bytes]:
    """A zone as messages for a stream, without their lengths, signed one after the other (RFC 8945 section 5.3.1)."""
    context: object = None
    for records in _chunks(answerer, zone):
        response = dns.message.make_response(query, our_payload=UDP_PAYLOAD)
        response.flags |= dns.flags.AA
        response.answer = records
        wire = response.to_wire(multi=True, tsig_ctx=context, max_size=65535)
        context = response.tsig_ctx
        yield wire


def _chunks(answerer: Answerer, zone: Zone) -> Iterator[list[dns.rrset.RRset]]:
    soa = answerer.soa(zone)
    chunk = [soa, answerer.ns(zone)]
    for name, entry in answerer.names.of_zone(zone):
        chunk.append(answerer.records(name, entry))
        if len(chunk) >= RECORDS_A_MESSAGE:
            yield chunk
            chunk = []
    yield [*chunk, soa]


class Notifier:
    """Tells secondaries that zones have changed; each until it says that it heard.

    :param key: what the message is signed with.
    """

    def __init__(self, secondaries: Sequence[IPv4Address], key: dns.tsig.Key | None) -> None:
        self._secondaries = secondaries
        self._key = key
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, answerer: Answerer) -> None:
        """In the event loop. What was told before and not heard yet is told no more."""
        for task in self._tasks:
            task.cancel()
        self._tasks = {
            asyncio.create_task(self._tell_one(str(secondary), answerer, zone))
            for secondary in self._secondaries
            for zone in answerer.names.zones.values()
        }

    async def _tell_one(self, secondary: str, answerer: Answerer, zone: Zone) -> None:
        await asyncio.sleep(NOTIFY_AFTER)
        for seconds in NOTIFY_TIMES:
            message = self._message(answerer, zone)
            try:
                response = await dns.asyncquery.udp(
                    message, secondary, timeout=seconds, port=NOTIFY_PORT, ignore_unexpected=True, ignore_errors=True
                )
            except (dns.exception.DNSException, OSError):
                continue
            if response.rcode() != dns.rcode.NOERROR:
                code = dns.rcode.to_text(response.rcode())
                log.warning("secondary %s does not want to hear of zone %s: %s", secondary, zone.apex, code)
            return
        log.warning("secondary %s did not hear that zone %s has changed; it asks by itself", secondary, zone.apex)

    def _message(self, answerer: Answerer, zone: Zone) -> dns.message.Message:
        message = dns.message.make_query(absolute(zone.apex), dns.rdatatype.SOA)
        message.set_opcode(dns.opcode.NOTIFY)
        message.flags = dns.flags.Flag(dns.flags.AA | (dns.opcode.NOTIFY << 11))
        message.answer.append(answerer.soa(zone))
        if self._key is not None:
            message.use_tsig(self._key)
        return message
