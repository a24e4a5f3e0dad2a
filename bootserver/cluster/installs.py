"""Installs: armed, begun with a ticket, reported phase by phase, done or parked.

An install is only ever armed on purpose (``pxe set``, ``insert-ethers``); what it resolves to is found out then, and refused
then if something is missing. A node whose action installs but which was never armed waits and says so on its console.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bootserver.cluster import attributes, boot_actions, host_keys, tickets
from bootserver.cluster.actions import HEADLESS, INSTALLER_KERNEL, INSTALLER_RAMDISK, BootAction
from bootserver.cluster.change import Change, Reader, timestamp
from bootserver.cluster.events import Detail, Event, Kind
from bootserver.db.rows import DistributionRow, ImageRow, InstallRow, InstallState, NodeRow, SecretRow
from bootserver.errors import Refused
from bootserver.values.secret import Secret

PHASES = ("partition", "format", "sync", "configure", "bootloader", "done")
"""In their order; a node may report one of them many times (with percent), never an earlier one."""

BEFORE_SYNC = PHASES[: PHASES.index("sync")]

LOCAL_DISK = "os"

_SECRETS = ("boot", "session", "rsync")
"""Of an install: what signs its boot tickets, its session token (as SHA-256), and what its rsync proves itself with."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What installs can come from: golden images, and distributions with the kernels of their installers."""

    images: frozenset[str]
    distributions: Mapping[str, DistributionRow]

    @classmethod
    def read(cls, reader: Reader) -> Sources:
        return cls(frozenset(row.name for row in reader.rows(ImageRow)), {row.name: row for row in reader.rows(DistributionRow)})


def resolve(action: BootAction, node_attributes: Mapping[str, str], sources: Sources) -> BootAction:
    """What an installing action boots for a node with these attributes: our installer, or the distribution's.

    :raises Refused: what is missing, and the command that adds it.
    """
    if action.kernel is not None:
        return action
    image, distribution = node_attributes.get("image"), node_attributes.get("distribution")
    if image and distribution:
        raise Refused(f"it has both an image ({image}) and a distribution ({distribution}): remove one attribute")
    if image:
        if image not in sources.images:
            raise Refused(f"there is no image {image!r}: `bootserver image list` shows those that there are")
        return BootAction(action.name, INSTALLER_KERNEL, (INSTALLER_RAMDISK,), action.args)
    if distribution:
        tree = sources.distributions.get(distribution)
        if tree is None:
            raise Refused(f"there is no distribution {distribution!r}: `bootserver distro list` shows those that there are")
        return BootAction(action.name, tree.kernel, tree.initrds, f"{tree.args} {_in_its_words(action.args, tree.kind)}".strip())
    raise Refused(
        "it has neither an image nor a distribution: `bootserver attr set image NAME` or `bootserver attr set distribution NAME`"
    )


def _in_its_words(args: str, kind: str) -> str:
    """What Rocks' ``install headless`` asks of our installer, as the distribution's calls it."""
    return " ".join(_HEADLESS.get(kind, word) if word == HEADLESS else word for word in args.split())


_HEADLESS = {"kickstart": "inst.text", "preseed": "DEBIAN_FRONTEND=text", "autoyast": "textmode=1"}


def missing_files(action: BootAction, tftpboot: Path) -> list[str]:
    """The files below tftpboot that an action needs and that are not there."""
    return [each for each in action.files if "://" not in each and not (tftpboot / each).is_file()]


def set_action(
    change: Change,
    node: NodeRow,
    name: str,
    *,
    wipe: bool = False,
    new_host_keys: bool = False,
    tftpboot: Path | None = None,
) -> NodeRow:
    """What a node boots next; an installing action is armed, which makes its tickets.

    :param wipe: the install may destroy data partitions.
    :param new_host_keys: the node does not get its old SSH host keys back.
    :param tftpboot: where the action's files must be; None: don't look.
    :raises NotFound: no such action. :raises Refused: an install that can't be resolved, or files that are missing.
    """
    action = boot_actions.find(change, name, node.id)
    if wipe and not action.installs:
        raise Refused(f"--wipe goes with an install, and {name!r} is none")
    if new_host_keys and not action.installs:
        raise Refused(f"--new-host-keys goes with an install, and {name!r} is none")
    if action.installs:
        try:
            action = resolve(action, attributes.effective(change, node), Sources.read(change))
        except Refused as error:
            raise Refused(f"{node.name} can't {name}: {error}") from None
    if tftpboot is not None and (missing := missing_files(action, tftpboot)):
        raise Refused(f"{node.name} can't {name}: {tftpboot / missing[0]} is not there{action.way_out(missing[0])}")
    disarm(change, node)
    if new_host_keys:
        host_keys.forget(change, node)
    if action.installs:
        arm(change, node, wipe)
    return change.update(node, action=None if name == LOCAL_DISK else name)


