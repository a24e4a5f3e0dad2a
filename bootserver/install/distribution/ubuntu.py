"""Ubuntu's live server (22.04 and later): subiquity, told by autoinstall.

casper, in its ramdisk, fetches the ISO as a whole and mounts it (Ubuntu Server documentation, "netboot the server installer"):
so the ISO file itself is what is served, and of its content only kernel and ramdisk are needed beside it.
"""

from __future__ import annotations

import re

from bootserver.errors import Refused
from bootserver.install.distribution.found import ARCHITECTURES, Found, Kind, first_line, need, title, version
from bootserver.tree.inside import Inside

LOOKED_FOR = "casper/vmlinuz (Ubuntu live server)"
PEEK = (".disk/info", "casper/vmlinuz", "casper/initrd", "casper/hwe-*", "casper/install-sources.yaml")
_RAMDISKS = ("casper/initrd", "casper/initrd.gz", "casper/initrd.lz")
# Ubuntu-Server 24.04.1 LTS "Noble Numbat" - Release amd64 (20240827)
_INFO = re.compile(r"(Ubuntu[A-Za-z-]*) (\d+\.\d+(?:\.\d+)?)\b.*?\b(amd64|arm64|ppc64el|riscv64|s390x)\b")


def look(inside: Inside, iso: str | None) -> Found | None:
    """
    :param iso: the name that its ISO has in the tree, where it comes out of one; None: look for one.
    :returns: None where it is none of these. :raises Refused: it is one, and can't be used.
    """
    if not inside.is_folder("casper"):
        return None
    info = first_line(inside.text(".disk/info"))
    what = f"it is the live system {title(info)!r}" if info else "it is a live system of Ubuntu (it has casper/)"
    kernel = need(inside, "casper/vmlinuz", what)
    ramdisk = next((path for path in _RAMDISKS if inside.is_file(path)), None) or need(inside, _RAMDISKS[0], what)
    says = _INFO.match(info)
    if says is None:
        raise Refused(f"{what}, and .disk/info does not say which: copy hidden files as well, or give the ISO")
    if says.group(1) != "Ubuntu-Server":
        raise Refused(f"{what}: only the server's installer (ubuntu-*-live-server-*.iso) is told by autoinstall over a network")
    if iso is None:
        beside = [name for name in inside.names(".") if name.endswith(".iso") and inside.is_file(name)]
        if len(beside) != 1:
            raise Refused(f"{what}, whose installer fetches its ISO as a whole: give the ISO file, not what is in it")
        iso = beside[0]
    number = ".".join(version(says.group(2)).split(".")[:2])
    if int(number.partition(".")[0]) < 20:
        raise Refused(f"{what}, whose installer knows no autoinstall: 20.04 and later do")
    return Found(
        Kind.AUTOINSTALL, "ubuntu", title(info.partition(" - ")[0].replace('"', "")), number,
        ARCHITECTURES[says.group(3)], kernel, (ramdisk,), iso=iso,
    )  # fmt: skip
