"""Is each interface there, up, connected, and does it have the address that nodes are told of? (iproute2's JSON)"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Interface
from typing import Any

from bootserver.doctor.finding import Finding, failure, note, ok, warning
from bootserver.doctor.site import Link, Site
from bootserver.netboot.dhcp import filters, probe
from bootserver.service import iproute

_SLOW = 1000  # Mbit/s
_MTU = 1500
_ARP_SECONDS = 1.0


def links(site: Site) -> Iterator[Finding]:
    """Each network's interface."""
    if not iproute.is_there():
        yield note("the program `ip` is not there: interfaces can't be looked at", mend="apt-get install iproute2")
        return
    found = {each["ifname"]: each for each in iproute.ask("addr", "show") if "ifname" in each}
    for link in site.links:
        yield from judge(link, found, is_configured=link is site.links[0])
        if link.device in found and site.is_root and not site.quick:
            yield from _other_holder(link)
    yield from _told(site)


def judge(link: Link, found: dict[str, Any], *, is_configured: bool) -> Iterator[Finding]:
    """One interface, by what ``ip -json addr show`` says of all. :param is_configured: its name is in the configuration."""
    device = found.get(link.device)
    if device is None:
        mend = "set network.interface in the configuration" if is_configured else f"bootserver network set {link.named} --device"
        known = ", ".join(name for name in found if name != "lo") or "none"
        yield failure(f"there is no interface {link.device}", "no node is reached", f"{mend} (there are: {known})")
        return
    if "UP" not in device["flags"]:
        yield failure(f"{link.device} is down", "no node is reached", f"ip link set {link.device} up")
    elif "NO-CARRIER" in device["flags"] or device.get("operstate") == "DOWN":
        yield failure(
            f"{link.device} has no carrier",
            "no node is reached",
            f"plug in the cable, or the switch (ip link show {link.device})",
        )
    elif device.get("mtu", _MTU) < _MTU:
        yield warning(
            f"{link.device} has an MTU of {device['mtu']}",
            "firmware sends and wants whole frames of 1,500 bytes: its requests come in and its files don't arrive",
            f"ip link set {link.device} mtu {_MTU}",
        )
    else:
        yield from _speed(link)
    yield from _address(link, found, is_configured=is_configured)


def _address(link: Link, found: dict[str, Any], *, is_configured: bool) -> Iterator[Finding]:
    held = {name: _addresses(each) for name, each in found.items()}
    own = held[link.device]
    same = next((each for each in own if each.ip == link.address.ip), None)
    if same is None:
        others = [name for name, addresses in held.items() if link.address.ip in {each.ip for each in addresses}]
        has = ", ".join(map(str, own)) or "none"
        where = f"; it is on {others[0]}" if others else ""
        otherwise = (
            "set network.address to what it has" if is_configured else f"bootserver network set {link.named} --frontend IP"
        )
        yield failure(
            f"{link.device} does not have the address {link.address.ip} (it has {has}){where}",
            "it is what nodes are told to fetch their boot files from",
            f"ip addr add {link.address} dev {link.device}, and where it is configured; or {otherwise}",
        )
    elif same.network != link.address.network:
        yield warning(
            f"{link.device} has {same}, and nodes are told {link.address.network}",
            "some of them don't reach the frontend, or the frontend them",
            f"ip addr del {same} dev {link.device}; ip addr add {link.address} dev {link.device}",
        )
    else:
        yield ok(f"{link.device} is up and has {link.address}")


def _addresses(device: dict[str, Any]) -> list[IPv4Interface]:
    return [IPv4Interface(f"{a['local']}/{a['prefixlen']}") for a in device.get("addr_info", ()) if a.get("family") == "inet"]


def _speed(link: Link) -> Iterator[Finding]:
    try:
        with open(f"/sys/class/net/{link.device}/speed") as file:  # noqa: PTH123
            speed = int(file.read())
    except (OSError, ValueError):  # virtual devices have none
        return
    if 0 < speed < _SLOW:
        yield warning(
            f"{link.device} runs at {speed} Mbit/s",
            "installs of many nodes share it, and a bad cable makes it so",
            f"ethtool {link.device}; try another cable or port",
        )


def _other_holder(link: Link) -> Iterator[Finding]:
    """Ask by ARP whether somebody else has our address (RFC 5227 section 2.1.1: a probe's sender address is zero)."""
    try:
        with (
            filters.open_filtered(link.device, filters.ETHERNET_ARP, filters.ARP_REPLIES) as receives,
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sends,
        ):
            own = filters.hardware_address(sends, link.device)
            sends.bind((link.device, 0))
            sends.send(probe.request(own, bytes(4), link.address.ip.packed))
            until = time.monotonic() + _ARP_SECONDS
            while (left := until - time.monotonic()) > 0 and select.select([receives], [], [], left)[0]:
                told = probe.answer(receives.recv(128))
                if told is not None and told[0] == link.address.ip.packed and told[1] != own:
                    yield failure(
                        f"another machine (MAC {told[1].hex(':')}) has the frontend's address {link.address.ip} on {link.device}",
                        "nodes' requests reach the one or the other",
                        "give that machine another address: its switch port is in the switch's MAC table",
                    )
                    return
    except OSError:  # no Ethernet, or down: said above
        return


def _told(site: Site) -> Iterator[Finding]:
    """The database's network was made from the configuration, which may have changed since."""
    own = site.config.network
    for network in site.view.networks if site.view else ():
        if network.device == own.interface and own.address in network.subnet and network.frontend != own.address:
            yield failure(
                f"nodes of the network {network.name} are told that the frontend is {network.frontend}; the configuration says "
                f"{own.address}",
                "they ask an address that may be nobody's",
                f"bootserver network set {network.name} --frontend {own.address}",
            )
