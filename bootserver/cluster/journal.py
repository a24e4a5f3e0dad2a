"""The journal: events and leases as they are kept, in a database of their own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bootserver.cluster.events import Event, Kind
from bootserver.db.connection import Connection, Database
from bootserver.values.mac import MacAddress


@dataclass(frozen=True, slots=True)
class Entry:
    """An event that is kept, and its number."""

    number: int
    event: Event


@dataclass(frozen=True, slots=True)
class Lease:
    """An address that a node holds. :ivar starts, ends: seconds since the epoch."""

    mac: MacAddress
    ip: str
    node: str
    starts: float
    ends: float


def append(connection: Connection, events: Iterable[Event]) -> None:
    """Write events down, and the leases that acknowledgements among them gave."""
    events = list(events)
    connection.execute_many(
        'INSERT INTO event ("at", kind, node, mac, detail) VALUES (:at, :kind, :node, :mac, :detail)',
        [
            {
                "at": event.at,
                "kind": event.kind.value,
                "node": event.node,
                "mac": None if event.mac is None else str(event.mac),
                "detail": json.dumps(event.detail),
            }
            for event in events
        ],
    )
    connection.execute_many(
        'INSERT INTO lease (mac, ip, node, "starts", "ends") VALUES (:mac, :ip, :node, :at, :until)'
        ' ON CONFLICT (mac) DO UPDATE SET ip = :ip, node = :node, "starts" = :at, "ends" = :until',
        [
            {
                "mac": str(event.mac),
                "ip": event.detail["address"],
                "node": event.node,
                "at": event.at,
                "until": event.at + float(event.detail.get("lease") or 0),
            }
            for event in events
            if event.kind is Kind.ACKNOWLEDGED and event.mac is not None and event.node is not None and "address" in event.detail
        ],
    )


def read(
    connection: Connection,
    *,
    after: int = 0,
    nodes: Sequence[str] | None = None,
    mac: MacAddress | None = None,
    kinds: Sequence[Kind] | None = None,
    last: int | None = None,
) -> list[Entry]:
    """Events in the order in which they were written down.

    :param after: only those with a higher number.
    :param nodes: only those of these nodes.
    :param last: only the newest so many.
    """
    conditions, values = ["id > :after"], {"after": after}
    parameters: dict[str, Any] = values
    if nodes is not None:
        conditions.append(f"node IN ({_marks('n', nodes, parameters)})")
    if mac is not None:
        conditions.append("mac = :mac")
        parameters["mac"] = str(mac)
    if kinds is not None:
        conditions.append(f"kind IN ({_marks('k', [kind.value for kind in kinds], parameters)})")
    sql = f'SELECT id, "at", kind, node, mac, detail FROM event WHERE {" AND ".join(conditions)} ORDER BY id'
    if last is None:
        return [_entry(row) for row in connection.rows(sql, parameters)]
    newest = connection.rows(f"{sql} DESC LIMIT {int(last)}", parameters)
    return [_entry(row) for row in reversed(newest)]


def newest_number(connection: Connection) -> int:
    number: int = connection.rows("SELECT coalesce(max(id), 0) AS last FROM event")[0]["last"]
    return number


def latest(connection: Connection, kinds: Sequence[Kind] | None, nodes: Sequence[str] | None = None) -> dict[str, Entry]:
    """The newest event of these kinds (None: of any) for each node that has one."""
    parameters: dict[str, Any] = {}
    wanted = "1 = 1" if kinds is None else f"kind IN ({_marks('k', [kind.value for kind in kinds], parameters)})"
    if nodes is not None:
        names = f"SELECT DISTINCT node FROM event WHERE node IN ({_marks('n', nodes, parameters)})"
        with_names = f"WITH name (node) AS ({names})"
    else:  # hop from name to name in the index: a scan of 90 days of events would take seconds
        with_names = (
            "WITH RECURSIVE name (node) AS (SELECT min(node) FROM event UNION ALL"
            " SELECT (SELECT min(node) FROM event WHERE event.node > name.node) FROM name WHERE name.node IS NOT NULL)"
        )
    rows = connection.rows(
        f'{with_names} SELECT id, "at", kind, node, mac, detail FROM event WHERE id IN'
        f" (SELECT (SELECT max(id) FROM event WHERE event.node = name.node AND {wanted}) FROM name)",
        parameters,
    )
    return {row["node"]: _entry(row) for row in rows}


def leases(connection: Connection) -> list[Lease]:
    rows = connection.rows('SELECT mac, ip, node, "starts", "ends" FROM lease ORDER BY node')
    return [Lease(MacAddress.parse(row["mac"]), row["ip"], row["node"], row["starts"], row["ends"]) for row in rows]


def keep_inventory(connection: Connection, node: str, body: str) -> None:
    """What a node's installer found in the machine; the newest takes the last one's place."""
    connection.execute(
        'INSERT INTO inventory (node, "at", body) VALUES (:node, :at, :body)'
        ' ON CONFLICT (node) DO UPDATE SET "at" = :at, body = :body',
        {"node": node, "at": time.time(), "body": body},
    )


def inventory(connection: Connection, node: str) -> Mapping[str, Any] | None:
    """The newest inventory of a node, or None."""
    rows = connection.rows("SELECT body FROM inventory WHERE node = :node", {"node": node})
    if not rows:
        return None
    body: Mapping[str, Any] = json.loads(rows[0]["body"])
    return body


def forget_before(connection: Connection, at: float) -> int:
    """Remove events older than `at`. :returns: how many."""
    return connection.execute('DELETE FROM event WHERE "at" < :at', {"at": at})


class JournalReporter:
    """Writes each event down at once: for commands, which report few and then end."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def report(self, event: Event) -> None:
        with self._database.write() as connection:
            append(connection, [event])


def _marks(prefix: str, values: Sequence[str], parameters: dict[str, Any]) -> str:
    names = [f"{prefix}{index}" for index in range(len(values))]
    parameters.update(zip(names, values, strict=True))
    return ", ".join(f":{name}" for name in names) or "NULL"


def _entry(row: Any) -> Entry:
    mac = None if row["mac"] is None else MacAddress.read(row["mac"])
    return Entry(row["id"], Event(Kind(row["kind"]), row["at"], row["node"], mac, json.loads(row["detail"])))
