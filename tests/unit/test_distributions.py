"""Install trees recognised, ISOs unpacked, and what a distribution may be in the cluster."""

from __future__ import annotations

import configparser
import dataclasses
import os
import re
import shutil
import stat
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootserver.cluster import attributes, discovery, distributions, nodes
from bootserver.cluster.actions import BootAction
from bootserver.cluster.boot import Way, boot_plan
from bootserver.cluster.plan import LinuxBoot
from bootserver.cluster.view import InstallView
from bootserver.db.rows import DistributionRow, InstallRow, InstallState
from bootserver.errors import NotFound, Refused, Unavailable, UsageError
from bootserver.install.distribution import reach, treeinfo
from bootserver.install.distribution.arguments import arguments
from bootserver.install.distribution.iso import Iso
from bootserver.install.distribution.recognise import PEEK, recognise
from bootserver.install.distribution.shelf import Shelf, room
from bootserver.install.distribution.unpack import Unpacked, unpack
from bootserver.values.firmware import Firmware
from bootserver.values.secret import Secret
from tests import distributions as trees
from tests import views
from tests.cluster import Cluster, machine

needs_iso = pytest.mark.skipif(bool(trees.what_is_missing()), reason=str(trees.what_is_missing()))
NM_INITRD = Path("/usr/lib/NetworkManager/nm-initrd-generator")
PXEBOOT = ("images/pxeboot/vmlinuz", ("images/pxeboot/initrd.img",))

# -- what a tree is ----------------------------------------------------------------------------------------------

