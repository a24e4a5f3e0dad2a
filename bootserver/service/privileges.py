"""The one door for privilege: the supervisor opens sockets as root and hands them to parts that are an ordinary user."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
from pathlib import Path

from bootserver.errors import Unavailable

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_libc = ctypes.CDLL(None, use_errno=True)


def account(user: str) -> pwd.struct_passwd | None:
    """Who the parts run as; None where we are no root and stay who we are.

    :raises Unavailable: there is no such user.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise Unavailable(f"there is no user {user!r}, who the service runs as: `bootserver init` makes it") from None


def group(user: str) -> int | None:
    """The service's own group, by which it reads what a site lets it read; None where there is no such user."""
    try:
        return pwd.getpwnam(user).pw_gid
    except KeyError:
        return None


def become(who: pwd.struct_passwd | None, name: str) -> None:
    """In a part's process: give up root for good, end with the supervisor, and be called `name` in ps.

    Capabilities go with the user id (capabilities(7)); no later exec can bring any back.
    """
    if who is not None:
        os.setgroups([])
        os.setresgid(who.pw_gid, who.pw_gid, who.pw_gid)
        os.setresuid(who.pw_uid, who.pw_uid, who.pw_uid)
    _finish(name)


# Of root's capabilities (capabilities(7)): rsync needs a chroot, any file's content, and its own user. The part itself also
# writes into a folder that is the service's (DAC_OVERRIDE).
_DAC_OVERRIDE, _DAC_READ_SEARCH, _SETGID, _SETUID, _SYS_CHROOT = 1, 2, 6, 7, 18
_FOR_PROGRAMS = frozenset({_DAC_READ_SEARCH, _SETGID, _SETUID, _SYS_CHROOT})
_FOR_ITSELF = _FOR_PROGRAMS | {_DAC_OVERRIDE}
_LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")
_CAPABILITY_VERSION = 0x20080522


def stay_root(name: str) -> None:
    """In the process of a part that must be root: give up all capabilities but a few, its programs' too.

    :raises OSError: they can't be given up, and the part must not go on.
    """
    if os.geteuid() == 0:
        for number in range(int(_LAST_CAPABILITY.read_text()) + 1):
            if number not in _FOR_PROGRAMS:
                _check(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0))
        mask = sum(1 << number for number in _FOR_ITSELF)
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)  # of this process
        data = (ctypes.c_uint32 * 6)(mask, mask, 0, 0, 0, 0)  # effective, permitted, inheritable; the same of the upper 32
        _check(_libc.capset(header, data))
    _finish(name)


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"privileges can't be given up: {os.strerror(ctypes.get_errno())}")


def _finish(name: str) -> None:
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # After the change of user, which clears it (prctl(2)): when the supervisor is killed, its sockets must be free.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _libc.prctl(_PR_SET_NAME, f"bs-{name}".encode()[:15])


def check_reach(who: pwd.struct_passwd | None, state: Path) -> None:
    """Say now what would otherwise fail in a part: its user must be able to enter the state directory.

    :raises Unavailable: it can't.
    """
    if who is None:
        return
    for folder in (state, *state.parents):
        if not folder.stat().st_mode & _bit(who, folder, 0o1):
            raise Unavailable(f"user {who.pw_name} can't enter {folder}: `chmod a+x {folder}`, or set frontend.state")


def check_readable(who: pwd.struct_passwd | None, file: Path) -> None:
    """The same for one file. :raises Unavailable: the service's user can't read it, or can't get to it."""
    if who is None:
        return
    for path, need in ((file, 0o4), *((folder, 0o1) for folder in file.parents)):
        if not path.stat().st_mode & _bit(who, path, need):
            mend = f"chgrp {who.pw_name} {path}; chmod g+{'r' if need == 0o4 else 'x'} {path}"
            raise Unavailable(f"user {who.pw_name} can't read {file}: `{mend}`")


def _bit(who: pwd.struct_passwd, path: Path, need: int) -> int:
    """The bit of a path's mode that says whether a user may (path_resolution(7)). :param need: as of others: 4 read, 1 enter."""
    status = path.stat()
    return need << 6 if status.st_uid == who.pw_uid else need << 3 if status.st_gid == who.pw_gid else need
