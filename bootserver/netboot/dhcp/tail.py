"""What a node is told: the options of an offer or an acknowledgement, encoded ahead of the packet that asks for them.

RFC 2132 unless said otherwise. What real firmware made of it is beside each choice.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final, NamedTuple, Protocol

from bootserver.cluster.events import Detail
from bootserver.cluster.view import InterfaceView, NetworkView, NodeView
from bootserver.netboot.dhcp import request as options
from bootserver.netboot.dhcp import wire
from bootserver.netboot.dhcp.request import DhcpRequest, MessageType
from bootserver.netboot.dhcp.site_options import NONE, SiteOptions
from bootserver.netboot.dhcp.wire import DhcpPacket

# https://ipxe.org/howto/dhcpd: 176 (no-pxedhcp) = 1. Without it iPXE waits 3 s for a proxyDHCP's offer.
_NO_PROXY_WAIT: Final = b"\xb0\x01\x01"
_ACK: Final = bytes((MessageType.ACK.value,))
_TYPE_AT: Final = wire.OPTIONS_AT - wire.SNAME_AT + 2  # the first option's value, counted from ``sname``
_FILE_FIELD: Final = 127  # octets; the 128th is the NUL that firmware looks for


@dataclass(frozen=True, slots=True)
class BootFile:
    """What a machine's firmware is to load.

    :ivar filename: a path below ``tftpboot``, or a URL.
    :ivar url: it is a URL.
    :ivar http_boot: it answers UEFI HTTP Boot, which takes an offer only if that says "HTTPClient" in option 60.
    """

    filename: str
    url: bool = False
    http_boot: bool = False


class Names(NamedTuple):
    """Where a node is and what it is called there."""

    host: str
    network: NetworkView


class BootFiles(Protocol):
    """Chooses the boot file. It must say the same for the same arguments: what it says is kept until the view changes."""

    def __call__(self, node: NodeView, interface: InterfaceView, request: DhcpRequest, /) -> BootFile | None: ...


class Form(enum.Enum):
    """The three forms of an answer to a machine of ours."""

    LEASE = enum.auto()  # an address for a time: OFFER and ACK
    INFORMED = enum.auto()  # the ACK of an INFORM: no address, no time (RFC 2131 section 4.3.5)
    BOOTP = enum.auto()  # an address for ever, and no word of DHCP


class Ready(NamedTuple):
    """Replies to one machine in one of its lives (ROM, iPXE, installed system), encoded from ``sname`` to the end.

    :ivar next_server: ``siaddr``: who has the boot file (RFC 2131 section 2).
    :ivar offer: what answers a DISCOVER; only in a :attr:`Form.LEASE`.
    :ivar answer: what answers anything else.
    :ivar detail: what an event says of it.
    """

    address: bytes
    server: bytes
    offer: bytes
    answer: bytes
    detail: Detail
    next_server: bytes


def prepare(
    form: Form,
    names: Names,
    address: IPv4Address,
    packet: DhcpPacket,
    request: DhcpRequest,
    boot: BootFile | None,
    *,
    no_proxy_wait: bool,
    site: SiteOptions = NONE,
    server: bytes | None = None,
) -> Ready:
    """:param names: the network that it is on, and what it is called there.
    :param request: what `packet` says.
    :param no_proxy_wait: tell iPXE not to wait for a proxyDHCP server.
    :param site: what its attributes add.
    :param server: the server identifier that a relay asks for (RFC 5107 section 4), in place of ours; files come from us all the
        same (siaddr).
    """
    network = names.network
    filename = boot.filename.encode() if boot else site.file
    in_field = filename if len(filename) <= _FILE_FIELD else b""
    ahead = [
        *([] if form is Form.BOOTP else [(options.MESSAGE_TYPE, _ACK), (options.SERVER_ID, server or network.frontend.packed)]),
        *(_lease_options(network.lease_seconds) if form is Form.LEASE else []),
        *_address_options(network, names_too=not (boot and boot.http_boot)),
        *_boot_options(request, boot, filename, forced=bool(filename) and not in_field, frontend=network.frontend),
        *_name_options(request, names),
        *_echoes(packet, request, no_proxy_wait=no_proxy_wait),
        # Last, as they may be long: what has no room must not be what a client drops an offer for.
        *((code, value) for code, value, always in site.options if always or request.asks_for(code)),
    ]

    tail = wire.encode_tail(
        ahead,
        file=in_field,
        limit=size_limit(request.max_size),  # a BOOTP client says nothing of it, and gets what any host takes
        relay_information=packet.options.get(wire.RELAY_INFORMATION),
    )
    octets = tail.octets
    # An offer is an acknowledgement with another message type, which stands first.
    offer = octets[:_TYPE_AT] + bytes((MessageType.OFFER.value,)) + octets[_TYPE_AT + 1 :] if form is Form.LEASE else b""
    detail = _detail(address, request, filename, network.lease_seconds, tail.dropped)
    return Ready(address.packed, network.frontend.packed, offer, octets, detail, (site.next_server or network.frontend).packed)


def size_limit(max_size: int | None) -> int:
    """The largest message that this client takes (option 57, which counts the IP and UDP headers; at least 576)."""
    if max_size is None:
        return wire.DEFAULT_LIMIT
    return min(max(max_size - wire.HEADERS, wire.DEFAULT_LIMIT), wire.ETHERNET_LIMIT)


def _lease_options(seconds: int) -> list[tuple[int, bytes]]:
    """RFC 2131 section 4.4.5: T1 at half of the lease, T2 at seven eighths."""
    seconds = min(max(seconds, 8), 0xFFFFFFFF)
    times = ((options.LEASE_TIME, seconds), (options.RENEWAL, seconds // 2), (options.REBINDING, seconds * 7 // 8))
    return [(code, value.to_bytes(4)) for code, value in times]


def _address_options(network: NetworkView, *, names_too: bool) -> list[tuple[int, bytes]]:
    # The subnet mask stands before the router (RFC 2132 section 3.3). These go to everybody: syslinux.efi asks for
    # 1, 3 and 6 only, and busybox' udhcpc configures no netmask that it did not get.
    facts = [(options.SUBNET, network.subnet.netmask.packed)]
    if network.gateway is not None:
        facts.append((options.ROUTER, network.gateway.packed))
    # Not for UEFI HTTP Boot, whose URL of ours needs no name: with a name server OVMF puts a DNS node into the device path,
    # which GRUB (Debian's 2.06) does not know, so it finds no network and ends at its prompt.
    if names_too and network.nameservers:
        facts.append((options.NAMESERVERS, b"".join(address.packed for address in network.nameservers)))
    return facts


def _name_options(request: DhcpRequest, names: Names) -> list[tuple[int, bytes]]:
    facts = [
        (options.HOST_NAME, names.host.encode()),
        (options.DOMAIN, names.network.domain.encode()),
        (options.BROADCAST, names.network.subnet.broadcast_address.packed),
    ]
    return [(code, value) for code, value in facts if value and request.asks_for(code)]


def _boot_options(
    request: DhcpRequest, boot: BootFile | None, name: bytes, *, forced: bool, frontend: IPv4Address
) -> list[tuple[int, bytes]]:
    """The boot file's name goes into ``file`` wherever it fits, and into 67 for those who ask.

    syslinux.efi and udhcpc do not ask and read ``file``; OVMF and iPXE ask, and prefer 67; some ROMs ask for 67 and read
    ``file``. dnsmasq empties ``file`` where it sends 67, Kea and ISC dhcpd send both: both is what all of them take.
    """
    if boot is None:
        return []
    facts = []
    if boot.http_boot or forced or request.asks_for(options.BOOT_FILE):
        # With a NUL, as dnsmasq has it: there are ROMs that read on and ask for "pxelinux.0\xff", the End option.
        facts.append((options.BOOT_FILE, name + b"\0"))
    if not boot.url and request.asks_for(options.TFTP_SERVER):
        facts.append((options.TFTP_SERVER, str(frontend).encode() + b"\0"))
    if boot.http_boot:
        # Only here. A PXE client that reads "PXEClient" without option 43 takes us for a boot server discovery (BINL)
        # and goes on to port 4011; without option 60 it boots what siaddr and the file name say.
        facts.append((options.VENDOR_CLASS, wire.CLASS_HTTP))
    return facts


def _echoes(packet: DhcpPacket, request: DhcpRequest, *, no_proxy_wait: bool) -> list[tuple[int, bytes]]:
    facts = []
    if request.is_ipxe and no_proxy_wait:
        facts.append((options.IPXE, _NO_PROXY_WAIT))
    machine = packet.options.get(options.MACHINE_ID)
    if machine is not None and len(machine) == 17:
        facts.append((options.MACHINE_ID, machine))  # RFC 4578 section 2.3: PXE clients drop an offer for another UUID
    client = packet.options.get(options.CLIENT_ID)
    if client is not None and len(client) <= 255:
        facts.append((options.CLIENT_ID, client))  # RFC 6842: a relay or switch may need it to find the client
    return facts


def _detail(address: IPv4Address, request: DhcpRequest, filename: bytes, lease_seconds: int, dropped: tuple[int, ...]) -> Detail:
    detail: dict[str, str | int | float | bool | None] = {"address": str(address), "lease": lease_seconds}
    if filename:
        detail["file"] = filename.decode()
    if request.firmware_name is not None:
        detail["firmware"] = request.firmware_name
    if request.is_ipxe:
        detail["ipxe"] = True
    if dropped:
        detail["no room for"] = f"option{'s' if len(dropped) > 1 else ''} {', '.join(map(str, dropped))}"
    return detail
