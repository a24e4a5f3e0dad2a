"""``bootserver serve``: the service, in the foreground."""

from __future__ import annotations

import click

from bootserver.cli.session import Session, pass_session


@click.command()
@pass_session
@click.pass_context
def serve(ctx: click.Context, session: Session) -> None:
    """Run the service: DHCP, TFTP and HTTP, in the foreground, until SIGTERM or Ctrl-C.

    SIGHUP reads the configuration again. Started by systemd it tells when it is ready (Type=notify).

    \b
    bootserver serve
    bootserver --config /srv/test.toml serve
    """
    from bootserver.service import logs, run

    logs.log_to_stderr(session.verbose)
    ctx.exit(run.serve(session.config))
