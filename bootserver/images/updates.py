"""Brings a running node in line with its image, or says how it differs: SystemImager's ``si_updateclient``, from the
frontend's side. Two rsyncs over SSH: the image, without what is each node's own; then the site's overrides for the node.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bootserver.images import program
from bootserver.images.difference import Difference, Kind
from bootserver.images.program import ProgramFailed
from bootserver.images.remote import Remote, explain

RULES = "push.rules"
"""A site's own rules (rsync(1), FILTER RULES), below the state directory; they go before ours."""

# What is each node's own, or is made by the running system. rsync takes the first rule that matches; what is excluded is
# neither written nor removed.
OWN = (
    # the installer's
    "/etc/hostname", "/etc/hosts", "/etc/fstab", "/etc/machine-id", "/etc/resolv.conf", "/etc/bootserver/",
    "/usr/lib/bootserver/", "/etc/ssh/ssh_host_*", "/root/.ssh/", "/etc/default/grub.d/bootserver.cfg",
    "/boot/grub/", "/boot/grub2/", "/boot/efi/", "/boot/loader/entries/", "/etc/network/interfaces", "/etc/systemd/network/10-bootserver-*", "/etc/rc.local",
    "/etc/NetworkManager/system-connections/", "/etc/systemd/system/bootserver-up.service",
    "/etc/systemd/system/multi-user.target.wants/bootserver-up.service",
    "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service", "/.autorelabel", "/etc/selinux/targeted/active/",
    # the running system's
    "/dev/", "/proc/", "/sys/", "/run/", "/tmp/", "/lost+found/",  # noqa: S108  # patterns, no files
    "/etc/mtab", "/etc/adjtime", "/etc/.updated", "/etc/.pwd.lock",
    "/etc/ld.so.cache~", "/etc/lvm/archive/", "/etc/lvm/backup/", "/etc/lvm/devices/", "/etc/multipath/wwids", "/etc/.resolv*",
    "/etc/mdadm/mdadm.conf", "/etc/iscsi/initiatorname.iscsi", "/etc/nvme/host*", "/etc/udev/hwdb.bin",
    # people's
    "/home/", "/mnt/", "/media/", "/srv/", "/state/", "/root/.*_history", "/root/.lesshst", "/root/.cache/",
)  # fmt: skip

# A node's /var is its own, but for what package managers know of the rest.
_VAR = ("+ /var/", "+ /var/lib/", "+ /var/lib/dpkg/***", "+ /var/lib/rpm/***", "- /var/lib/*", "- /var/*")

_ITEM = re.compile(r"(?P<flags>[<>ch.*][fdLDS][^ ]{9}|\*deleting  ) (?P<path>.+)")
_WHAT = {"c": "content", "s": "content", "t": "time", "p": "mode", "o": "owner", "g": "group", "a": "ACL", "x": "attributes"}

_REBOOT = re.compile(
    r"/(?:boot/(?:vmlinuz|initr)|(?:usr/)?lib(?:64)?/(?:[a-z0-9_]+-linux-gnu/)?(?:libc|ld-linux[^/]*|libc-[0-9.]+)\.so"
    r"|(?:usr/)?lib/systemd/(?:systemd$|libsystemd-)|(?:usr/)?lib/modules/)"
)
_NEW_KERNEL = re.compile(r"/boot/(?:vmlinuz|initr)")


@dataclass(frozen=True, slots=True)
class Update:
    """What differed, and was made equal unless it was only looked at."""

    differences: tuple[Difference, ...]

    @property
    def needs_reboot(self) -> bool:
        """Kernel, C library or systemd are others on the disk now than in memory."""
        return any(_REBOOT.match(each.path) for each in self.differences)

    @property
    def has_new_kernel(self) -> bool:
        return any(_NEW_KERNEL.match(each.path) for each in self.differences)


def update(
    remote: Remote,
    tree: Path,
    overlay: Path,
    paths: Sequence[str],
    *,
    rules: Path | None,
    dry_run: bool,
    checksum: bool = False,
    watch: Callable[[str], None] | None = None,
) -> Update:
    """Make a node hold what its image and its overrides say.

    :param overlay: the node's overrides, laid down in a folder. :param paths: those of them that are no folders.
    :param rules: the site's own filter rules, or None.
    :param dry_run: say what would be changed, and change nothing.
    :param checksum: compare contents, too, not sizes and times alone.
    :param watch: gets rsync's lines as they come.
    :raises BootserverError: the node can't be reached, or a copy failed; running it again goes on.
    """
    how = [
        "--archive",
        "--hard-links",
        "--acls",
        "--xattrs",
        "--sparse",
        "--numeric-ids",
        "--omit-dir-times",
        "--itemize-changes",
    ]
    how += [*(["--dry-run"] if dry_run else []), "--timeout=120"]
    filters = ["--filter", f"merge {rules}"] if rules is not None else []
    for path in [*paths, *OWN]:
        filters += ["--exclude", _literal(path) if path in paths else path]
    for rule in _VAR:
        filters += ["--filter", rule]
    image = [*how, "--delete", "--delete-delay", *(["--checksum"] if checksum else []), *filters, f"{tree}/", remote.root]
    found = _run(remote, image, watch)
    if paths:
        # Contents are compared: a file that was rendered just now is no newer than its twin on the node.
        listed = "".join(f"{path}\n" for path in paths)
        over = [*how, "--checksum", "--no-times", "--no-implied-dirs", "--files-from=-", f"{overlay}/", remote.root]
        found += _run(remote, over, watch, listed)
    result = Update(tuple(found))
    if result.has_new_kernel and not dry_run:
        _renew_menu(remote)
    return result


def _literal(path: str) -> str:
    """An override's path as a pattern that matches nothing else."""
    return "/" + re.sub(r"([\\*?\[])", r"\\\1", path)


def _run(remote: Remote, arguments: Sequence[str], watch: Callable[[str], None] | None, stdin: str = "") -> list[Difference]:
    found: list[Difference] = []

    def take(line: str) -> None:
        if (difference := read_item(line)) is not None:
            found.append(difference)
            if watch is not None:
                watch(line)

    command = [*program.TOGETHER, *remote.rsync, *arguments]
    try:
        if not stdin:
            program.run(command, what=f"the update of {remote.node}", watch=take)
            return found
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            raise ProgramFailed(f"the update of {remote.node}", done.stderr.splitlines(), done.returncode)
        for line in done.stdout.splitlines():
            take(line)
    except ProgramFailed as error:
        raise explain(remote.node, error) from error
    return found


def read_item(line: str) -> Difference | None:
    """A line of rsync's --itemize-changes (rsync(1)); None for any other line, and for what is no difference."""
    match = _ITEM.fullmatch(line)
    if match is None:
        return None
    flags, path = match["flags"], "/" + match["path"].partition(" -> ")[0].rstrip("/")
    if flags.startswith("*deleting"):
        return Difference(Kind.REMOVED, path)
    if "+++" in flags:
        return Difference(Kind.ADDED, path)
    what = dict.fromkeys(_WHAT[flag] for flag in flags[2:] if flag in _WHAT)
    if flags[0] == "." and set(what) <= {"time"}:  # a link's own time, a folder's
        return None
    return Difference(Kind.CHANGED, path, tuple(what) or ("link",))


def _renew_menu(remote: Remote) -> None:
    """The boot menu names kernels: it is made anew by the node's own tools, with the node's own arguments."""
    remote.command(
        ["sh", "-c", "'if command -v update-grub >/dev/null; then update-grub; else grub2-mkconfig -o /boot/grub2/grub.cfg; fi'"]
    )
