"""Golden files: texts that people have looked at once, below ``tests/data/partition``.

``BOOTSERVER_GOLDEN=write`` makes them anew; then look at what changed.
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "data" / "partition"


def golden(name: str, text: str) -> None:
    """The text is what the file holds."""
    path = FOLDER / name
    if os.environ.get("BOOTSERVER_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
