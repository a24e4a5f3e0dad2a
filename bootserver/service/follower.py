"""The part that learns from a site's own DHCP server, and tells a site's dnsmasq of the nodes: `dhcp.mode = "off"`.

Two processes. The *hand* stays root, with the few capabilities that a part may keep: it reads logs, which only root and a few
others may, and signals dnsmasq; it looks into nothing that it reads. The part itself is the service's user, and does the rest.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bootserver.cluster.events import Event, Kind, Reporter
from bootserver.cluster.reporting import PIPE_SIZE
from bootserver.cluster.view import View
from bootserver.errors import BootserverError
from bootserver.netboot.dhcp_events.hosts import Hosts
from bootserver.netboot.dhcp_events.learner import Learner
from bootserver.netboot.dhcp_events.lines import LogParser
from bootserver.netboot.dhcp_events.sighting import MAX_MESSAGE, Trouble, decode, encode
from bootserver.service import privileges
from bootserver.service.dnsmasq_hosts import HostsFolder, hang_up
from bootserver.service.log_tail import CHUNK, Lines, Tail, open_tail
from bootserver.service.logs import name_part

logger = logging.getLogger(__name__)

TICK: Final = 0.05
"""Seconds between two looks at the logs; a machine that asks is registered within two of them."""
HOSTS_PAUSE: Final = 0.5
"""Seconds between two rounds of host entries: many changes in a row are one SIGHUP."""
RETRY: Final = 30.0
MAX_DATAGRAMS: Final = 256
_HANG_UP: Final = b"hang up"


# -- the hand, which is root ----------------------------------------------------------------------------------------------


class Hand(NamedTuple):
    """:ivar logs: what is read of each log, in their order. :ivar control: takes :data:`_HANG_UP`, gives troubles."""

    pid: int
    logs: tuple[int, ...]
    control: socket.socket

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.control.send(_HANG_UP, socket.MSG_DONTWAIT)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def start_hand(sources: Sequence[str], pid_file: Path) -> Hand:
    """Fork it. :param sources: as :func:`bootserver.service.log_tail.open_tail` takes them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pipes = [os.pipe2(os.O_CLOEXEC) for _ in sources]
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            ours.close()
            for reading, _ in pipes:
                os.close(reading)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the part ends us, when it has read the last lines
            privileges.become(None, "follower-hand")  # for its end with the part, and its name
            name_part("follower-hand")
            _work(sources, [writing for _, writing in pipes], theirs, pid_file)
            status = 0
        except BaseException:
            logger.exception("the follower's hand ends")
        finally:
            os._exit(status)
    theirs.close()
    for reading, writing in pipes:
        os.close(writing)
        os.set_blocking(reading, False)
        with contextlib.suppress(OSError):
            fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    return Hand(pid, tuple(reading for reading, _ in pipes), ours)


def _work(sources: Sequence[str], pipes: Sequence[int], control: socket.socket, pid_file: Path) -> None:
    def say(trouble: str) -> None:
        logger.warning("%s", trouble)
        with contextlib.suppress(OSError):
            control.send(encode(Trouble(trouble)), socket.MSG_DONTWAIT)

    tails: list[tuple[Tail, int]] = [(open_tail(source, say), pipe) for source, pipe in zip(sources, pipes, strict=True)]
    poll = select.poll()
    poll.register(control, select.POLLIN)
    busy = False
    while True:
        if poll.poll(0 if busy else TICK * 1000):
            if control.recv(64) != _HANG_UP:  # nothing: the part has ended
                return
            try:
                logger.info("dnsmasq (pid %d) reads its hosts again", hang_up(pid_file))
            except BootserverError as error:
                say(str(error))
        busy = False
        for tail, pipe in tails:
            data = tail.read()
            busy = busy or bool(data)
            while data:
                data = data[os.write(pipe, data) :]


# -- the part -------------------------------------------------------------------------------------------------------------


