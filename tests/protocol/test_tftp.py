"""The TFTP server over real sockets, with clients that others wrote: tftp-hpa, atftp, curl, busybox, tftpy."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from bootserver.netboot.content import Content, Denied, Missing, Resolution, Served
from bootserver.netboot.files import FileStore
from bootserver.netboot.tftp.contract import TftpLimits, TransferEnd
from bootserver.netboot.tftp.server import TftpServer
from bootserver.netboot.tftp.transfer import Outcome, Patience

REPOSITORY = Path(__file__).resolve().parents[2]
MENU = b"DEFAULT install\nLABEL install\n  KERNEL vmlinuz\n"


@dataclass
class Service:
    """A server in a thread, on the loopback addresses."""

    server: TftpServer
    root: Path
    port: int
    ends: list[TransferEnd] = field(default_factory=list)

    def ended(self, outcome: Outcome, count: int = 1) -> list[TransferEnd]:
        """Wait until so many requests have ended like this."""
        for _ in range(500):
            found = [end for end in self.ends if end.outcome is outcome]
            if len(found) >= count:
                return found
            time.sleep(0.02)
        raise AssertionError(f"not {count} x {outcome}: {self.ends}")


@contextlib.contextmanager
def serving(root: Path, limits: TftpLimits | None = None) -> Iterator[Service]:
    ipv4 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ipv6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    ipv6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    ipv4.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    ipv4.bind(("127.0.0.1", 0))
    port = ipv4.getsockname()[1]
    ipv6.bind(("::1", port))
    files = FileStore(root)
    ends: list[TransferEnd] = []

    def resolve(name: str, address: IPv4Address | IPv6Address) -> Resolution:
        assert address.is_loopback
        if name == "menu":
            return Content(MENU, Served.MENU, node="compute-0-0")
        if name == "ticket":
            return Denied("no install is armed for compute-0-0")
        if name == "defect":
            raise RuntimeError("a resolver's defect")
        path = files.resolve(name)
        return Missing("no such file") if path is None else Content(path, Served.KERNEL)

    server = TftpServer([ipv4, ipv6], resolve, files, ends.append, limits)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield Service(server, root, port, ends)
    finally:
        server.stop(0)
        thread.join(10)
        ipv4.close()
        ipv6.close()
        assert not thread.is_alive()


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "tftpboot"
    (folder / "boot").mkdir(parents=True)
    (folder / "boot" / "vmlinuz").write_bytes(random.Random(1).randbytes(1_234_567))
    (folder / "motd").write_bytes(b"Welcome\nto the cluster\n")
    (folder / "empty").touch()
    (folder / "blocks").write_bytes(bytes(1024))  # a multiple of the default block size
    return folder


@pytest.fixture
def service(root):
    with serving(root) as running:
        yield running


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: object, cwd: Path | None = None, text: str | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, input=text, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def tftp_hpa(service: Service, name: str, target: Path, host: str = "127.0.0.1", mode: str = "binary") -> None:
    run(program("tftp"), "-m", mode, host, service.port, "-c", "get", name, target)


def same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


class Client:
    """A client of a few lines, for what no well-behaved one does."""

    def __init__(self, service: Service, family: socket.AddressFamily = socket.AF_INET) -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.settimeout(10)
        self.server = ("127.0.0.1" if family == socket.AF_INET else "::1", service.port)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, name: str, *options: str) -> bytes:
        self.request(name, *options)
        return self.receive()

    def request(self, name: str, *options: str) -> None:
        self.socket.sendto(b"\0\1" + b"".join(word.encode() + b"\0" for word in (name, "octet", *options)), self.server)

    def receive(self) -> bytes:
        datagram, self.peer = self.socket.recvfrom(70_000)
        return datagram

    def send(self, datagram: bytes) -> None:
        self.socket.sendto(datagram, self.peer)

    def fetch(self, name: str) -> bytes:
        datagram = self.ask(name)
        pieces = []
        while True:
            assert datagram[:2] == b"\0\3", datagram
            pieces.append(datagram[4:])
            self.send(b"\0\4" + datagram[2:4])
            if len(datagram) < 516:
                return b"".join(pieces)
            datagram = self.receive()


# --- clients that others wrote -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("name", ["boot/vmlinuz", "/boot//vmlinuz", "\\boot\\vmlinuz", "motd", "empty", "blocks"])
def test_tftp_hpa_gets_every_file_by_ipv4_and_ipv6(service, tmp_path, host, name):
    tftp_hpa(service, name, tmp_path / "got", host)
    assert same(tmp_path / "got", service.root / name.replace("\\", "/").strip("/"))
    (end,) = service.ended(Outcome.SENT)
    assert (end.path, str(end.address), end.sent) == (name, host, (tmp_path / "got").stat().st_size)


def test_tftp_hpa_in_netascii_reads_text_with_its_own_line_ends(service, tmp_path):
    tftp_hpa(service, "motd", tmp_path / "got", mode="netascii")
    assert (tmp_path / "got").read_bytes() == b"Welcome\nto the cluster\n"
    tftp_hpa(service, "boot/vmlinuz", tmp_path / "kernel", mode="netascii")  # its default mode, and a common mistake
    assert same(tmp_path / "kernel", service.root / "boot/vmlinuz")


def test_tftp_hpa_is_told_that_nothing_is_written_here(service, tmp_path):
    (tmp_path / "virus").write_text("x")
    said = run(program("tftp"), "127.0.0.1", service.port, "-c", "put", tmp_path / "virus", "boot/vmlinuz")
    assert "read-only" in said
    assert not (service.root / "virus").exists()
    assert service.ended(Outcome.REFUSED)[0].path == "boot/vmlinuz"


@pytest.mark.parametrize(
    "options",
    [
        ["blksize 1468"],
        ["blksize 8192", "tsize enable"],
        ["timeout 2", "tsize enable"],
        ["windowsize 4", "blksize 1468"],
        ["windowsize 64", "blksize 1468", "tsize enable"],
        ["windowsize 16", "blksize 16000"],
    ],
    ids=", ".join,
)
def test_atftp_gets_a_kernel_with_every_option(service, tmp_path, options):
    flags = [word for option in options for word in ("--option", option)]
    run(program("atftp"), *flags, "--get", "-r", "boot/vmlinuz", "-l", tmp_path / "got", "127.0.0.1", service.port)
    assert same(tmp_path / "got", service.root / "boot/vmlinuz")


def test_curl_gets_a_kernel(service, tmp_path):
    run(program("curl"), "-sS", "--tftp-blksize", 1468, "-o", tmp_path / "got", f"tftp://127.0.0.1:{service.port}/boot/vmlinuz")
    assert same(tmp_path / "got", service.root / "boot/vmlinuz")


def test_busybox_gets_a_kernel(service, tmp_path):
    run(program("busybox"), "tftp", "-g", "-b", 1468, "-r", "boot/vmlinuz", "-l", tmp_path / "got", "127.0.0.1", service.port)
    assert same(tmp_path / "got", service.root / "boot/vmlinuz")


def test_tftpy_gets_a_kernel(service, tmp_path):
    tftpy = pytest.importorskip("tftpy")
    client = tftpy.TftpClient("127.0.0.1", service.port, options={"blksize": 1428, "tsize": 0})
    client.download("boot/vmlinuz", str(tmp_path / "got"))
    assert same(tmp_path / "got", service.root / "boot/vmlinuz")


def test_block_numbers_wrap_for_atftp_and_tftpy(service, tmp_path):
    tftpy = pytest.importorskip("tftpy")
    (service.root / "long").write_bytes(random.Random(2).randbytes(66_000 * 8 + 3))
    client = tftpy.TftpClient("127.0.0.1", service.port, options={"blksize": 8})
    client.download("long", str(tmp_path / "got"))
    assert same(tmp_path / "got", service.root / "long")
    run(program("atftp"), "--option", "blksize 8", "--get", "-r", "long", "-l", tmp_path / "got2", "127.0.0.1", service.port)
    assert same(tmp_path / "got2", service.root / "long")


def test_two_hundred_clients_at_once_all_get_their_kernel(root, tmp_path):
    with serving(root, TftpLimits(transfers_per_client=200)) as service:
        clients = [
            subprocess.Popen(
                [
                    program("tftp"),
                    "-m",
                    "binary",
                    "127.0.0.1",
                    str(service.port),
                    "-c",
                    "get",
                    "boot/vmlinuz",
                    str(tmp_path / f"got{n}"),
                ]
            )
            for n in range(200)
        ]
        assert [client.wait(120) for client in clients] == [0] * 200
        wanted = hashlib.sha256((root / "boot/vmlinuz").read_bytes()).digest()
        assert {hashlib.sha256((tmp_path / f"got{n}").read_bytes()).digest() for n in range(200)} == {wanted}
        assert len(service.ended(Outcome.SENT, 200)) == 200


# --- what is answered ----------------------------------------------------------------------------------------------------


def test_a_rendered_menu_is_sent_from_memory_and_reported_with_its_node(service):
    with Client(service) as client:
        assert client.fetch("menu") == MENU
    end = service.ended(Outcome.SENT)[0]
    assert end.content == Content(MENU, Served.MENU, node="compute-0-0")


@pytest.mark.parametrize(
    ("name", "code", "outcome"),
    [("nothing", 1, Outcome.MISSING), ("../motd", 1, Outcome.MISSING), ("ticket", 2, Outcome.DENIED)],
)
def test_what_is_not_there_or_not_for_this_machine_is_an_error_without_details(service, name, code, outcome):
    with Client(service) as client:
        answer = client.ask(name)
    assert answer[:4] == bytes([0, 5, 0, code])
    assert b"armed" not in answer
    assert service.ended(outcome)[0].path == name


def test_a_defect_of_the_resolver_costs_one_request(service):
    with Client(service) as client:
        assert client.ask("defect")[:2] == b"\0\5"
        assert client.fetch("menu") == MENU


def test_ovmf_asks_for_the_size_aborts_and_asks_again_from_the_same_port(service):
    with Client(service) as client:
        assert client.ask("motd", "tsize", "0", "blksize", "1468", "windowsize", "4").startswith(b"\0\6tsize\x0023\0")
        client.send(b"\0\5\0\x08User aborted the transfer\0")
        assert client.ask("motd", "blksize", "1468", "windowsize", "4") == b"\0\6blksize\x001468\0windowsize\x004\0"
        client.send(b"\0\4\0\0")
        assert client.receive() == b"\0\3\0\1Welcome\nto the cluster\n"
        client.send(b"\0\4\0\1")
    service.ended(Outcome.SENT)
    assert [end.outcome for end in service.ends] == [Outcome.PROBED, Outcome.SENT]


def test_a_repeated_request_is_no_second_transfer(service):
    with Client(service) as client:
        first = client.ask("motd")
        port = client.peer
        assert client.ask("motd") == first
        assert client.peer == port
        assert service.server.transfers == 1


def test_one_machine_does_not_take_every_place(root):
    with serving(root, TftpLimits(transfers_per_client=3)) as service, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(service)) for _ in range(4)]
        answers = [client.ask("boot/vmlinuz") for client in clients]
        assert [answer[:2] for answer in answers] == [b"\0\3"] * 3 + [b"\0\5"]
        assert b"busy" in answers[3]
        with Client(service, socket.AF_INET6) as other:
            assert other.fetch("menu") == MENU


def test_a_full_server_says_that_it_is_busy(root):
    with serving(root, TftpLimits(transfers=1)) as service, Client(service) as one, Client(service) as other:
        one.ask("boot/vmlinuz")
        assert b"busy" in other.ask("boot/vmlinuz")


def test_a_server_without_descriptors_says_that_it_is_busy_and_recovers(root):
    # In a process of its own: the limit is the process's.
    script = """
        import resource, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from bootserver.netboot.tftp.contract import TftpLimits
        from tests.protocol.test_tftp import Client, MENU, serving
        with serving(Path(sys.argv[2]), TftpLimits(idle_ports=0)) as service, Client(service) as client:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            answer = client.ask("menu")
            resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
            assert answer.startswith(bytes([0, 5, 0, 0]) + b"busy"), answer
            assert client.fetch("menu") == MENU
    """
    run(sys.executable, "-c", textwrap.dedent(script), REPOSITORY, root)


def test_a_client_that_never_answers_gets_three_packets_and_loses_its_place(root):
    patience = Patience(first_timeout=0.05, unanswered=0.5)
    with serving(root, TftpLimits(patience=patience)) as service, Client(service) as client:
        client.request("boot/vmlinuz")
        service.ended(Outcome.FAILED)
        client.socket.settimeout(0.2)
        packets = 0
        with contextlib.suppress(TimeoutError):
            while client.receive():
                packets += 1
        assert packets == 3
        assert service.server.transfers == 0


def test_a_client_that_went_away_is_noticed(service):
    with Client(service) as client:
        client.ask("boot/vmlinuz")
    assert "nobody listens" in service.ended(Outcome.FAILED)[0].why


def test_a_file_that_is_truncated_while_it_is_sent_ends_that_transfer_only(service):
    with Client(service) as client:
        client.ask("boot/vmlinuz", "blksize", "65464")
        client.send(b"\0\4\0\0")
        client.receive()
        os.truncate(service.root / "boot/vmlinuz", 100)
        for block in range(1, 3):
            client.send(bytes([0, 4, 0, block]))
            if (answer := client.receive())[:2] == b"\0\5":
                break
        assert b"changed" in answer
        assert client.fetch("menu") == MENU


# --- hostile datagrams ---------------------------------------------------------------------------------------------------


def test_no_datagram_ends_the_server_or_is_answered_with_more_than_one_packet(service):
    dice = random.Random(7)
    pieces = [
        b"\0",
        b"octet",
        b"netascii",
        b"mail",
        b"menu",
        b"blksize",
        b"abc",
        b"-1",
        b"\xff\xfe",
        b"tsize",
        b"9" * 99,
        b"%s" * 50,
    ]
    with Client(service) as client:
        client.socket.settimeout(0.001)
        answers = 0
        for number in range(3000):
            opcode = dice.choice([b"\0\1", b"\0\2", b"\0\3", b"\0\4", b"\0\5", b"\0\6", b"", dice.randbytes(2)])
            tail = dice.randbytes(dice.randrange(40)) if number % 2 else b"".join(dice.choices(pieces, k=dice.randrange(9)))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.sendto(opcode + tail, client.server)
        with contextlib.suppress(TimeoutError):
            while client.receive():
                answers += 1
        assert answers == 0  # nothing for those who did not ask
        client.socket.settimeout(10)
        assert client.fetch("menu") == MENU


@pytest.mark.parametrize("opcode", [0, 3, 4, 5, 6, 7, 255])
def test_what_is_no_request_is_not_answered_so_that_two_servers_never_talk_for_ever(service, opcode):
    with Client(service) as client:
        client.socket.sendto(bytes([0, opcode, 0, 0]) + b"text\0", client.server)
        assert client.fetch("menu") == MENU


def test_noise_in_the_middle_of_a_transfer_changes_nothing(service):
    with Client(service) as client:
        datagram = client.ask("boot/vmlinuz")
        got: dict[bytes, bytes] = {}  # by block: one that is repeated (this client was slow) counts once
        dice = random.Random(8)
        while True:
            got[datagram[2:4]] = datagram[4:]
            client.send(dice.randbytes(dice.randrange(1, 2000)).replace(b"\0", b"\1"))
            client.send(b"\0\1menu\0octet\0")
            client.send(b"\0\4" + datagram[2:4])
            client.send(b"\0\4" + datagram[2:4])
            if len(datagram) < 516:
                break
            datagram = client.receive()
        assert b"".join(got.values()) == (service.root / "boot/vmlinuz").read_bytes()


def test_a_strangers_ack_does_not_move_a_transfer(service):
    with Client(service) as client, Client(service) as stranger:
        client.ask("boot/vmlinuz")
        stranger.peer = client.peer
        stranger.send(b"\0\4\0\1")
        client.send(b"\0\4\0\1")
        client.socket.settimeout(0.3)
        blocks = set()
        with contextlib.suppress(TimeoutError):
            while True:  # the second block, perhaps again and again, until it waits longer than we do
                blocks.add(client.receive()[:4])
        assert blocks == {b"\0\3\0\2"}


# --- the loop ------------------------------------------------------------------------------------------------------------


def test_stopping_lets_transfers_finish_and_takes_no_new_ones(root):
    with serving(root) as service, Client(service) as client, Client(service) as late:
        datagram = client.ask("motd")
        service.server.stop(30)
        late.socket.settimeout(0.3)
        with pytest.raises(OSError):
            late.ask("motd")
        client.send(b"\0\4" + datagram[2:4])
        assert service.ended(Outcome.SENT)


def test_after_the_grace_clients_are_told_that_the_server_stops(root):
    with serving(root) as service, Client(service) as client:
        client.ask("boot/vmlinuz")
        service.server.stop(0)
        assert client.receive()[:2] == b"\0\5"
        assert "stopping" in service.ended(Outcome.FAILED)[0].why


def test_periodic_work_goes_on_after_it_failed_once(root):
    done = threading.Event()
    calls = []

    def work() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("once")
        done.set()

    files = FileStore(root)
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as listener:
        listener.bind(("127.0.0.1", 0))
        server = TftpServer([listener], lambda *_: Missing("no"), files, lambda _end: None)
        server.add_tick(work, 0.02)
        thread = threading.Thread(target=server.run)
        thread.start()
        assert done.wait(10)
        server.stop(0)
        thread.join(10)


# --- real links: network namespaces, which the test makes and removes ----------------------------------------------------


@dataclass
class Link:
    """A server's namespace and a client's, and the wire between them."""

    server: str
    client: str
    names: tuple[str, str]


@pytest.fixture
def link(request) -> Iterator[Link]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    tag = f"{os.getpid()}"
    wire = Link(f"bstftp-s{tag}", f"bstftp-c{tag}", (f"s{tag}", f"c{tag}"))
    mtu = str(getattr(request, "param", 1500))
    try:
        for namespace in (wire.server, wire.client):
            if subprocess.run(["ip", "netns", "add", namespace], check=False, capture_output=True).returncode:
                pytest.skip("no network namespaces here")
        ip = ["ip", "-n"]
        near, far = wire.names
        run("ip", "link", "add", near, "netns", wire.server, "type", "veth", "peer", "name", far, "netns", wire.client)
        for namespace, device, addresses in (
            (wire.server, near, ["10.99.0.1/24", "10.99.0.2/24", "fd99::1/64", "fd99::2/64"]),
            (wire.client, far, ["10.99.0.9/24", "fd99::9/64"]),
        ):
            for address in addresses:
                nodad = ["nodad"] if ":" in address else []
                run(*ip, namespace, "address", "add", address, "dev", device, *nodad)
            run(*ip, namespace, "link", "set", device, "mtu", mtu, "up")
            run(*ip, namespace, "link", "set", "lo", "up")
        yield wire
    finally:
        for namespace in (wire.server, wire.client):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)


SERVER_SCRIPT = """
import socket, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from bootserver.netboot.content import Content, Missing, Served
from bootserver.netboot.files import FileStore
from bootserver.netboot.tftp.server import TftpServer
sockets = []
for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    listener = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind((any_address, 69))
    sockets.append(listener)
