"""One machine as a site's DHCP server saw it, however it was told: a line of its log, a call of its script."""

from __future__ import annotations

import contextlib
import enum
import json
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Final

from bootserver.errors import BootserverError
from bootserver.values import grammar
from bootserver.values.mac import MacAddress

MAX_MESSAGE: Final = 2048
"""Octets of a message from ``bootserver dhcp-event`` to the service."""


class What(enum.Enum):
    """What the server tells of a machine."""

    ASKS = "asks"
    OFFERED = "offered"
    GIVEN = "given"
    HAS = "has"  # it was given the address some time ago; nothing happened now
    REFUSED = "refused"
    RELEASED = "released"
    DECLINED = "declined"


class Program(enum.Enum):
    """Who tells. The value is what events say."""

    DNSMASQ = "dnsmasq"
    KEA = "kea"
    ISC = "dhcpd"


@dataclass(frozen=True, slots=True)
class Sighting:
    """:ivar address: what the server gives or gave; never what the machine merely asked for.
    :ivar device: the server's own device, where it says so before anything that the machine said.
    :ivar relay: likewise the relay's address.
    :ivar netboots: whether it asks to netboot; None: that was not told.
    """

    what: What
    mac: MacAddress
    program: Program
    address: IPv4Address | None = None
    device: str | None = None
    relay: IPv4Address | None = None
    netboots: bool | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something was told that makes no sense; `text` is for a person."""

    text: str


def encode(message: Sighting | Trouble) -> bytes:
    """At most :data:`MAX_MESSAGE` octets."""
    if isinstance(message, Trouble):
        return json.dumps({"trouble": message.text[:300]}).encode()
    fields = {
        "what": message.what.value,
        "mac": str(message.mac),
        "by": message.program.value,
        "address": None if message.address is None else str(message.address),
        "device": message.device,
        "relay": None if message.relay is None else str(message.relay),
        "netboots": message.netboots,
    }
    return json.dumps(fields).encode()


def decode(octets: bytes) -> Sighting | Trouble | None:
    """:returns: None where it is no such message."""
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError, BootserverError):
        fields = json.loads(octets)
        if "trouble" in fields:
            return Trouble(_line(fields["trouble"]))
        netboots = fields["netboots"]
        if netboots is not None and type(netboots) is not bool:
            return None
        device = fields["device"]
        return Sighting(
            What(fields["what"]),
            MacAddress.parse(fields["mac"]),
            Program(fields["by"]),
            _address(fields["address"]),
            None if device is None else grammar.device_name(device),
            _address(fields["relay"]),
            netboots,
        )
    return None


def netboots(vendor_class: str) -> bool:
    """By DHCP option 60: PXE 2.1 section 2.2.1, UEFI 2.5 section 24.7. iPXE says PXEClient, too."""
    return vendor_class.startswith(("PXEClient", "HTTPClient"))


def _line(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError("no text")
    return "".join(character if character.isprintable() else " " for character in text[:300])


def _address(text: Any) -> IPv4Address | None:
    if text is None:
        return None
    if not isinstance(text, str):  # IPv4Address takes numbers, too
        raise TypeError("no text")
    return IPv4Address(text)