class Follower:
    """:param hook: where ``bootserver dhcp-event`` tells; None: nowhere.
    :param view: gives the newest view. :param hosts: works out a view's host entries.
    :param folder: where they are kept; None: nowhere.
    """

    def __init__(
        self,
        hand: Hand,
        hook: socket.socket | None,
        view: Callable[[], View],
        learner: Learner,
        reporter: Reporter,
        *,
        hosts: Callable[[View], Hosts],
        folder: HostsFolder | None = None,
        on_tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._hand = hand
        self._hook = hook
        self._view = view
        self._learner = learner
        self._report = reporter.report
        self._hosts = hosts
        self._folder = folder
        self._on_tick = on_tick
        self._logs = {number: (LogParser(), Lines()) for number in hand.logs}
        self._shown: View | None = None
        self._show_at = 0.0
        self._told: dict[str, float] = {}
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    def serve(self) -> None:
        """Until :meth:`stop` is called.

        :raises ChildProcessError: the hand has ended: so must the part, to be started again with another.
        """
        poll = select.poll()
        for number in (*self._logs, self._hand.control.fileno(), *(() if self._hook is None else (self._hook.fileno(),))):
            poll.register(number, select.POLLIN)
        while not self._stopping:
            for number, _ in poll.poll(TICK * 1000):
                if number in self._logs:
                    self._read_log(number)
                elif number == self._hand.control.fileno():
                    self._read_control()
                else:
                    self._read_hook()
            self._learner.tick(self._view(), time.monotonic(), time.time())
            self._show_hosts()
            self._on_tick()

    # -- what comes in -----------------------------------------------------------------------------------------------

    def _read_log(self, number: int) -> None:
        parser, lines = self._logs[number]
        try:
            data = os.read(number, CHUNK)
        except BlockingIOError:
            return
        if not data:
            raise ChildProcessError("the follower's hand has ended")
        now, clock = time.monotonic(), time.time()
        see = self._learner.see
        for sighting in parser.read(lines.take(data).split(b"\n")):
            see(sighting, self._view(), now, clock)
        while parser.troubles:
            self._alarm(parser.troubles.pop())

    def _read_control(self) -> None:
        octets = self._hand.control.recv(MAX_MESSAGE)
        if not octets:
            raise ChildProcessError("the follower's hand has ended")
        message = decode(octets)
        if isinstance(message, Trouble):
            self._alarm(message.text)

    def _read_hook(self) -> None:
        for octets in self._datagrams():
            message = decode(octets)
            if isinstance(message, Trouble):
                self._alarm(f"dhcp-event: {message.text}")
            elif message is not None:
                self._learner.see(message, self._view(), time.monotonic(), time.time())

    def _datagrams(self) -> Iterator[bytes]:
        assert self._hook is not None
        for _ in range(MAX_DATAGRAMS):
            try:
                yield self._hook.recv(MAX_MESSAGE)
            except BlockingIOError:
                return

    # -- what goes out -----------------------------------------------------------------------------------------------

    def _show_hosts(self) -> None:
        view, now = self._view(), time.monotonic()
        if self._folder is None or view is self._shown or view.sequence < 0 or now < self._show_at:
            return
        self._show_at = now + HOSTS_PAUSE
        found = self._hosts(view)
        try:
            done = self._folder.show(found.hosts)
        except BootserverError as error:
            self._alarm(str(error))
            self._show_at = now + RETRY
            return
        self._shown = view
        if done.wants_hangup:
            self._hand.hang_up()
        if done.added or done.wants_hangup:
            logger.info("dnsmasq's host entries: %d added, %d changed, %d removed", done.added, done.changed, done.removed)

    def _alarm(self, text: str) -> None:
        """Once in ten minutes."""
        now = time.monotonic()
        if now - self._told.get(text, float("-inf")) < 600:
            return
        if len(self._told) >= 64:
            self._told.clear()
        self._told[text] = now
        logger.warning("%s", text)
        self._report(Event(Kind.ALARM, time.time(), detail={"because": text}))
