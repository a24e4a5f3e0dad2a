"""Log lines of dnsmasq, Kea and ISC dhcpd, in the words that dnsmasq 2.90, Kea 2.2 and dhcpd 4.4.3 were seen to write.

A machine chooses its host name, its vendor class and its client identifier, and servers write them into their logs. So a line
is read from its beginning: the log's own head, the program's name, then what the server writes before anything of the
machine's. Nothing behind the MAC is read but what the server alone writes there, and a name never is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address
from typing import Final

from bootserver.errors import UsageError
from bootserver.netboot.dhcp_events.sighting import Program, Sighting, What, netboots
from bootserver.values import grammar
from bootserver.values.mac import MacAddress

MAX_LINE: Final = 2_048
"""Octets. A line of Kea's with the longest client identifier has some 950."""
MAX_MESSAGES: Final = 1_024
"""Messages under way whose vendor class is remembered."""

_MAC: Final = rb"(?P<mac>(?:[0-9a-f]{2}:){5}[0-9a-f]{2})"
_IP: Final = rb"(?:\d{1,3}\.){3}\d{1,3}"

# rsyslog's and journalctl's head (RFC 3164, or with RFC 3339's time), dnsmasq's own file (the same without a host), and Kea's.
_STAMP: Final = rb"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)) "
_KEA_STAMP: Final = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} "
_HEAD: Final = re.compile(
    rb"(?:" + _STAMP + rb"(?:[A-Za-z0-9._-]{1,255} )?(?P<program>dnsmasq-dhcp|dhcpd|kea-dhcp4)(?:\[(?P<pid>\d{1,10})\])?: "
    rb"(?:" + _KEA_STAMP + rb")?|" + _KEA_STAMP + rb"(?=[A-Z]{4,5} +\[kea-dhcp4\.))"
)

_ISC: Final = re.compile(
    rb"(?:(?P<asks>DHCPDISCOVER|BOOTREQUEST) from"
    rb"|(?P<requests>DHCPREQUEST) for " + _IP + rb"(?: \(" + _IP + rb"\))? from"
    rb"|(?P<tells>DHCPOFFER|DHCPACK|DHCPNAK|BOOTREPLY) on (?P<ip>" + _IP + rb") to"
    rb"|(?P<reply>BOOTREPLY) for (?P<ip2>" + _IP + rb") to [^ ()]{1,255} \("
    rb"|(?P<back>DHCPRELEASE|DHCPDECLINE) of " + _IP + rb" from)"
    rb"(?(reply)|\ )" + _MAC + rb"(?(reply)\))(?= |$)"
    rb"(?: via (?P<via>[A-Za-z0-9][A-Za-z0-9_.@-]{0,14})(?=:? |:?$))?"
)
_DNSMASQ: Final = re.compile(
    rb"(?:(?P<xid>\d{1,10}) )?(?:"
    rb"(?P<verb>DHCPDISCOVER|DHCPOFFER|DHCPREQUEST|DHCPACK|DHCPNAK|DHCPRELEASE|DHCPDECLINE|DHCPINFORM|BOOTP|PXE)"
    rb"\((?P<device>[^() ]{1,15})\) (?:(?P<ip>" + _IP + rb") )?" + _MAC + rb"(?= |$)(?P<rest>.*)"
    rb"|vendor class: (?P<vendor>.*))",
    re.DOTALL,
)
_KEA: Final = re.compile(
    rb"(?P<severity>[A-Z]{4,5}) +\[kea-dhcp4\.[a-z0-9-]{1,40}[./][0-9.]{1,40}\] (?P<what>[A-Z0-9_]{1,60}) "
    rb"\[hwtype=1 " + _MAC + rb"\], cid=\[(?:no info|[0-9a-f:]{2,765})\], tid=0x[0-9a-f]{1,8}: "
    rb"(?:(?:lease|address) (?P<ip>" + _IP + rb") )?"
)
_KEA_DEBUG: Final = re.compile(rb"DEBUG +\[kea-dhcp4\.")

_ISC_TELLS: Final = {
    b"DHCPOFFER": What.OFFERED,
    b"DHCPACK": What.GIVEN,
    b"DHCPNAK": What.REFUSED,
    b"BOOTREPLY": What.GIVEN,
    b"DHCPRELEASE": What.RELEASED,
    b"DHCPDECLINE": What.DECLINED,
}
_DNSMASQ_TELLS: Final = {
    b"DHCPDISCOVER": What.ASKS,
    b"DHCPREQUEST": What.ASKS,
    b"PXE": What.ASKS,
    b"DHCPOFFER": What.OFFERED,
    b"DHCPACK": What.GIVEN,
    b"DHCPNAK": What.REFUSED,
    b"DHCPRELEASE": What.RELEASED,
    b"DHCPDECLINE": What.DECLINED,
}
_KEA_TELLS: Final = {
    b"DHCP4_LEASE_ADVERT": What.OFFERED,  # until Kea 2.2
    b"DHCP4_LEASE_OFFER": What.OFFERED,
    b"DHCP4_LEASE_ALLOC": What.GIVEN,
    b"DHCP4_LEASE_REUSE": What.GIVEN,
    b"DHCP4_RELEASE": What.RELEASED,
    b"DHCP4_INIT_REBOOT": What.ASKS,
    b"ALLOC_ENGINE_V4_ALLOC_FAIL": What.ASKS,  # its pool is used up, or there is none
    b"ALLOC_ENGINE_V4_ALLOC_FAIL_NO_POOLS": What.ASKS,
    b"ALLOC_ENGINE_V4_ALLOC_FAIL_SUBNET": What.ASKS,
    b"ALLOC_ENGINE_V4_ALLOC_FAIL_SHARED_NETWORK": What.ASKS,
}
_WITH_ADDRESS: Final = frozenset({What.OFFERED, What.GIVEN})

