"""What takes long to make is made once, and kept in ``.cache/lab`` of the checkout under a name that says what went into it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
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

    It appears whole or not at all. Of several that want it at once, in processes of their own, one makes it and the others wait.
    """
    folder = CACHE / name
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with _turn(CACHE / f".{name}.lock"):
        if folder.is_dir():  # it was made while this one waited
            return folder
        draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=CACHE))
        try:
            make(draft)
            draft.chmod(0o755)
            os.rename(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


@contextlib.contextmanager
def _turn(lock: Path) -> Iterator[None]:
    """Hold a lock that ends with this process, whatever ends it; programs that it starts do not inherit it."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
