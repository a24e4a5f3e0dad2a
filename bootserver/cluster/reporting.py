"""How protocol servers tell what happened: lines through a pipe to the recorder, the one process that writes them down.

A report costs the data path a few microseconds and never waits: what the pipe does not take is kept back for a moment, and
in a flood counted instead of kept. Lines are shorter than PIPE_BUF, so the kernel never mixes those of two processes
(pipe(7)); a recorder that dies is replaced, and finds in the pipe what was sent meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bootserver.cluster.discovery import Machine
from bootserver.cluster.events import Event, Kind
from bootserver.errors import BootserverError
from bootserver.values.mac import MacAddress

LINE = 4096
"""PIPE_BUF on Linux: writes up to this size are atomic."""
PIPE_SIZE = 1 << 20
EVENTS_PER_SECOND = 4000
BURST = 20_000
_KEPT_BACK = 4096  # lines; the pipe holds some thousand more


@dataclass(frozen=True, slots=True)
class Registration:
    """An unknown machine asks, and a discovery is open."""

    machine: Machine


def make_pipe() -> tuple[int, int]:
    """:returns: the reading and the writing end; both outlive the processes that use them."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # a user's own limit (fs.pipe-max-size): the usual 64 KiB do, too
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    return reading, writing


class PipeReporter:
    """A :class:`~bootserver.cluster.events.Reporter` for the data path. Call :meth:`flush` some times a second."""

    def __init__(self, writing: int) -> None:
        self._writing = writing
        self._lines: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._allowance = float(BURST)
        self._counted = time.monotonic()
        self._lost = 0

    def report(self, event: Event) -> None:
        with self._lock:
            if not self._lines:
                self._refill()
            if self._allowance < 1 or len(self._lines) >= _KEPT_BACK:
                self._lost += 1
                return
            self._allowance -= 1
            self._lines.append(encode(event))

    def register(self, machine: Machine) -> None:
        """Ask the recorder to make a machine a node; it is told at once. The machine asks again anyway, if this is lost."""
        with self._lock:
            self._lines.append(encode(Registration(machine)))
        self.flush()

    def flush(self) -> None:
        """Hand the lines on, as many as the pipe takes now."""
        with self._lock:
            self._refill()
            if self._lost and len(self._lines) < _KEPT_BACK:
                self._lines.append(encode(Event(Kind.LOST, time.time(), detail={"events": self._lost, "because": "flood"})))
                self._lost = 0
            while self._lines:
                batch, size = [], 0
                while self._lines and size + len(self._lines[0]) <= LINE:
                    batch.append(self._lines.popleft())
                    size += len(batch[-1])
                try:
                    os.write(self._writing, b"".join(batch))
                except BlockingIOError:
                    self._lines.extendleft(reversed(batch))
                    return
                except BrokenPipeError:  # the service is ending
                    return

    def _refill(self) -> None:
        now = time.monotonic()
        self._allowance = min(float(BURST), self._allowance + (now - self._counted) * EVENTS_PER_SECOND)
        self._counted = now


def encode(message: Event | Registration) -> bytes:
    """One line of at most LINE bytes; a detail that is too long is left out and said so."""
    if isinstance(message, Registration):
        machine = message.machine
        fields: dict[str, Any] = {
            "register": str(machine.mac),
            "uuid": None if machine.uuid is None else machine.uuid.hex(),
            "network": machine.network,
            "netboots": machine.netboots,
            "firmware": machine.firmware,
            "vendor_class": machine.vendor_class,
            "host_name": machine.host_name,
        }
        return json.dumps(fields).encode() + b"\n"
    fields = {"kind": message.kind.value, "at": message.at}
    if message.node is not None:
        fields["node"] = message.node
    if message.mac is not None:
        fields["mac"] = str(message.mac)
    line = json.dumps(fields | {"detail": message.detail}).encode() + b"\n"
    if len(line) > LINE:
        line = json.dumps(fields | {"detail": {"because": "the detail was too long"}}).encode() + b"\n"
    return line


def decode(lines: bytes) -> Iterator[Event | Registration]:
    """What whole lines say; half a line (its reader died) is passed over."""
    for line in lines.splitlines():
        try:
            fields = json.loads(line)
            if "register" in fields:
                uuid = None if fields["uuid"] is None else bytes.fromhex(fields["uuid"])
                mac = MacAddress.parse(fields["register"])
                said = fields["vendor_class"], fields["host_name"]
                yield Registration(Machine(mac, uuid, fields["network"], fields["netboots"], fields["firmware"], *said))
            else:
                known = fields.get("mac")
                sender = None if known is None else MacAddress.parse(known)
                yield Event(Kind(fields["kind"]), fields["at"], fields.get("node"), sender, dict(fields["detail"]))
        except (ValueError, KeyError, TypeError, AttributeError, BootserverError):
            continue
