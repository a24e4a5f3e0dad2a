"""Running a validator: a program of its own, its words in English, and nothing of ours on its standard input."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from bootserver.errors import Unavailable


def run(
    command: Sequence[str], *, timeout: float, merged: bool = False, text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it to its end, however it ends.

    :param timeout: seconds. :param merged: what it says on stderr comes in its place in stdout. :param text: its standard input.
    :raises Unavailable: it can't be started, or takes too long.
    """
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        return subprocess.run(
            list(command),
            input=text or "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            timeout=timeout,
            env=environment,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise Unavailable(f"{command[0]} can't be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{command[0]} has not ended after {timeout:.0f} s") from error
