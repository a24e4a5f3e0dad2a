"""The rows of the tables, as frozen values.

A row class is the table as Python sees it: its fields are the columns, their types say how a value is written and read.
The tables themselves (keys, constraints, indexes) are in :mod:`bootserver.db.tables`; a test holds that both agree.

Why not SQLAlchemy's ORM here: importing SQLAlchemy takes longer than a whole command may (docs/architecture.md).
"""

from __future__ import annotations

import json
import socket
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from ipaddress import IPv4Address, IPv4Network
from typing import Any, ClassVar, Self

from bootserver.values.mac import MacAddress


class Scope(Enum):
    """Where an attribute is set; later ones win."""

    GLOBAL = "global"
    APPLIANCE = "appliance"
    RACK = "rack"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Row:
    """What all rows have: a table's name and a number."""

    table: ClassVar[str]
    id: int

    @classmethod
    def from_db(cls, values: Mapping[str, Any]) -> Self:
        return cls(
            *[values[name] if reader is None or values[name] is None else reader(values[name]) for name, reader in _readers(cls)]
        )

    def to_db(self) -> dict[str, Any]:
        """Its columns as the database keeps them: whole numbers, texts, None."""
        return {name: to_db(getattr(self, name)) for name, _ in _readers(type(self))}

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        return tuple(name for name, _ in _readers(cls))


@dataclass(frozen=True, slots=True)
class ApplianceRow(Row):
    table: ClassVar[str] = "appliance"
    name: str
    base_name: str
    title: str
    action: str
    installs: bool


@dataclass(frozen=True, slots=True)
class NetworkRow(Row):
    table: ClassVar[str] = "network"
    name: str
    subnet: IPv4Network
    device: str | None
    frontend: IPv4Address
    gateway: IPv4Address | None
    nameservers: str
    domain: str
    vlan: int | None = None


@dataclass(frozen=True, slots=True)
class NodeRow(Row):
    table: ClassVar[str] = "node"
    name: str
    appliance_id: int
    rack: int
    rank: int
    cpus: int
    action: str | None
    uuid: str | None
    comment: str
    discovery_id: int | None
    created: str


@dataclass(frozen=True, slots=True)
class InterfaceRow(Row):
    table: ClassVar[str] = "interface"
    node_id: int
    device: str
    mac: MacAddress | None
    ip: IPv4Address | None
    network_id: int


@dataclass(frozen=True, slots=True)
class AttributeRow(Row):
    """:ivar owner: the appliance's or node's number, the rack's own, or 0 for all."""

    table: ClassVar[str] = "attribute"
    scope: Scope
    owner: int
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class BootActionRow(Row):
    """:ivar node_id: the node that it is for, or None for all."""

    table: ClassVar[str] = "boot_action"
    name: str
    node_id: int | None
    kernel: str | None
    initrds: tuple[str, ...]
    args: str
    local_disk: bool
    floppy: str | None


@dataclass(frozen=True, slots=True)
class DistributionRow(Row):
    """An install tree for a distribution's own installer.

    :ivar kind: of what its installer is told by, and so the name of the template that says it: ``kickstart``, ``preseed``,
        ``autoinstall``, ``autoyast``, or one of a site's own.
    :ivar family: as os-release(5) calls it: ``rhel``, ``fedora``, ``debian``, ``ubuntu``, ``suse``.
    :ivar title: as people call it, such as ``Rocky Linux 9.4``.
    :ivar version: as its installer's syntax goes by, such as ``9.4``, ``12`` or ``24.04``; empty where it is not known.
    :ivar architecture: as the kernel calls it, such as ``x86_64``; empty where it is not known.
    :ivar tree: the folder that is served below ``distro/NAME/``; empty where the packages come from elsewhere.
    :ivar kernel: below ``tftpboot``, or a URL. :ivar initrds: likewise.
    :ivar args: of the kernel; ``@frontend@`` and ``@ticket@`` in them are what :mod:`bootserver.cluster.boot` puts there.
    """

    table: ClassVar[str] = "distribution"
    name: str
    kernel: str
    initrds: tuple[str, ...]
    args: str
    kind: str = ""
    family: str = ""
    title: str = ""
    version: str = ""
    architecture: str = ""
    tree: str = ""


