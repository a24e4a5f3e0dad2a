"""``bootserver insert-ethers``: makes unknown machines nodes, one after the other as they are powered on.

The service registers; this command opens a discovery, shows and closes it. It may die at any moment: nothing is lost.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from ipaddress import IPv4Address

import click

from bootserver.cli.arguments import IP, MAC
from bootserver.cli.insert_list import InsertList, Row, mark
from bootserver.cli.session import Session, pass_session
from bootserver.cluster import discovery, journal, nodes
from bootserver.cluster.change import Change
from bootserver.cluster.discovery import Machine, Request
from bootserver.cluster.events import Event, Kind
from bootserver.db.connection import DatabaseError
from bootserver.db.rows import ApplianceRow, DiscoveryRow, InterfaceRow, NodeRow
from bootserver.errors import NotFound, Refused, UsageError
from bootserver.values.mac import MacAddress

POLL_SECONDS = 0.2


@click.command("insert-ethers")
@click.option("--appliance", default="compute", show_default=True, metavar="NAME", help="What the new nodes are.")
@click.option("--rack", "--cabinet", "rack", default=0, show_default=True, metavar="N")
@click.option("--rank", type=int, metavar="N", help="The first one's rank [the highest of the rack, and one more].")
@click.option("--basename", "base_name", metavar="NAME", help="Name them NAME-rack-rank [the appliance's own].")
@click.option("--network", metavar="NAME", help="The network that they are on [the first one].")
@click.option("--baseip", "base_ip", type=IP, metavar="IP", help="Give out addresses from here downwards [the top].")
@click.option("--inc", "step", default=1, show_default=True, metavar="N", help="Step between two addresses.")
@click.option("--count", type=int, metavar="N", help="End by itself after N nodes.")
@click.option("--max-new", default=discovery.MAX_NEW, show_default=True, metavar="N", help="Take at most N machines.")
@click.option("--minutes", default=60.0, show_default=True, metavar="M", help="End by itself after M minutes.")
@click.option("--mac", type=MAC, metavar="MAC", help="Take this machine only; with --batch, make it a node at once.")
@click.option("--ipaddr", type=IP, metavar="IP", help="With --batch --mac: its address.")
@click.option("--hostname", metavar="NAME", help="With --batch --mac: its name.")
@click.option("--cpus", default=1, metavar="N", help="With --batch --mac: its processors.")
@click.option("--replace", metavar="NODE", help="The next unknown machine takes this node's name, rack, rank and address.")
@click.option("--remove", metavar="NODE", help="Remove a node (as `bootserver node remove`).")
@click.option("--confirm", is_flag=True, help="Ask for each machine.")
@click.option("--batch", is_flag=True, help="For scripts: a line for each node, no list.")
@click.option("--attach", is_flag=True, help="Show the discovery that is open already.")
@click.option("--close", is_flag=True, help="End the discovery that is open already.")
@pass_session
def insert_ethers(
    session: Session,
    *,
    appliance: str,
    rack: int,
    rank: int | None,
    base_name: str | None,
    network: str | None,
    base_ip: IPv4Address | None,
    step: int,
    count: int | None,
    max_new: int,
    minutes: float,
    mac: MacAddress | None,
    ipaddr: IPv4Address | None,
    hostname: str | None,
    cpus: int,
    replace: str | None,
    remove: str | None,
    confirm: bool,
    batch: bool,
    attach: bool,
    close: bool,
) -> None:
    """Make unknown machines nodes as they are powered on, in the order of their power buttons.

    Only machines that ask to netboot are taken; for appliances that never install (switches, power units) any that asks for
    an address. Marks: ( ) waits for its install, (*) has fetched it, (403) was refused. Ctrl-C ends it; if the terminal
    dies, the discovery goes on until its time is over, and --attach shows it again.

    \b
    bootserver insert-ethers
    bootserver insert-ethers --appliance login --rack 1
    bootserver insert-ethers --batch --count 32
    bootserver insert-ethers --batch --mac 52:54:00:12:34:56
    bootserver insert-ethers --replace compute-0-7
    """
    if remove is not None:
        _remove(session, remove)
        return
    if close:
        _close(session, None)
        return
    if confirm and batch:
        raise UsageError("--confirm asks, and --batch is for scripts: one of them")
    if (ipaddr or hostname) and not (batch and mac):
        raise UsageError("--ipaddr and --hostname go with --batch --mac MAC")
    if minutes <= 0:
        raise UsageError("--minutes is more than 0")
    request = Request(
        appliance, network, rack, rank, mac, replace, base_name, base_ip, step, count, max_new, confirm, minutes * 60
    )
    if batch and mac is not None:
        _insert_at_once(session, request, mac, ipaddr, hostname, cpus)
        return
    row = _attach(session) if attach else _open(session, request)
    _warn_if_service_is_away(session)
    _watch(session, row, batch)


def _open(session: Session, request: Request) -> DiscoveryRow:
    with session.change() as change:
        return discovery.open_discovery(change, request, session.who)


def _attach(session: Session) -> DiscoveryRow:
    with session.read() as reader:
        row = discovery.current(reader)
    if row is None:
        raise NotFound("no discovery is open")
    return row


def _close(session: Session, number: int | None) -> None:
    with session.change("insert-ethers --close") as change:
        row = change.one(DiscoveryRow, "open = 1")
        if row is None and number is None:
            raise NotFound("no discovery is open")
        if row is not None and number in (None, row.id):
            discovery.close(change, row)


def _remove(session: Session, name: str) -> None:
    with session.change() as change:
        node = nodes.get(change, name)
        nodes.remove(change, node)
        session.tell(f"Removed node {node.name}")


def _insert_at_once(
    session: Session, request: Request, mac: MacAddress, ip: IPv4Address | None, name: str | None, cpus: int
) -> None:
    with session.change() as change:
        network = discovery.network_of(change, request, ip)
        machine = Machine(mac, None, network.name, True)
        tftpboot = session.config.frontend.tftpboot
        node = discovery.register_at_once(change, request, machine, ip=ip, name=name, cpus=cpus, tftpboot=tftpboot)
        session.tell(f"Inserted node {node.name}")


def _warn_if_service_is_away(session: Session) -> None:
    pid_file = session.config.frontend.run / "bootserver.pid"
    try:
        if _is_alive(int(pid_file.read_text())):
            return
    except (OSError, ValueError):
        pass
    session.warn("the service is not running, so no machine will be seen: start it with `bootserver serve`")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


# -- the list ----------------------------------------------------------------------------------------------------


def _watch(session: Session, row: DiscoveryRow, batch: bool) -> None:
    """Show the discovery until it ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the discovery is closed below
    shown = InsertList(_title(session, row), batch)
    questions = _Questions(session, row) if row.confirm else None
    away = False
    try:
        while True:
            try:
                current, rows = _read(session, row)
                away = False
            except DatabaseError as error:
                if not away:
                    session.warn(f"{error}; the list goes on when it is back")
                    away = True
                time.sleep(1)
                continue
            shown.show(rows)
            if current is None or current.open is None or current.expires <= time.time():
                break
            if questions is not None:
                questions.ask()
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        click.echo(err=True)
    except SystemExit:
        _close(session, row.id)
        raise
    _close(session, row.id)
    shown.close()


