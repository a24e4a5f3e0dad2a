"""What nodes fetch by HTTP from the running service: files and menus, whole or in part, and nothing else."""

from __future__ import annotations

import socket
import struct
import threading
import time

import pytest

from bootserver.cluster.events import Kind
from tests.cluster import mac, wait_until
from tests.frontend import ADDRESS, STRANGER, Frontend

BIG = 24 << 20  # more than all buffers on the way take


@pytest.fixture(scope="module")
def site(frontend: Frontend) -> Frontend:
    frontend.file("plain.txt", b"0123456789")
    frontend.file("folder/plain.txt", b"below")
    frontend.file("big.bin", bytes(range(256)) * (BIG // 256))
    (frontend.state / "secret").write_text("not below tftpboot")
    frontend.make_installable()
    return frontend


# -- files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/plain.txt", "//plain.txt", "///plain.txt", "/./plain.txt", "/plain%2etxt"])
def test_a_file_comes_whole_and_is_never_redirected(site: Frontend, path: str) -> None:
    answer = site.http("GET", path)
    assert (answer.status, answer.body) == (200, b"0123456789")
    assert answer.headers["Content-Length"] == "10"


@pytest.mark.parametrize(
    "path", ["/folder/plain.txt", "/folder//plain.txt", "//folder///plain.txt", "/folder%5cplain.txt", "/folder%2Fplain.txt"]
)
def test_slashes_may_be_doubled_and_turned(site: Frontend, path: str) -> None:
    answer = site.http("GET", path)
    assert (answer.status, answer.body) == (200, b"below")


def test_a_big_file_comes_byte_for_byte(site: Frontend) -> None:
    answer = site.http("GET", "/big.bin")
    assert answer.body == (site.tftpboot / "big.bin").read_bytes()


@pytest.mark.parametrize(
    ("wanted", "status", "body", "told"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=5-99", 206, b"56789", "bytes 5-9/10"),
        ("bytes=50-60", 416, None, None),
    ],
)
def test_a_file_comes_in_parts(site: Frontend, wanted: str, status: int, body: bytes | None, told: str | None) -> None:
    answer = site.http("GET", "/plain.txt", headers={"Range": wanted})
    assert answer.status == status
    assert body is None or answer.body == body
    assert told is None or answer.headers["Content-Range"] == told


def test_a_part_of_a_big_file_is_that_part(site: Frontend) -> None:
    answer = site.http("GET", "/big.bin", headers={"Range": f"bytes={BIG - 300}-"})
    assert answer.body == (bytes(range(256)) * 2)[-300:]


def test_head_tells_the_size_and_sends_nothing(site: Frontend) -> None:
    answer = site.http("HEAD", "/big.bin")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, str(BIG), b"")


def test_what_is_not_there_is_404(site: Frontend) -> None:
    assert site.http("GET", "/nothing").status == 404
    assert site.http("GET", "/folder").status == 404, "a folder is no file"
    assert site.http("GET", "/").status == 200, "a person who looks is told what this is"


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/folder/../../secret",
        "/%2e%2e/secret",
        "/%2E%2e%2fsecret",
        "/..%2fsecret",
        "/..%5csecret",
        "/..\\secret",
        "/folder\\..\\..\\secret",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/etc/passwd",
        "/folder/..%00/secret",
        "/%252e%252e/secret",
        "/link",
        "/db/cluster.sqlite",
    ],
)
def test_nothing_outside_of_tftpboot_is_ever_sent(site: Frontend, path: str) -> None:
    link = site.tftpboot / "link"
    if not link.is_symlink():
        link.symlink_to(site.state / "secret")
    answer = site.http("GET", path)
    assert answer.status in (400, 404)
    assert b"not below" not in answer.body and b"root:" not in answer.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(site: Frontend, method: str) -> None:
    assert site.http(method, "/plain.txt", body=b"x").status == 405
    assert site.http("GET", "/plain.txt").body == b"0123456789"


