"""What the scripts in answer files do, run by the shells that installers have; and debian-installer's own debconf."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import pytest
import yaml

from bootserver.cluster.passwords import Password
from bootserver.db.rows import DistributionRow
from bootserver.install.checking import kickstart, preseed
from bootserver.install.render import render_file
from bootserver.install.stages import ask_script
from tests.answer_files import (
    DEBIAN,
    FRONTEND_KEY,
    HASH,
    KEY,
    ROCKY,
    SHIPPED,
    SUSE,
    TOKEN,
    UBUNTU,
    URL,
    four_cards,
    nasty_node,
    nodes,
    one_card,
    render,
    script_of,
)


def scripts(text: str, row: DistributionRow) -> list[str]:
    match row.kind:
        case "kickstart":
            return re.findall(r"^%(?:pre|pre-install|post|onerror)(?: [^\n]*)?\n(.*?)^%end$", text, re.DOTALL | re.MULTILINE)
        case "preseed":
            return [script_of(each.value) for each in preseed.answers(text) if each.question.endswith("_command")]
        case "autoinstall":
            made = yaml.safe_load(text)["autoinstall"]
            return [each for kind in ("early", "late", "error") for each in made[f"{kind}-commands"]]
        case _:
            return [ElementTree.fromstring(text).findtext(".//{*}source") or ""]


@pytest.mark.parametrize("shell", ["dash", "busybox sh", "bash"])
def test_every_script_is_one_for_every_shell_that_an_installer_has(shell: str, tmp_path: Path) -> None:
    for row in (ROCKY, DEBIAN, UBUNTU, SUSE):
        for node in (*nodes().values(), nasty_node()):
            found = scripts(render(node, row, password=Password(HASH, one_time=True)), row)
            assert len(found) == {"kickstart": 4, "preseed": 2, "autoinstall": 3, "autoyast": 1}[row.kind]
            inner = [
                each for script in found for each in re.findall(r"<<'END_OF_POST'\n(.*?)^END_OF_POST$", script, re.DOTALL | re.M)
            ]
            (tmp_path / "script").write_text("\n".join(f"f{n}() {{\n{each}\n}}" for n, each in enumerate([*found, *inner])))
            done = subprocess.run([*shell.split(), "-n", str(tmp_path / "script")], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr


@pytest.fixture
def little_system(tmp_path: Path) -> Path:
    """A root with busybox, and the cards of a machine that calls them its own way."""
    if os.geteuid() != 0 or shutil.which("busybox") is None:
        pytest.skip("needs root and busybox")
    root = tmp_path / "root"
    for folder in ("bin", "etc", "tmp", "run", "dev"):
        (root / folder).mkdir(parents=True)
    (root / "dev/null").touch()
    shutil.copy(shutil.which("busybox") or "", root / "bin/busybox")
    subprocess.run(["/usr/sbin/chroot", str(root), "/bin/busybox", "--install", "-s", "/bin"], check=True)
    for number, name in enumerate(("ens3", "enp1s0", "enp2s0", "enp3s0"), 1):
        card = root / "sys/class/net" / name
        (card / "device").mkdir(parents=True)
        (card / "address").write_text(f"52:54:00:00:00:0{number}\n")
    return root


def in_root(root: Path, script: str) -> None:
    (root / "tmp/script").write_text(script)
    subprocess.run(["/usr/sbin/chroot", str(root), "/bin/sh", "-e", "/tmp/script"], check=True, env={"PATH": "/bin"})


INTERFACES = """\
auto ens3
iface ens3 inet static
    address 10.1.255.254/16
    gateway 10.1.1.1
    dns-nameservers 10.1.1.1
    dns-search local

auto bond0
iface bond0 inet static
    address 10.2.0.9/16
    dns-nameservers 10.1.1.1
    dns-search data.local
    bond-slaves enp1s0 enp2s0
    bond-mode 802.3ad
    bond-miimon 100
    bond-lacp-rate fast
    bond-primary enp2s0