CASES = {
    "CentOS 7": (trees.centos_7(), ("kickstart", "rhel", "CentOS-7", "7.9", "x86_64", *PXEBOOT)),
    "RHEL 8": (
        trees.rocky("8.10", family="Red Hat Enterprise Linux"),
        ("kickstart", "rhel", "Red Hat Enterprise Linux 8.10", "8.10", "x86_64", *PXEBOOT),
    ),
    "Rocky 9": (trees.rocky(), ("kickstart", "rhel", "Rocky Linux 9.4", "9.4", "x86_64", *PXEBOOT)),
    "Alma 9, ARM": (
        trees.rocky("9.4", family="AlmaLinux", arch="aarch64"),
        ("kickstart", "rhel", "AlmaLinux 9.4", "9.4", "aarch64", *PXEBOOT),
    ),
    "CentOS Stream 10": (
        trees.rocky("10", family="CentOS Stream"),
        ("kickstart", "rhel", "CentOS Stream 10", "10", "x86_64", *PXEBOOT),
    ),
    "Oracle 8": (
        trees.rocky("8.9", family="Oracle Linux"),
        ("kickstart", "rhel", "Oracle Linux 8.9", "8.9", "x86_64", *PXEBOOT),
    ),
    "Fedora 40": (trees.rocky("40", family="Fedora"), ("kickstart", "fedora", "Fedora 40", "40", "x86_64", *PXEBOOT)),
    "Debian netboot": (
        trees.netboot(),
        (
            "preseed", "debian", "Debian GNU/Linux 11 (bullseye)", "11", "x86_64",
            "debian-installer/amd64/linux", ("debian-installer/amd64/initrd.gz",),
        ),
    ),
    "Debian netboot, ARM": (
        trees.netboot(arch="arm64"),
        (
            "preseed", "debian", "Debian GNU/Linux 11 (bullseye)", "11", "aarch64",
            "debian-installer/arm64/linux", ("debian-installer/arm64/initrd.gz",),
        ),
    ),
    "Debian mirror": (
        trees.mirror(),
        (
            "preseed", "debian", "Debian GNU/Linux 12.5 (bookworm)", "12.5", "x86_64",
            "dists/bookworm/main/installer-amd64/current/images/netboot/debian-installer/amd64/linux",
            ("dists/bookworm/main/installer-amd64/current/images/netboot/debian-installer/amd64/initrd.gz",),
        ),
    ),
    "Debian disc": (
        trees.debian_disc(),
        (
            "preseed", "debian", "Debian GNU/Linux 12.5.0 Bookworm", "12.5.0", "x86_64",
            "install.amd/vmlinuz", ("install.amd/initrd.gz",),
        ),
    ),
    "Ubuntu netboot": (
        trees.netboot("ubuntu"),
        (
            "preseed", "ubuntu", "Ubuntu 18.04", "18.04", "x86_64",
            "ubuntu-installer/amd64/linux", ("ubuntu-installer/amd64/initrd.gz",),
        ),
    ),
    "Ubuntu's old server disc": (
        {f"install/netboot/{name}": content for name, content in trees.netboot("ubuntu").items()},
        (
            "preseed", "ubuntu", "Ubuntu 18.04", "18.04", "x86_64",
            "install/netboot/ubuntu-installer/amd64/linux", ("install/netboot/ubuntu-installer/amd64/initrd.gz",),
        ),
    ),
    "Ubuntu live server": (
        trees.live_server() | {"noble.iso": "iso"},
        (
            "autoinstall", "ubuntu", "Ubuntu-Server 24.04.1 LTS Noble Numbat", "24.04", "x86_64",
            "casper/vmlinuz", ("casper/initrd",),
        ),
    ),
    "openSUSE Leap 15": (
        trees.leap(),
        ("autoyast", "suse", "openSUSE Leap 15.6", "15.6", "x86_64", "boot/x86_64/loader/linux", ("boot/x86_64/loader/initrd",)),
    ),
    "SLE 12": (
        trees.sle_12(),
        (
            "autoyast", "suse", "SUSE Linux Enterprise Server 12 SP3", "12.3", "x86_64",
            "boot/x86_64/loader/linux", ("boot/x86_64/loader/initrd",),
        ),
    ),
    "SLE 15, ARM": (
        trees.sle_15_arm(),
        ("autoyast", "suse", "SLES15-SP4 15.4", "15.4", "aarch64", "boot/aarch64/linux", ("boot/aarch64/initrd",)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_tree_is_recognised_by_what_is_in_it(tmp_path: Path, case: str) -> None:
    files, expected = CASES[case]
    found = recognise(trees.make(tmp_path, files))
    assert (
        found.kind.value, found.family, found.title, found.version, found.architecture, found.kernel, found.initrds
    ) == expected  # fmt: skip


@pytest.mark.skipif(not trees.NETBOOT.is_dir(), reason="needs: apt-get install debian-installer-12-netboot-amd64")
def test_debians_own_netboot_package_is_recognised() -> None:
    found = recognise(trees.NETBOOT)
    assert (found.title, found.version, found.architecture) == ("Debian GNU/Linux 12 (bookworm)", "12", "x86_64")
    assert (trees.NETBOOT / found.kernel).is_file() and (trees.NETBOOT / found.initrds[0]).is_file()
    assert not found.served


@pytest.mark.parametrize(
    ("case", "served", "packages", "disc"),
    [
        ("Rocky 9", True, True, False),
        ("CentOS 7", True, True, False),
        ("Debian netboot", False, False, False),
        ("Debian mirror", True, True, False),
        ("Debian disc", True, True, True),
        ("Ubuntu's old server disc", True, True, False),
    ],
)
def test_where_packages_come_from(tmp_path: Path, case: str, served: bool, packages: bool, disc: bool) -> None:
    found = recognise(trees.make(tmp_path, CASES[case][0]))
    assert (found.served, found.has_packages, found.from_disc_only) == (served, packages, disc)


def test_a_boot_medium_has_no_packages(tmp_path: Path) -> None:
    files = {name: content for name, content in trees.rocky().items() if "repodata" not in name}
    found = recognise(trees.make(tmp_path, files))
    assert not found.has_packages
    assert "inst.stage2=@frontend@distro/rocky " in arguments(found, "rocky")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"readme": "hello"}, "is no tree of a distribution: looked for .treeinfo, images/pxeboot/vmlinuz (RHEL family, Fed"),
        (trees.without(trees.rocky(), "images/pxeboot/vmlinuz"), "Rocky Linux 9.4 without images/pxeboot/vmlinuz"),
        (trees.without(trees.rocky(), "images/pxeboot/initrd.img"), "Rocky Linux 9.4 without images/pxeboot/initrd.img"),
        (trees.rocky() | {"images/pxeboot/vmlinuz": ""}, "whose images/pxeboot/vmlinuz is empty"),
        (trees.without(trees.centos_7(), ".treeinfo"), "no .treeinfo, which says what it is"),
        (trees.rocky("6.10", family="CentOS"), "which is too old: RHEL 7 and later"),
        (trees.rocky("37", family="Fedora"), "which is too old: Fedora 38 and later"),
        (trees.without(trees.netboot(), "debian-installer/amd64/linux"), "without debian-installer/amd64/linux"),
        (trees.without(trees.netboot(), "debian-installer/amd64/initrd.gz"), "without debian-installer/amd64/initrd.gz"),
        (trees.mirror() | trees.mirror("trixie", "13.1"), "installers of several releases (bookworm, trixie)"),
        (trees.without(trees.debian_disc(), "install.amd/initrd.gz"), "without install.amd/initrd.gz"),
        (trees.live_server(), "fetches its ISO as a whole: give the ISO file"),
        (trees.without(trees.live_server(), "casper/vmlinuz"), "without casper/vmlinuz"),
        (trees.without(trees.live_server(), ".disk/info"), "copy hidden files as well"),
        (trees.live_server('Ubuntu 24.04.1 LTS "Noble Numbat" - Release amd64 (1)'), "only the server's installer"),
        (trees.live_server('Ubuntu-Server 18.04.6 LTS "Bionic Beaver" - Release amd64 (1)') | {"x.iso": "x"}, "no autoinstall"),
        (trees.without(trees.leap(), "boot/x86_64/loader/initrd"), "openSUSE Leap 15.6 without boot/x86_64/loader/initrd"),
        (trees.leap() | {"LiveOS/squashfs.img": "x"}, "whose installer is Agama"),
        ({".treeinfo": "no section\n", **trees.without(trees.rocky(), ".treeinfo")}, "its .treeinfo can't be read"),
        ({".treeinfo": "[general]\n" + "x" * (2 << 20)}, "has more than 1 MiB"),
    ],
)  # fmt: skip
def test_what_is_none_is_refused_with_what_was_looked_for(tmp_path: Path, files: dict[str, str], says: str) -> None:
    with pytest.raises(Refused) as refusal:
        recognise(trees.make(tmp_path, files))
    assert says in str(refusal.value)
    assert str(refusal.value).startswith(str(tmp_path))
    assert "\n" not in str(refusal.value)


