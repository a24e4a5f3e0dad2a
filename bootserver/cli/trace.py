"""``bootserver trace``: one machine's boot as it happens, and where it stops."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from bootserver.cli.arguments import complete_nodes
from bootserver.cli.session import Session, pass_session
from bootserver.cli.table import plain
from bootserver.errors import NotFound, UsageError

if TYPE_CHECKING:
    from bootserver.cluster.events import Event
    from bootserver.doctor.tracing import Boots, Line, Trace
    from bootserver.values.mac import MacAddress

_POLL = 0.2
_AWAY = 1.0
_SETTLED = 0.5  # seconds
_RECENT = 300.0
"""Seconds. A machine that nobody knows is told of once in so long (netboot/dhcp/sightings.py), so what was told before counts."""


@dataclass(frozen=True, slots=True)
class _Machine:
    """:ivar node: its name; None for one that is none. :ivar addresses: that it asks from."""

    macs: frozenset[MacAddress]
    node: str | None
    addresses: frozenset[str]

    def did(self, event: Event) -> bool:
        return (
            (event.mac is not None and event.mac in self.macs)
            or (event.node is not None and event.node == self.node)
            or (event.node is None and event.mac is None and str(event.detail.get("from")) in self.addresses)
        )


@click.command()
@click.argument("machine", metavar="MAC|NODE", shell_complete=complete_nodes)
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="End after so long [when it is up].")
@click.option(
    "--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print."
)
@pass_session
@click.pass_context
def trace(ctx: click.Context, session: Session, machine: str, timeout: float | None, format_: str) -> None:
    """Follow one machine's boot through DHCP, TFTP and HTTP, with the seconds since its power-on, and say where it stops.

    Begin, then power the machine on; it may be one that the cluster does not know. Ends with 0 when the machine is up or
    boots its disk, with 1 when its install fails or --timeout is over before.

    \b
    bootserver trace compute-0-0
    bootserver trace 52:54:00:12:34:56 --timeout 300
    """
    from bootserver.cli.story import words
    from bootserver.doctor.tracing import Trace

    found = _find(session, machine)
    follower = _Follower(session)
    began = time.time()
    state = Trace(lambda event: words(event.detail), lambda: _boots(session, found), began)
    if format_ == "table":
        who = ", ".join([*([found.node] if found.node else []), *sorted(map(str, found.macs))])
        click.echo(plain(f"waiting for {who}; power it on (Ctrl-C ends)"))
    for event in follower.before(began - _RECENT):
        if found.did(event) and format_ == "table":
            text = f"{event.kind.value}: {words(event.detail)}"
            click.echo(plain(f"{event.at - began:>+8.1f} s  (before) {text}"))
            break
    try:
        while not state.ended and (timeout is None or time.time() - began < timeout):
            for event in follower.news():
                if not found.did(event):
                    continue
                if event.node is not None and event.node != found.node:  # it has just become one
                    found = _find(session, event.node, known=found)
                _print(state.feed(event), format_)
            _print(state.tick(time.time()), format_)
            if not state.ended:
                time.sleep(_POLL)
    finally:  # Ctrl-C, too
        _end(state, format_)
    ctx.exit(0 if state.arrived else 1)


def _print(lines: Iterator[Line], format_: str) -> None:
    for line in lines:
        if format_ == "json":
            click.echo(json.dumps({"seconds": round(line.seconds, 1), "text": line.text, "trouble": line.trouble}))
        else:
            click.echo(plain(f"{line.seconds:8.1f} s  {'! ' if line.trouble else '  '}{line.text}"))


def _end(state: Trace, format_: str) -> None:
    """It is followed no more: say how far it came, and what was awaited."""
    from bootserver.doctor.tracing import Line

    if state.ended:
        return
    wanted = state.expects()
    text = f"not followed any further; it came as far as: {state.stage.name.lower().replace('_', ' ')}"
    if wanted is not None:
        text += f"; awaited: {wanted.what} ({wanted.why})"
    _print(iter([Line(state.seconds(time.time()), text, trouble=True)]), format_)


def _find(session: Session, text: str, known: _Machine | None = None) -> _Machine:
    """:raises NotFound: no node of that name. :raises UsageError: several nodes."""
    from bootserver.cluster import nodes, selection
    from bootserver.db.connection import DatabaseError
    from bootserver.db.rows import InterfaceRow, NodeRow
    from bootserver.values.mac import MacAddress

    mac: MacAddress | None
    try:
        mac = MacAddress.parse(text)
    except UsageError:
        mac = None
    try:
        with session.read() as reader:
            if mac is not None:
                nic = reader.one(InterfaceRow, "mac = :mac", mac=mac)
                row = None if nic is None else reader.one(NodeRow, "id = :id", id=nic.node_id)
            else:
                chosen = selection.select(reader, [text])
                if len(chosen) != 1:
                    raise UsageError(f"{text} means {len(chosen)} nodes: one machine is traced at a time")
                row = chosen[0]
            if row is None:
                assert mac is not None
                return _Machine(frozenset({mac}), None, frozenset())
            nics = nodes.interfaces(reader, row)
    except DatabaseError:
        if mac is None:
            raise
        return _Machine(frozenset({mac}), None, frozenset())  # the journal may be there
    except NotFound:
        if known is not None:  # removed again, just now
            return known
        raise
    macs = {nic.mac for nic in nics if nic.mac is not None} | (known.macs if known else set())
    if not macs:
        raise NotFound(f"{row.name} is not known by any MAC address: trace the machine by its own, bootserver trace MAC")
    return _Machine(frozenset(macs), row.name, frozenset(str(nic.ip) for nic in nics if nic.ip is not None))


def _boots(session: Session, machine: _Machine) -> Boots:
    """What its menu says at this moment."""
    from bootserver.cluster import nodes, status
    from bootserver.cluster.boot import Way
    from bootserver.cluster.plan import LinuxBoot, LocalDisk, Wait
    from bootserver.db.connection import DatabaseError
    from bootserver.db.rows import ApplianceRow, InstallRow
    from bootserver.doctor.tracing import Boots
    from bootserver.values.firmware import Firmware

    if machine.node is None:
        return Boots.NOTHING
    try:
        with session.read() as reader:
            row = nodes.get(reader, machine.node)
            following = status.Nexts(reader).of(row)
            install = reader.one(InstallRow, "node_id = :node", node=row.id)
            appliance = reader.one(ApplianceRow, "id = :id", id=row.appliance_id)
            assert appliance is not None
            plan = status.plan(row, following, install, appliance, Firmware.BIOS, Way("http://frontend/"))
    except (DatabaseError, NotFound):
        return Boots.OTHER
    match plan:
        case LocalDisk():
            return Boots.LOCAL_DISK
        case Wait():
            return Boots.NOTHING
        case LinuxBoot() if plan.has_ticket:
            return Boots.INSTALLER
        case _:
            return Boots.OTHER


class _Follower:
    """The journal from now on. One that is away for a while is waited for.

    Each part of the service hands its events on a few times a second, so those of two parts may be written down in the wrong
    order: what is young is kept until its elders are there.
    """

    def __init__(self, session: Session) -> None:
        from bootserver.cluster import journal

        self._session = session
        self._database = session.databases.journal
        with self._database.read() as connection:
            self._seen = journal.newest_number(connection)
        self._away = False
        self._young: list[Event] = []

    def before(self, since: float) -> Iterator[Event]:
        """What was told not long ago, the newest first."""
        from bootserver.cluster import journal

        with self._database.read() as connection:
            entries = journal.read(connection, last=2000)
        return iter([entry.event for entry in reversed(entries) if entry.event.at >= since])

    def news(self) -> list[Event]:
        from bootserver.cluster import journal
        from bootserver.db.connection import DatabaseError

        try:
            with self._database.read() as connection:
                newest = journal.newest_number(connection)
                # A journal that was made anew counts from the beginning.
                entries = (
                    journal.read(connection, after=self._seen if newest >= self._seen else 0) if newest != self._seen else []
                )
        except DatabaseError as error:
            if not self._away:
                self._session.warn(f"waiting for the journal: {error}")
            self._away = True
            time.sleep(_AWAY)
            return []
        if self._away:
            self._session.warn("the journal is back")
        self._away, self._seen = False, newest
        known = sorted([*self._young, *(entry.event for entry in entries)], key=lambda event: event.at)
        settled = time.time() - _SETTLED
        self._young = [event for event in known if event.at > settled]
        return [event for event in known if event.at <= settled]