auto bond0.100
iface bond0.100 inet static
    address 10.2.1.9/16
    dns-nameservers 10.1.1.1
    dns-search data.local
    vlan-raw-device bond0

auto ens3.7
iface ens3.7 inet static
    address 10.2.2.9/16
    dns-nameservers 10.1.1.1
    dns-search data.local
    vlan-raw-device ens3

"""


def test_a_debian_s_interfaces_are_called_what_its_kernel_calls_them(little_system: Path) -> None:
    late = scripts(render(four_cards(), DEBIAN), DEBIAN)[1]
    in_root(little_system, late[late.index("# interfaces(5)") : late.index("# What debian-installer")])
    assert "source /etc/network/interfaces.d/*" in (little_system / "etc/network/interfaces").read_text()
    assert (little_system / "etc/network/interfaces.d/bootserver").read_text() == INTERFACES


def test_a_kickstart_s_bond_is_made_of_the_cards_as_the_machine_calls_them(little_system: Path) -> None:
    early = scripts(render(four_cards(), ROCKY), ROCKY)[0]
    in_root(little_system, early[early.index("nic() {") : early.index("ask early")])
    made = (little_system / "tmp/bootserver-network").read_text()
    assert "--device=bond0 --bondslaves=enp1s0,enp2s0 --bondopts=mode=802.3ad,miimon=100,lacp_rate=fast,primary=enp2s0" in made
    assert "52:54" not in made
    assert kickstart.check([f"text\n{made}"], "RHEL9") == [[]]


def test_a_machine_without_one_of_the_cards_is_told_so(little_system: Path) -> None:
    shutil.rmtree(little_system / "sys/class/net/enp2s0")
    early = scripts(render(four_cards(), ROCKY), ROCKY)[0]
    with pytest.raises(subprocess.CalledProcessError):
        in_root(little_system, early[early.index("nic() {") : early.index("ask early")])


def test_keys_are_added_to_the_users_once_and_for_them_alone(little_system: Path) -> None:
    (little_system / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nalice:x:1001:1001::/home/alice:/bin/sh\n")
    (little_system / "etc/group").write_text("root:x:0:\nalice:x:1001:\n")
    (little_system / "bin/getent").write_text('#!/bin/sh\ngrep "^$2:" "/etc/$1"\n')
    (little_system / "bin/getent").chmod(0o755)
    text = render_file("accounts.sh.j2", one_card(), SHIPPED, URL, {
        "keys": {"alice": [f"{KEY} it's $(id) \\n"], "root": [FRONTEND_KEY]}, "one_time": False,
    })  # fmt: skip
    in_root(little_system, text)
    in_root(little_system, text)
    keys = little_system / "home/alice/.ssh/authorized_keys"
    assert keys.read_text() == f"{KEY} it's $(id) \\n\n"
    assert (keys.stat().st_uid, keys.stat().st_mode & 0o777, keys.parent.stat().st_mode & 0o777) == (1001, 0o600, 0o700)
    assert (little_system / "root/.ssh/authorized_keys").read_text() == f"{FRONTEND_KEY}\n"


class _Frontend(BaseHTTPRequestHandler):
    """Away at first, then there; refuses what it does not know."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(f"{self.path} {self.headers['Authorization']}")
        status = 403 if self.path == "/node/no" else 503 if self.path == "/node/late" and len(self.asked) < 2 else 200
        self.send_response(status)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"hi\n")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.path += f" {body}"
        self.do_GET()

    def log_message(self, *words: object) -> None:
        pass


