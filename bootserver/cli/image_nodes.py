"""``bootserver image capture``, ``push`` and ``drift``: images and the nodes that run them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bootserver.cli.arguments import complete_nodes, nodes_argument
from bootserver.cli.image_session import open_store, refuse_existing, register, tell_findings
from bootserver.cli.progress import ProgressLine
from bootserver.cli.session import Session, pass_session
from bootserver.cli.table import format_option, plain, show
from bootserver.errors import BootserverError, Refused, UsageError

if TYPE_CHECKING:
    from bootserver.cluster.view import NodeView
    from bootserver.images.remote import Address
    from bootserver.images.updates import Update

COLUMNS = ("NODE", "CHANGE", "PATH", "WHAT", "REBOOT")
Row = tuple[str, str, str, str, bool]


@click.command()
@click.argument("name")
@click.argument("node", shell_complete=complete_nodes)
@pass_session
def capture(session: Session, name: str, node: str) -> None:
    """Make image NAME of the running machine NODE (a golden client): its files, without what makes it that one machine.

    Left out are pseudo file systems, network file systems, /state, and host identity: machine-id, SSH host keys, host name,
    names that are bound to network cards.

    \b
    bootserver image capture golden-2 compute-0-0
    """
    from bootserver.images.bootable import findings
    from bootserver.images.capturing import capture as copy
    from bootserver.images.remote import connect

    store = open_store(session)
    refuse_existing(session, store, name)
    wanted, *more = _nodes(session, [node])
    if more:
        raise UsageError(f"an image is captured from one node; {node} means {len(more) + 1}")
    with store.draft(name) as draft, ProgressLine(f"image {name}") as progress:
        with connect(wanted.address, session.config.frontend.keys) as remote:
            copy(remote, draft, progress)
        description = draft.publish(source=f"captured from {wanted.view.name}", progress=progress)
    register(session, store, description, "Captured")
    tell_findings(name, findings(store.tree(name)))


@click.command(short_help="Bring running nodes in line with their image.")
@nodes_argument(required=True)
@click.option("--dry-run", is_flag=True, help="Say what would be changed, and change nothing.")
@click.option("--batch", type=click.IntRange(1, 1000), default=20, show_default=True, help="Nodes at once.")
@click.option("--max-failures", type=click.IntRange(min=0), default=0, show_default=True, help="Stop when more nodes failed.")
@click.option("--checksum", is_flag=True, help="Compare contents, too, not sizes and times alone (slow).")
@format_option
@pass_session
def push(
    session: Session, nodes: tuple[str, ...], dry_run: bool, batch: int, max_failures: int, checksum: bool, format_: str
) -> None:
    """Bring running NODES in line with their image and overrides, without installing them again.

    What is each node's own stays: its name, disks, network, keys, /home, /state and most of /var. A site's own rules (rsync
    filter rules) are in push.rules of the state directory.

    \b
    bootserver image push compute-0-[0-31] --dry-run
    bootserver image push compute --batch 50 --max-failures 3
    """
    open_store(session)
    wanted = _nodes(session, nodes)
    rows: list[Row] = []
    failed: list[str] = []
    reboot: list[str] = []
    done = 0
    for first in range(0, len(wanted), batch):
        if len(failed) > max_failures:
            break
        several = wanted[first : first + batch]
        with ThreadPoolExecutor(len(several)) as pool:
            for target, result in zip(several, pool.map(_attempt(session, dry_run, checksum), several), strict=True):
                done += 1
                if isinstance(result, BootserverError):
                    failed.append(target.view.name)
                    session.warn(f"{target.view.name}: {result}")
                    continue
                rows += _rows(target, result)
                if result.needs_reboot:
                    reboot.append(target.view.name)
                if format_ == "table":
                    _tell(target, result, dry_run, done, len(wanted))
    if format_ != "table":
        show(COLUMNS, rows, format_)
    elif reboot:
        click.echo(f"{_fold(reboot)}: {'would need' if dry_run else 'needs'} a reboot (kernel, C library or systemd changed)")
    if failed:
        left = len(wanted) - done
        untouched = f", {left} were not tried" if left else ""
        raise Refused(f"{len(failed)} of {len(wanted)} nodes failed ({_fold(failed)}){untouched}; running it again goes on")


@click.command()
@nodes_argument(required=True)
@click.option("--checksum", is_flag=True, help="Compare contents, too, not sizes and times alone (slow).")
@format_option
@pass_session
def drift(session: Session, nodes: tuple[str, ...], checksum: bool, format_: str) -> None:
    """Say how NODES differ from their image and overrides: what `image push` would change. Nothing is changed.

    \b
    bootserver image drift compute-0-0
    bootserver image drift rack0 --checksum --format json
    """
    open_store(session)
    wanted = _nodes(session, nodes)
    attempt = _attempt(session, True, checksum)
    rows: list[Row] = []
    failed = []
    with ThreadPoolExecutor(min(20, len(wanted))) as pool:
        for target, result in zip(wanted, pool.map(attempt, wanted), strict=True):
            if isinstance(result, BootserverError):
                failed.append(target.view.name)
                session.warn(f"{target.view.name}: {result}")
            else:
                rows += _rows(target, result)
    show(COLUMNS, rows, format_)
    if not rows and format_ == "table" and not failed:
        click.echo(f"{_fold([each.view.name for each in wanted])}: as the image")
    if failed:
        raise Refused(f"nothing is known of {_fold(failed)}")


# -- the nodes, and what is done to one --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Target:
    view: NodeView
    address: Address


def _nodes(session: Session, words: Sequence[str]) -> list[_Target]:
    from bootserver.cluster import host_keys, selection
    from bootserver.cluster.load import load_view
    from bootserver.images.remote import Address

    found = []
    with session.read() as reader:
        view = load_view(reader, session.config.dhcp.lease_seconds, frontend_resolves=session.config.dns.for_nodes)
        for row in selection.select(reader, words):
            node = view.nodes[row.name]
            address = next((nic.ip for nic in node.interfaces if nic.ip is not None), None)
            if address is None:
                raise Refused(f"{row.name} has no address")
            found.append(_Target(node, Address(row.name, address, host_keys.known_hosts(reader, row, [row.name]))))
    return found


def _attempt(session: Session, dry_run: bool, checksum: bool) -> _Attempt:
    return _Attempt(session, dry_run, checksum)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One node's update, in a thread of its own; what goes wrong is its result."""

    session: Session
    dry_run: bool
    checksum: bool

    def __call__(self, target: _Target) -> Update | BootserverError:
        from bootserver import data
        from bootserver.images import updates
        from bootserver.images.remote import connect
        from bootserver.images.store import ImageStore

        config = self.session.config
        image = target.view.attributes.get("image")
        try:
            if not image:
                raise Refused("it has no image: `bootserver attr set image NAME`")
            rules = [folder / updates.RULES for folder in (config.frontend.state, data.folder("kickstart"))]
            with (
                ImageStore(config.frontend.state).using(image) as tree,
                _overlay(self.session, target.view) as (overlay, paths),
                connect(target.address, config.frontend.keys) as remote,
            ):
                return updates.update(
                    remote, tree, overlay, paths,
                    rules=[file for file in rules if file.exists()], dry_run=self.dry_run, checksum=self.checksum,
                )  # fmt: skip
        except BootserverError as error:
            return error


