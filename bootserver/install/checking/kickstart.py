"""Kickstarts, checked by pykickstart's ``ksvalidator`` for the version that they are for.

pykickstart is under the GPL, so it is a program of its own here. It takes half a second to start, and many files at once.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from bootserver.db.rows import DistributionRow
from bootserver.errors import Unavailable
from bootserver.install.checking.finding import Problem
from bootserver.install.checking.tool import run

BATCH = 50
"""Files that one validator is given."""
TIMEOUT = 300
"""Seconds for one batch."""

_HEAD = re.compile(r"^Checking kickstart file (.*)$", re.MULTILINE)
_ON_LINE = re.compile(
    r"(?:The following problem occurred )?on line (\d+) of the kickstart file:\s*(.*)", re.DOTALL | re.IGNORECASE
)
_TWICE = re.compile(r"A network device with the name (\S+) has already been defined")
_HEREDOC = re.compile(r">(/\S+) <<'(\w+)'\n(.*?)^\2$", re.DOTALL | re.MULTILINE)


def program() -> Path:
    """:raises Unavailable: it is not here; the text says how to get it."""
    beside = Path(sys.executable).parent / "ksvalidator"
    found = str(beside) if beside.is_file() else shutil.which("ksvalidator")
    if found is None:
        raise Unavailable(
            "kickstarts are checked by ksvalidator, which this machine lacks: `pip install pykickstart` beside bootserver,"
            " or the package pykickstart of Red Hat's family"
        )
    return Path(found)


@cache
def versions() -> frozenset[str]:
    """The versions of the syntax that the validator knows: ``RHEL9``, ``F40`` ..."""
    return frozenset(run([str(program()), "-l"], timeout=TIMEOUT).stdout.split())


def version_of(distribution: DistributionRow, known: frozenset[str]) -> str:
    """The syntax of a distribution; of one that is newer than the validator the newest that it knows.

    :raises Unavailable: the validator knows none of its family.
    """
    prefix = "F" if distribution.family == "fedora" else "RHEL"
    numbers = sorted(int(name.removeprefix(prefix)) for name in known if re.fullmatch(prefix + r"\d+", name))
    major = distribution.version.partition(".")[0]
    wanted = int(major) if major.isascii() and major.isdecimal() else 10**9
    if not numbers:
        raise Unavailable(f"this ksvalidator knows no version of {distribution.family or 'Red Hat'}'s")
    return f"{prefix}{max([number for number in numbers if number <= wanted] or numbers[:1])}"


def check(texts: Sequence[str], version: str) -> list[list[Problem]]:
    """The problems of each text. :param version: as :func:`version_of` says it."""
    found: list[list[Problem]] = []
    for start in range(0, len(texts), BATCH):
        found += _batch(texts[start : start + BATCH], version)
    return found


def _batch(texts: Sequence[str], version: str) -> list[list[Problem]]:
    """What the validator stops at is told after all files and without a name: so it is asked again for halves of them."""
    with tempfile.TemporaryDirectory(prefix="bootserver-check-") as folder:
        names, owners = [], []
        for number, text in enumerate(texts):
            for part, content in enumerate([text, *_included(text)]):
                file = Path(folder, f"{number}-{part}.ks")
                file.write_text(content, encoding="utf-8")
                names.append(str(file))
                owners.append(number)
        last = Path(folder, "last.ks")
        last.write_text("text\n", encoding="utf-8")
        done = run([str(program()), "-v", version, *names, str(last)], timeout=TIMEOUT, merged=True)
    pieces = _HEAD.split(done.stdout)
    said = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    stopped = said.get(str(last), "").strip()
    if stopped and len(texts) > 1:
        half = len(texts) // 2
        return _batch(texts[:half], version) + _batch(texts[half:], version)
    found: list[list[Problem]] = [[] for _ in texts]
    for name, owner in zip(names, owners, strict=True):
        found[owner] += _problems(said.get(name, ""), texts[owner])
    if stopped:
        found[0] += _problems(stopped, texts[0])
    for problems, text in zip(found, texts, strict=True):
        problems += _packages(text)
    if done.returncode and not any(found) and not _TWICE.search(done.stdout):
        raise Unavailable(f"ksvalidator ended with {done.returncode}: {done.stdout.strip()[-200:] or 'it said nothing'}")
    return found


def _included(text: str) -> Iterator[str]:
    """What a %pre section writes into a file that is included, as a file of its own, each line where it is in the whole."""
    included = set(re.findall(r"^%include (\S+)$", text, re.MULTILINE))
    for match in _HEREDOC.finditer(text):
        if match[1] in included:
            yield "\n" * text.count("\n", 0, match.start(3)) + match[3]


def _problems(said: str, text: str) -> Iterator[Problem]:
    for piece in re.split(r"\n(?=The following problem occurred)|(?<=defined\.)\n", said.strip()):
        if (twice := _TWICE.search(piece)) and not _is_defined_twice(twice[1], text):
            continue
        if match := _ON_LINE.search(piece):
            yield Problem(int(match[1]), " ".join(match[2].split()))
        elif piece.strip():
            yield Problem(None, " ".join(piece.split()))


def _packages(text: str) -> Iterator[Problem]:
    """The validator takes every line of %packages for a package's name, whatever stands in it."""
    inside = False
    for number, line in enumerate(text.split("\n"), 1):
        words = line.partition("#")[0].split()
        if words and words[0].startswith("%"):
            inside = words[0] == "%packages"
        elif inside and words and not (_PACKAGE.fullmatch(words[0]) and set(words[1:]) <= _GROUP_OPTIONS[words[0][0] == "@"]):
            yield Problem(number, f"{' '.join(words)[:60]!r} is no package, and no @group")


_PACKAGE = re.compile(r"-?@?\^?[A-Za-z0-9*][A-Za-z0-9*?+._:/=<>~\[\]-]*")
_GROUP_OPTIONS: tuple[set[str], set[str]] = (set(), {"--nodefaults", "--optional"})


def _is_defined_twice(device: str, text: str) -> bool:
    """A device and a VLAN on it both say --device=, which is how it is done; the validator takes one for the other."""
    lines = re.findall(rf"^network\b.* --device={re.escape(device)}(?= |$).*$", text, re.MULTILINE)
    kinds = [vlan[1] if (vlan := re.search(r"--vlanid=(\d+)", line)) else "" for line in lines]
    return len(set(kinds)) < len(kinds)
