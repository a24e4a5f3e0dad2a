"""How a value is written for each target that templates speak to: a shell, a kickstart line, a debconf line, YAML, XML.

These are filters of templates. Every value is one line of printable text (that is what an attribute may be); what is not is
refused, so that no value ever begins a line of a file. Filters for whole scripts take many lines and encode each.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any
from xml.sax.saxutils import escape

from bootserver.errors import UsageError

MARKS = ("\ue000", "\ue001", "\ue002")
"""Private characters that :mod:`bootserver.install.marked` puts around blocks. No value holds them: they are not printable."""


def shell(value: object) -> str:
    """A word of a POSIX shell."""
    return shlex.quote(_line(value))


def kickstart(value: object) -> str:
    """A word of a kickstart line: Anaconda splits them as a shell does (pykickstart, ``shlex.split``)."""
    return shlex.quote(_line(value))


def preseed(value: object) -> str:
    """The value of a debconf line, which goes to the line's end. :raises UsageError: it would go on in the next line."""
    text = _line(value)
    if text.endswith("\\"):
        raise UsageError(f"{text!r} ends with a backslash, which would join a debconf line with the next one")
    return text.strip()


def comment(value: object) -> str:
    """The rest of a comment's line; debconf lets even a comment go on after a backslash."""
    return _line(value).rstrip("\\ ")


def yaml(value: object) -> str:
    """A value of YAML, as JSON writes it, which is YAML, too (YAML 1.2, section 1.3)."""
    return json.dumps(_checked(value), ensure_ascii=False)


def xml(value: object) -> str:
    """Text or an attribute of XML; a script may have many lines."""
    return escape(_lines(value), {'"': "&quot;", "'": "&apos;"})


def preseed_script(text: str, path: str) -> str:
    """A script as the value of a debconf line: a command that writes the script to a file and runs it.

    Each line is a word that a shell unquotes. All of it is one line of the preseed file: debian-installer reads that by a shell
    script that starts six programs for each line, which takes minutes on a slow machine.

    :param path: where it is written in the installer.
    """
    lines = " ".join("'" + line.replace("'", "'\"'\"'") + "'" for line in _lines(text).splitlines())
    return f"printf '%s\\n' {lines} >{path} && sh {path}"


def yaml_text(text: str, indent: int) -> str:
    """Many lines as a block scalar of YAML (YAML 1.2, section 8.1): each is indented, so none of them is YAML itself.

    :param indent: columns, two more than those of what it belongs to.
    """
    lines = "\n".join(" " * indent + line if line else "" for line in _lines(text).rstrip("\n").split("\n"))
    return f"|2\n{lines}"


FILTERS: Mapping[str, Callable[..., str]] = {
    "sh": shell,
    "comment": comment,
    "ks": kickstart,
    "preseed": preseed,
    "preseed_script": preseed_script,
    "json": yaml,
    "yaml_text": yaml_text,
    "xml": xml,
}


def _line(value: object) -> str:
    text = str(value)
    for character in text:
        if not character.isprintable() and character != "\t":
            raise UsageError(f"{text[:60]!r} holds {character!r}: a value is one line of printable text")
    return text


def _lines(value: object) -> str:
    text = str(value)
    if not text.isprintable():
        for character in text:
            if not character.isprintable() and character not in "\n\t" and character not in MARKS:
                raise UsageError(f"a text holds {character!r}, which is not printable")
    return text


def _checked(value: Any) -> Any:
    """What JSON is made of, each text of it checked."""
    if isinstance(value, Mapping):
        return {_line(key): _checked(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_checked(each) for each in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _lines(value)
