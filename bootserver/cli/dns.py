"""``bootserver dns``: the cluster's names, as its own server answers them, as text, and in a site's server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bootserver.cli.arguments import complete_nodes
from bootserver.cli.session import Session, pass_session
from bootserver.cli.table import format_option
from bootserver.cli.table import show as show_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bootserver.netboot.dns.names import Entry, Names, Zone

_COLUMNS = ("NAME", "TYPE", "VALUE", "OWNER")


@click.group()
def dns() -> None:
    """The cluster's names. The zone is frontend.domain; a node's further names are its attribute `aliases`."""


@dns.command("list")
@click.option("--zone", metavar="ZONE", help="Only this one (`bootserver dns zones` lists them).")
@format_option
@pass_session
def list_(session: Session, zone: str | None, format_: str) -> None:
    """List all names, and what they are answered with.

    \b
    bootserver dns list
    bootserver dns list --zone 1.10.in-addr.arpa
    """
    names = _names(session)
    found = names.entries.items() if zone is None else names.of_zone(_zone(names, zone))
    show_rows(_COLUMNS, _rows(found), format_)
    for trouble in names.troubles:
        session.warn(trouble)


@dns.command()
@format_option
@pass_session
def zones(session: Session, format_: str) -> None:
    """List the zones that are answered with authority.

    \b
    bootserver dns zones
    """
    names = _names(session)
    rows = [(apex, names.serial, sum(1 for _ in names.of_zone(zone))) for apex, zone in names.zones.items()]
    show_rows(("ZONE", "SERIAL", "NAMES"), rows, format_)


@dns.command()
@click.argument("wanted", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_nodes)
@format_option
@pass_session
def show(session: Session, wanted: tuple[str, ...], format_: str) -> None:
    """Show what NAMES (or addresses) are answered with; of a node, all of its names.

    \b
    bootserver dns show compute-0-0
    bootserver dns show 10.1.255.254
    """
    from bootserver.errors import NotFound

    names = _names(session)
    rows: list[tuple[str, str, str, str]] = []
    for word in wanted:
        found = _look_up(names, word)
        if not found:
            raise NotFound(f"nobody is called {word!r}: `bootserver dns list` shows all names")
        rows += _rows(found)
    show_rows(_COLUMNS, dict.fromkeys(rows), format_)


@dns.command()
@click.argument("zone", required=False, metavar="[ZONE]")
@click.option(
    "--format", "format_", type=click.Choice(["zone", "hosts"]), default="zone", show_default=True, help="How to print."
)
@pass_session
def export(session: Session, zone: str | None, format_: str) -> None:
    """Print a zone as a master file, for any DNS server; or all names as a hosts file. ZONE: the cluster's own.

    \b
    bootserver dns export > db.cluster
    bootserver dns export 1.10.in-addr.arpa > db.10.1
    bootserver dns export --format hosts >> /etc/hosts
    """
    from bootserver.errors import UsageError
    from bootserver.netboot.dns import zonefile

    names = _names(session)
    if format_ == "hosts":
        if zone is not None:
            raise UsageError("a hosts file holds all names: leave out the zone")
        lines = zonefile.hosts_file(names)
    else:
        own = names.zone_of(names.domain)
        chosen = own if zone is None and own is not None else _zone(names, zone or names.domain)
        lines = zonefile.zone_file(names, chosen, session.config.dns.ttl)
    click.echo("\n".join(lines))


@dns.command()
@click.option("--all", "everything", is_flag=True, help="Also what the server was told before: it may have lost it.")
@pass_session
def sync(session: Session, everything: bool) -> None:
    """Tell the site's DNS server (dns.update_server) now what has changed. The service does so by itself.

    \b
    bootserver dns sync
    bootserver dns sync --all
    """
    from bootserver.errors import Refused, Unavailable
    from bootserver.service.dns_part import updater

    names = _names(session)
    found = updater(session.config)
    if found is None:
        raise Refused(f"there is no server to tell: set dns.update_server and dns.update_key in {session.config.path}")
    report = found.send(names, everything=everything)
    server = session.config.dns.update_server
    click.echo(f"{report.sent} names sent to {server}" if report.sent else f"{server} was told nothing")
    if report.troubles:
        *others, last = report.troubles
        for trouble in others:
            session.warn(trouble)
        raise Unavailable(f"{last}; {report.waiting} names wait")


def _names(session: Session) -> Names:
    from bootserver.cluster.load import load_view
    from bootserver.service.dns_part import names_of

    with session.read() as reader:
        return names_of(load_view(reader, session.config.dhcp.lease_seconds), session.config)


def _zone(names: Names, word: str) -> Zone:
    from bootserver.errors import NotFound

    zone = names.zones.get(word.lower().rstrip("."))
    if zone is None:
        raise NotFound(f"no zone {word!r}; there are {', '.join(names.zones)}")
    return zone


def _look_up(names: Names, word: str) -> list[tuple[str, Entry]]:
    from ipaddress import AddressValueError, IPv4Address

    from bootserver.netboot.dns.names import reverse_name

    name = word.lower().rstrip(".")
    try:
        name = reverse_name(IPv4Address(name))
    except AddressValueError:
        of_node = [(each, entry) for each, entry in names.entries.items() if entry.owner == name]
        if of_node:
            return of_node
    found = names.find(name)
    return [] if found is None else [found]


def _rows(entries: Iterable[tuple[str, Entry]]) -> list[tuple[str, str, str, str]]:
    return [(name, entry.kind.value, value, entry.owner) for name, entry in entries for value in entry.values]
