"""What may take its time, in a thread with an event loop of its own: TCP, transfers, forwarding, NOTIFY.

So the loop that answers datagrams waits for nobody.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Final

import dns.message
import dns.rcode
import dns.rdatatype

from bootserver.netboot.dns import transfer
from bootserver.netboot.dns.answer import Answerer, Elsewhere, Reply, Transfer, printable
from bootserver.netboot.dns.forward import Forwarder
from bootserver.netboot.dns.limits import Members
from bootserver.netboot.dns.streams import Streams
from bootserver.netboot.dns.transfer import Notifier

log = logging.getLogger(__name__)

MAX_FORWARDED_OF_ONE: Final = 100
"""Questions of one machine that wait for other servers at once."""
TRANSFERS_AT_ONCE: Final = 2


@dataclass(frozen=True, slots=True)
class Site:
    """Who else is there.

    :ivar forwarder: None: other names are refused to everybody.
    :ivar secondaries: who may have whole zones, and is told of changes.
    """

    forwarder: Forwarder | None = None
    secondaries: Sequence[IPv4Address] = ()
    notifier: Notifier | None = None


class Backstage:
    """:param answerer: gives the newest one. :param tell: what a person should hear of: whose query, what it was, why."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        site: Site,
        answerer: Callable[[], Answerer],
        tell: Callable[[str, str, str], None],
    ) -> None:
        self._listeners = listeners
        self._site = site
        self._answerer = answerer
        self._tell = tell
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="dns backstage", daemon=True)
        self._transfers = asyncio.Semaphore(TRANSFERS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._forwarded: Counter[str] = Counter()
        self.members = Members(())

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the loop; what is under way is dropped, and asked for again by who wants it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1.0)

    def may_forward(self, host: str, query: dns.message.Message) -> bool:
        """Never for strangers: an open resolver is a weapon."""
        return self._site.forwarder is not None and host in self.members and bool(query.flags & dns.flags.RD)

    def forward(self, query: dns.message.Message, host: str, send: Callable[[dns.message.Message], None]) -> None:
        """Find out, and send what was found. From any thread."""
        self._loop.call_soon_threadsafe(self._spawn, self._forward(query, host, send))

    def tell_secondaries(self, answerer: Answerer) -> None:
        """That the zones have changed. From any thread."""
        if self._site.notifier is not None:
            self._loop.call_soon_threadsafe(self._site.notifier.tell, answerer)

    def refuse_transfer(self, outcome: Transfer, host: str) -> dns.message.Message | None:
        """What a client gets that may have no whole zones, and nobody whose zone is none; None: it may."""
        question = outcome.query.question[0]
        answerer = self._answerer()
        why = transfer.refusal(outcome.query, host, self._site.secondaries)
        if why is not None:
            self._tell(host, f"{dns.rdatatype.to_text(question.rdtype)} {printable(question.name)}", why)
            return answerer.refuse(outcome.query, dns.rcode.REFUSED)
        if outcome.zone is None:
            return answerer.refuse(outcome.query, dns.rcode.NOTAUTH)
        return None

    async def respond(self, datagram: bytes, host: str) -> AsyncIterator[bytes]:
        """The messages that answer one query by TCP."""
        answerer = self._answerer()
        match answerer(datagram):
            case Reply(message, trouble):
                if trouble:
                    self._tell(host, "a signed question", trouble)
                yield message.to_wire(max_size=65535)
            case Elsewhere(query) if self.may_forward(host, query) and self._site.forwarder is not None:
                yield (await self._site.forwarder(query)).to_wire(max_size=65535, prefer_truncation=True)
            case Elsewhere(query):
                yield answerer.refuse(query, dns.rcode.REFUSED).to_wire()
            case Transfer() as outcome:
                refused = self.refuse_transfer(outcome, host)
                if refused is not None or outcome.zone is None:
                    if refused is not None:
                        yield refused.to_wire()
                    return
                async with self._transfers:
                    for wire in transfer.messages(outcome.query, answerer, outcome.zone):
                        yield wire
                        await asyncio.sleep(0)
                log.info("zone %s (serial %d) sent to secondary %s", outcome.zone.apex, answerer.names.serial, host)

    async def _forward(self, query: dns.message.Message, host: str, send: Callable[[dns.message.Message], None]) -> None:
        assert self._site.forwarder is not None
        if self._forwarded[host] >= MAX_FORWARDED_OF_ONE:
            send(self._answerer().refuse(query, dns.rcode.SERVFAIL))
            return
        self._forwarded[host] += 1
        try:
            send(await self._site.forwarder(query))
        except Exception:  # a defect of ours, or an answer that dnspython can't write again
            log.exception("defect in the DNS server, forwarding")
        finally:
            self._forwarded[host] -= 1
            if not self._forwarded[host]:
                del self._forwarded[host]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)  # the loop itself keeps no hold of tasks (asyncio.create_task)
        task.add_done_callback(self._tasks.discard)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        streams = Streams(self.respond)
        for listener in self._listeners:
            self._loop.run_until_complete(asyncio.start_server(streams.serve, sock=listener))
        self._loop.run_forever()