def test_no_link_of_a_tree_leads_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    files = trees.rocky() | {"images/pxeboot/vmlinuz": "-> ../../../secret"}
    with pytest.raises(Refused, match=r"without images/pxeboot/vmlinuz"):
        recognise(trees.make(tmp_path / "tree", files))
    files = trees.rocky() | {".treeinfo": trees.PRODUCTMD.replace("images/pxeboot/vmlinuz", "../secret")}
    with pytest.raises(Refused, match="without"):
        recognise(
            trees.make(
                tmp_path / "other", {**files, ".treeinfo": files[".treeinfo"].format(family="X", version=9, arch="x86_64")}
            )
        )


def test_what_a_tree_says_of_itself_is_one_line_of_plain_text(tmp_path: Path) -> None:
    text = trees.CENTOS_7.replace("name = CentOS-7", "name = %(x)s \x1b[31m" + "long" * 99).replace(
        "arch = x86_64", "arch = \x07vax"
    )
    found = recognise(trees.make(tmp_path, trees.centos_7() | {".treeinfo": text}))
    assert found.title.isprintable() and len(found.title) <= 100 and found.title.startswith("%(x)s")
    assert found.architecture == ""


@given(text=st.text(alphabet=st.sampled_from("[]=:;#%\n\r \t.general-1x\x00\x85"), max_size=200))
@settings(max_examples=200, deadline=None)
def test_whatever_a_treeinfo_holds_there_is_an_answer_or_a_refusal(text: str) -> None:
    try:
        info = treeinfo._parse(text, ".treeinfo")
    except Refused as error:
        assert str(error).isprintable()
    else:
        assert info.name.isprintable()


# -- how its installer is told -----------------------------------------------------------------------------------


