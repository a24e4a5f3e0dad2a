"""Which block of a template each line of a rendered file comes from.

A template of this kind writes marks around its blocks; they are taken out again, and what stays is the same text.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, Template
from jinja2.runtime import Context

from bootserver.install.writing import MARKS

if TYPE_CHECKING:
    from collections.abc import Callable

_BEGIN, _NAMED, _END = MARKS


class _Marked:
    """A block's function, with marks around what it yields. ``super()`` looks for the function itself, so they are equal."""

    def __init__(self, name: str, block: Callable[[Context], Iterator[str]]) -> None:
        self._name, self._block = name, block

    def __call__(self, context: Context) -> Iterator[str]:
        yield f"{_BEGIN}{self._name}{_NAMED}"
        yield from self._block(context)
        yield _END

    def __eq__(self, other: object) -> bool:
        return other is self or other is self._block

    def __hash__(self) -> int:
        return hash(self._block)


class MarkedTemplate(Template):
    @classmethod
    def _from_namespace(
        cls,
        environment: Environment,
        namespace: MutableMapping[str, Any],
        globals: MutableMapping[str, Any],  # noqa: A002
    ) -> Template:
        template = super()._from_namespace(environment, namespace, globals)
        template.blocks = {name: _Marked(name, block) for name, block in template.blocks.items()}
        return template


def unmarked(text: str) -> tuple[str, list[str]]:
    """The text itself, and for each of its lines the innermost block that its first character is in ("" for none)."""
    plain: list[str] = []
    blocks: list[str] = []
    open_: list[str] = []
    first: str | None = None  # the block of this line, once something stands in it
    name: list[str] | None = None
    for character in text:
        if name is not None:
            if character == _NAMED:
                open_.append("".join(name))
                name = None
            else:
                name.append(character)
        elif character == _BEGIN:
            name = []
        elif character == _END:
            open_.pop()
        else:
            plain.append(character)
            if first is None and not character.isspace():
                first = open_[-1] if open_ else ""
            if character == "\n":
                blocks.append(first if first is not None else open_[-1] if open_ else "")
                first = None
    if plain and plain[-1] != "\n":
        blocks.append(first or "")
    return "".join(plain), blocks
