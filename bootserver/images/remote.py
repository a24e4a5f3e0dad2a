"""A running node as the frontend reaches it: by SSH as root, with the frontend's own key, for rsync and a few commands.

Its host key is the one that its install made and the frontend keeps. A node that was not installed by us (a golden client to
be captured) is believed the first time, and held to it from then on (``<state>/keys/known_hosts``).
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from bootserver.errors import BootserverError, Unavailable
from bootserver.images import program
from bootserver.images.program import ProgramFailed

CONNECT_SECONDS = 10
COMMAND_SECONDS = 300.0
_UNREACHABLE = 255
"""ssh's own status: it did not come to the command (ssh(1), EXIT STATUS)."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a node is. :ivar known_hosts: lines for its host keys under the alias of its name; empty: none is known."""

    node: str
    ip: IPv4Address
    known_hosts: str


@dataclass(frozen=True, slots=True)
class Remote:
    """An open way to a node. :ivar config: an ssh_config(5) that says all there is to say."""

    node: str
    config: Path

    @property
    def root(self) -> str:
        """The node's root folder, as rsync names it."""
        return f"{self.node}:/"

    @property
    def rsync(self) -> list[str]:
        return ["rsync", "-e", f"ssh -F {self.config}"]

    def command(self, words: Sequence[str]) -> str:
        """Run a command there. :returns: what it printed. :raises Unavailable: it, or the way there, failed."""
        done = subprocess.run(
            ["ssh", "-F", str(self.config), self.node, "--", *words],
            capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=COMMAND_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode == _UNREACHABLE:
            raise Unavailable(unreachable(self.node, done.stderr.splitlines()))
        if done.returncode != 0:
            raise Unavailable(f"{words[0]} failed on {self.node}: {program.telling(done.stderr.splitlines()) or done.returncode}")
        return done.stdout


@contextlib.contextmanager
def connect(address: Address, keys: Path) -> Iterator[Remote]:
    """
    :param keys: the folder of the frontend's own key.
    :raises Unavailable: there is none, or no ssh.
    """
    program.need("ssh", "openssh-client")
    program.need("rsync", "rsync")
    key = keys / "id_ed25519"
    if not key.exists():
        raise Unavailable(f"the frontend has no SSH key ({key}): `bootserver init` makes it")
    with tempfile.TemporaryDirectory(prefix="bootserver-ssh-") as name:
        folder = Path(name)
        if address.known_hosts:
            known, checking = folder / "known_hosts", "yes"
            known.write_text(address.known_hosts)
        else:
            known, checking = keys / "known_hosts", "accept-new"
        config = folder / "config"
        lines = [
            f"Host {address.node}", f"HostName {address.ip}", f"HostKeyAlias {address.node}", "User root",
            f'IdentityFile "{key}"', f'UserKnownHostsFile "{known}"', "GlobalKnownHostsFile /dev/null",
            f"StrictHostKeyChecking {checking}", "BatchMode yes", f"ConnectTimeout {CONNECT_SECONDS}",
            "ServerAliveInterval 15", "ServerAliveCountMax 4", "LogLevel ERROR", "ControlMaster auto",
            f"ControlPath {folder}/way", "ControlPersist 20", "PasswordAuthentication no",
        ]  # fmt: skip
        config.write_text("\n".join(lines) + "\n")
        try:
            yield Remote(address.node, config)
        finally:
            subprocess.run(["ssh", "-F", str(config), "-O", "exit", address.node], capture_output=True, check=False)


def unreachable(node: str, lines: Sequence[str]) -> str:
    """:param lines: what ssh, or rsync over it, said."""
    of_ssh = [line for line in lines if line.startswith(("ssh:", "Host key", "root@")) or "Permission denied" in line]
    why = (of_ssh or [program.telling(lines) or "no answer"])[0].strip()
    return f"{node} can't be reached by ssh ({why}): is it up, and is the frontend's key among its authorized keys?"


def explain(node: str, error: ProgramFailed) -> BootserverError:
    """rsync's failure, in the words of what is the matter."""
    text = "\n".join(error.lines)
    if error.status == _UNREACHABLE or any(words in text for words in ("Permission denied", "ssh: ", "Host key")):
        return Unavailable(unreachable(node, error.lines))
    return error
