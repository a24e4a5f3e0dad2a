"""``bootserver doctor``: what is wrong with an installation, and what mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bootserver.cli.session import Session, pass_session
from bootserver.errors import UsageError

if TYPE_CHECKING:
    from bootserver.doctor.finding import Finding

COLUMNS = ("SEVERITY", "CHECK", "WHAT", "WHY", "MEND")


@click.command()
@click.option(
    "--quick", is_flag=True, help="Leave out what takes more than a second: other DHCP servers, most loaders, the journal."
)
@click.option("--check", "only", multiple=True, metavar="NAME", help="Only this check, as findings name it; may be repeated.")
@click.option("--all", "show_all", is_flag=True, help="Show what is well, too.")
@click.option(
    "--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print."
)
@pass_session
@click.pass_context
def doctor(ctx: click.Context, session: Session, quick: bool, only: tuple[str, ...], show_all: bool, format_: str) -> None:
    """Look at this frontend as a node would see it, and say what is wrong, why it matters, and what mends it.

    Nothing is changed. Ends with 0 (all is well), 1 (warnings) or 2 (failures: nodes don't boot now). Run it as root: others
    can't look at everything, and it says at what.

    \b
    bootserver doctor
    bootserver doctor --quick --format json
    bootserver doctor --check firewall --check dhcp-servers --all
    """
    from bootserver.cli.progress import ProgressLine
    from bootserver.doctor.examine import CHECKS, examine
    from bootserver.doctor.finding import exit_status

    names = [check.name for check in CHECKS]
    for name in only:
        if name not in names:
            raise UsageError(f"no check {name!r}; there are {', '.join(names)}")
    found: list[Finding] = []
    with ProgressLine("doctor") as progress:
        found.extend(examine(session.config_path, quick=quick, only=only, progress=progress))
    if format_ == "json":
        from bootserver.cli.table import as_json

        rows = [(each.severity.name.lower(), each.check, each.what, each.why, each.mend) for each in found]
        click.echo(as_json(COLUMNS, rows))
    else:
        click.echo(as_text(found, show_all))
    ctx.exit(exit_status(found))


def as_text(found: list[Finding], show_all: bool) -> str:
    """The worst first, each with its reason and its mend."""
    from bootserver.cli.table import plain
    from bootserver.doctor.finding import Severity

    lines: list[str] = []
    for each in sorted(found, key=lambda finding: -finding.severity):
        if each.severity is Severity.OK and not show_all:
            continue
        lines.append(f"{each.severity.name.lower():<8} {each.check}: {each.what}")
        lines += [f"           {label} {text}" for label, text in (("why: ", each.why), ("mend:", each.mend)) if text]
    counts = {severity: sum(each.severity is severity for each in found) for severity in Severity}
    words = ((Severity.FAILURE, "failures"), (Severity.WARNING, "warnings"), (Severity.NOTE, "notes"), (Severity.OK, "well"))
    lines.append(", ".join(f"{counts[severity]} {word}" for severity, word in words))
    return "\n".join(map(plain, lines))
