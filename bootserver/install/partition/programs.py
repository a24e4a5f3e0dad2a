"""Partition programs: found by name, run in their sandbox, and what they answer.

A program is a file of ``<state>/partition_scripts``, or of those that came with bootserver: ``NAME.py`` with a function
``partition(node, machine)``, or ``NAME.xml``, a program of Rocks. The attribute ``partition`` of a node names it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bootserver import data
from bootserver.cluster import attributes
from bootserver.cluster.view import NodeView
from bootserver.errors import BootserverError, NotFound
from bootserver.install.inventory import Inventory
from bootserver.install.partition import booting, codec, default, facts, rocks, sandbox
from bootserver.install.partition.check import LayoutRefused
from bootserver.install.partition.facts import Need
from bootserver.install.partition.model import Answer
from bootserver.install.partition.sandbox import Job, Limits, NoSandbox, Outcome, ProgramFault

ATTRIBUTE = attributes.PARTITION
DEFAULT = "default"
FOLDER = "partition_scripts"
_SUFFIXES = (".py", ".xml")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_MAX_SOURCE = 1 << 18

__all__ = ["Answered", "LayoutRefused", "Need", "NoSandbox", "Program", "ProgramFault", "answer", "ask", "find", "listed"]


@dataclass(frozen=True, slots=True)
class Program:
    """:ivar is_site: the site's own; else it came with bootserver."""

    name: str
    path: Path
    is_site: bool

    def source(self) -> str:
        """:raises ProgramFault: it can't be read."""
        try:
            if self.path.stat().st_size > _MAX_SOURCE:
                raise ProgramFault(f"{self.path} has more than {_MAX_SOURCE >> 10} KiB, and is no program")
            return self.path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ProgramFault(f"{self.path}: no UTF-8 text: {error.reason} at byte {error.start}") from error
        except OSError as error:
            raise ProgramFault(f"{self.path} can't be read: {error.strerror}") from error

    def title(self) -> str:
        """The first line of its docstring; empty where it has none."""
        try:
            text = self.source()
            if rocks.is_rocks(text):
                return "a program of Rocks"
            return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
        except (BootserverError, SyntaxError, ValueError, RecursionError, MemoryError):
            return ""  # `partition test` says what is wrong with it


@dataclass(frozen=True, slots=True)
class Answered:
    """:ivar notes: what was added to the program's answer, for people. :ivar said: what it printed."""

    answer: Answer
    notes: tuple[str, ...] = ()
    said: str = ""


def folders(state: Path) -> tuple[tuple[Path, bool], ...]:
    """Where programs are, the site's first."""
    return (state / FOLDER, True), (data.folder(FOLDER), False)


def listed(state: Path) -> list[Program]:
    """All programs by name; a site's takes the place of a shipped one of the same name."""
    found: dict[str, Program] = {}
    for folder, is_site in folders(state):
        for program in _in(folder, is_site):
            found.setdefault(program.name, program)
    return [found[name] for name in sorted(found)]


def find(name: str, state: Path) -> Program:
    """:raises NotFound: there is none of that name."""
    if _NAME.fullmatch(name):
        for folder, is_site in folders(state):
            for suffix in _SUFFIXES:
                path = folder / f"{name}{suffix}"
                if path.is_file():
                    return Program(name, path, is_site)
    known = ", ".join(each.name for each in listed(state))
    raise NotFound(f"no partition program {name[:80]!r}; there are {known}: another is a file {state / FOLDER}/NAME.py")


def answer(
    name: str,
    node: NodeView,
    inventory: Inventory,
    need: Need,
    *,
    state: Path,
    user: str = "bootserver",
    wipe: bool = False,
) -> Answer:
    """What a program answers for a node and its machine; not yet placed, and not yet known to make sense.

    :param name: of the program. :param need: what is installed, and as which file system.
    :param state: the state directory. :param user: who the service is, and root becomes for the program.
    :param wipe: the install was told to keep nothing.
    :raises NotFound: there is no such program. :raises ProgramFault: it fails, with file and line.
    :raises LayoutRefused: it does not want this machine, with its reason. :raises NoSandbox: no program can be run here.
    """
    return ask(find(name, state), node, inventory, need, state=state, user=user, wipe=wipe).answer