def args_of(tmp_path: Path, files: dict[str, str], iso: str | None = None) -> str:
    return arguments(recognise(trees.make(tmp_path, files), iso=iso), "it")


def test_each_installer_is_told_where_packages_and_answers_are(tmp_path: Path) -> None:
    answers = "@frontend@node/kickstart/@ticket@"
    ip = "ip=dhcp@untagged@ ifname=boot@vlan@:@card@ vlan=boot@vlan@.@vlan@:boot@vlan@ ip=boot@vlan@.@vlan@:dhcp"
    assert args_of(tmp_path / "1", trees.rocky()) == f"inst.repo=@frontend@distro/it inst.ks={answers} inst.ks.sendmac {ip}"
    assert args_of(tmp_path / "2", trees.leap()) == f"install=@frontend@distro/it autoyast={answers} netsetup=dhcp vlanid=@vlan@"
    preseed = args_of(tmp_path / "3", trees.netboot()).split()
    assert f"url={answers}" in preseed and {"auto=true", "priority=critical", "interface=auto", "keymap=us"} <= set(preseed)
    noble = args_of(tmp_path / "4", trees.live_server(), iso="it.iso").split()
    assert f"ds=nocloud;s={answers}/" in noble and "url=@frontend@distro/it/it.iso" in noble
    assert {"autoinstall", "ip=dhcp", "cloud-config-url=/dev/null"} <= set(noble)
    jammy = args_of(tmp_path / "5", trees.live_server(trees.JAMMY), iso="it.iso").split()
    assert f"ds=nocloud-net;s={answers}/" in jammy


TAG_WORDS = {
    "rocky": ("ifname=boot100:52:54:00:00:00:01 vlan=boot100.100:boot100 ip=boot100.100:dhcp", "ip=dhcp"),
    "netboot": ("netcfg/vlan_id=100", ""),
    "leap": ("vlanid=100", ""),
    "live_server": ("", ""),
}
"""By tree: the words that a network with a tag adds, and what they are instead of. Ubuntu's initrd can't be told."""


@pytest.mark.parametrize("case", TAG_WORDS)
def test_installers_are_told_the_tag_of_a_network_that_has_one(tmp_path: Path, case: str) -> None:
    tagged, instead = TAG_WORDS[case]
    booted = {vlan: booted_with(tmp_path / str(vlan), case, vlan) for vlan in (None, 100)}
    assert set(booted[100]) - set(booted[None]) == set(tagged.split())
    assert set(booted[None]) - set(booted[100]) == set(instead.split())
    assert "@" not in " ".join(booted[100] + booted[None]) and "BOOTIF=01-52-54-00-00-00-01" in booted[100]


@pytest.mark.skipif(not NM_INITRD.exists(), reason="needs: apt-get install network-manager")
def test_the_initrd_of_red_hat_makes_the_vlan_and_asks_on_nothing_else(tmp_path: Path) -> None:
    """What dracut runs since RHEL 8.3; BOOTIF alone has it ask on the card, too, which is taken by then."""
    made = subprocess.run([str(NM_INITRD), "-s", "--", *booted_with(tmp_path, "rocky", 100)], capture_output=True, text=True)
    found = {
        each["connection"]["id"]: each
        for each in (sections(text) for text in re.split(r"^\*\*\* .*\n", made.stdout, flags=re.MULTILINE))
        if "connection" in each
    }
    assert (found["boot100.100"]["vlan"]["parent"], found["boot100.100"]["vlan"]["id"]) == ("boot100", "100")
    methods = {name: each["ipv4"]["method"] for name, each in found.items() if name != "BOOTIF Connection"}
    assert methods == {"boot100": "disabled", "boot100.100": "auto"}


