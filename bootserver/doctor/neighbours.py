"""Other DHCP servers: asked for by a DISCOVER of nobody's, as a node would ask (:mod:`bootserver.netboot.dhcp.rogue`)."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from bootserver.config import DhcpMode
from bootserver.doctor.finding import Finding, failure, note, ok
from bootserver.doctor.site import Site
from bootserver.netboot.dhcp import filters, rogue, wire
from bootserver.netboot.dhcp.request import BOOT_FILE, ROUTER, TFTP_SERVER, printable
from bootserver.values.mac import MacAddress

LISTEN_SECONDS = 4.5
"""dnsmasq first pings an address that it is about to offer, for 3 s; others wait less."""
AGAIN_SECONDS = 1.5
MOST_FRAMES = 256


@dataclass(frozen=True, slots=True)
class Offer:
    """:ivar mac: who sent the frame. :ivar address: what it offers, or None. :ivar boot: its boot server and file, if any."""

    server: IPv4Address
    mac: MacAddress
    address: IPv4Address | None
    router: IPv4Address | None
    boot: str

    def __str__(self) -> str:
        parts = [f"the address {self.address}" if self.address else "no address"]
        if self.router:
            parts.append(f"the router {self.router}")
        if self.boot:
            parts.append(f"the boot file {self.boot}")
        return ", ".join(parts)


def dhcp_servers(site: Site) -> Iterator[Finding]:
    """Who answers on each of the cluster's networks. Our own service does not hear what its own machine sends."""
    if site.quick:
        return
    if not site.is_root:
        yield note("other DHCP servers can be asked for by root alone", mend="sudo bootserver doctor")
        return
    for device in dict.fromkeys(link.device for link in site.links):
        site.progress(f"asking {device} for other DHCP servers", None)
        try:
            offers = ask(device)
        except OSError as error:
            yield note(
                f"other DHCP servers on {device} can't be asked for ({error.strerror or error})", mend=f"ip link show {device}"
            )
            continue
        yield from judge(site, device, offers)


def judge(site: Site, device: str, offers: list[Offer]) -> Iterator[Finding]:
    """What the answers mean, in this mode."""
    mode, allowed = site.config.dhcp.mode, site.config.dhcp.site_servers
    strangers = [offer for offer in offers if offer.server not in allowed and (mode is DhcpMode.SERVER or allowed)]
    for offer in strangers:
        yield failure(
            f"another DHCP server, {offer.server} (MAC {offer.mac}), answers on {device}; it offers {offer}",
            "a node that takes its offer gets a wrong address, and nothing to boot",
            f"switch it off; or, if it is the site's, name it in dhcp.site_servers"
            f"{' and set dhcp.mode to proxy' if mode is DhcpMode.SERVER else ''}",
        )
    known = [offer for offer in offers if offer not in strangers]
    for offer in known:
        yield ok(f"the site's DHCP server {offer.server} answers on {device}; it offers {offer}")
    if mode is DhcpMode.SERVER:
        if not offers:
            yield ok(f"no other DHCP server answers on {device} within {LISTEN_SECONDS} s")
    elif not any(offer.address for offer in known):
        yield failure(
            f"no DHCP server of the site answers on {device} within {LISTEN_SECONDS} s",
            f"dhcp.mode is {mode.value}: somebody else must give nodes addresses; it may answer machines that it knows, alone",
            'look at that server; or set dhcp.mode to "server"',
        )


def ask(device: str, seconds: float = LISTEN_SECONDS) -> list[Offer]:
    """Who answers a DISCOVER on this interface; each server once.

    :raises OSError: no packet socket for it (CAP_NET_RAW, a device that is down or is none).
    """
    found: dict[tuple[IPv4Address, MacAddress], Offer] = {}
    with (
        filters.open_filtered(device, filters.ETHERNET_IPV4, filters.DHCP_REPLIES) as hears,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sends,
    ):
        own = filters.hardware_address(sends, device)
        sends.bind((device, 0))
        mac = rogue.nobodys_mac()
        question = rogue.discover(mac, own)
        began = time.monotonic()
        due = [0.0, AGAIN_SECONDS]
        frames = 0
        while (passed := time.monotonic() - began) < seconds and frames < MOST_FRAMES:
            if due and passed >= due[0]:
                due.pop(0)
                sends.send(question)
            until = min([*due[:1], seconds])
            if not select.select([hears], [], [], max(0.0, until - passed))[0]:
                continue
            frames += 1
            captured = rogue.receive(hears)
            reply = rogue.read(captured) if captured else None
            if captured and reply and reply.client == mac:
                found.setdefault((reply.server, reply.mac), _offer(captured, reply))
    return list(found.values())


def _offer(captured: bytes, reply: rogue.Reply) -> Offer:
    packet = wire.decode(captured[14 + (captured[14] & 15) * 4 + 8 :])  # rogue.read has read it before
    router = packet.options.get(ROUTER, b"")[:4]
    file = printable(packet.options.get(BOOT_FILE, b"") or packet.file.rstrip(b"\0"))
    server = printable(packet.options.get(TFTP_SERVER, b"")) or (str(IPv4Address(packet.siaddr)) if any(packet.siaddr) else "")
    boot = f"{file} of {server}" if file and server else file
    return Offer(reply.server, reply.mac, reply.offered, IPv4Address(router) if len(router) == 4 else None, boot)