KEA_DEBUGS: Final = (
    "Kea logs at DEBUG, where what a client says can look like a line of the log, so it is not followed:"
    " set the severity of Kea's loggers to INFO, and reload bootserver"
)


class LogParser:
    """Reads one log. What a line means may depend on those before it, so each log has a parser of its own.

    :ivar troubles: what a person should know of this log; taken away by who tells it.
    """

    def __init__(self) -> None:
        self.troubles: list[str] = []
        self._kea_debugs = False
        self._forgeable = False
        self._asked: dict[bytes, bytes] = {}
        self._netboots: dict[tuple[bytes, bytes], bool] = {}

    def read(self, lines: Iterable[bytes]) -> list[Sighting]:
        """:param lines: whole lines, without their ends. :returns: what they tell, in their order."""
        found = []
        for line in lines:
            if b"DHCP" not in line and b"BOOT" not in line and b"dhcp" not in line:
                continue
            head = _HEAD.match(line)
            if head is None or len(line) > MAX_LINE or self._forgeable:
                continue
            program = head["program"]
            if program == b"dhcpd":
                sighting = _isc(line, head.end())
            elif program == b"dnsmasq-dhcp":
                sighting = self._dnsmasq(line, head.end(), head["pid"] or b"")
            else:
                sighting = self._kea(line, head.end(), own_file=program is None)
            if sighting is not None:
                found.append(sighting)
        return found

    def _dnsmasq(self, line: bytes, start: int, pid: bytes) -> Sighting | None:
        found = _DNSMASQ.match(line, start)
        if found is None:
            return None
        verb, mac, ip, xid = found["verb"], found["mac"], found["ip"], found["xid"]
        if verb is None:  # with --log-dhcp, before the line that says whose it is
            if xid is not None:
                self._remember(pid, xid, netboots(found["vendor"][:32].decode("ascii", "replace")))
            return None
        what = _DNSMASQ_TELLS.get(verb, What.ASKS)
        if what is What.ASKS and verb != b"BOOTP":
            self._asked[pid] = b"" if verb == b"DHCPINFORM" else mac
            if len(self._asked) > MAX_MESSAGES:
                self._asked.clear()
        elif verb == b"BOOTP" and ip is not None and not found["rest"].strip():
            what = What.GIVEN
        elif what is What.GIVEN and self._asked.get(pid) != mac:
            # An ACK to an INFORM looks like any other, and its address is what the machine said that it has.
            return None
        if verb == b"DHCPINFORM":
            return None
        asks_to_netboot = True if verb == b"PXE" else None if xid is None else self._netboots.get((pid, xid), False)
        return _sighting(what, mac, Program.DNSMASQ, ip, found["device"], asks_to_netboot)

    def _remember(self, pid: bytes, xid: bytes, says: bool) -> None:
        if len(self._netboots) >= MAX_MESSAGES:
            self._netboots.clear()
        self._netboots[pid, xid] = says

    def _kea(self, line: bytes, start: int, *, own_file: bool) -> Sighting | None:
        if _KEA_DEBUG.match(line, start):
            # DHCP4_CLASS_ASSIGNED holds the vendor class as it came, line feeds and all (seen with 2.2): in Kea's own file
            # the next line may be anything, and journald makes one of Kea's of each that comes by stdout.
            self._forgeable = self._forgeable or own_file
            if not self._kea_debugs:
                self._kea_debugs = True
                self.troubles.append(KEA_DEBUGS)
            return None
        found = None if self._kea_debugs else _KEA.match(line, start)
        what = None if found is None else _KEA_TELLS.get(found["what"])
        if found is None or what is None:
            return None
        return _sighting(what, found["mac"], Program.KEA, found["ip"], None, None)


def _isc(line: bytes, start: int) -> Sighting | None:
    found = _ISC.match(line, start)
    if found is None:
        return None
    verb = found["tells"] or found["reply"] or found["back"]
    what = What.ASKS if verb is None else _ISC_TELLS[verb]
    return _sighting(what, found["mac"], Program.ISC, found["ip"] or found["ip2"], found["via"], None)


def _sighting(
    what: What, mac: bytes, program: Program, ip: bytes | None, via: bytes | None, asks_to_netboot: bool | None
) -> Sighting | None:
    address, device, relay = None, None, None
    try:
        if what in _WITH_ADDRESS:
            if ip is None:
                return None
            address = _address(ip)
        if via is not None:
            device, relay = _way(via)
    except (AddressValueError, UnicodeDecodeError, UsageError):
        return None
    return Sighting(
        what, MacAddress(bytes.fromhex(mac.replace(b":", b"").decode())), program, address, device, relay, asks_to_netboot
    )


@lru_cache(65_536)
def _address(octets: bytes) -> IPv4Address:
    """Remembered: ipaddress takes as long as all else does for a line."""
    return IPv4Address(octets.decode())


@lru_cache(1_024)
def _way(via: bytes) -> tuple[str | None, IPv4Address | None]:
    """dhcpd says either: its device, or the relay."""
    try:
        return None, IPv4Address(via.decode())
    except AddressValueError:
        return grammar.device_name(via.decode()), None