def arm(change: Change, node: NodeRow, wipe: bool) -> InstallRow:
    row = change.insert(InstallRow(0, node.id, InstallState.ARMED, wipe, "", None, None, timestamp()))
    change.insert(SecretRow(0, f"install/{row.id}/boot", tickets.new_secret().reveal()))
    change.report(Event(Kind.ARMED, time.time(), node.name, detail={"wipe": wipe}))
    return row


def disarm(change: Change, node: NodeRow) -> None:
    """Forget a node's install and all that its tickets were good for."""
    row = change.one(InstallRow, "node_id = :node", node=node.id)
    if row is not None:
        for secret in _SECRETS:
            _forget(change, f"install/{row.id}/{secret}")
        change.delete(row)


def park(change: Change, node: NodeRow, install: InstallRow, why: str) -> None:
    """Stop an install: its session ends, and the node waits for a person."""
    for secret in ("session", "rsync"):
        _forget(change, f"install/{install.id}/{secret}")
    change.update(install, state=InstallState.PARKED, parked=why)
    change.report(Event(Kind.PARKED, time.time(), node.name, detail={"why": why}))


# -- what a node does with it ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Denial:
    """No: why, as the event and the console tell it. The change that it comes from is committed all the same."""

    why: str


def ticketed(reader: Reader, node: NodeRow, ticket: str, now: float, *, seconds: int) -> tuple[InstallRow, str] | Denial:
    """The install that a boot ticket is good for, and the ticket's nonce. Nothing is used up.

    :param seconds: how long a ticket is good.
    """
    install = reader.one(InstallRow, "node_id = :node", node=node.id)
    if install is None or install.id != tickets.install_of(ticket):
        return Denial("no install of this ticket is armed")
    if install.state is InstallState.PARKED:
        return Denial(f"the install is parked: {install.parked}")
    try:
        return install, tickets.check(ticket, _secret(reader, f"install/{install.id}/boot"), now, seconds)
    except Refused as error:
        return Denial(str(error))


def new_session(install: InstallRow) -> Secret:
    """A token for :func:`exchange`."""
    return Secret(f"{install.id}.{secrets.token_hex(32)}")


def exchange(
    change: Change, node: NodeRow, ticket: str, now: float, *, seconds: int, attempts: int, token: Secret | None = None
) -> Secret | Denial:
    """A boot ticket for a session token. The second exchange of the same ticket is an alarm and parks the install.

    :param seconds: how long a ticket is good.
    :param attempts: after so many tries that did not end the install is parked.
    :param token: the one to give, where a file that holds it was made before; None: a new one.
    """
    found = ticketed(change, node, ticket, now, seconds=seconds)
    if isinstance(found, Denial):
        return found
    install, nonce = found
    used = install.nonces.split()
    if nonce in used:
        why = "its boot ticket was exchanged a second time: somebody else may have read it"
        change.report(Event(Kind.ALARM, now, node.name, detail={"why": why}))
        park(change, node, install, why)
        return Denial(why)
    if len(used) >= attempts:
        why = f"{len(used)} installs in a row did not end"
        park(change, node, install, why)
        return Denial(f"the install is parked: {why}")
    token = token or new_session(install)
    for name, value in (("session", tickets.digest(token.reveal())), ("rsync", secrets.token_hex(32))):
        _forget(change, f"install/{install.id}/{name}")
        change.insert(SecretRow(0, f"install/{install.id}/{name}", value))
    wanted = attributes.effective(change, node)
    change.update(
        install,
        state=InstallState.RUNNING,
        nonces=" ".join([*used, nonce]),
        phase=None,
        image=wanted.get("image") or None,
        distribution=wanted.get("distribution") or None,
    )
    change.report(Event(Kind.EXCHANGED, now, node.name, detail={"boot": len(used) + 1}))
    return token


