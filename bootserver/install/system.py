"""What makes an image one node's own system: its name, network, disks, boot menu, keys, and who it reports to.

Pure: from facts to files. The files go over the image before a site's overrides, which may replace each of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from bootserver.cluster import attributes
from bootserver.cluster.view import NodeView
from bootserver.errors import Refused
from bootserver.install.entries import Entry
from bootserver.install.network import network_files
from bootserver.install.root import Boot
from bootserver.install.target import Target
from bootserver.values.secret import Secret

KEY_PATH = "etc/bootserver/node.key"
"""Where the installer puts the node key (mode 0600)."""


@dataclass(frozen=True, slots=True)
class Own:
    """What is this node's own.

    :ivar fstab: its file systems. :ivar root_uuid: of the one that holds ``/``. :ivar filesystem: its kind.
    :ivar host_keys: file name: content; empty for a node that has none yet, which then makes them itself.
    :ivar frontend_url: where it reaches the frontend.
    :ivar root: the kernel's word for it, where its UUID does not do; :ivar initrd_words: what the initrd is told beside.
    :ivar boot: where GRUB finds the kernel, where that is not just the file system of ``/``.
    :ivar mdadm_conf: its arrays; empty where it has none.
    """

    node: NodeView
    title: str
    fstab: str
    root_uuid: str
    filesystem: str
    machine_id: UUID
    host_keys: Mapping[str, Secret]
    frontend_url: str
    report_up: str
    root: str = ""
    initrd_words: tuple[str, ...] = ()
    boot: Boot | None = None
    mdadm_conf: str = ""


def system_files(own: Own, target: Target) -> list[Entry]:
    """The files, each path once. :raises Refused: a kernel argument can't be written for GRUB."""
    node = own.node
    entries = [
        Entry.text("etc/hostname", f"{node.name}\n"),
        Entry.text("etc/hosts", _hosts(node)),
        Entry.text("etc/fstab", own.fstab),
        Entry.text("etc/machine-id", f"{own.machine_id.hex}\n", 0o444),
        *network_files(node, target),
        *grub_files(own, target),
        *reporter(own.frontend_url, own.report_up, has_systemd=target.has_systemd),
        *host_key_files(own.host_keys),
    ]
    if own.mdadm_conf and target.mdadm_conf:
        entries.append(Entry.text(target.mdadm_conf, own.mdadm_conf))
    if target.is_selinux:
        entries.append(Entry.text(".autorelabel", ""))  # the first boot labels what a copy over the network did not
    return entries


def _hosts(node: NodeView) -> str:
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    for nic in node.interfaces:
        if nic.ip is not None:
            name = node.name_of(nic)
            lines.append(f"{nic.ip}\t{name}.{nic.network.domain} {name}")
    return "\n".join(lines) + "\n"


# -- the boot menu -----------------------------------------------------------------------------------------------


def kernel_line(own: Own) -> str:
    """What the installed kernel is started with: its root, and the node's bootflags."""
    flags = own.node.attributes.get(attributes.BOOTFLAGS, "").split()
    for word in flags:
        # grammar.kernel_args lets no quote in; this is the lock of the target itself.
        if not re.fullmatch(r"[A-Za-z0-9_.,:=/+%@~^\[\]()!*?-]+", word):
            raise Refused(f"bootflag {word!r} can't be written for GRUB")
    return " ".join([own.root or f"root=UUID={own.root_uuid}", "ro", *own.initrd_words, *flags])


