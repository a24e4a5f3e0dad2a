"""What makes a tree one machine goes, what makes it a system stays, and nothing outside of the tree is touched."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bootserver.images import identity
from bootserver.images.manifest import scan
from bootserver.tree.inside import Inside
from tests import trees

pytestmark = pytest.mark.skipif(bool(trees.what_is_missing()), reason=str(trees.what_is_missing()))

GOES = (
    "etc/ssh/ssh_host_rsa_key",
    "etc/ssh/ssh_host_ed25519_key.pub",
    "etc/udev/rules.d/70-persistent-net.rules",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/lib/dhcp/dhclient.eth0.leases",
    "var/lib/NetworkManager/internal-1234-eth0.lease",
    "var/lib/NetworkManager/secret_key",
    "var/lib/cloud/instances/i-1/user-data.txt",
    "run/udev/data/b8:0",
    "var/log/syslog.1",
    "var/log/apt/term.log.2.gz",
    "var/log/journal/0123/system.journal",
    "etc/initramfs-tools/conf.d/resume",
    "etc/lvm/devices/system.devices",
)
STAYS = (
    "etc/ssh/sshd_config",
    "etc/ssh/ssh_config.d/site.conf",
    "etc/udev/rules.d/99-site.rules",
    "var/lib/NetworkManager/NetworkManager.state",
    "etc/cloud/cloud.cfg",
    "etc/systemd/network/80-dhcp.network",
    "var/lib/dpkg/status",
)
CARDS = {
    "etc/systemd/network/10-eth0.link": "[Match]\nMACAddress=52:54:00:00:00:01\n[Link]\nName=eth0\n",
    "etc/systemd/network/10-eth0.network": "[Match]\nPermanentMACAddress = 52:54:00:00:00:01\n",
    "etc/sysconfig/network-scripts/ifcfg-eth0": 'DEVICE=eth0\nHWADDR="52:54:00:00:00:01"\n',
    "etc/NetworkManager/system-connections/eth0.nmconnection": "[ethernet]\nmac-address=52:54:00:00:00:01\n",
    "etc/netplan/50-cloud-init.yaml": "network:\n  ethernets:\n    eth0:\n      match:\n        macaddress: 52:54:00:00:00:01\n",
}
NO_CARDS = {
    "etc/systemd/network/99-default.link": "[Match]\nOriginalName=*\n",
    "etc/sysconfig/network-scripts/ifcfg-lo": "DEVICE=lo\n",
    "etc/NetworkManager/system-connections/any.nmconnection": "[connection]\nid=any\n",
    "etc/netplan/01-dhcp.yaml": "network: {version: 2}\n",
}


def put(tree: Path, name: str, text: str = "x\n") -> Path:
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A machine that has run."""
    tree = tmp_path / "tree"
    for name in (*GOES, *STAYS):
        put(tree, name)
    for name, text in {**CARDS, **NO_CARDS}.items():
        put(tree, name, text)
    put(tree, "etc/machine-id", "0123456789abcdef0123456789abcdef\n").chmod(0o444)
    put(tree, "etc/hostname", "golden\n")
    put(tree, "etc/hosts", "127.0.0.1 localhost\n127.0.1.1 golden.local golden\n10.1.1.1 frontend\n")
    put(tree, "etc/fstab", "UUID=1234 / ext4 defaults 0 1\n")
    put(tree, "etc/mdadm/mdadm.conf", "MAILADDR root\nARRAY /dev/md0 UUID=1:2:3:4\n")
    put(tree, "etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.1993-08.org.debian:01:abcdef\n")
    log = put(tree, "var/log/auth.log", "a login\n")
    log.chmod(0o640)
    os.chown(log, 0, 4)
    return tree


def test_what_is_one_machine_s_goes_and_what_is_the_system_s_stays(tree: Path) -> None:
    identity.strip(tree)
    assert [name for name in (*GOES, *CARDS) if (tree / name).exists()] == []
    assert [name for name in (*STAYS, *NO_CARDS) if not (tree / name).exists()] == []


