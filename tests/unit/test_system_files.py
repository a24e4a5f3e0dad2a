"""What makes an image one node's own system: each file, read as the program that it is for reads it."""

from __future__ import annotations

import configparser
import dataclasses
import re
import shutil
import subprocess
from pathlib import Path
from uuid import UUID

import pytest

from bootserver.cluster.view import InterfaceView, NodeView
from bootserver.errors import Refused
from bootserver.install.entries import Entry
from bootserver.install.network import network_files
from bootserver.install.system import Own, kernel_line, system_files
from bootserver.install.target import Network, Target, look_at
from bootserver.values.mac import MacAddress
from bootserver.values.secret import Secret
from tests import views

ROOT = "0b5f7ea3-5dc1-4f3c-9d3a-111111111111"
TARGET = Target(Network.NETWORKD, "/boot/vmlinuz-6.1.0-9-amd64", "/boot/initrd.img-6.1.0-9-amd64", "grub", True, True, False)


def node(**attributes: str) -> NodeView:
    storage = views.network(2, name="storage", subnet="10.9.0.0/24", gateway=None, nameservers=(), domain="storage.local")
    second = InterfaceView("ib0", MacAddress.parse("52:54:00:00:00:02"), storage.subnet[7], storage)
    first = views.node()
    return dataclasses.replace(first, attributes=attributes, interfaces=(*first.interfaces, second))


def own(**attributes: str) -> Own:
    return Own(
        node(**attributes), "Debian GNU/Linux 12 (bookworm)", f"UUID={ROOT} / ext4 errors=remount-ro 0 1\n", ROOT, "ext4",
        UUID(int=5), {"ssh_host_ed25519_key": Secret("PRIVATE"), "ssh_host_ed25519_key.pub": Secret("PUBLIC")},
        "http://10.1.1.1/", "#!/bin/bash\n",
    )  # fmt: skip


def files(target: Target = TARGET, **attributes: str) -> dict[str, Entry]:
    entries = system_files(own(**attributes), target)
    assert len({entry.path for entry in entries}) == len(entries), "each path once"
    return {entry.path: entry for entry in entries}


def text(entry: Entry) -> str:
    assert isinstance(entry.content, bytes)
    return entry.content.decode()


def test_a_node_knows_its_name_and_addresses() -> None:
    found = files()
    assert text(found["etc/hostname"]) == "compute-0-0\n"
    hosts = text(found["etc/hosts"]).splitlines()
    assert "10.1.255.254\tcompute-0-0.local compute-0-0" in hosts
    assert "10.9.0.7\tcompute-0-0-ib0.storage.local compute-0-0-ib0" in hosts
    assert text(found["etc/machine-id"]) == f"{5:032x}\n"


def test_kept_host_keys_come_back_and_only_the_public_ones_are_for_all() -> None:
    found = files()
    assert text(found["etc/ssh/ssh_host_ed25519_key"]) == "PRIVATE" and found["etc/ssh/ssh_host_ed25519_key"].mode == 0o600
    assert found["etc/ssh/ssh_host_ed25519_key.pub"].mode == 0o644


# -- network ------------------------------------------------------------------------------------------------------


def network(kind: Network) -> dict[str, Entry]:
    return {entry.path: entry for entry in network_files(node(), dataclasses.replace(TARGET, network=kind))}


def test_networkd_finds_each_card_by_its_mac() -> None:
    found = network(Network.NETWORKD)
    first = configparser.ConfigParser(strict=False)
    first.read_string(text(found["etc/systemd/network/10-bootserver-eth0.network"]))
    assert first["Match"]["MACAddress"] == "52:54:00:00:00:01"
    assert first["Network"]["Address"] == "10.1.255.254/16" and first["Network"]["Gateway"] == "10.1.1.1"
    second = text(found["etc/systemd/network/10-bootserver-ib0.network"])
    assert "Address=10.9.0.7/24" in second and "Gateway" not in second and "DNS" not in second
    assert found["etc/systemd/system/multi-user.target.wants/systemd-networkd.service"].link is not None
    assert text(found["etc/resolv.conf"]) == "search local\nnameserver 10.1.1.1\n"


def test_ifupdown_matches_by_mac_and_has_one_gateway() -> None:
    lines = text(network(Network.IFUPDOWN)["etc/network/interfaces"]).splitlines()
    assert "auto mac/52:54:00:00:00:01=bootserver0" in lines and "auto mac/52:54:00:00:00:02=bootserver1" in lines
    assert lines.count("\tgateway 10.1.1.1") == 1
    assert "\taddress 10.9.0.7/24" in lines


