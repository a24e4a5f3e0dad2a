"""What administrators type for nodes: one parser for all commands.

A name, several, a range (``compute-0-[0-31]``), an appliance (``compute``), ``rack0``, an IP or a MAC address; each alone
or separated by commas.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import AddressValueError, IPv4Address

from bootserver.cluster.change import Reader
from bootserver.db.rows import ApplianceRow, InterfaceRow, NodeRow
from bootserver.errors import NotFound, UsageError
from bootserver.values.mac import MacAddress

MAX_NODES = 100_000
_BATCH = 500  # names in one query; SQLite takes 32,766 parameters, PostgreSQL 65,535
_RACK = re.compile(r"rack(\d{1,4})")


def select(reader: Reader, words: Sequence[str]) -> list[NodeRow]:
    """The nodes that these words mean, each once, in natural order.

    :param words: none means all nodes.
    :raises NotFound: a word means no node. :raises UsageError: a range that can't be read.
    """
    if not words:
        return natural(reader.rows(NodeRow))
    found: dict[int, NodeRow] = {}
    for word in words:
        for part in _split(word):
            for node in _mean(reader, part):
                found[node.id] = node
    return natural(found.values())


def natural(nodes: Iterable[NodeRow]) -> list[NodeRow]:
    """compute-0-2 before compute-0-10."""
    return sorted(nodes, key=lambda node: natural_key(node.name))


def natural_key(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def fold(names: Iterable[str]) -> str:
    """Many names as people write them: ``compute-0-[0-31]``."""
    from ClusterShell.NodeSet import NodeSet  # late: 50 ms that most commands don't need

    return str(NodeSet.fromlist(list(names)))


def _split(word: str) -> list[str]:
    """At commas outside brackets."""
    return [part for part in re.split(r",(?![^\[]*\])", word) if part]


def _mean(reader: Reader, word: str) -> list[NodeRow]:
    if "[" in word:
        return _range(reader, word)
    node = reader.one(NodeRow, "name = :name", name=word)
    if node is not None:
        return [node]
    rack = _RACK.fullmatch(word)
    if rack is not None:
        found = reader.rows(NodeRow, "rack = :rack", rack=int(rack.group(1)))
    elif (appliance := reader.one(ApplianceRow, "name = :name", name=word)) is not None:
        found = reader.rows(NodeRow, "appliance_id = :appliance", appliance=appliance.id)
    else:
        found = _by_address(reader, word)
    if not found:
        raise NotFound(f"no node {word!r}: `bootserver node list` shows them")
    return found


def _by_address(reader: Reader, word: str) -> list[NodeRow]:
    column: str
    value: object
    try:
        column, value = "ip", IPv4Address(word)
    except AddressValueError:
        try:
            column, value = "mac", MacAddress.parse(word)
        except UsageError:
            return []
    interface = reader.one(InterfaceRow, f"{column} = :value", value=value)
    return [] if interface is None else reader.rows(NodeRow, "id = :id", id=interface.node_id)


def _size(word: str) -> int:
    """How many nodes a range means, about; asked before it is unfolded, which takes half a minute for ten million."""
    size = 1
    for inside in re.findall(r"\[([^\]]*)\]", word):
        size *= sum(int(high) - int(low) + 1 for low, high in re.findall(r"(\d{1,18})-(\d{1,18})", inside)) or 1
    return size


def _range(reader: Reader, word: str) -> list[NodeRow]:
    from ClusterShell.NodeSet import NodeSet, NodeSetException

    if (size := _size(word)) > MAX_NODES:
        raise UsageError(f"{word!r} means {size} nodes; at most {MAX_NODES}")
    try:
        names = NodeSet(word)
    except NodeSetException as error:
        raise UsageError(f"{word!r} is no range of nodes, such as compute-0-[0-31]: {error}") from error
    if len(names) > MAX_NODES:
        raise UsageError(f"{word!r} means {len(names)} nodes; at most {MAX_NODES}")
    wanted = list(names)
    found: dict[str, NodeRow] = {}
    for start in range(0, len(wanted), _BATCH):
        batch = {f"n{index}": name for index, name in enumerate(wanted[start : start + _BATCH])}
        rows = reader.rows(NodeRow, f"name IN ({', '.join(f':{key}' for key in batch)})", **batch)
        found.update((row.name, row) for row in rows)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise NotFound(f"no node {fold(missing)}: `bootserver node list` shows them")
    return list(found.values())
