"""``bootserver kickstart``: what distributions' own installers are told, by whatever name they call it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from bootserver.cli.arguments import complete_appliances, complete_nodes, nodes_argument
from bootserver.cli.progress import ProgressLine
from bootserver.cli.session import Session, change_options, pass_session
from bootserver.cli.table import plain
from bootserver.errors import BootserverError, NotFound, Refused, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from bootserver.cluster.attributes import Place
    from bootserver.cluster.change import Reader
    from bootserver.install.answer_file.preview import Previews
    from bootserver.install.checking.bulk import Finding, Subject, Verdict

_FILES = ("user-data", "meta-data", "vendor-data", "network-config")


@click.group()
def kickstart() -> None:
    """What distributions' own installers are told: kickstart, preseed, autoinstall, AutoYaST, or one of a site's own."""


@kickstart.command("show")
@click.argument("node", shell_complete=complete_nodes)
@click.option("--secrets", is_flag=True, help="Show password hashes, too; the session token is made when the node asks.")
@click.option("--file", "file_", type=click.Choice(_FILES), default=None, help="One of cloud-init's files [user-data].")
@pass_session
def show(session: Session, node: str, secrets: bool, file_: str | None) -> None:
    """Print what NODE would get now. Whatever is missing for it is said in one line.

    \b
    bootserver kickstart show compute-0-0
    bootserver kickstart show compute-0-0 --file meta-data
    """
    from bootserver.cluster import selection

    with session.read() as reader:
        rows = selection.select(reader, [node])
        if len(rows) != 1:
            raise UsageError(f"{node!r} means {len(rows)} nodes: name one")
        previews = _previews(session, reader, masked=not secrets)
        text = previews.of(rows[0]).rendered(_templates(session), file_ or "").text
    click.echo(text, nl=not text.endswith("\n"))


@kickstart.command("check")
@nodes_argument(required=False)
@click.option("--all", "all_", is_flag=True, help="All nodes that install a distribution.")
@click.option("--format", "format_", type=click.Choice(["text", "json", "csv"]), default="text", show_default=True,
              help="How to print.")  # fmt: skip
@click.pass_context
@pass_session
def check(session: Session, ctx: click.Context, nodes: tuple[str, ...], all_: bool, format_: str) -> None:
    """Check what NODES would get now, with the tools that know its language; exit status 1 where something is wrong.

    ksvalidator (pykickstart), debconf-set-selections and the list of debian-installer's questions, cloud-init's schema.

    \b
    bootserver kickstart check compute-0-0
    bootserver kickstart check --all
    """
    from bootserver.install.checking import bulk

    if bool(nodes) == all_:
        raise UsageError("name nodes, or --all")
    with ProgressLine("kickstart check") as progress:
        subjects, failed, others = _subjects(session, nodes, progress)
        verdict = bulk.check(subjects, progress)
    findings = [*failed, *verdict.findings]
    if not subjects and not failed and all_:
        raise Refused("no node installs a distribution: `bootserver attr set distribution NAME`")
    _print(findings, format_)
    if format_ == "text":
        _sum_up(len(subjects) + len(failed), findings, verdict, others)
    ctx.exit(1 if findings else 0)


@kickstart.command("password")
@nodes_argument(required=False)
@click.option("--appliance", multiple=True, metavar="NAME", help="For the nodes of this appliance.",
              shell_complete=complete_appliances)  # fmt: skip
@click.option("--all", "all_", is_flag=True, help="For all nodes that have none of their own.")
@click.option("--one-time", is_flag=True, help="Make one, print it once; the system wants another one at the first login.")
@click.option("--remove", "remove_", is_flag=True, help="Forget it: root is locked, and logs in by SSH key.")
@click.option("--method", type=click.Choice(["yescrypt", "sha512"]), default="yescrypt", show_default=True,
              help="How it is hashed; Red Hat's 7 knows sha512 only.")  # fmt: skip
@change_options
@pass_session
def password(
    session: Session, nodes: tuple[str, ...], appliance: tuple[str, ...], all_: bool, one_time: bool, remove_: bool, method: str
) -> None:
    """Set root's password of systems that distributions' installers install, from their next install on.

    It is asked for twice, or read from standard input (one line); only its hash is kept. A node's own goes before its
    appliance's, that before the one of all. Without any, root has no password and logs in by SSH key.

    \b
    bootserver kickstart password --all
    bootserver kickstart password compute-0-0 --one-time
    bootserver kickstart password --appliance login --remove
    """
    from bootserver.cluster import passwords

    if sum(map(bool, (nodes, appliance, all_))) != 1:
        raise UsageError("name nodes, or --appliance NAME, or --all")
    if one_time and remove_:
        raise UsageError("--one-time makes a password, --remove forgets one")
    with session.read() as reader:
        _places(reader, nodes, appliance)  # say now what would otherwise be said after two questions
    text = None if remove_ else passwords.new_one_time().reveal() if one_time else _typed_password()
    hashed = None if text is None else passwords.hash_password(text, passwords.Method[method.upper()])
    with session.change() as change:
        for place, name in _places(change, nodes, appliance):
            if hashed is not None:
                passwords.set_password(change, place, passwords.Password(hashed, one_time))
                session.tell(f"{name}: {'a password for one login' if one_time else 'password'} set")
                continue
            try:
                passwords.remove(change, place)
            except NotFound as error:
                raise NotFound(f"{name}: {error}") from None
            session.tell(f"{name}: password removed")
    if one_time and text is not None and not session.dry_run:
        click.echo(text)


def _typed_password() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Password of root", hide_input=True, confirmation_prompt="The same again", err=True))
    line = sys.stdin.readline()
    if not line.strip():
        raise UsageError("a password is read from standard input, and there is none")
    return line.rstrip("\r\n")


def _places(reader: Reader, nodes: Sequence[str], appliances: Sequence[str]) -> list[tuple[Place, str]]:
    from bootserver.cli.scope import Scopes

    return Scopes(nodes, appliances).places(reader)


def _previews(session: Session, reader: Reader, *, masked: bool) -> Previews:
    from bootserver.install.answer_file.preview import Previews

    try:
        keys = session.config.frontend.authorized_keys.read_text(encoding="utf-8")
    except FileNotFoundError:
        keys = ""
    return Previews(reader, session.config.http.seen_port, keys, masked=masked)


def _templates(session: Session) -> tuple[Path, Path]:
    from bootserver import data

    return (session.config.frontend.state / "kickstart", data.folder("kickstart"))


def _subjects(session: Session, nodes: Sequence[str], progress: ProgressLine) -> tuple[list[Subject], list[Finding], int]:
    """The nodes' files; what could not be made of them; and how many nodes install no distribution."""
    from bootserver.cluster import selection
    from bootserver.install.answer_file.preview import NoDistribution
    from bootserver.install.checking.bulk import Finding, Subject, own_values

    subjects, failed, others = [], [], 0
    templates = _templates(session)
    with session.read() as reader:
        rows = selection.select(reader, nodes)
        previews = _previews(session, reader, masked=True)
        for number, row in enumerate(rows):
            progress(f"making the files of {len(rows)} nodes", number / len(rows))
            try:
                preview = previews.of(row)
                rendered = preview.rendered(templates)
            except NoDistribution as error:
                if nodes:
                    failed.append(Finding(row.name, None, "", "", "", str(error).removeprefix(f"{row.name} ")))
                others += 1
                continue
            except BootserverError as error:
                failed.append(Finding(row.name, None, "", "", "", str(error).removeprefix(f"{row.name}: ")))
                continue
            subjects.append(Subject(row.name, preview.distribution, rendered, own_values(preview.node)))
    return subjects, failed, others


def _print(findings: Sequence[Finding], format_: str) -> None:
    from bootserver.cli.table import show as show_table

    if format_ != "text":
        rows = [(each.node, each.line, each.section, each.block, each.text) for each in findings]
        show_table(("NODE", "LINE", "SECTION", "BLOCK", "FAULT"), rows, format_)
        return
    for each in findings:
        click.echo(plain(f"{each.node}: {each.where + ': ' if each.where else ''}{each.text}"))


def _sum_up(total: int, findings: Sequence[Finding], verdict: Verdict, others: int) -> None:
    wrong = len({each.node for each in findings})
    nodes = f"{total} node{'' if total == 1 else 's'}"
    click.echo(f"{nodes} checked, {wrong} wrong" if wrong else f"{nodes} checked: nothing wrong")
    for line in verdict.unvalidated:
        click.echo(line)
    if others and not wrong:
        click.echo(f"{others} more install no distribution")
