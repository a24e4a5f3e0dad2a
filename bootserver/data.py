"""Where the files that come with bootserver are: templates, partition programs, the installer's scripts, units.

In a checkout they stand at the top of the tree, for a site to see and edit; an installed wheel has them as package data.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """``kickstart``, ``partition_scripts``, ``installer``, ``tftpboot`` or ``systemd``."""
    installed = _PACKAGE / "data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
