"""Makes an image of a running machine, the golden client: SystemImager's ``si_getimage``, by rsync over SSH."""

from __future__ import annotations

from bootserver.images import program
from bootserver.images.identity import strip
from bootserver.images.program import ProgramFailed
from bootserver.images.remote import Remote, explain
from bootserver.images.store import Draft
from bootserver.values.progress import Progress

# What is on a disk of its own; everything else that is mounted is memory, or another machine's.
_DISK = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "reiserfs", "vfat", "bcachefs", "zfs"})

_EXCLUDED = (
    "/dev/*", "/proc/*", "/sys/*", "/run/*", "/tmp/*", "/var/tmp/*",  # noqa: S108  # patterns, not files
    "/mnt/*", "/media/*", "/lost+found", "/state/*",
    "/var/cache/apt/archives/*.deb", "/var/lib/apt/lists/*_*", "/var/cache/dnf/*", "/swapfile", "/swap.img", "/boot/efi/*",
    "/boot/grub/grubenv", "/boot/grub/grub.cfg", "/boot/grub/i386-pc/core.img", "/boot/grub/i386-pc/boot.img", "/home/*/.cache/*",
    "/root/.*_history", "/root/.ssh/*",
    # what our own installer made that machine's
    "/etc/bootserver", "/usr/lib/bootserver", "/etc/systemd/system/bootserver-up.service",
    "/etc/systemd/system/*.wants/bootserver-up.service", "/etc/systemd/network/10-bootserver-*",
    "/etc/NetworkManager/system-connections/bootserver-*", "/etc/default/grub.d/bootserver.cfg",
)  # fmt: skip


def capture(remote: Remote, draft: Draft, progress: Progress) -> None:
    """Fill a draft with a machine's files, and take its identity out of them.

    :raises BootserverError: the machine can't be reached, or the copy failed.
    """
    progress("looking what is mounted there", None)
    excluded = [*_EXCLUDED, *(f"{_escaped(path)}/*" for path in foreign_mounts(remote.command(["cat", "/proc/mounts"])))]
    command = [
        *program.TOGETHER,
        *remote.rsync,
        "-aHAXS",
        "--numeric-ids",
        "--info=progress2",
        "--no-inc-recursive",
        "--timeout=120",
    ]
    for path in excluded:
        command += ["--exclude", path]

    def watch(line: str) -> None:
        words = line.split()
        if len(words) > 2 and words[1].endswith("%") and words[1][:-1].isdecimal():
            progress("copying", int(words[1][:-1]) / 100)

    progress("copying", 0.0)
    try:
        # 24: files vanished while they were copied, as they do on a machine that runs.
        program.run([*command, remote.root, f"{draft.tree}/"], what=f"the copy of {remote.node}", watch=watch, fine=(0, 24))
    except ProgramFailed as error:
        raise explain(remote.node, error) from error
    progress("taking its identity out", None)
    strip(draft.tree)


def foreign_mounts(mounts: str) -> list[str]:
    """Where a machine has mounted what does not belong into an image (proc(5), /proc/PID/mounts)."""
    found = []
    for line in mounts.splitlines():
        _, where, kind, *_ = line.split(" ")
        if where != "/" and kind not in _DISK:
            found.append(where.encode().decode("unicode_escape"))  # a space in it is \040
    return found


def _escaped(path: str) -> str:
    return "".join(f"\\{character}" if character in "\\*?[" else character for character in path)
