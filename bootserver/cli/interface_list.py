"""``bootserver node list --interfaces``: what each card is called, and where it is."""

from __future__ import annotations

from collections.abc import Sequence

from bootserver.cli.session import Session
from bootserver.cli.table import show
from bootserver.cluster import selection, status
from bootserver.cluster.view import interface_name
from bootserver.db.rows import NetworkRow

COLUMNS = ("NODE", "DEVICE", "NAME", "MAC", "IP", "NETMASK", "NETWORK", "VLAN")


def show_interfaces(session: Session, wanted: Sequence[str], format_: str) -> None:
    """Print the interfaces of the nodes that these words mean."""
    with session.read() as reader:
        networks = {row.id: row for row in reader.rows(NetworkRow)}
        found = status.facts(reader, selection.select(reader, wanted))
    rows = []
    for each in found:
        first = next((nic for nic in each.interfaces if nic.ip is not None), None)
        for nic in each.interfaces:
            network = networks[nic.network_id]
            rows.append(
                (
                    each.node.name,
                    nic.device,
                    None if nic.ip is None else interface_name(each.node.name, nic.device, is_first=nic is first),
                    None if nic.mac is None else str(nic.mac),
                    None if nic.ip is None else str(nic.ip),
                    str(network.subnet.netmask),
                    network.name,
                    network.vlan,
                )
            )
    show(COLUMNS, rows, format_)
