"""Other names, for the cluster's machines: asked of the servers that are configured, and kept as long as they may be.

Each question goes out from a port and with a number of its own, both at random (RFC 5452); the same question of many nodes goes
out once. A server that does not answer is asked last for a while.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.SOA
import dns.rrset

from bootserver.netboot.dns.answer import UDP_PAYLOAD

log = logging.getLogger(__name__)

LONGEST: Final = 86_400
LONGEST_NEGATIVE: Final = 3_600  # RFC 2308 section 5: one to three hours
PER_TRY: Final = 2.0
"""Seconds that one server gets before the next is asked."""
DOWN_SECONDS: Final = 30.0
MAX_UNDER_WAY: Final = 1_000
"""Questions that wait for servers at once; more are answered with SERVFAIL."""
_GOOD: Final = frozenset({dns.rcode.NOERROR, dns.rcode.NXDOMAIN})
_PAUSE: Final = 0.2
PORT: Final = 53


@dataclass(frozen=True, slots=True)
class _Question:
    name: dns.name.Name  # compares in any spelling
    rdtype: dns.rdatatype.RdataType
    dnssec: bool
    unchecked: bool  # CD: the client checks signatures itself


@dataclass(frozen=True, slots=True)
class _Held:
    """An answer. :ivar at: when it came, by a monotonic clock. :ivar until: when it is forgotten."""

    rcode: dns.rcode.Rcode
    authentic: bool
    answer: tuple[dns.rrset.RRset, ...]
    authority: tuple[dns.rrset.RRset, ...]
    at: float
    until: float


class Forwarder:
    """Lives in one event loop.

    :param servers: asked in this order. :param seconds: for all of them together. :param entries: answers that are kept.
    """

    def __init__(self, servers: Sequence[IPv4Address], seconds: float, entries: int) -> None:
        self._servers = [str(each) for each in servers]
        self._seconds = seconds
        self._entries = entries
        self._held: OrderedDict[_Question, _Held] = OrderedDict()
        self._under_way: dict[_Question, asyncio.Task[_Held | None]] = {}
        self._down: dict[str, float] = {}

    async def __call__(self, query: dns.message.Message) -> dns.message.Message:
        """The answer for a client; SERVFAIL where none can be had in time."""
        asked = query.question[0]
        dnssec = bool(query.edns >= 0 and query.ednsflags & dns.flags.DO)
        question = _Question(asked.name, asked.rdtype, dnssec, bool(query.flags & dns.flags.CD))
        now = time.monotonic()
        held = self._held.get(question)
        if held is not None and held.until > now:
            self._held.move_to_end(question)
        else:
            held = await self._ask_once(question)
        return _response(query, held, time.monotonic())

    async def _ask_once(self, question: _Question) -> _Held | None:
        task = self._under_way.get(question)
        if task is None:
            if len(self._under_way) >= MAX_UNDER_WAY:
                return None
            task = self._under_way[question] = asyncio.create_task(self._ask(question))
            task.add_done_callback(lambda _: self._under_way.pop(question, None))
        return await asyncio.shield(task)

    async def _ask(self, question: _Question) -> _Held | None:
        end = time.monotonic() + self._seconds
        while True:
            refused = False
            for server in self._in_order():
                left = end - time.monotonic()
                if left <= 0.05:
                    return None
                answer = await self._ask_server(server, question, min(PER_TRY, left))
                if answer is None:
                    continue
                if answer.rcode in _GOOD:
                    self._keep(question, answer)
                    return answer
                refused = True
            if refused:
                return None
            await asyncio.sleep(_PAUSE)  # nobody answered: once more, as long as there is time

    def _in_order(self) -> list[str]:
        now = time.monotonic()
        return sorted(self._servers, key=lambda server: self._down.get(server, 0.0) > now)

    async def _ask_server(self, server: str, question: _Question, seconds: float) -> _Held | None:
        """:returns: what it said, be it a "no"; None: nothing in time."""
        query = dns.message.make_query(
            question.name, question.rdtype, use_edns=0, want_dnssec=question.dnssec, payload=UDP_PAYLOAD
        )
        query.flags |= dns.flags.AD | (dns.flags.CD if question.unchecked else 0)
        try:
            response, _ = await dns.asyncquery.udp_with_fallback(
                query, server, timeout=seconds, port=PORT, ignore_unexpected=True, ignore_errors=True
            )
        except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
            if server not in self._down:
                log.warning("forwarder %s does not answer: %s", server, type(error).__name__)
            self._down[server] = time.monotonic() + DOWN_SECONDS
            return None
        if self._down.pop(server, None) is not None:
            log.info("forwarder %s answers again", server)
        return _held(response, time.monotonic())

    def _keep(self, question: _Question, held: _Held) -> None:
        if held.until <= held.at or not self._entries:
            return
        self._held[question] = held
        self._held.move_to_end(question)
        while len(self._held) > self._entries:
            self._held.popitem(last=False)


def _held(response: dns.message.Message, now: float) -> _Held:
    answer, authority = tuple(response.answer), tuple(response.authority)
    soas = [each for each in authority if each.rdtype == dns.rdatatype.SOA]
    if answer and response.rcode() == dns.rcode.NOERROR:
        seconds = min(LONGEST, *(each.ttl for each in answer))
    elif soas and isinstance(soas[0][0], dns.rdtypes.ANY.SOA.SOA):  # RFC 2308 section 5
        seconds = min(LONGEST_NEGATIVE, soas[0].ttl, soas[0][0].minimum)
    else:
        seconds = 0  # a "no" that nobody says how long to believe
    return _Held(response.rcode(), bool(response.flags & dns.flags.AD), answer, authority, now, now + seconds)


def _response(query: dns.message.Message, held: _Held | None, now: float) -> dns.message.Message:
    response = dns.message.make_response(query, recursion_available=True, our_payload=UDP_PAYLOAD)
    if held is None:
        response.set_rcode(dns.rcode.SERVFAIL)
        return response
    age = int(now - held.at)
    response.set_rcode(held.rcode)
    response.answer = [_aged(each, age) for each in held.answer]
    response.authority = [_aged(each, age) for each in held.authority]
    wants_dnssec = query.edns >= 0 and bool(query.ednsflags & dns.flags.DO)
    if held.authentic and (wants_dnssec or query.flags & dns.flags.AD):  # RFC 6840 section 5.7
        response.flags |= dns.flags.AD
    if wants_dnssec:
        response.want_dnssec()
    return response


def _aged(rrset: dns.rrset.RRset, age: int) -> dns.rrset.RRset:
    if not age:
        return rrset
    return dns.rrset.from_rdata_list(rrset.name, max(0, rrset.ttl - age), list(rrset))