def ask(
    program: Program,
    node: NodeView,
    inventory: Inventory,
    need: Need,
    *,
    state: Path,
    user: str = "bootserver",
    wipe: bool = False,
    limits: Limits | None = None,
) -> Answered:
    """The same for a program that was found, with what people want to know about it."""
    name, text = program.path.name, program.source()
    if rocks.is_rocks(text):
        script = rocks.script(text, name, rocks.variables(node))
        job = Job(name, script.source, rocks=True, shell=script.shell)
    else:
        job = Job(name, text)
    job = replace(
        job,
        node=facts.of_node(node),
        machine=facts.of_machine(inventory, need, wipe=wipe),
        rocks_facts=facts.of_rocks(inventory),
        environment=rocks.environment(node),
    )
    try:
        outcome = sandbox.run(job, user=user, hidden=(state, Path("/etc/bootserver")), limits=limits)
    except NoSandbox:
        if program.name != DEFAULT or program.is_site:
            raise
        return Answered(_rocks_layout(inventory, need, wipe))  # which it would answer, and a machine must install all the same
    try:
        answer = _read(outcome, inventory, need, wipe)
    except (codec.AnswerFault, ProgramFault) as error:
        raise ProgramFault(f"{name}: {error}") from error
    complete, notes = booting.with_boot_partitions(answer, inventory)
    if "layout" in outcome.result:
        notes = ()  # new programs need not care; those of Rocks could not know, and kickstart's authors may want to
    return Answered(complete, notes, outcome.said)


def _read(outcome: Outcome, inventory: Inventory, need: Need, wipe: bool) -> Answer:
    result = outcome.result
    if "refused" in result:
        raise LayoutRefused(_words(result["refused"]))
    if "layout" in result:
        return codec.answer_of(result["layout"])
    written = result.get("text")
    if written is None or (isinstance(written, str) and not written.strip()):
        return _rocks_layout(inventory, need, wipe)  # as Rocks did
    if not isinstance(written, str):
        raise ProgramFault("it answers nonsense: neither a layout nor a text")
    match rocks.word(written):
        case None:
            return _read_lines(written, inventory)
        case rocks.DEFAULT:
            return _rocks_layout(inventory, need, wipe)
        case rocks.ROOT_DISK_ONLY:
            return _root_disk_only(_rocks_layout(inventory, need, wipe))
        case _:
            raise LayoutRefused("the program wants a person to partition (rocks manual), and there is none at an install")


def _read_lines(written: str, inventory: Inventory) -> Answer:
    """:raises ProgramFault: they are none. :raises LayoutRefused: they ask for what this machine does not have."""
    from bootserver.install.partition import kickstart, kickstart_line

    try:
        list(kickstart_line.parse(written))
    except LayoutRefused as error:
        raise ProgramFault(f"what it wrote into {rocks.WRITTEN} is nonsense: {error}") from error
    return kickstart.read(written, inventory)


def _rocks_layout(inventory: Inventory, need: Need, wipe: bool) -> Answer:
    return default.layout(inventory, image_size=need.size, var_size=need.var, filesystem=need.filesystem, wipe=wipe)


def _root_disk_only(answer: Answer) -> Answer:
    disks = tuple(each for each in answer.disks if any(part.mount_point == "/" for part in each.partitions))
    return replace(answer, disks=disks)


def _words(found: object) -> str:
    text = " ".join(str(found).split())
    return "".join(each if each.isprintable() else "?" for each in text)[:400] or "the program refuses, and does not say why"


def _in(folder: Path, is_site: bool) -> Iterator[Program]:
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return
    for suffix in _SUFFIXES:
        for path in paths:
            if path.suffix == suffix and _NAME.fullmatch(path.stem) and path.is_file():
                yield Program(path.stem, path, is_site)
