"""What nodes are doing, read off their installs and events; nothing of it is stored."""

from __future__ import annotations

import enum
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TypeVar

from bootserver.cluster import attributes, boot_actions, journal
from bootserver.cluster.actions import SHIPPED, BootAction
from bootserver.cluster.boot import Way, boot_plan
from bootserver.cluster.change import Reader
from bootserver.cluster.events import Event, Kind
from bootserver.cluster.installs import LOCAL_DISK, Sources, resolve
from bootserver.cluster.plan import Plan
from bootserver.cluster.view import ApplianceView, InstallView, NodeView
from bootserver.db.connection import Database
from bootserver.db.rows import ApplianceRow, AttributeRow, BootActionRow, InstallRow, InstallState, InterfaceRow, NodeRow, Row
from bootserver.errors import Refused
from bootserver.values.firmware import Firmware
from bootserver.values.secret import Secret

R = TypeVar("R", bound=Row)

MASK = "****"
KINDS = (Kind.REGISTERED, Kind.EXCHANGED, Kind.PHASE, Kind.INSTALLED, Kind.FAILED, Kind.UP)
"""The events that a state is read off; the newest one counts."""

FEW = 500
"""Up to so many nodes are asked for by name; for more, whole tables are read."""


class State(enum.Enum):
    """Where a node is on its way from a bare machine to work."""

    NEW = "new"  # added by hand, and nothing was heard of it
    DISCOVERED = "discovered"
    ARMED = "armed"  # its next boot installs
    WAITING = "waiting"  # it should install, and can't; `bootserver why` says what is missing
    INSTALLING = "installing"
    STUCK = "stuck"  # its install began, and nothing was heard of it for long
    FAILED = "failed"
    PARKED = "parked"  # its install was stopped by an alarm
    INSTALLED = "installed"
    UP = "up"


@dataclass(frozen=True, slots=True)
class Status:
    """:ivar detail: the phase of an install, or why it does not go on."""

    state: State
    detail: str = ""

    def __str__(self) -> str:
        shown = self.detail if self.state in (State.INSTALLING, State.STUCK) else ""
        return f"{self.state.value} ({shown})" if shown else self.state.value


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard of a node.

    :ivar newest: the newest event of KINDS. :ivar last: the newest of any kind, of a node with an install.
    """

    newest: Event | None = None
    last: Event | None = None


def status(node: NodeRow, install: InstallRow | None, heard: Heard | None, *, now: float, stuck_seconds: float) -> Status:
    """A node's state.

    :param heard: events from before the node was added are those of an older one of its name.
    :param now: seconds since the epoch. :param stuck_seconds: an install of which nothing was heard for so long is stuck.
    """
    newest = None if heard is None else heard.newest
    if newest is not None and _told(newest) < node.created:
        newest = None
    kind = None if newest is None else newest.kind
    why = "" if newest is None else str(newest.detail.get("why") or "")
    if install is not None:
        if install.state is InstallState.PARKED:
            return Status(State.PARKED, install.parked or "")
        running = install.state is InstallState.RUNNING
        if running and kind is Kind.FAILED:
            return Status(State.FAILED, why)
        where = _phase(install, newest) if running else ""
        if stuck := _stuck(None if heard is None else heard.last, where, now, stuck_seconds):
            return Status(State.STUCK, stuck)
        return Status(State.INSTALLING, where) if running else Status(State.ARMED)
    if node.action is not None and BootAction(node.action).installs:
        return Status(State.WAITING, why if kind is Kind.FAILED else "its install is not armed")
    return Status(_BY_EVENT[kind], why)


def _stuck(last: Event | None, where: str, now: float, stuck_seconds: float) -> str:
    """Where an install hangs; empty for one that goes on, and for a node that was not powered on since it was armed."""
    if last is None or last.kind is Kind.ARMED or now - last.at < stuck_seconds:
        return ""
    path = last.detail.get("path")
    what = f"{last.kind.value} {path}" if path and not where else where or last.kind.value
    return f"{what}, silent for {(now - last.at) / 60:.0f} min"


def _told(event: Event) -> str:
    """When, as tables keep it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event.at))


_BY_EVENT = {
    None: State.NEW,
    Kind.REGISTERED: State.DISCOVERED,
    Kind.EXCHANGED: State.DISCOVERED,  # an install began, and was called off by hand
    Kind.PHASE: State.DISCOVERED,
    Kind.INSTALLED: State.INSTALLED,
    Kind.FAILED: State.FAILED,
    Kind.UP: State.UP,
}


def _phase(install: InstallRow, newest: Event | None) -> str:
    if install.phase is None or newest is None or newest.kind is not Kind.PHASE:
        return install.phase or "starting"
    percent, ahead = newest.detail.get("percent"), newest.detail.get("ahead")
    if ahead is not None:
        return f"{install.phase}, {ahead} before it"
    return install.phase if percent is None else f"{install.phase} {percent:.0f}%"


def heard(database: Database, known: Sequence[Facts]) -> dict[str, Heard]:
    """What was heard of nodes, as far as their states are read off it. :raises DatabaseError: the journal can't be read now."""
    with database.read() as connection:
        newest = journal.latest(connection, KINDS, _names(known))
        last = journal.latest(connection, None, _names([each for each in known if each.install is not None]))
    nothing = None
    return {
        name: Heard(
            entry.event if (entry := newest.get(name)) else nothing, entry.event if (entry := last.get(name)) else nothing
        )
        for name in (each.node.name for each in known)
    }