def sections(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read_string(text)
    return parser


def booted_with(folder: Path, case: str, vlan: int | None) -> list[str]:
    """The words that a node's installer is started with."""
    action = BootAction("install", "k", (), args_of(folder, getattr(trees, case)(), "it.iso" if case == "live_server" else None))
    node = dataclasses.replace(views.node(action=action), install=InstallView(7, Secret("s"), None))
    plan = boot_plan(node, Firmware.BIOS, way=Way("http://10.1.1.1/", vlan=vlan), ticket=lambda _: "TICKET")
    assert isinstance(plan, LinuxBoot)
    return plan.by_card(views.MAC).args.split()


def test_a_word_that_names_the_card_is_left_out_where_nobody_knows_it() -> None:
    plan = LinuxBoot("k", (), "quiet ifname=boot:@card@ ip=dhcp", "action install")
    assert plan.by_card(None).args == "quiet ip=dhcp"
    assert plan.by_card(views.MAC).args == "quiet ifname=boot:52:54:00:00:00:01 ip=dhcp BOOTIF=01-52-54-00-00-00-01"


@pytest.mark.parametrize("case", CASES)
def test_its_arguments_can_be_written_for_every_loader(tmp_path: Path, case: str) -> None:
    found = recognise(trees.make(tmp_path, CASES[case][0]))
    row = DistributionRow(0, "it", "distro/it/linux", (), arguments(found, "it"), found.kind.value)
    assert distributions.check(row) == row


# -- ISOs --------------------------------------------------------------------------------------------------------


def opened(path: Path, target: Path, only: tuple[str, ...] = ()) -> Unpacked:
    target.mkdir(0o700)
    with Iso(path) as iso:
        return unpack(iso, target, only=only)


@needs_iso
@pytest.mark.parametrize("options", [("-R", "-J", "-joliet-long"), ("-R",), ("-J", "-joliet-long"), ("-r", "-iso-level", "3")])
def test_an_iso_is_unpacked_with_long_names_and_links(tmp_path: Path, options: tuple[str, ...]) -> None:
    name = "a-package-with-a-name-that-is-quite-long_1.2.3~rc1+dfsg-4_amd64.deb"
    source = trees.make(tmp_path / "source", trees.rocky() | {f"pool/{name}": "deb" * 5000})
    done = opened(trees.make_iso(tmp_path / "x.iso", source, *options), tmp_path / "tree")
    assert (tmp_path / f"tree/pool/{name}").read_text() == "deb" * 5000
    assert recognise(tmp_path / "tree") == recognise(source)
    assert done.left_out == []


@needs_iso
def test_what_is_unpacked_is_roots_and_for_all_to_read(tmp_path: Path) -> None:
    source = trees.make(tmp_path / "source", {"folder/program": "x", "secret": "x"})
    (source / "folder/program").chmod(0o6755)
    (source / "secret").chmod(0o000)
    (source / "folder").chmod(0o2770)
    opened(trees.make_iso(tmp_path / "x.iso", source), tmp_path / "tree")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "tree").rglob("*")}
    assert modes == {"folder": 0o755, "program": 0o644, "secret": 0o644}
    assert all(path.stat().st_uid == os.geteuid() for path in (tmp_path / "tree").rglob("*"))


