"""The supervisor: starts the parts, starts those again that die, stops them all.

It holds the sockets, so a part that dies loses nothing that waits in them; it parses nothing that came from a network.
"""

from __future__ import annotations

import logging
import os
import pwd
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bootserver.service import privileges
from bootserver.service.logs import name_part
from bootserver.service.notify import notify

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0
"""What transfers under way get to finish when the service stops."""
_BACK_OFF = 0.1
_MAX_BACK_OFF = 30.0
_STEADY_SECONDS = 60.0  # a part that ran for so long may die once without being made to wait

Ready = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the service.

    :ivar run: does the work until SIGTERM; calls what it is given once it answers.
    :ivar as_root: it stays root, with the few capabilities that :mod:`bootserver.service.privileges` leaves it.
    """

    name: str
    run: Callable[[Ready], None]
    as_root: bool = False


@dataclass(slots=True)
class _Running:
    part: Part
    pid: int = 0
    started: float = 0.0
    pause: float = _BACK_OFF
    restart_at: float | None = None
    ready: bool = False
    ready_pipe: int = -1


class Supervisor:
    """:ivar on_reload: makes the parts anew from the configuration; returns None to keep the old ones."""

    def __init__(
        self, parts: Sequence[Part], user: pwd.struct_passwd | None, on_reload: Callable[[], Sequence[Part] | None]
    ) -> None:
        self._running = {part.name: _Running(part) for part in parts}
        self._user = user
        self._on_reload = on_reload
        self._leaving: set[int] = set()
        self._signals: set[int] = set()
        self._announced = False
        self._began = time.monotonic()

    def run(self) -> int:
        """Until SIGTERM or SIGINT. :returns: the service's exit status."""
        waking, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda signal_number, _frame: self._signals.add(signal_number))
        for running in self._running.values():
            self._start(running)
        while True:
            self._wait(waking)
            if self._signals & {signal.SIGTERM, signal.SIGINT}:
                return self._stop()
            if signal.SIGHUP in self._signals:
                self._signals.discard(signal.SIGHUP)
                self._reload()
            self._reap()
            self._restart_due()
            self._announce()

    # -- one turn ------------------------------------------------------------------------------------------------

    def _wait(self, waking: int) -> None:
        due = [running.restart_at for running in self._running.values() if running.restart_at is not None]
        timeout = max(0.0, min(due) - time.monotonic()) if due else 1.0
        pipes = [running.ready_pipe for running in self._running.values() if running.ready_pipe >= 0]
        readable, _, _ = select.select([waking, *pipes], [], [], timeout)
        if waking in readable:
            os.read(waking, 512)
        for running in self._running.values():
            if running.ready_pipe in readable:
                running.ready = running.ready or bool(os.read(running.ready_pipe, 1))
                os.close(running.ready_pipe)
                running.ready_pipe = -1

    def _start(self, running: _Running) -> None:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _child(running.part, self._user, writing)
        os.close(writing)
        if running.ready_pipe >= 0:
            os.close(running.ready_pipe)
        running.pid, running.started, running.restart_at = pid, time.monotonic(), None
        running.ready, running.ready_pipe = False, reading
        logger.debug("part started name=%s pid=%d", running.part.name, pid)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._leaving.discard(pid)
            running = next((each for each in self._running.values() if each.pid == pid), None)
            if running is None:
                continue
            now = time.monotonic()
            if now - running.started > _STEADY_SECONDS:
                running.pause = _BACK_OFF
            running.restart_at = now + running.pause
            how = f"signal {-code}" if (code := os.waitstatus_to_exitcode(status)) < 0 else f"status {code}"
            logger.error("part ended name=%s pid=%d with=%s; starts again in %.1f s", running.part.name, pid, how, running.pause)
            running.pid = 0
            running.pause = min(running.pause * 2, _MAX_BACK_OFF)

    def _restart_due(self) -> None:
        now = time.monotonic()
        for running in self._running.values():
            if running.restart_at is not None and running.restart_at <= now:
                self._start(running)

    def _announce(self) -> None:
        if self._announced or not all(running.ready for running in self._running.values()):
            return
        self._announced = True
        notify(f"READY=1\nSTATUS=serving\nMAINPID={os.getpid()}")
        logger.info("ready after %.2f s parts=%s", time.monotonic() - self._began, ",".join(self._running))

    # -- reload and stop -----------------------------------------------------------------------------------------

    def _reload(self) -> None:
        notify("RELOADING=1")
        parts = self._on_reload()
        if parts is None:
            logger.info("the parts go on as they were")
            notify("READY=1")
            return
        # The old processes stop listening and finish their transfers; what arrives meanwhile waits in the sockets.
        for running in self._running.values():
            if running.pid:
                os.kill(running.pid, signal.SIGTERM)
                self._leaving.add(running.pid)
            if running.ready_pipe >= 0:
                os.close(running.ready_pipe)
        self._running = {part.name: _Running(part) for part in parts}
        self._began = time.monotonic()
        for running in self._running.values():
            self._start(running)
        logger.info("configuration reloaded")
        self._announced = False  # READY=1 again, once the new parts are

    def _stop(self) -> int:
        notify("STOPPING=1")
        logger.info("stopping: transfers under way get %.0f s", GRACE_SECONDS)
        pids = {running.pid for running in self._running.values() if running.pid} | self._leaving
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS + 1
        while pids and time.monotonic() < deadline:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid:
                pids.discard(pid)
            else:
                time.sleep(0.02)
        for pid in pids:
            logger.error("pid %d did not stop in time and is killed", pid)
            os.kill(pid, signal.SIGKILL)
        logger.info("stopped")
        return 0


def _child(part: Part, user: pwd.struct_passwd | None, writing: int) -> None:
    """In the new process; never returns."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if part.as_root:
            privileges.stay_root(part.name)
        else:
            privileges.become(user, part.name)
        name_part(part.name)
        part.run(lambda: _tell(writing))
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # whatever ends a part is logged here, and the supervisor starts it again
        traceback.print_exc()
    finally:
        try:
            sys.stderr.flush()
        finally:  # a log that can't be written must not bring a second supervisor to life
            os._exit(status)


def _tell(writing: int) -> None:
    try:
        os.write(writing, b"!")
        os.close(writing)
    except OSError:  # told already
        pass