files = FileStore(Path(sys.argv[2]))
def resolve(name, address):
    path = files.resolve(name)
    return Content(path, Served.FILE) if path else Missing("")
def report(end):
    print(end.outcome.value, end.address, flush=True)
server = TftpServer(sockets, resolve, files, report)
print("ready", flush=True)
server.run()
"""


@contextlib.contextmanager
def serving_in(link: Link, root: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        ["ip", "netns", "exec", link.server, sys.executable, "-c", SERVER_SCRIPT, str(REPOSITORY), str(root)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("link", [1500, 1400], indirect=True)
@pytest.mark.parametrize("blksize", [1300, 1468, 8192])
@pytest.mark.parametrize("server", ["10.99.0.1", "fd99::1"])
def test_windows_arrive_whole_whether_their_blocks_fit_the_wire_or_not(link, root, tmp_path, blksize, server):
    with serving_in(link, root) as process:
        flags = ["--option", f"blksize {blksize}", "--option", "windowsize 16"]
        run(
            *("ip", "netns", "exec", link.client, program("atftp"), *flags),
            *("--get", "-r", "boot/vmlinuz", "-l", tmp_path / "got", server, 69),
        )
        assert same(tmp_path / "got", root / "boot/vmlinuz")
        assert process.stdout is not None
        assert process.stdout.readline().startswith("sent ")


@pytest.mark.parametrize("server", ["10.99.0.1", "10.99.0.2", "fd99::1", "fd99::2"])
def test_a_frontend_with_several_addresses_answers_from_the_one_that_was_asked(link, root, server):
    ask = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
client = socket.socket(family, socket.SOCK_DGRAM)
client.settimeout(10)
for name in (b"motd", b"missing"):
    client.sendto(b"\\0\\1" + name + b"\\0octet\\0", (sys.argv[1], 69))
    datagram, peer = client.recvfrom(2000)
    print(peer[0], datagram[1])
    client.sendto(b"\\0\\4\\0\\1", peer)
"""
    with serving_in(link, root):
        said = run("ip", "netns", "exec", link.client, sys.executable, "-c", ask, server)
    assert said.splitlines() == [f"{server} 3", f"{server} 5"]


def test_a_request_to_a_broadcast_address_is_not_answered(link, root):
    ask = """
import socket
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
client.settimeout(10)
for address in ("10.99.0.255", "10.99.0.1"):
    client.sendto(b"\\0\\1" + (b"motd" if address.endswith(".1") else b"missing") + b"\\0octet\\0", (address, 69))
print(client.recv(2000)[1])
"""
    with serving_in(link, root):
        assert run("ip", "netns", "exec", link.client, sys.executable, "-c", ask) == "3\n"
