"""What the service listens on; a port that is taken is told with who has it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from bootserver.errors import Unavailable
from bootserver.service import sockets


@pytest.fixture
def taken() -> Iterator[tuple[int, int]]:
    """A UDP and a TCP port that this process has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        udp.bind(("0.0.0.0", 0))
        tcp.bind(("0.0.0.0", 0))
        tcp.listen()
        yield udp.getsockname()[1], tcp.getsockname()[1]


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_taken_port_is_told_with_who_has_it_and_the_way_out(taken: tuple[int, int]) -> None:
    udp, tcp = taken
    with pytest.raises(Unavailable) as of_udp:
        sockets.tftp(udp, "tftp.port in /etc/x.toml")
    with pytest.raises(Unavailable) as of_tcp:
        sockets.tcp(tcp, "HTTP", "http.port in /etc/x.toml")
    for caught, port, what in ((of_udp, udp, "TFTP"), (of_tcp, tcp, "HTTP")):
        text = str(caught.value)
        assert text.startswith(f"port {port} ({what}) is taken by ") and f"(pid {os.getpid()})" in text
        assert text.endswith(f"or set {what.lower()}.port in /etc/x.toml")


def test_a_port_that_nobody_has_has_no_owner(taken: tuple[int, int]) -> None:
    udp, tcp = taken
    assert [pid for _, pid in sockets.owners(socket.SOCK_DGRAM, udp)] == [os.getpid()]
    assert [pid for _, pid in sockets.owners(socket.SOCK_STREAM, tcp)] == [os.getpid()]
    free = free_port(socket.SOCK_STREAM)
    assert list(sockets.owners(socket.SOCK_STREAM, free)) == []


def test_tftp_workers_share_a_port_and_each_gets_ipv4_and_ipv6() -> None:
    port = free_port(socket.SOCK_DGRAM)
    workers = [sockets.tftp(port, "x") for _ in range(3)]
    try:
        assert all(each.getsockname()[1] == port for worker in workers for each in worker)
        assert {each.family for each in workers[0]} == {socket.AF_INET, socket.AF_INET6}
        assert not any(each.get_inheritable() for worker in workers for each in worker)
    finally:
        for worker in workers:
            worker.close()
    assert workers[0][0].fileno() == -1


def test_a_port_is_free_again_after_a_failure(taken: tuple[int, int]) -> None:
    """Half of a worker's sockets must not stay open when the other half could not be had."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as only_ipv6:
        only_ipv6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        only_ipv6.bind(("::", 0))
        port = only_ipv6.getsockname()[1]
        with pytest.raises(Unavailable):
            sockets.tftp(port, "x")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", port))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_tcp_port_answers_ipv4_and_ipv6_on_one_socket(address: str) -> None:
    listener = sockets.tcp(free_port(socket.SOCK_STREAM), "HTTP", "x")
    try:
        greeter = threading.Thread(target=lambda: listener.accept()[0].close())
        greeter.start()
        with socket.create_connection((address, listener.getsockname()[1]), timeout=10) as client:
            assert client.recv(1) == b""
        greeter.join()
    finally:
        listener.close()
