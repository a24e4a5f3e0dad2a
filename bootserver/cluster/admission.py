"""Whom the open discovery takes, as far as the view shows it: what is asked before the registrar is.

The same whether a machine asks us, is overheard beside another DHCP server, or stands in that one's log; so it is told in the
same words. The registrar (:mod:`bootserver.cluster.discovery`), which has the database, looks again.
"""

from __future__ import annotations

from collections.abc import Iterable

from bootserver.cluster.view import DiscoveryView, NetworkView, View
from bootserver.values.mac import MacAddress


def closed(discovery: DiscoveryView | None, mac: bytes, now: float) -> str | None:
    """Why nobody is taken, or not this machine. It costs next to nothing: strangers may ask in floods.

    :param now: seconds since the epoch.
    """
    if discovery is None or now >= discovery.expires:
        return "unknown, and no discovery is open"
    if discovery.mac is not None and mac != discovery.mac:
        return "unknown, and the open discovery waits for another machine"
    return None


def unfit(discovery: DiscoveryView, mac: MacAddress, *, netboots: bool | None) -> str | None:
    """Why a machine is none of the kind that is waited for.

    :param netboots: it asks to netboot; None: nobody knows.
    """
    if mac.is_group:
        return f"{mac} is no machine's address"
    if discovery.installs and netboots is False:
        return f"unknown, and it does not netboot as the nodes of {discovery.appliance} do"
    if netboots and not discovery.installs:
        # A server that shares its BMC's port asks in the same minute.
        return f"unknown, and it asks to netboot, as no {discovery.appliance} does"
    return None


def elsewhere(discovery: DiscoveryView, view: View, networks: Iterable[NetworkView]) -> str:
    """Why a machine is not taken that is on these networks, of which none is the discovery's."""
    name = next((each.name for each in view.networks if each.id == discovery.network), "another network")
    return f"unknown, and the open discovery takes machines on {name}, not on {', '.join(each.name for each in networks)}"
