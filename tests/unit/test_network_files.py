"""Cards, bonds and VLANs for the three tools that installed systems have; each file is read by the tool that it is for."""

from __future__ import annotations

import configparser
import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bootserver.errors import Refused
from bootserver.install.network import network_files
from bootserver.install.target import Network, Target
from tests import views
from tests.unit.test_links import MANAGEMENT, STORAGE, TAGGED, address, nic, node

FABRIC = views.network(6, name="fabric", subnet="10.6.0.0/16", gateway=None, nameservers=())
TARGET = Target(Network.NETWORKD, "/boot/vmlinuz-6.1.0-9-amd64", None, "grub", True, True, False)
NICS = (
    nic("eth0", TAGGED, mac=1),
    nic("eth0.40", MANAGEMENT),
    nic("eth1", STORAGE, mac=2, ip=False),
    nic("eth2", STORAGE, mac=3, ip=False),
    nic("bond0", STORAGE),
    nic("bond0.7", FABRIC),
    nic("eth3", views.network(7, subnet="10.7.0.0/16"), mac=4),
    nic("ib0", FABRIC),
)
BOND = "eth1 eth2 mode=active-backup miimon=100 fail_over_mac=1"


def files(tool: Network, bond: str = BOND) -> dict[str, str]:
    """By the last part of each file's name."""
    entries = network_files(node(*NICS, bond_bond0=bond), dataclasses.replace(TARGET, network=tool))
    assert len({entry.path for entry in entries}) == len(entries)
    return {Path(entry.path).name: entry.content.decode() for entry in entries if isinstance(entry.content, bytes)}