@dataclass(frozen=True, slots=True)
class ImageRow(Row):
    """A golden image that our own installer copies to a disk."""

    table: ClassVar[str] = "image"
    name: str


class InstallState(Enum):
    """An install's life: armed -> running (its ticket was exchanged) -> done; parked by an alarm."""

    ARMED = "armed"
    RUNNING = "running"
    DONE = "done"
    PARKED = "parked"


@dataclass(frozen=True, slots=True)
class InstallRow(Row):
    """An armed install. Its secrets are in ``secret``: ``install/ID/boot``, ``install/ID/session``, ``install/ID/rsync``.

    :ivar nonces: of the boot tickets that were exchanged, separated by spaces: one for each try.
    :ivar phase: the last one reported.
    :ivar image: what it copies, settled when its ticket is exchanged; None where it copies none.
    :ivar distribution: likewise, whose installer does it.
    """

    table: ClassVar[str] = "install"
    node_id: int
    state: InstallState
    wipe: bool
    nonces: str
    phase: str | None
    parked: str | None
    armed: str
    image: str | None = None
    distribution: str | None = None


@dataclass(frozen=True, slots=True)
class SecretRow(Row):
    """:ivar value: the secret, or for those that are only ever compared its SHA-256."""

    table: ClassVar[str] = "secret"
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class DiscoveryRow(Row):
    """:ivar open: 1 while it is open, else None: a unique index then allows one at a time."""

    table: ClassVar[str] = "discovery"
    open: int | None
    appliance_id: int
    network_id: int
    rack: int
    rank: int | None
    mac: MacAddress | None
    replace_id: int | None
    base_name: str | None
    base_ip: IPv4Address | None
    step: int
    count: int | None
    max_new: int
    confirm: bool
    by: str
    opened: str
    expires: float
    inserted: int
    closed: str | None


CLUSTER_ROWS: tuple[type[Row], ...] = (
    ApplianceRow,
    NetworkRow,
    NodeRow,
    InterfaceRow,
    AttributeRow,
    BootActionRow,
    DistributionRow,
    ImageRow,
    InstallRow,
    SecretRow,
    DiscoveryRow,
)


def to_db(value: Any) -> Any:
    """A value as a column keeps it."""
    if value is None or type(value) in (int, str, float):
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return json.dumps(value)
    return str(value)


def _reader(kind: Any) -> Callable[[Any], Any] | None:
    if isinstance(kind, types.UnionType):
        kind = next(option for option in typing.get_args(kind) if option is not type(None))
    if kind in (int, str, float):
        return None
    if kind is MacAddress:
        return MacAddress.read
    if kind is IPv4Address:
        return _ipv4
    if typing.get_origin(kind) is tuple:
        return lambda text: tuple(json.loads(text))
    return typing.cast("Callable[[Any], Any]", kind)  # bool, an enum, an address: called with what the column holds


def _ipv4(text: str) -> IPv4Address:
    """What IPv4Address(text) does, for what str() once wrote: in a quarter of the time, and a view reads thousands."""
    return IPv4Address(socket.inet_aton(text))


_READERS: dict[type, tuple[tuple[str, Callable[[Any], Any] | None], ...]] = {}


def _readers(cls: type[Row]) -> tuple[tuple[str, Callable[[Any], Any] | None], ...]:
    """The columns of a row class and how each is read, worked out once."""
    if cls not in _READERS:
        hints = typing.get_type_hints(cls)
        _READERS[cls] = tuple((item.name, _reader(hints[item.name])) for item in fields(cls))
    return _READERS[cls]
