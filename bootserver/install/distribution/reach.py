"""May the service's user read a tree? Found out by being that user: modes, ACLs and NFS all count."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

from bootserver.errors import Refused, Unavailable

_SECONDS = 120
"""A mirror of a million files takes some ten."""
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108
"""systemd/bootserver.service has ProtectHome= and PrivateTmp=, so that the service has other folders of these names."""


def check_readable(tree: Path, user: str) -> None:
    """
    :param tree: without links in it (:meth:`pathlib.Path.resolve`).
    :raises Refused: the service's user can't read something of it; the text says what, and the command that mends it.
    """
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return  # `bootserver init` has not made it yet, and no service runs
    if os.geteuid() not in (0, account.pw_uid):
        return
    above = [str(folder) for folder in reversed((tree, *tree.parents))]
    first = _find(account, *above, "-maxdepth", "0", "!", "-executable")
    if first:
        raise Refused(
            f"user {user}, who the service runs as, can't enter {first}: `chmod a+x {first}`,"
            " or put the tree elsewhere, say below /srv"
        )
    unreadable = (
        "(",
        "-type",
        "d",
        "!",
        "(",
        "-readable",
        "-executable",
        ")",
        ")",
        "-o",
        "(",
        "-type",
        "f",
        "!",
        "-readable",
        ")",
    )
    first = _find(account, str(tree), "(", *unreadable, ")")
    if first:
        raise Refused(f"user {user}, who the service runs as, can't read {first}: `chmod -R a+rX {tree}`")


def hidden_by(tree: Path) -> str | None:
    """The folder that the service, started by systemd, sees another one of; None where it sees the tree."""
    return next((folder for folder in _HIDDEN if tree.is_relative_to(folder)), None)


def _find(account: pwd.struct_passwd, *words: str) -> str:
    """The first that find(1), run as that user, finds."""
    command = ["find", *words, "-print", "-quit"]
    if os.geteuid() == 0:
        ids = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--inh-caps=-all"]
        command = ["setpriv", *ids, "--no-new-privs", "--pdeathsig", "KILL", "--", *command]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    try:
        done = subprocess.run(command, capture_output=True, env=environment, cwd="/", timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return ""
    except FileNotFoundError as error:
        raise Unavailable(f"there is no program {error.filename}: install it") from None
    return os.fsdecode(done.stdout).strip()
