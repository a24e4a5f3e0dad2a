"""The image server: Debian's rsync, one process for each connection of a node whose turn it is.

The supervisor holds the listening socket, as for all other ports; rsync is started on a connection as inetd would (rsync(1),
"CONNECTING TO AN RSYNC DAEMON"), with a configuration for this node alone. So a module is opened and closed without a daemon
that would have to read its configuration again, and nobody else's connection ever reaches rsync.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import select
import shutil
import socket
import subprocess
import time
from collections import Counter, deque
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from bootserver.errors import BootserverError, Refused, Unavailable
from bootserver.images.modules import Module, configuration
from bootserver.images.store import ImageStore
from bootserver.service.rsync_gate import Admission
from bootserver.values import grammar

logger = logging.getLogger(__name__)

PER_NODE = 3
"""Connections of one node at once: the one that copies, and those of a try before that has not noticed its end."""
MOST = 1000
LINGER_SECONDS = 2.0
GREETING = "@RSYNCD: 31.0\n"
"""What a daemon says first (rsync's clientserver.c); a client of any version goes on from it to the refusal."""


class RsyncServer:
    """:param admit: whose turn it is, or why not. :param run: folder for rsync's files, root's alone."""

    def __init__(
        self, listener: socket.socket, admit: Callable[[IPv4Address], Admission | str], store: ImageStore, run: Path
    ) -> None:
        self._listener = listener
        self._admit = admit
        self._store = store
        self._run = run
        self._running: dict[subprocess.Popen[bytes], Admission] = {}
        self._refused: deque[tuple[float, socket.socket]] = deque()
        self._stopped = False

    def stop(self) -> None:
        """Take no further connection; transfers under way are waited for."""
        self._stopped = True

    def serve(self) -> None:
        """:raises Unavailable: there is no rsync."""
        if shutil.which("rsync") is None:
            raise Unavailable("there is no program rsync: install the package rsync")
        self._run.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._run.chmod(0o700)
        poller = select.poll()
        poller.register(self._listener, select.POLLIN)
        self._listener.setblocking(False)
        while not self._stopped:
            if poller.poll(200):
                with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
                    self._take(*self._listener.accept())
            self._reap()
        while self._running:
            time.sleep(0.2)
            self._reap()

    def _take(self, connection: socket.socket, peer: tuple[str, int]) -> None:
        why = self._start(connection, peer[0])
        if why is None:
            connection.close()
            return
        # A client reads what the server says after its own first words, so the connection stays for a moment: one that is
        # closed with words unread is reset, and the client would show "connection reset" and not why.
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.send(f"{GREETING}@ERROR: {why}\n".encode())
            connection.shutdown(socket.SHUT_WR)
        self._refused.append((time.monotonic(), connection))
        if len(self._refused) > MOST:
            self._refused.popleft()[1].close()

    def _start(self, connection: socket.socket, peer: str) -> str | None:
        """:returns: why there is no transfer, or None where there is one."""
        address = _ipv4(peer)
        if address is None:
            return "images are copied over IPv4 only"
        admission = self._admit(address)
        if isinstance(admission, str):
            return admission
        count = Counter(each.node for each in self._running.values())
        if count[admission.node] >= PER_NODE or len(self._running) >= MOST:
            return "too many connections, try again"
        try:
            file = self._configure(admission, address)
            held = self._store.hold(admission.image)  # nobody alters or removes an image that is being copied
        except Refused as error:
            return str(error)
        except (BootserverError, OSError) as error:
            logger.error("no transfer for node=%s: %s", admission.node, error)
            return "the frontend can't start rsync, its log tells why"
        try:
            connection.setblocking(True)
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", "rsync", "--daemon", f"--config={file}"],
                stdin=connection.fileno(), stdout=connection.fileno(), pass_fds=[held],
            )  # fmt: skip
        finally:
            os.close(held)
        self._running[process] = admission
        return None

    def _configure(self, admission: Admission, address: IPv4Address) -> Path:
        """Write what this rsync is to read. The gate is not trusted with paths: names are checked again."""
        node = grammar.host_label(admission.node)
        tree = self._store.tree(admission.image)
        if not tree.is_dir() or tree.is_symlink():
            raise Unavailable(f"image {admission.image} is gone")
        secrets = self._run / f"{int(admission.install)}.secret"
        text = configuration(Module(node, address, tree, secrets))
        _write(secrets, f"{node}:{admission.secret}\n")
        file = self._run / f"{int(admission.install)}.conf"
        _write(file, text)
        return file

    def _reap(self) -> None:
        while self._refused and time.monotonic() - self._refused[0][0] > LINGER_SECONDS:
            self._refused.popleft()[1].close()
        for process in [each for each in self._running if each.poll() is not None]:
            ended = self._running.pop(process)
            if all(each.install != ended.install for each in self._running.values()):
                for suffix in ("conf", "secret"):
                    (self._run / f"{ended.install}.{suffix}").unlink(missing_ok=True)


def _ipv4(text: str) -> IPv4Address | None:
    address: IPv4Address | IPv6Address = ipaddress.ip_address(text.partition("%")[0])
    return address if isinstance(address, IPv4Address) else address.ipv4_mapped


def _write(path: Path, text: str) -> None:
    aside = path.with_suffix(path.suffix + ".new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    aside.replace(path)
