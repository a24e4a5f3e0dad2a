"""The product's one decision, with what a configuration and a clock add to it: where nodes reach the frontend, and tickets."""

from __future__ import annotations

import time
from collections.abc import Callable

from bootserver.cluster import status, tickets
from bootserver.cluster.boot import Way, boot_plan
from bootserver.cluster.plan import Plan
from bootserver.cluster.view import InstallView, InterfaceView, NodeView
from bootserver.config import Config
from bootserver.values.firmware import Firmware


def planner(config: Config) -> Callable[[NodeView | None, InterfaceView | None, Firmware], Plan]:
    """What a machine boots by one of its interfaces (:func:`~bootserver.cluster.boot.boot_plan`).

    Each plan of an install holds a fresh ticket. A node of which nobody knows by which interface it boots does so by its first.
    """

    def way(interface: InterfaceView | None) -> Way:
        address = config.network.address if interface is None else interface.network.frontend
        secure = status.secure_url(address, config.http.tls_port) if config.http.tls_installers else None
        plain = status.frontend_url(address, config.http.seen_port)
        return Way(plain, secure, None if interface is None else interface.network.vlan)

    def ticket(install: InstallView) -> str:
        return tickets.make(install.id, install.secret, time.time())

    def plan(node: NodeView | None, interface: InterfaceView | None, firmware: Firmware) -> Plan:
        if interface is None and node is not None and node.interfaces:
            interface = node.interfaces[0]
        return boot_plan(node, firmware, way=way(interface), ticket=ticket)

    return plan
