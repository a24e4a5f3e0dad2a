"""Ethernet hardware addresses."""

from __future__ import annotations

import re

from bootserver.errors import UsageError

_FORMS = re.compile(
    r"(?:[0-9a-f]{2}([:-]))(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}|[0-9a-f]{12}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}", re.IGNORECASE
)


class MacAddress(bytes):
    """A 48-bit MAC address (IEEE 802).

    It is its six octets, so that a protocol server can look a machine up by what was on the wire, without a conversion.
    """

    __slots__ = ()

    def __new__(cls, octets: bytes) -> MacAddress:
        """:raises UsageError: there are not six octets."""
        if len(octets) != 6:
            raise UsageError(f"a MAC address has 6 octets, not {len(octets)}")
        return super().__new__(cls, octets)

    @classmethod
    def parse(cls, text: str) -> MacAddress:
        """Read what people type: ``52:54:00:00:00:01``, ``52-54-...``, ``525400000001`` or ``5254.0000.0001``.

        :raises UsageError: it is none of these.
        """
        if not _FORMS.fullmatch(text):
            raise UsageError(f"{text!r} is no MAC address: six pairs of hexadecimal digits, such as 52:54:00:12:34:56")
        return cls(bytes.fromhex(re.sub("[:.-]", "", text)))

    @classmethod
    def read(cls, text: str) -> MacAddress:
        """What :meth:`parse` does, for what ``str()`` once wrote: quicker, and a database holds thousands."""
        return cls(bytes.fromhex(text.replace(":", "")))

    def __str__(self) -> str:
        return self.hex(":")

    def __repr__(self) -> str:
        return f"MacAddress({self})"

    @property
    def dashed(self) -> str:
        """As boot loaders name files: ``52-54-00-00-00-01``."""
        return self.hex("-")

    @property
    def is_group(self) -> bool:
        """A broadcast or multicast address, or all zeros: never the address of a machine."""
        return bool(self[0] & 1) or not any(self)
