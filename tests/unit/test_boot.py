"""The one decision of the product, as a table: who it is, what its action is, what firmware asks, and what it boots."""

from __future__ import annotations

import dataclasses

import pytest

from bootserver.cluster.actions import SHIPPED, BootAction
from bootserver.cluster.boot import Way, boot_plan
from bootserver.cluster.plan import EfiApplication, FloppyBoot, LinuxBoot, LocalDisk, Plan, Wait
from bootserver.cluster.view import InstallView, NodeView
from bootserver.values.firmware import Firmware
from bootserver.values.secret import Secret
from tests import views

BIOS, UEFI, HTTP, ARM = Firmware.BIOS, Firmware.UEFI_X64, Firmware.UEFI_X64_HTTP, Firmware.UEFI_ARM64
ARMED, PARKED = InstallView(1, Secret("s"), None), InstallView(1, Secret("s"), "somebody else may have read it")
URL = "http://10.1.1.1/"

# An install as the view resolves it, and actions that a site may add.
IMAGE = BootAction("install", "installer/vmlinuz", ("installer/initrd.img",), "quiet")
LIVE = BootAction("live", "live/vmlinuz", ("live/a.img", "live/b.img"), "ip=dhcp")
REMOTE = BootAction("remote", "http://mirror/vmlinuz")
NOTHING = BootAction("nothing")
TREE = BootAction(
    "install",
    "distro/el9/vmlinuz",
    ("distro/el9/initrd.img",),
    "inst.ks=@frontend@node/kickstart/@ticket@ inst.repo=@frontend@distro/el9",
)
LIVE_URL = BootAction("live", "live/vmlinuz", (), "root=live:@frontend@live.img")
FLASH, MEMTEST, RESCUE, OS = SHIPPED["pxeflash"], SHIPPED["memtest"], SHIPPED["rescue"], SHIPPED["os"]

INSTALLER = ("installer/vmlinuz", ("installer/initrd.img",))
ARMED_INSTALL = (*INSTALLER, f"quiet bootserver={URL} bootserver.ticket=TICKET", True)
RESCUE_SYSTEM = (*INSTALLER, f"quiet bootserver.rescue bootserver={URL}", False)
TREE_INSTALL = (
    "distro/el9/vmlinuz", ("distro/el9/initrd.img",), f"inst.ks={URL}node/kickstart/TICKET inst.repo={URL}distro/el9", True
)  # fmt: skip
LIVE_SYSTEM = ("live/vmlinuz", ("live/a.img", "live/b.img"), f"ip=dhcp bootserver={URL}", False)

