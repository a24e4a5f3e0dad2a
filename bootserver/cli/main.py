"""The ``bootserver`` command: finds the noun, and says what went wrong in one line.

Nothing but click is imported here: what a noun needs comes with its module (``bootserver --help`` takes under 0.15 s, a
command on one node under 0.35 s; ``bench/cli.py`` measures).
"""

from __future__ import annotations

import gc
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import click

from bootserver import __version__
from bootserver.cli.lazy import Late, LateGroup
from bootserver.errors import BootserverError

INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""

_MAX_TYPED = 300  # characters of a command line that the change log keeps

SECTIONS = {
    "Service": {
        "init": Late("bootserver.cli.init:init", "Make the configuration and the databases of a new frontend."),
        "serve": Late("bootserver.cli.serve:serve", "Run the service."),
        "doctor": Late("bootserver.cli.doctor:doctor", "Say what is wrong with this frontend, and what mends it."),
        "dhcp": Late("bootserver.cli.dhcp:dhcp", "Host entries for a site's own DHCP server."),
        "dhcp-event": Late("bootserver.cli.dhcp_event:dhcp_event", "What a site's DHCP server calls when it gives an address."),
        "dump": Late("bootserver.cli.dump:dump", "Write the cluster as text."),
        "restore": Late("bootserver.cli.restore:restore", "Read a dump back, or the database's last good copy."),
        "completion": Late("bootserver.cli.completion:completion", "Print the completion script of a shell."),
    },
    "Nodes": {
        "insert-ethers": Late("bootserver.cli.insert_ethers:insert_ethers", "Make unknown machines nodes as they boot."),
        "node": Late("bootserver.cli.node:node", "List, show, add, alter and remove nodes."),
        "appliance": Late("bootserver.cli.appliance:appliance", "Kinds of nodes."),
        "network": Late("bootserver.cli.network:network", "Networks that nodes are on."),
        "attr": Late("bootserver.cli.attr:attr", "Attributes: global, of appliances, racks and nodes."),
        "dns": Late("bootserver.cli.dns:dns", "Names of nodes, and a site's own DNS server."),
    },
    "Booting": {
        "pxe": Late("bootserver.cli.pxe:pxe", "What nodes boot next, and the actions that there are."),
        "partition": Late("bootserver.cli.partition:partition", "What a partition program would do to a machine's disks."),
        "bootflags": Late("bootserver.cli.bootflags:bootflags", "Kernel arguments of installed nodes."),
        "kickstart": Late("bootserver.cli.kickstart:kickstart", "What distributions' installers are told."),
        "why": Late("bootserver.cli.why:why", "Why a node boots what it boots."),
        "events": Late("bootserver.cli.events:events", "What nodes did: the story of each boot."),
        "trace": Late("bootserver.cli.trace:trace", "Follow one machine's boot, and say where it stops."),
    },
    "Images and distributions": {
        "installer": Late("bootserver.cli.installer:installer", "The ramdisk that installs nodes."),
        "image": Late("bootserver.cli.image:image", "Golden images, which nodes are installed from."),
        "distro": Late("bootserver.cli.distro:distro", "Distributions, whose own installers install nodes."),
    },
    "History": {
        "log": Late("bootserver.cli.log:log", "Who changed what, when."),
        "undo": Late("bootserver.cli.log:undo", "Take a change back."),
    },
}


class _Root(LateGroup):
    """Turns whatever goes wrong into one line on stderr and an exit status."""

    def main(  # type: ignore[override]  # click has an overload for each standalone_mode; ours is always False
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        arguments = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        sys.exit(self._run(arguments, prog_name or "bootserver", extra))

    def _run(self, arguments: list[str], prog_name: str, extra: dict[str, Any]) -> int:
        try:
            status = super().main(arguments, prog_name, **extra)
            sys.stdout.flush()
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return error.exit_code
        except click.UsageError as error:
            see = f" (see `{error.ctx.command_path} --help`)" if error.ctx is not None else ""
            return _say(f"{error.format_message()}{see}", error.exit_code)
        except click.ClickException as error:
            return _say(error.format_message(), error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            return INTERRUPTED
        except BrokenPipeError:  # `bootserver node list | head`: the reader has what it wanted
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except BootserverError as error:
            _trace_if_verbose(arguments)
            return _say(str(error), error.exit_status)
        except Exception as error:  # a defect of ours: a person gets a line, not a traceback
            _trace_if_verbose(arguments)
            text = f"{type(error).__name__}: {error}"
            return _say(f"a defect of bootserver: {text}; `bootserver --verbose ...` shows where", 1)
        return status if isinstance(status, int) else 0

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        # What was typed from the noun on is what the change log tells of who did what.
        typed = shlex.join(args)
        ctx.meta["bootserver.typed"] = typed if len(typed) <= _MAX_TYPED else f"{typed[:_MAX_TYPED]}..."
        return super().resolve_command(ctx, args)


def _say(text: str, status: int) -> int:
    """One line, whatever was typed or came from the wire: no control characters, no second line."""
    line = "".join(character if character.isprintable() else " " for character in text)
    click.echo(f"bootserver: {' '.join(line.split())}", err=True)
    return status


def _trace_if_verbose(arguments: Sequence[str]) -> None:
    # The options before the noun may not have been read yet, so they are looked for as they were typed.
    for word in arguments:
        if word == "--verbose":
            import traceback

            traceback.print_exc()
            return
        if not word.startswith("-") and word in _NOUNS:
            return


_NOUNS = frozenset(name for section in SECTIONS.values() for name in section)


@click.group(cls=_Root, sections=SECTIONS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="bootserver", message="%(prog)s %(version)s")
@click.option("--config", metavar="FILE", help="The configuration [BOOTSERVER_CONFIG, else /etc/bootserver/bootserver.toml].")
@click.option("--verbose", is_flag=True, help="Show where an error comes from, and what happens meanwhile.")
@click.pass_context
def cli(ctx: click.Context, config: str | None, verbose: bool) -> None:
    """Take a cluster's machines from power-on to work.

    \b
    bootserver init --interface eth1            make this machine a frontend
    bootserver insert-ethers                    make machines nodes as they are powered on
    bootserver pxe set compute-0-0 install      install one (again)
    bootserver node list                        what there is, and what it does
    bootserver events --follow                  watch nodes boot

    NODE is a name, several, a range (compute-0-[0-31]), an appliance, rack0, an IP or a MAC address.
    """
    from bootserver.cli.session import Session

    ctx.obj = Session(config, verbose, ctx.meta)


def main() -> None:
    """The console script."""
    # A list of 10,000 nodes makes a million small values and no garbage: looking for it took a tenth of the time.
    gc.set_threshold(100_000)
    cli.main(prog_name="bootserver")
