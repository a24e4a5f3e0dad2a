"""What this machine's network is, as iproute2 tells it (ip(8), ``-json``)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from ipaddress import IPv4Address
from typing import Any, Final

from bootserver.errors import Unavailable

PROGRAM: Final = "ip"
_SECONDS: Final = 10


def is_there() -> bool:
    """Whether there is somebody to ask."""
    return shutil.which(PROGRAM) is not None


def ask(*words: str) -> list[dict[str, Any]]:
    """``ip WORDS``. :returns: what it prints; nothing where it says no (there is no such route).

    :raises Unavailable: iproute2 is not installed.
    """
    if not is_there():
        raise Unavailable("the program `ip` is not there: install the package iproute2")
    done = subprocess.run(
        [PROGRAM, "-json", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
        env={**os.environ, "LC_ALL": "C"},
    )
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


def devices() -> dict[IPv4Address, str]:
    """Each IPv4 address of this machine, and its device; one that several have is that of the first.

    :raises Unavailable: as :func:`ask`.
    """
    found: dict[IPv4Address, str] = {}
    for link in ask("-4", "addr", "show"):
        for each in link.get("addr_info", ()):
            found.setdefault(IPv4Address(each["local"]), link["ifname"])
    return found
