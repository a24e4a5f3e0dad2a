"""Boot information only, beside a site's own DHCP server: PXE 2.1 sections 2.2.1 (DHCP proxy) and 2.2.3 (port 4011).

A machine that netboots says so (option 60) in its DISCOVER. It gets an offer without an address beside the site's own, takes
its address from the site's server, and then asks us at port 4011 for its boot file. That detour is the one way that all
firmware knows (Windows' deployment servers have gone it since 2000):

- OVMF takes an offer of "PXEClient" with neither option 43 nor an address for one of a boot server to be asked at 4011
  (PxeOfferTypeProxyBinl), and prefers it to a file name of the site's own server. With option 43 it would want a boot menu.
- iPXE asks at 4011 where the offer names no file; it wants siaddr set, and the answer from port 4011.
- It comes from the address that the machine was just given: so we learn it before the first menu is asked for.

UEFI HTTP Boot has no second question: its offer holds the URL.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from bootserver.cluster.events import Detail
from bootserver.cluster.view import InterfaceView, NetworkView, NodeView, View
from bootserver.netboot.dhcp import request as options
from bootserver.netboot.dhcp import wire
from bootserver.netboot.dhcp.answer import Register, Silence, stranger
from bootserver.netboot.dhcp.arrival import MAX_RELAY_INFORMATION, arrival, nowhere
from bootserver.netboot.dhcp.request import DhcpRequest, MessageType
from bootserver.netboot.dhcp.tail import BootFile, BootFiles, size_limit
from bootserver.netboot.dhcp.wire import NO_ADDRESS, DhcpPacket, WireError

CLASS_PXE: Final = b"PXEClient"
_HEAD: Final = struct.Struct("!BBBBIHH4s4s4s4s16s")
_REPLY: Final = 2
_FILE_FIELD: Final = 127
_BOOT_ITEM: Final = 71  # of option 43: which entry of a boot menu is asked for; it is echoed (PXE 2.1 section 2.3)
# https://ipxe.org/howto/dhcpd: 175.1, priority. Settings of a higher one win: the site's own file name does not.
_IPXE_PRIORITY: Final = b"\x01\x01\x10"


class Offer(NamedTuple):
    """An offer of boot information."""

    datagram: bytes
    node: NodeView
    interface: InterfaceView
    detail: Detail


class Boot(NamedTuple):
    """The answer to a question at port 4011.

    :ivar address: what the machine has by its own account; None where it says none.
    :ivar server: which of our addresses it must come from.
    """

    datagram: bytes
    node: NodeView
    interface: InterfaceView
    detail: Detail
    address: IPv4Address | None
    server: bytes


class Claim(NamedTuple):
    """A node takes an address from the site's server, or has one, that is not the one that we know.

    :ivar server: whose offer it took; None where it does not say.
    """

    node: NodeView
    interface: InterfaceView
    address: IPv4Address
    server: IPv4Address | None


class ProxyResponder:
    """:param boot_files: which boot file a node's firmware gets."""

    def __init__(self, boot_files: BootFiles) -> None:
        self._boot_files = boot_files

    def offer(self, packet: DhcpPacket, device: str, view: View, now: float) -> Offer | Claim | Silence | Register | None:
        """What to do about a message at port 67.

        :param now: seconds since the epoch, which a discovery's end is compared with.
        :returns: None where it is no matter of ours, and not to be spoken of: most of what a site's machines say.
        """
        vendor_class = packet.options.get(options.VENDOR_CLASS, b"")
        netboots = vendor_class.startswith((CLASS_PXE, wire.CLASS_HTTP))
        known = view.by_mac.get(packet.chaddr[:6])
        if packet.op != 1 or packet.htype != 1 or packet.hlen != 6 or (known is None and not netboots):
            return None
        if len(packet.options.get(wire.RELAY_INFORMATION, b"")) > MAX_RELAY_INFORMATION:
            return Silence("relay information that would leave no room for an answer")
        try:
            # A server identifier that the relay asks for is the site's server's to give: we are asked at port 4011 by ours.
            networks = arrival(packet, device, view).networks
            if not networks:
                return Silence(nowhere(packet, device))
            message = options.message_type(packet)
            if known is None:
                # Only a DISCOVER begins anything; what follows it is said to the site's server.
                return stranger(packet, networks, view, now) if message is MessageType.DISCOVER else None
            node, interface = known
            if interface.network.id not in networks:
                return Silence(f"it belongs on network {interface.network.name}, and asks elsewhere", node=node)
            if message is MessageType.REQUEST:
                return _claim(packet, node, interface)
            if message is not MessageType.DISCOVER or not netboots:
                return None
            return self._offer(packet, node, interface)
        except WireError as error:
            return Silence(str(error))

    def boot(self, packet: DhcpPacket, source: bytes, device: str, view: View) -> Boot | Silence:
        """What to do about a message at port 4011.

        :param source: the address that the datagram came from.
        """
        if packet.op != 1 or packet.htype != 1 or packet.hlen != 6:
            return Silence("no request of an Ethernet client")
        known = view.by_mac.get(packet.chaddr[:6])
        if known is None:
            return Silence("unknown, and asks at port 4011")
        node, interface = known
        if packet.ciaddr not in (NO_ADDRESS, source) and source != NO_ADDRESS:
            return Silence(f"it says that it is {IPv4Address(packet.ciaddr)} and is {IPv4Address(source)}", node=node)
        try:
            # OVMF and iPXE send a REQUEST, others an INFORM.
            if options.message_type(packet) not in {MessageType.REQUEST, MessageType.INFORM, MessageType.DISCOVER}:
                return Silence("no question for a boot file", node=node)
            request = options.read(packet)
        except WireError as error:
            return Silence(str(error), node=node)
        boot = self._boot_files(node, interface, request)
        if boot is None:
            return Silence("there is no boot file for it", node=node)
        address = source if source != NO_ADDRESS else packet.ciaddr
        datagram = _reply(MessageType.ACK, packet, request, interface.network, boot)
        shown = None if address == NO_ADDRESS else IPv4Address(address)
        detail = _detail(request, boot, shown)
        return Boot(datagram, node, interface, detail, shown, interface.network.frontend.packed)

    def _offer(self, packet: DhcpPacket, node: NodeView, interface: InterfaceView) -> Offer | Silence:
        request = options.read(packet)
        boot = self._boot_files(node, interface, request)
        if boot is None:
            return Silence("there is no boot file for it", node=node)
        named = boot if boot.http_boot else None
        datagram = _reply(MessageType.OFFER, packet, request, interface.network, named)
        return Offer(datagram, node, interface, _detail(request, named, None))


