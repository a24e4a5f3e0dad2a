"""``bootserver dhcp-event``: what a site's DHCP server calls when it gives an address.

It is called for each lease, by a server that waits for it: it imports little, hands one line to the service and ends.
"""

from __future__ import annotations

import click

from bootserver.cli.session import Session, pass_session


@click.command("dhcp-event", context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="ARGUMENT...")
@pass_session
def dhcp_event(session: Session, arguments: tuple[str, ...]) -> None:
    """Tell the service what a site's DHCP server did (dhcp.mode "off").

    dnsmasq (dhcp-script) and Kea (the hook libdhcp_run_script) call it, by a script of two lines: neither gives arguments of its
    own. What dnsmasq and Kea tell in arguments and environment is all there is to tell.

    \b
    bootserver dhcp-event add 52:54:00:00:00:01 10.1.2.3      as dnsmasq calls it
    bootserver dhcp-event leases4_committed                   as Kea does
    """
    import os

    from bootserver.errors import BootserverError, UsageError
    from bootserver.netboot.dhcp_events import hooks
    from bootserver.netboot.dhcp_events.sighting import Trouble
    from bootserver.service import hook_socket

    run = session.config.frontend.run
    try:
        sightings = hooks.read(arguments, os.environ)
    except UsageError as error:
        try:
            hook_socket.send(run, Trouble(str(error)))
        except BootserverError as untold:
            raise UsageError(f"{error}; {untold}") from error
        raise
    for sighting in sightings:
        hook_socket.send(run, sighting)
