"""Recorded machines: documents as ``installer/inventory`` prints them, for programs to be tried on.

Those that came with bootserver are in ``partition_scripts/inventories``, a site's own in the folder of that name of the state
directory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bootserver.install import inventory
from bootserver.install.inventory import Inventory, InventoryFault
from bootserver.install.partition import programs

FOLDER = "inventories"
MAX_BYTES = 1 << 20
"""As much as a node may send."""


@dataclass(frozen=True, slots=True)
class Recorded:
    name: str
    path: Path

    def inventory(self) -> Inventory:
        """:raises InventoryFault: it is none; the text names the file."""
        return load(self.path)


def recorded(state: Path) -> list[Recorded]:
    """All of them by name, the site's in the place of those that came with bootserver."""
    found: dict[str, Recorded] = {}
    for folder, _ in programs.folders(state):
        for path in sorted((folder / FOLDER).glob("*.json")):
            found.setdefault(path.stem, Recorded(path.stem, path))
    return [found[name] for name in sorted(found)]


def load(path: Path) -> Inventory:
    """A document in a file. :raises InventoryFault: it can't be read, or is none; the text names the file."""
    try:
        return inventory.parse(inventory.decode(content(path)))
    except InventoryFault as error:
        raise InventoryFault(f"{path}: {error}") from error


def content(path: Path) -> bytes:
    """:raises InventoryFault: it can't be read, or is too large to be one."""
    try:
        with path.open("rb") as file:
            found = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InventoryFault(f"it can't be read: {error.strerror}") from error
    if len(found) > MAX_BYTES:
        raise InventoryFault(f"it has more than {MAX_BYTES >> 20} MiB, and is no inventory")
    return found
