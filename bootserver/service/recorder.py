"""The recorder: the one process that writes down what nodes do.

DHCP and TFTP only read views and report. The recorder keeps events (in batches), registers unknown machines while a
discovery is open (one transaction each), takes one-shot actions back, ends a discovery whose time is over, and copies the
database aside, so that a damaged one costs at most a minute of changes.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from bootserver.cluster import discovery, installs, journal
from bootserver.cluster.change import open_change
from bootserver.cluster.discovery import Machine
from bootserver.cluster.events import Event, Kind
from bootserver.cluster.keeper import ViewKeeper
from bootserver.cluster.reporting import Registration, decode
from bootserver.db.connection import DatabaseError, Databases
from bootserver.db.rows import DiscoveryRow, NodeRow
from bootserver.errors import BootserverError
from bootserver.values.mac import MacAddress

logger = logging.getLogger(__name__)

BATCH_SECONDS = 0.05
KEEP = 50_000
"""Events kept in memory while the journal can't be written; older ones are counted as lost."""
REGISTRATIONS_PER_SECOND = 20.0
REGISTRATION_BURST = 64.0
MOST_MACHINES = 4096
"""That wait to become nodes, or that a person was asked of: MAC addresses cost nothing, so their number must have an end."""
BACKUP_SECONDS = 60.0
CLEAN_SECONDS = 3600.0
RETRY_SECONDS = 1.0
_SENT = frozenset({Kind.KERNEL_SENT, Kind.RAMDISK_SENT, Kind.FILE_SENT})