# action,                install, why not resolved,   firmware   what it boots, or the words that the console shows
TABLE = [
    (OS,                  None,   None,               BIOS,      LocalDisk),
    (OS,                  None,   None,               UEFI,      LocalDisk),
    (OS,                  ARMED,  None,               UEFI,      LocalDisk),  # what is left of an install wipes no disk
    (IMAGE,               ARMED,  None,               BIOS,      ARMED_INSTALL),
    (IMAGE,               ARMED,  None,               UEFI,      ARMED_INSTALL),
    (IMAGE,               ARMED,  None,               HTTP,      ARMED_INSTALL),
    (IMAGE,               None,   None,               BIOS,      "is not armed: bootserver pxe set compute-0-0 install"),
    (SHIPPED["install"],  None,   "it has neither",   BIOS,      "action install is not armed: it has neither"),
    (SHIPPED["install"],  ARMED,  "no image 'x'",     UEFI,      "action install: no image 'x'"),
    (IMAGE,               PARKED, None,               BIOS,      "action install is parked: somebody else may have read it"),
    (SHIPPED["install headless"], None, None,         BIOS,      "is not armed: bootserver pxe set compute-0-0 install headless"),
    (RESCUE,              None,   None,               BIOS,      RESCUE_SYSTEM),
    (RESCUE,              ARMED,  None,               BIOS,      RESCUE_SYSTEM),
    (LIVE,                None,   None,               UEFI,      LIVE_SYSTEM),
    (REMOTE,              None,   None,               BIOS,      ("http://mirror/vmlinuz", (), f"bootserver={URL}", False)),
    (MEMTEST,             None,   None,               BIOS,      ("memtest86+x64.bin", (), f"bootserver={URL}", False)),
    (MEMTEST,             None,   None,               UEFI,      EfiApplication("memtest86+x64.efi", "action memtest")),
    (MEMTEST,             None,   None,               HTTP,      EfiApplication("memtest86+x64.efi", "action memtest")),
    (FLASH,               None,   None,               BIOS,      FloppyBoot("pxeflash.img", "bigraw keeppxe", "action pxeflash")),
    (FLASH,               None,   None,               UEFI,      "needs BIOS firmware, and this machine has UEFI"),
    (FLASH,               None,   None,               ARM,       "needs BIOS firmware, and this machine has UEFI"),
    (TREE,                ARMED,  None,               BIOS,      TREE_INSTALL),
    (TREE,                ARMED,  None,               UEFI,      TREE_INSTALL),
    (LIVE_URL,            None,   None,               UEFI,      ("live/vmlinuz", (), f"root=live:{URL}live.img", False)),
    (NOTHING,             None,   None,               BIOS,      "action nothing says nothing to boot"),
]  # fmt: skip


def plan(node: NodeView | None, firmware: Firmware) -> Plan:
    return boot_plan(node, firmware, way=Way(URL), ticket=lambda _: "TICKET")


def node(action: BootAction, install: InstallView | None = None, unresolved: str | None = None) -> NodeView:
    return dataclasses.replace(views.node(action=action), install=install, unresolved=unresolved)


@pytest.mark.parametrize(
    ("action", "install", "unresolved", "firmware", "wanted"),
    TABLE,
    ids=[f"{row[0].name}-{'no install' if row[1] is None else row[1].parked or 'armed'}-{row[3].name}" for row in TABLE],
)
def test_what_a_node_boots(
    action: BootAction, install: InstallView | None, unresolved: str | None, firmware: Firmware, wanted: object
) -> None:
    found = plan(node(action, install, unresolved), firmware)
    match wanted:
        case str():
            assert isinstance(found, Wait) and wanted in found.because
        case (kernel, initrds, args, has_ticket):
            assert found == LinuxBoot(kernel, initrds, args, f"action {action.name}", has_ticket)
        case type():
            assert isinstance(found, wanted)
        case _:
            assert found == wanted


@pytest.mark.parametrize("firmware", Firmware)
def test_a_machine_that_nobody_knows_waits_and_says_how_to_make_it_a_node(firmware: Firmware) -> None:
    found = plan(None, firmware)
    assert isinstance(found, Wait) and "bootserver insert-ethers" in found.because


@pytest.mark.parametrize("firmware", Firmware)
@pytest.mark.parametrize("action", [*SHIPPED.values(), IMAGE, LIVE, REMOTE, NOTHING], ids=lambda action: action.name)
@pytest.mark.parametrize("install", [None, ARMED, PARKED])
def test_a_ticket_stands_only_in_the_menu_of_an_armed_install(
    action: BootAction, install: InstallView | None, firmware: Firmware
) -> None:
    found = plan(node(action, install), firmware)
    has_ticket = "TICKET" in repr(found)
    assert has_ticket == (isinstance(found, LinuxBoot) and found.has_ticket)
    assert not has_ticket or (action.installs and install is ARMED)


def test_only_actions_called_install_install() -> None:
    names = {"install": True, "install headless": True, "installer": False, "reinstall": False, "os": False, "Install": False}
    assert {name: BootAction(name).installs for name in names} == names


