"""All that is known of nodes: what ``node show`` prints, as text and as JSON."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from bootserver.cli import machine
from bootserver.cli.session import Session
from bootserver.cli.story import clock, words
from bootserver.cli.table import plain
from bootserver.cluster import journal, pairing, selection, status
from bootserver.db.connection import DatabaseError
from bootserver.db.rows import ApplianceRow, AttributeRow, NetworkRow

if TYPE_CHECKING:
    from bootserver.cluster.change import Reader
    from bootserver.cluster.events import Event

LAST_EVENTS = 5


def show(session: Session, wanted: Sequence[str], format_: str) -> None:
    """Print the facts of the nodes that these words mean."""
    with session.read() as reader:
        known = status.facts(reader, selection.select(reader, wanted))
        found = _settled(reader, known)
    for facts, story in zip(found, _stories(session, known), strict=True):
        facts.update(story)
    if format_ == "json":
        import json

        click.echo(json.dumps(found, indent=2))
    else:
        click.echo("\n\n".join(map(_as_text, found)))


def _settled(reader: Reader, known: Sequence[status.Facts]) -> list[dict[str, Any]]:
    """What administrators set."""
    networks = {row.id: row.name for row in reader.rows(NetworkRow)}
    pairs = pairing.of_cluster(reader)
    controllers = {node: controller for controller, node in pairs.items()}
    origins = status.Origins(reader.rows(AttributeRow), {row.id: row.name for row in reader.rows(ApplianceRow)})
    nexts = status.Nexts(reader)
    found = []
    for each in known:
        node, install, following = each.node, each.install, nexts.of(each.node)
        found.append(
            {
                "node": node.name,
                "appliance": each.appliance,
                "rack": node.rack,
                "rank": node.rank,
                "cpus": node.cpus,
                "comment": node.comment,
                "uuid": node.uuid,
                "created": node.created,
                "action": following.action.name,
                "because": following.because,
                "install": following.source or None,
                "armed": None if install is None else install.armed,
                "wipe": None if install is None else install.wipe,
                "kernel": following.action.kernel,
                "initrds": list(following.action.initrds),
                "interfaces": [
                    {
                        "device": nic.device,
                        "mac": None if nic.mac is None else str(nic.mac),
                        "ip": None if nic.ip is None else str(nic.ip),
                        "network": networks.get(nic.network_id),
                    }
                    for nic in each.interfaces
                ],
                "bmc": controllers.get(node.name),
                "bmc_of": pairs.get(node.name),
                "attributes": [{"key": key, "value": value, "from": where} for key, (value, where) in origins.of(node).items()],
            }
        )
    return found


def _stories(session: Session, known: Sequence[status.Facts]) -> list[dict[str, Any]]:
    """What the nodes did: state, leases, last events; nothing of it where the journal is away."""
    try:
        heard = status.heard(session.databases.journal, known)
        with session.databases.journal.read() as connection:
            leases = journal.leases(connection)
            last = {
                each.node.name: journal.read(connection, nodes=[each.node.name], last=LAST_EVENTS)
                for each in known[: status.FEW]  # nobody reads the last events of thousands
            }
            reported = {each.node.name: journal.inventory(connection, each.node.name) for each in known[: status.FEW]}
    except DatabaseError as error:
        session.warn(f"no states, leases and events: {error}")
        return [{"state": None, "detail": None, "leases": [], "events": [], "reported": machine.facts(None)} for _ in known]
    stories = []
    for each in known:
        state = status.status(
            each.node,
            each.install,
            heard.get(each.node.name),
            now=time.time(),
            stuck_seconds=session.config.install.stuck_seconds,
        )
        stories.append(
            {
                "state": state.state.value,
                "detail": state.detail or None,
                "leases": [
                    {"mac": str(lease.mac), "ip": lease.ip, "starts": lease.starts, "ends": lease.ends}
                    for lease in leases
                    if lease.node == each.node.name
                ],
                "events": [_event(entry.event) for entry in last.get(each.node.name, ())],
                "reported": machine.facts(reported.get(each.node.name)),
            }
        )
    return stories


def _event(event: Event) -> dict[str, Any]:
    return {"time": event.at, "kind": event.kind.value, "detail": dict(event.detail)}


def _as_text(facts: dict[str, Any]) -> str:
    lines = [
        ("appliance", facts["appliance"]),
        ("place", f"rack {facts['rack']}, rank {facts['rank']}"),
        ("cpus", str(facts["cpus"])),
        ("comment", facts["comment"]),
        ("uuid", facts["uuid"] or ""),
        ("added", facts["created"]),
        ("state", "unknown" if facts["state"] is None else _with(facts["state"], facts["detail"])),
        ("action", _with(facts["action"], facts["because"])),
        ("install", facts["install"] or ""),
        ("armed", (facts["armed"] or "") + (", may wipe data partitions" if facts["wipe"] else "")),
        ("boots", " ".join([facts["kernel"] or "", *facts["initrds"]]).strip()),
    ]
    lines += [
        ("interface", " ".join((nic["device"], nic["mac"] or "-", nic["ip"] or "-", nic["network"] or "-")))
        for nic in facts["interfaces"]
    ]
    lines += [("bmc", facts["bmc"] or ""), ("bmc of", facts["bmc_of"] or "")]
    lines += [("attribute", f"{each['key']} = {each['value']} ({each['from']})") for each in facts["attributes"]]
    lines += machine.lines(facts["reported"])
    lines += [("lease", f"{each['ip']} for {each['mac']}, until {clock(each['ends'])}") for each in facts["leases"]]
    lines += [
        ("event", f"{clock(each['time'])}  {_with(each['kind'], words(each['detail']), ': ', '')}") for each in facts["events"]
    ]
    shown = [f"  {label:<10} {plain(text)}" for label, text in lines if text]
    return "\n".join([facts["node"], *shown])


def _with(text: str, more: str | None, before: str = " (", after: str = ")") -> str:
    return f"{text}{before}{more}{after}" if more else text
