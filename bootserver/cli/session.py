"""What a command works with: the configuration, the databases, who it is that types, and the door to change the cluster."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bootserver.cli.table import plain
from bootserver.errors import Refused

if TYPE_CHECKING:
    from bootserver.cluster.change import Change, Reader
    from bootserver.cluster.events import Event
    from bootserver.config import Config
    from bootserver.db.connection import Databases

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """One command's run. All of it is found when it is first asked for: ``--help`` needs no configuration.

    :ivar dry_run: roll back what the command changes, and show it (``--dry-run``).
    :ivar yes: don't ask (``--yes``).
    """

    def __init__(self, config: str | None, verbose: bool, meta: dict[str, Any]) -> None:
        self.verbose = verbose
        self.dry_run = False
        self.yes = False
        self._config_option = config
        self._meta = meta
        self._told: list[str] = []
        if verbose:
            import logging

            logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s: %(message)s")

    @property
    def config_path(self) -> Path:
        from bootserver.config import default_path

        return Path(self._config_option) if self._config_option else default_path()

    @functools.cached_property
    def config(self) -> Config:
        """:raises ConfigError: it can't be used."""
        from bootserver.config import load

        return load(self.config_path)

    @functools.cached_property
    def databases(self) -> Databases:
        from bootserver.db.connection import open_databases

        return open_databases(self.config)

    @functools.cached_property
    def who(self) -> str:
        """The person that the change log names: who became root by sudo, else the user of this process."""
        sudo_user = os.environ.get("SUDO_USER")
        if sudo_user and os.geteuid() == 0:
            return sudo_user
        try:
            return pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # a container's user that has no name
            return f"uid {os.getuid()}"

    @property
    def typed(self) -> str:
        """The command as it was typed, from its noun on."""
        return str(self._meta.get("bootserver.typed", "bootserver"))

    @contextlib.contextmanager
    def read(self) -> Iterator[Reader]:
        """A consistent picture of the cluster."""
        from bootserver.cluster.change import open_reader

        with open_reader(self.databases.cluster) as reader:
            yield reader

    @contextlib.contextmanager
    def change(self, what: str | None = None, *, dry_run: bool | None = None, undoes: int | None = None) -> Iterator[Change]:
        """The command's one transaction. What it tells (:meth:`tell`) is printed when it is committed, and not before.

        :param what: for the change log; None: the command as it was typed.
        """
        from bootserver.cluster.change import open_change

        dry_run = self.dry_run if dry_run is None else dry_run
        events = _Collected()
        self._told = []
        with open_change(
            self.databases.cluster, self.who, what or self.typed, reporter=events, dry_run=dry_run, undoes=undoes
        ) as change:
            yield change
        if dry_run:
            for record in change.records:
                click.echo(plain(record.describe()))
            click.echo("dry run: nothing was changed")
            return
        for line in self._told:
            click.echo(plain(line))
        self._keep(events.events)

    def tell(self, line: str) -> None:
        """Say what happened, once it is committed."""
        self._told.append(line)

    def warn(self, line: str) -> None:
        click.echo(plain(f"bootserver: {line}"), err=True)

    def confirm(self, question: str) -> None:
        """Ask before something that can't be mended easily.

        :raises Refused: no, or nobody can be asked.
        """
        if self.yes or self.dry_run:
            return
        if not sys.stdin.isatty():
            raise Refused(f"{question} Say so with --yes: there is no terminal to ask on; nothing was changed")
        if not click.confirm(plain(question), err=True):
            raise Refused("nothing was changed")

    def _keep(self, events: list[Event]) -> None:
        """Write the change's events down, all at once. The change is done: its story must not make it fail."""
        if not events:
            return
        from bootserver.cluster import journal
        from bootserver.db.connection import DatabaseError

        try:
            with self.databases.journal.write() as connection:
                journal.append(connection, events)
        except DatabaseError as error:
            self.warn(f"done, but its {len(events)} events could not be written down: {error}")


class _Collected:
    """A reporter that keeps what happened in memory: thousands of nodes are one transaction, not thousands."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def report(self, event: Event) -> None:
        self.events.append(event)


pass_session = click.make_pass_decorator(Session)


def _flag(name: str, help_text: str) -> Callable[[F], F]:
    """A flag that is kept in the session, so that commands need no parameter for it."""

    def keep(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
        session = ctx.find_object(Session)
        if session is not None and parameter.name is not None:
            setattr(session, parameter.name, value)

    return click.option(name, is_flag=True, expose_value=False, callback=keep, help=help_text)


change_options = _flag("--dry-run", "Show what would be changed, and change nothing.")
confirm_options = _flag("--yes", "Don't ask (scripts must say so).")
