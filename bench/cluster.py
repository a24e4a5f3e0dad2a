"""A cluster of many nodes, put into a database at once."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

from bootserver.cluster.change import open_change
from bootserver.config import load
from bootserver.db.connection import open_databases
from bootserver.db.rows import ApplianceRow, InterfaceRow, NetworkRow, NodeRow
from bootserver.values.mac import MacAddress


def fill(config: Path, count: int, first: IPv4Address) -> None:
    """Nodes in racks of 40, with addresses from `first` upwards."""
    databases = open_databases(load(config))
    with open_change(databases.cluster, "bench", f"{count} nodes") as change:
        appliance = change.one(ApplianceRow, "name = 'compute'")
        network = change.one(NetworkRow, "id > 0")
        assert appliance is not None and network is not None
        for index in range(count):
            rack, rank = divmod(index, 40)
            name = f"compute-{rack}-{rank}"
            node = change.insert(NodeRow(0, name, appliance.id, rack, rank, 4, None, None, "", None, "2026-01-01T00:00:00Z"))
            change.insert(InterfaceRow(0, node.id, "eth0", mac(index), first + index, network.id))


def mac(index: int) -> MacAddress:
    return MacAddress(b"\x52\x54" + index.to_bytes(4, "big"))