def sections(text: str) -> configparser.ConfigParser:
    """A file of systemd's or NetworkManager's; a key that is there twice has its last value."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


# -- systemd-networkd ----------------------------------------------------------------------------------------------


def test_networkd_is_told_all_by_the_cards_addresses() -> None:
    found = files(Network.NETWORKD)
    card = sections(found["10-bootserver-eth0.network"])
    assert card["Match"]["MACAddress"] == str(address(1)) and card["Match"]["Type"].startswith("!vlan bond ")
    assert re.findall("^VLAN=(.*)", found["10-bootserver-eth0.network"], re.MULTILINE) == ["eth0.100", "eth0.40"]
    assert "Address" not in card["Network"] and card["Link"]["RequiredForOnline"] == "no"
    vlan = sections(found["10-bootserver-eth0.100.network"])
    assert vlan["Match"]["Name"] == "eth0.100" and vlan["Network"]["Address"] == "10.1.0.9/16"
    assert vlan["Network"]["Gateway"] == "10.1.1.1"
    assert sum("Gateway=" in text for text in found.values()) == 1
    assert sections(found["10-bootserver-eth0.40.netdev"])["VLAN"]["Id"] == "40"
    assert sections(found["10-bootserver-ib0.network"])["Match"]["Name"] == "ib0"
    assert "Type" not in sections(found["10-bootserver-ib0.network"])["Match"]


def test_networkd_makes_a_bond_with_the_address_of_its_first_card() -> None:
    found = files(Network.NETWORKD)
    bond = sections(found["10-bootserver-bond0.netdev"])
    assert bond["NetDev"]["MACAddress"] == str(address(2))
    assert dict(bond["Bond"]) == {"Mode": "active-backup", "MIIMonitorSec": "100ms", "FailOverMACPolicy": "active"}
    for member in ("eth1", "eth2"):
        assert sections(found[f"10-bootserver-{member}.network"])["Network"]["Bond"] == "bond0"
    assert sections(found["10-bootserver-bond0.network"])["Network"]["VLAN"] == "bond0.7"


def test_networkd_knows_the_primary_card_when_all_of_a_bond_show_one_address() -> None:
    found = files(Network.NETWORKD, f"{BOND} primary=eth2")
    second = sections(found["10-bootserver-eth2.network"])
    assert dict(second["Match"]) == {"PermanentMACAddress": str(address(3))} and second["Network"]["PrimarySlave"] == "true"
    assert "PrimarySlave" not in found["10-bootserver-eth1.network"]


# -- ifupdown ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("ifup") is None, reason="needs: apt-get install ifupdown")
def test_ifup_reads_its_file_and_makes_each_vlan_on_the_card_with_that_address(tmp_path: Path) -> None:
    interfaces = tmp_path / "interfaces"
    interfaces.write_text(files(Network.IFUPDOWN, f"{BOND} primary=eth2")["interfaces"])
    command = ["ifup", "--all", "--no-act", "--verbose", "--force", "--interfaces", str(interfaces), "--state-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = done.stdout + done.stderr
    for link, network in (("eth0.100", "10.1"), ("eth0.40", "10.4"), ("bond0", "10.2"), ("bond0.7", "10.6"), ("ib0", "10.6")):
        assert f"ip addr add {network}.0.9/255.255.0.0 broadcast {network}.255.255" in said, link
    # ifupdown's own guess, the card that is called eth0, is put away before the VLAN is made on the right one.
    own = said.index("ip link add link eth0 name eth0.40 type vlan id 40")
    away = said.index("ip link del dev eth0.40 2>/dev/null || :")
    ours = said.index('ip link add link "$card" name eth0.40 type vlan id 40')
    assert own < away < ours
    assert said.count("ip route add default") == 1


def test_what_ifup_calls_a_card_by_its_address_is_its_name_here(tmp_path: Path) -> None:
    """The script, with the machine's cards played by a folder; one of them is in a bond."""
    network = files(Network.IFUPDOWN)
    script = network["card"].replace("/sys/class/net", str(tmp_path))
    for name, (has, permanent) in {
        "enp1s0": (address(2), None),
        "enp2s0": (address(2), address(3)),
        "enp1s0.7": (address(4), None),
    }.items():
        card = tmp_path / name
        card.mkdir()
        (card / "address").write_text(f"{has}\n")
        if "." not in name:
            (card / "device").mkdir()
        if permanent is not None:
            (card / "bonding_slave").mkdir()
            (card / "bonding_slave/perm_hwaddr").write_text(f"{permanent}\n")

    def ask(number: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sh", "-c", script, "card", str(address(number))], capture_output=True, text=True)

    assert ask(2).stdout == "enp1s0\n" and ask(3).stdout == "enp2s0\n"
    assert ask(4).returncode == 1 and "no network card 52:54:00:00:00:04" in ask(4).stderr
    assert f"$(/usr/lib/bootserver/card {address(1)})" in network["interfaces"]


def test_an_image_with_cards_only_gets_no_script() -> None:
    plain = network_files(views.node(), dataclasses.replace(TARGET, network=Network.IFUPDOWN))
    assert [entry.path for entry in plain] == ["etc/network/interfaces", "etc/resolv.conf"]


# -- NetworkManager ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("nmcli") is None, reason="needs: apt-get install network-manager")
def test_network_manager_reads_each_keyfile_as_it_was_meant() -> None:
    found = files(Network.NETWORK_MANAGER)
    read = {}
    for name, text in found.items():
        command = ["nmcli", "--offline", "connection", "modify", "connection.autoconnect", "yes"]
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        read[name.removeprefix("bootserver-").removesuffix(".nmconnection")] = sections(done.stdout)
    kinds = {name: each["connection"]["type"] for name, each in read.items()}
    assert kinds == {
        "eth0": "ethernet", "eth0.100": "vlan", "eth0.40": "vlan", "eth1": "ethernet", "eth2": "ethernet", "bond0": "bond",
        "bond0.7": "vlan", "eth3": "ethernet", "ib0": "infiniband",
    }  # fmt: skip
    assert read["eth0.40"]["vlan"]["id"] == "40" and read["eth0.40"]["vlan"]["parent"] == read["eth0"]["connection"]["uuid"]
    assert read["bond0.7"]["vlan"]["parent"] == read["bond0"]["connection"]["uuid"]
    assert read["eth1"]["connection"]["master"] == "bond0" and read["bond0"]["bond"]["mode"] == "active-backup"
    assert read["eth0"]["ipv4"]["method"] == "disabled" and read["eth0.100"]["ipv4"]["address1"] == "10.1.0.9/16,10.1.1.1"
    assert read["ib0"]["connection"]["interface-name"] == "ib0" and "mac-address" not in found["bootserver-ib0.nmconnection"]


def test_a_primary_card_that_network_manager_can_not_be_told_is_refused() -> None:
    with pytest.raises(Refused, match="leave primary out for this image"):
        files(Network.NETWORK_MANAGER, f"{BOND} primary=eth2")