def test_a_network_manager_keyfile_is_private_or_it_would_not_be_read() -> None:
    found = network(Network.NETWORK_MANAGER)
    entry = found["etc/NetworkManager/system-connections/bootserver-eth0.nmconnection"]
    assert entry.mode == 0o600
    parsed = configparser.ConfigParser()
    parsed.read_string(text(entry))
    assert parsed["ethernet"]["mac-address"] == "52:54:00:00:00:01"
    assert parsed["ipv4"]["address1"] == "10.1.255.254/16,10.1.1.1" and parsed["ipv4"]["dns"] == "10.1.1.1;"


# -- GRUB ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("grub-script-check") is None, reason="needs: apt-get install grub-common")
@pytest.mark.parametrize(
    "flags", ["", "quiet console=tty0 console=ttyS1,115200 memmap=16M$0x1 x=(a,b)[c]!*?~"[:60], "console=ttyS0"]
)
def test_the_boot_menu_is_one_that_grub_reads(tmp_path: Path, flags: str) -> None:
    flags = flags.replace("$", "%")
    menu = tmp_path / "grub.cfg"
    menu.write_text(text(files(bootflags=flags)["boot/grub/grub.cfg"]))
    subprocess.run(["grub-script-check", str(menu)], check=True)
    line = re.search(r"^  linux (\S+) (.*)$", menu.read_text(), re.MULTILINE)
    assert line is not None and line[1] == "/boot/vmlinuz-6.1.0-9-amd64"
    assert line[2].replace("'", "") == f"root=UUID={ROOT} ro {flags}".strip()


def test_a_serial_console_is_grub_s_too() -> None:
    found = files(bootflags="console=tty0 console=ttyS1,115200")
    assert "serial --unit=1 --speed=115200" in text(found["boot/grub/grub.cfg"])
    assert 'GRUB_TERMINAL="console serial"' in text(found["etc/default/grub.d/bootserver.cfg"])
    assert "serial" not in text(files(bootflags="quiet")["boot/grub/grub.cfg"])


def test_update_grub_finds_the_same_arguments() -> None:
    shown = subprocess.run(
        ["sh", "-euc", 'GRUB_CMDLINE_LINUX=before; eval "$(cat)"; echo "$GRUB_CMDLINE_LINUX"'],
        input=text(files(bootflags="ucsd=rocks dom0_mem=1024M")["etc/default/grub.d/bootserver.cfg"]),
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert shown == "before ucsd=rocks dom0_mem=1024M\n"


@pytest.mark.parametrize("word", ["a'b", "a;b", "$(reboot)", "a`b", "a{b}", 'a"b'])
def test_a_flag_that_grub_or_a_shell_might_interpret_is_refused(word: str) -> None:
    with pytest.raises(Refused, match="can't be written for GRUB"):
        kernel_line(own(bootflags=word))


# -- what an image is like ----------------------------------------------------------------------------------------


def tree(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def test_the_newest_kernel_and_its_ramdisk_are_taken(tmp_path: Path) -> None:
    found = look_at(
        tree(
            tmp_path,
            "boot/vmlinuz-6.1.0-9-amd64",
            "boot/vmlinuz-6.1.0-13-amd64",
            "boot/initrd.img-6.1.0-13-amd64",
            "boot/vmlinuz-0-rescue-7f",
            "boot/grub/x",
            "usr/sbin/sshd",
            "usr/bin/ssh-keygen",
            "usr/lib/systemd/systemd",
        )
    )
    assert (found.kernel, found.ramdisk, found.grub) == (
        "/boot/vmlinuz-6.1.0-13-amd64",
        "/boot/initrd.img-6.1.0-13-amd64",
        "grub",
    )
    assert found.has_sshd and found.has_systemd and not found.is_selinux and found.network is Network.NETWORKD


def test_an_image_of_red_hat_s_family_is_known_by_its_files(tmp_path: Path) -> None:
    found = look_at(
        tree(
            tmp_path,
            "boot/vmlinuz-5.14.0-427.el9.x86_64",
            "boot/initramfs-5.14.0-427.el9.x86_64.img",
            "boot/grub2/grub.cfg",
            "usr/sbin/NetworkManager",
            "etc/selinux/config",
            "usr/sbin/setfiles",
        )
    )
    assert (found.ramdisk, found.grub) == ("/boot/initramfs-5.14.0-427.el9.x86_64.img", "grub2")
    assert found.network is Network.NETWORK_MANAGER and found.is_selinux


def test_an_image_without_a_kernel_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"has no kernel \(boot/vmlinuz-\*\): `bootserver image check NAME --mend`"):
        look_at(tree(tmp_path, "boot/grub/grub.cfg"))
    (tmp_path / "boot/vmlinuz-1").symlink_to("/bin/sh")
    with pytest.raises(Refused, match="has no kernel"):  # a link leads to the image's own /bin/sh, and not to ours
        look_at(tmp_path)
