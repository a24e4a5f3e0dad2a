"""The dump: a cluster as text, one thing a line, sorted, to be kept, compared (diff) and restored.

A line is a kind, names, and ``key=value`` pairs; a name or value is a bare word or, where it holds anything else, a string as
JSON writes it. Reading is strict: what is not known is an error that names file and line, and nothing is ever evaluated.
Not in a dump: secrets, installs (a restore never arms one), images (they are files), events.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar

from bootserver.cluster import attributes, boot_actions, distributions, selection
from bootserver.cluster.actions import BootAction
from bootserver.cluster.change import Reader
from bootserver.db.rows import (
    ApplianceRow,
    AttributeRow,
    BootActionRow,
    DistributionRow,
    InterfaceRow,
    NetworkRow,
    NodeRow,
    Scope,
)
from bootserver.errors import BootserverError, UsageError
from bootserver.values import grammar
from bootserver.values.mac import MacAddress

K = TypeVar("K")
V = TypeVar("V")

HEADER = """\
# A cluster, as `bootserver dump` writes it; `bootserver restore FILE` reads it.
# The first network is the one that nodes boot in. Not here: secrets, armed installs, images, events.
dump 1
"""

_BARE = re.compile(r"[A-Za-z0-9_.,:/@%+-]+")
_KEY = re.compile(r"([a-z]+)=")
_CREATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class LineError(UsageError):
    """A line of a dump can't be used; the text names file and line."""


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """:ivar row: without numbers; `appliance` is the name. :ivar interfaces: each with the name of its network."""

    row: NodeRow
    appliance: str
    line: int
    interfaces: list[tuple[InterfaceRow, str, int]] = field(default_factory=list)


@dataclass(slots=True)
class Document:
    """A dump that was read; keys are names, each value comes with its line.

    :ivar attributes: by scope, the owner's name ("" for global) and key.
    :ivar actions: by the node's name ("" for all) and the action's.
    :ivar armed: nodes whose action installs: they boot their disks instead.
    """

    name: str
    networks: dict[str, tuple[NetworkRow, int]] = field(default_factory=dict)
    appliances: dict[str, tuple[ApplianceRow, int]] = field(default_factory=dict)
    distributions: dict[str, tuple[DistributionRow, int]] = field(default_factory=dict)
    actions: dict[tuple[str, str], tuple[BootAction, int]] = field(default_factory=dict)
    attributes: dict[tuple[Scope, str, str], tuple[str, int]] = field(default_factory=dict)
    nodes: dict[str, NodeEntry] = field(default_factory=dict)
    armed: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def at(self, line: int) -> Iterator[None]:
        """What goes wrong inside is told with file and line."""
        try:
            yield
        except LineError:  # of a line further in: an interface of this node
            raise
        except (BootserverError, ValueError) as error:  # ValueError: an address
            raise LineError(f"{self.name}:{line}: {error}") from error


# -- writing -----------------------------------------------------------------------------------------------------


def write(reader: Reader) -> str:
    """The cluster as text."""
    appliances = {row.id: row for row in reader.rows(ApplianceRow)}
    networks = {row.id: row for row in reader.rows(NetworkRow)}
    nodes = selection.natural(reader.rows(NodeRow))
    names = {row.id: row.name for row in nodes}
    interfaces: dict[int, list[InterfaceRow]] = {}
    for nic in reader.rows(InterfaceRow):
        interfaces.setdefault(nic.node_id, []).append(nic)
    of_nodes: dict[str, list[str]] = {}
    shared: list[str] = []
    for attribute in sorted(reader.rows(AttributeRow), key=lambda row: (list(Scope).index(row.scope), row.owner, row.key)):
        owner = _owner(attribute, appliances, names)
        line = _line("attribute", [attribute.scope.value, *owner, attribute.key], value=attribute.value)
        (of_nodes.setdefault(owner[0], []) if attribute.scope is Scope.NODE else shared).append(line)
    site: list[str] = []
    for action in sorted(reader.rows(BootActionRow), key=lambda row: row.name):
        owner_name = None if action.node_id is None else names[action.node_id]
        (site if owner_name is None else of_nodes.setdefault(owner_name, [])).append(_action(action, owner_name))
    lines = [_network(row) for row in networks.values()]
    lines += [_appliance(row) for row in sorted(appliances.values(), key=lambda row: row.name)]
    lines += site
    lines += [_distribution(row) for row in sorted(reader.rows(DistributionRow), key=lambda row: row.name)]
    lines += shared
    for node in nodes:
        lines.append(_node(node, appliances[node.appliance_id].name))
        lines += [_interface(node, nic, networks[nic.network_id].name) for nic in interfaces.get(node.id, ())]
        lines += of_nodes.get(node.name, ())
    return HEADER + "".join(f"{line}\n" for line in lines)


