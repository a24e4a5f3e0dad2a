"""What is typed on the command line, as values: addresses, names, and where an attribute is set; and how it is completed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from typing import Any, TypeVar

import click

from bootserver.cli.session import Session
from bootserver.errors import BootserverError
from bootserver.values import grammar
from bootserver.values.mac import MacAddress

F = TypeVar("F", bound=Callable[..., Any])

_MOST = 500  # names offered by completion; a shell shows no more with any sense


class _Value(click.ParamType[Any]):
    """A parameter that is read by a function which says itself what is wrong."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except BootserverError as error:
            self.fail(str(error), param, ctx)
        except (AddressValueError, NetmaskValueError, ValueError):
            self.fail(f"{value!r} is no {self.name}", param, ctx)


MAC = _Value("MAC address", MacAddress.parse)
IP = _Value("IPv4 address", IPv4Address)
SUBNET = _Value("network, such as 10.1.0.0/16 (no host bits)", IPv4Network)

VLAN = _Value("VLAN", grammar.vlan)
NO_VLAN = _Value("VLAN", lambda text: 0 if text == "none" else grammar.vlan(text))


def nodes_argument(*, required: bool) -> Callable[[F], F]:
    """``NODE...``: what :func:`bootserver.cluster.selection.select` reads; without any it means all where that is allowed."""
    metavar = "NODE..." if required else "[NODE...]"
    return click.argument("nodes", nargs=-1, required=required, metavar=metavar, shell_complete=complete_nodes)


def scope_options(command: F) -> F:
    """Where an attribute is set: ``--node``, ``--appliance``, ``--rack``; none of them means everywhere."""
    for option in (
        click.option("--rack", type=int, multiple=True, metavar="N", help="For the nodes of this rack."),
        click.option("--appliance", multiple=True, metavar="NAME", help="For the nodes of this appliance.",
                     shell_complete=complete_appliances),
        click.option("--node", "more_nodes", multiple=True, metavar="NODE", help="For this node (or name it as an argument).",
                     shell_complete=complete_nodes),
    ):  # fmt: skip
        command = option(command)
    return command


def complete_nodes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return _names(ctx, "node", incomplete)


def complete_appliances(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return _names(ctx, "appliance", incomplete)


def complete_networks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return _names(ctx, "network", incomplete)


def complete_actions(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from bootserver.cluster.actions import SHIPPED

    shipped = [name for name in SHIPPED if name.startswith(incomplete)]
    return sorted({*shipped, *_names(ctx, "boot_action", incomplete)})


def complete_nodes_and_actions(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """``pxe set NODE... ACTION``: nodes first; the last word may be either."""
    return complete_nodes(ctx, param, incomplete) + complete_actions(ctx, param, incomplete)


def _names(ctx: click.Context, table: str, incomplete: str) -> list[str]:
    """Names that begin so. Completion never complains: where the database can't be read, nothing is offered."""
    try:
        with Session(_config_option(ctx), False, {}).read() as reader:
            rows = reader.connection.rows(
                f"SELECT DISTINCT name FROM {table} WHERE name >= :low AND name < :high ORDER BY name LIMIT {_MOST}",
                {"low": incomplete, "high": incomplete + "\U0010ffff"},
            )
    except (BootserverError, sqlite3.Error):
        return []
    return [row["name"] for row in rows]


def _config_option(ctx: click.Context) -> str | None:
    option: str | None = ctx.find_root().params.get("config")
    return option
