"""``bootserver init``: makes this machine a frontend."""

from __future__ import annotations

from pathlib import Path

import click

from bootserver.cli.session import Session, pass_session


@click.command()
@click.option("--interface", metavar="IF", help="The interface that nodes are on [found out, where there is only one].")
@click.option("--state", metavar="DIR", type=click.Path(path_type=Path), help="Where everything is kept [/var/lib/bootserver].")
@click.option("--user", metavar="NAME", help="Who the service runs as; made if need be [bootserver].")
@click.option("--domain", metavar="DOMAIN", help="The cluster's DNS domain [local].")
@click.option("--installer/--no-installer", default=True, help="Build the ramdisk that installs nodes from images [yes].")
@pass_session
def init(
    session: Session, interface: str | None, state: Path | None, user: str | None, domain: str | None, installer: bool
) -> None:
    """Make this machine a frontend, or bring one up to date: configuration, user, databases, boot loaders, installer.

    It can be run again: what is there is kept. Boot loaders come from the distribution's packages; what is missing is named
    with the package to install.

    \b
    bootserver init --interface eth1
    bootserver --config /srv/test.toml init --interface br0 --state /srv/test
    """
    from bootserver.service.setup import Wishes, initialise

    wishes = Wishes(interface, None if state is None else state.absolute(), user, domain, installer)
    initialise(session.config_path.absolute(), wishes, click.echo)
    click.echo("ready: start the service with `bootserver serve`, or `systemctl enable --now bootserver`")
