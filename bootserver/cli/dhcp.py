"""``bootserver dhcp``: nodes as host entries of a site's own DHCP server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bootserver.cli.session import Session, pass_session

if TYPE_CHECKING:
    from bootserver.netboot.dhcp_events.hosts import Hosts


@click.group()
def dhcp() -> None:
    """A site's own DHCP server: host entries for it."""


@dhcp.command()
@click.option(
    "--format", "format_", type=click.Choice(["dnsmasq", "kea", "isc"]), required=True, help="The server that reads it."
)
@click.option(
    "--part",
    type=click.Choice(["all", "hosts", "boot"]),
    default="all",
    show_default=True,
    help="Entries, or what each firmware boots (not isc).",
)
@pass_session
def export(session: Session, format_: str, part: str) -> None:
    """Print an entry for each interface of each node (MAC, address, name), and what each kind of firmware boots.

    \b
    bootserver dhcp export --format dnsmasq > /etc/dnsmasq.d/cluster.conf
    bootserver dhcp export --format dnsmasq --part boot        beside `dhcp sync`, which keeps the entries
    bootserver dhcp export --format kea --part hosts           a list, for "reservations": <?include "FILE"?>
    bootserver dhcp export --format isc > /etc/dhcp/cluster.conf
    """
    from bootserver.errors import UsageError
    from bootserver.netboot.dhcp_events import formats

    if format_ == "isc" and part != "all":
        raise UsageError("dhcpd's entries and what they boot stand in one group: leave out --part")
    found = _hosts(session)
    write = {"dnsmasq": formats.dnsmasq, "kea": formats.kea, "isc": formats.isc}[format_]
    for line in write(found, hosts=part != "boot", boot=part != "hosts"):
        click.echo(line)
    for trouble in found.troubles:
        session.warn(trouble)


@dhcp.command()
@pass_session
def sync(session: Session) -> None:
    """Write each node's entry into dnsmasq's dhcp-hostsdir (dhcp.hostsdir) now. The service does so by itself.

    dnsmasq reads new files at once; for changed and removed ones it is sent a SIGHUP, and is never restarted.

    \b
    bootserver dhcp sync
    """
    import os
    import shutil

    from bootserver.errors import Refused, Unavailable
    from bootserver.service import privileges
    from bootserver.service.dnsmasq_hosts import HostsFolder, hang_up

    folder = session.config.dhcp.hostsdir
    if folder is None:
        raise Refused(
            f"there is no folder to write to: set dhcp.hostsdir in {session.config.path}, and dhcp-hostsdir in dnsmasq's"
        )
    found = _hosts(session)
    owner = privileges.account(session.config.frontend.user)
    if not folder.is_dir():
        try:
            folder.mkdir(parents=True)
            folder.chmod(0o755)
            if owner is not None:
                os.chown(folder, owner.pw_uid, owner.pw_gid)
        except OSError as error:
            raise Unavailable(f"dhcp.hostsdir {folder} can't be made ({error.strerror}): run it as root") from error
    done = HostsFolder(folder).show(found.hosts)
    if owner is not None:
        shutil.chown(folder, owner.pw_uid, owner.pw_gid)
    for trouble in found.troubles:
        session.warn(trouble)
    told = f"; dnsmasq (pid {hang_up(session.config.dhcp.dnsmasq_pid_file)}) reads them again" if done.wants_hangup else ""
    click.echo(f"{done.added} added, {done.changed} changed, {done.removed} removed in {folder}{told}")


def _hosts(session: Session) -> Hosts:
    from bootserver.cluster.load import load_view
    from bootserver.netboot.dhcp_events.hosts import hosts

    http = session.config.http
    with session.read() as reader:
        view = load_view(reader, session.config.dhcp.lease_seconds)
    return hosts(view, http_port=http.seen_port, by_http=http.boot_files)
