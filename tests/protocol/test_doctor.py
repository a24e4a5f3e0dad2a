"""``doctor`` at a real installation that is broken on purpose, one thing after the other; ``trace`` beside a real boot."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootserver.cluster.events import Kind
from bootserver.doctor import tftp
from tests.cluster import mac, wait_until
from tests.frontend import ADDRESS, PATIENCE, Frontend, prepared
from tests.lab.namespace import BRIDGE

ROGUE = "10.77.0.66"
CARD = "c0"
HOG = (
    "import socket, sys, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', int(sys.argv[1])));"
    "print('has it', flush=True); time.sleep(600)"
)


class Outside:
    """A machine on the frontend's network: a namespace with one card, on a port of the frontend's bridge."""

    def __init__(self, frontend: Frontend, number: int) -> None:
        self.name = f"bootserver-lab-{os.getpid()}-{9000 + number}"  # swept up with the others, should a test run be killed
        self.mac = mac(number)
        inside = frontend.namespace.name
        _ip("netns", "add", self.name)
        _ip("-n", inside, "link", "add", f"v{number}", "type", "veth", "peer", "name", CARD, "netns", self.name)
        _ip("-n", inside, "link", "set", f"v{number}", "master", BRIDGE, "up")
        _ip("-n", self.name, "link", "set", CARD, "address", str(self.mac), "up")
        _ip("-n", self.name, "link", "set", "lo", "up")

    def close(self) -> None:
        _ip("netns", "del", self.name)

    def command(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=True, timeout=60)

    @contextlib.contextmanager
    def dnsmasq(self, folder: Path) -> Iterator[None]:
        """Somebody's forgotten DHCP server, which looks whether an address is free before it offers it, as it does by default."""
        _ip("-n", self.name, "addr", "add", f"{ROGUE}/24", "dev", CARD)
        words = [
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", f"--interface={CARD}", "--bind-interfaces",
            "--leasefile-ro", f"--pid-file={folder}/pid", "--dhcp-range=10.77.0.200,10.77.0.209,2m", "--log-facility=-",
            "--dhcp-boot=other.0", "--dhcp-authoritative",
        ]  # fmt: skip
        with subprocess.Popen(self.command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
            try:
                assert running.stderr is not None
                while "sockets bound" not in (line := running.stderr.readline()):
                    assert line, "dnsmasq ended"
                yield
            finally:
                running.terminate()
                _ip("-n", self.name, "addr", "del", f"{ROGUE}/24", "dev", CARD)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def site(own_network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frontend]:
    """A frontend at work, with one node that boots its disk."""
    with prepared(tmp_path_factory.mktemp("site")) as made:
        made.start()
        made.add_node(1)
        made.set_action("compute-0-0", "os")
        made.namespace.run(["ip", "addr", "del", f"{made.seen('compute-0-0').interfaces[0].ip}/32", "dev", "lo"])  # it is outside
        yield made


@pytest.fixture(scope="module")
def outside(site: Frontend) -> Iterator[Outside]:
    made = Outside(site, 1)
    wait_until("the bridge has a carrier", lambda: "NO-CARRIER" not in site.namespace.run(["ip", "link", "show", BRIDGE]).stdout)
    yield made
    made.close()


def look(site: Frontend, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """:returns: the exit status, and what is wrong; what this machine itself lacks (a time daemon, an installer) is left out."""
    done = site.cli("doctor", "--format", "json", *options, status=None)
    assert done.returncode in (0, 1, 2), done.stderr
    found = json.loads(done.stdout)
    return done.returncode, [each for each in found if each["severity"] in ("warning", "failure") and each["check"] != "clock"]


def only(site: Frontend, check: str, *options: str) -> dict[str, Any]:
    """The one thing that is wrong."""
    status, found = look(site, *options)
    assert [each["check"] for each in found] == [check], found
    [finding] = found
    assert status == (2 if finding["severity"] == "failure" else 1)
    assert finding["why"] and finding["mend"]
    return dict(finding)


@pytest.mark.usefixtures("outside")
def test_a_sound_installation_has_nothing_wrong_and_its_loaders_come_whole(site: Frontend) -> None:
    found = site.cli("doctor", "--all", status=None).stdout
    assert "failure  " not in found, found
    for words in (
        "loaders come whole from 10.77.0.1\n",
        "port 80",
        "turns strangers away",
        "no other DHCP server answers on br0",
        "br0 is up and has 10.77.0.1/24",
        "of 1 nodes",
        "both databases are sound",
        "the service has its ports",
    ):
        assert words in found, found
    status, wrong = look(site, "--quick")
    assert wrong == [] and status in (0, 1)


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize("options", [tftp.PXE_ROM, tftp.PXELINUX, tftp.OVMF, tftp.SHIM, tftp.GRUB, {}], ids=str)
def test_tftpys_client_fetches_as_firmware_asks(site: Frontend, options: dict[str, int]) -> None:
    content = site.file("odd.bin", os.urandom(100_003))
    words = f"from bootserver.doctor import tftp; f = tftp.fetch('{ADDRESS}', 69, 'odd.bin', {dict(options)!r});"
    done = site.namespace.run([sys.executable, "-c", f"{words} print(f.content.hex(), dict(f.options), f.repeated)"])
    assert done.stdout == f"{content.hex()} { {**options, **({'tsize': 100_003} if 'tsize' in options else {})} } 0\n", (
        done.stderr
    )


@pytest.mark.usefixtures("outside")
def test_a_missing_loader_is_found(site: Frontend) -> None:
    loader = site.tftpboot / "pxelinux.0"
    aside = loader.rename(loader.with_name(".aside"))
    finding = only(site, "loaders", "--quick")
    aside.rename(loader)
    assert "pxelinux.0 is not below" in finding["what"] and finding["mend"] == "apt-get install pxelinux; bootserver init"


@pytest.mark.usefixtures("outside")
def test_a_loader_that_the_service_may_not_read_is_found_by_fetching_it(site: Frontend) -> None:
    loader = site.tftpboot / "pxelinux.0"
    content = loader.read_bytes()
    loader.unlink()  # a new file: one that the service has open already, it goes on serving
    loader.write_bytes(content)
    loader.chmod(0o600)
    _, found = look(site, "--quick")
    loader.chmod(0o644)
    by_check = {each["check"]: each for each in found}
    assert by_check.keys() == {"tftp", "http", "permissions"}
    assert "pxelinux.0" in by_check["tftp"]["what"] and f"chmod a+r {loader}" in by_check["tftp"]["mend"]


@pytest.mark.skipif(not shutil.which("dnsmasq"), reason="needs: apt-get install dnsmasq-base")
def test_another_dhcp_server_is_found_with_its_mac_and_what_it_offers(site: Frontend, outside: Outside, tmp_path: Path) -> None:
    with outside.dnsmasq(tmp_path):
        finding = only(site, "dhcp-servers", "--check", "dhcp-servers")
    assert f"another DHCP server, {ROGUE} (MAC {outside.mac}), answers on br0" in finding["what"]
    assert "it offers the address 10.77.0.20" in finding["what"]
    assert f"the boot file other.0 of {ROGUE}" in finding["what"]


@pytest.mark.skipif(not shutil.which("nft"), reason="needs: apt-get install nftables")
@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize(
    ("rules", "kinds"),
    [
        (["add rule inet doctor input iifname br0 udp dport 69 drop"], "TFTP"),
        (["add rule inet doctor input iifname lo accept", "add rule inet doctor input ct state established accept",
          "add rule inet doctor input tcp dport { 53, 80, 873 } accept", "add rule inet doctor input udp dport { 53, 67 } accept",
          "chain inet doctor input { policy drop; }"], "TFTP"),
    ],
)  # fmt: skip
def test_a_firewall_that_drops_is_found_and_its_mend_works(site: Frontend, rules: list[str], kinds: str) -> None:
    def nft(*words: str) -> None:
        done = site.namespace.run(["nft", *words])
        assert done.returncode == 0, done.stderr

    nft("add table inet doctor")
    try:
        nft("add chain inet doctor input { type filter hook input priority 0 ; }")
        for rule in rules:
            nft(rule)
        finding = only(site, "firewall", "--quick")
        assert f"drops what nodes send on br0: {kinds} (" in finding["what"]
        assert finding["mend"].startswith("nft insert rule inet doctor input iifname br0 udp dport 69 accept")
        nft(finding["mend"].removeprefix("nft ").partition(" (")[0])
        assert look(site, "--check", "firewall") == (0, [])
    finally:
        nft("delete table inet doctor")


@pytest.mark.usefixtures("outside")
def test_a_wrong_address_is_found_and_its_mend_works(site: Frontend) -> None:
    site.namespace.run(["ip", "addr", "add", "10.77.0.9/24", "dev", BRIDGE])
    site.namespace.run(["ip", "addr", "del", f"{ADDRESS}/24", "dev", BRIDGE])
    site.namespace.run(["ip", "addr", "add", f"{ADDRESS}/32", "dev", "lo"])  # what is fetched still comes
    try:
        finding = only(site, "interface", "--quick")
        assert "br0 does not have the address 10.77.0.1" in finding["what"] and "it is on lo" in finding["what"]
        assert finding["mend"].startswith(f"ip addr add {ADDRESS}/24 dev br0")
    finally:
        site.namespace.run(["ip", "addr", "del", f"{ADDRESS}/32", "dev", "lo"])
        site.namespace.run(["ip", "addr", "add", f"{ADDRESS}/24", "dev", BRIDGE])
        site.namespace.run(["ip", "addr", "del", "10.77.0.9/24", "dev", BRIDGE])


@pytest.mark.usefixtures("outside")
def test_another_machine_with_the_frontends_address_is_found(site: Frontend) -> None:
    twin = Outside(site, 2)
    try:
        _ip("-n", twin.name, "addr", "add", f"{ADDRESS}/24", "dev", CARD)
        finding = only(site, "interface", "--check", "interface")
    finally:
        twin.close()
    assert f"another machine (MAC {twin.mac}) has the frontend's address {ADDRESS} on br0" in finding["what"]


@pytest.mark.usefixtures("outside")
def test_a_file_that_a_node_boots_and_is_gone_is_found(site: Frontend) -> None:
    site.make_installable()
    site.set_action("compute-0-0", "install")
    (site.tftpboot / "site" / "vmlinuz").unlink()
    finding = only(site, "menus", "--quick")
    site.set_action("compute-0-0", "os")
    assert finding["what"].startswith("menu of compute-0-0: site/vmlinuz, which action install boots, is not below tftpboot")


@pytest.mark.usefixtures("outside")
def test_a_database_of_another_revision_and_a_part_that_dies_are_found(site: Frontend) -> None:
    with site.databases.journal.write() as connection:
        [row] = connection.rows("SELECT version_num FROM alembic_version_journal")
        connection.execute("UPDATE alembic_version_journal SET version_num = 'old'")
    finding = only(site, "database", "--quick")
    with site.databases.journal.write() as connection:
        connection.execute("UPDATE alembic_version_journal SET version_num = :was", {"was": row["version_num"]})
    assert "the journal database is of revision old" in finding["what"] and "bootserver init" in finding["mend"]
    [recorder] = [pid for pid, name in site.processes().items() if name == "bs-recorder"]
    # A supervisor that is stopped restarts nothing: so it is as if the part died again each time.
    os.kill(site.pid, signal.SIGSTOP)
    try:
        os.kill(recorder, signal.SIGKILL)
        wait_until("it is dead", lambda: Path(f"/proc/{recorder}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
        finding = only(site, "service", "--quick")
    finally:
        os.kill(site.pid, signal.SIGCONT)
    assert "these parts don't run: recorder" in finding["what"]
    wait_until("it runs again", lambda: "bs-recorder" in site.processes().values(), PATIENCE)


@pytest.mark.usefixtures("outside")
def test_who_is_not_root_is_told_what_could_not_be_looked_at(site: Frontend) -> None:
    words = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", sys.executable, "-m", "bootserver"]
    done = site.namespace.run([*words, "--config", str(site.config), "doctor", "--quick", "--format", "json"])
    found = json.loads(done.stdout)
    assert "failure" not in {each["severity"] for each in found}, found
    notes = {each["check"] for each in found if each["mend"] == "sudo bootserver doctor"}
    assert {"database", "ports"} <= notes, found
    assert "Traceback" not in done.stderr


# -- a service that can't start ----------------------------------------------------------------------------------------


def test_what_keeps_a_service_from_starting_is_found_while_it_is_down(own_network: None, tmp_path: Path) -> None:
    with prepared(tmp_path) as down:
        outside = Outside(down, 9)
        try:
            status, found = look(down, "--quick")
            assert (status, [each["what"] for each in found]) == (2, ["the service does not run"])
            hog = down.namespace.start("hog", [sys.executable, "-c", HOG, "69"])
            wait_until("it has the port", lambda: "has it" in hog.text())
            _, found = look(down, "--quick")
            hog.stop()
            [port] = [each for each in found if each["check"] == "ports"]
            assert port["what"].startswith("port 69 (TFTP) is held by python") and f"(pid {hog.pid})" in port["what"]
            assert "tftp.port" in port["mend"]
            path = down.state / "db" / "cluster.sqlite"
            content = path.read_bytes()
            path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
            _, found = look(down, "--quick")
            path.write_bytes(content)
            assert [each["check"] for each in found] == ["service", "database"]
            assert "damaged" in found[1]["what"] and "bootserver restore --backup" in found[1]["mend"]
            _full(down)
        finally:
            outside.close()


def _full(down: Frontend) -> None:
    """The databases on a disk of their own, which is full."""
    folder = down.state / "db"
    kept = folder.with_name("kept")
    shutil.copytree(folder, kept)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=8m,mode=700,uid={folder.stat().st_uid}", "none", folder], check=True)
    try:
        for each in kept.iterdir():
            shutil.copy2(each, folder)
            shutil.chown(folder / each.name, folder.stat().st_uid, folder.stat().st_gid)
        with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
            filler.write(bytes(16 << 20))
        shutil.chown(folder / "filler", folder.stat().st_uid)
        _, found = look(down, "--quick")
        [disk] = [each for each in found if each["check"] == "disk"]
        assert f"the disk of {folder} is full" in disk["what"] and "du -xh" in disk["mend"]
    finally:
        subprocess.run(["umount", folder], check=True)
        shutil.rmtree(kept)


# -- trace -------------------------------------------------------------------------------------------------------------


def traced(site: Frontend, machine: str, *options: str) -> Any:
    process = site.start_command("trace", machine, *options)
    wait_until("it waits", lambda: "power it on" in process.text(), PATIENCE)
    return process


def test_a_boot_is_followed_through_dhcp_tftp_and_http(site: Frontend, outside: Outside, tmp_path: Path) -> None:
    site.make_installable()
    site.set_action("compute-0-0", "os")
    process = traced(site, "compute-0-0", "--timeout", "60")
    script = tmp_path / "leased"
    script.write_text('#!/bin/sh\n[ "$1" = bound ] && ip addr add "$ip/24" dev "$interface"\nexit 0\n')
    script.chmod(0o755)
    pxe = ["-V", "PXEClient:Arch:00000:UNDI:002001", "-x", "0x5d:0000"]
    outside.run("busybox", "udhcpc", "-i", CARD, "-f", "-q", "-n", "-t", "5", "-s", str(script), *pxe)
    try:
        outside.run("curl", "-sS", "-o", str(tmp_path / "loader"), f"tftp://{ADDRESS}/pxelinux.0")
        address = str(site.seen("compute-0-0").interfaces[0].ip)
        number = "".join(f"{int(part):02X}" for part in address.split("."))
        outside.run("curl", "-sS", "-o", str(tmp_path / "menu"), f"tftp://{ADDRESS}/pxelinux.cfg/{number}")
        assert process.wait(PATIENCE) == 0, process.text()
    finally:
        outside.run("ip", "addr", "flush", "dev", CARD)
    story = process.text()
    places = [
        story.find(words)
        for words in ("offered: ", "acknowledged: ", "loader sent: pxelinux.0", "menu sent: ", "local disk; the")
    ]
    assert places == sorted(places) and -1 not in places, story
    assert "BIOS" in story and "  ! " not in story.partition("offered")[2]
    assert (tmp_path / "loader").read_bytes() == (site.tftpboot / "pxelinux.0").read_bytes()


def test_a_boot_that_stops_and_a_machine_that_nobody_knows_are_told_of(site: Frontend, outside: Outside) -> None:
    stops = traced(site, str(outside.mac), "--timeout", "14")
    pxe = ["-V", "PXEClient:Arch:00007:UNDI:003016", "-x", "0x5d:0007", "-s", "/bin/true"]
    outside.run("busybox", "udhcpc", "-i", CARD, "-f", "-q", "-n", "-t", "5", *pxe)
    stranger = Outside(site, 3)
    try:
        process = traced(site, str(stranger.mac))
        words = ["busybox", "udhcpc", "-i", CARD, "-f", "-q", "-n", "-t", "1", "-T", "1", "-s", "/bin/true"]
        subprocess.run(stranger.command(*words), capture_output=True, check=False, timeout=30)
        site.told(Kind.IGNORED, because="unknown, and no discovery is open")
        wait_until("it is told", lambda: "insert-ethers" in process.text(), PATIENCE)
        process.signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert "not followed any further; it came as far as: silent" in process.text()
    finally:
        stranger.close()
    assert stops.wait(PATIENCE) == 1
    assert "no TFTP request for shimx64.efi for 10 s: most likely a firewall" in stops.text(), stops.text()
    assert "it came as far as: addressed" in stops.text()
