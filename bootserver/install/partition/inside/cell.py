"""The walls around a partition program: namespaces(7) that an ordinary user may make, and limits (setrlimit(2)).

The process that the frontend starts makes a user namespace and in it all others, and waits. Its child is the first process of
the pid namespace: it builds a root of its own (a tmpfs with the system's programs in it, read-only; no /etc, /home, /var,
/proc), gives up every capability, and waits for its child, which runs the program. With the first process of a pid namespace
all others are killed, however many there are; and it is killed with the one that the frontend started.

Inside there is no network (a namespace without any interface), no other process, no file of the frontend's that says
anything, and a /tmp of a few MB that is gone afterwards.
"""

# The very system calls are what this is about, and each import costs a millisecond of each run.
# ruff: noqa: PTH102, PTH103, PTH110, PTH112, PTH114, PTH115, PTH120, PTH123, PTH211, S108
from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

_NEW_USER, _NEW_MOUNT, _NEW_PID, _NEW_NET, _NEW_IPC, _NEW_UTS = 1 << 28, 1 << 17, 1 << 29, 1 << 30, 1 << 27, 1 << 26
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_SETATTR = 442  # the same number on all architectures
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
_CAPABILITY_VERSION = 0x20080522
_LAST_CAPABILITY = 63  # those that a kernel does not have are no error worth a word
_SIGKILL = 9

NO_WALLS = 113
"""The exit status of one that could not be walled in; standard output says why."""
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/ld.so.cache")
"""What is seen inside: programs and libraries."""

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """``struct mount_attr``."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns", ctypes.c_uint64),
    )


def enclose(limits: Mapping[str, int], shown: tuple[str, ...], hidden: tuple[str, ...], run: Callable[[], None]) -> NoReturn:
    """Run something between walls, and end as it ends (as a shell reports it).

    :param limits: ``seconds`` of the clock, ``memory`` bytes of each process, ``tmp`` bytes in all of /tmp, ``processes``.
    :param shown: further folders that are seen, read-only. :param hidden: what is empty, where it is below them.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    _libc.alarm(limits["seconds"] + 5)  # whoever started this may have died before that
    try:
        _unshare()
        child = os.fork()
        if child == 0:
            _first(limits, shown, hidden, run)
    except OSError as error:
        _no_walls(error)
    os.closerange(0, 3)  # only those inside answer
    os._exit(_status(child))


def _unshare() -> None:
    user, group = os.geteuid(), os.getegid()
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    _check(_libc.unshare(_NEW_USER | _NEW_MOUNT | _NEW_PID | _NEW_NET | _NEW_IPC | _NEW_UTS), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    try:  # no further ones inside, where a program would be root again and could ask the kernel for more
        with open("/proc/sys/user/max_user_namespaces", "w") as file:
            file.write("0")
    except OSError:  # /proc/sys is read-only (systemd's ProtectKernelTunables); the walls hold all the same
        pass


def _first(limits: Mapping[str, int], shown: tuple[str, ...], hidden: tuple[str, ...], run: Callable[[], None]) -> NoReturn:
    """The first process of the namespace."""
    try:
        _check(_libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0), "prctl")
        _make_root(limits["tmp"], (*SYSTEM, *shown), hidden)
        _give_up()
        child = os.fork()
    except OSError as error:
        _no_walls(error)
    if child == 0:
        try:
            _limit(limits)
            run()
        finally:
            os._exit(1)  # it ends itself when all went well
    os.closerange(0, 3)
    os._exit(_status(child))


def _make_root(tmp: int, shown: tuple[str, ...], hidden: tuple[str, ...]) -> None:
    root = "/tmp"
    _mount("none", "/", None, _REC | _PRIVATE)
    sources = [(path, os.path.realpath(path)) for path in shown if os.path.lexists(path)]
    covered = [os.path.realpath(path) for path in hidden]
    null = os.open("/dev/null", os.O_RDWR)
    # The new root covers /tmp, and what is to be shown may be below it (a checkout in a test): it is opened before.
    opened = [(path, real, os.open(real, os.O_PATH)) for path, real in sources]
    _mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, "size=256k,mode=755")
    os.chdir(root)
    for path, _real, descriptor in opened:
        _show(root, path, descriptor)
    for path in covered:
        if os.path.isdir(root + path):
            _mount("tmpfs", root + path, "tmpfs", _RDONLY | _NOSUID | _NODEV, "size=4k,mode=555")
    os.makedirs("dev", exist_ok=True)
    os.close(os.open("dev/null", os.O_CREAT | os.O_WRONLY, 0o666))
    _mount(f"/proc/self/fd/{null}", f"{root}/dev/null", None, _BIND)
    os.makedirs("tmp", exist_ok=True)
    _mount("tmpfs", f"{root}/tmp", "tmpfs", _NOSUID | _NODEV | _NOEXEC, f"size={tmp},nr_inodes=4096,mode=1777")
    _mount("none", root, None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)
    os.closerange(3, 64)
    # The old root is put over the new one and taken away: no folder is needed for it (pivot_root(2)).
    _check(_libc.pivot_root(b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount2")
    os.chdir("/tmp")


def _show(root: str, path: str, descriptor: int) -> None:
    target = root + path
    if os.path.exists(target):  # below one that is shown already
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):  # /bin -> usr/bin
        os.symlink(os.readlink(path), target)
        return
    source = f"/proc/self/fd/{descriptor}"
    if os.path.isdir(source):
        os.mkdir(target)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(source, target, None, _BIND | _REC)
    attributes = _Attributes(_RDONLY | _NOSUID | _NODEV, 0, 0, 0)
    arguments = (ctypes.c_long(_MOUNT_SETATTR), _AT_FDCWD, target.encode(), _AT_RECURSIVE, ctypes.byref(attributes))
    _check(_libc.syscall(*arguments, ctypes.c_size_t(ctypes.sizeof(attributes))), "mount_setattr")


def _give_up() -> None:
    """All capabilities, and with them the way back to any."""
    for number in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")  # a program looks into no other process


def _limit(limits: Mapping[str, int]) -> None:
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, limits["seconds"] + 1),  # the clock comes first, whoever is quicker: a second lock
        (resource.RLIMIT_FSIZE, limits["tmp"]),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_NPROC, limits["processes"]),
        (resource.RLIMIT_AS, limits["memory"]),
    ):
        resource.setrlimit(kind, (most, most))


def _status(child: int) -> int:
    while True:
        pid, status = os.wait()  # of the first process: orphans as well
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    arguments: tuple[Any, ...] = (source.encode(), target.encode(), kind.encode() if kind else None)
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), options.encode()), f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)


def _no_walls(error: OSError) -> NoReturn:
    os.write(1, f"{error.filename}: {error.strerror}".encode())
    os._exit(NO_WALLS)
