"""Small clusters in real databases: what tests of the heart work on."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from bootserver.cluster import boot_actions, discovery, installs, journal, networks, nodes, seed
from bootserver.cluster.actions import BootAction
from bootserver.cluster.change import Change, Reader, open_change, open_reader
from bootserver.cluster.discovery import Machine, Request
from bootserver.cluster.events import Event, Kind
from bootserver.cluster.load import load_view
from bootserver.cluster.view import NodeView, View
from bootserver.config import Config, Frontend, Network
from bootserver.db.connection import Databases, SqliteDatabase, open_databases
from bootserver.db.migrate import migrate
from bootserver.db.rows import ApplianceRow, DiscoveryRow, InstallRow, InterfaceRow, NodeRow
from bootserver.values.mac import MacAddress

NETWORK = Network(address=IPv4Address("10.1.1.1"), subnet=IPv4Network("10.1.0.0/16"))
LEASE_SECONDS = 86_400


def mac(number: int) -> MacAddress:
    """The MAC address of the test's machine of that number."""
    return MacAddress(bytes.fromhex("525400") + number.to_bytes(3))


def uuid(number: int) -> bytes:
    """Its SMBIOS UUID, as on the wire."""
    return bytes.fromhex("c0ffee") + number.to_bytes(13)


def machine(number: int, **said: object) -> Machine:
    """A machine that asks to netboot, without a UUID unless it says one."""
    return dataclasses.replace(Machine(mac(number), None, seed.NETWORK, netboots=True, firmware="BIOS"), **said)


def configuration(state: Path) -> Config:
    return Config(frontend=Frontend(state=state), network=NETWORK)


def make(state: Path) -> None:
    """The databases of a new cluster, as ``init`` makes them."""
    config = configuration(state)
    migrate(config)
    with open_change(open_databases(config).cluster, "init", "init") as change:
        seed.seed(change, config)


class Cluster:
    """A cluster in databases of its own.

    :ivar events: what its changes reported, oldest first.
    """

    def __init__(self, state: Path, template: Path) -> None:
        self.state = state
        shutil.copytree(template / "db", state / "db")
        self.databases: Databases = open_databases(configuration(state))
        self.events: list[Event] = []

    @property
    def database(self) -> SqliteDatabase:
        assert isinstance(self.databases.cluster, SqliteDatabase)
        return self.databases.cluster

    def report(self, event: Event) -> None:
        self.events.append(event)

    @contextlib.contextmanager
    def change(
        self, what: str = "test", *, who: str = "root", dry_run: bool = False, undoes: int | None = None
    ) -> Iterator[Change]:
        with open_change(self.database, who, what, reporter=self, dry_run=dry_run, undoes=undoes) as change:
            yield change

    @contextlib.contextmanager
    def read(self) -> Iterator[Reader]:
        with open_reader(self.database) as reader:
            yield reader

    def view(self) -> View:
        with self.read() as reader:
            return load_view(reader, LEASE_SECONDS)

    def seen(self, name: str) -> NodeView:
        """A node as the data path sees it."""
        return self.view().nodes[name]

    # -- what there is ------------------------------------------------------------------------------------------------

    def node(self, name: str) -> NodeRow:
        with self.read() as reader:
            return nodes.get(reader, name)

    def names(self) -> list[str]:
        with self.read() as reader:
            return [row.name for row in reader.rows(NodeRow)]

    def interfaces(self, name: str) -> list[InterfaceRow]:
        with self.read() as reader:
            return nodes.interfaces(reader, nodes.get(reader, name))

    def addresses(self, name: str) -> list[str]:
        return [str(row.ip) for row in self.interfaces(name)]

    def install(self, name: str) -> InstallRow | None:
        with self.read() as reader:
            return reader.one(InstallRow, "node_id = :node", node=nodes.get(reader, name).id)

    def discovery(self) -> DiscoveryRow | None:
        with self.read() as reader:
            return discovery.current(reader)

    def journal(self) -> list[Event]:
        """The events that are written down."""
        with self.databases.journal.read() as connection:
            return [entry.event for entry in journal.read(connection)]

    def kinds(self) -> list[Kind]:
        return [event.kind for event in self.events]

    def dump(self) -> str:
        """All that the cluster's database holds: two that are equal show the same cluster."""
        connection = self.database.connect()
        try:
            return "\n".join(connection.iterdump())
        finally:
            connection.close()

    # -- what is done -------------------------------------------------------------------------------------------------

    def add(self, number: int = 1, *, rank: int | None = None, appliance: str = "compute", ip: str | None = None) -> NodeRow:
        """A node with one interface, as `node add` makes it."""
        with self.change(f"node add {number}") as change:
            kind = change.one(ApplianceRow, "name = :name", name=appliance)
            assert kind is not None
            row = nodes.add(change, nodes.Position(kind, 0, rank))
            address = None if ip is None else IPv4Address(ip)
            nodes.add_interface(change, row, mac=mac(number), ip=address, network=networks.first(change))
        return row

    def make_installable(self, name: str = "install") -> None:
        """Installs come from a kernel of this site, so that they can be armed."""
        with self.change() as change:
            boot_actions.add(change, BootAction(name, kernel="site/vmlinuz", initrds=("site/initrd.img",)), None)

    def set_action(self, name: str, action: str) -> NodeRow:
        with self.change(f"pxe set {name} {action}") as change:
            return installs.set_action(change, nodes.get(change, name), action)

    def open_discovery(self, request: Request | None = None, by: str = "root") -> DiscoveryRow:
        with self.change("insert-ethers", who=by) as change:
            return discovery.open_discovery(change, request or Request(), by)

    def register(self, found: Machine) -> NodeRow:
        """What the recorder does when a machine asks."""
        with self.change(f"register {found.mac}") as change:
            row = discovery.current(change)
            assert row is not None, "no discovery is open"
            return discovery.register(change, row, found)


def wait_until(what: str, is_so: object, seconds: float = 10.0) -> None:
    """Wait for something that another thread or process does.

    :param is_so: a function; true ends the waiting.
    """
    assert callable(is_so)
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s, and it did not happen: {what}"
        time.sleep(0.01)