def _title(session: Session, row: DiscoveryRow) -> str:
    with session.read() as reader:
        appliance = reader.one(ApplianceRow, "id = :id", id=row.appliance_id)
    return appliance.title if appliance else ""


def _read(session: Session, row: DiscoveryRow) -> tuple[DiscoveryRow | None, list[Row]]:
    """The discovery as it is now, and its nodes, newest first."""
    with session.read() as reader:
        current = reader.one(DiscoveryRow, "id = :id", id=row.id)
        appliance = reader.one(ApplianceRow, "id = :id", id=row.appliance_id)
        found = reader.rows(NodeRow, "discovery_id = :discovery ORDER BY id DESC", discovery=row.id)
        macs = {node.id: reader.one(InterfaceRow, "node_id = :node ORDER BY id", node=node.id) for node in found}
    marks = _marks(session, [node.name for node in found])
    installs = appliance is None or appliance.installs
    rows = []
    for node in found:
        interface = macs[node.id]
        mac = "" if interface is None or interface.mac is None else str(interface.mac)
        rows.append(Row(mac, node.name, mark(marks.get(node.name)) if installs else ""))
    return current, rows


def _marks(session: Session, names: list[str]) -> dict[str, Event]:
    if not names:
        return {}
    with session.databases.journal.read() as connection:
        kinds = (Kind.KICKSTART_SENT, Kind.SCRIPT_SENT, Kind.DENIED, Kind.UNANSWERED)
        return {name: entry.event for name, entry in journal.latest(connection, kinds, names).items()}


class _Questions:
    """Asks for each machine that the service saw and did not take (``--confirm``)."""

    def __init__(self, session: Session, row: DiscoveryRow) -> None:
        self._session = session
        self._row = row
        self._asked: set[MacAddress] = set()
        self._after = 0

    def ask(self) -> None:
        with self._session.databases.journal.read() as connection:
            entries = journal.read(connection, after=self._after, kinds=[Kind.ASKS])
        for entry in entries:
            self._after = entry.number
            mac, detail = entry.event.mac, entry.event.detail
            if mac is None or detail.get("discovery") != self._row.id or mac in self._asked:
                continue
            self._asked.add(mac)
            said = ", ".join(str(detail[key]) for key in ("vendor class", "host name") if key in detail)
            if click.confirm(f"Discovered a new appliance with MAC ({mac}){said and f' [{said}]'}: take it?", default=True):
                self._take(mac, entry.event)

    def _take(self, mac: MacAddress, event: Event) -> None:
        uuid, firmware = event.detail.get("uuid"), event.detail.get("firmware")
        machine = Machine(
            mac,
            bytes.fromhex(str(uuid)) if uuid else None,
            str(event.detail.get("network")),
            bool(event.detail.get("netboots")),
            None if firmware is None else str(firmware),
            str(event.detail.get("vendor class", "")),
            str(event.detail.get("host name", "")),
        )
        try:
            with self._session.change(f"insert-ethers --confirm {mac}") as change:
                self._register(change, machine)
        except Refused as error:
            self._session.warn(str(error))

    def _register(self, change: Change, machine: Machine) -> None:
        row = discovery.current(change)
        if row is None or row.id != self._row.id:
            raise Refused("the discovery has ended meanwhile")
        discovery.register(change, row, machine, tftpboot=self._session.config.frontend.tftpboot)
