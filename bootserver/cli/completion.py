"""``bootserver completion``: the script that completes commands, nodes and actions in a shell."""

from __future__ import annotations

import click

_VARIABLE = "_BOOTSERVER_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bootserver completion bash > /etc/bash_completion.d/bootserver
    bootserver completion zsh > /usr/share/zsh/site-functions/_bootserver
    bootserver completion fish > ~/.config/fish/completions/bootserver.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # the choices are those that click has
    root = ctx.find_root()
    complete = kind(root.command, {}, "bootserver", _VARIABLE)
    # Not source(), which runs a bash to see how old it is.
    click.echo(complete.source_template % complete.source_vars())
