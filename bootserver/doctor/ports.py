"""Who has the ports that the service needs: we, or another program (proc(5), /proc/net/udp and tcp)."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from bootserver.config import Config, DhcpMode
from bootserver.doctor.finding import Finding, failure, note, ok, warning
from bootserver.doctor.site import Site
from bootserver.netboot.dhcp.link import PXE_PORT

_LISTEN = "0A"  # include/net/tcp_states.h


@dataclass(frozen=True, slots=True)
class Port:
    """:ivar kind: ``udp`` or ``tcp``. :ivar by_device: bound to an interface: a program on another one may have it, too.
    :ivar addresses: on these alone; None: on all.
    """

    kind: str
    number: int
    what: str
    setting: str
    by_device: bool = False
    addresses: frozenset[IPv4Address] | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A local port in use. :ivar address: None: any, or one of IPv6."""

    kind: str
    address: IPv4Address | None
    number: int
    inode: str


def wanted(config: Config, addresses: frozenset[IPv4Address]) -> list[Port]:
    """The ports that a configuration asks for. :param addresses: the frontend's own."""
    found = [Port("udp", config.tftp.port, "TFTP", "tftp.port"), Port("tcp", config.http.port, "HTTP", "http.port")]
    if config.dhcp.mode is not DhcpMode.OFF:
        found.append(Port("udp", config.dhcp.port, "DHCP", "dhcp.mode", by_device=True))
    if config.dhcp.mode is DhcpMode.PROXY:
        found.append(Port("udp", PXE_PORT, "proxyDHCP", "dhcp.mode", by_device=True))
    if config.http.tls_port:
        found.append(Port("tcp", config.http.tls_port, "HTTPS", "http.tls_port"))
    found.append(Port("tcp", config.rsync.port, "images", "rsync.port"))
    if config.dns.enabled:
        found += [Port(kind, config.dns.port, "DNS", "dns.port", addresses=addresses) for kind in ("udp", "tcp")]
    return found


def ports(site: Site) -> Iterator[Finding]:
    """Each port that the service needs."""
    own = site.service.pids if site.service else frozenset[int]()
    addresses = frozenset({link.address.ip for link in site.links} | set(site.config.dns.listen))
    held = list(in_use())
    holders = _holders(site)
    fine, unseen = [], []
    for port in wanted(site.config, addresses):
        users = {each.inode for each in held if _meets(each, port)}
        pids = {pid for inode in users for pid in holders.get(inode, {})}
        names = {pid: name for inode in users for pid, name in holders.get(inode, {}).items()}
        others = {pid: name for pid, name in names.items() if pid not in own}
        if others:
            yield _taken(site, port, others, shared=bool(pids & own))
        elif users and not pids and not site.is_root:
            unseen.append(f"{port.number} ({port.what})")
        elif users and site.service is None:
            yield _taken(site, port, {0: "another program"}, shared=False)
        elif not users and site.service is not None:
            yield failure(
                f"nobody has port {port.number} ({port.what})",
                "the service runs and does not listen there: it began with other settings",
                "systemctl restart bootserver",
            )
        else:
            fine.append(f"{port.number} ({port.what})")
    if fine and site.service is None:
        yield ok(f"its ports are free: {', '.join(dict.fromkeys(fine))}")
    elif fine:
        yield ok(f"the service has its ports: {', '.join(dict.fromkeys(fine))}")
    if unseen:
        yield note(f"whose the ports {', '.join(dict.fromkeys(unseen))} are, only root can see", mend="sudo bootserver doctor")


def _taken(site: Site, port: Port, others: dict[int, str], *, shared: bool) -> Finding:
    pid, name = next(iter(others.items()))
    who = f"{name} (pid {pid})" if pid else name
    stop = f"systemctl disable --now {name}" if pid else f"ss -lpn 'sport = {port.number}' names it"
    what = f"port {port.number} ({port.what}) is held by {who}"
    if port.by_device and (shared or site.service is None):
        # The kernel does not say by /proc on which interface; two that are bound to different ones don't disturb each other.
        if shared:
            return note(
                f"{what}, too", "harmless where it serves another interface", f"ss -ulpn 'sport = {port.number}' shows it"
            )
        return warning(
            what, f"the service can't start if that is on {site.config.network.interface}", f"{stop}, or set {port.setting}"
        )
    why = "nodes may be answered by it" if site.service else "the service can't start"
    return failure(what, why, f"{stop}, or set {port.setting} in {site.config.path}")


def _meets(held: Held, port: Port) -> bool:
    if (held.kind, held.number) != (port.kind, port.number):
        return False
    return port.addresses is None or held.address is None or held.address in port.addresses


def in_use() -> Iterator[Held]:
    """Local ports: bound ones of UDP, listening ones of TCP."""
    for table in ("udp", "udp6", "tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:  # a kernel without IPv6
            continue
        for fields in (line.split() for line in lines):
            text, _, port = fields[1].rpartition(":")
            if table.startswith("tcp") and fields[3] != _LISTEN:
                continue
            # In the byte order of the machine, word by word.
            address = None
            if len(text) == 8:
                address = IPv4Address(struct.pack("=I", int(text, 16)))
            elif text[:24] not in ("0" * 24, "0000000000000000FFFF0000"):
                continue  # of an IPv6 address: none of ours
            if address == IPv4Address(0):
                address = None
            yield Held(table[:3], address, int(port, 16), fields[9])


def _holders(site: Site) -> dict[str, dict[int, str]]:
    """Which processes have a socket open, as far as this user can see."""
    found: dict[str, dict[int, str]] = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            name = (process / "comm").read_text().strip()
            with os.scandir(process / "fd") as descriptors:
                for descriptor in descriptors:
                    with contextlib.suppress(OSError):
                        link = os.readlink(descriptor.path)  # noqa: PTH115
                        if link.startswith("socket:["):
                            found.setdefault(link[8:-1], {})[int(process.name)] = name
    return found


def answers(address: IPv4Address, port: int, seconds: float = 2.0) -> bool:
    """Does a TCP port answer?"""
    try:
        with socket.create_connection((str(address), port), seconds):
            return True
    except OSError:
        return False
