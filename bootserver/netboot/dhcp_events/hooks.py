"""What dnsmasq and Kea call their scripts with: dnsmasq(8) ``--dhcp-script``, Kea's administrator's manual, "Run Script".

Both say in arguments and environment who was given which address. All of it is checked: host name, vendor class and user class
are the machine's own words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address
from typing import Final

from bootserver.errors import UsageError
from bootserver.netboot.dhcp_events.sighting import Program, Sighting, What, netboots
from bootserver.values import grammar
from bootserver.values.mac import MacAddress

MAX_LEASES: Final = 64
_DNSMASQ: Final = frozenset({"add", "old"})
_DNSMASQ_OTHERS: Final = frozenset({"del", "init", "tftp", "arp", "arp-add", "arp-old", "arp-del", "relay-snoop", "dhcp"})
_KEA: Final[Mapping[str, What]] = {
    "lease4_renew": What.GIVEN,
    "lease4_release": What.RELEASED,
    "lease4_decline": What.DECLINED,
}
_KEA_OTHERS: Final = frozenset({"lease4_expire", "lease4_recover"})
_ETHERNET: Final = "1"


def read(arguments: Sequence[str], environment: Mapping[str, str]) -> list[Sighting]:
    """What a call tells.

    :returns: nothing, where it tells of nothing that matters here (an ended lease, IPv6, a machine without an Ethernet address).
    :raises UsageError: no DHCP server calls a script so.
    """
    match list(arguments):
        case [verb, mac, address, *_] if verb in _DNSMASQ:
            return _dnsmasq(verb, mac, address, environment)
        case [verb, *_] if verb in _DNSMASQ_OTHERS:
            return []
        case ["leases4_committed"]:
            return _committed(environment)
        case [point] if point in _KEA:
            return _lease("LEASE4_", _KEA[point], environment)
        case [point] if point in _KEA_OTHERS or point.startswith(("lease6_", "leases6_")):
            return []
        case []:
            raise UsageError("it was called with nothing: it is for dnsmasq's dhcp-script and Kea's run_script hook")
        case [verb, *_] if verb in _DNSMASQ:
            raise UsageError(f"dnsmasq's {verb!r} has a MAC and an address behind it")
        case words:
            said = " ".join(words)[:80]
            raise UsageError(f"{said!r} is nothing that dnsmasq (add, old, del) or Kea (leases4_committed) calls a script with")


def _dnsmasq(verb: str, mac: str, address: str, environment: Mapping[str, str]) -> list[Sighting]:
    # Another kind of network has its number in front ("06-..."), and a DHCPv6 lease an identifier instead of a MAC.
    if "DNSMASQ_IAID" in environment or (len(mac) > 3 and mac[2] == "-" and ":" in mac):
        return []
    of_a_message = "DNSMASQ_DATA_MISSING" not in environment  # it is missing for leases that were read from the file
    says = None
    if of_a_message:
        classes = [value for key, value in environment.items() if key.startswith("DNSMASQ_USER_CLASS")]
        says = netboots(environment.get("DNSMASQ_VENDOR_CLASS", "")) or "iPXE" in classes
    # "old" comes for each lease when dnsmasq starts, and with --script-on-renewal for each that is renewed.
    what = What.GIVEN if verb == "add" or says else What.HAS
    device, relay = environment.get("DNSMASQ_INTERFACE"), environment.get("DNSMASQ_RELAY_ADDRESS")
    return [_sighting(what, mac, address, Program.DNSMASQ, device, relay, says)]


def _committed(environment: Mapping[str, str]) -> list[Sighting]:
    size = environment.get("LEASES4_SIZE", "")
    if not (size.isascii() and size.isdigit() and len(size) < 4):
        raise UsageError("Kea's leases4_committed says in LEASES4_SIZE how many there are")
    found: list[Sighting] = []
    for number in range(min(int(size), MAX_LEASES)):
        found += _lease(f"LEASES4_AT{number}_", What.GIVEN, environment)
    return found


def _lease(prefix: str, what: What, environment: Mapping[str, str]) -> list[Sighting]:
    if environment.get(f"{prefix}HWADDR_TYPE", _ETHERNET) != _ETHERNET:
        return []
    mac, address = environment.get(f"{prefix}HWADDR"), environment.get(f"{prefix}ADDRESS")
    if mac is None or address is None:
        raise UsageError(f"Kea says in {prefix}HWADDR and {prefix}ADDRESS who was given what")
    if not mac:  # a client that is known by its identifier alone
        return []
    relay = environment.get("QUERY4_GIADDR", "0.0.0.0")  # noqa: S104
    return [_sighting(what, mac, address, Program.KEA, environment.get("QUERY4_IFACE_NAME"), relay, None)]


def _sighting(
    what: What, mac: str, address: str, program: Program, device: str | None, relay: str | None, says: bool | None
) -> Sighting:
    try:
        given = IPv4Address(address)
        by = IPv4Address(relay) if relay else None
    except AddressValueError as error:
        raise UsageError(f"{str(error)[:80]} (it was told by {program.value})") from None
    return Sighting(
        what,
        MacAddress.parse(mac),
        program,
        given if what in (What.GIVEN, What.HAS) else None,
        grammar.device_name(device) if device else None,
        None if by is None or by == IPv4Address(0) else by,
        says,
    )