@pytest.mark.parametrize("shell", ["dash", "busybox sh"])
def test_a_stage_asks_with_the_token_again_while_the_frontend_is_away_and_not_where_it_says_no(
    shell: str, tmp_path: Path
) -> None:
    """With curl, and with busybox' nc."""
    folder = tmp_path / "bin"
    folder.mkdir()
    tools = ("curl", "cat", "chmod", "cut", "head", "mktemp", "rm", "tr") if shell == "dash" else ("busybox",)
    for tool in tools:
        (folder / tool).symlink_to(shutil.which(tool) or pytest.skip(f"no {tool} here"))
    (folder / "sleep").write_text("#!/bin/sh\n")  # dash has none of its own
    (folder / "sleep").chmod(0o755)
    _Frontend.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Frontend) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        stage = render_file(
            "stage.sh.j2", one_card(), SHIPPED, url, {"token": TOKEN, "on_failure": "shell", "ask_script": ask_script()}
        )
        script = f"{stage}\nask late {tmp_path}/late && ask phase {tmp_path}/x phase=sync\n"
        script += f"ask no {tmp_path}/x || echo no\nfailed 'a b'\n"
        run = [shutil.which("busybox") or "", "sh"] if shell != "dash" else ["/bin/dash"]
        done = subprocess.run([*run, "-c", script], capture_output=True, text=True, env={"PATH": str(folder)}, timeout=60)
        server.shutdown()
    assert (done.returncode, done.stdout) == (1, "no\n"), done.stderr
    assert (tmp_path / "late").read_text() == "hi\n"
    assert (tmp_path / "late").stat().st_mode & 0o777 == 0o600
    assert "refuses no: " in done.stderr
    bearer = f"Bearer {TOKEN}"
    assert _Frontend.asked == [
        f"/node/late {bearer}", f"/node/late {bearer}", f"/node/phase phase=sync {bearer}", f"/node/no {bearer}",
        f"/node/failed why=%61%20%62 {bearer}",
    ]  # fmt: skip


# -- debian-installer's own debconf ------------------------------------------------------------------------------

_INITRD = Path("/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64/initrd.gz")
_READ = """\
#!/bin/sh
. /usr/share/debconf/confmodule
debconf-set-selections /tmp/preseed
for question in $(cat /tmp/questions); do
    debconf-get "$question" >"/tmp/$(echo "$question" | tr / _)"
done
"""


@pytest.fixture(scope="module")
def debian_installer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.geteuid() != 0 or not _INITRD.is_file() or shutil.which("cpio") is None:
        pytest.skip("needs root, cpio and the package debian-installer-12-netboot-amd64")
    root = tmp_path_factory.mktemp("d-i")
    with subprocess.Popen(["zcat", str(_INITRD)], stdout=subprocess.PIPE) as unpacked:
        subprocess.run(["cpio", "-idm", "--quiet"], stdin=unpacked.stdout, cwd=root, check=True)
    (root / "var/lib/preseed").mkdir(parents=True, exist_ok=True)
    load = "debconf-loadtemplate d-i /var/lib/dpkg/info/*.templates"
    subprocess.run(
        ["/usr/sbin/chroot", str(root), "/bin/sh", "-c", load],
        check=True,
        env={"DEBIAN_FRONTEND": "none", "PATH": "/bin:/usr/bin"},
    )
    return root


def test_debian_installer_itself_reads_what_was_meant(debian_installer: Path) -> None:
    """Its debconf-set-selections is a shell script of its own, and no relative of Debian's."""
    text = render(nasty_node(), DEBIAN, password=Password(HASH))
    wanted = list(preseed.answers(text))
    (debian_installer / "tmp/preseed").write_text(text)
    (debian_installer / "tmp/questions").write_text("\n".join(each.question for each in wanted))
    (debian_installer / "tmp/read").write_text(_READ)
    (debian_installer / "tmp/read").chmod(0o755)
    environment = {"DEBIAN_FRONTEND": "none", "PATH": "/bin:/usr/bin:/sbin"}
    subprocess.run(["/usr/sbin/chroot", str(debian_installer), "/tmp/read"], check=True, env=environment, timeout=60)
    for each in wanted:
        got = (debian_installer / "tmp" / each.question.replace("/", "_")).read_text().rstrip("\n")
        if each.question.endswith("_command"):
            assert script_of(got) == script_of(each.value)
        elif each.type != "note":
            assert got == each.value, each.question
