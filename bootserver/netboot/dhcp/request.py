"""What a machine says of itself in a DHCP message: typed facts, none of which proves who it is.

Reading never fails: a value that can't be read is a fact that is not there. RFC 2132, RFC 4578 (options 93, 94, 97),
RFC 3004 (77), https://ipxe.org/howto/dhcpd (175).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from bootserver.cluster.view import NetworkView
from bootserver.netboot.dhcp import wire
from bootserver.netboot.dhcp.wire import DhcpPacket, WireError
from bootserver.values.firmware import Firmware
from bootserver.values.mac import MacAddress


class MessageType(enum.Enum):
    """Option 53: RFC 2132 section 9.6. A message without it is BOOTP's."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


_MESSAGE_TYPES: Final = {bytes((member.value,)): member for member in MessageType}

# Option codes that we read or write; RFC 2132 unless said otherwise.
SUBNET, ROUTER, NAMESERVERS, HOST_NAME, DOMAIN, BROADCAST = 1, 3, 6, 12, 15, 28
VENDOR_OPTIONS, REQUESTED_ADDRESS, LEASE_TIME, MESSAGE_TYPE, SERVER_ID, PARAMETERS = 43, 50, 51, 53, 54, 55
MAX_SIZE, RENEWAL, REBINDING, VENDOR_CLASS, CLIENT_ID, TFTP_SERVER, BOOT_FILE = 57, 58, 59, 60, 61, 66, 67
MESSAGE, USER_CLASS, ARCHITECTURE, MACHINE_ID, IPXE = 56, 77, 93, 97, 175

_PRINTABLE: Final = bytes(octet if 32 <= octet < 127 else 0x2E for octet in range(256))

IPXE_HTTP: Final = 19
"""Option 175's sub-option: this iPXE was built with HTTP."""

# SMBIOS UUIDs that boards come with when nobody set one: a machine is not recognised by these. The second is
# 03000200-0400-0500-0006-000700080009 (AMI's default) as it is on the wire: the first three fields little-endian.
_JUNK_UUIDS: Final = frozenset(
    {
        bytes.fromhex("03000200040005000006000700080009"),
        bytes.fromhex("00020003000400050006000700080009"),
    }
)


@dataclass(frozen=True, slots=True)
class DhcpRequest:
    """:ivar message: None for a BOOTP request.
    :ivar architecture: the raw code of option 93; :attr:`firmware` is None where we have no loader for it.
    :ivar uuid: the SMBIOS UUID in wire order, or None where there is none worth the name.
    :ivar ipxe_features: the sub-options of option 175, a fingerprint of what was compiled in.
    :ivar parameters: what it asks for (option 55); None where it asks for nothing in particular.
    :ivar vendor_class: printable ASCII, shortened: fit for a log, not for a decision.
    :ivar host_name: what it calls itself (option 12); the same of it. BMCs put their serial number there.
    """

    message: MessageType | None
    mac: MacAddress
    firmware: Firmware | None
    architecture: int | None
    uuid: bytes | None
    is_ipxe: bool
    ipxe_features: frozenset[int]
    wants_http_boot: bool
    netboots: bool
    requested: IPv4Address | None
    server_id: IPv4Address | None
    ciaddr: IPv4Address | None
    giaddr: IPv4Address | None
    broadcast: bool
    parameters: frozenset[int] | None
    max_size: int | None
    vendor_class: str
    host_name: str

    @property
    def firmware_name(self) -> str | None:
        """For people: ``UEFI_X64``, or the bare code of one that we have no loader for."""
        if self.firmware is None:
            return None if self.architecture is None else f"architecture {self.architecture}"
        return self.firmware.name

    @property
    def ipxe_http(self) -> bool:
        """An iPXE that fetches by HTTP."""
        return IPXE_HTTP in self.ipxe_features

    def asks_for(self, code: int) -> bool:
        """Is this option wanted? A client without option 55 takes what it gets."""
        return self.parameters is None or code in self.parameters


