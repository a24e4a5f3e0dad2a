"""Runs one program where it can do little harm. A program of its own, run as root by :mod:`bootserver.images.program` and
:mod:`bootserver.images.chroot` in mount and pid namespaces that ``unshare`` made; it imports the standard library only.

    confined.py write FOLDER PROGRAM...   everything is read-only but FOLDER (for what unpacks archives)
    confined.py root TREE PROGRAM...      TREE is the root, with /proc, /sys, /dev and /run as a system has them

All mounts are the namespace's own: they are gone with the program, however it ends. See mount_setattr(2), pid_namespaces(7).
"""

# The very system calls are what this is about.
# ruff: noqa: PTH101, PTH102, PTH103, PTH108, PTH114, PTH116, PTH120, PTH123, PTH211
from __future__ import annotations

import ctypes
import os
import signal
import stat
import sys
import warnings  # noqa: F401  os.execvp() wants it, and then there is no library to import it from
from collections.abc import Sequence

MARK = "# put here by bootserver while it works in this tree\n"
"""In files that must not stay in an image: whoever finds one left behind may remove it."""
POLICY = "/usr/sbin/policy-rc.d"
"""What Debian's packages ask before they start a service; 101: don't (invoke-rc.d(8))."""
_POLICY_FOLDER = "/usr/sbin"
POLICY_TEXT = f"#!/bin/sh\n{MARK}exit 101\n"

_NOSUID, _NODEV, _NOEXEC, _RDONLY, _BIND = 2, 4, 8, 1, 4096
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_SETATTR = 442  # the same number on all architectures
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_MNT_DETACH = 2
_PR_CAPBSET_DROP = 24
# A package's script has no business with the frontend's kernel: modules, I/O ports, reboot, the clock (capabilities(7)).
_DROPPED = (16, 17, 22, 25)
_NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """``struct mount_attr``."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns", ctypes.c_uint64),
    )


def main(arguments: Sequence[str]) -> int:
    how, folder, *command = arguments
    try:
        if how == "write":
            _only_writable(folder)
            os.execvp(command[0], command)  # noqa: S606
        return _in_root(folder, command)
    except OSError as error:
        print(f"{command[0]} can't be run in {folder}: {error.strerror} ({error.filename or how})", file=sys.stderr)
        return 126


def _only_writable(folder: str) -> None:
    _mount(folder, folder, None, _BIND)
    _set_read_only("/", _RDONLY, 0, _AT_RECURSIVE)
    _set_read_only(folder, 0, _RDONLY, 0)


def _in_root(tree: str, command: list[str]) -> int:
    # Of the frontend, and opened before the tree is all there is.
    resolver = _resolver()
    _make_root(tree)
    for name in ("proc", "sys", "dev", "run"):
        os.makedirs(f"/{name}", 0o755, exist_ok=True)
    _mount("proc", "/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    _mount("sysfs", "/sys", "sysfs", _NOSUID | _NODEV | _NOEXEC | _RDONLY)
    _mount("tmpfs", "/run", "tmpfs", _NOSUID | _NODEV, "mode=755")
    os.mkdir("/run/lock", 0o755)
    os.chmod("/run/lock", 0o1777)  # noqa: S103 (as every system has it)
    _devices()
    _bind_resolver(resolver)
    for capability in _DROPPED:
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    before = _time_of(_POLICY_FOLDER)
    policy = _forbid_services()
    ours = _time_of(_POLICY_FOLDER)
    try:
        return _run(command)
    finally:
        if policy:
            changed = _time_of(_POLICY_FOLDER) != ours
            os.unlink(POLICY)
            if not changed:  # the command left the folder as it was, and so do we: a trace of ours would be a change of the image
                os.utime(_POLICY_FOLDER, ns=(before, before))


def _time_of(folder: str) -> int:
    """When a folder was changed, in ns; 0 where there is none."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


def _make_root(tree: str) -> None:
    """The tree alone is left: what is mounted elsewhere is not behind it, as it is behind a chroot, but gone."""
    _mount(tree, tree, None, _BIND)
    os.chdir(tree)
    number = _PIVOT_ROOT.get(os.uname().machine)
    # The old root is put over the new one and taken away: no folder is needed for it (pivot_root(2), "pivot_root(".", ".")").
    if number is not None and _libc.syscall(ctypes.c_long(number), b".", b".") == 0:
        _libc.umount2(b".", _MNT_DETACH)
    else:  # the frontend itself runs from its initramfs, which can't be pivoted away
        os.chroot(".")
    os.chdir("/")


def _devices() -> None:
    _mount("tmpfs", "/dev", "tmpfs", _NOSUID, "mode=755")
    for name, (major, minor) in _NODES.items():
        os.mknod(f"/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
        os.chmod(f"/dev/{name}", 0o666)  # noqa: S103 (the umask took some of it)
    for name, target in _LINKS.items():
        os.symlink(target, f"/dev/{name}")
    for name in ("pts", "shm"):
        os.mkdir(f"/dev/{name}", 0o755)
    _mount("devpts", "/dev/pts", "devpts", _NOSUID | _NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5")
    _mount("tmpfs", "/dev/shm", "tmpfs", _NOSUID | _NODEV, "mode=1777")  # noqa: S108


def _resolver() -> bytes | None:
    try:
        with open("/etc/resolv.conf", "rb") as file:
            return file.read(65536)
    except OSError:
        return None


def _bind_resolver(content: bytes | None) -> None:
    """Names are looked up as the frontend does, without a trace in the tree (but an empty file, where there was none)."""
    if content is None:
        return
    with open("/run/.resolv.conf", "wb") as file:
        file.write(content)
    target = "/etc/resolv.conf"
    try:
        if os.path.islink(target):  # mostly into /run, which is ours now
            os.makedirs(os.path.dirname(os.path.realpath(target)), exist_ok=True)
        with open(target, "ab"):
            pass
        _mount("/run/.resolv.conf", target, None, _BIND)
    except OSError:
        return  # a tree without /etc: what needs a name will say so


def _forbid_services() -> bool:
    """:returns: whether a policy was put there, which is to be removed."""
    try:
        descriptor = os.open(POLICY, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o755)
    except OSError:
        return False  # there is one already, or no Debian
    with os.fdopen(descriptor, "w") as file:
        file.write(POLICY_TEXT)
        os.fchmod(descriptor, 0o755)
    return True


def _run(command: list[str]) -> int:
    """Run it as a child: this process is the namespace's init, which signals that are not handled don't reach."""
    child = os.fork()
    if child == 0:
        try:
            os.execvp(command[0], command)  # noqa: S606
        except OSError as error:
            print(f"{command[0]} can't be run in this tree: {error.strerror}", file=sys.stderr)
        finally:
            os._exit(127)  # whatever went wrong: the parent cleans up, not we
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # the terminal sends them to the child, too
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    while True:
        pid, status = os.wait()  # orphans as well
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    arguments = (source.encode(), target.encode(), kind.encode() if kind else None, ctypes.c_ulong(flags), options.encode())
    if _libc.mount(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)


def _set_read_only(target: str, add: int, clear: int, flags: int) -> None:
    attributes = _Attributes(add, clear, 0, 0)
    arguments = (ctypes.c_long(_MOUNT_SETATTR), _AT_FDCWD, target.encode(), flags, ctypes.byref(attributes))
    if _libc.syscall(*arguments, ctypes.c_size_t(ctypes.sizeof(attributes))) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