# attributes,                                           what the installer is told of them
TOLD = [
    ({"bootflags": "quiet console=tty0 console=ttyS0,115200 x=y"}, "quiet console=tty0 console=ttyS0,115200"),
    ({"on_failure": "shell"},                           "quiet bootserver.on_failure=shell"),
    ({"on_failure": "reboot"},                          "quiet"),
    ({"on_failure": "nonsense of an old dump"},         "quiet"),
]  # fmt: skip


@pytest.mark.parametrize(("attributes", "wanted"), TOLD)
def test_our_installer_is_told_of_the_node_s_console_and_of_failures(attributes: dict[str, str], wanted: str) -> None:
    image = BootAction("install", "installer/vmlinuz", ("installer/initrd.img",))
    found = plan(dataclasses.replace(node(image, ARMED), attributes=attributes), BIOS)
    assert isinstance(found, LinuxBoot) and found.args == f"{wanted} bootserver={URL} bootserver.ticket=TICKET"
    found = plan(dataclasses.replace(node(LIVE), attributes=attributes), BIOS)
    assert isinstance(found, LinuxBoot) and found.args == f"ip=dhcp bootserver={URL}", (
        "a site's own kernel is the site's business"
    )


def test_memtest_writes_to_the_node_s_console_whatever_the_firmware() -> None:
    testing = dataclasses.replace(node(MEMTEST), attributes={"bootflags": "quiet console=ttyS1,115200 x=y"})
    bios, uefi = plan(testing, BIOS), plan(testing, UEFI)
    assert isinstance(bios, LinuxBoot) and bios.args == f"console=ttyS1,115200 bootserver={URL}"
    assert uefi == EfiApplication("memtest86+x64.efi", "action memtest", "console=ttyS1,115200")


def test_a_console_that_the_action_names_is_the_one() -> None:
    image = BootAction("install", "installer/vmlinuz", (), "console=ttyS1")
    found = plan(dataclasses.replace(node(image, ARMED), attributes={"bootflags": "console=ttyS0"}), BIOS)
    assert isinstance(found, LinuxBoot) and "ttyS0" not in found.args and "console=ttyS1" in found.args


def test_an_installer_may_be_told_another_way_to_the_frontend() -> None:
    found = boot_plan(
        node(TREE, ARMED),
        BIOS,
        way=Way(URL, "https://10.1.1.1/"),
        ticket=lambda _: "TICKET",
    )
    assert isinstance(found, LinuxBoot) and "inst.ks=https://10.1.1.1/node/kickstart/TICKET" in found.args


def test_a_machine_on_a_tagged_network_is_told_its_tag_and_no_other_is() -> None:
    image = BootAction("install", "installer/vmlinuz", ("installer/initrd.img",))
    tree = BootAction("install", "debian/linux", (), "url=@frontend@ks/@ticket@ netcfg/vlan_id=@vlan@ vlan=b.@vlan@:b quiet")
    for way, of_ours, of_theirs in (
        (Way(URL, vlan=100), " bootserver.vlan=100", " netcfg/vlan_id=100 vlan=b.100:b"),
        (Way(URL), "", ""),
    ):
        found = boot_plan(node(image, ARMED), BIOS, way=way, ticket=lambda _: "TICKET")
        assert isinstance(found, LinuxBoot)
        assert found.args == f"quiet bootserver={URL}{of_ours} bootserver.ticket=TICKET"
        found = boot_plan(node(tree, ARMED), BIOS, way=way, ticket=lambda _: "TICKET")
        assert isinstance(found, LinuxBoot) and found.args == f"url={URL}ks/TICKET{of_theirs} quiet"


def test_an_installer_writes_to_the_console_of_the_nodes_bootflags() -> None:
    flags = {"bootflags": "console=ttyS0,115200 mitigations=off"}
    found = plan(dataclasses.replace(node(TREE, ARMED), attributes=flags), BIOS)
    assert isinstance(found, LinuxBoot)
    assert "console=ttyS0,115200" in found.args and "mitigations" not in found.args
