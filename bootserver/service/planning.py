"""The product's one decision, with what a configuration and a clock add to it: where nodes reach the frontend, and tickets."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv4Address

from bootserver.cluster import status, tickets
from bootserver.cluster.boot import boot_plan
from bootserver.cluster.plan import Plan
from bootserver.cluster.view import InstallView, NodeView
from bootserver.config import Config
from bootserver.values.firmware import Firmware


def planner(config: Config) -> Callable[[NodeView | None, Firmware], Plan]:
    """What a machine boots, by :func:`~bootserver.cluster.boot.boot_plan`. Each plan of an install holds a fresh ticket."""

    def address(node: NodeView) -> IPv4Address:
        return node.interfaces[0].network.frontend if node.interfaces else config.network.address

    def frontend_url(node: NodeView) -> str:
        return status.frontend_url(address(node), config.http.seen_port)

    def installer_url(node: NodeView) -> str:
        return status.secure_url(address(node), config.http.tls_port) if config.http.tls_installers else frontend_url(node)

    def ticket(install: InstallView) -> str:
        return tickets.make(install.id, install.secret, time.time())

    def plan(node: NodeView | None, firmware: Firmware) -> Plan:
        return boot_plan(node, firmware, frontend_url=frontend_url, installer_url=installer_url, ticket=ticket)

    return plan