def _names(known: Sequence[Facts]) -> list[str] | None:
    return [each.node.name for each in known] if len(known) <= FEW else None


def of_nodes(reader: Reader, kind: type[R], nodes: Sequence[NodeRow]) -> dict[int, list[R]]:
    """Rows of a table with a ``node_id``, by that number: one query, however many nodes."""
    if len(nodes) <= FEW:
        names = {f"n{index}": node.id for index, node in enumerate(nodes)}
        rows = reader.rows(kind, f"node_id IN ({', '.join(f':{name}' for name in names) or 'NULL'}) ORDER BY id", **names)
    else:
        rows = reader.rows(kind)
    found: dict[int, list[R]] = {}
    for row in rows:
        found.setdefault(row.node_id, []).append(row)  # type: ignore[attr-defined]
    return found


@dataclass(frozen=True, slots=True)
class Facts:
    """What a list of nodes shows of one."""

    node: NodeRow
    appliance: str
    interfaces: Sequence[InterfaceRow]
    install: InstallRow | None


def facts(reader: Reader, nodes: Sequence[NodeRow]) -> list[Facts]:
    """The facts of many nodes, by a handful of selects."""
    appliances = {row.id: row.name for row in reader.rows(ApplianceRow)}
    interfaces = of_nodes(reader, InterfaceRow, nodes)
    installs = of_nodes(reader, InstallRow, nodes)
    return [
        Facts(node, appliances[node.appliance_id], interfaces.get(node.id, ()), next(iter(installs.get(node.id, ())), None))
        for node in nodes
    ]


# -- what they boot ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Next:
    """What a node boots next.

    :ivar because: where the action comes from.
    :ivar source: what an install resolves to, or why it can't; empty where nothing is installed.
    """

    action: BootAction
    because: str
    source: str
    resolved: bool


class Nexts:
    """What many nodes boot next, with each table read once."""

    def __init__(self, reader: Reader) -> None:
        rows = reader.rows(BootActionRow)
        self._own = {(row.node_id, row.name): boot_actions.from_row(row) for row in rows}
        self._sources = Sources.read(reader)
        self._inheritance = attributes.Inheritance(reader.rows(AttributeRow))

    def of(self, node: NodeRow) -> Next:
        name = node.action or LOCAL_DISK
        own, site = self._own.get((node.id, name)), self._own.get((None, name))
        action = own or site or SHIPPED.get(name)
        if action is None:
            return Next(SHIPPED[LOCAL_DISK], f"its boot action {name!r} is gone, so its disk", "", False)
        because = "nothing is set, so its disk" if node.action is None else "set for the node"
        if own is not None:
            because += ", an action of its own"
        elif site is not None:
            because += ", an action of this site"
        if not action.installs:
            return Next(action, because, "", True)
        wanted = self._inheritance.of(node)
        try:
            resolved = resolve(action, wanted, self._sources)
        except Refused as error:
            return Next(action, because, str(error), False)
        if action.kernel is not None:
            return Next(resolved, because, f"kernel {action.kernel}", True)
        kind = "image" if wanted.get("image") else "distribution"
        return Next(resolved, because, f"{kind} {wanted[kind]}", True)


def plan(
    node: NodeRow, following: Next, install: InstallRow | None, appliance: ApplianceRow, firmware: Firmware, way: Way
) -> Plan:
    """What the node's boot menu says, the ticket masked: the same decision as the data path's."""
    view = NodeView(
        node.id,
        node.name,
        ApplianceView(appliance.id, appliance.name, appliance.installs),
        node.rack,
        node.rank,
        None,
        (),
        {},
        following.action,
        None if install is None else InstallView(install.id, Secret(MASK), install.parked),
        None if following.resolved else following.source or following.because,
    )
    return boot_plan(view, firmware, way=way, ticket=lambda _: MASK)


def frontend_url(address: IPv4Address, port: int) -> str:
    """Where nodes reach the frontend, as their menus say it."""
    return f"http://{address}{'' if port == 80 else f':{port}'}/"


def secure_url(address: IPv4Address, port: int) -> str:
    """The same by HTTPS."""
    return f"https://{address}{'' if port == 443 else f':{port}'}/"


# -- attributes, and where they come from ------------------------------------------------------------------------


class Origins:
    """Where the attributes of many nodes come from; :func:`bootserver.cluster.attributes.why` is for one."""

    def __init__(self, rows: Sequence[AttributeRow], appliances: Mapping[int, str]) -> None:
        self._appliances = appliances
        self._rows: dict[tuple[str, int], dict[str, str]] = {}
        for row in rows:
            self._rows.setdefault((row.scope.value, row.owner), {})[row.key] = row.value

    def of(self, node: NodeRow) -> dict[str, tuple[str, str]]:
        """Key: (value, where from), sorted by key."""
        found: dict[str, tuple[str, str]] = {}
        for place, name in (
            (("global", 0), "global"),
            (("appliance", node.appliance_id), f"appliance {self._appliances.get(node.appliance_id)}"),
            (("rack", node.rack), f"rack {node.rack}"),
            (("node", node.id), f"node {node.name}"),
        ):
            found.update((key, (value, name)) for key, value in self._rows.get(place, {}).items())
        return dict(sorted(found.items()))
