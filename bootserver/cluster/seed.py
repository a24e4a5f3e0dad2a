"""What a new cluster begins with: the shipped appliances, and the network of the configuration."""

from __future__ import annotations

from bootserver.cluster import appliances, networks
from bootserver.cluster.change import Change
from bootserver.config import Config
from bootserver.db.rows import ApplianceRow, NetworkRow
from bootserver.errors import Refused

NETWORK = "private"
"""The first network's name, as Rocks calls it."""


def seed(change: Change, config: Config) -> None:
    """Add what is not there yet, and bring the first network in line with the configuration.

    :raises Refused: the configured subnet is another one, and nodes have addresses in the old one.
    """
    for name, base_name, title, action, installs in appliances.SHIPPED:
        if change.one(ApplianceRow, "name = :name", name=name) is None:
            change.insert(ApplianceRow(0, name, base_name, title, action, installs))
    settings = config.network
    row = change.one(NetworkRow, "name = :name", name=NETWORK)
    if row is not None and row.subnet != settings.subnet:
        networks.remove(change, NETWORK)  # refuses while nodes have addresses in it
        row = None
    if row is None:
        networks.add(
            change,
            NETWORK,
            settings.subnet,
            frontend=settings.address,
            device=settings.interface,
            gateway=settings.gateway,
            nameservers=[],
            domain=config.frontend.domain,
        )
        return
    if settings.address not in row.subnet:
        raise Refused(f"network.address {settings.address} is not in {row.subnet}")
    change.update(
        row, frontend=settings.address, device=settings.interface, gateway=settings.gateway, domain=config.frontend.domain
    )