def _owner(row: AttributeRow, appliances: Mapping[int, ApplianceRow], nodes: Mapping[int, str]) -> list[str]:
    match row.scope:
        case Scope.GLOBAL:
            return []
        case Scope.APPLIANCE:
            return [appliances[row.owner].name]
        case Scope.RACK:
            return [str(row.owner)]
        case Scope.NODE:
            return [nodes[row.owner]]


def _network(row: NetworkRow) -> str:
    return _line(
        "network", [row.name], subnet=row.subnet, frontend=row.frontend, device=row.device, vlan=row.vlan, gateway=row.gateway,
        nameserver=row.nameservers.split(), domain=row.domain,
    )  # fmt: skip


def _appliance(row: ApplianceRow) -> str:
    installs = "yes" if row.installs else "no"
    return _line("appliance", [row.name], base=row.base_name, title=row.title, action=row.action, installs=installs)


def _action(row: BootActionRow, node: str | None) -> str:
    local = "yes" if row.local_disk else None
    return _line(
        "action", [row.name], node=node, kernel=row.kernel, initrd=row.initrds, args=row.args or None, local=local,
        floppy=row.floppy,
    )  # fmt: skip


def _distribution(row: DistributionRow) -> str:
    return _line(
        "distribution", [row.name], kind=row.kind or None, family=row.family or None, title=row.title or None,
        version=row.version or None, architecture=row.architecture or None, tree=row.tree or None, kernel=row.kernel,
        initrd=row.initrds, args=row.args or None,
    )  # fmt: skip


def _node(row: NodeRow, appliance: str) -> str:
    # An install is armed on purpose, never by a restore: so it is no part of a dump.
    action = None if row.action is None or BootAction(row.action).installs else row.action
    return _line(
        "node", [row.name], appliance=appliance, rack=row.rack, rank=row.rank, cpus=row.cpus, action=action, uuid=row.uuid,
        comment=row.comment or None, created=row.created,
    )  # fmt: skip


def _interface(node: NodeRow, row: InterfaceRow, network: str) -> str:
    return _line("interface", [node.name, row.device], network=network, mac=row.mac, ip=row.ip)


def _line(kind: str, names: Sequence[str], /, **values: object) -> str:
    words = [kind, *map(_word, names)]
    for key, value in values.items():
        each = [value] if not isinstance(value, list | tuple) else value
        words += [f"{key}={_word(str(one))}" for one in each if one is not None]
    return " ".join(words)


def _word(text: str) -> str:
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)


# -- reading -----------------------------------------------------------------------------------------------------


