"""The service as processes: ready, ended, killed part by part, reloaded, and who it runs as."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import wait_until
from tests.frontend import PATIENCE, Frontend, prepared

# SO_REUSEADDR for TCP, as servers do: connections of the test before may still be in TIME_WAIT on that port.
HOG = (
    "import socket, sys, time; s = socket.socket(socket.AF_INET, int(sys.argv[1]));"
    "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(s.type == socket.SOCK_STREAM));"
    "s.bind(('', int(sys.argv[2])));"
    "s.type == socket.SOCK_STREAM and s.listen(); print('has it', flush=True); time.sleep(600)"
)


@pytest.fixture(scope="module")
def idle(own_network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frontend]:
    """A frontend that does not serve yet; each test starts it, and it is stopped at the test's end."""
    with prepared(tmp_path_factory.mktemp("idle")) as made:
        made.file("hello.txt", b"hello")
        yield made


@pytest.fixture
def service(idle: Frontend) -> Iterator[Frontend]:
    before = idle.config.read_text()
    idle.start()
    yield idle
    idle.stop()
    idle.config.write_text(before)


def serves(frontend: Frontend) -> bool:
    return frontend.tftp("hello.txt") == frontend.http("GET", "/hello.txt").body == b"hello"


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"]


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_it_says_when_it_is_ready_and_ends_with_0_and_leaves_nothing(service: Frontend) -> None:
    service.says("ready after")
    assert serves(service)
    pids = [service.pid, *service.processes()]
    assert (service.state / "run" / "bootserver.pid").read_text() == f"{service.pid}\n"
    process = service._service
    assert process is not None
    process.signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert "stopped" in service.log().splitlines()[-1]
    assert "Traceback" not in service.log()
    assert alive(pids) == []
    assert not (service.state / "run" / "bootserver.pid").exists()


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(idle: Frontend, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(PATIENCE)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        process = idle.namespace.start("notified", idle._command(["serve"]), environment=environment)
        ready = channel.recv(500).decode()
        assert ready.startswith("READY=1\n") and f"MAINPID={process.pid}" in ready
        process.signal(signal.SIGTERM)
        assert channel.recv(500) == b"STOPPING=1"
        assert process.wait(PATIENCE) == 0


def test_what_faces_the_network_is_not_root(service: Frontend) -> None:
    service.says("ready after")
    parts = service.processes()
    assert {name.rstrip("-0123456789") for name in parts.values()} >= {"bs-recorder", "bs-dhcp", "bs-tftp", "bs-web"}
    for pid, name in parts.items():
        if name == "bs-rsync":  # the exception, below
            continue
        status = status_of(pid)
        assert "0" not in status["Uid"].split() and "0" not in status["Gid"].split(), name
        assert status["Groups"] in ("", status["Gid"].split()[0]), name
        assert {int(status[each], 16) for each in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}, name
        assert status["NoNewPrivs"] == "1", name


def test_the_image_server_is_root_with_what_a_copy_needs_and_no_more(service: Frontend) -> None:
    service.says("ready after")
    [pid] = [pid for pid, name in service.processes().items() if name == "bs-rsync"]
    status = status_of(pid)
    dac_override, dac_read_search, setgid, setuid, sys_chroot = 1 << 1, 1 << 2, 1 << 6, 1 << 7, 1 << 18
    for_programs = dac_read_search | setgid | setuid | sys_chroot
    assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == for_programs | dac_override
    assert int(status["CapBnd"], 16) == for_programs, "what it starts"
    assert (int(status["CapInh"], 16), int(status["CapAmb"], 16), status["NoNewPrivs"]) == (0, 0, "1")


@pytest.mark.parametrize("part", ["tftp", "web", "dhcp", "recorder", "rsync", "rsync-gate"])
def test_a_part_that_is_killed_is_started_again_and_serves(service: Frontend, part: str) -> None:
    assert serves(service)
    killed = service.kill(part)
    service.says("part ended name=")
    service.wait_until_ready()
    wait_until(
        "the part runs again", lambda: any(name.startswith(f"bs-{part}") for name in service.processes().values()), PATIENCE
    )
    wait_until("the killed ones are gone", lambda: alive(killed) == [], PATIENCE)
    assert serves(service)
    assert f"part ended name={part}" in service.log() and "signal 9" in service.log()


def test_killing_the_supervisor_ends_everything_and_frees_the_ports(service: Frontend) -> None:
    service.says("ready after")
    pids = [service.pid, *service.processes()]
    os.kill(service.pid, signal.SIGKILL)
    wait_until("all parts have ended", lambda: alive(pids) == [], PATIENCE)
    service.stop()
    service.start()
    assert serves(service)


def test_a_reload_with_a_broken_configuration_keeps_the_old_one_and_says_why(service: Frontend) -> None:
    service.says("ready after")
    before = service.processes()
    text = service.config.read_text()
    line = text.count("\n") + 2
    for wrong, said in (
        ("[http]\nprot = 80\n", f":{line}: http.prot is no setting"),
        ("[http\n", "no TOML"),
        ("[http]\nport = 0\n", f":{line}: http.port"),
    ):
        service.config.write_text(text + wrong)
        os.kill(service.pid, signal.SIGHUP)
        service.says(said)
    assert service.log().count("not reloaded, the service goes on as it was") == 3
    assert service.processes() == before
    assert serves(service)


def test_a_reload_moves_a_port(service: Frontend) -> None:
    service.settings(http={"port": 8080})
    os.kill(service.pid, signal.SIGHUP)
    service.says("configuration reloaded")
    service.wait_until_ready()
    assert service.http("GET", "/hello.txt", port=8080).body == b"hello"
    wait_until("nobody has the old port", lambda: _refuses(service, 80), PATIENCE)
    assert service.tftp("hello.txt") == b"hello"


def _refuses(service: Frontend, port: int) -> bool:
    try:
        service.connect(port=port).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_reload_loses_no_request(service: Frontend) -> None:
    service.says("ready after")
    for _ in range(2):
        os.kill(service.pid, signal.SIGHUP)
        for _ in range(20):
            assert service.http("GET", "/hello.txt").body == b"hello"
        assert service.tftp("hello.txt") == b"hello"
    service.says("configuration reloaded", times=2)


@pytest.mark.parametrize(
    ("kind", "port", "what", "setting"),
    [
        (socket.SOCK_STREAM, 80, "HTTP", "http.port"),
        (socket.SOCK_DGRAM, 69, "TFTP", "tftp.port"),
        (socket.SOCK_DGRAM, 67, "DHCP", "dhcp."),
    ],
)
def test_a_port_in_use_names_who_has_it_and_the_way_out(idle: Frontend, kind: int, port: int, what: str, setting: str) -> None:
    hog = idle.namespace.start(f"hog-{port}", [sys.executable, "-c", HOG, str(int(kind)), str(port)])
    try:
        hog.wait_for("has it", PATIENCE)
        done = idle.cli("serve", status=1)
        [line] = done.stderr.splitlines()
        assert line.startswith(f"bootserver: port {port} ({what}")
        assert f"(pid {hog.pid})" in line and setting in line and str(idle.config) in line
    finally:
        hog.stop()


def test_a_reload_to_a_port_in_use_goes_on_as_it_was(service: Frontend) -> None:
    hog = service.namespace.start("hog-8081", [sys.executable, "-c", HOG, "1", "8081"])
    try:
        hog.wait_for("has it", PATIENCE)
        service.settings(http={"port": 8081})
        os.kill(service.pid, signal.SIGHUP)
        service.says(f"port 8081 (HTTP) is taken by {_comm(hog.pid)} (pid {hog.pid})")
        assert serves(service)
    finally:
        hog.stop()


def _comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_without_init_it_says_what_to_do(idle: Frontend, tmp_path: Path) -> None:
    config = tmp_path / "other.toml"
    config.write_text(f'[frontend]\nstate = "{tmp_path}/none"\n')
    done = idle.namespace.run([sys.executable, "-m", "bootserver", "--config", str(config), "serve"])
    assert done.returncode == 1
    assert done.stderr == f"bootserver: {tmp_path}/none/tftpboot is not there: run `bootserver init`\n"


def test_a_state_directory_that_its_user_can_not_enter_is_named(idle: Frontend, tmp_path: Path) -> None:
    config = tmp_path / "other.toml"
    (tmp_path / "closed" / "tftpboot").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    config.write_text(f'[frontend]\nstate = "{tmp_path}/closed"\n')
    done = idle.namespace.run([sys.executable, "-m", "bootserver", "--config", str(config), "serve"])
    assert done.returncode == 1
    assert f"user bootserver can't enter {tmp_path}/closed: `chmod a+x" in done.stderr


def test_it_stops_soon_with_a_download_that_hangs(service: Frontend) -> None:
    service.file("big.bin", b"x" * (24 << 20))
    with service.connect() as hanging:
        hanging.sendall(b"GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        hanging.recv(100)
        process = service._service
        assert process is not None
        process.signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
