"""How long work says how far it is: words, and a fraction where it is known."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float | None], None]
"""Called with what is done now (``unpacking``) and how much of that is done, from 0 to 1; None: nobody knows."""


def quiet(words: str, fraction: float | None = None) -> None:
    """A progress that nobody sees."""
