"""What a site's attributes ``dhcp.NAME`` add to a node's answers: time servers for BMCs, configuration files for switches.

Their grammar is :mod:`bootserver.values.dhcp_options`; here they are read for one node. A value that does not fit (of a database
that an older version wrote, or too long with this node's name in it) is left out and told once: the node gets its address all the
same.
"""

from __future__ import annotations

import logging
from ipaddress import AddressValueError, IPv4Address
from typing import Final, NamedTuple

from bootserver.cluster.view import NetworkView, NodeView
from bootserver.errors import UsageError
from bootserver.values import dhcp_options
from bootserver.values.dhcp_options import BOOT_FILE, PREFIX, ROUTES, SETTINGS, TFTP_ADDRESS, TFTP_SERVER
from bootserver.values.mac import MacAddress

log = logging.getLogger(__name__)

MOST_TOLD: Final = 1_024
"""Different troubles that are logged while the server runs; a broken database needs no more to be noticed."""
_IN_ORDER: Final = {name: number for number, name in enumerate(SETTINGS)}


class SiteOptions(NamedTuple):
    """A node's further options.

    :ivar options: code, octets, and whether they are sent unasked; the most important first.
    :ivar file: the boot file's name, for the field ``file``; empty where there is none.
    :ivar next_server: who has that file, where it is not the frontend.
    """

    options: tuple[tuple[int, bytes, bool], ...] = ()
    file: bytes = b""
    next_server: IPv4Address | None = None


NONE: Final = SiteOptions()


class SiteOptionsReader:
    """Reads nodes' settings. It remembers what it has told of, nothing else."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def __call__(self, node: NodeView, network: NetworkView, mac: MacAddress) -> SiteOptions:
        """:param network: where `node` asks, with the card `mac`."""
        found = [key for key in node.attributes if key.startswith(PREFIX)]
        if not found:
            return NONE
        machine = dhcp_options.Machine(node.name, network.frontend, mac)
        octets: dict[str, bytes] = {}
        for key in sorted(found, key=lambda each: _IN_ORDER.get(each.removeprefix(PREFIX), len(_IN_ORDER))):
            name, value = key.removeprefix(PREFIX), node.attributes[key]
            setting = SETTINGS.get(name)
            if setting is None:
                self._tell(key, "", f"{key} is no DHCP setting")
            elif setting.boots and node.appliance.installs:
                why = f"{key} is not for appliance {node.appliance.name}: what nodes that install boot is decided by their action"
                self._tell(key, node.appliance.name, why)
            else:
                if name == ROUTES and network.gateway is not None and not dhcp_options.has_default(value):
                    value = f"{value} default={network.gateway}"
                try:
                    octets[name] = dhcp_options.encode(name, value, machine)
                except UsageError as error:
                    self._tell(key, value, f"{error} (node {node.name})")
        options = [(SETTINGS[name].code, value, SETTINGS[name].always) for name, value in octets.items()]
        file = octets.get(BOOT_FILE, b"")
        if file and b"://" not in file and not {TFTP_ADDRESS, TFTP_SERVER} & octets.keys():
            # NX-OS and Junos take a server's address from these two only, and not from siaddr.
            options.append((SETTINGS[TFTP_ADDRESS].code, network.frontend.packed, False))
            options.append((SETTINGS[TFTP_SERVER].code, str(network.frontend).encode(), False))
        return SiteOptions(tuple(options), file, _next_server(octets))

    def _tell(self, key: str, what: str, why: str) -> None:
        if (key, what) not in self._told and len(self._told) < MOST_TOLD:
            self._told.add((key, what))
            log.warning("DHCP setting left out: %s", why[:500])


def _next_server(octets: dict[str, bytes]) -> IPv4Address | None:
    if addresses := octets.get(TFTP_ADDRESS):
        return IPv4Address(addresses[:4])
    try:
        return IPv4Address(octets[TFTP_SERVER].decode()) if TFTP_SERVER in octets else None
    except AddressValueError:  # a name, which only the device can look up
        return None
