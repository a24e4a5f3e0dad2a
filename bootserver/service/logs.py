"""The service's log: lines on stderr, which the journal keeps. Each names the part that it comes from."""

from __future__ import annotations

import logging
import sys


def log_to_stderr(verbose: bool) -> None:
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, stream=sys.stderr)
    name_part("supervisor")


def name_part(name: str) -> None:
    """From now on this process's lines begin with `name`; on a terminal with the time, which the journal knows itself."""
    stamp = "%(asctime)s " if sys.stderr.isatty() else ""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(logging.Formatter(f"{stamp}{name}: %(levelname)s %(message)s"))
