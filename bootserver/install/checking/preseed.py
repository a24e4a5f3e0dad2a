"""Preseeds, checked by ``debconf-set-selections -c`` for their lines, and by a list of the installer's questions for names.

debconf takes every name, and an answer to a question that nobody asks is no answer: so a misspelt name stops an install.
"""

from __future__ import annotations

import difflib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bootserver.errors import Unavailable
from bootserver.install.checking.finding import Problem
from bootserver.install.checking.tool import run

TIMEOUT = 120
OWNERS = ("d-i", "tasksel", "popularity-contest", "grub-installer", "partman-auto", "partman-md", "mirror", "netcfg")
"""Owners whose questions are on the list; those of other packages are theirs."""

_TYPES = ("select", "boolean", "string", "multiselect", "note", "password", "text", "title", "seen")
_LIKE = {"string": {"select", "multiselect", "text"}, "select": {"string"}, "multiselect": {"string"}, "password": {"string"}}
_SAID = re.compile(r"(?:error: parse error on line|warning: Unknown type (?P<type>\S+), skipping line) (?P<line>\d+)")

_DATABASE = """\
Config: config
Templates: templates

Name: config
Driver: File
Filename: {folder}/config.dat

Name: templates
Driver: File
Filename: {folder}/templates.dat
"""
"""debconf.conf(5)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A debconf line. :ivar line: where it begins; it may go on in the next ones."""

    line: int
    owner: str
    question: str
    type: str
    value: str


def program() -> Path:
    """:raises Unavailable: it is not here."""
    found = shutil.which("debconf-set-selections") or shutil.which("/usr/bin/debconf-set-selections")
    if found is None:
        raise Unavailable("preseeds are checked by debconf-set-selections, which this machine lacks: `apt-get install debconf`")
    return Path(found)


def check(texts: Sequence[str]) -> list[list[Problem]]:
    """The problems of each text; all of them go to debconf in one go."""
    program_ = program()
    if not texts:
        return []
    begins, lines = [], 0
    for text in texts:
        begins.append(lines)
        lines += _with_end(text).count("\n")
    with tempfile.TemporaryDirectory(prefix="bootserver-check-") as folder:
        # A database of its own: this machine's is locked while apt works, and is no business of ours.
        settings = Path(folder, "debconf.conf")
        settings.write_text(_DATABASE.format(folder=folder), encoding="utf-8")
        command = ["env", f"DEBCONF_SYSTEMRC={settings}", str(program_), "-c"]
        done = run(command, timeout=TIMEOUT, merged=True, text="".join(map(_with_end, texts)))
    found: list[list[Problem]] = [[] for _ in texts]
    for match in _SAID.finditer(done.stdout):
        line = int(match["line"])
        owner = max(number for number, begin in enumerate(begins) if begin < line)
        why = f"there is no type {match['type']!r}" if match["type"] else "it is no line of debconf: OWNER QUESTION TYPE VALUE"
        found[owner].append(Problem(line - begins[owner], why))
    if done.returncode and not any(found):
        raise Unavailable(f"debconf-set-selections ended with {done.returncode}: {done.stdout.strip()[-200:]}")
    for text, problems in zip(texts, found, strict=True):
        problems += _names(text)
        problems.sort(key=lambda problem: problem.line or 0)
    return found


def answers(text: str) -> Iterator[Answer]:
    """The answers of a preseed, as debconf-set-selections reads them."""
    lines = iter(enumerate(text.split("\n"), 1))
    for number, line in lines:
        line = line.rstrip("\r")
        while line.endswith("\\"):
            following = next(lines, None)
            line = line[:-1] + ("" if following is None else following[1].rstrip("\r"))
            if following is None:
                break
        match = re.match(r"\s*(\S+)\s+(\S+)\s+(\S+)(?:\s(.*))?", line, re.DOTALL)
        if match and not line.lstrip().startswith("#"):
            yield Answer(number, match[1], match[2], match[3], match[4] or "")


@cache
def questions() -> Mapping[str, str]:
    """The questions of debian-installer that are known, and their types."""
    lines = Path(__file__).with_name("debian-questions").read_text(encoding="ascii").splitlines()
    return dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))


def _names(text: str) -> Iterator[Problem]:
    known = questions()
    for answer in answers(text):
        if answer.owner not in OWNERS or answer.type not in _TYPES:
            continue
        name = re.sub(r"(?<=^apt-setup/local)\d+(?=/)", "N", answer.question)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
            hint = f"; {near[0]} is one" if near else ""
            yield Problem(answer.line, f"debian-installer asks no {answer.question}{hint}")
        elif answer.type not in ("seen", known[name]) and answer.type not in _LIKE.get(known[name], set()):
            yield Problem(answer.line, f"{answer.question} is of type {known[name]}, not {answer.type}")
        elif known[name] == "boolean" and answer.type != "seen" and answer.value.strip() not in ("true", "false"):
            yield Problem(answer.line, f"{answer.question} is true or false, not {answer.value.strip()[:40]!r}")


def _with_end(text: str) -> str:
    """A last line that goes on would swallow the next text's first one."""
    return text.rstrip("\n") + "\n\n"
