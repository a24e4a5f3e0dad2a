"""Host entries in the words of dnsmasq, Kea and ISC dhcpd. Names, addresses and loaders' names are of strict grammars already
(:mod:`bootserver.values.grammar`), so nothing here can become a second line of something.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final

from bootserver.netboot.dhcp_events.hosts import CODES, PREFIX, Group, Host, Hosts, Rule

_IPXE_ENCAPSULATED: Final = 175
"""The option that only iPXE sends: https://ipxe.org/howto/dhcpd."""
_USER_CLASS, _ARCHITECTURE, _VENDOR_CLASS = 77, 93, 60
_HTTP_CLIENT: Final = "HTTPClient"
"""UEFI 2.5 section 24.7.3.1: who boots by HTTP takes an offer only if its vendor class says so."""


# -- dnsmasq(8) ------------------------------------------------------------------------------------------------------------


def dnsmasq_host(host: Host, *, tagged: bool = False) -> str:
    """A line of a file in ``dhcp-hostsdir``; with ``dhcp-host=`` in front, one of dnsmasq.conf.

    :param tagged: for dnsmasq.conf alone: dnsmasq 2.90 dies when a SIGHUP has it read a file again that sets tags, once one of
        its hosts has a lease (segmentation fault; seen with Debian 12's).
    """
    tag = "" if host.group is None or not tagged else f"set:{host.group.name},"
    return f"{host.mac},{tag}{host.address},{host.name}"


def dnsmasq(found: Hosts, *, hosts: bool = True, boot: bool = True) -> Iterator[str]:
    """Lines for dnsmasq.conf. Without the hosts they are for entries in ``dhcp-hostsdir``, which set no tags: all
    known hosts (dnsmasq's own tag `known`) are of the first group there, and who is not is named by its MAC."""
    tags = {group: f"tag:{group.name}" for group in dict.fromkeys(rule.group for rule in found.rules)}
    if boot and tags:
        yield f"dhcp-match=set:{PREFIX}-ipxe,{_IPXE_ENCAPSULATED}"
        for firmware in dict.fromkeys(rule.firmware for rule in found.rules):
            for code in CODES[firmware]:
                yield f"dhcp-match=set:{PREFIX}-{firmware.name.lower()},option:client-arch,{code}"
        if not hosts:
            first = next(iter(tags))
            others = [host for host in found.hosts if host.group != first]
            names = {host.mac: f"{PREFIX}-none" if host.group is None else host.group.name for host in others}
            yield from (f"dhcp-mac=set:{name},{mac}" for mac, name in names.items())
            tags[first] = ",".join(["tag:known", *(f"tag:!{name}" for name in dict.fromkeys(names.values()))])
        for rule in found.rules:
            yield from _dnsmasq_rule(rule, tags[rule.group])
    if hosts:
        for host in found.hosts:
            yield f"dhcp-host={dnsmasq_host(host, tagged=True)}"


def _dnsmasq_rule(rule: Rule, group: str) -> Iterator[str]:
    tags = f"{group},tag:{PREFIX}-{rule.firmware.name.lower()}"
    if rule.ipxe is not None:
        tags += f",tag:{'' if rule.ipxe else '!'}{PREFIX}-ipxe"
    yield f"dhcp-boot={tags},{rule.file},,{rule.group.server}"
    if rule.firmware.is_http:
        yield f"dhcp-option-force={tags},{_VENDOR_CLASS},{_HTTP_CLIENT}"


# -- Kea: administrator's reference manual, "Client Classification", "Host Reservations" ------------------------------------


def kea(found: Hosts, *, hosts: bool = True, boot: bool = True) -> Iterator[str]:
    """JSON: one part alone as the bare list, to be included; both as a whole configuration."""
    reservations = [_reservation(host) for host in found.hosts]
    classes = list(_classes(found))
    whole: Any = {"Dhcp4": {"client-classes": classes, "reservations-global": True, "reservations": reservations}}
    chosen = whole if hosts and boot else reservations if hosts else classes
    yield json.dumps(chosen, indent=2)


def _reservation(host: Host) -> dict[str, Any]:
    entry: dict[str, Any] = {"hw-address": str(host.mac), "ip-address": str(host.address), "hostname": host.name}
    if host.group is not None:
        entry["client-classes"] = [host.group.name]
    return entry


def _classes(found: Hosts) -> Iterator[dict[str, Any]]:
    for group in dict.fromkeys(rule.group for rule in found.rules):
        yield {"name": group.name}
    for rule in found.rules:
        codes = " or ".join(f"option[{_ARCHITECTURE}].hex == 0x{code:04x}" for code in CODES[rule.firmware])
        test = f"member('{rule.group.name}') and ({codes})"
        if rule.ipxe is not None:
            test += f" and {'' if rule.ipxe else 'not '}option[{_IPXE_ENCAPSULATED}].exists"
        kind = {None: "", True: "-ipxe", False: "-rom"}[rule.ipxe]
        entry: dict[str, Any] = {
            "name": f"{rule.group.name}-{rule.firmware.name.lower()}{kind}",
            "test": test,
            "next-server": str(rule.group.server),
            "boot-file-name": rule.file,
        }
        if rule.firmware.is_http:
            entry["option-data"] = [{"name": "vendor-class-identifier", "data": _HTTP_CLIENT, "always-send": True}]
        yield entry


# -- dhcpd.conf(5), dhcp-eval(5) ---------------------------------------------------------------------------------------------


def isc(found: Hosts, *, hosts: bool = True, boot: bool = True) -> Iterator[str]:
    """A file to be included. Rules and entries stand in the same group, so there are no parts."""
    rules = {group: list(each) for group, each in groupby(found.rules, key=lambda rule: rule.group)}
    for group, chosen in rules.items():
        yield f"# {group.name}"
        yield "group {"
        yield f"  next-server {group.server};"
        yield from _choice(chosen)
        yield from _hosts(found.hosts, group)
        yield "}"
    for host in found.hosts:
        if host.group not in rules:
            yield _isc_host(host)


def _choice(rules: Iterable[Rule]) -> Iterator[str]:
    # The vendor class says the architecture, too ("PXEClient:Arch:00007:UNDI:003016"), and needs no option of a name that the
    # site may have chosen otherwise. Rules for iPXE come before those for all else: nothing has to be negated.
    word = "if"
    for rule in rules:
        start = "HTTPClient:Arch:" if rule.firmware.is_http else "PXEClient:Arch:"
        for code in CODES[rule.firmware]:
            test = f'substring(option vendor-class-identifier, 0, {len(start) + 5}) = "{start}{code:05d}"'
            if rule.ipxe:
                test += ' and exists user-class and option user-class = "iPXE"'
            yield f"  {word} {test} {{"
            yield f'    filename "{rule.file}";'
            if rule.firmware.is_http:
                yield f'    option vendor-class-identifier "{_HTTP_CLIENT}";'
            yield "  }"
            word = "elsif"


def _hosts(found: Iterable[Host], group: Group) -> Iterator[str]:
    return (f"  {_isc_host(host)}" for host in found if host.group == group)


def _isc_host(host: Host) -> str:
    return f'host {host.name} {{ hardware ethernet {host.mac}; fixed-address {host.address}; option host-name "{host.name}"; }}'
