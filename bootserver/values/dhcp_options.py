"""What a site adds to its nodes' DHCP answers: attributes ``dhcp.NAME``, each an option of a known code and kind.

A closed table: an option that nobody knows would be octets that nobody checked. Names are ISC dhcpd's (dhcp-options(5)) where it
has one, else the vendor's. RFC 2132 unless said otherwise; what the protocol and the networks carry themselves is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final
from urllib.parse import urlsplit

from bootserver.errors import UsageError
from bootserver.values import grammar, system
from bootserver.values.mac import MacAddress

PREFIX: Final = "dhcp."
LONGEST: Final = 255
"""Octets: longer ones would be split (RFC 3396), which few devices put together again."""

_SCHEMES: Final = ("http", "https", "tftp", "ftp", "sftp", "scp")
_PLACEHOLDER = re.compile(r"@([a-z]+)@")
# RFC 3986 appendix A without ' and $: ONIE's scripts hand it to a shell.
_URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!&()*+,;=%-]+")
_NUMBERED = re.compile(r"([0-9]{1,3})=(\S+)")
# POSIX.1 section 8.3, variable TZ: CET-1CEST,M3.5.0,M10.5.0/3.
_POSIX_ZONE = re.compile(r"[A-Za-z0-9<>+,./:-]+")


@dataclass(frozen=True, slots=True)
class Machine:
    """What the placeholders of a value mean: ``@name@``, ``@frontend@``, ``@mac@`` (as boot loaders name files, with hyphens).

    :ivar frontend: the frontend's address in the network that it asks on.
    """

    name: str
    frontend: IPv4Address
    mac: MacAddress


_ANY = Machine("compute-0-0", IPv4Address("10.1.1.1"), MacAddress.parse("52:54:00:12:34:56"))


def filled(value: str, machine: Machine) -> str:
    """A value with its placeholders filled in. :raises UsageError: one of them is none."""
    words = {"name": machine.name, "frontend": str(machine.frontend), "mac": machine.mac.dashed}
    for word in _PLACEHOLDER.findall(value):
        if word not in words:
            raise UsageError(f"@{word}@ is none of {', '.join(f'@{each}@' for each in words)}")
    return _PLACEHOLDER.sub(lambda found: words[found[1]], value)


# -- kinds of values: each makes the option's octets of a text, or raises UsageError ---------------------------------------------


def _addresses(text: str) -> bytes:
    words = text.replace(",", " ").split()
    if not words:
        raise UsageError("addresses are wanted, such as 10.1.1.1 10.1.1.2")
    return b"".join(_address(word) for word in words)


def _address(word: str) -> bytes:
    try:
        address = IPv4Address(word)
    except ValueError as error:
        raise UsageError(f"{word!r} is no IPv4 address; this option has no room for a name") from error
    if address.is_unspecified or address.is_loopback or address == IPv4Address("255.255.255.255"):
        raise UsageError(f"{word} is no address of another machine")
    return address.packed


def _server(text: str) -> bytes:
    if re.fullmatch(r"[0-9.]+", text):
        _address(text)
    else:
        grammar.domain_name(text)
    return text.encode()


def _url(text: str) -> bytes:
    try:
        parts = urlsplit(text)
        fits = parts.scheme in _SCHEMES and parts.hostname and (parts.port is None or 0 < parts.port < 65536)
    except ValueError as error:  # of the port
        raise UsageError(f"{text!r} is no URL: {error}") from error
    if not fits or not _URL.fullmatch(text):
        raise UsageError(f"{text!r} is no URL: {', '.join(_SCHEMES)}, a host, a path without blanks and quotes")
    if parts.username is not None:
        raise UsageError("no user and no password in a URL here: whoever asks for an address would read them")
    return text.encode()


def _file(text: str) -> bytes:
    if "://" in text:
        return _url(text)
    grammar.boot_path(text)
    return text.encode()  # with its leading slash: another TFTP server may need it


def _text(text: str) -> bytes:
    if not text or not text.isascii() or not text.isprintable():
        raise UsageError(f"{text!r} is no printable ASCII")
    return text.encode()


def _vendor(text: str) -> bytes:
    """Option 43: ``0x...`` is octets, ``1=text 2=0x...`` sub-options (section 8.4), all else the text as it is."""
    if text.startswith("0x"):
        return _hex(text)
    return _numbered(text) if all(map(_NUMBERED.fullmatch, text.split())) else _text(text)


def _numbered(text: str) -> bytes:
    """Sub-options. Section 8.4 keeps 0 and 255 for padding and the end; Juniper's 0 is the software image all the same."""
    octets = b""
    for word in text.split():
        found = _NUMBERED.fullmatch(word)
        if found is None or int(found[1]) > 254:
            raise UsageError(f"{word!r} is no sub-option: NUMBER=TEXT or NUMBER=0xOCTETS, 0 to 254")
        value = _hex(found[2]) if found[2].startswith("0x") else _text(found[2])
        if len(value) > LONGEST:
            raise UsageError(f"sub-option {found[1]} has at most {LONGEST} octets, not {len(value)}")
        octets += bytes((int(found[1]), len(value))) + value
    if not octets:
        raise UsageError("no sub-option is there: NUMBER=TEXT or NUMBER=0xOCTETS")
    return octets


