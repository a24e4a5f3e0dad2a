"""Reading a document (JSON) that a stranger sent: each look says what was expected and where it was not so.

What is missing and what is null are the same; a value of a wrong type is a :class:`Fault`, never a ``KeyError``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from bootserver.errors import BootserverError

MAX_TEXT = 1024
_Default = TypeVar("_Default")


class Fault(BootserverError):
    """A value that can't be; the text says which and where."""


class _Required(Generic[_Default]):
    """Marks a value that has no default."""


_REQUIRED: _Required[Any] = _Required()


class Found:
    """A value of a document, and where it stands in it (``inventory.disks.vda.serial``)."""

    __slots__ = ("_value", "where")

    def __init__(self, value: Any, where: str) -> None:
        self._value = value
        self.where = where

    @property
    def is_there(self) -> bool:
        return self._value is not None

    def fault(self, what: str) -> Fault:
        return Fault(f"{self.where} {what}: {_shown(self._value)}")

    def __getitem__(self, key: str) -> Found:
        """A member of an object; of one that is not there, one that is not there. :raises Fault: it is no object."""
        where = f"{self.where}.{clean(key)[:60]}"
        if self._value is None:
            return Found(None, where)
        if not isinstance(self._value, Mapping):
            raise self.fault("is no object")
        return Found(self._value.get(key), where)

    def members(self, limit: int) -> Iterator[tuple[str, Found]]:
        """An object's members. :raises Fault: it is none, or has more than `limit`."""
        if self._value is None:
            return
        if not isinstance(self._value, Mapping) or not all(isinstance(key, str) for key in self._value):
            raise self.fault("is no object")
        if len(self._value) > limit:
            raise Fault(f"{self.where} has {len(self._value)} members, and at most {limit} make sense")
        for key in self._value:
            yield key, self[key]

    def items(self, limit: int) -> Iterator[Found]:
        """A list's items. :raises Fault: it is none, or has more than `limit`."""
        if self._value is None:
            return
        if not isinstance(self._value, list):
            raise self.fault("is no list")
        if len(self._value) > limit:
            raise Fault(f"{self.where} has {len(self._value)} items, and at most {limit} make sense")
        for number, item in enumerate(self._value):
            yield Found(item, f"{self.where}[{number}]")

    def text(self) -> str:
        """A text without spaces at its ends, empty where there is none; what is no printable ASCII is a ``?``."""
        if self._value is None:
            return ""
        if not isinstance(self._value, str):
            raise self.fault("is no text")
        if len(self._value) > MAX_TEXT:
            raise Fault(f"{self.where} is a text of {len(self._value)} characters, and at most {MAX_TEXT} make sense")
        return clean(self._value).strip()

    def number(self, most: int, *, default: int | _Required[Any] = _REQUIRED) -> int:
        """A whole number from 0 to `most`; lsblk before 2.33 puts numbers in quotes."""
        value = self._value
        if value is None and isinstance(default, int):
            return default
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,20}", value, re.ASCII):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.fault("is no whole number")
        if not 0 <= value <= most:
            raise self.fault(f"is not between 0 and {most}")
        return value

    def flag(self, *, default: _Default) -> bool | _Default:
        """True or false; lsblk before 2.33 says "1" and "0"."""
        match self._value:
            case None:
                return default
            case bool():
                return self._value
            case "0" | "1":
                return bool(self._value == "1")
        raise self.fault("is neither true nor false")


def clean(text: str) -> str:
    """The text with a ``?`` for each character that is no printable ASCII: it may go to a terminal."""
    return "".join(each if " " <= each <= "~" else "?" for each in text)


def _shown(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 64:
        return "a number of more than 64 bits"  # and int's own text has limits
    if isinstance(value, (Mapping, list)):
        return "an object" if isinstance(value, Mapping) else "a list"
    return clean(repr(value))[:60]
