"""Firmware files that the ramdisk's drivers ask for, as far as the frontend has them (packages firmware-*, linux-firmware)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from bootserver.install.ramdisk.inputs import Inputs

FOLDERS = (Path("/lib/firmware/updates"), Path("/lib/firmware"))
_SUFFIXES = ("", ".xz", ".zst")  # as the kernel looks for them, too (CONFIG_FW_LOADER_COMPRESS)


def find(names: Iterable[str], inputs: Inputs, folders: Iterable[Path] = FOLDERS) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """
    :returns: the files by their path below ``/lib/firmware``; and the names of those that the frontend does not have.
    """
    found: dict[str, bytes] = {}
    missing = []
    for name in sorted(set(names)):
        if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
            continue  # no driver asks so, and no file of ours is to leave its folder
        candidates = ((folder / f"{name}{suffix}", f"{name}{suffix}") for folder in folders for suffix in _SUFFIXES)
        match = next(((path, place) for path, place in candidates if inputs.exists(path)), None)
        if match is None:
            missing.append(name)
        else:
            found[match[1]] = inputs.read(match[0])
    return found, tuple(missing)
