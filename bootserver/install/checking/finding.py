"""What a check finds, and where in a rendered file: the line, and what encloses it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """As a validator tells it. :ivar line: from 1; None: the validator names none."""

    line: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """A file as a node would get it.

    :ivar blocks: for each line the template's block that it comes from.
    """

    text: str
    blocks: Sequence[str]

    def where(self, line: int | None) -> str:
        """``line 31 (%packages, block packages)``; empty where nobody knows."""
        if line is None:
            return ""
        around = [self.section(line), f"block {block}" if (block := self.block(line)) else ""]
        words = ", ".join(word for word in around if word)
        return f"line {line}" + (f" ({words})" if words else "")

    def block(self, line: int) -> str:
        return self.blocks[line - 1] if 0 < line <= len(self.blocks) else ""

    def section(self, line: int) -> str:
        """A kickstart's section: ``%packages``, from its line to its ``%end``."""
        found = ""
        for number, text in enumerate(self.text.split("\n")[:line], 1):
            match = _SECTION.match(text)
            if match is None:
                continue
            if match[1] != "%end":
                found = match[1]
            elif number < line:
                found = ""
        return found


_SECTION = re.compile(r"(%(?:packages|pre-install|preinstall|pre|post|onerror|traceback|addon|anaconda|certificate|end))(?=\s|$)")