class _Line:
    """A line's names and values, each taken once; what is left over at the end is an error."""

    def __init__(self, text: str) -> None:
        self.names: list[str] = []
        self._values: dict[str, list[str]] = {}
        position = 0
        while position < len(text):
            key = _KEY.match(text, position)
            word, position = _read_word(text, key.end() if key else position)
            if key:
                self._values.setdefault(key.group(1), []).append(word)
            elif self._values:
                raise UsageError(f"{word!r} stands behind key=value: names come first")
            else:
                self.names.append(word)
            if position < len(text) and text[position] != " ":
                raise UsageError(f"a blank is missing before {text[position : position + 20]!r}")
            position += 1

    def take_names(self, count: int, form: str) -> list[str]:
        if len(self.names) != count:
            raise UsageError(f"expected: {form}")
        return self.names

    def many(self, key: str) -> tuple[str, ...]:
        return tuple(self._values.pop(key, ()))

    def maybe(self, key: str) -> str | None:
        found = self._values.pop(key, [])
        if len(found) > 1:
            raise UsageError(f"{key}= is there twice")
        return found[0] if found else None

    def one(self, key: str) -> str:
        found = self.maybe(key)
        if found is None:
            raise UsageError(f"{key}= is missing")
        return found

    def number(self, key: str, low: int, high: int) -> int:
        text = self.one(key)
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and low <= int(text) <= high):
            raise UsageError(f"{key}= is a number from {low} to {high}, not {text!r}")
        return int(text)

    def flag(self, key: str) -> bool:
        text = self.maybe(key)
        if text not in (None, "yes", "no"):
            raise UsageError(f"{key}= is yes or no, not {text!r}")
        return text == "yes"

    def end(self) -> None:
        if self._values:
            raise UsageError(f"{next(iter(self._values))}= is not known here")


def _read_word(text: str, position: int) -> tuple[str, int]:
    if text.startswith('"', position):
        try:
            word, end = _DECODER.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise UsageError(f"a string that does not end, or holds what JSON does not allow, at column {error.colno}") from error
        return str(word), end
    match = _BARE.match(text, position)
    if match is None:
        raise UsageError(f"no word at column {position + 1}: {text[position : position + 20]!r}")
    return match.group(), match.end()


_DECODER = json.JSONDecoder()


def read(text: str, name: str) -> Document:
    """Read a dump.

    :param name: the file's, for messages.
    :raises UsageError: it is none, with file, line and what is wrong.
    """
    document = Document(name)
    begun = False
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        with document.at(number):
            if not begun:
                if line != "dump 1":
                    raise UsageError(f"this is no dump that this version reads: expected `dump 1`, not {line[:40]!r}")
                begun = True
                continue
            words = _Line(line)
            kind = words.names.pop(0) if words.names else ""
            reader = _READERS.get(kind)
            if reader is None:
                raise UsageError(f"{kind!r} is none of {', '.join(_READERS)}")
            reader(document, words, number)
            words.end()
    if not begun:
        raise UsageError(f"{name}: this is no dump: the line `dump 1` is missing")
    return document


def _read_network(document: Document, words: _Line, line: int) -> None:
    (name,) = words.take_names(1, "network NAME subnet=...")
    device, vlan, gateway = words.maybe("device"), words.maybe("vlan"), words.maybe("gateway")
    row = NetworkRow(
        0, grammar.host_label(name), IPv4Network(words.one("subnet")), None if device is None else grammar.device_name(device),
        IPv4Address(words.one("frontend")), None if gateway is None else IPv4Address(gateway),
        " ".join(str(IPv4Address(each)) for each in words.many("nameserver")), grammar.domain_name(words.one("domain")),
        None if vlan is None else grammar.vlan(vlan),
    )  # fmt: skip
    _put(document.networks, name, (row, line))


def _read_appliance(document: Document, words: _Line, line: int) -> None:
    (name,) = words.take_names(1, "appliance NAME base=...")
    row = ApplianceRow(
        0, grammar.host_label(name), grammar.host_label(words.one("base")), grammar.attribute_value(words.one("title")),
        grammar.action_name(words.one("action")), words.flag("installs"),
    )  # fmt: skip
    _put(document.appliances, name, (row, line))


