"""What the installer must know of an image's tree, to make a node's own system of it. Looks only; nothing is run."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from bootserver.errors import Refused
from bootserver.tree import facts
from bootserver.tree.inside import Inside


class Network(enum.Enum):
    """What configures network interfaces in an installed system."""

    NETWORKD = "systemd-networkd"
    IFUPDOWN = "ifupdown"
    NETWORK_MANAGER = "NetworkManager"


@dataclass(frozen=True, slots=True)
class Target:
    """:ivar kernel: the newest that can be booted, ``/boot/vmlinuz-6.1.0-13-amd64``. :ivar ramdisk: what belongs to it, or None.
    :ivar grub: where GRUB keeps its configuration, below ``boot``.
    :ivar mdadm_conf: where mdadm keeps its own, below ``/``; None where there is no mdadm. :ivar has_dracut: it makes the initrd.
    """

    network: Network
    kernel: str
    ramdisk: str | None
    grub: str
    has_sshd: bool
    has_systemd: bool
    is_selinux: bool
    mdadm_conf: str | None = None
    has_lvm: bool = False
    has_dracut: bool = False


def look_at(tree: Path) -> Target:
    """:raises Refused: it has no kernel. :raises Unavailable: it can't be looked at."""
    with Inside(tree) as inside:
        kernel = next((each for each in facts.kernels(inside) if each.file is not None), None)
        if kernel is None or kernel.file is None:
            raise Refused("the image has no kernel (boot/vmlinuz-*): `bootserver image check NAME --mend` installs one")
        return Target(
            _network(inside),
            kernel.file,
            kernel.ramdisk,
            "grub2" if inside.is_folder("/boot/grub2") and not inside.is_folder("/boot/grub") else "grub",
            inside.is_file("/usr/sbin/sshd") and inside.is_file("/usr/bin/ssh-keygen"),
            inside.is_file("/usr/lib/systemd/systemd") or inside.is_file("/lib/systemd/systemd"),
            inside.is_file("/etc/selinux/config") and inside.is_file("/usr/sbin/setfiles"),
            _mdadm_conf(inside),
            any(inside.is_file(path) for path in ("/usr/sbin/lvm", "/sbin/lvm")),
            any(inside.is_file(path) for path in ("/usr/bin/dracut", "/usr/sbin/dracut", "/sbin/dracut")),
        )


def _mdadm_conf(inside: Inside) -> str | None:
    if not any(inside.is_file(path) for path in ("/usr/sbin/mdadm", "/sbin/mdadm")):
        return None
    return "etc/mdadm/mdadm.conf" if inside.is_folder("/etc/mdadm") else "etc/mdadm.conf"


def _network(inside: Inside) -> Network:
    if inside.is_file("/usr/sbin/NetworkManager"):
        return Network.NETWORK_MANAGER
    if inside.is_file("/usr/sbin/ifup") or inside.is_file("/sbin/ifup"):
        return Network.IFUPDOWN
    return Network.NETWORKD