@pytest.mark.parametrize(
    "junk",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0" * 5000,
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_and_the_next_request_is_served(site: Frontend, junk: bytes) -> None:
    with site.connect() as connection:
        connection.sendall(junk)
        connection.shutdown(socket.SHUT_WR)
        received = connection.recv(100)
    assert b" 200 " not in received
    assert site.http("GET", "/plain.txt").status == 200


# -- menus -------------------------------------------------------------------------------------------------------


def test_a_menu_that_holds_a_ticket_goes_to_its_own_address_only(site: Frontend) -> None:
    name, address = site.add_node(1)
    site.set_action(name, "install")
    path = f"/pxelinux.cfg/01-{mac(1).dashed}"
    wait_until("the menu holds a ticket", lambda: b"bootserver.ticket=" in site.http("GET", path, source=address).body)
    for source in (STRANGER, ADDRESS):
        answer = site.http("GET", path, source=source)
        assert answer.status == 403
        assert b"ticket=" not in answer.body
        told = site.told(Kind.DENIED, **{"from": source, "path": path.lstrip("/")})
        assert told.detail["status"] == 403
    assert site.http("GET", path, source=STRANGER, headers={"X-Real-IP": address}).status == 403, "whatever it says of itself"
    assert site.http("GET", path, source=STRANGER, headers={"X-Forwarded-For": address}).status == 403
    shown = " ".join(str(event.detail) for event in site.events())
    ticket = site.http("GET", path, source=address).text.split("bootserver.ticket=")[1].split()[0]
    assert ticket not in shown + site.log()


def test_each_menu_holds_a_fresh_ticket(site: Frontend) -> None:
    name, address = site.add_node(2)
    site.set_action(name, "install")
    path = f"/pxelinux.cfg/01-{mac(2).dashed}"
    wait_until("the menu holds a ticket", lambda: b"bootserver.ticket=" in site.http("GET", path, source=address).body)
    assert site.http("GET", path, source=address).body != site.http("GET", path, source=address).body


# -- what is told of it ------------------------------------------------------------------------------------------


def test_a_download_is_told_with_its_bytes(site: Frontend) -> None:
    name, address = site.add_node(3)
    site.file("told.bin", b"x" * 300_000)
    site.http("GET", "/told.bin", source=address)
    event = site.told(Kind.FILE_SENT, path="told.bin")
    assert (event.node, event.mac, event.detail["bytes"], event.detail["by"]) == (name, mac(3), 300_000, "http")
    assert float(event.detail["seconds"] or 0) >= 0


def test_a_part_of_a_file_is_no_file_sent(site: Frontend) -> None:
    site.file("part.bin", b"x" * 1000)
    site.http("GET", "/part.bin", headers={"Range": "bytes=0-10"})
    site.http("HEAD", "/part.bin")
    site.file("whole.bin", b"x")
    site.http("GET", "/whole.bin")
    site.told(Kind.FILE_SENT, path="whole.bin")
    assert site.events(Kind.FILE_SENT, path="part.bin") == []


def test_a_download_that_is_broken_off_is_not_sent(site: Frontend) -> None:
    site.file("broken.bin", b"x" * BIG)
    connection = site.connect()
    connection.sendall(b"GET /broken.bin HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.recv(1000)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, as when power goes
    connection.close()
    event = site.told(Kind.NOT_SENT, path="broken.bin")
    assert int(event.detail["bytes"] or 0) < BIG
    assert site.events(Kind.FILE_SENT, path="broken.bin") == []


def test_slow_readers_keep_nobody_waiting(site: Frontend) -> None:
    slow = [site.connect() for _ in range(40)]
    try:
        for connection in slow:
            connection.sendall(b"GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
            connection.recv(100)
        answers: list[int] = []
        asked = threading.Thread(target=lambda: answers.append(site.http("GET", "/pxelinux.cfg/default").status))
        asked.start()
        asked.join(20)
        assert answers == [200], "while 40 downloads hang"
        for connection in slow[:3]:  # and they are still served
            assert connection.recv(1000)
    finally:
        for connection in slow:
            connection.close()


def test_a_connection_that_says_nothing_keeps_nobody_waiting(site: Frontend) -> None:
    silent = [site.connect() for _ in range(100)]
    half = site.connect()
    half.sendall(b"GET /plain.txt HTTP/1.1\r\nHo")
    try:
        time.sleep(0.2)
        assert site.http("GET", "/plain.txt").status == 200
    finally:
        for connection in (*silent, half):
            connection.close()
