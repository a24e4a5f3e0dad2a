"""What a distribution's own installer asks, as Anaconda, debian-installer and cloud-init ask it, from the running service."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bootserver import data
from bootserver.cluster import attributes, nodes
from bootserver.cluster.attributes import Place
from bootserver.cluster.events import Kind
from bootserver.db.rows import DistributionRow, Scope
from tests.cluster import mac, wait_until
from tests.frontend import ADDRESS, STRANGER, Answer, Frontend, with_token

numbers = itertools.count(300)
INVENTORIES = data.folder("partition_scripts") / "inventories"
BIOS, UEFI, NO_DISK, WITH_DATA = "bios-sata-blank", "uefi-virtio-blank", "qemu-bios-no-disk", "bios-ours-sata"

TREES = (
    DistributionRow(
        0, "rocky9", "distro/rocky9/vmlinuz", ("distro/rocky9/initrd.img",),
        "inst.repo=@frontend@distro/rocky9 inst.ks=@frontend@node/kickstart/@ticket@ inst.ks.sendmac",
        kind="kickstart", family="rhel", title="Rocky Linux 9.4", version="9.4", architecture="x86_64", tree="/srv/tree",
    ),
    DistributionRow(
        0, "bookworm", "distro/bookworm/vmlinuz", ("distro/bookworm/initrd.gz",),
        "auto=true priority=critical url=@frontend@node/kickstart/@ticket@",
        kind="preseed", family="debian", title="Debian 12", version="12", architecture="x86_64", tree="/srv/tree",
    ),
    DistributionRow(
        0, "noble", "distro/noble/vmlinuz", ("distro/noble/initrd",),
        "autoinstall ds=nocloud-net;s=@frontend@node/kickstart/@ticket@/",
        kind="autoinstall", family="ubuntu", title="Ubuntu 24.04", version="24.04", architecture="x86_64", tree="/srv/tree",
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def trees(frontend: Frontend) -> Frontend:
    for tree in TREES:
        for path in (tree.kernel, *tree.initrds):
            frontend.file(path, b"x" * 1000)
    with frontend.change() as change:
        for tree in TREES:
            change.insert(tree)
    return frontend


@dataclass(frozen=True)
class Node:
    """A node whose distribution's installer is started."""

    frontend: Frontend
    name: str
    address: str
    number: int

    @property
    def hex_address(self) -> str:
        """As pxelinux names a menu by it."""
        return f"{int(IPv4Address(self.address)):08X}"

    def ticket(self) -> str:
        return self.frontend.ticket(self.name, time.time())

    def get(self, path: str, *, source: str | None = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.frontend.http("GET", path, source=source or self.address, headers=named)

    def kickstart(self, ticket: str | None = None) -> str:
        answer = self.get(f"/node/kickstart/{ticket or self.ticket()}")
        assert answer.status == 200, answer.text
        return answer.text

    def token(self) -> str:
        """The session token, as it stands in the kickstart."""
        return token_in(self.kickstart())

    def partitions(self, token: str, inventory: str | bytes) -> Answer:
        body = inventory if isinstance(inventory, bytes) else (INVENTORIES / f"{inventory}.json").read_bytes()
        headers = {"Content-Type": "application/json", **with_token(token)}
        return self.frontend.http("POST", "/node/partitions", source=self.address, body=body, headers=headers)

    def last(self, kind: Kind, **detail: object):
        wait_until(f"{kind} of {self.name}", lambda: any(e.node == self.name for e in self.frontend.events(kind, **detail)))
        return [event for event in self.frontend.events(kind, **detail) if event.node == self.name][-1]

    def set(self, key: str, value: str) -> None:
        with self.frontend.change() as change:
            row = nodes.get(change, self.name)
            attributes.set_attribute(change, Place(Scope.NODE, row.id), key, value)
        wait_until("the service knows", lambda: self.frontend.seen(self.name).attributes.get(key) == value)
        time.sleep(0.1)  # the web worker's own view follows within a tick of 20 ms


def token_in(text: str) -> str:
    found = set(re.findall(r"\d+\.[0-9a-f]{64}", text))
    assert len(found) == 1, f"one token, not {len(found)}: {text}"
    return found.pop()


def started(frontend: Frontend, tree: str) -> Node:
    number = next(numbers)
    name, address = frontend.add_node(number)
    with frontend.change() as change:
        attributes.set_attribute(change, Place(Scope.NODE, nodes.get(change, name).id), "distribution", tree)
    frontend.set_action(name, "install")
    wait_until("the service knows it", lambda: frontend.seen(name).install is not None)
    time.sleep(0.1)
    return Node(frontend, name, address, number)


@pytest.fixture
def rocky(trees: Frontend) -> Node:
    return started(trees, "rocky9")


@pytest.fixture
def debian(trees: Frontend) -> Node:
    return started(trees, "bookworm")


@pytest.fixture
def ubuntu(trees: Frontend) -> Node:
    return started(trees, "noble")


def test_its_boot_menu_names_its_tree_and_its_kickstart(rocky: Node) -> None:
    menu = rocky.get(f"/pxelinux.cfg/01-{mac(rocky.number).dashed}").text
    assert "kernel /distro/rocky9/vmlinuz" in menu.lower() or "distro/rocky9/vmlinuz" in menu
    assert f"inst.repo=http://{ADDRESS}/distro/rocky9" in menu
    ticket = re.search(r"inst\.ks=http://[0-9.]+/node/kickstart/(\S+)", menu)
    assert ticket is not None and rocky.get(f"/node/kickstart/{ticket[1]}").status == 200
    assert "@" not in menu and "bootserver.ticket" not in menu


def test_the_way_of_anaconda(rocky: Node, tmp_path: Path) -> None:
    """Headers, addresses and order are Anaconda's; its own parser reads all that it gets."""
    ticket = rocky.ticket()
    card = f"eth0 {mac(rocky.number)}"
    got = rocky.get(
        f"/node/kickstart/{ticket}", X_RHN_Provisioning_MAC_0=card, X_Anaconda_Architecture="x86_64", User_Agent="curl/7.76"
    )
    assert got.status == 200
    kickstart, token = got.text, token_in(got.text)
    assert rocky.last(Kind.KICKSTART_SENT).detail["status"] == 200
    included = re.search(r"^%include (\S+)$", kickstart, re.MULTILINE)
    assert included is not None

    early = rocky.get("/node/early", **with_token(token))
    assert early.status == 200 and subprocess.run(["sh", "-n"], input=early.body).returncode == 0
    lines = rocky.partitions(token, BIOS)
    assert lines.status == 200, lines.text
    part = tmp_path / "partitions"
    part.write_bytes(lines.body)
    (tmp_path / "ks.cfg").write_text(kickstart.replace(included[1], str(part)) + "\n")
    # pykickstart is GPL: a program beside this one, as in the product
    validator = Path(sys.executable).with_name("ksvalidator")
    done = subprocess.run([validator, "-v", "RHEL9", str(tmp_path / "ks.cfg")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "part / " in lines.text and "--ondisk=sda" in lines.text

    late = rocky.get("/node/late", **with_token(token))
    assert late.status == 200 and subprocess.run(["sh", "-n"], input=late.body).returncode == 0
    files = rocky.get("/node/late-files", **with_token(token))
    with tarfile.open(fileobj=io.BytesIO(files.body)) as archive:
        names = archive.getnames()
    assert "./etc/bootserver/url" in names and "./usr/lib/bootserver/report-up" in names
    for phase in ("partition", "configure", "done"):
        answer = rocky.frontend.http(
            "POST", "/node/phase", source=rocky.address, body=f"phase={phase}", headers=with_token(token)
        )
        assert answer.status == 200
    key = rocky.frontend.http("POST", "/node/key", source=rocky.address, headers=with_token(token)).text
    assert rocky.frontend.http("POST", "/node/installed", source=rocky.address, headers=with_token(token)).status == 200
    assert rocky.frontend.node(rocky.name).action is None
    assert rocky.frontend.http("POST", "/node/up", source=rocky.address, headers=with_token(key)).status == 200
    assert rocky.last(Kind.UP)
    told = " ".join(str(event.detail) for event in rocky.frontend.events()) + rocky.frontend.log()
    for secret in (token, key, ticket):
        assert secret not in told


def test_a_kickstart_at_rocks_place_tells_the_number_of_cpus(rocky: Node) -> None:
    answer = rocky.get(f"/install/sbin/kickstart.cgi?arch=x86_64&np=12&ticket={rocky.ticket()}")
    assert answer.status == 200 and "%packages" in answer.text
    assert rocky.frontend.node(rocky.name).cpus == 12


@pytest.mark.parametrize("number", ["0", "-1", "x", "99999999"])
def test_a_number_of_cpus_that_is_none_is_no_reason_to_fail(rocky: Node, number: str) -> None:
    assert rocky.get(f"/install/sbin/kickstart.cgi?np={number}&ticket={rocky.ticket()}").status == 200
    assert rocky.frontend.node(rocky.name).cpus == 1


def test_a_second_fetch_of_a_kickstart_is_an_alarm_and_parks_the_install(rocky: Node) -> None:
    ticket = rocky.ticket()
    token = token_in(rocky.kickstart(ticket))
    again = rocky.get(f"/node/kickstart/{ticket}")
    assert again.status == 403 and "second time" in again.text
    assert rocky.last(Kind.ALARM) and rocky.last(Kind.PARKED)
    assert rocky.get("/node/early", **with_token(token)).status == 403, "the session ended with it"
    denied = rocky.last(Kind.DENIED, status=403)
    assert ticket not in str(denied.detail)


def test_a_look_uses_no_ticket_up(rocky: Node) -> None:
    ticket = rocky.ticket()
    assert rocky.frontend.http("HEAD", f"/node/kickstart/{ticket}", source=rocky.address).status == 200
    assert rocky.kickstart(ticket)


def test_a_kickstart_is_for_the_nodes_own_address_and_an_open_ticket(rocky: Node, debian: Node) -> None:
    ticket = rocky.ticket()
    for source in (STRANGER, debian.address):
        assert rocky.get(f"/node/kickstart/{ticket}", source=source).status == 403
    for wrong in ("x", ticket[:-1], ticket.replace(".", ".1", 1), debian.ticket()):
        assert rocky.get(f"/node/kickstart/{wrong}").status == 403
    assert rocky.kickstart(ticket), "and none of that used it up"


def test_another_machines_cards_are_refused_and_the_ticket_stays_good(rocky: Node) -> None:
    ticket = rocky.ticket()
    other = rocky.get(
        f"/node/kickstart/{ticket}", X_RHN_Provisioning_MAC_0="eth0 02:00:00:aa:bb:cc", X_RHN_Provisioning_MAC_1="junk"
    )
    assert other.status == 403 and "02:00:00:aa:bb:cc" in other.text
    both = {
        "X_RHN_Provisioning_MAC_0": "eth1 02:00:00:aa:bb:cc",
        "X_RHN_Provisioning_MAC_1": f"eth0 {mac(rocky.number)} e1000 ks",
    }
    assert rocky.get(f"/node/kickstart/{ticket}", **both).status == 200


def test_a_template_that_is_wrong_is_409_with_its_line_and_the_ticket_stays_good(rocky: Node) -> None:
    folder = rocky.frontend.state / "kickstart"
    folder.mkdir(exist_ok=True)
    (folder / "broken.j2").write_text("lang en\n{{ nosuch.thing }}\n")
    rocky.set("kickstart", "broken.j2")
    ticket = rocky.ticket()
    answer = rocky.get(f"/node/kickstart/{ticket}")
    assert answer.status == 409 and "broken.j2:2" in answer.text and "nosuch" in answer.text
    assert rocky.last(Kind.UNANSWERED).detail["status"] == 409
    (folder / "broken.j2").write_text("lang en\n")
    assert rocky.kickstart(ticket) == "lang en"


def test_so_many_at_once_and_the_others_are_told_to_come_again(trees: Frontend) -> None:
    """A template that takes long is what keeps the turns; with one more than there are, somebody is told to wait."""
    folder = trees.state / "kickstart"
    folder.mkdir(exist_ok=True)
    (folder / "slow.j2").write_text("{% for a in range(600) %}{% for b in range(600) %}{{ a * b }}{% endfor %}{% endfor %}\n")
    many = [started(trees, "rocky9") for _ in range(3)]
    for node in many:
        node.set("kickstart", "slow.j2")
    answers: list[Answer] = []
    tickets = [(node, node.ticket()) for node in many for _ in range(8)]  # 24 for 8 turns

    def ask(node: Node, ticket: str) -> None:
        answers.append(node.get(f"/node/kickstart/{ticket}"))

    threads = [threading.Thread(target=ask, args=each) for each in tickets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    busy = [answer for answer in answers if answer.status == 503]
    assert busy, sorted(answer.status for answer in answers)
    assert all(answer.headers["Retry-After"] == "15" for answer in busy)
    assert any(answer.status == 200 for answer in answers)
    assert trees.events(Kind.UNANSWERED, status=503)


def test_the_way_of_debian_installer(debian: Node) -> None:
    preseed = debian.kickstart()
    assert re.search(r"^d-i\s", preseed, re.MULTILINE)
    token = token_in(preseed)
    recipe = debian.partitions(token, BIOS)
    assert recipe.status == 200 and "partman-auto/disk" in recipe.text and "/dev/sda" in recipe.text
    done = subprocess.run(["debconf-set-selections", "-c"], input=recipe.body, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert debian.get("/node/late", **with_token(token)).status == 200


def test_the_way_of_cloud_init(ubuntu: Node) -> None:
    ticket = ubuntu.ticket()
    for name in ("meta-data", "vendor-data", "network-config"):
        assert ubuntu.get(f"/node/kickstart/{ticket}/{name}").status in (200, 404)
    assert "instance-id" in ubuntu.get(f"/node/kickstart/{ticket}/meta-data").text
    user_data = ubuntu.get(f"/node/kickstart/{ticket}/user-data")
    assert user_data.status == 200 and user_data.text.startswith("#cloud-config\n")
    token = token_in(user_data.text)
    assert ubuntu.get(f"/node/kickstart/{ticket}/meta-data").status == 200, "cloud-init fetches it last"
    assert ubuntu.get(f"/node/kickstart/{ticket}/passwords").status == 404
    storage = ubuntu.partitions(token, UEFI)
    assert storage.status == 200, storage.text
    assert "grub_device" in storage.text


@pytest.mark.parametrize(
    ("inventory", "status", "words"),
    [
        (b"no json", 400, "JSON"),
        (b"[]", 400, "JSON"),
        (b"x" * ((1 << 20) + 1), 413, ""),
        (b'{"version": 7}', 409, "version"),
        (NO_DISK, 409, "no disk"),
    ],
)
def test_disks_that_can_not_be_partitioned_are_refused_in_one_line(
    rocky: Node, inventory: bytes | str, status: int, words: str
) -> None:
    token = rocky.token()
    answer = rocky.partitions(token, inventory)
    assert answer.status == status and words in answer.text and "\n" not in answer.text
    if status == 409:
        assert words in str(rocky.last(Kind.FAILED).detail["why"])
        assert rocky.last(Kind.UNANSWERED).detail["status"] == 409


ALL = """\
<pre arg="--interpreter /opt/rocks/bin/python">
with open("/tmp/user_partition_info", "w") as file:
    file.write("clearpart --all --initlabel --drives=sda\\npart / --size=8000 --ondisk=sda\\n")
</pre>
"""
PROGRAMS = {
    "raises": ("def partition(node, machine):\n    return machine.disks[99]\n", "raises.py:2"),
    "loops": ("def partition(node, machine):\n    while True:\n        pass\n", "loops"),
    "nonsense": ("def partition(node, machine):\n    return 42\n", "nonsense"),
    "broken": ("def partition(node machine):\n    return\n", "broken.py:1"),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_fails_is_one_line_and_an_event(rocky: Node, program: str) -> None:
    text, words = PROGRAMS[program]
    folder = rocky.frontend.state / "partition_scripts"
    folder.mkdir(exist_ok=True)
    (folder / f"{program}.py").write_text(text)
    rocky.set("partition", program)
    answer = rocky.partitions(rocky.token(), BIOS)
    assert answer.status == 409 and words in answer.text and "\n" not in answer.text
    assert words in str(rocky.last(Kind.FAILED).detail["why"])


def test_data_is_kept_and_a_program_that_would_lose_it_is_refused(rocky: Node, debian: Node) -> None:
    lines = rocky.partitions(rocky.token(), WITH_DATA)
    assert lines.status == 200
    kept = [line for line in lines.text.splitlines() if "/state/partition1" in line]
    assert len(kept) == 1 and "--noformat" in kept[0] and "--onpart" in kept[0]
    (rocky.frontend.state / "partition_scripts").mkdir(exist_ok=True)
    (rocky.frontend.state / "partition_scripts" / "all.xml").write_text(ALL)
    debian.set("partition", "all")
    refused = debian.partitions(debian.token(), WITH_DATA)
    assert refused.status == 409 and "/state/partition1" in refused.text and "--wipe" in refused.text


def test_the_files_of_the_late_stage_are_the_nodes_own(rocky: Node) -> None:
    override = rocky.frontend.state / "overrides" / "all" / "etc"
    override.mkdir(parents=True, exist_ok=True)
    (override / "motd.j2").write_text("I am {{ node.name }}\n")
    token = rocky.token()
    body = rocky.get("/node/late-files", **with_token(token)).body
    with tarfile.open(fileobj=io.BytesIO(body)) as files:
        motd = files.extractfile("./etc/motd")
        assert motd is not None and motd.read().decode() == f"I am {rocky.name}\n"


@pytest.mark.parametrize("tool", ["curl", "nc"])
def test_the_early_stage_runs_with_curl_alone_and_with_busybox_alone(rocky: Node, tool: str, tmp_path: Path) -> None:
    """In the frontend's network, from the node's address; what the hardware is was recorded before."""
    script = rocky.get("/node/early", **with_token(rocky.token())).text
    (tmp_path / "early").write_text(script)
    (tmp_path / "recorded.json").write_bytes((INVENTORIES / f"{NO_DISK}.json").read_bytes())
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("mktemp", "chmod", "rm", "tr", "cat", "cut", "tail", "head", "cp", "sleep", "printf", "wc", "nc"):
        (programs / name).symlink_to("/bin/busybox")
    if tool == "curl":
        (programs / "nc").unlink()
        (programs / "curl").symlink_to("/usr/bin/curl")
    (programs / "sh").write_text(f"#!/bin/busybox sh\ncase $1 in */inventory) cat {tmp_path}/recorded.json ;; esac\n")
    (programs / "sh").chmod(0o755)
    out = tmp_path / "partitions"
    run = ["env", f"PATH={programs}", "/bin/dash", str(tmp_path / "early"), str(out)]
    with from_address(rocky):
        refused = rocky.frontend.namespace.run(run)
        assert refused.returncode == 1 and "the frontend refuses" in refused.stderr and "no disk" in refused.stderr
        (tmp_path / "recorded.json").write_bytes((INVENTORIES / f"{BIOS}.json").read_bytes())
        done = rocky.frontend.namespace.run(run)
    assert done.returncode == 0, done.stderr
    assert "part / " in out.read_text()


@pytest.mark.parametrize("tool", ["curl", "nc"])
def test_the_late_stage_makes_the_new_system_one_of_the_cluster(rocky: Node, tool: str, tmp_path: Path) -> None:
    """On a folder in place of a mounted root, and for disks that this machine has none of."""
    (rocky.frontend.state / "keys").mkdir(exist_ok=True)
    keys = rocky.frontend.state / "keys" / "authorized_keys"
    keys.write_text("# who\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5 admin@site\n")
    keys.chmod(0o644)
    token = rocky.token()
    assert rocky.partitions(token, "bios-ide-old-linux").status == 200
    root, programs = tmp_path / "root", tmp_path / "bin"
    (root / "root").mkdir(parents=True)
    programs.mkdir()
    hidden = {"curl", "wget"} if tool == "nc" else set()
    for folder in ("/usr/bin", "/usr/sbin"):
        for program in Path(folder).iterdir():
            if program.name not in hidden and not (programs / program.name).exists():
                (programs / program.name).symlink_to(program)
    if tool == "nc":
        (programs / "nc").unlink(missing_ok=True)
        (programs / "nc").symlink_to("/bin/busybox")
    (tmp_path / "late").write_text(rocky.get("/node/late", **with_token(token)).text)
    with from_address(rocky):
        run = ["env", f"PATH={programs}", "/bin/dash", str(tmp_path / "late"), str(root)]
        done = rocky.frontend.namespace.run(run)
    assert done.returncode == 0, done.stderr
    assert (root / "root/.ssh/authorized_keys").read_text() == "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 admin@site\n"
    assert (root / "root/.ssh/authorized_keys").stat().st_mode & 0o777 == 0o600
    assert (root / "etc/bootserver/url").read_text() == f"http://{ADDRESS}/\n"
    key = root / "etc/bootserver/node.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert rocky.frontend.node(rocky.name).action is None and rocky.last(Kind.INSTALLED)
    assert (
        rocky.frontend.http("POST", "/node/up", source=rocky.address, headers=with_token(key.read_text().strip())).status == 200
    )
    assert rocky.get("/node/late", **with_token(token)).status == 403, "the session is over"


@contextlib.contextmanager
def from_address(node: Node) -> Iterator[None]:
    """Programs in the frontend's network ask it from the node's address."""
    namespace = node.frontend.namespace
    (route,) = [
        line for line in namespace.run(["ip", "route", "show", "table", "local", ADDRESS]).stdout.splitlines() if "local" in line
    ]
    device = route.split(" dev ")[1].split()[0]
    change = ["ip", "route", "replace", "table", "local", "local", ADDRESS, "dev", device, "src"]
    assert namespace.run([*change, node.address]).returncode == 0
    try:
        yield
    finally:
        namespace.run([*change, ADDRESS])
