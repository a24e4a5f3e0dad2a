"""The cluster's names in a site's own DNS server, by dynamic updates (RFC 2136) that are signed (RFC 8945).

What the server has taken is compared with what there is (:mod:`bootserver.netboot.dns.outbox`); the difference is sent in
messages of some hundred names, each to the zone that the server itself says the name is in. A name that is told replaces what
the server had of it; no other name is touched.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update

from bootserver.cluster import events
from bootserver.cluster.events import Event, Reporter
from bootserver.errors import BootserverError
from bootserver.netboot.dns.answer import absolute, printable
from bootserver.netboot.dns.names import Kind, Names
from bootserver.netboot.dns.outbox import Difference, Outbox, Records, differences, wanted

log = logging.getLogger(__name__)

SECONDS: Final = 10.0
"""How long the server may take for one message."""
BATCH: Final = 200
"""Names in one message: some 20 kB."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
_SILENT: Final = (dns.exception.Timeout, OSError, EOFError)


@dataclass(frozen=True, slots=True)
class Server:
    """A site's DNS server. :ivar ttl: seconds, of the records that it is told."""

    address: IPv4Address
    port: int
    key: dns.tsig.Key
    ttl: int
    reverse: bool = True

    def __str__(self) -> str:
        return str(self.address) if self.port == 53 else f"{self.address} port {self.port}"


@dataclass(slots=True)
class Report:
    """What one look did. :ivar sent: names that the server took. :ivar waiting: those that it did not take yet."""

    sent: int = 0
    waiting: int = 0
    troubles: list[str] = field(default_factory=list)


class ServerTrouble(BootserverError):
    """One line: what the server said, and the way out."""


class Away(ServerTrouble):
    """It does not answer: no other zone need be tried."""


class Updater:
    """Sends what the server has not."""

    def __init__(self, server: Server, outbox: Outbox) -> None:
        self._server = server
        self._outbox = outbox

    def send(self, names: Names, *, everything: bool = False) -> Report:
        """:param everything: tell all names, also those that the server was told before (it may have lost them).
        :raises Unavailable: the outbox can't be used.
        """
        with self._outbox.locked():
            have = self._outbox.read()
            want = wanted(names, reverse=self._server.reverse)
            due = differences(have, want)
            if everything:
                told = {each.name for each in due}
                due += [Difference(name, records, records) for name, records in want.items() if name not in told]
            report = Report(waiting=len(due))
            for cut, of_zone in _by_cut(names, due).items():
                try:
                    self._send_zone(cut, of_zone, have, report)
                except Away as trouble:
                    report.troubles.append(str(trouble))
                    break
                except ServerTrouble as trouble:
                    report.troubles.append(str(trouble))
            return report

    def _send_zone(self, cut: str, due: list[Difference], have: dict[str, Records], report: Report) -> None:
        zone = self._zone(cut)
        for begin in range(0, len(due), BATCH):
            batch = due[begin : begin + BATCH]
            self._send(zone, batch)
            for each in batch:
                if each.after is None:
                    have.pop(each.name, None)
                else:
                    have[each.name] = each.after
            self._outbox.write(have)
            report.sent += len(batch)
            report.waiting -= len(batch)

    def _zone(self, cut: str) -> dns.name.Name:
        """The zone of the server's that holds these names: ours, or one above it (RFC 2136 section 3.1)."""
        query = dns.message.make_query(absolute(cut), dns.rdatatype.SOA)
        query.flags &= ~dns.flags.RD
        address = str(self._server.address)
        try:
            # By TCP: a server that is away is known at once, and what answers can't be forged.
            response = dns.query.tcp(query, address, timeout=SECONDS, port=self._server.port)
        except _SILENT as error:
            raise self._away(error) from error
        except dns.exception.DNSException as error:
            raise ServerTrouble(f"DNS server {self._server} makes no sense: {error}") from error
        soas = [each.name for each in (*response.answer, *response.authority) if each.rdtype == dns.rdatatype.SOA]
        if not response.flags & dns.flags.AA or not soas or soas[0] == dns.name.root or not absolute(cut).is_subdomain(soas[0]):
            raise ServerTrouble(f"DNS server {self._server} does not have zone {cut}: make it there, and let the key update it")
        return soas[0]

    def _send(self, zone: dns.name.Name, batch: Iterable[Difference]) -> None:
        server, key = self._server, printable(self._server.key.name)
        try:
            response = dns.query.tcp(self._message(zone, batch), str(server.address), timeout=SECONDS, port=server.port)
        except dns.tsig.PeerBadTime as error:
            raise ServerTrouble(f"DNS server {server} has another time than we: compare both clocks") from error
        except (dns.tsig.PeerError, dns.tsig.BadKey, dns.tsig.BadSignature, dns.tsig.BadAlgorithm) as error:
            raise ServerTrouble(
                f"DNS server {server} does not take key {key}: name, algorithm and secret must be those of dns.update_key"
            ) from error
        except _SILENT as error:
            raise self._away(error) from error
        except dns.exception.DNSException as error:
            raise ServerTrouble(f"DNS server {server} gave no signed answer for zone {printable(zone)}: {error}") from error
        if response.rcode() != dns.rcode.NOERROR:
            raise ServerTrouble(f"DNS server {server} {_refusal(response.rcode(), key, printable(zone))}")

    def _message(self, zone: dns.name.Name, batch: Iterable[Difference]) -> dns.update.UpdateMessage:
        message = dns.update.UpdateMessage(zone, keyring=self._server.key)
        for each in batch:
            name = absolute(each.name)
            if each.before is not None and (each.after is None or each.after[0] is not each.before[0]):
                message.delete(name, each.before[0].value)
            if each.after is not None:
                kind, values = each.after
                texts = values if kind is Kind.ADDRESS else [f"{value}." for value in values]
                message.replace(name, self._server.ttl, kind.value, *texts)
        return message

    def _away(self, error: BaseException) -> Away:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "nothing in time"
        return Away(f"DNS server {self._server} does not answer ({why}): what has changed waits")