def session(reader: Reader, node: NodeRow, token: str) -> InstallRow | Denial:
    """The running install that a session token belongs to."""
    install = reader.one(InstallRow, "node_id = :node", node=node.id)
    if install is None or install.state is not InstallState.RUNNING:
        return Denial("no install is running")
    kept = reader.one(SecretRow, "name = :name", name=f"install/{install.id}/session")
    if kept is None or not Secret(kept.value).matches(tickets.digest(token)):
        return Denial("the session token is not that of the running install")
    return install


def report_phase(change: Change, node: NodeRow, install: InstallRow, phase: str, detail: Detail) -> Denial | None:
    """A phase begins, or goes on; none of those before it can come again."""
    if phase not in PHASES:
        return Denial(f"phase {phase[:20]!r} is none of {', '.join(PHASES)}")
    if install.phase is not None and PHASES.index(phase) < PHASES.index(install.phase):
        return Denial(f"phase {phase} comes before {install.phase}, which was reported already")
    change.update(install, phase=phase)
    change.report(Event(Kind.PHASE, time.time(), node.name, detail={"phase": phase, **detail}))
    return None


def fail(change: Change, node: NodeRow, install: InstallRow, why: str, attempts: int) -> None:
    """It says that it failed; the last one of so many `attempts` in a row parks it, so that no node installs for ever."""
    change.report(Event(Kind.FAILED, time.time(), node.name, detail={"phase": install.phase, "why": why}))
    tries = len(install.nonces.split())
    if tries >= attempts:
        park(change, node, install, f"{tries} installs in a row failed, the last: {why}")


def running(reader: Reader) -> frozenset[int]:
    """The numbers of the installs that run now."""
    return frozenset(row.id for row in reader.rows(InstallRow, "state = :state", state=InstallState.RUNNING))


def rsync_secret(reader: Reader, install: InstallRow) -> Secret:
    """What the node's rsync proves itself with. :raises Refused: the install does not run (any more)."""
    return _secret(reader, f"install/{install.id}/rsync")


def uuid_seed(reader: Reader, install: InstallRow) -> bytes:
    """The same for all that one try of an install fetches, and nobody can guess it: what its disks' UUIDs are made of."""
    tries = install.nonces.split()
    return f"{_secret(reader, f'install/{install.id}/boot').reveal()}/{tries[-1] if tries else ''}".encode()


def make_node_key(change: Change, node: NodeRow) -> Secret:
    """What the installed node proves itself with later; a new one takes the old one's place."""
    key = secrets.token_hex(32)
    _forget(change, key_name(node))
    change.insert(SecretRow(0, key_name(node), tickets.digest(key)))
    return Secret(key)


def finish(change: Change, node: NodeRow) -> None:
    """ "installed": the ticket is closed, and the node boots its disk from now on."""
    disarm(change, node)
    change.update(node, action=None)
    change.report(Event(Kind.INSTALLED, time.time(), node.name))
    change.report(Event(Kind.ACTION, time.time(), node.name, detail={"action": LOCAL_DISK, "because": "installed"}))


def has_node_key(reader: Reader, node: NodeRow, key: str) -> bool:
    kept = reader.one(SecretRow, "name = :name", name=key_name(node))
    return kept is not None and Secret(kept.value).matches(tickets.digest(key))


def flip_one_shot(change: Change, node: NodeRow, path: str) -> bool:
    """A one-shot action is over when the last byte of its last file was acknowledged.

    :param path: the file that was sent.
    :returns: whether the node's action became ``os``.
    """
    if node.action is None:
        return False
    action = boot_actions.find(change, node.action, node.id)
    if not action.one_shot or action.floppy != path:
        return False
    change.update(node, action=None)
    detail = {"action": LOCAL_DISK, "because": f"{action.name} was fetched"}
    change.report(Event(Kind.ACTION, time.time(), node.name, detail=detail))
    return True


def key_name(node: NodeRow) -> str:
    """The node key's name in the table of secrets."""
    return f"node/{node.id}/key"


def _secret(reader: Reader, name: str) -> Secret:
    row = reader.one(SecretRow, "name = :name", name=name)
    if row is None:
        raise Refused(f"the secret {name} is gone: arm the install again")
    return Secret(row.value)


def _forget(change: Change, name: str) -> None:
    row = change.one(SecretRow, "name = :name", name=name)
    if row is not None:
        change.delete(row)
