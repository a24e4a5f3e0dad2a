"""Events in words: the story of a boot, as ``events``, ``node show`` and ``why`` tell it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bootserver.cluster.events import Event

Fact = str | int | float | bool | None

_FIRST = ("phase", "percent", "ahead", "rate", "remaining", "path", "address", "file", "action", "bytes", "seconds")
"""The facts that people look for stand first, in this order; the others follow as they are named."""

_LAST = ("because", "why")


def clock(at: float) -> str:
    """A moment in local time, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def subject(event: Event) -> str:
    """Who did it: the node, else the machine, else the service itself."""
    return event.node or (str(event.mac) if event.mac is not None else "")


def words(detail: Mapping[str, Fact]) -> str:
    """A detail as people say it: ``installer/vmlinuz, 8.1 MB in 0.8 s``."""
    rest = [key for key in detail if key not in _FIRST and key not in _LAST]
    parts: list[str] = []
    for key in (*_FIRST, *rest, *_LAST):
        value = detail.get(key)
        if value is None or value is False or value == "":
            continue
        if key == "seconds" and isinstance(value, int | float) and parts and "bytes" in detail:
            parts[-1] += f" in {value:.1f} s"
        else:
            parts.append(_word(key, value))
    return ", ".join(filter(None, parts))


def _word(key: str, value: Fact) -> str:
    if value is True:
        return key
    match key:
        case "bytes" if isinstance(value, int | float):
            return size(value)
        case "seconds" if isinstance(value, int | float):
            return f"{value:.1f} s"
        case "lease" if isinstance(value, int | float):
            return ""  # the same for all; `node show` tells it
        case "percent" if isinstance(value, int | float):
            return f"{value:.0f}%"
        case "rate" if isinstance(value, int | float):
            return f"{value:.1f} MB/s"
        case "remaining" if isinstance(value, int | float):
            return f"{value:.0f} s left"
        case "ahead":
            return f"waits for its turn, {value} before it"
        case "phase" | "path" | "file" | "address" | "action" | "why" | "because":
            return str(value)
        case _:
            return f"{key} {value}"


def size(count: float) -> str:
    """Bytes, in units of 1,000 as tools print transfers."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
