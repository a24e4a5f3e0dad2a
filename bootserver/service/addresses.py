"""Writes down what the DHCP part learned of nodes' addresses: a thread of the recorder, the one process that writes.

What comes in together is one change, so that a site that boots as a whole makes views load a few times and not a thousand.
While the database is away, the newest of each machine waits.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Final

from bootserver.cluster import addresses
from bootserver.cluster.addresses import Given, News
from bootserver.cluster.change import open_change, open_reader
from bootserver.cluster.events import Event, Kind
from bootserver.db.connection import Database, DatabaseError
from bootserver.errors import BootserverError
from bootserver.values.mac import MacAddress

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 4096
BATCH_SECONDS: Final = 0.02
RETRY_SECONDS: Final = 1.0
TELL_AGAIN: Final = 3600.0


class Teller:
    """The DHCP part's end: says it and goes on. What the channel does not take is said again by the next boot."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def __call__(self, news: News) -> None:
        try:
            self._channel.send(addresses.encode(news), socket.MSG_DONTWAIT)
        except OSError as error:
            logger.debug("not told mac=%s error=%s", news.mac, error)


class Scribe:
    """:param report: takes events; from this thread."""

    def __init__(self, channel: socket.socket, database: Database, report: Callable[[Event], None]) -> None:
        self._channel = channel
        self._database = database
        self._report = report
        self._news: dict[MacAddress, News] = {}
        self._told: dict[tuple[MacAddress, IPv4Address], float] = {}

    def report(self, event: Event) -> None:
        """Events of the changes."""
        self._report(event)

    def run(self) -> None:
        """Until the process ends."""
        while True:
            self.step()

    def step(self) -> None:
        """Wait for news, and write down what there is."""
        self._channel.settimeout(RETRY_SECONDS if self._news else None)
        try:
            self._keep(self._channel.recv(addresses.MAX_LINE))
            time.sleep(BATCH_SECONDS)  # let a batch gather
            while True:
                self._keep(self._channel.recv(addresses.MAX_LINE, socket.MSG_DONTWAIT))
        except OSError:  # nothing more for now
            pass
        try:
            self._write()
        except DatabaseError as error:
            logger.error("addresses wait in memory: %s", error)

    def _keep(self, line: bytes) -> None:
        news = addresses.decode(line)
        if news is not None and (news.mac in self._news or len(self._news) < MAX_WAITING):
            self._news[news.mac] = news

    def _write(self) -> None:
        with open_reader(self._database) as reader:
            wanted = [news for news in self._news.values() if addresses.is_new(reader, news)]
        if wanted:
            what = "addresses seen on the wire" if len(wanted) > 1 else f"{wanted[0].mac} is at {wanted[0].address}"
            with open_change(self._database, "dhcp", what, reporter=self) as change:
                for news in wanted:
                    try:
                        addresses.note(change, news)
                    except DatabaseError:
                        raise
                    except BootserverError as error:
                        self._refused(news, str(error))
        self._news.clear()

    def _refused(self, news: News, why: str) -> None:
        """Once an hour for each machine and address."""
        now = time.monotonic()
        key = news.mac, news.address
        if now - self._told.get(key, float("-inf")) < TELL_AGAIN:
            return
        if len(self._told) >= MAX_WAITING:
            self._told.clear()
        self._told[key] = now
        kind = Kind.IGNORED if isinstance(news, Given) else Kind.ALARM
        self._report(Event(kind, time.time(), None, news.mac, {"because": why, "address": str(news.address)}))