def grub_files(own: Own, target: Target) -> list[Entry]:
    """A menu that boots at once, and the same facts where ``update-grub`` looks when the node gets another kernel.

    The menu is written here because ``update-grub`` takes longer than the rest of an install's end.
    """
    line = kernel_line(own)
    words = " ".join(f"'{word}'" for word in line.split())
    serial = _serial(line)
    boot = own.boot or Boot(own.root_uuid, own.filesystem)
    # On a file system of its own, what is below /boot is at its top.
    top = "/boot" if boot.is_apart else ""
    kernel, ramdisk = target.kernel.removeprefix(top), target.ramdisk and target.ramdisk.removeprefix(top)
    menu = [
        "# Written by bootserver's installer; update-grub (grub2-mkconfig) replaces it.",
        "set timeout=0",  # what a node boots is chosen on the frontend (rescue, bootflags), not before the machine
        "set default=0",
        "insmod part_gpt",
        *(f"insmod {module}" for module in boot.modules),
        f"insmod {'xfs' if boot.filesystem == 'xfs' else 'ext2'}",
    ]
    if serial is not None:
        menu += [
            f"serial --unit={serial[0]} --speed={serial[1]}",
            "terminal_input serial console",
            "terminal_output serial console",
        ]
    menu += [
        f"search --no-floppy --fs-uuid --set=root {boot.uuid}",
        f"menuentry '{re.sub(r'[^A-Za-z0-9 ._()/-]', '', own.title)}' {{",
        f"  linux {kernel} {words}",
        *([f"  initrd {ramdisk}"] if ramdisk else []),
        "}",
        "",
    ]
    flags = line.partition(" ro")[2].strip()
    defaults = [
        "# This node's kernel arguments, from bootserver (`bootserver bootflags`).",
        f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {flags}"',
        "GRUB_TIMEOUT=0",
        "GRUB_DISABLE_OS_PROBER=true",
    ]
    if serial is not None:
        defaults += ['GRUB_TERMINAL="console serial"', f'GRUB_SERIAL_COMMAND="serial --unit={serial[0]} --speed={serial[1]}"']
    return [
        Entry.text(f"boot/{target.grub}/grub.cfg", "\n".join(menu), 0o600),
        Entry.text("etc/default/grub.d/bootserver.cfg", "\n".join(defaults) + "\n"),
    ]


def _serial(line: str) -> tuple[str, str] | None:
    """The last serial console of a kernel line: unit and speed (Documentation/admin-guide/serial-console.rst)."""
    found = re.findall(r"(?:^| )console=ttyS(\d)(?:,(\d+))?", line)
    return (found[-1][0], found[-1][1] or "9600") if found else None


# -- its first word ----------------------------------------------------------------------------------------------

_UNIT = """\
[Unit]
Description=Tell the frontend that this node is at work
After=network.target
ConditionPathExists=/etc/bootserver/node.key

[Service]
# Not oneshot: a frontend that is away must not keep the start from being finished, nor a login prompt from being shown.
Type=simple
ExecStart=/usr/lib/bootserver/report-up

[Install]
WantedBy=multi-user.target
"""


def reporter(frontend_url: str, report_up: str, *, has_systemd: bool = True) -> Iterator[Entry]:
    """What tells the frontend at each start that the node is at work.

    :param report_up: the program that does it.
    """
    yield Entry("etc/bootserver", 0o755, folder=True)
    yield Entry.text("etc/bootserver/url", f"{frontend_url}\n")
    yield Entry.text("usr/lib/bootserver/report-up", report_up, 0o755)
    if has_systemd:
        unit = "bootserver-up.service"
        yield Entry.text(f"etc/systemd/system/{unit}", _UNIT)
        yield Entry(f"etc/systemd/system/multi-user.target.wants/{unit}", link=f"/etc/systemd/system/{unit}")
    else:
        yield Entry.text("etc/rc.local", "#!/bin/sh\n/usr/lib/bootserver/report-up &\n", 0o755)


def host_key_files(host_keys: Mapping[str, Secret]) -> list[Entry]:
    """A node's SSH host keys, as sshd wants them. :param host_keys: file name: content."""
    return [
        Entry.text(f"etc/ssh/{name}", key.reveal(), 0o644 if name.endswith(".pub") else 0o600) for name, key in host_keys.items()
    ]
