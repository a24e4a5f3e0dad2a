"""Brings a running node in line with its image, or says how it differs: SystemImager's ``si_updateclient``, from the
frontend's side. Two rsyncs over SSH: the image, without what is each node's own; then the site's overrides for the node.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bootserver.images import program
from bootserver.images.capturing import foreign_mounts
from bootserver.images.difference import Difference, Kind
from bootserver.images.program import ProgramFailed
from bootserver.images.remote import Remote, explain

RULES = "push.rules"
"""What is each node's own, as rsync's filter rules: the site's below the state directory, then the shipped ones."""

_ITEM = re.compile(r"(?P<flags>[<>ch.*][fdLDS][^ ]{9}|\*deleting  ) (?P<path>.+)")
_WHAT = {"c": "content", "s": "content", "t": "time", "p": "mode", "o": "owner", "g": "group", "a": "ACL", "x": "attributes"}

_REBOOT = re.compile(
    r"/(?:boot/(?:vmlinuz|initr)|(?:usr/)?lib(?:64)?/(?:[a-z0-9_]+-linux-gnu/)?(?:libc|ld-linux[^/]*|libc-[0-9.]+)\.so"
    r"|(?:usr/)?lib/systemd/(?:systemd$|libsystemd-)|(?:usr/)?lib/modules/)"
)

# The boot menu names kernels. Where one of them came or went after the menu was written (also by an update that broke off),
# it is made anew by the node's own tools, with the node's own arguments.
_RENEW_MENU = r"""
menu=/boot/grub/grub.cfg
[ ! -e /boot/grub2/grub.cfg ] || menu=/boot/grub2/grub.cfg
newer=$(find /boot -maxdepth 1 -cnewer $menu \( -path /boot -o -name 'vmlinuz-*' -o -name 'initr*' \))
[ -n "$newer" ] || exit 0
if command -v update-grub >/dev/null; then update-grub; else grub2-mkconfig -o $menu; fi
"""


@dataclass(frozen=True, slots=True)
class Update:
    """What differed, and was made equal unless it was only looked at."""

    differences: tuple[Difference, ...]

    @property
    def needs_reboot(self) -> bool:
        return any(map(needs_reboot, self.differences))


def needs_reboot(difference: Difference) -> bool:
    """Kernel, C library or systemd: what is on the disk now is another one than in memory."""
    return _REBOOT.match(difference.path) is not None


def update(
    remote: Remote,
    tree: Path,
    overlay: Path,
    paths: Sequence[str],
    *,
    rules: Sequence[Path],
    dry_run: bool,
    checksum: bool = False,
) -> Update:
    """Make a node hold what its image and its overrides say.

    :param overlay: the node's overrides, laid down in a folder. :param paths: those of them that are no folders.
    :param rules: files of filter rules; the first that matches counts.
    :param dry_run: say what would be changed, and change nothing.
    :param checksum: compare contents, too, not sizes and times alone.
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
    # What is mounted there from elsewhere is nobody's to remove: it is no part of the node's own disks.
    foreign = [f"{_literal(path)}/" for path in foreign_mounts(remote.command(["cat", "/proc/mounts"]))]
    filters = [word for pattern in [*map(_literal, paths), *foreign] for word in ("--exclude", pattern)]
    filters += [word for file in rules for word in ("--filter", f"merge {file}")]
    image = [*how, "--delete", "--delete-delay", *(["--checksum"] if checksum else []), *filters, f"{tree}/", remote.root]
    found = _run(remote, image)
    if paths:
        # Contents are compared: a file that was rendered just now is no newer than its twin on the node.
        over = [*how, "--checksum", "--no-times", "--no-implied-dirs", "--files-from=-", f"{overlay}/", remote.root]
        found += _run(remote, over, "".join(f"{path}\n" for path in paths))
    if not dry_run:
        remote.command(["sh", "-c", shlex.quote(_RENEW_MENU)])
    return Update(tuple(found))


def _literal(path: str) -> str:
    """A path as a pattern that matches nothing else."""
    return "/" + re.sub(r"([\\*?\[])", r"\\\1", path.lstrip("/"))


def _run(remote: Remote, arguments: Sequence[str], stdin: str = "") -> list[Difference]:
    done = subprocess.run(
        [*program.TOGETHER, *remote.rsync, *arguments], input=stdin, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        raise explain(remote.node, ProgramFailed(f"the update of {remote.node}", done.stderr.splitlines(), done.returncode))
    return [found for line in done.stdout.splitlines() if (found := read_item(line)) is not None]


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
