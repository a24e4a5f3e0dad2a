"""Scripts of the installer's ramdisk, run by busybox as it runs them there, in namespaces of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bootserver import data

SCRIPTS = data.folder("installer")
BUSYBOX = shutil.which("busybox")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or BUSYBOX is None or shutil.which("unshare") is None,
    reason="needs root, for namespaces, busybox-static and util-linux",
)

# A network with one card, /run and /etc/resolv.conf of its own, a host name of its own; then what is to be run.
_ALONE = """
set -e
mount -t tmpfs run /run
mount --bind "$1/resolv.conf" /etc/resolv.conf
ip link add eth0 type veth peer name other
ip link set other up
ip link set eth0 up
"$2" sh "$3" "$4"
cp /run/lease "$1/lease"
ip -4 -oneline addr show dev eth0 >"$1/addresses"
ip -4 route >"$1/routes"
hostname >"$1/hostname"
"""


def dhcp_event(folder: Path, event: str, **said: str) -> int:
    """What udhcpc runs when a server said something. :returns: the exit status."""
    (folder / "resolv.conf").touch()
    assert BUSYBOX is not None
    command = ["unshare", "--mount", "--net", "--uts", "sh", "-c", _ALONE, "sh", str(folder), BUSYBOX]
    environment = {"PATH": os.environ["PATH"], "interface": "eth0", **said}
    done = subprocess.run([*command, str(SCRIPTS / "dhcp-event"), event], env=environment, capture_output=True, check=False)
    return done.returncode


def sourced(lease: Path, name: str) -> str:
    """What a script that sources it finds in a variable."""
    assert BUSYBOX is not None
    command = [BUSYBOX, "sh", "-c", f'. "$0"; printf %s "${name}"', str(lease)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_lease_gives_the_card_its_address_and_is_kept(tmp_path: Path) -> None:
    status = dhcp_event(
        tmp_path,
        "bound",
        ip="10.1.255.254",
        subnet="255.255.0.0",
        mask="16",
        router="10.1.1.1 10.1.1.2",
        serverid="10.1.1.1",
        hostname="compute-0-0",
        domain="local",
        dns="10.1.1.1 10.1.1.2",
    )
    assert status == 0
    assert "10.1.255.254/16" in (tmp_path / "addresses").read_text()
    assert "default via 10.1.1.1 dev eth0" in (tmp_path / "routes").read_text()
    assert (tmp_path / "hostname").read_text() == "compute-0-0\n"
    assert (tmp_path / "resolv.conf").read_text() == "search local\nnameserver 10.1.1.1\nnameserver 10.1.1.2\n"
    lease = {
        name: sourced(tmp_path / "lease", name) for name in ("ip", "mask", "prefix", "router", "serverid", "hostname", "dns")
    }
    assert lease == {
        "ip": "10.1.255.254",
        "mask": "255.255.0.0",
        "prefix": "16",
        "router": "10.1.1.1",
        "serverid": "10.1.1.1",
        "hostname": "compute-0-0",
        "dns": "10.1.1.1 10.1.1.2",
    }


@pytest.mark.parametrize("evil", ["'; touch {0}; '", "$(touch {0})", "`touch {0}`", "x\ntouch {0}", "-F {0}", "../../{0}", "a b"])
def test_a_servers_words_are_never_run(evil: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = evil.format(mark)
    names = ("subnet", "mask", "router", "serverid", "hostname", "domain", "dns")
    assert dhcp_event(tmp_path, "bound", ip="10.1.1.9", **dict.fromkeys(names, text)) == 0
    for name in names:
        assert sourced(tmp_path / "lease", name) == ""
    assert sourced(tmp_path / "lease", "ip") == "10.1.1.9"
    assert (tmp_path / "resolv.conf").read_text() == ""
    assert not mark.exists()


def test_a_lease_without_an_address_is_none(tmp_path: Path) -> None:
    assert dhcp_event(tmp_path, "bound", ip="$(reboot)", mask="24") != 0
    assert not (tmp_path / "lease").exists()


@pytest.mark.parametrize(
    "path", sorted(path for path in SCRIPTS.iterdir() if path.is_file() and path.name != "modules"), ids=lambda path: path.name
)
def test_busybox_can_read_every_script(path: Path) -> None:
    assert BUSYBOX is not None
    done = subprocess.run([BUSYBOX, "sh", "-n", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# -- the tag of the network that it boots from -----------------------------------------------------------------------


_WITH_INIT = """
set -e
mount --bind "$1/cmdline" /proc/cmdline
ip link add eth0 type veth peer name other
"$2" sh -c '. "$0"; read_command_line; BOOT_CARD=eth0 WHY=; find_boot_link && echo "on $BOOT_LINK" || echo "$WHY"' "$1/functions"
"""


def boot_link(folder: Path, words: str) -> str:
    """What init's own functions make of a command line, on a machine with one card."""
    source = (SCRIPTS / "init").read_text()
    names = ("complain", "read_command_line", "mac_of", "find_boot_link")
    found = [re.search(rf"^{name}\(\) \{{(?:[^\n]*\}}$|.*?^\}}$)", source, re.DOTALL | re.MULTILINE) for name in names]
    (folder / "functions").write_text("\n".join(match[0] for match in found if match))
    (folder / "cmdline").write_text(f"{words}\n")
    assert BUSYBOX is not None
    command = ["unshare", "--mount", "--net", "sh", "-c", _WITH_INIT, "sh", str(folder), BUSYBOX]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "words", ["quiet", "bootserver.vlan=", "bootserver.vlan=0", "bootserver.vlan=5000", "bootserver.vlan=1;id"]
)
def test_a_machine_whose_frames_have_no_tag_asks_on_its_card(words: str, tmp_path: Path) -> None:
    said = boot_link(tmp_path, words)
    assert said.endswith("on eth0\n")
    assert ("holds no VLAN: 1 to 4094" in said) == (words != "quiet")


@pytest.mark.parametrize("tag", [1, 40, 999, 4094])
def test_a_tag_is_a_vlan_on_the_card_or_one_line_says_why_there_is_none(tag: int, tmp_path: Path) -> None:
    said = boot_link(tmp_path, f"BOOTIF=01-52-54-00-00-00-01 bootserver.vlan={tag}")
    # Not every kernel that tests run on has VLANs.
    why = f"VLAN {tag} can't be made on the network card eth0: has this ramdisk the kernel's driver 8021q?\n"
    assert said in (f"on eth0.{tag}\n", why)
