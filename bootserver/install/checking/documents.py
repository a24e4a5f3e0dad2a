"""Files that are a document: cloud-config (by cloud-init's own schema), and XML, which is only seen to be well-formed."""

from __future__ import annotations

import re
import shutil
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from xml.parsers import expat

from bootserver.errors import Unavailable
from bootserver.install.checking.finding import Problem
from bootserver.install.checking.tool import run

TIMEOUT = 60

_AT = re.compile(r"format-l(\d+)\.c\d+: File \S+ (?:is not valid yaml\. )?(.*)")
_KEY = re.compile(r"([a-z_]+)(?:\.[\w.-]+)?: ")


def cloud_config_program() -> Path:
    """:raises Unavailable: it is not here."""
    found = shutil.which("cloud-init")
    if found is None:
        raise Unavailable(
            "cloud-config is checked by cloud-init, which this machine lacks: `mkdir -p /etc/cloud && touch"
            " /etc/cloud/cloud-init.disabled` (it must leave this machine alone), then `apt-get install cloud-init`"
        )
    return Path(found)


def cloud_config(texts: Sequence[str]) -> list[list[Problem]]:
    """The problems of each text.

    The program takes a quarter of a second and one file at once. But it looks into ``autoinstall`` for YAML and nothing else:
    so the texts' YAML is read as parts of one file, and what is beside ``autoinstall`` is checked once where it is alike.
    """
    program = cloud_config_program()
    if len(texts) > 1 and not _one(program, _together(texts)):
        checked: dict[str, list[Problem]] = {}
        for text in texts:
            beside = _beside_autoinstall(text)
            if beside not in checked:
                checked[beside] = _one(program, beside)
        return [checked[_beside_autoinstall(text)] for text in texts]
    return [_one(program, text) for text in texts]


def _one(program: Path, text: str) -> list[Problem]:
    with tempfile.TemporaryDirectory(prefix="bootserver-check-") as folder:
        path = Path(folder, "user-data")
        path.write_text(text, encoding="utf-8")
        done = run([str(program), "schema", "--config-file", str(path)], timeout=TIMEOUT, merged=True)
    return [] if done.returncode == 0 else [_problem(done.stdout, text)]


def _together(texts: Sequence[str]) -> str:
    """All of them as one file's ``autoinstall``; what is no mapping of its own (a document's mark, say) makes it wrong."""
    parts = [f"  text{number}:\n{textwrap.indent(text, '    ')}\n" for number, text in enumerate(texts)]
    return "#cloud-config\nautoinstall:\n  version: 1\n" + "".join(parts)


def _beside_autoinstall(text: str) -> str:
    """The text without what is below ``autoinstall``, but for its version, and without comments; each line stays in its place."""
    first, *lines = text.split("\n")
    below, kept = False, [first]
    for line in lines:
        if line and line[0] not in " #":
            below = line.startswith("autoinstall:")
        is_seen = not line.startswith("#") and (not below or line[:1] != " " or line.startswith("  version:"))
        kept.append(line if is_seen else "")
    return "\n".join(kept).rstrip()


def _problem(said: str, text: str) -> Problem:
    # What stands further in quotes the file and says where; the last place is where it went wrong.
    places = [int(number) for number in re.findall(r"^\s+in .*, line (\d+), column \d+", said, re.MULTILINE)]
    words = " ".join(line for line in said.strip().split("\n") if not line.startswith(" "))
    words = words.rpartition("schema errors: ")[2].removeprefix("Error:").strip()  # deprecations may stand before
    if at := _AT.match(words):
        return Problem(places[-1] if places else int(at[1]), at[2][:300])
    if key := _KEY.match(words):
        line = re.search(rf"^{re.escape(key[1])}\s*:", text, re.MULTILINE)
        return Problem(None if line is None else text.count("\n", 0, line.start()) + 1, words[:300])
    return Problem(None, words[:300] or "cloud-init refuses it, and says nothing")


def xml(texts: Sequence[str]) -> list[list[Problem]]:
    """The problems of each text. Entities of its own are refused: nothing is ever fetched or unfolded."""
    return [_xml(text) for text in texts]


def _xml(text: str) -> list[Problem]:
    parser = expat.ParserCreate()
    lines: list[Problem] = []

    def entity(name: str, *_: object) -> None:
        lines.append(Problem(parser.CurrentLineNumber, f"it declares the entity {name}"))

    parser.EntityDeclHandler = entity
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        return [*lines, Problem(error.lineno, f"it is no well-formed XML: {expat.ErrorString(error.code)}")]
    return lines
