"""``bootserver installer``: the small Linux that installs nodes and rescues them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bootserver.cli.session import Session, pass_session
from bootserver.cli.table import plain

if TYPE_CHECKING:
    from bootserver.install.ramdisk.build import Report

_ARCHITECTURE = "x86_64"

architecture_option = click.option(
    "--architecture", default=_ARCHITECTURE, show_default=True, metavar="NAME", help="Of the nodes, as `uname -m` says it."
)


@click.group()
def installer() -> None:
    """The small Linux that installs nodes, and that the action `rescue` boots."""


@installer.command()
@architecture_option
@click.option("--force", is_flag=True, help="Build it, even if it is up to date.")
@pass_session
def build(session: Session, architecture: str, force: bool) -> None:
    """Build it of this machine's kernel, programs, drivers and firmware; nothing is done where it is up to date.

    A kernel that is not installed here is fetched with apt, and not installed. Drivers that a site needs beside the usual ones
    are listed, one a line, in installer-modules of the state directory.

    \b
    bootserver installer build
    bootserver installer build --force
    """
    from bootserver.install.ramdisk.architecture import architecture as named
    from bootserver.install.ramdisk.build import build as build_installer

    settings = session.config.frontend
    report = build_installer(
        settings.tftpboot,
        settings.installer_cache,
        named(architecture),
        drivers=settings.installer_drivers,
        force=force,
        say=session.warn,
    )
    click.echo(f"{_headline(report)}: {f'built in {report.seconds:.1f} s' if report.fresh else 'up to date'}")
    _tell_missing(session, report)


@installer.command()
@architecture_option
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to print.")
@pass_session
def show(session: Session, architecture: str, format_: str) -> None:
    """Show what it was built of, and what it lacks.

    \b
    bootserver installer show
    """
    from bootserver.errors import NotFound
    from bootserver.install.ramdisk.architecture import architecture as named
    from bootserver.install.ramdisk.build import describe

    report = describe(session.config.frontend.tftpboot, named(architecture))
    if report is None:
        raise NotFound("there is no installer yet: `bootserver installer build`")
    if format_ == "json":
        import dataclasses
        import json

        facts = dataclasses.asdict(report)
        del facts["fresh"]
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo(_as_text(report))


def _as_text(report: Report) -> str:
    from bootserver.cli.story import size

    lines = [
        ("kernel", f"{size(report.kernel_size)}, {report.kernel_origin}"),
        ("ramdisk", f"{size(report.ramdisk_size)}, {size(report.unpacked_size)} unpacked"),
        ("drivers", f"{report.modules}"),
        ("firmware", f"{report.firmware} files, {report.missing_firmware} not on this machine"),
        ("built", f"{report.built}, in {report.seconds:.1f} s"),
        ("lacks", ", ".join(map(str, report.missing_programs))),
        (
            "lacks",
            f"drivers that this kernel does not have: {', '.join(report.missing_modules)}" if report.missing_modules else "",
        ),
    ]
    shown = [f"  {label:<10} {plain(text)}" for label, text in lines if text]
    return "\n".join([_headline(report), *shown])


def _headline(report: Report) -> str:
    return f"installer for {report.architecture}, kernel {report.kernel}"


def _tell_missing(session: Session, report: Report) -> None:
    if report.missing_programs:
        names = ", ".join(each.name for each in report.missing_programs)
        packages = " ".join(sorted({each.package for each in report.missing_programs}))
        session.warn(f"it has no {names}, which this machine lacks: apt-get install {packages}, and build it again")
