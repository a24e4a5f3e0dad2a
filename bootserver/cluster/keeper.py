"""Keeps a process's view up to date, in a thread beside its loop.

SQLite's ``data_version`` is asked every POLL seconds (some microseconds): it is the hint that something was written. The
change log's newest entry is the truth: only when it is another one is the view loaded anew, aside, and swapped in whole.
While the database is away, locked or damaged, the last view stays, and nodes go on booting by it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from bootserver.cluster.change import open_reader
from bootserver.cluster.load import load_view, newest_change
from bootserver.cluster.view import View
from bootserver.db.connection import Database

logger = logging.getLogger(__name__)

POLL = 0.02
"""Seconds. A change is seen after half of it on average, and a machine that was just registered is waiting."""

REST = 3.0
"""After a load that took t seconds the next one waits for t * REST: many changes in a row cost a quarter of a processor."""


class ViewKeeper:
    """:ivar view: the newest view; read it once for each request."""

    def __init__(
        self, database: Database, lease_seconds: int, backup: Database | None = None, *, frontend_resolves: bool = False
    ) -> None:
        """
        :param backup: a copy of the database that is read where the database itself can't be, at the start.
        :param frontend_resolves: what :func:`~bootserver.cluster.load.load_view` takes.
        """
        self.view = View(sequence=-1)
        self._database = database
        self._backup = backup
        self._lease_seconds = lease_seconds
        self._frontend_resolves = frontend_resolves
        self._stamp: object = None
        self._shown: tuple[object, ...] | None = None
        self._away = False
        self._listeners: list[Callable[[View], None]] = []
        self._stopped = threading.Event()

    def on_change(self, listener: Callable[[View], None]) -> None:
        """Call `listener` with each new view, in the keeper's thread."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Load the first view and follow the database from then on."""
        if not self.refresh() and self._backup is not None and self.view.sequence < 0:
            self._load_backup(self._backup)
        threading.Thread(target=self._follow, name="view", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _load_backup(self, backup: Database) -> None:
        try:
            with open_reader(backup) as reader:
                self._show(load_view(reader, self._lease_seconds, frontend_resolves=self._frontend_resolves))
        except Exception as error:
            logger.error("no last good copy of the database either: %s", error)
            return
        logger.error("serving known nodes from the last good copy of the database (change %d)", self.view.sequence)

    def refresh(self) -> bool:
        """Look once. :returns: whether the database could be read."""
        stamp = self._database.stamp()
        if stamp is not None and stamp == self._stamp:
            return True
        if not self._load(self._database):
            return False
        self._stamp = stamp
        return True

    def _load(self, database: Database) -> bool:
        try:
            with open_reader(database) as reader:
                if (newest := newest_change(reader)) != self._shown:
                    self._show(load_view(reader, self._lease_seconds, frontend_resolves=self._frontend_resolves))
                    self._shown = newest
        except Exception as error:  # damage that the database does not notice shows as rows that make no sense
            if not self._away:
                self._away = True
                logger.error("the view stays as it is (change %d): %s", self.view.sequence, error)
            return False
        if self._away:
            self._away = False
            logger.info("the database is back; the view shows change %d", self.view.sequence)
        return True

    def _show(self, view: View) -> None:
        self.view = view
        for listener in self._listeners:
            listener(view)

    def _follow(self) -> None:
        pause = POLL
        while not self._stopped.wait(pause):
            before = self.view
            started = time.monotonic()
            ok = self.refresh()
            took = time.monotonic() - started
            # A database that is away is not asked 50 times a second.
            pause = 1.0 if not ok else max(POLL, took * REST) if self.view is not before else POLL
