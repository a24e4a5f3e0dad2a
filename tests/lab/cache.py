"""What takes long to make is made once, and kept in ``.cache/lab`` of the checkout under a name that says what went into it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.lab.process import REPOSITORY

CACHE = REPOSITORY / ".cache" / "lab"


def fingerprint(*inputs: bytes | str | Path) -> str:
    """A short name for these inputs; a path stands for the file's content."""
    digest = hashlib.sha256()
    for item in inputs:
        content = item.read_bytes() if isinstance(item, Path) else item.encode() if isinstance(item, str) else item
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:16]


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache, filled by `make` when it is not there.

    It appears whole or not at all; two that make it at once end up with the same one.
    """
    folder = CACHE / name
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=CACHE))
    try:
        make(draft)
        draft.chmod(0o755)
        with contextlib.suppress(OSError):  # another one was faster, and a folder that is not empty is not replaced
            os.rename(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    assert folder.is_dir(), f"{folder} could not be made"
    return folder
