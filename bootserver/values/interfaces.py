"""The attribute ``interfaces``: which further cards nodes have, and on which networks (``eth1=storage ib0=fabric``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bootserver.errors import UsageError
from bootserver.values import grammar

ATTRIBUTE: Final = "interfaces"
MOST: Final = 32


@dataclass(frozen=True, slots=True)
class Wanted:
    """:ivar device: as the node calls it. :ivar network: the name of the network that it is on."""

    device: str
    network: str


def wanted(value: str) -> tuple[Wanted, ...]:
    """Words ``DEVICE=NETWORK``. :raises UsageError: these are others, or one device twice."""
    found: dict[str, Wanted] = {}
    for word in value.split():
        device, equals, network = word.partition("=")
        if not equals or not network:
            raise UsageError(f"{ATTRIBUTE} is words DEVICE=NETWORK, such as eth1=storage ib0=fabric, not {word!r}")
        if device in found:
            raise UsageError(f"{ATTRIBUTE} names {device} twice")
        found[grammar.device_name(device)] = Wanted(device, grammar.host_label(network))
    if len(found) > MOST:
        raise UsageError(f"{ATTRIBUTE} names at most {MOST} devices, not {len(found)}")
    return tuple(found.values())
