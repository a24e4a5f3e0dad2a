"""What a path is answered with, for whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.cluster.actions import SHIPPED
from bootserver.cluster.plan import EfiApplication, FloppyBoot, LinuxBoot, LocalDisk, Plan, Wait
from bootserver.cluster.view import ApplianceView, InterfaceView, NetworkView, NodeView, View
from bootserver.netboot.content import Content, Denied, Missing, Resolution, Served
from bootserver.netboot.files import FileStore
from bootserver.netboot.resolver import Resolver
from bootserver.values.firmware import Firmware
from bootserver.values.mac import MacAddress

NETWORK = NetworkView(1, "private", IPv4Network("10.1.0.0/16"), "eth1", IPv4Address("10.1.1.1"), None, (), "local", 3600)
UUID_TEXT = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
ON_THE_WIRE = UUID(UUID_TEXT).bytes_le
STRANGER = IPv4Address("10.1.9.9")


def node(rank: int, *addresses: str) -> NodeView:
    interfaces = tuple(
        InterfaceView(f"eth{number}", MacAddress(bytes([0x52, 0x54, 0, 0, number, rank])), IPv4Address(address), NETWORK)
        for number, address in enumerate(addresses)
    )
    return NodeView(
        id=rank,
        name=f"compute-0-{rank}",
        appliance=ApplianceView(1, "compute", installs=True),
        rack=0,
        rank=rank,
        uuid=ON_THE_WIRE if rank == 0 else None,
        interfaces=interfaces,
        attributes={},
        action=SHIPPED["os"],
        install=None,
    )


NODES = (node(0, "10.1.0.10", "10.1.0.110"), node(1, "10.1.0.11"))


def make_view(*nodes: NodeView) -> View:
    return View(
        sequence=1,
        networks=(NETWORK,),
        nodes={node.name: node for node in nodes},
        by_mac={interface.mac: (node, interface) for node in nodes for interface in node.interfaces if interface.mac},
        by_ip={interface.ip: (node, interface) for node in nodes for interface in node.interfaces if interface.ip},
        by_uuid={node.uuid: node for node in nodes if node.uuid},
    )


class Cluster:
    """A cluster whose plans a test sets."""

    def __init__(self, root: Path) -> None:
        self.view = make_view(*NODES)
        self.plans: dict[str | None, Plan] = {None: Wait("no discovery knows it")}
        self.asked: list[tuple[str | None, Firmware]] = []
        self.by: list[str | None] = []
        self.files = FileStore(root)
        self.resolve = Resolver(lambda: self.view, self.plan, self.files, frontend=IPv4Address("10.7.7.7"), http_port=8080)

    def plan(self, node: NodeView | None, interface: InterfaceView | None, firmware: Firmware) -> Plan:
        name = node and node.name
        assert name is None or isinstance(name, str)
        assert interface is None or (node is not None and interface in node.interfaces)
        self.asked.append((name, firmware))
        self.by.append(interface and interface.device)
        return self.plans.get(name, LocalDisk("action os"))

    def text(self, path: str, address: str = "10.1.0.10") -> str:
        content = self.resolve(path, IPv4Address(address))
        assert isinstance(content, Content), content
        assert content.what is Served.MENU
        assert isinstance(content.body, bytes)
        return content.body.decode()


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


SECOND_MAC = "52-54-00-00-01-00"
FIRST_MAC = "52-54-00-00-00-00"


@pytest.mark.parametrize(
    ("path", "firmware", "looks"),
    [
        (f"pxelinux.cfg/01-{FIRST_MAC}", Firmware.BIOS, "localboot"),
        (f"/pxelinux.cfg//01-{FIRST_MAC}", Firmware.BIOS, "localboot"),
        (f"pxelinux.cfg\\01-{FIRST_MAC}", Firmware.BIOS, "localboot"),
        # pxelinux prints the octets as on the wire, others the first three fields the other way.
        ("pxelinux.cfg/ff19966f-868b-11d0-b42d-00c04fc964ff", Firmware.BIOS, "localboot"),
        (f"pxelinux.cfg/{UUID_TEXT}", Firmware.BIOS, "localboot"),
        ("pxelinux.cfg/0A01000A", Firmware.BIOS, "localboot"),
        ("pxelinux.cfg/default", Firmware.BIOS, "localboot"),
        (f"ipxe/pcbios/01-{FIRST_MAC}", Firmware.BIOS, "sanboot"),
        (f"ipxe/efi/01-{FIRST_MAC}", Firmware.UEFI_X64, "localx64.efi"),
        (f"ipxe/efi-x86_64/01-{FIRST_MAC}", Firmware.UEFI_X64, "localx64.efi"),
        (f"ipxe/efi-arm64/01-{FIRST_MAC}", Firmware.UEFI_ARM64, "localaa64.efi"),
        ("ipxe/pcbios/default", Firmware.BIOS, "sanboot"),
        (f"grub.cfg-01-{FIRST_MAC}", Firmware.UEFI_X64, "BOOTX64"),
        (f"/grub/grub.cfg-01-{FIRST_MAC}", Firmware.UEFI_X64, "BOOTX64"),
        (f"/boot/grub//grub.cfg-01-{FIRST_MAC}", Firmware.UEFI_X64, "BOOTX64"),
        (f"/grub/x86_64-efi/grub.cfg-01-{FIRST_MAC.replace('-', ':')}", Firmware.UEFI_X64, "BOOTX64"),
        (f"/grub/i386-efi/grub.cfg-01-{FIRST_MAC}", Firmware.UEFI_IA32, "BOOTIA32"),
        (f"/grub/i386-pc/grub.cfg-01-{FIRST_MAC}", Firmware.BIOS, "chainloader"),
        ("/grub/grub.cfg-0A01000A", Firmware.UEFI_X64, "BOOTX64"),
        ("/grub/x86_64-efi/grub.cfg", Firmware.UEFI_X64, "BOOTX64"),
        ("/EFI/redhat/grub.cfg-0A01000A", Firmware.UEFI_X64, "BOOTX64"),
    ],
)
def test_every_loader_finds_its_menu_by_the_name_that_it_asks_for(cluster: Cluster, path: str, firmware: Firmware, looks: str):
    text = cluster.text(path)
    assert "compute-0-0: action os, local disk" in text
    assert looks in text
    assert cluster.asked == [("compute-0-0", firmware)]


@pytest.mark.parametrize("path", ["grub/grub.cfg", "/boot/grub/grub.cfg", "grub.cfg", "/EFI/rocky/grub.cfg", "autoexec.ipxe"])
def test_a_name_that_all_machines_ask_for_alike_says_where_to_go_on(cluster: Cluster, path: str):
    assert "01-$" in cluster.text(path)
    assert cluster.asked == []


@pytest.mark.parametrize(
    "path",
    [
        "pxelinux.cfg/0A01000",  # pxelinux shortens the address, digit by digit
        "pxelinux.cfg/0a01000a",
        "pxelinux.cfg/0A010909",
        "pxelinux.cfg/01-00-00-00-00-00-09",
        "pxelinux.cfg/00000000-0000-0000-0000-000000000009",
        "pxelinux.cfg/defaults",
        "ipxe/bsd/01-52-54-00-00-00-00",
        "revocations_sku.efi",
        "../etc/passwd",
        "pxelinux.cfg/../../etc/passwd",
        "a\nb",
        "",
        "/",
    ],
)
def test_there_is_nothing_under_other_names(cluster: Cluster, path: str):
    assert isinstance(cluster.resolve(path, IPv4Address("10.1.0.10")), Missing)


def test_a_machine_that_the_cluster_does_not_know_is_told_so_and_waits(cluster: Cluster):
    for path in ("pxelinux.cfg/default", "ipxe/efi/01-00-00-00-00-00-09", "grub/x86_64-efi/grub.cfg-01-00-00-00-00-00-09"):
        text = cluster.text(path, str(STRANGER))
        assert "no discovery knows it" in text


def test_files_come_from_the_frontend_as_the_machines_own_network_reaches_it(cluster: Cluster):
    assert "http://10.1.1.1:8080/" in cluster.text(f"ipxe/efi/01-{FIRST_MAC}")
    assert "http://10.1.1.1:8080/" in cluster.text(f"ipxe/efi/01-{FIRST_MAC}", str(STRANGER))
    assert "http://10.7.7.7:8080/" in cluster.text(f"ipxe/efi/01-{FIRST_MAC}", "192.0.2.1")


@pytest.mark.parametrize("path", [f"pxelinux.cfg/01-{SECOND_MAC}", f"ipxe/efi/01-{SECOND_MAC}", f"grub/grub.cfg-01-{SECOND_MAC}"])
def test_a_kernel_is_told_by_which_card_it_was_loaded(cluster: Cluster, path: str):
    cluster.plans["compute-0-0"] = LinuxBoot("vmlinuz", (), "quiet", "action live")
    assert f"BOOTIF=01-{SECOND_MAC}" in cluster.text(path, "10.1.0.110")


def test_where_the_path_names_no_card_it_is_that_of_the_address(cluster: Cluster):
    cluster.plans["compute-0-0"] = LinuxBoot("vmlinuz", (), "quiet", "action live")
    assert f"BOOTIF=01-{SECOND_MAC}" in cluster.text("pxelinux.cfg/0A01006E", "10.1.0.110")


@pytest.mark.parametrize(
    ("path", "address", "device"),
    [
        (f"pxelinux.cfg/01-{SECOND_MAC}", "10.1.0.110", "eth1"),
        ("pxelinux.cfg/0A01006E", "10.1.0.110", "eth1"),
        (f"pxelinux.cfg/{UUID_TEXT}", "10.1.0.110", "eth1"),
        (f"pxelinux.cfg/{UUID_TEXT}", str(STRANGER), None),
        ("grub/x86_64-efi/grub.cfg", "10.1.0.110", "eth1"),
        ("ipxe/efi/01-00-00-00-00-00-09", "10.1.0.110", "eth1"),
        (f"ipxe/efi/01-{FIRST_MAC}", "10.1.0.110", "eth0"),
    ],
)
def test_a_node_boots_by_the_card_that_asks_and_not_by_its_first(cluster: Cluster, path: str, address: str, device: str | None):
    cluster.text(path, address)
    assert cluster.by == [device]


def test_an_ipxe_without_http_gets_a_script_without_http(cluster: Cluster):
    text = cluster.text(f"ipxe/efi/tftp/01-{FIRST_MAC}")
    assert "tftp://10.1.1.1/localx64.efi" in text
    assert "http:" not in text


def test_a_card_that_the_cluster_does_not_know_gets_the_menu_of_the_address_that_it_has(cluster: Cluster):
    assert "compute-0-1" in cluster.text("ipxe/efi/01-00-00-00-00-00-09", "10.1.0.11")


def test_a_sites_own_menu_for_a_machine_that_is_no_node_is_served(cluster: Cluster, tmp_path: Path):
    own = tmp_path / "pxelinux.cfg" / "01-00-00-00-00-00-09"
    own.parent.mkdir()
    own.write_text("localboot 0\n")
    found = cluster.resolve("pxelinux.cfg/01-00-00-00-00-00-09", STRANGER)
    assert isinstance(found, Content)
    assert found.body == own


# ---- tickets ---------------------------------------------------------------------------------------------------------------

ARMED = LinuxBoot("installer/vmlinuz", ("installer/initrd.img",), "bootserver.ticket=s3cret", "action install", has_ticket=True)
ITS_MENUS = (
    f"pxelinux.cfg/01-{FIRST_MAC}",
    f"ipxe/efi/01-{FIRST_MAC}",
    f"grub/x86_64-efi/grub.cfg-01-{FIRST_MAC}",
    "pxelinux.cfg/0A01000A",
)


@pytest.mark.parametrize("path", ITS_MENUS)
def test_a_menu_with_a_ticket_goes_to_its_nodes_own_addresses_only(cluster: Cluster, path: str):
    cluster.plans["compute-0-0"] = ARMED
    assert "s3cret" in cluster.text(path, "10.1.0.10")
    assert "s3cret" in cluster.text(path, "10.1.0.110")
    for other in ("10.1.0.11", str(STRANGER)):
        denied = cluster.resolve(path, IPv4Address(other))
        assert isinstance(denied, Denied)
        assert "s3cret" not in denied.why
    assert isinstance(cluster.resolve(path, IPv6Address("fe80::1")), Denied)


def test_an_ipv4_client_of_an_ipv6_socket_is_itself(cluster: Cluster):
    cluster.plans["compute-0-0"] = ARMED
    found = cluster.resolve(ITS_MENUS[0], IPv6Address("::ffff:10.1.0.10"))
    assert isinstance(found, Content)
    assert (found.node, found.mac) == ("compute-0-0", NODES[0].interfaces[0].mac)


def test_a_menu_without_a_ticket_may_go_to_anyone(cluster: Cluster):
    assert "compute-0-0" in cluster.text(ITS_MENUS[0], str(STRANGER))


def test_a_menu_with_a_ticket_is_made_anew_each_time(cluster: Cluster):
    cluster.plans["compute-0-0"] = ARMED
    cluster.text(ITS_MENUS[0])
    cluster.plans["compute-0-0"] = replace(ARMED, args="bootserver.ticket=other")
    assert "other" in cluster.text(ITS_MENUS[0])


@given(
    st.text(max_size=60)
    | st.from_regex(
        r"(?i)(/{0,2}(pxelinux\.cfg|ipxe/efi|grub|boot|\.\.)){1,3}/?(grub\.cfg)?-?01-52[-:]54[-:]00[-:]00[-:]00[-:]00.?",
        fullmatch=True,
    )
)
def test_no_path_gets_a_stranger_a_ticket(tmp_path_factory: pytest.TempPathFactory, path: str):
    cluster = Cluster(tmp_path_factory.getbasetemp())
    cluster.plans["compute-0-0"] = ARMED
    found = cluster.resolve(path, STRANGER)
    assert "s3cret" not in repr(found)


# ---- menus that are kept ---------------------------------------------------------------------------------------------------


def test_a_menu_is_rendered_once_until_the_cluster_changes(cluster: Cluster):
    first = cluster.resolve(ITS_MENUS[0], IPv4Address("10.1.0.10"))
    assert cluster.resolve(ITS_MENUS[0], IPv4Address("10.1.0.10")) is first
    assert len(cluster.asked) == 1
    cluster.plans["compute-0-0"] = Wait("changed")
    cluster.view = replace(cluster.view, sequence=2)
    assert "changed" in cluster.text(ITS_MENUS[0])


def test_what_an_unknown_machine_is_told_is_not_kept(cluster: Cluster):
    cluster.text("pxelinux.cfg/default", str(STRANGER))
    cluster.plans[None] = Wait("another reason")
    assert "another reason" in cluster.text("pxelinux.cfg/default", str(STRANGER))


def test_the_menus_that_are_kept_are_bounded(cluster: Cluster, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bootserver.netboot.resolver.MAX_CACHED", 10)
    for slashes in range(50):
        cluster.text("/" * slashes + ITS_MENUS[0])
    assert len(cluster.resolve._cache.menus) <= 10


def test_a_plan_that_the_loader_cant_carry_out_becomes_a_menu_that_says_so(cluster: Cluster):
    cluster.plans["compute-0-0"] = LinuxBoot("https://mirror.example/vmlinuz", (), "", "action install")
    text = cluster.text(ITS_MENUS[0])
    assert "action install: pxelinux fetches by TFTP only" in text
    assert "config pxelinux.cfg/01-" in text


# ---- files ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "path", "what"),
    [
        (ARMED, "installer/vmlinuz", Served.KERNEL),
        (ARMED, "//installer/initrd.img", Served.RAMDISK),
        (FloppyBoot("flash.img", "", "x"), "flash.img", Served.RAMDISK),
        (EfiApplication("memtest86+x64.efi", "x"), "memtest86+x64.efi", Served.KERNEL),
        (ARMED, "pxelinux.0", Served.LOADER),
        (ARMED, "/grub/x86_64-efi/http.mod", Served.LOADER),
        (ARMED, "memtest86+x64.efi", Served.FILE),
        (ARMED, "notes.txt", Served.FILE),
    ],
)
def test_a_file_is_called_what_it_is_for_the_node_that_fetches_it(
    cluster: Cluster, tmp_path: Path, plan: Plan, path: str, what: Served
):
    file = tmp_path / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x")
    cluster.plans["compute-0-0"] = plan
    assert cluster.resolve(path, IPv4Address("10.1.0.10")) == Content(file, what, "compute-0-0", NODES[0].interfaces[0].mac)
    if what in (Served.KERNEL, Served.RAMDISK):
        assert cluster.resolve(path, STRANGER) == Content(file, Served.FILE)


@pytest.mark.parametrize(
    ("path", "there", "answer"),
    [
        ("/grub/x86_64-efi/command.lst", False, "empty"),
        ("/grub/x86_64-efi/x86_64-efi/crypto.lst", False, "empty"),
        ("/boot/grub/i386-pc/terminal.lst", False, "empty"),
        ("/grub/x86_64-efi/command.lst", True, "file"),
        ("/grub/x86_64-efi/fs.lst", True, "empty"),
        ("/other/command.lst", False, "missing"),
    ],
)
def test_grubs_lists_of_modules_are_never_missing(cluster: Cluster, tmp_path: Path, path: str, there: bool, answer: str):
    file = tmp_path / path.lstrip("/")
    if there:
        file.parent.mkdir(parents=True)
        file.write_bytes(b"module\n")
    found: Resolution = cluster.resolve(path, STRANGER)
    expected: dict[str, Callable[[], bool]] = {
        "empty": lambda: isinstance(found, Content) and found.body == b"",
        "file": lambda: isinstance(found, Content) and found.body == file,
        "missing": lambda: isinstance(found, Missing),
    }
    assert expected[answer](), found
