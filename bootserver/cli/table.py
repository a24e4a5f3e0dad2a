"""How lists are printed: a table for people, JSON and CSV for programs.

What comes from nodes (host names, vendor strings) is data: no control character of it ever reaches a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Cell = str | int | float | bool | None | Sequence[str] | Mapping[str, Any]

EMPTY = "-"
"""What a table shows where there is nothing, so that its columns can be told apart (and cut by awk)."""

format_option = click.option(
    "--format", "format_", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True, help="How to print."
)


def plain(text: str) -> str:
    """A text without anything that a terminal would obey, all on one line."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)


def show(columns: Sequence[str], rows: Iterable[Sequence[Cell]], format_: str) -> None:
    """Print a list.

    :param columns: names in capitals; in JSON they are the keys, in lower case.
    """
    if format_ == "json":
        text = as_json(columns, rows)
    elif format_ == "csv":
        text = _as_csv(columns, rows)
    else:
        text = _as_table(columns, rows)
    if text:
        click.echo(text)


def as_json(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """An array of objects, one a line."""
    import json

    keys = [column.lower() for column in columns]
    objects = [json.dumps(dict(zip(keys, row, strict=True))) for row in rows]
    return "[\n" + ",\n".join(objects) + "\n]" if objects else "[]"


def _as_csv(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.lower() for column in columns])
    writer.writerows([[_text(cell, "") for cell in row] for row in rows])
    return text.getvalue().rstrip("\n")


def _as_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    lines = [list(columns), *([_text(cell, EMPTY) for cell in row] for row in rows)]
    if len(lines) == 1:
        return ""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    widths[-1] = 0  # no blanks at the ends of lines
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _text(cell: Cell, empty: str) -> str:
    if isinstance(cell, str):
        return plain(cell) or empty
    if cell is None:
        return empty
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int | float):
        return str(cell)
    return plain(" ".join(cell)) or empty
