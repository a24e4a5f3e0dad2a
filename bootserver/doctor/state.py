"""The state directory: room on its disks, who may read and write what, and whether images and distributions are there."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from bootserver.cluster.change import open_reader
from bootserver.db.connection import DatabaseError, open_databases
from bootserver.db.rows import DistributionRow, ImageRow
from bootserver.doctor.finding import Finding, failure, note, ok, several, warning
from bootserver.doctor.site import Site
from bootserver.images.store import ImageStore

_FEW = 0.05
_LITTLE = 1 << 30
_NOTHING = 32 << 20
"""Bytes. A burst of events of 1,000 nodes takes some megabytes, SQLite's log as much again."""


def disk_space(site: Site) -> Iterator[Finding]:
    """Bytes and inodes of each file system that the state directory is on."""
    state = site.config.frontend.state
    seen: set[int] = set()
    for folder in (state, state / "db", site.config.frontend.tftpboot, state / "images"):
        try:
            device, room = folder.stat().st_dev, os.statvfs(folder)
        except OSError:
            continue
        if device in seen:
            continue
        seen.add(device)
        yield from judge_room(folder, room)


def judge_room(folder: Path, room: os.statvfs_result) -> Iterator[Finding]:
    """What is left for the service's user, who has no share of root's reserve."""
    left, whole = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    why = "events and changes can't be written down, and images can't be made"
    mend = f"du -xh {folder} | sort -h | tail shows what takes the room; bootserver image remove, distro remove; or a larger disk"
    if left < min(_NOTHING, whole // 20):
        yield failure(f"the disk of {folder} is full: {_size(left)} of {_size(whole)} left", why, mend)
    elif left < _LITTLE and left < whole * _FEW:
        yield warning(f"the disk of {folder} is nearly full: {_size(left)} of {_size(whole)} left", f"soon {why}", mend)
    elif room.f_files and room.f_favail == 0:
        yield failure(f"the disk of {folder} has no inodes left", f"no file can be made: {why}", mend)
    elif room.f_files and room.f_favail < room.f_files * _FEW:
        yield warning(f"the disk of {folder} has few inodes left: {room.f_favail} of {room.f_files}", f"soon {why}", mend)
    else:
        yield ok(f"the disk of {folder} has {_size(left)} left")


def permissions(site: Site) -> Iterator[Finding]:
    """Secrets that others can read, files that nodes or the service can't reach, folders that others can write into."""
    config = site.config
    state = config.frontend.state
    good = True
    for path in _secrets(site):
        mode = _mode(path)
        if mode is not None and mode & 0o007:
            good = False
            yield failure(
                f"{path} holds secrets, and everybody on this machine can read it (mode {stat.S_IMODE(mode):04o})",
                "whoever reads it can be a node, or the frontend",
                f"chmod o-rwx {path}",
            )
    for path in (state, config.frontend.tftpboot, config.frontend.keys, state / "images", config.path):
        mode = _mode(path)
        if mode is not None and mode & 0o022 and not mode & stat.S_ISVTX:
            good = False
            yield failure(
                f"{path} can be written by others than its owner (mode {stat.S_IMODE(mode):04o})",
                "whoever writes there decides what nodes boot",
                f"chmod go-w {path}",
            )
    if unreadable := list(_unreadable(config.frontend.tftpboot)):
        good = False
        yield warning(
            f"below {config.frontend.tftpboot} the service can't read {several(unreadable)}",
            "nodes that need them are told that there is no such file",
            f"chmod -R a+rX {config.frontend.tftpboot}",
        )
    yield from _owner(site)
    if good:
        yield ok("secrets are closed to others, and boot files open to the service")


def _secrets(site: Site) -> Iterator[Path]:
    config = site.config
    folder = config.frontend.state / "db"
    with contextlib.suppress(OSError):  # closed to this user, as it should be
        if _mode(folder, 0o001):
            yield from sorted(path for path in folder.iterdir() if path.is_file())
    with contextlib.suppress(OSError):
        keys = config.frontend.keys.iterdir()
        yield from sorted(path for path in keys if path.name.startswith("id_") and path.suffix != ".pub")
    yield from (path for path in (config.dns.transfer_key, config.dns.update_key, config.http.tls_key) if path is not None)
    if "@" in config.database.url:  # a password
        yield config.path


def _mode(path: Path, mask: int = 0o177777) -> int | None:
    """None: it is not there, can't be seen, or has none of these bits."""
    try:
        return path.stat().st_mode & mask or None
    except OSError:
        return None


def _unreadable(root: Path) -> Iterator[str]:
    """Files and folders that are not for everybody: the service is neither their owner nor in their group."""
    for folder, folders, files in os.walk(root):
        for name in folders:
            mode = _mode(Path(folder, name))
            if mode is not None and mode & 0o005 != 0o005:
                yield f"{Path(folder, name).relative_to(root)}/"
        for name in files:
            if name.startswith("."):  # being written
                continue
            mode = _mode(Path(folder, name))
            if mode is not None and not mode & 0o004:
                yield str(Path(folder, name).relative_to(root))


def _owner(site: Site) -> Iterator[Finding]:
    """The service writes the databases as its own user."""
    config = site.config
    if config.database.url:
        return
    try:
        user = pwd.getpwnam(config.frontend.user)
    except KeyError:
        if site.is_root:
            yield failure(
                f"there is no user {config.frontend.user!r}, who the service runs as", "it can't start", "bootserver init"
            )
        return
    if site.service is None and not site.is_root:
        return
    try:
        wrong = [path for path in [*sorted((config.frontend.state / "db").iterdir()), config.frontend.state / "db"]
                 if path.stat().st_uid not in (user.pw_uid, *(() if site.is_root else (os.geteuid(),)))]  # fmt: skip
    except OSError:
        return
    if wrong:
        yield failure(
            f"not of the user {user.pw_name}: {several(map(str, wrong))}",
            "the service can't write events and registrations down",
            f"chown {user.pw_name}: {config.frontend.state}/db {config.frontend.state}/db/*",
        )


def content(site: Site) -> Iterator[Finding]:
    """Images and distributions that the database knows."""
    store = ImageStore(site.config.frontend.state)
    try:
        with open_reader(open_databases(site.config).cluster) as reader:
            images = [row.name for row in reader.rows(ImageRow)]
            distributions = list(reader.rows(DistributionRow))
    except DatabaseError:  # said by its own check
        return
    good = True
    for name in images:
        if not store.exists(name):
            good = False
            yield failure(
                f"the image {name} is not below {store.folder}",
                "installs of it fail when they begin to copy",
                f"bootserver image remove {name}, or put it back from a backup",
            )
    tftpboot = site.config.frontend.tftpboot
    for row in distributions:
        files = [each for each in (row.kernel, *row.initrds) if "://" not in each and not (tftpboot / each).is_file()]
        folder = [row.tree] if row.tree and not _exists(Path(row.tree)) else []
        if files or folder:
            good = False
            yield failure(
                f"of the distribution {row.name} these are not there: {several([*files, *folder])}",
                "installs of it don't begin, or stop at the first package",
                f"bootserver distro remove {row.name}, and add it again",
            )
    if good and (images or distributions):
        yield ok(f"{len(images)} images and {len(distributions)} distributions are there")
    elif good:
        yield note("there is no image and no distribution yet", mend="bootserver image create, or bootserver distro add")


def _exists(path: Path) -> bool:
    try:
        return path.is_dir()
    except PermissionError:  # not for this user to see
        return True


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
