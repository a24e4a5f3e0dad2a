"""What the installer must know of an image's tree, to make a node's own system of it. Looks only; nothing is run."""

from __future__ import annotations

import enum
import os
import re
from dataclasses import dataclass
from pathlib import Path

from bootserver.errors import Refused


class Network(enum.Enum):
    """What configures network interfaces in an installed system."""

    NETWORKD = "systemd-networkd"
    IFUPDOWN = "ifupdown"
    NETWORK_MANAGER = "NetworkManager"


@dataclass(frozen=True, slots=True)
class Target:
    """:ivar kernel: the newest of its kernels, ``vmlinuz-6.1.0-13-amd64``. :ivar initrd: what belongs to it, or None.
    :ivar grub: where GRUB keeps its configuration, below ``boot``.
    """

    network: Network
    kernel: str
    initrd: str | None
    grub: str
    has_sshd: bool
    has_systemd: bool
    is_selinux: bool


def look_at(tree: Path) -> Target:
    """:raises Refused: it has no kernel, or can't be looked at."""
    boot = tree / "boot"
    try:
        names = {entry.name for entry in os.scandir(boot) if not entry.is_symlink()}
    except OSError as error:
        raise Refused(f"the image has no folder boot that the service can read ({error.strerror})") from error
    kernels = sorted((name for name in names if re.fullmatch(r"vmlinuz-[A-Za-z0-9._+~-]+", name)), key=version_key)
    # RHEL's rescue kernel is no kernel of choice.
    kernels = [name for name in kernels if "-rescue-" not in name] or kernels
    if not kernels:
        raise Refused("the image has no kernel (boot/vmlinuz-*): `bootserver image check NAME --mend` installs one")
    version = kernels[-1].removeprefix("vmlinuz-")
    candidates = (f"initrd.img-{version}", f"initramfs-{version}.img", f"initrd-{version}")
    return Target(
        _network(tree),
        kernels[-1],
        next((name for name in candidates if name in names), None),
        "grub2" if "grub2" in names and "grub" not in names else "grub",
        _has(tree, "usr/sbin/sshd") and _has(tree, "usr/bin/ssh-keygen"),
        _has(tree, "usr/lib/systemd/systemd") or _has(tree, "lib/systemd/systemd"),
        _has(tree, "etc/selinux/config") and _has(tree, "usr/sbin/setfiles"),
    )


def version_key(name: str) -> list[tuple[int, int | str]]:
    """6.1.0-9 comes before 6.1.0-13."""
    return [(1, int(part)) if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _network(tree: Path) -> Network:
    if _has(tree, "usr/sbin/NetworkManager"):
        return Network.NETWORK_MANAGER
    if _has(tree, "usr/sbin/ifup") or _has(tree, "sbin/ifup"):
        return Network.IFUPDOWN
    return Network.NETWORKD


def _has(tree: Path, path: str) -> bool:
    return os.path.lexists(tree / path)
