"""A running service in a network of its own, and the ways in which tests speak to it: their own sockets, opened in there."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bootserver.cluster import boot_actions, discovery, installs, journal, nodes
from bootserver.cluster.actions import BootAction
from bootserver.cluster.change import Change, open_change, open_reader
from bootserver.cluster.discovery import Machine, Request
from bootserver.cluster.events import Event, Kind
from bootserver.cluster.load import load_view
from bootserver.cluster.tickets import make
from bootserver.cluster.view import NodeView
from bootserver.config import load
from bootserver.db.connection import Databases, open_databases
from bootserver.db.rows import NodeRow
from tests.cluster import mac, wait_until
from tests.lab.namespace import Namespace
from tests.lab.product import Product, _descendants

ADDRESS = "10.77.0.1"
STRANGER = "10.77.0.99"
PATIENCE = 30.0
_CLONE_NEWNET = 0x4000_0000
_MEMORY = Path("/dev/shm")
_libc = ctypes.CDLL(None, use_errno=True)


def what_is_missing() -> str | None:
    """Why no service can be run in a network of its own here; None when it can."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    packages = {"ip": "iproute2", "setpriv": "util-linux", "curl": "curl", "busybox": "busybox-static"}
    missing = [package for program, package in packages.items() if not shutil.which(program)]
    return f"needs: apt-get install {' '.join(missing)}" if missing else None


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode().strip()


class Frontend(Product):
    """The product, as tests of its protocols see it."""

    @property
    def pid(self) -> int:
        assert self._service is not None
        return self._service.pid

    @property
    def databases(self) -> Databases:
        return open_databases(load(self.config))

    def processes(self) -> dict[int, str]:
        """All that the supervisor started: process id and name."""
        return dict(_descendants(self.pid))

    # -- what there is in the cluster ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def change(self) -> Iterator[Change]:
        with open_change(self.databases.cluster, "test", "test") as change:
            yield change

    def node(self, name: str) -> NodeRow:
        with open_reader(self.databases.cluster) as reader:
            return nodes.get(reader, name)

    def seen(self, name: str) -> NodeView:
        with open_reader(self.databases.cluster) as reader:
            return load_view(reader, 0).nodes[name]

    def add_node(self, number: int) -> tuple[str, str]:
        """A node whose address this network has.

        :returns: its name and its address.
        """
        with self.change() as change:
            found = Machine(mac(number), None, "private", netboots=True)
            name = discovery.register_at_once(change, Request(), found, ip=None, name=None, cpus=1).name
        address = str(self.seen(name).interfaces[0].ip)
        self.add_address(address)
        wait_until(f"the service knows {name}", lambda: self.http("GET", "/node/whoami", source=address).text == name)
        return name, address

    def set_action(self, name: str, action: str) -> None:
        with self.change() as change:
            installs.set_action(change, nodes.get(change, name), action)

    def make_installable(self) -> None:
        """``install`` boots a kernel and a ramdisk of this site."""
        self.file("site/vmlinuz", b"kernel" * 1000)
        self.file("site/initrd.img", b"ramdisk" * 100_000)
        with self.change() as change:
            action = BootAction("install", kernel="site/vmlinuz", initrds=("site/initrd.img",))
            boot_actions.add(change, action, None)

    def ticket(self, name: str, now: float) -> str:
        """A boot ticket, as the node's menu holds one."""
        install = self.seen(name).install
        assert install is not None, f"{name} is not armed"
        return make(install.id, install.secret, now)

    def file(self, name: str, content: bytes) -> bytes:
        """A file below tftpboot."""
        path = self.tftpboot / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o644)
        return content

    def events(self, kind: Kind | None = None, **detail: object) -> list[Event]:
        """What is written down, of a kind and with these details."""
        with self.databases.journal.read() as connection:
            entries = journal.read(connection, kinds=None if kind is None else [kind])
        return [entry.event for entry in entries if detail.items() <= entry.event.detail.items()]

    def told(self, kind: Kind, **detail: object) -> Event:
        """The newest event of a kind with these details, once there is one."""
        wait_until(f"the event {kind.value!r} with {detail}", lambda: bool(self.events(kind, **detail)), PATIENCE)
        return self.events(kind, **detail)[-1]

    def says(self, words: str, *, times: int = 1) -> None:
        """Wait until the log says something."""
        wait_until(f"the log says {words!r}:\n{self.log()[-3000:]}", lambda: self.log().count(words) >= times, PATIENCE)

    # -- the network --------------------------------------------------------------------------------------------------

    def add_address(self, address: str) -> None:
        """Have one more address, to ask from."""
        self.namespace._link("set", "lo", "up")
        self.namespace.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"])

    def socket(self, kind: socket.SocketKind = socket.SOCK_STREAM, *, source: str = ADDRESS) -> socket.socket:
        """A socket in the service's network; a thread of its own enters it, so that this process stays where it is."""
        made: list[socket.socket] = []

        def enter() -> None:
            descriptor = os.open(f"/run/netns/{self.namespace.name}", os.O_RDONLY)
            if _libc.setns(descriptor, _CLONE_NEWNET) == 0:
                made.append(socket.socket(socket.AF_INET, kind))
            os.close(descriptor)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        assert made, f"namespace {self.namespace.name} can't be entered: {os.strerror(ctypes.get_errno())}"
        made[0].settimeout(PATIENCE)
        made[0].bind((source, 0))
        return made[0]

    def connect(self, *, source: str = ADDRESS, port: int = 80) -> socket.socket:
        connection = self.socket(source=source)
        connection.connect((ADDRESS, port))
        return connection

    def http(
        self,
        method: str,
        path: str,
        *,
        source: str = ADDRESS,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        port: int = 80,
        chunked: bool = False,
    ) -> Answer:
        """One request, its path sent exactly as it is written here."""
        connection = http.client.HTTPConnection(ADDRESS, port)
        connection.sock = self.connect(source=source, port=port)
        try:
            wanted = {"Content-Type": "application/x-www-form-urlencoded"} if isinstance(body, str) else {}
            content = iter([body]) if chunked and isinstance(body, bytes) else body
            connection.request(method, path, content, {**wanted, **(headers or {})}, encode_chunked=chunked)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def tftp(self, path: str) -> bytes:
        """A file by curl, which is not of our making.

        :raises AssertionError: it did not come.
        """
        with tempfile.NamedTemporaryFile() as output:
            url = f"tftp://{ADDRESS}/{path}"
            done = self.namespace.run(["curl", "-sS", "--max-time", "20", "-o", output.name, url])
            assert done.returncode == 0, done.stderr
            return Path(output.name).read_bytes()


def with_token(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@contextlib.contextmanager
def prepared(logs: Path) -> Iterator[Frontend]:
    """A frontend that ``init`` made, not yet serving."""
    folder = Path(tempfile.mkdtemp(prefix="bootserver-test-", dir=_MEMORY if _MEMORY.is_dir() else None))
    folder.chmod(0o755)
    try:
        with Namespace(logs) as namespace:
            frontend = Frontend(namespace, folder / "state")
            frontend.init()
            frontend.add_address(STRANGER)
            try:
                yield frontend
            finally:
                frontend.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def serving(logs: Path) -> Iterator[Frontend]:
    """A frontend at work."""
    with prepared(logs) as frontend:
        frontend.start()
        yield frontend