def _claim(packet: DhcpPacket, node: NodeView, interface: InterfaceView) -> Claim | None:
    """A REQUEST in each of its forms (RFC 2131 section 4.3.2, table 4): which address, and who gives it."""
    server = packet.options.get(options.SERVER_ID, b"")
    asked = packet.ciaddr if packet.ciaddr != NO_ADDRESS else packet.options.get(options.REQUESTED_ADDRESS, b"")
    if len(asked) != 4 or asked == NO_ADDRESS:
        return None
    address = IPv4Address(asked)
    if address == interface.ip:
        return None
    return Claim(node, interface, address, IPv4Address(server) if len(server) == 4 else None)


def _reply(message: MessageType, packet: DhcpPacket, request: DhcpRequest, network: NetworkView, boot: BootFile | None) -> bytes:
    """An OFFER or an ACK without an address. :param boot: None where it names no file."""
    frontend = network.frontend.packed
    filename = boot.filename.encode() if boot else b""
    in_field = filename if len(filename) <= _FILE_FIELD else b""
    facts = [
        (options.MESSAGE_TYPE, bytes((message.value,))),
        (options.SERVER_ID, frontend),
        (options.VENDOR_CLASS, wire.CLASS_HTTP if request.wants_http_boot else CLASS_PXE),
    ]
    if boot is not None:
        if boot.http_boot or not in_field or request.asks_for(options.BOOT_FILE):
            facts.append((options.BOOT_FILE, filename + b"\0"))
        if not boot.url and request.asks_for(options.TFTP_SERVER):
            facts.append((options.TFTP_SERVER, str(network.frontend).encode() + b"\0"))
    item = _boot_item(packet.options.get(options.VENDOR_OPTIONS))
    if item is not None:
        facts.append((options.VENDOR_OPTIONS, wire.option(_BOOT_ITEM, item) + b"\xff"))
    if request.is_ipxe:
        facts.append((options.IPXE, _IPXE_PRIORITY))
    for code, longest in ((options.MACHINE_ID, 17), (options.CLIENT_ID, 255)):
        value = packet.options.get(code)
        if value is not None and len(value) <= longest:
            facts.append((code, value))
    tail = wire.encode_tail(
        facts,
        file=in_field,
        limit=size_limit(request.max_size),
        relay_information=packet.options.get(wire.RELAY_INFORMATION),
    )
    ciaddr = packet.ciaddr if message is MessageType.ACK else NO_ADDRESS
    head = _HEAD.pack(
        _REPLY, 1, 6, 0, packet.xid, 0, packet.flags, ciaddr, NO_ADDRESS, frontend, packet.giaddr, packet.chaddr
    )  # fmt: skip
    return head + tail.octets


def _boot_item(vendor_options: bytes | None) -> bytes | None:
    """What is echoed of option 43, if there is such a thing in it."""
    try:
        item = wire.encapsulated(vendor_options or b"").get(_BOOT_ITEM)
    except WireError:
        return None
    return item if item is not None and len(item) == 4 else None


def _detail(request: DhcpRequest, boot: BootFile | None, address: IPv4Address | None) -> Detail:
    detail: dict[str, str | int | float | bool | None] = {"proxy": True}
    if address is not None:
        detail["address"] = str(address)
    if boot is not None:
        detail["file"] = boot.filename
    if request.firmware_name is not None:
        detail["firmware"] = request.firmware_name
    if request.is_ipxe:
        detail["ipxe"] = True
    return detail