class Courier:
    """A thread that keeps the server told. What can't be done is said once, an event tells of it, and it is tried again."""

    def __init__(self, updater: Updater, names: Callable[[], Names | None], reporter: Reporter) -> None:
        self._updater = updater
        self._names = names
        self._reporter = reporter
        self._changed = threading.Event()
        self._said: list[str] = []
        self._pause = FIRST_PAUSE

    def start(self) -> None:
        self._changed.set()
        threading.Thread(target=self._run, name="dns updates", daemon=True).start()

    def changed(self) -> None:
        """There are new names. From any thread."""
        self._changed.set()

    def _run(self) -> None:
        waiting = False
        while True:
            if waiting:
                time.sleep(self._pause)  # also if more has changed meanwhile: a server that is away is not asked more often
                self._pause = min(self._pause * 2, LONGEST_PAUSE)
            else:
                self._changed.wait()
            self._changed.clear()
            waiting = not self._look()

    def _look(self) -> bool:
        """:returns: whether all is told."""
        names = self._names()
        if names is None:
            return True  # the view is loaded: then there is a change
        try:
            report = self._updater.send(names)
        except BootserverError as error:
            report = Report(troubles=[str(error)])
        except Exception:  # ours, whatever it is: what is to be sent stays in the outbox, and is tried again
            log.exception("defect in the DNS updates")
            report = Report(troubles=["a defect of bootserver, see its log"])
        self._say(report)
        if report.troubles:
            return False
        self._pause = FIRST_PAUSE
        return True

    def _say(self, report: Report) -> None:
        if report.sent:
            log.info("DNS update: %d names sent, %d wait", report.sent, report.waiting)
        if report.troubles == self._said:
            return
        for trouble in report.troubles:
            if trouble not in self._said:
                log.error("DNS update: %s", trouble)
                detail: dict[str, str | int | float | bool | None] = {"because": trouble, "waiting": report.waiting}
                self._reporter.report(Event(events.Kind.ALARM, time.time(), detail=detail))
        if not report.troubles:
            log.info("DNS update: the server takes updates again, and nothing waits")
        self._said = report.troubles


def _refusal(rcode: dns.rcode.Rcode, key: str, zone: str) -> str:
    if rcode == dns.rcode.REFUSED:
        return f"refuses: key {key} may not update zone {zone} there"
    if rcode in (dns.rcode.NOTAUTH, dns.rcode.NOTZONE):
        return f"can't update zone {zone}: it is not its primary server"
    return f"did not update zone {zone}: {dns.rcode.to_text(rcode)}"


def _by_cut(names: Names, due: Iterable[Difference]) -> dict[str, list[Difference]]:
    """By the zone of ours that a name is in, or was: forward zones first."""
    found: dict[str, list[Difference]] = {}
    for each in due:
        zone = names.zone_of(each.name)
        found.setdefault(each.name.partition(".")[2] if zone is None else zone.apex, []).append(each)
    return dict(sorted(found.items(), key=lambda item: item[0].endswith(".arpa")))
