"""Who signed a UEFI program, and whom a shim trusts: just enough of PE (PE/COFF, Authenticode), PKCS #7 and X.509."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_SECURITY_DIRECTORY = 4
_PE32_PLUS = 0x20B


class NotPe(Exception):
    """It is no UEFI program, or one that is cut short."""


@dataclass(frozen=True, slots=True)
class Program:
    """:ivar signature: the attribute certificate table: PKCS #7; empty for one that nobody signed.
    :ivar vendor: the certificate that a shim was built with (DER), or what else is in that section; empty in others.
    """

    signature: bytes
    vendor: bytes


def read(content: bytes) -> Program:
    """:raises NotPe: it can't be read."""
    try:
        if content[:2] != b"MZ":
            raise NotPe("it does not begin with MZ")
        (pe,) = struct.unpack_from("<I", content, 0x3C)
        if content[pe : pe + 4] != b"PE\0\0":
            raise NotPe("it has no PE header")
        sections, optional_size = struct.unpack_from("<H12xH", content, pe + 6)
        optional = pe + 24
        (magic,) = struct.unpack_from("<H", content, optional)
        directories = optional + (112 if magic == _PE32_PLUS else 96)
        # Alone of all directories, this one holds a place in the file and not an address.
        at, size = struct.unpack_from("<II", content, directories + 8 * _SECURITY_DIRECTORY)
        vendor = b""
        for number in range(sections):
            header = optional + optional_size + 40 * number
            if _name(content, pe, content[header : header + 8].rstrip(b"\0")) == b".vendor_cert":
                length, place = struct.unpack_from("<II", content, header + 16)
                vendor = _certificate(content[place : place + length])
        if at + size > len(content):
            raise NotPe("it is cut short")
        return Program(content[at : at + size] if at else b"", vendor)
    except struct.error as error:
        raise NotPe("it is cut short") from error


def _name(content: bytes, pe: int, name: bytes) -> bytes:
    """A section's name; one of more than eight characters is "/" and where it is in the string table behind the symbols."""
    if not name.startswith(b"/") or not name[1:].isdigit():
        return name
    symbols, count = struct.unpack_from("<II", content, pe + 12)
    begin = symbols + 18 * count + int(name[1:])
    return content[begin : content.find(b"\0", begin)] if symbols else name


def _certificate(section: bytes) -> bytes:
    """shim's cert.S: size of the certificate, size of a list of what is revoked, where each begins."""
    size, _, place, _ = struct.unpack_from("<IIII", section)
    return section[place : place + size]


def subject(certificate: bytes) -> bytes:
    """The subject's name, as DER (RFC 5280 section 4.1).

    :raises NotPe: it is no certificate.
    """
    try:
        _, body = _element(certificate)
        _, tbs = _element(body)
        tag, _, rest = _split(tbs)
        if tag == 0xA0:  # [0] version
            tag, _, rest = _split(rest)
        for _ in ("signature algorithm", "issuer", "validity"):
            _, _, rest = _split(rest)
        _, after = _head(rest)
        length = after[0] + after[1]
        return rest[:length]
    except (IndexError, ValueError) as error:
        raise NotPe("its vendor's certificate can't be read") from error


def common_name(name: bytes) -> str:
    """The common name in a DER name; empty where it has none."""
    at = name.find(b"\x06\x03\x55\x04\x03")  # OID 2.5.4.3
    if at < 0 or at + 7 > len(name):
        return ""
    return name[at + 7 : at + 7 + name[at + 6]].decode(errors="replace")


def trusts(shim: Program, grub: Program) -> bool:
    """Would this shim start this program? The signer's certificate names the shim's vendor as its issuer (or is its own).

    :raises NotPe: the shim's vendor can't be read.
    """
    return bool(grub.signature) and subject(shim.vendor) in grub.signature


def _head(der: bytes) -> tuple[int, tuple[int, int]]:
    """Tag, and the lengths of the header and of the content (X.690 section 8.1.3)."""
    tag, first = der[0], der[1]
    if first < 0x80:
        return tag, (2, first)
    count = first & 0x7F
    if not 1 <= count <= 4:
        raise ValueError("length")
    return tag, (2 + count, int.from_bytes(der[2 : 2 + count]))


def _split(der: bytes) -> tuple[int, bytes, bytes]:
    tag, (head, length) = _head(der)
    if head + length > len(der):
        raise ValueError("cut short")
    return tag, der[head : head + length], der[head + length :]


def _element(der: bytes) -> tuple[int, bytes]:
    tag, content, _ = _split(der)
    if tag != 0x30:
        raise ValueError("no sequence")
    return tag, content