@contextmanager
def _overlay(session: Session, node: NodeView) -> Iterator[tuple[Path, list[str]]]:
    """A node's overrides in a folder of their own, and the paths of those that are no folders."""
    from bootserver import data
    from bootserver.cluster.status import frontend_url
    from bootserver.install.entries import lay_down
    from bootserver.install.material import site_files
    from bootserver.service.privileges import group

    config = session.config
    url = frontend_url(node.interfaces[0].network.frontend, config.http.seen_port)
    templates = (config.frontend.state / "kickstart", data.folder("kickstart"))
    entries = site_files(config.frontend.state, node, templates, url, group(config.frontend.user))
    with tempfile.TemporaryDirectory(prefix="bootserver-push-") as folder:
        lay_down(entries, Path(folder))
        yield Path(folder), [entry.path for entry in entries if not entry.folder]


def _rows(target: _Target, update: Update) -> list[Row]:
    from bootserver.images.updates import needs_reboot

    name = target.view.name
    return [(name, each.kind.value, each.path, ", ".join(each.what), needs_reboot(each)) for each in update.differences]


def _tell(target: _Target, update: Update, dry_run: bool, done: int, of: int) -> None:
    count = len(update.differences)
    what = "as the image already" if not count else f"{count} {'differ' if dry_run else 'made equal'}"
    click.echo(f"{target.view.name}: {what}" + (f"  [{done} of {of}]" if of > 1 else ""))
    for each in update.differences if dry_run else update.differences[:10]:
        click.echo(plain(f"  {each.kind.value:<8} {each.path}" + (f" ({', '.join(each.what)})" if each.what else "")))
    if not dry_run and count > 10:
        click.echo(f"  ... and {count - 10} more (`bootserver image push --dry-run` lists all beforehand)")


def _fold(names: Sequence[str]) -> str:
    from bootserver.cluster.selection import fold

    return names[0] if len(names) == 1 else fold(names)