@needs_iso
def test_links_that_lead_out_and_devices_are_left_out_and_told(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for a device")
    source = trees.make(
        tmp_path / "source",
        {"a/absolute": "-> /etc/passwd", "a/up": "-> ../../etc/passwd", "a/fine": "-> ../b/file", "b/file": "x", "self": "-> ."},
    )
    os.mknod(source / "sda", stat.S_IFBLK | 0o666, os.makedev(8, 0))
    os.mkfifo(source / "pipe")
    done = opened(trees.make_iso(tmp_path / "x.iso", source), tmp_path / "tree")
    assert sorted(each.partition(" ")[0] for each in done.left_out) == ["a/absolute", "a/up", "pipe", "sda"]
    assert sorted(path.name for path in (tmp_path / "tree").rglob("*") if path.is_symlink()) == ["fine", "self"]
    assert (tmp_path / "tree/a/fine").read_text() == "x"


@needs_iso
def test_names_that_lead_out_are_refused(tmp_path: Path) -> None:
    """Rock Ridge's NM entry is patched to be "../../x": no honest program writes it."""
    source = trees.make(tmp_path / "source", {"SUB/AAAAAAA": "evil"})
    iso = trees.make_iso(tmp_path / "x.iso", source, "-R")
    image = iso.read_bytes()
    assert image.count(b"AAAAAAA") >= 2
    iso.write_bytes(image.replace(b"\x00AAAAAAA", b"\x00../../x"))
    with pytest.raises(Refused, match=r"leads out of it"):
        opened(iso, tmp_path / "tree")
    assert not (tmp_path / "x").exists()


@needs_iso
def test_equal_files_are_stored_once_and_a_selection_still_has_them(tmp_path: Path) -> None:
    source = trees.make(tmp_path / "source", trees.rocky() | {"big": "x" * 300_000})
    (source / "isolinux").mkdir()
    os.link(source / "images/pxeboot/vmlinuz", source / "isolinux/vmlinuz")
    os.link(source / "images/pxeboot/initrd.img", source / "isolinux/initrd[1].img")
    iso = trees.make_iso(tmp_path / "x.iso", source)
    opened(iso, tmp_path / "peek", PEEK)
    assert recognise(tmp_path / "peek") == recognise(source)
    assert not (tmp_path / "peek/big").exists()
    opened(iso, tmp_path / "tree")
    assert (tmp_path / "tree/isolinux/vmlinuz").samefile(tmp_path / "tree/images/pxeboot/vmlinuz")


@needs_iso
def test_a_damaged_iso_is_refused(tmp_path: Path) -> None:
    source = trees.make(tmp_path / "source", trees.rocky())
    iso = trees.make_iso(tmp_path / "x.iso", source, "-R")
    image = bytearray(iso.read_bytes())
    (extent,) = struct.unpack_from("<I", image, 16 * 2048 + 156 + 2)  # of the root folder, ECMA-119 8.4.18
    image[extent * 2048 : extent * 2048 + 4096] = os.urandom(4096)
    iso.write_bytes(image)
    with pytest.raises(Refused, match=r"x\.iso"):
        opened(iso, tmp_path / "tree")


@needs_iso
def test_names_need_not_be_ascii(tmp_path: Path) -> None:
    source = trees.make(tmp_path / "source", {"größe/日本.deb": "x"})
    opened(trees.make_iso(tmp_path / "x.iso", source, "-R"), tmp_path / "tree")
    assert (tmp_path / "tree/größe/日本.deb").read_text() == "x"


@needs_iso
def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path) -> None:
    source = trees.make(tmp_path / "source", {"bomb": "x" * 3_000_000})
    (tmp_path / "tree").mkdir()
    with Iso(trees.make_iso(tmp_path / "x.iso", source)) as iso:
        iso.size //= 100  # as if it were compressed
        with pytest.raises(Refused, match="would take more than 4 times its own size"):
            unpack(iso, tmp_path / "tree")
    assert not (tmp_path / "tree/bomb").exists()


@needs_iso
def test_an_iso_that_is_cut_off_is_refused_at_once(tmp_path: Path) -> None:
    iso = trees.make_iso(tmp_path / "x.iso", trees.make(tmp_path / "source", trees.rocky()))
    whole = iso.stat().st_size
    os.truncate(iso, whole // 2)
    with pytest.raises(Refused, match=rf"is cut off: it has {whole // 2} bytes of \d+"), Iso(iso):
        pass


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"", "there is no CD001"),
        (b"MZ", "there is no CD001"),
        (b"LUKS\xba\xbe\x00\x02", "it is encrypted (LUKS)"),
        (b"Salted__", "it is encrypted (openssl)"),
        (b"\x1f\x8b\x08", "it is compressed (gzip)"),
        (b"PK\x03\x04", "it is a zip archive"),
        (b"<!DOCTYPE html>", "a download that did not work?"),
    ],
)
def test_what_is_no_iso_is_said_with_what_it_is(tmp_path: Path, head: bytes, says: str) -> None:
    (tmp_path / "x.iso").write_bytes(head)
    with pytest.raises(Refused) as refusal, Iso(tmp_path / "x.iso"):
        pass
    assert says in str(refusal.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Refused, match="neither a folder nor a file"), Iso(tmp_path / "pipe"):
        pass
    with pytest.raises(NotFound), Iso(tmp_path / "nothing"):
        pass
    with pytest.raises(Unavailable), Iso(Path("/proc/self/mem/x")):
        pass