def message_type(packet: DhcpPacket) -> MessageType | None:
    """:raises WireError: option 53 is there and is no message type."""
    value = packet.options.get(MESSAGE_TYPE)
    if value is None:
        return None
    known = _MESSAGE_TYPES.get(value)
    if known is None:
        raise WireError(f"option 53 (message type) is one octet from 1 to 8, not {value[:8].hex() or 'nothing'}")
    return known


def read(packet: DhcpPacket) -> DhcpRequest:
    """:raises WireError: its sender has no Ethernet address, or option 53 is no message type."""
    options = packet.options
    if packet.htype != 1 or packet.hlen != 6:
        raise WireError(f"hardware type {packet.htype} with an address of {packet.hlen} octets is no Ethernet")
    vendor_class = options.get(VENDOR_CLASS, b"")
    architecture = _architecture(options.get(ARCHITECTURE))
    features = _ipxe_features(options.get(IPXE))
    is_ipxe = IPXE in options or b"iPXE" in wire.user_classes(options.get(USER_CLASS, b""))
    wants_http_boot = vendor_class.startswith(wire.CLASS_HTTP)
    parameters = options.get(PARAMETERS)
    max_size = options.get(MAX_SIZE, b"")
    return DhcpRequest(
        message=message_type(packet),
        mac=MacAddress(packet.chaddr[:6]),
        firmware=None if architecture is None else Firmware.from_code(architecture),
        architecture=architecture,
        uuid=uuid_of(options.get(MACHINE_ID)),
        is_ipxe=is_ipxe,
        ipxe_features=features,
        wants_http_boot=wants_http_boot,
        netboots=is_ipxe or wants_http_boot or vendor_class.startswith(b"PXEClient") or ARCHITECTURE in options,
        requested=_address(options.get(REQUESTED_ADDRESS)),
        server_id=_address(options.get(SERVER_ID)),
        ciaddr=_address(packet.ciaddr),
        giaddr=_address(packet.giaddr),
        broadcast=bool(packet.flags & wire.BROADCAST_FLAG),
        parameters=None if parameters is None else frozenset(parameters),
        max_size=int.from_bytes(max_size) if len(max_size) == 2 else None,
        vendor_class=printable(vendor_class),
        host_name=printable(options.get(HOST_NAME, b"").rstrip(b"\0")),
    )


def uuid_of(value: bytes | None) -> bytes | None:
    """Option 97, type 0: the machine's UUID, or None where it is none or a board's factory default."""
    if value is None or len(value) != 17 or value[0] != 0:
        return None
    uuid = value[1:]
    return None if uuid in _JUNK_UUIDS or uuid == uuid[:1] * 16 else uuid


def printable(octets: bytes, *, limit: int = 64) -> str:
    """Text of a stranger's as it may stand in a log: printable ASCII, all else a dot, shortened."""
    return octets[:limit].translate(_PRINTABLE).decode("ascii")


def _address(octets: bytes | None) -> IPv4Address | None:
    return IPv4Address(octets) if octets is not None and len(octets) == 4 and octets != wire.NO_ADDRESS else None


def _architecture(value: bytes | None) -> int | None:
    try:
        return None if value is None else wire.architectures(value)[0]
    except WireError:
        return None


def _ipxe_features(value: bytes | None) -> frozenset[int]:
    try:
        return frozenset() if value is None else frozenset(wire.encapsulated(value))
    except WireError:
        return frozenset()


@dataclass(frozen=True, slots=True)
class Registration:
    """A machine that an open discovery takes, or asks a person about; :mod:`bootserver.cluster.discovery` makes it a node.

    :ivar network: where it asked, so where its first interface is.
    """

    mac: MacAddress
    network: NetworkView
    uuid: bytes | None
    firmware: Firmware | None
    architecture: int | None
    netboots: bool
    vendor_class: str
    host_name: str = ""
