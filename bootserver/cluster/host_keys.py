"""SSH host keys of nodes: a reinstalled node keeps those that it had, so that nobody is taught to accept new ones.

They are secrets (``node/ID/host/ssh_host_ed25519_key``), made on the node by its own ssh-keygen and sent here once; they go
back only to an install of the same node. Public halves are kept with them, for the frontend's own known_hosts.
"""

from __future__ import annotations

import re

from bootserver.cluster.change import Change, Reader
from bootserver.db.rows import NodeRow, SecretRow
from bootserver.errors import UsageError
from bootserver.values.secret import Secret

MAX_KEY = 16_384
"""Characters: an RSA key of 16,384 bits has some 12,500."""
MAX_KEYS = 16

_NAME = re.compile(r"ssh_host_[a-z0-9]{2,16}_key(?:\.pub)?")
_PUBLIC = re.compile(r"((?:ssh|ecdsa|sk)-[a-z0-9@.-]{2,60} [A-Za-z0-9+/=]{40,12000})(?: [ -~]*)?")


def prefix(node: NodeRow) -> str:
    return f"node/{node.id}/host/"


def keep(change: Change, node: NodeRow, name: str, text: str) -> None:
    """Keep one file of a node's host keys; a newer one takes the older one's place.

    :param name: as sshd names it: ``ssh_host_ed25519_key``, or the same with ``.pub``.
    :raises UsageError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name[:60]!r} is no file of an SSH host key")
    text = text.strip()
    if len(text) > MAX_KEY or "\0" in text:
        raise UsageError(f"{name} is no key: it has {len(text)} characters")
    if name.endswith(".pub"):
        if not _PUBLIC.fullmatch(text):
            raise UsageError(f"{name} is no public key")
    elif not re.fullmatch(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+\n-----END [A-Z ]*PRIVATE KEY-----", text):
        raise UsageError(f"{name} is no private key")
    rows = change.rows(SecretRow, "name LIKE :names", names=prefix(node) + "%")
    old = next((row for row in rows if row.name == prefix(node) + name), None)
    if old is not None:
        change.delete(old)
    elif len(rows) >= MAX_KEYS:
        raise UsageError(f"{node.name} has {len(rows)} files of host keys, which are enough")
    change.insert(SecretRow(0, prefix(node) + name, text + "\n"))


def of(reader: Reader, node: NodeRow) -> dict[str, Secret]:
    """File name: content."""
    rows = reader.rows(SecretRow, "name LIKE :names ORDER BY name", names=prefix(node) + "%")
    return {row.name.removeprefix(prefix(node)): Secret(row.value) for row in rows}


def known_hosts(reader: Reader, node: NodeRow, names: list[str]) -> str:
    """Lines for ssh's known_hosts (sshd(8)), under these names and addresses."""
    publics = [_PUBLIC.fullmatch(key.reveal().strip()) for name, key in of(reader, node).items() if name.endswith(".pub")]
    return "".join(f"{','.join(names)} {match[1]}\n" for match in publics if match)


def forget(change: Change, node: NodeRow) -> None:
    """The node gets new ones with its next install."""
    for row in change.rows(SecretRow, "name LIKE :names", names=prefix(node) + "%"):
        change.delete(row)