def _read_action(document: Document, words: _Line, line: int) -> None:
    (name,) = words.take_names(1, "action NAME kernel=...")
    node = words.maybe("node")
    action = BootAction(
        name, words.maybe("kernel"), words.many("initrd"), words.maybe("args") or "", words.flag("local"), words.maybe("floppy")
    )
    _put(document.actions, ("" if node is None else grammar.host_label(node), name), (boot_actions.check(action), line))


def _read_distribution(document: Document, words: _Line, line: int) -> None:
    (name,) = words.take_names(1, "distribution NAME kernel=...")
    # Dumps of before have kernel, ramdisks and arguments only, and names that `distro add` does not take.
    facts = [words.maybe(key) or "" for key in ("kind", "family", "title", "version", "architecture", "tree")]
    row = DistributionRow(
        0, grammar.action_name(name), words.one("kernel"), words.many("initrd"), words.maybe("args") or "", *facts
    )  # fmt: skip
    _put(document.distributions, name, (distributions.check(row), line))


def _read_attribute(document: Document, words: _Line, line: int) -> None:
    scope = Scope(words.names[0]) if words.names and words.names[0] in {each.value for each in Scope} else None
    if scope is None:
        raise UsageError(f"expected: attribute {'|'.join(each.value for each in Scope)} ...")
    form = "attribute global KEY value=..." if scope is Scope.GLOBAL else f"attribute {scope.value} NAME KEY value=..."
    names = words.take_names(2 if scope is Scope.GLOBAL else 3, form)
    owner = "" if scope is Scope.GLOBAL else names[1]
    if scope is Scope.RACK and not re.fullmatch(r"0|[1-9]\d{0,3}", owner, re.ASCII):
        raise UsageError(f"a rack is a number from 0 to 9999, not {owner!r}")
    key, value = attributes.check(names[-1], words.one("value"))
    _put(document.attributes, (scope, owner, key), (value, line))


def _read_node(document: Document, words: _Line, line: int) -> None:
    (name,) = words.take_names(1, "node NAME appliance=... rack=... rank=...")
    action, uuid, created = words.maybe("action"), words.maybe("uuid"), words.one("created")
    if uuid is not None and not re.fullmatch(r"[0-9a-f]{32}", uuid):
        raise UsageError(f"uuid= is 32 hexadecimal digits, not {uuid!r}")
    if not _CREATED.fullmatch(created):
        raise UsageError(f"created= is a time such as 2026-01-31T12:00:00Z, not {created!r}")
    if action is not None and BootAction(grammar.action_name(action)).installs:
        document.armed.append(name)
        action = None
    row = NodeRow(
        0, grammar.host_label(name), 0, words.number("rack", 0, 9999), words.number("rank", 0, 99999),
        words.number("cpus", 1, 65536), action, uuid, grammar.attribute_value(words.maybe("comment") or ""), None, created,
    )  # fmt: skip
    _put(document.nodes, name, NodeEntry(row, words.one("appliance"), line))


def _read_interface(document: Document, words: _Line, line: int) -> None:
    node, device = words.take_names(2, "interface NODE DEVICE network=...")
    entry = document.nodes.get(node)
    if entry is None:
        raise UsageError(f"node {node} is not above this line")
    if device in {row.device for row, _, _ in entry.interfaces}:
        raise UsageError(f"{node} {device} is there twice")
    mac, ip = words.maybe("mac"), words.maybe("ip")
    row = InterfaceRow(
        0, 0, grammar.device_name(device), None if mac is None else MacAddress.parse(mac),
        None if ip is None else IPv4Address(ip), 0,
    )  # fmt: skip
    entry.interfaces.append((row, words.one("network"), line))


_READERS = {
    "network": _read_network,
    "appliance": _read_appliance,
    "action": _read_action,
    "distribution": _read_distribution,
    "attribute": _read_attribute,
    "node": _read_node,
    "interface": _read_interface,
}


def _put(known: dict[K, V], key: K, value: V) -> None:
    if key in known:
        raise UsageError(f"{' '.join(map(str, key)) if isinstance(key, tuple) else key} is there twice")
    known[key] = value
