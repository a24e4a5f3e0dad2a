"""The strict grammars at the door: what a name, a kernel argument, a path or an attribute may be.

Each check returns its argument or raises :class:`~bootserver.errors.UsageError`, so that nothing that passed here can
become a line of a boot menu, a path out of ``tftpboot`` or a second host name. What is written somewhere is encoded once
more for where it goes (see ``bootserver/netboot/menus``): two locks on one door.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from bootserver.errors import UsageError

# RFC 1123 section 2.1, lower case: one label of a host name.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# "install headless" is an action that Rocks ships: words, separated by one space each.
_ACTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?: [A-Za-z0-9][A-Za-z0-9._-]*)*")
_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,14}")
# Printable ASCII without what a boot loader or a shell would interpret: quotes, backslash, $ ` { } ; & | < > and #.
_ARGUMENT = re.compile(r"[A-Za-z0-9_.,:=/+%@~^\[\]()!*?-]+")
_PATH_PART = re.compile(r"[A-Za-z0-9_+@=,~-][A-Za-z0-9._+@=,~-]*")

MAX_KERNEL_ARGS = 1500
"""Characters. x86 kernels take 2,047 (COMMAND_LINE_SIZE, Documentation/arch/x86/boot.rst); what we add needs the rest."""
MAX_ATTRIBUTE = 4096
MAX_VLAN = 4094


def host_label(text: str) -> str:
    """A node's, network's or appliance's name (RFC 1123 label, lower case)."""
    if not _LABEL.fullmatch(text):
        raise UsageError(f"{text!r} is no name: lower-case letters, digits and inner hyphens, at most 63 characters")
    return text


def domain_name(text: str) -> str:
    """A DNS domain: labels separated by dots, at most 253 characters."""
    if not text or len(text) > 253 or not all(_LABEL.fullmatch(label) for label in text.split(".")):
        raise UsageError(f"{text!r} is no domain name, such as cluster.example.org")
    return text


def action_name(text: str) -> str:
    """A boot action's name: words of letters, digits, dot, hyphen, underscore (``install headless``)."""
    if len(text) > 64 or not _ACTION.fullmatch(text):
        raise UsageError(
            f"{text!r} is no name of a boot action: words of letters, digits, '.', '_' and '-', at most 64 characters"
        )
    return text


def attribute_key(text: str) -> str:
    if not _ATTRIBUTE.fullmatch(text):
        raise UsageError(f"{text!r} is no attribute: a letter, then letters, digits, '.', '_' and '-', at most 128 characters")
    return text


def attribute_value(text: str) -> str:
    """One line of text; anything printable, encoded later for wherever a template puts it."""
    if len(text) > MAX_ATTRIBUTE:
        raise UsageError(f"an attribute's value has at most {MAX_ATTRIBUTE} characters, this one {len(text)}")
    for character in text:
        if not character.isprintable():
            raise UsageError(f"an attribute's value is one line of printable text; this one holds {character!r}")
    return text


def device_name(text: str) -> str:
    """A network interface as Linux names them (IFNAMSIZ: at most 15 characters)."""
    if not _DEVICE.fullmatch(text):
        raise UsageError(f"{text!r} is no network interface name, such as eth0")
    return text


def kernel_args(text: str, *, of_boot: bool = False) -> str:
    """A kernel's arguments: words separated by single spaces, none of which any boot loader would interpret.

    :param of_boot: they go into boot menus only, where a semicolon inside a word is none's (``ds=nocloud;s=http://...``); an
        installed system's would be split by the menu that ``grub-mkconfig`` makes.
    """
    words = text.split()
    for word in words:
        if not _ARGUMENT.fullmatch(word.replace(";", "") if of_boot and word[0] != ";" else word):
            raise UsageError(
                f"kernel argument {word!r} can't be written for every boot loader: no quotes, backslashes, $ ` {{ }} ; & | < > #"
            )
    joined = " ".join(words)
    if len(joined) > MAX_KERNEL_ARGS:
        raise UsageError(f"kernel arguments have at most {MAX_KERNEL_ARGS} characters, these {len(joined)}")
    return joined


def vlan(text: str) -> int:
    """The number of a VLAN (IEEE 802.1Q: 1 to 4094)."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 0 < int(text) <= MAX_VLAN):
        raise UsageError(f"a VLAN is a number from 1 to {MAX_VLAN}, not {text!r}")
    return int(text)


def boot_path(text: str) -> str:
    """A file below ``tftpboot``: relative, no ``..``, plain characters.

    :returns: the path without a leading slash.
    """
    path = text.lstrip("/")
    if not path or len(path) > 255 or not all(_PATH_PART.fullmatch(part) for part in path.split("/")):
        raise UsageError(f"{text!r} is no path below tftpboot: letters, digits and . _ + @ = , ~ - in each part, no '..'")
    return path


def boot_url(text: str) -> str:
    """``http://``, ``https://`` or ``tftp://`` with a host and a plain path."""
    try:
        parts = urlsplit(text)
        port = parts.port  # raises ValueError where it is no number
    except ValueError as error:
        raise UsageError(f"{text!r} is no URL: {error}") from error
    if (
        parts.scheme not in {"http", "https", "tftp"}
        or not parts.hostname
        or parts.username is not None
        or (port is not None and not 0 < port < 65536)
        or not _ARGUMENT.fullmatch(text)
    ):
        raise UsageError(f"{text!r} is no URL to boot from: http, https or tftp, a host, a plain path")
    return text


def boot_file(text: str) -> str:
    """A kernel or ramdisk: a path below ``tftpboot``, or a URL."""
    return boot_url(text) if "://" in text else boot_path(text)
