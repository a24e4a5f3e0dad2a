"""Commands that are imported when they are used: ``bootserver --help`` loads click and nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Late(NamedTuple):
    """A command that is not imported yet.

    :ivar target: ``module:attribute``.
    :ivar help: its one line, said here so that the list of commands needs no import.
    """

    target: str
    help: str

    def load(self) -> click.Command:
        module, attribute = self.target.split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


class LateGroup(click.Group):
    """A group whose commands are in a table, by section of its help."""

    def __init__(self, *args: Any, sections: Mapping[str, Mapping[str, Late]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sections = sections
        self._late = {name: late for section in sections.values() for name, late in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._late)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        late = self._late.get(cmd_name)
        return None if late is None else late.load()

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self._late and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"no command {name!r}{self._nearest(name)}", ctx)
        return super().resolve_command(ctx, args)

    def _nearest(self, name: str) -> str:
        import difflib  # late: only for those who mistype

        near = difflib.get_close_matches(name, self._late, n=1)
        return f"; did you mean {near[0]!r}?" if near else ""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, self._late))
        for title, commands in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), late.help) for name, late in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=late.help) for name, late in self._late.items() if name.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)