def test_files_that_a_system_needs_stay_with_nothing_of_it_in_them(tree: Path) -> None:
    identity.strip(tree)
    assert (tree / "etc/machine-id").read_bytes() == b""
    assert stat.S_IMODE((tree / "etc/machine-id").stat().st_mode) == 0o444
    assert (tree / "etc/hostname").read_bytes() == b""
    assert (tree / "etc/hosts").read_text() == "127.0.0.1 localhost\n10.1.1.1 frontend\n"
    assert (tree / "etc/fstab").read_bytes() == identity.FSTAB
    assert (tree / "etc/mdadm/mdadm.conf").read_text() == "MAILADDR root\n"
    assert (tree / "etc/iscsi/initiatorname.iscsi").read_text() == "GenerateName=yes\n"
    log = (tree / "var/log/auth.log").stat()
    assert (log.st_size, stat.S_IMODE(log.st_mode), log.st_gid) == (0, 0o640, 4)
    assert (tree / "var/log/journal").is_dir()


def test_it_says_what_it_did_and_the_second_time_there_is_nothing_to_do(tree: Path) -> None:
    done = identity.strip(tree)
    assert "/etc/ssh/ssh_host_rsa_key" in done
    assert "/etc/machine-id" in done
    after = scan(tree).encode()
    assert identity.strip(tree) == []
    assert scan(tree).encode() == after


def test_a_system_without_a_machine_id_gets_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    identity.strip(tmp_path)
    assert (tmp_path / "etc/machine-id").read_bytes() == b""


def test_mounts_that_were_added_to_an_image_s_fstab_stay(tree: Path) -> None:
    identity.strip(tree)
    with (tree / "etc/fstab").open("a") as fstab:
        fstab.write("frontend:/home /home nfs defaults 0 0\n")
    identity.strip(tree)
    assert (tree / "etc/fstab").read_text().endswith("frontend:/home /home nfs defaults 0 0\n")


def test_the_link_that_dbus_has_to_the_machine_id_stays(tree: Path) -> None:
    (tree / "var/lib/dbus/machine-id").unlink()
    (tree / "var/lib/dbus/machine-id").symlink_to("/etc/machine-id")
    identity.strip(tree)
    assert (tree / "var/lib/dbus/machine-id").is_symlink()


LINKS = (
    "etc/ssh", "etc/udev", "etc/machine-id", "etc/hostname", "etc/hosts", "etc/fstab", "var/lib/systemd", "var/lib/cloud",
    "var/log", "run", "etc/systemd/network", "var/lib", "etc", "var/log/auth.log", "etc/mdadm/mdadm.conf",
)  # fmt: skip


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("way", ["absolute", "dots"])
def test_no_link_leads_it_out_of_the_tree(tree: Path, tmp_path: Path, name: str, way: str) -> None:
    """The same machine stands beside the tree, and each of these is a link to its part there."""
    outside = tmp_path / "outside"
    inner = tree / name
    (outside / name).parent.mkdir(parents=True, exist_ok=True)
    inner.rename(outside / name)
    target = str(outside / name)
    inner.symlink_to(target if way == "absolute" else "../" * 30 + target.lstrip("/"))
    before = scan(outside).encode()
    identity.strip(tree)
    assert scan(outside).encode() == before


def test_paths_are_the_tree_s_own(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    put(tree, "usr/lib/os-release", "ID=inside\n")
    put(tmp_path, "usr/lib/secret", "the frontend's")
    (tree / "etc").mkdir()
    (tree / "etc/os-release").symlink_to("../../../../usr/lib/os-release")
    (tree / "etc/absolute").symlink_to("/usr/lib/os-release")
    (tree / "etc/way").symlink_to("/usr/lib")
    (tree / "etc/out").symlink_to(tmp_path / "usr/lib/secret")
    os.mkfifo(tree / "etc/pipe")
    with Inside(tree) as inside:
        assert (
            inside.text("/etc/os-release") == inside.text("/etc/absolute") == inside.text("etc/way/os-release") == "ID=inside\n"
        )
        assert inside.text("/etc/out") is None
        assert inside.text("/../../usr/lib/secret") is None
        assert inside.read("/etc/pipe") is None, "a pipe would be waited for"
        assert inside.names("/etc/way") == ["os-release"]
        inside.write("/etc/way/new", b"x")
        inside.make_folder("/etc/way/a/b")
        inside.write("/etc/absolute", b"y")
        assert inside.remove("/etc/way/new")
        assert not inside.remove("/etc/way/new")
    assert (tree / "usr/lib/a/b").is_dir()
    assert (tree / "usr/lib/os-release").read_text() == "ID=inside\n", "a link is replaced, not written through"
    assert (tree / "etc/absolute").read_text() == "y"
