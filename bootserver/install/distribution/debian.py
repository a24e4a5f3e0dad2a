"""Trees of debian-installer, told by a preseed file: netboot files of Debian, and of Ubuntu until 20.04; mirrors; discs.

Only the *netboot* ramdisk fetches over a network; that of a CD or DVD looks for a disc in the node's drive (Debian
installation guide, 4.2.1 and 4.5). So a disc is a mirror of packages at best, and another kernel must be named.
"""

from __future__ import annotations

import re

from bootserver.errors import Refused
from bootserver.install.distribution.found import ARCHITECTURES, Found, Kind, first_line, need, title, version
from bootserver.tree.inside import Inside

LOOKED_FOR = (
    "debian-installer/amd64/linux (Debian netboot), dists/CODENAME/main/installer-amd64 (Debian mirror), "
    "install.amd/vmlinuz (Debian disc), ubuntu-installer/amd64/linux (Ubuntu's old netboot)"
)
PEEK = (
    "version.info",
    "debian-installer/*",
    "ubuntu-installer/*",
    "install/netboot/*",
    "install.*/vmlinuz",
    "install.*/initrd.gz",
    ".disk/info",
    "dists/*/Release",
    "dists/*/netboot/*",
)

_FOLDERS = (("debian-installer", "debian"), ("ubuntu-installer", "ubuntu"))
_ROOTS = ("", "install/netboot/")
"""Where the folders of netboot.tar.gz are: at the top, or on Ubuntu's old server discs."""
_MIRROR = (
    "main/installer-{}/current/images/netboot/",
    "main/installer-{}/current/legacy-images/netboot/",  # Ubuntu 20.04
)
_DISCS = {"install.amd": "amd64", "install.a64": "arm64", "install.386": "i386"}
_DEBIAN_VERSIONS = {"bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14"}
_UBUNTU_VERSIONS = {"xenial": "16.04", "bionic": "18.04", "focal": "20.04"}
_INFO = re.compile(r"(Debian GNU/Linux|Ubuntu(?:-Server)?) (\d+(?:\.\d+)*)\b")


def look(inside: Inside) -> Found | None:
    """:returns: None where it is none of these. :raises Refused: it is one, and can't be used."""
    return _netboot(inside) or _mirror(inside) or _disc(inside)


def _netboot(inside: Inside) -> Found | None:
    for root in _ROOTS:
        for folder, family in _FOLDERS:
            for architecture in inside.names(f"{root}{folder}"):
                if architecture in ARCHITECTURES and inside.is_folder(f"{root}{folder}/{architecture}"):
                    return _of(
                        inside,
                        f"{root}{folder}/{architecture}/",
                        root,
                        family,
                        architecture,
                        served=bool(root) or inside.is_folder("dists"),
                    )
    return None


def _mirror(inside: Inside) -> Found | None:
    """A mirror (or a part of one) that holds the installer's images; the newest release where there are several."""
    candidates = []
    for codename in inside.names("dists"):
        for architecture in ARCHITECTURES:
            for images in _MIRROR:
                root = f"dists/{codename}/{images.format(architecture)}"
                for folder, family in _FOLDERS:
                    if inside.is_folder(f"{root}{folder}/{architecture}"):
                        release = _release(inside, codename)
                        candidates.append((release, root, folder, family, architecture))
    # "stable" is a link to the folder of a codename: the same release by two names, of which the codename counts.
    candidates.sort(key=lambda each: (each[4] != "amd64", each[1].split("/")[1] != each[0]["codename"]))
    distinct: dict[str, tuple[dict[str, str], str, str, str, str]] = {}
    for candidate in candidates:
        distinct.setdefault(candidate[0]["codename"], candidate)
    if not distinct:
        return None
    if len(distinct) > 1:
        raise Refused(
            f"it is a mirror with the installers of several releases ({', '.join(sorted(distinct))}): name one's folder,"
            f" such as {next(iter(distinct.values()))[1].rstrip('/')}"
        )
    release, root, folder, family, architecture = next(iter(distinct.values()))
    return _of(
        inside, f"{root}{folder}/{architecture}/", root, family, architecture, served=True, codename=release["codename"],
        number=release["version"],
    )  # fmt: skip


def _of(
    inside: Inside, folder: str, root: str, family: str, architecture: str, *, served: bool, codename: str = "", number: str = ""
) -> Found:
    """A folder with netboot's kernel and ramdisk."""
    # version.info: "Debian version:  12 (bookworm)"; the first help screen says it, too (Ubuntu has only that).
    says = f"{inside.text(f'{root}version.info') or ''}\n{inside.text(f'{folder}boot-screens/f1.txt') or ''}"
    named = re.search(r"(?:Debian version:\s*|Debian |Ubuntu )(\d+(?:\.\d+)*)(?: LTS)?(?: \(([a-z]+)\)| \"([^\"]+)\")?", says)
    if named:
        number = number or named.group(1)
        codename = codename or named.group(2) or ""
    brand = "Ubuntu" if family == "ubuntu" else "Debian GNU/Linux"
    known = _UBUNTU_VERSIONS if family == "ubuntu" else _DEBIAN_VERSIONS
    number = version(number) or known.get(codename, "")
    what = f"it is netboot of {brand} {number}".rstrip()
    kernel = need(inside, f"{folder}linux", what)
    ramdisk = need(inside, f"{folder}initrd.gz", what)
    shown = f"{brand} {number}" + (f" ({codename})" if codename else "")
    return Found(
        Kind.PRESEED, family, shown, number, ARCHITECTURES[architecture], kernel, (ramdisk,), served=served, has_packages=served
    )


def _disc(inside: Inside) -> Found | None:
    info = first_line(inside.text(".disk/info"))
    folder = next((name for name in _DISCS if inside.is_folder(name)), None)
    if folder is None or not info.startswith(("Debian", "Ubuntu")):
        return None
    says = _INFO.match(info)
    what = f"it is the disc {title(info)!r}"
    kernel = need(inside, f"{folder}/vmlinuz", what)
    ramdisk = need(inside, f"{folder}/initrd.gz", what)
    return Found(
        Kind.PRESEED,
        "ubuntu" if info.startswith("Ubuntu") else "debian",
        title(info.partition(" - ")[0].replace('"', "")),
        says.group(2) if says else "",
        ARCHITECTURES[_DISCS[folder]],
        kernel,
        (ramdisk,),
        from_disc_only=True,
    )


def _release(inside: Inside, codename: str) -> dict[str, str]:
    fields = {"codename": codename, "version": ""}
    for line in (inside.text(f"dists/{codename}/Release") or "").splitlines()[:100]:
        key, colon, value = line.partition(":")
        if colon and key.lower() in fields and re.fullmatch(r"[a-z0-9.]+", value.strip()):
            fields[key.lower()] = value.strip()
    return fields
