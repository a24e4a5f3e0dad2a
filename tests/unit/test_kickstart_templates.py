"""What distributions' installers are told: every shipped template, for every version that it claims, read by the real tools."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from bootserver.cluster.passwords import Password
from bootserver.cluster.view import NodeView
from bootserver.db.rows import DistributionRow
from bootserver.errors import NotFound, Refused
from bootserver.install.answer_file import NOCLOUD, answer_file
from bootserver.install.checking import documents, kickstart, preseed
from bootserver.install.render import TemplateFault, TemplateMissing
from bootserver.values.secret import Secret
from tests import views
from tests.answer_files import (
    DEBIAN,
    FRONTEND_KEY,
    HASH,
    NASTY,
    ROCKY,
    SHIPPED,
    SUSE,
    TOKEN,
    UBUNTU,
    URL,
    VERSIONS,
    WISHES,
    commented,
    distribution,
    four_cards,
    nodes,
    one_card,
    render,
    tagged,
)

GOLDEN = Path(__file__).parent.parent / "data" / "kickstart"
IDS = [f"{kind} {family} {version}" for kind, family, version in VERSIONS]
PASSWORDS = (None, Password(HASH), Password(HASH, one_time=True))


# -- read by the real tools --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "family", "version"), VERSIONS, ids=IDS)
def test_every_version_is_rendered_for_every_node_and_read_by_its_tool(kind: str, family: str, version: str) -> None:
    row = distribution(kind, family, version)
    made = list(nodes().values())
    if row in (ROCKY, DEBIAN, UBUNTU, SUSE):
        made += map(commented, NASTY)
    texts = [render(node, row, password=password) for node in made for password in PASSWORDS[: 3 if node in made[:2] else 1]]
    match kind:
        case "kickstart":
            found = kickstart.check(texts, kickstart.version_of(row, kickstart.versions()))
        case "preseed":
            found = preseed.check(texts)
        case "autoinstall":
            if shutil.which("cloud-init") is None:
                pytest.skip("no cloud-init here")
            found = documents.cloud_config(texts)
        case _:
            found = documents.xml(texts)
    assert [problems for problems in found if problems] == []


def test_the_syntax_of_each_version_is_its_own() -> None:
    seven, eight, nine, ten = (render(one_card(), distribution("kickstart", "rhel", v)) for v in ("7.9", "8.10", "9.4", "10.0"))
    assert "--isUtc" in seven and "--utc" in eight
    assert seven.startswith("# compute") and "\nauth --enableshadow" in seven and "\nauth " not in eight
    assert "%onerror" in nine and "%onerror" not in seven
    fedora = render(one_card(after_install="kexec"), distribution("kickstart", "fedora", "42"))
    assert "\neula" in ten and "\neula" not in fedora
    assert "\nreboot --kexec\n" in fedora and "--kexec" not in render(
        one_card(after_install="kexec"), distribution("kickstart", "rhel", "7")
    )


def test_a_version_that_the_validator_does_not_know_is_checked_by_the_newest_that_it_does() -> None:
    known = frozenset({"RHEL8", "RHEL9", "F40", "F41", "DEVEL"})
    assert kickstart.version_of(distribution("kickstart", "rhel", "12"), known) == "RHEL9"
    assert kickstart.version_of(distribution("kickstart", "rhel", "7"), known) == "RHEL8"
    assert kickstart.version_of(distribution("kickstart", "fedora", ""), known) == "F41"


@pytest.mark.parametrize(
    ("name", "node", "row", "password"),
    [
        ("rocky-9.ks", four_cards(**WISHES), ROCKY, Password(HASH, one_time=True)),
        ("debian-12.preseed", four_cards(**WISHES), DEBIAN, None),
        ("ubuntu-24.user-data", four_cards(**WISHES), UBUNTU, Password(HASH)),
        ("rocky-9-plain.ks", one_card(), ROCKY, None),
    ],
)
def test_the_files_are_those_that_were_reviewed(
    name: str, node: NodeView, row: DistributionRow, password: Password | None
) -> None:
    """BOOTSERVER_GOLDEN=1 writes them anew; then look at the difference."""
    text = render(node, row, password=password)
    if os.environ.get("BOOTSERVER_GOLDEN"):
        GOLDEN.mkdir(parents=True, exist_ok=True)
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text()


# -- what is said ------------------------------------------------------------------------------------------------


def test_root_is_locked_where_no_password_was_set_and_no_file_ever_holds_a_default_one() -> None:
    assert "\nrootpw --lock\n" in render(one_card(), ROCKY)
    assert "passwd/root-password-crypted password !\n" in render(one_card(), DEBIAN)
    assert "usermod -p '!' root" in render(one_card(), UBUNTU)
    assert "<user_password>!</user_password>" in render(one_card(), SUSE)
    for row in (ROCKY, DEBIAN, UBUNTU, SUSE):
        text = render(one_card(), row, password=Password(HASH))
        assert HASH.reveal() in text
        assert "chage -d 0 root" not in text
        assert "chage -d 0 root" in render(one_card(), row, password=Password(HASH, one_time=True))
        assert FRONTEND_KEY in text, "who may log in at the frontend may here"


def test_red_hat_s_7_is_not_given_a_hash_that_it_can_not_read() -> None:
    yescrypt = Password(Secret("$y$j9T$K7MbIOj2kzlfgUbPuk6Xl.$9IRt5DosDaGe9tBEs9IKPYFjeNPSczBCtnqStMLWxY4"))
    with pytest.raises(Refused, match="--method sha512"):
        render(one_card(), distribution("kickstart", "rhel", "7.9"), password=yescrypt)
    assert "$y$j9T$" in render(one_card(), ROCKY, password=yescrypt)


def test_bootflags_go_into_each_boot_loader() -> None:
    node = one_card(bootflags="console=ttyS0,115200 quiet")
    assert "\nbootloader --append='console=ttyS0,115200 quiet'\n" in render(node, ROCKY)
    assert "\nd-i debian-installer/add-kernel-opts string console=ttyS0,115200 quiet\n" in render(node, DEBIAN)
    assert """'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX console=ttyS0,115200 quiet"'""" in render(node, UBUNTU)
    assert "<append>console=ttyS0,115200 quiet</append>" in render(node, SUSE)


def test_ubuntu_s_network_is_netplan_s_with_cards_matched_by_their_addresses() -> None:
    network = yaml.safe_load(render(four_cards(), UBUNTU))["autoinstall"]["network"]
    assert network["version"] == 2
    assert network["ethernets"]["eth0"] == {
        "match": {"macaddress": "52:54:00:00:00:01"},
        "addresses": ["10.1.255.254/16"],
        "routes": [{"to": "default", "via": "10.1.1.1"}],
        "nameservers": {"addresses": ["10.1.1.1"], "search": ["local"]},
    }
    assert network["bonds"]["bond0"]["interfaces"] == ["eth1", "eth2"]
    assert network["bonds"]["bond0"]["parameters"] == {
        "mode": "802.3ad", "mii-monitor-interval": 100, "lacp-rate": "fast", "primary": "eth2",
    }  # fmt: skip
    assert network["vlans"]["bond0.100"] | {"nameservers": 0} == {
        "id": 100, "link": "bond0", "addresses": ["10.2.1.9/16"], "nameservers": 0,
    }  # fmt: skip
    assert sum("routes" in link for kind in ("ethernets", "bonds", "vlans") for link in network[kind].values()) == 1


def test_a_card_whose_frames_carry_a_tag_has_its_address_on_the_vlan() -> None:
    lines = render(tagged(), ROCKY).splitlines()
    [vlan] = [line for line in lines if "--ip=10.1.255.254" in line]
    assert "--device=52:54:00:00:00:01 --vlanid=100 --interfacename=eth0.100" in vlan and "--gateway=10.1.1.1" in vlan
    assert sum(line.startswith("network --bootproto") for line in lines) == 3
    assert any("--ip=10.2.3.9" in line and "--device=ib0 " in line for line in lines)

    network = yaml.safe_load(render(tagged(), UBUNTU))["autoinstall"]["network"]
    assert network["ethernets"]["eth0"] == {"match": {"macaddress": "52:54:00:00:00:01"}, "dhcp4": False}
    assert network["ethernets"]["ib0"]["addresses"] == ["10.2.3.9/16"] and "match" not in network["ethernets"]["ib0"]
    assert {name: (each["id"], each["link"]) for name, each in network["vlans"].items()} == {
        "eth0.100": (100, "eth0"), "eth0.7": (7, "eth0"),
    }  # fmt: skip
    assert "iface $NIC0.100 inet static" in render(tagged(), DEBIAN), "as ifupdown makes it, on what this system calls the card"


@pytest.mark.parametrize(
    ("node", "asks"),
    [
        (one_card(), {"ethernets": {"eth0": True}}),
        (four_cards(), {"ethernets": {"eth0": True, "eth1": False, "eth2": False, "eth3": False}}),
        (tagged(), {"ethernets": {"eth0": False}, "vlans": {"eth0.100": True}}),
        (views.node(mac=None), {"ethernets": {"all": True}}),
    ],
)
def test_ubuntu_s_installer_asks_on_the_card_or_vlan_that_it_was_booted_by(node: NodeView, asks: dict[str, object]) -> None:
    network = yaml.safe_load(render(node, UBUNTU, name="network-config"))
    kinds = {kind: each for kind, each in network.items() if kind != "version"}
    assert {kind: {name: link["dhcp4"] for name, link in each.items()} for kind, each in kinds.items()} == asks


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"bond.bond0": "eth0 eth9"}, "no card eth9"),
        ({"bond.bond0": "eth0 mode=802.3ad evil=1"}, "'evil' is no option of a bond"),
        ({"bond.bond0": "eth0", "bond.bond1": "eth0"}, "eth0 is in another bond"),
        ({"bond.a b": "eth0"}, "no network interface name"),
        ({"packages": "vim;reboot"}, "attribute packages: 'vim;reboot' is no package"),
        ({"users": "root:0"}, "attribute users"),
        ({"users": "a:x"}, "no user's number"),
        ({"services": "a\n%end"}, "one line"),
        ({"timezone": "../../etc/passwd"}, "time zone"),
        ({"mirror": "file:///etc"}, "no URL"),
        ({"post": "../x.j2"}, "'..'"),
        ({"keys.alice": "PermitRootLogin yes", "users": "alice"}, "no SSH public key"),
        ({"bootflags": 'x"y'}, "kernel argument"),
    ],
)
def test_an_attribute_that_an_old_dump_brought_in_is_refused_with_its_name(attributes: dict[str, str], why: str) -> None:
    for row in (ROCKY, DEBIAN, UBUNTU, SUSE):
        with pytest.raises(Refused, match=re.escape(why)):
            render(one_card(**attributes), row)


def test_a_distribution_without_packages_anywhere_says_what_to_set() -> None:
    with pytest.raises(Refused, match="attr set mirror"):
        render(one_card(), dataclasses.replace(ROCKY, tree=""))
    assert "\nurl --url=http://m/rocky\n" in render(one_card(mirror="http://m/rocky"), dataclasses.replace(ROCKY, tree=""))
    assert "mirror/country" not in render(one_card(), dataclasses.replace(DEBIAN, tree="")), "its installer knows where"


def test_cloud_init_s_other_files_are_made_and_none_that_it_never_asks_for() -> None:
    assert NOCLOUD[0] == "user-data" and render(one_card(), UBUNTU, name="user-data") == render(one_card(), UBUNTU)
    for name in NOCLOUD[1:]:
        assert TOKEN not in render(four_cards(), UBUNTU, name=name), "it is fetched without using up the ticket"
    assert yaml.safe_load(render(one_card(), UBUNTU, name="meta-data")) == {
        "instance-id": "compute-0-0", "local-hostname": "compute-0-0",
    }  # fmt: skip
    assert yaml.safe_load(render(one_card(), UBUNTU, name="network-config"))["ethernets"]["eth0"]["dhcp4"] is True
    for name in ("../kickstart", "user-data.j2", "x"):
        with pytest.raises(NotFound):
            render(one_card(), UBUNTU, name=name)


# -- a site's own ------------------------------------------------------------------------------------------------


def site(folder: Path, **files: str) -> tuple[Path, ...]:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return (folder, *SHIPPED)


def test_a_site_overrides_a_block_and_keeps_the_rest(tmp_path: Path) -> None:
    own = '{% extends "kickstart.j2" %}\n{% block packages %}\n{{ super() }}\nlustre-client\n{% endblock %}\n'
    text = render(one_card(kickstart="own.ks.j2"), ROCKY, templates=site(tmp_path, own__ks__j2=own))
    plain = render(one_card(), ROCKY)
    assert [line for line in text.splitlines() if line not in plain.splitlines()] == ["lustre-client"]


def test_scripts_of_a_site_run_in_the_new_system_before_it_is_reported_installed(tmp_path: Path) -> None:
    folders = site(tmp_path, lustre__sh__j2="echo {{ attributes.fs | sh }} >>/etc/fstab\n")
    node = one_card(post="lustre.sh.j2", fs="mgs@tcp:/scratch 'x'")
    for row in (ROCKY, DEBIAN, UBUNTU, SUSE):
        text = render(node, row, templates=folders)
        assert 0 < text.index("mgs@tcp:/scratch") < text.rindex("ask late")
    with pytest.raises(TemplateMissing, match=r"nothing\.sh\.j2"):
        render(one_card(post="nothing.sh.j2"), ROCKY)


def test_a_kind_of_a_site_s_own_needs_a_template_and_nothing_else(tmp_path: Path) -> None:
    own = (
        '{"ignition": {"version": "3.3.0"},\n'
        ' "passwd": {"users": [{"name": "core", "sshAuthorizedKeys": {{ keys.root | json }}}]},\n'
        ' "storage": {"files": [{"path": "/etc/hostname", "contents": {"source": {{ ("data:," ~ node.name) | json }}}}]}}\n'
    )
    row = dataclasses.replace(ROCKY, kind="ignition", family="fedora-coreos")
    made = json.loads(render(one_card(), row, templates=site(tmp_path, ignition__j2=own)))
    assert made["passwd"]["users"][0]["sshAuthorizedKeys"] == [FRONTEND_KEY]
    with pytest.raises(TemplateMissing, match="no template"):
        render(one_card(), row)
    with pytest.raises(TemplateMissing, match="no attribute 'kickstart'"):
        render(one_card(), dataclasses.replace(ROCKY, kind=""))


def test_the_documentation_s_ignition_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/kickstart.md").read_text()
    found = re.search(r"^# /var/lib/bootserver/kickstart/ignition\.j2\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert found is not None
    node = one_card(kickstart="ignition.j2")
    text = answer_file(
        node, None, site(tmp_path, ignition__j2=found[1]), URL,
        token=Secret(TOKEN), authorized_keys=FRONTEND_KEY, password=None,
    )  # fmt: skip
    made = json.loads(text)
    files = {each["path"]: unquote(each["contents"]["source"].removeprefix("data:,")) for each in made["storage"]["files"]}
    assert files["/etc/hostname"] == "compute-0-0"
    assert f"Bearer {TOKEN}' {URL}node/installed\n" in files["/usr/local/bin/installed"]
    assert made["systemd"]["units"][0]["contents"].startswith("[Unit]\n")
    if program := shutil.which("ignition-validate"):
        (tmp_path / "made.ign").write_text(text)
        subprocess.run([program, str(tmp_path / "made.ign")], check=True)


@pytest.mark.parametrize("kind", ["kickstart", "preseed", "autoinstall", "autoyast"])
def test_the_reference_names_every_block(kind: str) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/templates.md").read_text()
    described = page[page.index(f"| {kind}.j2 |") :].split("\n\n")[0]
    for block in re.findall(r"{% block (\w+) %}", (SHIPPED[0] / f"{kind}.j2").read_text()):
        assert f"`{block}`" in described, block


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{% extends "kickstart.j2" %}\n{% block packages %}\n{{ nope }}\n{% endblock %}\n', r"own\.j2:3: 'nope' is undefined"),
        ('one\n{% include "inner.j2" %}\n', r"inner\.j2:2: 'nope' is undefined"),
        ("{% block x %}", r"own\.j2:1: "),
        ("one\n{{ attributes.two | sh }}\n", r"own\.j2:2: .*two"),
        ("one\n{{ 'a\\nb' | ks }}\n", r"own\.j2:2: .*one line"),
    ],
)
def test_a_fault_of_a_template_is_one_line_with_file_and_line(tmp_path: Path, text: str, where: str) -> None:
    folders = site(tmp_path, own__j2=text, inner__j2="x\n{{ nope }}\n")
    with pytest.raises(TemplateFault, match=where) as caught:
        render(one_card(kickstart="own.j2"), ROCKY, templates=folders)
    assert "\n" not in str(caught.value)
