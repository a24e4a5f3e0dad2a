"""Where a message comes from: the networks that its sender may be on.

A relay's own address says it (RFC 2131 section 4.1), or what the relay says instead of that (link selection, RFC 3527); without
a relay the device that it came in by. What a relay says of itself stands in option 82 (RFC 3046), and is read only where there
is a relay: a machine's own option 82 is nobody's word.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from bootserver.cluster.view import NetworkView, View
from bootserver.netboot.dhcp import wire
from bootserver.netboot.dhcp.wire import NO_ADDRESS, DhcpPacket, WireError

MAX_ARRIVALS: Final = 1_024
MAX_RELAY_INFORMATION: Final = 255
"""RFC 3046 section 2.0: option 82 is one option, so no longer than this. It is echoed whole, or there is no answer."""

_LINK: Final = 5
_SERVER: Final = 11


class Arrival(NamedTuple):
    """:ivar networks: by their numbers; none where it comes from nowhere that we know.
    :ivar server: the address that the machine shall take for its server's, so that its renewals go by the relay, too (server
        identifier override, RFC 5107); None: ours.
    """

    networks: Mapping[int, NetworkView]
    server: bytes | None = None


class Arrivals:
    """Finds arrivals, and keeps them until the view changes."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[object, Arrival] = {}

    def clear(self) -> None:
        self._found.clear()

    def of(self, packet: DhcpPacket, device: str, view: View) -> Arrival:
        """:raises WireError: what the relay says can't be read."""
        key: object = device
        if packet.giaddr != NO_ADDRESS:
            key = packet.giaddr
            if wire.RELAY_INFORMATION in packet.options:
                key = packet.giaddr, *_said(packet)
        found = self._found.get(key)
        if found is None:
            found = arrival(packet, device, view)
            if len(self._found) >= MAX_ARRIVALS:
                self._found.clear()
            self._found[key] = found
        return found


def arrival(packet: DhcpPacket, device: str, view: View) -> Arrival:
    """:param device: the one that a message came in by.
    :raises WireError: what its relay says can't be read.
    """
    if packet.giaddr == NO_ADDRESS:
        return Arrival({network.id: network for network in view.networks if network.device == device})
    link, server = _said(packet)
    network = view.network_of(IPv4Address(link or packet.giaddr))
    return Arrival({} if network is None else {network.id: network}, server)


def nowhere(packet: DhcpPacket, device: str) -> str:
    """Why a message is on none of our networks."""
    if packet.giaddr == NO_ADDRESS:
        return f"no network is on device {device}"
    relay = IPv4Address(packet.giaddr)
    link, _ = _said(packet)
    if link is not None:
        return f"no network holds {IPv4Address(link)}, the link that relay {relay} asks for"
    return f"no network holds the relay's address {relay}"


def _said(packet: DhcpPacket) -> tuple[bytes | None, bytes | None]:
    """The link and the server identifier that a relay asks for."""
    information = packet.options.get(wire.RELAY_INFORMATION, b"")
    # Most relays say only which port of theirs it was: that need not be read, it is echoed.
    if _LINK not in information and _SERVER not in information:
        return None, None
    said = wire.encapsulated(information)
    return _address(said, _LINK), _address(said, _SERVER)


def _address(said: Mapping[int, bytes], code: int) -> bytes | None:
    value = said.get(code)
    if value is None:
        return None
    # No host's: nothing, multicast, reserved, everybody. A machine would send its renewals there.
    if len(value) != 4 or value == NO_ADDRESS or value[0] >= 224:
        raise WireError(f"relay information: suboption {code} is no address of a host, but {value[:8].hex() or 'nothing'}")
    return value