def _hex(text: str) -> bytes:
    try:
        octets = bytes.fromhex(text.removeprefix("0x").replace(":", ""))
    except ValueError as error:
        raise UsageError(f"{text[:40]!r} are no octets: 0x and pairs of hexadecimal digits") from error
    if not octets:
        raise UsageError("0x alone are no octets")
    return octets


def _identified(text: str) -> bytes:
    """Option 125 (RFC 3925 section 4): an enterprise's number (IANA), then its sub-options."""
    enterprise, _, rest = text.partition(" ")
    if not (enterprise.isascii() and enterprise.isdecimal() and 0 < int(enterprise) < 2**32):
        raise UsageError(f"{enterprise!r} is no enterprise number: NUMBER, then sub-options: 42623 1=http://...")
    options = _numbered(rest)
    if len(options) > LONGEST:
        raise UsageError(f"sub-options have at most {LONGEST} octets together, these {len(options)}")
    return int(enterprise).to_bytes(4) + bytes((len(options),)) + options


def _domains(text: str) -> bytes:
    """Option 119 (RFC 3397), names as RFC 1035 section 3.1 writes them. Compression is optional, so left out."""
    names = [grammar.domain_name(word) for word in text.replace(",", " ").split()]
    if not names:
        raise UsageError("domains are wanted, such as cluster.example.org example.org")
    return b"".join(b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0" for name in names)


def _routes(text: str) -> bytes:
    """Option 121 (RFC 3442): of a network's address only the octets that its mask reaches."""
    octets = b""
    for word in text.split():
        destination, _, router = word.partition("=")
        try:
            network = IPv4Network("0.0.0.0/0" if destination == "default" else destination)
            through = IPv4Address(router)
        except ValueError as error:
            raise UsageError(f"{word!r} is no route: SUBNET=ROUTER, such as 10.2.0.0/16=10.1.0.9 ({error})") from error
        octets += bytes((network.prefixlen,)) + network.network_address.packed[: (network.prefixlen + 7) // 8] + through.packed
    if not octets:
        raise UsageError("routes are wanted: SUBNET=ROUTER, such as 10.2.0.0/16=10.1.0.9")
    return octets


def has_default(routes: str) -> bool:
    """Does it say a default route? RFC 3442: who takes option 121 looks at no option 3 (router)."""
    return any(word.partition("=")[0] in {"default", "0.0.0.0/0"} for word in routes.split())


def _redirects(text: str) -> bytes:
    """Option 143 (RFC 8572 section 8.3): bootstrap servers, each URL behind its length."""
    urls = [_url(word) for word in text.split()]
    if not urls or not all(url.startswith(b"https://") for url in urls):
        raise UsageError(f"{text!r}: URLs that begin with https://, as RFC 8572 wants them")
    return b"".join(len(url).to_bytes(2) + url for url in urls)


def _number(low: int, high: int, octets: int) -> Callable[[str], bytes]:
    def encode(text: str) -> bytes:
        if not re.fullmatch(r"-?[0-9]{1,6}", text) or not low <= int(text) <= high:
            raise UsageError(f"{text!r} is no number from {low} to {high}")
        return int(text).to_bytes(octets, signed=low < 0)

    return encode


def _posix_zone(text: str) -> bytes:
    if not _POSIX_ZONE.fullmatch(text):
        raise UsageError(f"{text!r} is no time zone as POSIX writes it, such as CET-1CEST,M3.5.0,M10.5.0/3")
    return text.encode()


# -- the table -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    """:ivar encode: the octets of a text whose placeholders are filled in.
    :ivar always: it is sent to who does not ask for it, too (option 55).
    :ivar boots: it says what a machine boots, which of appliances that install is decided elsewhere.
    """

    code: int
    encode: Callable[[str], bytes]
    always: bool = False
    boots: bool = False


BOOT_FILE, TFTP_SERVER, TFTP_ADDRESS, ROUTES = "boot-file", "tftp-server-name", "tftp-server-address", "static-routes"

# What zero-touch provisioning reads goes to everybody: devices take 43, 66, 67, 150 and their makers' own codes without having
# asked, and Junos asks for them in its REQUEST only. Of the makers' codes two are others', too: pxelinux takes 209 for its menu's
# name (RFC 5071), and 114 is a captive portal's URL (RFC 8910).
SETTINGS: Final[Mapping[str, Setting]] = {
    BOOT_FILE: Setting(67, _file, always=True, boots=True),
    TFTP_ADDRESS: Setting(150, _addresses, always=True, boots=True),  # RFC 5859
    TFTP_SERVER: Setting(66, _server, always=True, boots=True),
    "vendor-specific": Setting(43, _vendor, always=True, boots=True),
    "vendor-class-identifier": Setting(60, _text, always=True, boots=True),
    "default-url": Setting(114, _url, always=True),  # ONIE design specification, "Image Discovery and Execution"
    "cumulus-provision-url": Setting(239, _url, always=True),  # Cumulus Linux, SONiC: "Zero Touch Provisioning"
    "ztd-provision-url": Setting(240, _url, always=True),  # Dell SmartFabric OS10: "Zero-touch deployment"
    "config-file": Setting(209, _file, always=True, boots=True),  # Dell Networking OS 9: "Bare Metal Provisioning"
    "vivso": Setting(125, _identified),
    "sztp-redirect": Setting(143, _redirects),
    ROUTES: Setting(121, _routes),
    "mtu": Setting(26, _number(68, 65535, 2)),
    "ntp-servers": Setting(42, _addresses),
    "domain-search": Setting(119, _domains),
    "log-servers": Setting(7, _addresses),
    "www-server": Setting(72, _addresses),
    "time-servers": Setting(4, _addresses),  # RFC 868
    "time-offset": Setting(2, _number(-86400, 86400, 4)),  # seconds east of UTC
    "timezone": Setting(101, lambda text: system.time_zone(text).encode()),  # RFC 4833
    "posix-timezone": Setting(100, _posix_zone),  # RFC 4833
}
"""By name, the most important first: where a message is full, the last ones are left out."""

_OF_NETWORKS: Final = "its network says it (`bootserver network set`)"
_OF_DHCP: Final = "it is how DHCP itself works"
_REFUSED: Final[Mapping[str, tuple[int, str]]] = {
    "subnet-mask": (1, _OF_NETWORKS),
    "routers": (3, _OF_NETWORKS),
    "domain-name-servers": (6, _OF_NETWORKS),
    "domain-name": (15, _OF_NETWORKS),
    "broadcast-address": (28, _OF_NETWORKS),
    "dhcp-lease-time": (51, _OF_NETWORKS),
    "host-name": (12, "it is the node's name (`bootserver node rename`)"),
    "pad": (0, _OF_DHCP),
    "dhcp-requested-address": (50, _OF_DHCP),
    "dhcp-option-overload": (52, _OF_DHCP),
    "dhcp-message-type": (53, _OF_DHCP),
    "dhcp-server-identifier": (54, _OF_DHCP),
    "dhcp-parameter-request-list": (55, _OF_DHCP),
    "dhcp-message": (56, _OF_DHCP),
    "dhcp-max-message-size": (57, _OF_DHCP),
    "dhcp-renewal-time": (58, _OF_DHCP),
    "dhcp-rebinding-time": (59, _OF_DHCP),
    "dhcp-client-identifier": (61, _OF_DHCP),
    "dhcp-agent-options": (82, _OF_DHCP),
    "end": (255, _OF_DHCP),
}
_BY_CODE: Final = {str(setting.code): name for name, setting in SETTINGS.items()}


def check(key: str, value: str) -> None:
    """An attribute ``dhcp.NAME``; all others pass.

    :raises UsageError: there is no such setting, or the value is none for it.
    """
    if not key.startswith(PREFIX):
        return
    name = key.removeprefix(PREFIX)
    for refused, (code, why) in _REFUSED.items():
        if name in {refused, str(code)}:
            raise UsageError(f"{key} can't be set: {why}")
    if name in _BY_CODE:
        raise UsageError(f"option {name} is set by its name: {PREFIX}{_BY_CODE[name]}")
    if name not in SETTINGS:
        raise UsageError(f"{key} is no DHCP setting; there are {', '.join(SETTINGS)}")
    encode(name, value, _ANY)


def encode(name: str, value: str, machine: Machine) -> bytes:
    """A setting's octets, as `machine` is told it.

    :raises UsageError: the value is none for it, or too long.
    """
    try:
        octets = SETTINGS[name].encode(filled(value, machine))
    except UsageError as error:
        raise UsageError(f"{PREFIX}{name}: {error}") from error
    if len(octets) > LONGEST:
        raise UsageError(f"{PREFIX}{name}: an option has at most {LONGEST} octets, this one {len(octets)}")
    return octets