def test_without_the_program_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = bytearray(20 * 2048)
    image[16 * 2048 : 16 * 2048 + 6] = b"\x01CD001"
    struct.pack_into("<I", image, 16 * 2048 + 80, 20)
    struct.pack_into("<H", image, 16 * 2048 + 128, 2048)
    (tmp_path / "x.iso").write_bytes(image)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="apt-get install libarchive-tools"):
        opened(tmp_path / "x.iso", tmp_path / "tree")


# -- folders that appear whole -----------------------------------------------------------------------------------


def test_a_draft_that_is_not_published_leaves_nothing(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    with shelf.draft("it") as draft:
        (draft.folder / "file").write_text("x")
        assert shelf.names() == []
    assert list(shelf.folder.iterdir()) == []


def test_a_published_draft_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    for content in ("old", "new"):
        with shelf.draft("it") as draft:
            (draft.folder / "file").write_text(content)
            draft.publish()
    assert (shelf.path("it") / "file").read_text() == "new"
    assert stat.S_IMODE(shelf.path("it").stat().st_mode) == 0o755
    assert [path.name for path in shelf.folder.iterdir()] == ["it"]


@pytest.mark.parametrize("before", [True, False])
def test_what_fails_after_it_was_published_is_taken_back(tmp_path: Path, before: bool) -> None:
    shelf = Shelf(tmp_path / "shelf")
    if before:
        trees.make(shelf.path("it"), {"file": "old"})
    with pytest.raises(RuntimeError), shelf.draft("it") as draft:
        (draft.folder / "file").write_text("new")
        draft.publish()
        raise RuntimeError
    assert [path.name for path in shelf.folder.iterdir()] == (["it"] if before else [])
    assert not before or (shelf.path("it") / "file").read_text() == "old"


def test_a_draft_under_way_is_not_cleaned_up_and_a_dead_one_is(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    trees.make(shelf.folder / ".draft-dead-1-aa", {"a/b": "x"})
    trees.make(shelf.folder / ".gone-dead-1-aa", {"a/b": "x"})
    with shelf.draft("it") as draft:
        Shelf(shelf.folder).clean()
        assert draft.folder.is_dir()
        assert sorted(path.name for path in shelf.folder.iterdir()) == [draft.folder.name]


def test_what_is_removed_stays_where_the_change_fails(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    trees.make(shelf.path("it"), {"file": "x"})
    with pytest.raises(RuntimeError), shelf.removing("it"):
        raise RuntimeError
    assert shelf.names() == ["it"]
    with shelf.removing("it"):
        pass
    assert list(shelf.folder.iterdir()) == []


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path) -> None:
    room(tmp_path, 1, "x.iso")
    with pytest.raises(Refused, match=r"x\.iso needs 1000000000000 MB below .*, where \d+ MB are free"):
        room(tmp_path, 10**18, "x.iso")


# -- who may read it ---------------------------------------------------------------------------------------------


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that anybody can get to (pytest's own can't be entered by others)."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    folder = Path(tempfile.mkdtemp(prefix="bootserver-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_tree_that_the_service_can_not_read_is_refused_with_the_way_out(public: Path) -> None:
    tree = trees.make(public / "tree", {"a/file": "x", "b": "x"})
    reach.check_readable(tree, "nobody")
    (tree / "a/file").chmod(0o600)
    with pytest.raises(Refused, match=rf"can't read {tree}/a/file: `chmod -R a\+rX {tree}`"):
        reach.check_readable(tree, "nobody")
    (tree / "a").chmod(0o700)
    with pytest.raises(Refused, match=rf"can't read {tree}/a: "):
        reach.check_readable(tree, "nobody")
    public.chmod(0o700)
    with pytest.raises(Refused, match=rf"can't enter {public}: `chmod a\+x {public}`"):
        reach.check_readable(tree, "nobody")
    reach.check_readable(tree, "nobody-of-this-name")  # no service runs yet


def test_folders_that_the_unit_hides_are_known() -> None:
    assert reach.hidden_by(Path("/home/me/tree")) == "/home"
    assert reach.hidden_by(Path("/srv/home/tree")) is None


# -- in the cluster ----------------------------------------------------------------------------------------------


def row(name: str = "rocky-9", **more: object) -> DistributionRow:
    values: dict[str, object] = {
        "kind": "kickstart", "family": "rhel", "title": "Rocky Linux 9.4", "version": "9.4", "architecture": "x86_64",
        "tree": "/srv/rocky",
    }  # fmt: skip
    return DistributionRow(0, name, "distro/x/vmlinuz", ("distro/x/initrd.img",), "a b", **{**values, **more})  # type: ignore[arg-type]


def test_a_distribution_is_added_once_and_replaced_when_told(cluster: Cluster) -> None:
    with cluster.change() as change:
        first = distributions.put(change, row(), replace=False)
    with pytest.raises(Refused, match="exists already"), cluster.change() as change:
        distributions.put(change, row(), replace=False)
    with cluster.change() as change:
        again = distributions.put(change, row(version="9.5"), replace=True)
    assert (again.id, again.version) == (first.id, "9.5")


@pytest.mark.parametrize(
    "wrong",
    [
        row("../x"), row("Rocky"), row(".x"), row("a b"), row(kind="../x"), row(kind="A"), row(version="9 ; x"),
        row(family="a/b"),
        row(architecture="x\n"), row(tree="srv"), row(tree="/srv/../etc"), row(tree="/srv/\n"), row(tree="/" + "x" * 2000),
        row(title="a\nb"), DistributionRow(0, "x", "../vmlinuz", (), ""), DistributionRow(0, "x", "vmlinuz", ("/../x",), ""),
        DistributionRow(0, "x", "vmlinuz", (), 'a "b"'),
    ],
)  # fmt: skip
def test_what_no_row_may_say_is_refused(cluster: Cluster, wrong: DistributionRow) -> None:
    with pytest.raises(UsageError), cluster.change() as change:
        distributions.put(change, wrong, replace=False)


def test_one_that_attributes_name_stays_unless_told(cluster: Cluster) -> None:
    with cluster.change() as change:
        distributions.put(change, row(), replace=False)
        attributes.set_attribute(change, attributes.EVERYWHERE, "distribution", "rocky-9")
    with (
        pytest.raises(Refused, match=r"set for all nodes; `bootserver attr remove distribution` first"),
        cluster.change() as change,
    ):
        distributions.remove(change, "rocky-9")
    with cluster.change() as change:
        distributions.remove(change, "rocky-9", used=True)
    with pytest.raises(NotFound, match="no distribution"), cluster.change() as change:
        distributions.remove(change, "rocky-9")


def test_one_that_is_being_installed_from_is_neither_replaced_nor_removed(cluster: Cluster) -> None:
    with cluster.change() as change:
        distributions.put(change, row(), replace=False)
        name = discovery.register_at_once(change, discovery.Request(), machine(1), ip=None, name=None, cpus=1).name
        node = nodes.get(change, name)
        change.insert(InstallRow(0, node.id, InstallState.RUNNING, False, "", None, None, "now", distribution="rocky-9"))
    for used in (False, True):
        with pytest.raises(Refused, match=f"is being installed on {name}"), cluster.change() as change:
            distributions.remove(change, "rocky-9", used=used)
    with pytest.raises(Refused, match=f"is being installed on {name}"), cluster.change() as change:
        distributions.put(change, row(), replace=True)


@pytest.mark.parametrize(
    ("tree", "served"),
    [
        ("/srv/rocky", True),
        ("/usr/share/tree", True),
        ("/var/lib/bootserver/distributions/rocky", True),
        ("/var/lib/bootserver/distributions", False),
        ("/var/lib/bootserver", False),
        ("/var/lib/bootserver/db", False),
        ("/var/lib", False),
        ("/", False),
        ("/etc/pki", False),
        ("/proc/1", False),
        ("/sys", False),
        ("/dev/shm/tree", False),
        ("/var/lib/bootserver-2", True),
    ],
)
def test_what_is_the_frontends_own_is_never_served(tree: str, served: bool) -> None:
    assert distributions.may_be_served(Path(tree), Path("/var/lib/bootserver")) is served
