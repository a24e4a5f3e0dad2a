"""Turns at copying an image: so many nodes at once, the others wait in the order in which they asked.

A node asks again and again (:func:`ask`) until it is its turn, and says meanwhile that it lives; who falls silent loses its
place. All of it is in the journal: it is what nodes do, and no change of the cluster.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from bootserver.db.connection import Connection

USUAL_SECONDS = 60.0
"""How long a transfer takes, as long as none is known that has ended."""
KNOWN = 20
"""Transfers that an estimate is the mean of."""
SOONEST, LATEST = 2.0, 15.0
"""Seconds until a waiting node asks again."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """A node's turn. :ivar seen: when it was last heard of. :ivar opened: since when it copies. All in seconds (UTC)."""

    node: str
    install: int
    asked: float
    seen: float
    opened: float | None


@dataclass(frozen=True, slots=True)
class Go:
    """It is its turn."""


@dataclass(frozen=True, slots=True)
class Wait:
    """:ivar ahead: nodes before it. :ivar estimate: seconds until its turn. :ivar again: seconds until it asks again."""

    ahead: int
    estimate: float
    again: float


def decide(mine: Transfer, others: Sequence[Transfer], now: float, slots: int, seconds: float) -> Go | Wait:
    """Whose turn is it?

    :param others: those that are alive.
    :param seconds: what a transfer takes.
    """
    if mine.opened is not None:
        return Go()
    opened = [each.opened for each in others if each.opened is not None]
    ahead = sum((each.asked, each.node) < (mine.asked, mine.node) for each in others if each.opened is None)
    if len(opened) + ahead < slots:
        return Go()
    ends = [max(now, at + seconds) for at in opened] + [now] * (slots - len(opened))
    heapq.heapify(ends)
    for _ in range(ahead):
        heapq.heapreplace(ends, ends[0] + seconds)
    estimate = ends[0] - now
    return Wait(ahead + len(opened) - slots + 1, estimate, min(LATEST, max(SOONEST, estimate / 4)))


def ask(
    connection: Connection, node: str, install: int, now: float, *, running: Collection[int], slots: int, stalled: float
) -> Go | Wait:
    """A node wants to copy; it takes its place in the queue when it asks for the first time.

    :param running: the installs that run: of others the turns are over.
    :param slots: how many may copy at once.
    :param stalled: seconds of silence after which a node is taken for gone.
    """
    known = [each for each in _unfinished(connection) if each.install in running]
    alive = [each for each in known if each.seen >= now - stalled]
    mine = next((each for each in known if (each.node, each.install) == (node, install)), None)
    if mine is None:
        mine = Transfer(node, install, now, now, None)
    elif mine not in alive:  # its turn may have been given to another one meanwhile
        mine = Transfer(node, install, mine.asked, now, None)
    turn = decide(mine, [each for each in alive if each.node != node], now, slots, _mean_seconds(connection))
    opened = mine.opened if isinstance(turn, Wait) or mine.opened is not None else now
    connection.execute(
        "INSERT INTO transfer (node, install, asked, seen, opened, closed) VALUES (:node, :install, :asked, :now, :opened, NULL)"
        " ON CONFLICT (node) DO UPDATE SET install = :install, asked = :asked, seen = :now, opened = :opened, closed = NULL",
        {"node": node, "install": install, "asked": mine.asked, "now": now, "opened": opened},
    )
    return turn


def heard_of(connection: Connection, node: str, now: float) -> None:
    """It is still at it."""
    connection.execute("UPDATE transfer SET seen = :now WHERE node = :node AND closed IS NULL", {"now": now, "node": node})


def close(connection: Connection, node: str, now: float) -> None:
    """Its turn is over: the next one's begins."""
    connection.execute("UPDATE transfer SET closed = :now WHERE node = :node AND closed IS NULL", {"now": now, "node": node})


def is_open(connection: Connection, node: str, install: int) -> bool:
    """May this node copy now, for this install?"""
    return any((each.node, each.install) == (node, install) and each.opened is not None for each in _unfinished(connection))


def _unfinished(connection: Connection) -> list[Transfer]:
    rows = connection.rows("SELECT node, install, asked, seen, opened FROM transfer WHERE closed IS NULL")
    return [_transfer(row) for row in rows]


def _transfer(row: Any) -> Transfer:
    return Transfer(row["node"], row["install"], row["asked"], row["seen"], row["opened"])


def _mean_seconds(connection: Connection) -> float:
    rows = connection.rows(
        "SELECT closed - opened AS seconds FROM transfer WHERE closed IS NOT NULL AND opened IS NOT NULL"
        f" ORDER BY closed DESC LIMIT {KNOWN}"
    )
    return sum(row["seconds"] for row in rows) / len(rows) if rows else USUAL_SECONDS
