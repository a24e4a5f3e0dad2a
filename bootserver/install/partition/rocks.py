"""Partition programs of Rocks, as they stand in its XML node files: taken out of ``<pre>``, variables put in.

::

    <pre arg="--interpreter /opt/rocks/bin/python">
    import rocks_partition
    membership = '<var name='Node_Membership' />'
    ...
    </pre>

A variable's value is data, whatever it holds: in Python it stays inside the string that it stands in; outside of one it is
a number or nothing. What a program wrote is kickstart lines, or one of a few words.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass

from bootserver.cluster.appliances import SHIPPED
from bootserver.cluster.view import NodeView
from bootserver.install.partition.sandbox import ProgramFault

WRITTEN = "/tmp/user_partition_info"  # noqa: S108 (the sandbox's own)
DEFAULT, ROOT_DISK_ONLY, MANUAL = "force-default", "force-default-root-disk-only", "manual"
WORDS = (DEFAULT, ROOT_DISK_ONLY, MANUAL)

_PRE = re.compile(r"<pre\b([^>]*)>(.*?)</pre\s*>", re.DOTALL)
_INTERPRETER = re.compile(r"--interpreter[= ]+([^\s\"']+)")
_MARKUP = re.compile(
    r"<!\[CDATA\[(?P<cdata>.*?)\]\]>"
    r"|(?P<comment><!--.*?-->)"
    r"|<var\s+name\s*=\s*([\"'])(?P<variable>[^\"'<>]*)\3\s*(?:/>|>\s*</var\s*>)"
    r"|&(?P<entity>[A-Za-z_][A-Za-z0-9_.-]*);",
    re.DOTALL,
)
_ENTITIES = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}
_MARK = re.compile(r"__BOOTSERVER_VARIABLE_(\d+)__")
_PLAIN = re.compile(r"[A-Za-z0-9 _.,:/@%+=-]")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_STRINGS = frozenset(
    {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}  # the last since Python 3.12
)


@dataclass(frozen=True, slots=True)
class Script:
    """:ivar source: its text, on the lines that it has in its file. :ivar shell: for a shell; else Python."""

    source: str
    shell: bool


def is_rocks(text: str) -> bool:
    """Is a file one of Rocks' XML, and no plain Python?"""
    return text.lstrip("\ufeff \t\r\n").startswith("<")


def environment(node: NodeView) -> dict[str, str]:
    """What a program finds in its environment."""
    return {key: value for key, value in variables(node).items() if key.startswith("Node_")}


def variables(node: NodeView) -> dict[str, str]:
    """Names of ``<var>``, and of entities (``&hostname;``), with their values."""
    titles = {name: title for name, _, title, _, _ in SHIPPED}
    nic = node.interfaces[0] if node.interfaces else None
    of_node = {
        "hostname": node.name,
        "name": node.name,
        "membership": titles.get(node.appliance.name, node.appliance.name),
        "appliance": node.appliance.name,
        "rack": str(node.rack),
        "rank": str(node.rank),
        "address": "" if nic is None or nic.ip is None else str(nic.ip),
        "netmask": "" if nic is None else str(nic.network.subnet.netmask),
    }
    return {
        **node.attributes,
        **of_node,
        **{f"Node_{key.capitalize()}": value for key, value in of_node.items()},
    }


def script(text: str, name: str, values: Mapping[str, str]) -> Script:
    """Take a program out of its file.

    :param name: of the file, for messages. :param values: of variables.
    :raises ProgramFault: there is none, or a variable that nobody knows.
    """
    found = list(_PRE.finditer(text))
    chosen = [each for each in found if WRITTEN in each[2]] or found
    if not found:
        raise ProgramFault(f"{name}: it has no <pre> ... </pre>")
    if len(chosen) > 1:
        lines = ", ".join(str(_line(text, each.start())) for each in chosen)
        raise ProgramFault(f"{name}: it has {len(chosen)} <pre>, on lines {lines}, and one program is wanted")
    [pre] = chosen
    shell = _is_shell(pre[1], f"{name}:{_line(text, pre.start())}")
    marks: list[_Mark] = []

    def plain(match: re.Match[str]) -> str:
        if match["cdata"] is not None:
            return match["cdata"]
        if match["comment"] is not None:
            return "\n" * match[0].count("\n")
        if match["entity"] in _ENTITIES:
            return _ENTITIES[match["entity"]]
        key, line = match["variable"] or match["entity"] or "", _line(text, pre.start(2) + match.start())
        if key not in values:
            raise ProgramFault(
                f"{name}:{line}: there is no variable {key[:60]!r}: `bootserver attr set {key[:60]} VALUE` makes one"
            )
        marks.append(_Mark(key, values[key], f"{name}:{line}"))
        return f"__BOOTSERVER_VARIABLE_{len(marks) - 1}__"

    source = "\n" * (_line(text, pre.start(2)) - 1) + _MARKUP.sub(plain, pre[2])
    return Script(_filled(source, marks, shell=shell), shell)


def word(written: str) -> str | None:
    """The word of Rocks that a program wrote instead of kickstart lines, or None."""
    words = written.split()
    if words[:1] != ["rocks"]:
        return None
    if len(words) != 2 or words[1] not in WORDS:
        raise ProgramFault(f"it wrote {' '.join(words)[:80]!r}, and there are {', '.join(f'rocks {each}' for each in WORDS)}")
    return words[1]


def _is_shell(arguments: str, where: str) -> bool:
    match = _INTERPRETER.search(arguments)
    program = match[1].rpartition("/")[2] if match else "sh"
    if program.startswith("python"):
        return False
    if program in ("sh", "bash", "dash", "ksh"):
        return True
    raise ProgramFault(f"{where}: it wants the interpreter {program[:40]}, and there are python and sh")


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where a variable stood. :ivar where: file and line."""

    key: str
    value: str
    where: str


def _filled(source: str, marks: list[_Mark], *, shell: bool) -> str:
    try:
        inside = frozenset() if shell else _inside_strings(source)
    except (tokenize.TokenError, SyntaxError):
        return source  # it is no Python, which the interpreter says better, with the line

    def value(match: re.Match[str]) -> str:
        mark = marks[int(match[1])]
        if int(match[1]) in inside:
            return _escaped(mark.value)
        if shell and all(_PLAIN.fullmatch(each) for each in mark.value):
            return mark.value
        if not shell and _NUMBER.fullmatch(mark.value):
            return mark.value
        why = "a shell script can't hold it" if shell else "outside of quotes only a number can stand"
        raise ProgramFault(f"{mark.where}: the value of {mark.key} is {mark.value[:60]!r}: {why}")

    return _MARK.sub(value, source)


def _inside_strings(source: str) -> frozenset[int]:
    """The marks that stand inside a string or a comment."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return frozenset(int(number) for token in tokens if token.type in _STRINGS for number in _MARK.findall(token.string))


def _escaped(text: str) -> str:
    """A value inside a Python string, of whatever quotes."""
    return "".join(each if _PLAIN.fullmatch(each) else _escape(each) for each in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
