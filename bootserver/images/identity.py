"""Takes out of a tree what makes it one particular machine, so that nodes made of it are not twins.

What it follows: machine-id(5), sshd(8), systemd.link(5), nm-settings-keyfile(5), cloud-init's and virt-sysprep's lists. Who a
node is, is put in when it is installed.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from pathlib import Path

from bootserver.tree.inside import Inside

FSTAB = b"# Written when a node is installed: an image knows no disks.\n"

_REMOVED = (
    # systemd-machine-id-setup makes it from /etc/machine-id; a link to that stays
    "/var/lib/dbus/machine-id",
    "/etc/udev/rules.d/70-persistent-net.rules",
    "/etc/udev/rules.d/70-persistent-cd.rules",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/var/lib/urandom/random-seed",
    "/boot/loader/random-seed",
    "/boot/efi/loader/random-seed",
    "/var/lib/NetworkManager/secret_key",
    "/var/lib/NetworkManager/seen-bssids",
    "/var/lib/NetworkManager/timestamps",
    "/etc/nvme/hostid",
    "/etc/nvme/hostnqn",
    # the disks of the machine that it was
    "/etc/initramfs-tools/conf.d/resume",
    "/etc/lvm/devices/system.devices",
    "/etc/kernel/cmdline",
    "/etc/adjtime",
)
_EMPTIED_FOLDERS = ("/run", "/var/lib/cloud", "/dev/.udev", "/var/log/journal")
_REMOVED_FROM = (
    ("/etc/ssh", r"ssh_host_.+"),
    ("/var/lib/dhcp", r".+\.leases?"),
    ("/var/lib/dhclient", r".+\.leases?"),
    ("/var/lib/dhcpcd", r".+\.lease"),
    ("/var/lib/NetworkManager", r".+\.leases?"),
    ("/var/lib/systemd/network", r".+"),
)
_OF_ONE_CARD = (
    ("/etc/systemd/network", r".+\.(link|network)", r"(?im)^\s*(Permanent)?MACAddress\s*="),
    ("/etc/sysconfig/network-scripts", r"ifcfg-.+", r"(?m)^\s*HWADDR\s*="),
    ("/etc/NetworkManager/system-connections", r".+", r"(?m)^\s*mac-address\s*="),
    ("/etc/netplan", r".+\.ya?ml", r"(?m)^\s*macaddress\s*:"),
)
"""Folder, files, and the line that binds one to a network card: such a file is removed."""

_ROTATED = re.compile(r".+\.(\d+|gz|xz|bz2|zst|old|journal)(\.gz)?|.+-\d{8}")
Change = Callable[[str], str]


def strip(tree: Path) -> list[str]:
    """Make a tree nobody in particular. Links are never followed out of it; doing it again changes nothing.

    :returns: the paths that were altered or removed.
    :raises OSError: something could not be altered.
    """
    with Inside(tree) as inside:
        done = [path for path in _REMOVED if _is_own(inside, path) and inside.remove(path)]
        for folder in _EMPTIED_FOLDERS:
            status = inside.stat(folder, follow=False)
            if status is not None and stat.S_ISDIR(status.st_mode):
                done += [f"{folder}/{name}" for name in inside.names(folder) if inside.remove(f"{folder}/{name}")]
        for folder, names in _REMOVED_FROM:
            done += [path for path in inside.matching(folder, names) if inside.remove(path)]
        for folder, names, line in _OF_ONE_CARD:
            for path in inside.matching(folder, names):
                if re.search(line, inside.text(path) or "") and inside.remove(path):
                    done.append(path)
        done += _contents(inside)
        done += _logs(inside)
    return sorted(done)


def _is_own(inside: Inside, path: str) -> bool:
    status = inside.stat(path, follow=False)
    return status is not None and not stat.S_ISLNK(status.st_mode)


def _contents(inside: Inside) -> list[str]:
    """Files that stay, with another content. An empty machine-id is made anew at the first boot (machine-id(5))."""
    done = []
    for path, content in (("/etc/machine-id", b""), ("/etc/hostname", b""), ("/etc/mailname", b""), ("/etc/fstab", FSTAB)):
        # A machine-id and fstab are made even where there are none: a root that is read-only at first needs the former.
        always = path in ("/etc/machine-id", "/etc/fstab") and inside.is_folder("/etc")
        there = inside.read(path) if _is_own(inside, path) else None
        if path == "/etc/fstab" and there is not None and there.startswith(FSTAB):
            continue  # what is below our own line was put there for all nodes
        if there != content and (always or there is not None):
            inside.write(path, content)
            done.append(path)
    edits: tuple[tuple[str, Change], ...] = (
        ("/etc/hosts", _without(r"127\.0\.1\.1\s")),
        ("/etc/mdadm/mdadm.conf", _without(r"ARRAY\s")),
        ("/etc/mdadm.conf", _without(r"ARRAY\s")),
        ("/etc/crypttab", _without(r"[^#\s]")),
        ("/etc/iscsi/initiatorname.iscsi", lambda text: "GenerateName=yes\n" if "InitiatorName=" in text else text),
    )
    for path, edit in edits:
        text = inside.text(path) if _is_own(inside, path) else None
        if text is not None and (edited := edit(text)) != text:
            inside.write(path, edited.encode())
            done.append(path)
    return done


def _without(pattern: str) -> Change:
    begins = re.compile(rf"\s*{pattern}")
    return lambda text: "".join(line for line in text.splitlines(keepends=True) if not begins.match(line))


def _logs(inside: Inside) -> list[str]:
    """Logs are emptied, their rotated copies removed; folders stay, since daemons need them."""
    done = []
    for path, _, name, status in list(inside.walk("/var/log")):
        if not stat.S_ISREG(status.st_mode):
            continue
        if _ROTATED.fullmatch(name):
            inside.remove(path)
        elif status.st_size:
            inside.write(path, b"")
        else:
            continue
        done.append(path)
    return done
