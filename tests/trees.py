"""Trees to make images of: a small root file system with everything that a copy can lose."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import struct
import subprocess
from pathlib import Path

from bootserver.images import identity

OS_RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
TIME = 1_700_000_000
HOLE = 8 << 20
WITH_ACL = {"/srv/shared", "/srv/shared/acl", "/srv/shared/inherits"}
"""What has an ACL, which a squashfs can't keep."""

_PROGRAMS = {
    "setfacl": "acl",
    "rsync": "rsync",
    "zstd": "zstd",
    "mksquashfs": "squashfs-tools",
    "unsquashfs": "squashfs-tools",
    "xz": "xz-utils",
    "bzip2": "bzip2",
}


def what_is_missing() -> str | None:
    """Why trees with owners and attributes can't be made here; None when they can."""
    if os.geteuid() != 0:
        return "needs root: files of every owner are made"
    packages = {package for program, package in _PROGRAMS.items() if not shutil.which(program)}
    return f"needs: apt-get install {' '.join(sorted(packages))}" if packages else None


def plain_tree(path: Path) -> Path:
    """A root file system in name: os-release and folders."""
    for folder in ("etc", "usr/bin", "usr/lib", "var/log", "boot"):
        (path / folder).mkdir(parents=True, exist_ok=True)
    (path / "etc/os-release").write_text(OS_RELEASE)
    identity.strip(path)
    return path


def rich_tree(path: Path) -> Path:
    """One with owners, modes, ACLs, extended attributes, capabilities, hard links, holes, devices and odd names."""
    plain_tree(path)
    (path / "srv/shared").mkdir(parents=True)
    files = {
        "usr/bin/su": (b"set-uid", 0, 0, 0o4755),
        "usr/bin/ping": (b"capable", 0, 0, 0o755),
        "usr/bin/wall": (b"set-gid", 0, 5, 0o2755),
        "etc/shadow": (b"root:*:1:0:99999:7:::\n", 0, 42, 0o640),
        "srv/secret": (b"none may", 1234, 70_000, 0o000),
        "srv/shared/acl": (b"acl", 1000, 1000, 0o640),
        "srv/attribute": (b"attribute", 0, 0, 0o644),
        "srv/one": (b"one file, three names", 7, 7, 0o600),
        "srv/odd \\ name\nin two lines": (b"odd", 0, 0, 0o644),
    }
    for name, (content, uid, gid, mode) in files.items():
        file = path / name
        file.write_bytes(content)
        os.chown(file, uid, gid)
        file.chmod(mode)
    (path / os.fsdecode(b"srv/no utf-8 \xff\xfe")).write_bytes(b"bytes")
    (path / "-").write_bytes(b"a name that tables use for nothing")
    for name in ("srv/two", "usr/lib/three"):
        os.link(path / "srv/one", path / name)
    with (path / "srv/holes").open("wb") as sparse:
        sparse.write(b"begin")
        sparse.seek(HOLE)
        sparse.write(b"end")
    for name, target in {"bin": "usr/bin", "etc/absolute": "/usr/lib", "etc/nowhere": "../../../../gone"}.items():
        (path / name).symlink_to(target)
    os.lchown(path / "etc/nowhere", 99, 98)
    os.mkfifo(path / "srv/pipe", 0o620)
    os.mknod(path / "srv/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(path / "srv/disk", stat.S_IFBLK | 0o660, os.makedev(8, 1))
    (path / "tmp").mkdir()
    (path / "tmp").chmod(0o1777)
    _run("setfacl", "-m", "u:1001:rw,g:1002:r", path / "srv/shared/acl")
    _run("setfacl", "-m", "d:u:1001:rwx,u:1001:rx", path / "srv/shared")
    (path / "srv/shared/inherits").write_bytes(b"a default ACL")
    os.setxattr(path / "srv/attribute", "user.note", b"\0\xff not text\n")
    os.setxattr(path / "srv/attribute", "trusted.note", b"for root")
    # cap_net_raw=ep: VFS_CAP_REVISION_2 with the effective bit, as setcap(8) writes it
    os.setxattr(path / "usr/bin/ping", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0))
    set_times(path)
    return path


def set_times(path: Path) -> None:
    """All is as old as :data:`TIME`: a copy that loses times is seen."""
    for parent, folders, files in os.walk(path, topdown=False):
        for index, name in enumerate(sorted([*files, *folders])):
            os.utime(Path(parent, name), (TIME + index, TIME + index), follow_symlinks=False)
    os.utime(path, (TIME, TIME))


def bind_socket(path: Path) -> None:
    """A socket in the file system, as a daemon leaves one."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)
