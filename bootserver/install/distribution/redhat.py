"""Trees of the RHEL family and Fedora: Anaconda, told by kickstart (RHEL 7 to 10 and those like it, Fedora 38 and later)."""

from __future__ import annotations

from bootserver.errors import Refused
from bootserver.install.distribution import treeinfo
from bootserver.install.distribution.found import ARCHITECTURES, Found, Kind, need, version
from bootserver.tree.inside import Inside

KERNEL, RAMDISK = "images/pxeboot/vmlinuz", "images/pxeboot/initrd.img"
LOOKED_FOR = f".treeinfo, {KERNEL} (RHEL family, Fedora)"
PEEK = (".treeinfo", "treeinfo", ".discinfo", "images/pxeboot/*", "repodata/repomd.xml", "*/repodata/repomd.xml")

_OLDEST_RHEL, _OLDEST_FEDORA = 7, 38


def look(inside: Inside) -> Found | None:
    """:returns: None where it is none of these. :raises Refused: it is one, and can't be used."""
    info = treeinfo.read(inside)
    if info is None:
        if inside.is_file(KERNEL) and (inside.is_file("RPM-GPG-KEY-redhat-release") or inside.is_folder("repodata")):
            raise Refused(
                f"it has {KERNEL} and no .treeinfo, which says what it is, and which Anaconda wants, too:"
                " copy hidden files as well (`cp -a /mnt/. FOLDER`)"
            )
        return None
    if info.kernel != KERNEL and not inside.is_file(KERNEL) and "boot/" in (info.kernel or "boot/"):
        return None  # SUSE's
    what = f"it is a tree of {info.name or 'the RHEL family'}"
    kernel = need(inside, info.kernel or KERNEL, what)
    ramdisk = need(inside, info.initrd or RAMDISK, what)
    family = "fedora" if "fedora" in info.family.lower() else "rhel"
    if info.number:  # Rawhide has none
        _check_age(family, int(info.number.partition(".")[0]), what)
    return Found(
        Kind.KICKSTART,
        family,
        info.name,
        _number(inside, family, info.number),
        ARCHITECTURES.get(info.architecture, ""),
        kernel,
        (ramdisk,),
        has_packages=_has_packages(inside, info),
    )


def _check_age(family: str, number: int, what: str) -> None:
    oldest = _OLDEST_FEDORA if family == "fedora" else _OLDEST_RHEL
    if number < oldest:
        raise Refused(
            f"{what}, which is too old: {'Fedora' if family == 'fedora' else 'RHEL'} {oldest} and later are known"
            " (with --kind and --args it can be added all the same)"
        )


def _number(inside: Inside, family: str, number: str) -> str:
    """RHEL's with its minor number: CentOS 7 names it in ``.discinfo`` only (a time, a version or title, an architecture)."""
    if family == "rhel" and "." not in number:
        lines = (inside.text(".discinfo") or "").splitlines()
        if len(lines) > 1 and lines[1].strip().startswith(f"{number}."):
            return version(lines[1]) or number
    return number


def _has_packages(inside: Inside, info: treeinfo.TreeInfo) -> bool:
    """A boot ISO has the same ``.treeinfo`` as a DVD, and none of its repositories."""
    folders = (".", *info.repositories, "BaseOS", "Server")
    return any(inside.is_file(f"{folder.rstrip('/').removesuffix('/repodata')}/repodata/repomd.xml") for folder in folders)