class Recorder:
    """Reads reports from a pipe until it is told to stop."""

    def __init__(
        self,
        reading: int,
        databases: Databases,
        keeper: ViewKeeper,
        keep_events_days: int,
        backup: Callable[[], None] | None = None,
        *,
        tftpboot: Path | None = None,
    ) -> None:
        """
        :param reading: the reading end of the pipe that :class:`~bootserver.cluster.reporting.PipeReporter` writes to.
        :param tftpboot: where the files of an install must be, for it to be armed.
        :param backup: copies the cluster's database aside; None where a database server sees to that itself.
        """
        self._reading = reading
        self._databases = databases
        self._keeper = keeper
        self._tftpboot = tftpboot
        self._keep_seconds = keep_events_days * 86400
        self._events: deque[Event] = deque()
        self._lost = 0
        self._machines: OrderedDict[MacAddress, Machine] = OrderedDict()
        self._allowance = _Allowance(REGISTRATIONS_PER_SECOND, REGISTRATION_BURST)
        self._asked: set[tuple[int, MacAddress]] = set()
        self._retry_at = 0.0
        self._clean_at = 0.0
        self._backup = backup
        self._backup_at = 0.0
        self._backed_up = -1
        self._half = b""
        self._enqueued: deque[Event] = deque(maxlen=KEEP)
        self._stopped = False
        self._troubles: dict[str, str] = {}

    def report(self, event: Event) -> None:
        """Events of the recorder's own changes."""
        self._events.append(event)

    def enqueue(self, event: Event) -> None:
        """An event that another thread of this process saw."""
        self._enqueued.append(event)

    def stop(self, _signal: int = signal.SIGTERM, _frame: FrameType | None = None) -> None:
        self._stopped = True

    def run(self) -> None:
        poller = select.poll()
        poller.register(self._reading, select.POLLIN)
        while not self._stopped:
            poller.poll(BATCH_SECONDS * 1000)
            self._read()
            self._register()
            self._write()
            self._tick()
            if not self._machines:  # let a batch gather; a machine that waits for its name is not kept waiting
                time.sleep(BATCH_SECONDS / 2)
        self._read()
        self._write()

    # -- what comes in -------------------------------------------------------------------------------------------

    def _read(self) -> None:
        while self._enqueued:
            self._take(self._enqueued.popleft())
        for _ in range(64):
            try:
                data = os.read(self._reading, 65536)
            except BlockingIOError:
                return
            if not data:
                return
            whole, _, self._half = (self._half + data).rpartition(b"\n")
            for message in decode(whole):
                if isinstance(message, Registration):
                    if len(self._machines) < MOST_MACHINES:  # who is left out asks again
                        self._machines.setdefault(message.machine.mac, message.machine)
                else:
                    self._take(message)

    def _take(self, event: Event) -> None:
        self._events.append(event)
        if len(self._events) > KEEP:
            self._events.popleft()
            self._lost += 1
        node = None if event.node is None else self._keeper.view.nodes.get(event.node)
        if node is not None and node.action.one_shot and event.kind in _SENT and event.detail.get("path") == node.action.floppy:
            self._flip(node.name, str(node.action.floppy))

    # -- what is committed ---------------------------------------------------------------------------------------

    def _register(self) -> None:
        now = time.monotonic()
        if not self._machines or now < self._retry_at:
            return
        while self._machines and self._allowance.take():
            mac, machine = next(iter(self._machines.items()))
            try:
                self._register_one(machine)
            except DatabaseError as error:  # the machine stays in the queue
                self._say("registration", str(error))
                self._retry_at = now + RETRY_SECONDS
                return
            except BootserverError as error:
                self._events.append(Event(Kind.IGNORED, time.time(), None, mac, {"because": str(error)}))
            del self._machines[mac]
            self._troubles.pop("registration", None)

    def _register_one(self, machine: Machine) -> None:
        with open_change(self._databases.cluster, "discovery", f"register {machine.mac}", reporter=self) as change:
            row = discovery.current(change)
            if row is None:
                return
            if row.confirm:
                self._ask(row.id, machine)
                return
            node = discovery.register(change, row, machine, tftpboot=self._tftpboot)
        logger.info("registered mac=%s node=%s", machine.mac, node.name)

    def _ask(self, number: int, machine: Machine) -> None:
        """A person decides (``insert-ethers --confirm`` reads this event); one question a machine."""
        if (number, machine.mac) in self._asked or len(self._asked) >= MOST_MACHINES:
            return
        self._asked.add((number, machine.mac))
        uuid = None if machine.uuid is None else machine.uuid.hex()
        detail = {
            "discovery": number,
            "uuid": uuid,
            "network": machine.network,
            "netboots": machine.netboots,
            "firmware": machine.firmware,
            **machine.said(),
        }
        self._events.append(Event(Kind.ASKS, time.time(), None, machine.mac, detail))

    def _flip(self, name: str, path: str) -> None:
        try:
            with open_change(self._databases.cluster, name, f"{path} was fetched", reporter=self) as change:
                node = change.one(NodeRow, "name = :name", name=name)
                if node is not None:
                    installs.flip_one_shot(change, node, path)
        except BootserverError as error:
            # It stays armed and would flash again: that must not go unnoticed.
            detail = {"because": f"its one-shot action could not be taken back: {error}"}
            self._events.append(Event(Kind.ALARM, time.time(), name, detail=detail))

    # -- what is batched -----------------------------------------------------------------------------------------

    def _write(self) -> None:
        if not self._events and not self._lost:
            return
        events = list(self._events)
        if self._lost:
            events.append(Event(Kind.LOST, time.time(), detail={"events": self._lost, "because": "the journal was away"}))
        try:
            with self._databases.journal.write() as connection:
                journal.append(connection, events)
        except BootserverError as error:
            self._say("events", f"events wait in memory: {error}")
            time.sleep(RETRY_SECONDS / 4)
            return
        self._events.clear()
        self._lost = 0
        self._troubles.pop("events", None)

    def _say(self, what: str, trouble: str) -> None:
        """Once for each of what can't be done, not four times a second."""
        if trouble != self._troubles.get(what):
            self._troubles[what] = trouble
            logger.error("%s", trouble)

    # -- now and then --------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        open_one = self._keeper.view.discovery
        if open_one is not None and open_one.expires <= time.time():
            self._close_expired()
        if self._backup is not None and time.monotonic() >= self._backup_at and self._keeper.view.sequence != self._backed_up:
            self._backup_at = time.monotonic() + BACKUP_SECONDS
            self._backed_up = self._keeper.view.sequence
            threading.Thread(target=self._backup, name="backup", daemon=True).start()
        if time.monotonic() < self._clean_at:
            return
        self._clean_at = time.monotonic() + CLEAN_SECONDS
        try:
            with self._databases.journal.write() as connection:
                journal.forget_before(connection, time.time() - self._keep_seconds)
        except BootserverError as error:
            self._say("old events", str(error))

    def _close_expired(self) -> None:
        try:
            with open_change(self._databases.cluster, "discovery", "its time is over") as change:
                row = change.one(DiscoveryRow, "open = 1")
                if row is not None and row.expires <= time.time():
                    discovery.close(change, row)
            self._keeper.refresh()
        except BootserverError as error:
            self._say("discovery", str(error))


class _Allowance:
    """A token bucket (so many a second, so many at once)."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
