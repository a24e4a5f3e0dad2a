"""Trees of openSUSE Leap, Tumbleweed and SUSE Linux Enterprise: YaST, told by an AutoYaST profile."""

from __future__ import annotations

import re

from bootserver.errors import Refused
from bootserver.install.distribution import treeinfo
from bootserver.install.distribution.found import ARCHITECTURES, Found, Kind, first_line, need, title, version
from bootserver.tree.inside import Inside

_PLACES = {
    "x86_64": ("boot/x86_64/loader/linux", "boot/x86_64/loader/initrd"),
    "aarch64": ("boot/aarch64/linux", "boot/aarch64/initrd"),
    "ppc64le": ("boot/ppc64le/linux", "boot/ppc64le/initrd"),
    "s390x": ("boot/s390x/linux", "boot/s390x/initrd"),
}
LOOKED_FOR = "boot/x86_64/loader/linux (openSUSE, SLE)"
PEEK = (".treeinfo", "treeinfo", "content", "media.1/*", *(path for pair in _PLACES.values() for path in pair))
_AGAMA = "LiveOS/squashfs.img"


def look(inside: Inside) -> Found | None:
    """:returns: None where it is none of these. :raises Refused: it is one, and can't be used."""
    architecture = next((name for name in _PLACES if inside.is_folder(f"boot/{name}")), None)
    if architecture is None or not any(map(inside.is_file, (".treeinfo", "treeinfo", "content", "media.1/media"))):
        return None
    name, number = _says(inside)
    what = f"it is a tree of {name}"
    if inside.is_file(_AGAMA):
        raise Refused(
            f"{what}, whose installer is Agama, for which no template comes:"
            " --kind, --kernel, --initrd and --args say how to boot it"
        )
    kernel, ramdisk = _PLACES[architecture]
    need(inside, kernel, what)
    need(inside, ramdisk, what)
    return Found(Kind.AUTOYAST, "suse", name, number, ARCHITECTURES[architecture], kernel, (ramdisk,))


def _says(inside: Inside) -> tuple[str, str]:
    """Title and version: by ``.treeinfo`` (Leap 15, SLE 15), ``content`` (12 and Leap 42), ``media.1`` (all)."""
    info = treeinfo.read(inside)
    if info is not None and "suse" in info.name.lower() and info.number:
        return info.name, info.number
    for line in (inside.text("content") or "").splitlines():
        # DISTRO  cpe:/o:opensuse:leap:42.3,openSUSE Leap 42.3
        if line.startswith("DISTRO"):
            cpe, _, named = line.partition(" ")[2].strip().partition(",")
            # SLE 12 SP3 is sles:12:sp3, and 12.3 to everybody else
            found = re.fullmatch(r"cpe:/o:[^:]+:[^:]+:(\d+(?:\.\d+)?)(?::sp(\d+))?", cpe.strip())
            if found:
                return title(named) or "SUSE", found.group(1) + (f".{found.group(2)}" if found.group(2) else "")
    # media.1/products: "/ openSUSE-Leap 15.5-1"; media.1/media: "SUSE - openSUSE-Leap-15.5-DVD-x86_64-Build491.1-Media"
    product = first_line(inside.text("media.1/products")).removeprefix("/").strip()
    if product:
        label, _, number = product.rpartition(" ")
        if version(number):
            return title(f"{label} {version(number)}"), version(number)
    line = first_line(inside.text("media.1/media"))
    found = re.search(r"-(\d+(?:\.\d+)?)-", line)
    return title(line) or "SUSE", found.group(1) if found else ""
