"""Who may copy an image now: asked by the rsync part, which is root, answered by this one, which is not.

The rsync part must be root (chroot, files that only root may read), so it shall read nothing that came from a network. It sends
the address that a connection comes from; what comes back is a node, an image and a secret, or the words of a refusal.
"""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from bootserver.cluster import installs, transfers
from bootserver.cluster.change import open_reader
from bootserver.cluster.events import Event, Kind, Reporter
from bootserver.db.connection import Databases
from bootserver.db.rows import InstallRow, InstallState, InterfaceRow, NodeRow
from bootserver.errors import BootserverError

logger = logging.getLogger(__name__)

MAX_MESSAGE = 4096
ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Admission:
    """:ivar install: its number, which names the files that rsync reads."""

    node: str
    install: int
    image: str
    secret: str


def admit(databases: Databases, address: IPv4Address) -> Admission | str:
    """The transfer that is open for this address, or why there is none. :raises BootserverError: nobody can tell now."""
    with open_reader(databases.cluster) as reader:
        nic = reader.one(InterfaceRow, "ip = :ip", ip=address)
        node = None if nic is None else reader.one(NodeRow, "id = :id", id=nic.node_id)
        if node is None:
            return "no node of the cluster has this address"
        install = reader.one(InstallRow, "node_id = :node", node=node.id)
        if install is None or install.state is not InstallState.RUNNING or install.image is None:
            return f"{node.name} installs no image now"
        secret = installs.rsync_secret(reader, install)
    with databases.journal.read() as connection:
        if not transfers.is_open(connection, node.name, install.id):
            return f"it is not the turn of {node.name}"
    return Admission(node.name, install.id, install.image, secret.reveal())


def answer(channel: socket.socket, databases: Databases, reporter: Reporter, stopped: Callable[[], bool]) -> None:
    """Answer the rsync part until `stopped`."""
    channel.settimeout(0.2)
    while not stopped():
        try:
            question = channel.recv(MAX_MESSAGE)
        except TimeoutError:
            continue
        address = IPv4Address(question.decode())
        try:
            result = admit(databases, address)
        except BootserverError as error:
            logger.error("rsync from %s: %s", address, error)
            result = "the frontend can't tell now, try again"
        if isinstance(result, str):
            reporter.report(Event(Kind.DENIED, time.time(), detail={"path": "rsync", "why": result, "from": str(address)}))
            channel.send(json.dumps({"why": result}).encode())
        else:
            fields = {"node": result.node, "install": result.install, "image": result.image, "secret": result.secret}
            channel.send(json.dumps(fields).encode())


def ask(channel: socket.socket, address: IPv4Address) -> Admission | str:
    """The rsync part's side. What comes back is checked for its form here, and for its content by who uses it."""
    while True:  # an answer that came too late is not this one's
        try:
            channel.settimeout(0)
            channel.recv(MAX_MESSAGE)
        except BlockingIOError:
            break
    try:
        channel.settimeout(ANSWER_SECONDS)
        channel.send(str(address).encode())
        fields = json.loads(channel.recv(MAX_MESSAGE))
    except (TimeoutError, BlockingIOError):
        return "the frontend is busy, try again"
    if "why" in fields:
        return str(fields["why"])
    return Admission(str(fields["node"]), int(fields["install"]), str(fields["image"]), str(fields["secret"]))
