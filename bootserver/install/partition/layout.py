"""From a machine to its layout: the node's partition program answers, the answer is checked and placed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from bootserver.cluster import attributes
from bootserver.cluster.view import NodeView
from bootserver.install.inventory import Inventory
from bootserver.install.partition import place, programs
from bootserver.install.partition.facts import Need
from bootserver.install.partition.model import Answer
from bootserver.install.partition.plan import Plan


@dataclass(frozen=True, slots=True)
class Layout:
    """What is wanted, and where it goes: distributions' installers are told the first, ours the second."""

    answer: Answer
    plan: Plan


def lay_out(
    node: NodeView,
    inventory: Inventory,
    *,
    state: Path,
    user: str,
    wipe: bool,
    seed: bytes,
    size: int = 0,
    var_size: int = 0,
) -> Layout:
    """
    :param state: the state directory, where the site's programs are. :param user: who the service is.
    :param wipe: nothing is kept. :param seed: UUIDs come of it: the same for all that one try of an install fetches.
    :param size: bytes that come onto the disks, as far as it is known. :param var_size: of those below ``/var``.
    :raises BootserverError: there is no such program, it fails, or does not want this machine, or its answer can't be.
    """
    name = node.attributes.get(programs.ATTRIBUTE) or programs.DEFAULT
    need = Need(size, var_size, attributes.choice(node.attributes, "filesystem"))
    answer = programs.answer(name, node, inventory, need, state=state, user=user, wipe=wipe)
    new_uuids = uuids(seed)
    return Layout(answer, place.place(answer, inventory, wipe=wipe, new_uuid=lambda: next(new_uuids)))


def uuids(seed: bytes) -> Iterator[UUID]:
    """Random to everybody who does not know the seed (RFC 9562, version 4 in form)."""
    number = 0
    while True:
        yield UUID(bytes=hashlib.sha256(seed + number.to_bytes(4)).digest()[:16], version=4)
        number += 1
