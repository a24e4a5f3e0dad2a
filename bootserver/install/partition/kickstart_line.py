"""One line of kickstart: its command, its words, its options. Nothing of it is ever run.

As pykickstart splits it: words as a shell's, with quotes and ``#`` comments; an option's value behind ``=`` or a space.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from bootserver.install.partition.check import MAX_NAME, LayoutRefused

MAX_BYTES = 256 << 10
MAX_LINES = 2000
MOUNT_POINT = f"an absolute path of letters, digits and . _ + @ = -, of at most {MAX_NAME} characters"
_SHOWN = 80
_MAX_DIGITS = 13

FLAG, TEXT, NUMBER = "flag", "text", "number"

_SIZES = {"--size": NUMBER, "--grow": FLAG, "--maxsize": NUMBER, "--recommended": FLAG}
_SYSTEM = {
    "--fstype": TEXT, "--fsoptions": TEXT, "--label": TEXT, "--noformat": FLAG, "--mkfsoptions": TEXT, "--fsprofile": TEXT,
}  # fmt: skip
COMMANDS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "clearpart": {
            "--all": FLAG, "--linux": FLAG, "--none": FLAG, "--list": TEXT, "--drives": TEXT, "--initlabel": FLAG,
            "--disklabel": TEXT, "--cdl": FLAG,
        },
        "zerombr": {},
        "ignoredisk": {"--drives": TEXT, "--only-use": TEXT},
        "part": {**_SIZES, **_SYSTEM, "--ondisk": TEXT, "--onpart": TEXT, "--asprimary": FLAG, "--active": FLAG},
        "raid": {**_SYSTEM, "--level": TEXT, "--device": TEXT, "--spares": NUMBER, "--useexisting": FLAG, "--chunksize": NUMBER},
        "volgroup": {"--pesize": NUMBER, "--useexisting": FLAG, "--noformat": FLAG, "--reserved-space": NUMBER,
            "--reserved-percent": NUMBER},
        "logvol": {**_SIZES, **_SYSTEM, "--vgname": TEXT, "--name": TEXT, "--percent": NUMBER, "--useexisting": FLAG},
        "reqpart": {"--add-boot": FLAG},
    }
)  # fmt: skip
IGNORED = frozenset({"bootloader"})
_SAME_COMMAND = {"partition": "part"}
_SAME_OPTION = {"--ondrive": "--ondisk", "--usepart": "--onpart"}
_NO = {
    "autopart": "the distribution's own layout is not used here: leave the lines to the program `default`",
    "btrfs": "there is no btrfs here: ext4 and xfs are",
    "snapshot": "there are no snapshots here",
    "mount": "say part, raid or logvol with --noformat",
}


@dataclass(frozen=True, slots=True)
class Line:
    """:ivar number: of the line in its text, from 1. :ivar text: it, clean and cut, for people.
    :ivar options: values by name; of a flag an empty text."""

    number: int
    text: str
    command: str
    words: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    def fault(self, why: str) -> LayoutRefused:
        """What is wrong with this line, in words."""
        return LayoutRefused(f"line {self.number}: {' '.join((self.command, *map(clean, self.words[:1])))}: {why}")

    def has(self, option: str) -> bool:
        return option in self.options

    def number_of(self, option: str) -> int | None:
        text = self.options.get(option)
        return None if text is None else int(text)

    def listed(self, option: str) -> tuple[str, ...]:
        """What an option lists between commas."""
        return tuple(filter(None, (each.strip() for each in self.options.get(option, "").split(","))))


def parse(text: str) -> Iterator[Line]:
    """
    :raises LayoutRefused: a line that is none, of no known command or with an option that can't be done; with its number.
    """
    if len(text) > MAX_BYTES:
        raise LayoutRefused(f"the partition lines are longer than {MAX_BYTES} characters")
    split = text.split("\n")
    if len(split) > MAX_LINES:
        raise LayoutRefused(f"there are more than {MAX_LINES} partition lines")
    for number, raw in enumerate(split, start=1):
        line = _parse(number, raw)
        if line is not None:
            yield line


def clean(text: str) -> str:
    """A text as a person may see it: printable, cut."""
    text = "".join(each if each.isprintable() else "?" for each in text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _parse(number: int, raw: str) -> Line | None:
    shown = clean(raw.strip())
    bare = Line(number, shown, shown)
    try:
        words = shlex.split(raw, comments=True)
    except ValueError as error:
        raise bare.fault(f"{str(error)[:1].lower()}{str(error)[1:]}") from None
    if not words:
        return None
    command = _SAME_COMMAND.get(words[0], words[0])
    if command in _NO:
        raise bare.fault(_NO[command])
    if command in IGNORED:
        return None
    known = COMMANDS.get(command)
    if known is None:
        raise bare.fault(f"{clean(words[0])} is no command of partition lines; these are: {', '.join(COMMANDS)}")
    positional, options = _split(bare, words[1:], known)
    return Line(number, shown, command, positional, options)


def _split(bare: Line, words: list[str], known: Mapping[str, str]) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Words that are none of an option, and options."""
    positional: list[str] = []
    options: dict[str, str] = {}
    rest = iter(words)
    for each in rest:
        if not each.startswith("--"):
            positional.append(each)
            continue
        name, is_given, value = each.partition("=")
        name = _SAME_OPTION.get(name, name)
        kind = known.get(name)
        if kind is None:
            raise bare.fault(f"option {clean(name)} can't be done; these can: {', '.join(known) or 'none'}")
        if kind is not FLAG and not is_given:
            value = next(rest, "")
        if kind is FLAG and is_given:
            raise bare.fault(f"option {name} has no value")
        _check_value(bare, name, kind, value)
        options[name] = value
    return tuple(positional), MappingProxyType(options)


def _check_value(bare: Line, name: str, kind: str, value: str) -> None:
    if kind is not FLAG and not value:
        raise bare.fault(f"option {name} needs a value")
    if kind is NUMBER and not (value.isascii() and value.isdecimal() and len(value) <= _MAX_DIGITS):
        raise bare.fault(f"option {name} needs a whole number, not {clean(value)!r}")
