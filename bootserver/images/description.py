"""What is known of an image without looking into it: ``image.json`` beside its tree."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootserver.errors import BootserverError


class DescriptionError(BootserverError):
    """An image's description can't be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Description:
    """:ivar distribution: ``debian-12``: ID and VERSION_ID of its os-release.
    :ivar title: what that calls itself: ``Debian GNU/Linux 12 (bookworm)``.
    :ivar architecture: Debian's word for it (``amd64``); empty where it can't be told.
    :ivar kernel: the newest one's version, None where there is none.
    :ivar size: bytes of all files. :ivar var_size: of those below /var, which gets a partition of its own.
    :ivar created: UTC, ``2025-05-20T12:00:00Z``.
    :ivar parent: the image that it was cloned from.
    :ivar source: how it was made, in words.
    :ivar checksum: SHA-256 of its manifest.
    """

    name: str
    distribution: str
    title: str
    architecture: str
    kernel: str | None
    size: int
    var_size: int
    entries: int
    created: str
    parent: str | None
    source: str
    checksum: str

    def encode(self) -> bytes:
        return (json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=True) + "\n").encode()

    @classmethod
    def decode(cls, text: bytes, where: Path) -> Description:
        """Read one back: every field, of its type, and no other.

        :param where: for the error. :raises DescriptionError: it is none.
        """
        mend = "`bootserver image check` writes it anew"
        try:
            values = json.loads(text)
        except ValueError as error:
            raise DescriptionError(f"{where}: no JSON ({error}): {mend}") from error
        if not isinstance(values, dict):
            raise DescriptionError(f"{where}: no object: {mend}")
        hints = typing.get_type_hints(cls)
        if unknown := sorted(values.keys() ^ hints.keys()):
            word = "no" if unknown[0] in hints else "an unknown"
            raise DescriptionError(f"{where}: {word} field {unknown[0]!r}: {mend}")
        for name, kind in hints.items():
            if not _is(values[name], kind):
                raise DescriptionError(f"{where}: {name} can't be {values[name]!r}: {mend}")
        return cls(**values)


def _is(value: Any, kind: Any) -> bool:
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    return type(value) in kinds  # exact: True is no size
