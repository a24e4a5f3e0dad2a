"""The story of one boot, as ``bootserver trace`` tells it: what comes next for each firmware, and where it stops."""

from __future__ import annotations

import pytest

from bootserver.cluster.events import Event, Kind
from bootserver.doctor.tracing import Boots, Line, Stage, Trace
from tests.administrator import Administrator
from tests.cluster import mac

BEGAN = 1_000_000.0
BIOS = {"firmware": "BIOS", "file": "pxelinux.0", "address": "10.1.0.2"}
UEFI = {"firmware": "UEFI_X64", "file": "shimx64.efi", "address": "10.1.0.2"}
UEFI_HTTP = {"firmware": "UEFI_X64_HTTP", "file": "http://10.1.1.1/grubnetx64.efi", "address": "10.1.0.2"}
IPXE = {"firmware": "BIOS", "file": "http://10.1.1.1/ipxe/pcbios/01-52", "address": "10.1.0.2", "ipxe": True}

Step = tuple[float, Kind, dict[str, object]]


def trace(boots: Boots = Boots.INSTALLER) -> Trace:
    return Trace(lambda event: str(event.detail.get("path", "")), lambda: boots, BEGAN)


def follow(steps: list[Step], *, boots: Boots = Boots.INSTALLER) -> tuple[Trace, list[Line]]:
    """The lines that these events make, with a look at the clock ten times a second."""
    state, lines, now = trace(boots), [], BEGAN
    for at, kind, detail in steps:
        while now < BEGAN + at:
            lines += state.tick(now)
            now += 0.1
        lines += state.feed(Event(kind, BEGAN + at, "compute-0-0", mac(1), detail))  # type: ignore[arg-type]
    return state, lines


def after(steps: list[Step], seconds: float, *, boots: Boots = Boots.INSTALLER) -> str:
    """What is said when nothing more comes."""
    state, _ = follow(steps, boots=boots)
    last = BEGAN + (steps[-1][0] if steps else 0.0)
    assert not list(state.tick(last + seconds - 1)), "too early"
    lines = list(state.tick(last + seconds + 0.5))
    assert not list(state.tick(last + seconds + 60)), "it is said once"
    [line] = lines or [Line(0, "")]
    assert line.trouble or not line.text
    return line.text


OFFERED: Step = (1.0, Kind.OFFERED, BIOS)
HAS_ADDRESS: list[Step] = [OFFERED, (2.0, Kind.ACKNOWLEDGED, BIOS)]
UEFI_ADDRESS: list[Step] = [(1.0, Kind.OFFERED, UEFI), (2.0, Kind.ACKNOWLEDGED, UEFI)]
LOADED: list[Step] = [
    *HAS_ADDRESS,
    (2.5, Kind.LOADER_SENT, {"path": "pxelinux.0"}),
    (2.8, Kind.LOADER_SENT, {"path": "ldlinux.c32"}),
]
MENU: list[Step] = [*LOADED, (3.0, Kind.MENU_SENT, {"path": "pxelinux.cfg/0A010002"})]
STARTED: list[Step] = [*MENU, (4.0, Kind.KERNEL_SENT, {"path": "vmlinuz"}), (5.0, Kind.RAMDISK_SENT, {"path": "initrd.img"})]
INSTALLING: list[Step] = [*STARTED, (20.0, Kind.EXCHANGED, {}), (30.0, Kind.PHASE, {"phase": "sync"})]
INSTALLED: list[Step] = [*INSTALLING, (60.0, Kind.INSTALLED, {})]


@pytest.mark.parametrize(
    ("steps", "seconds", "words"),
    [
        ([], 30, ["no sign of it", "netw", "cable"]),
        ([(1.0, Kind.SEEN, {})], 10, ["no offer", "insert-ethers"]),
        ([OFFERED], 10, ["no request for the address", "another DHCP server", "portfast"]),
        (HAS_ADDRESS, 10, ["no TFTP request for pxelinux.0 for 10 s", "firewall", "other DHCP server"]),
        ([(1.0, Kind.ACKNOWLEDGED, UEFI_HTTP)], 10, ["no HTTP request for http://10.1.1.1/grubnetx64.efi", "port 80"]),
        ([(1.0, Kind.ACKNOWLEDGED, {"firmware": "UEFI_X64"})], 10, ["no boot file", "loader is missing"]),
        ([*UEFI_ADDRESS, (3.0, Kind.LOADER_SENT, {"path": "shimx64.efi"})], 15, ["grubx64.efi", "Secure Boot"]),
        ([*HAS_ADDRESS, (3.0, Kind.LOADER_SENT, {"path": "pxelinux.0"})], 15, ["ldlinux.c32", "loader ipxe"]),
        ([*HAS_ADDRESS, (3.0, Kind.LOADER_SENT, {"path": "undionly.kpxe"})], 30, ["request of iPXE", "driver"]),
        (LOADED, 20, ["request for a menu"]),
        (MENU, 20, ["kernel", "HTTP", "firewall"]),
        (STARTED, 180, ["no sign of the installer", "driver", "memory"]),
        (INSTALLING, 600, ["no news of the install"]),
        (INSTALLED, 600, ["boot order"]),
    ],
)
def test_a_silence_is_explained_by_what_should_come_next(steps: list[Step], seconds: float, words: list[str]) -> None:
    said = after(steps, seconds)
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("steps", "boots"),
    [
        ([(1.0, Kind.ACKNOWLEDGED, {"address": "10.1.0.2"})], Boots.LOCAL_DISK),  # an installed system renews its address
        (STARTED, Boots.OTHER),  # a memory test tells nothing
        (MENU, Boots.NOTHING),  # it waits, which was said
    ],
)
def test_where_nothing_must_come_a_silence_is_no_trouble(steps: list[Step], boots: Boots) -> None:
    assert after(steps, 3600, boots=boots) == ""


def test_seconds_count_from_the_first_sign_of_a_boot() -> None:
    _, lines = follow(STARTED)
    assert [line.seconds for line in lines] == pytest.approx([0.0, 1.0, 1.5, 1.8, 2.0, 3.0, 4.0], abs=1e-6)
    assert not any(line.trouble for line in lines)
    assert lines[-1].text == "ramdisk sent: initrd.img"


def test_an_install_ends_when_the_installed_system_is_up() -> None:
    again: list[Step] = [(70.0, Kind.OFFERED, BIOS), (71.0, Kind.ACKNOWLEDGED, BIOS), (75.0, Kind.UP, {})]
    state, lines = follow([*INSTALLED, *again])
    assert state.ended and state.arrived
    assert [line.text for line in lines if "again" in line.text] == ["it boots again"]
    assert lines[-1] == Line(5.0, "up")
    assert not any(line.trouble for line in lines)


def test_a_node_that_boots_its_disk_is_followed_to_its_menu() -> None:
    state, lines = follow(MENU, boots=Boots.LOCAL_DISK)
    assert state.arrived
    assert "local disk" in lines[-1].text


def test_a_stub_that_says_where_the_menu_is_does_not_end_it() -> None:
    steps: list[Step] = [*UEFI_ADDRESS, (3.0, Kind.MENU_SENT, {"path": "grub/grub.cfg"})]
    state, _ = follow(steps, boots=Boots.LOCAL_DISK)
    assert not state.ended
    path = "grub/x86_64-efi/grub.cfg-01-52-54-00-00-00-01"
    assert any(
        "local disk" in line.text for line in state.feed(Event(Kind.MENU_SENT, BEGAN + 4, "compute-0-0", None, {"path": path}))
    )
    assert state.arrived


def test_an_installers_own_request_for_an_address_is_no_new_boot() -> None:
    state, lines = follow(
        [*STARTED, (15.0, Kind.OFFERED, {"address": "10.1.0.2"}), (15.1, Kind.ACKNOWLEDGED, {"address": "10.1.0.2"})]
    )
    assert state.stage is Stage.KERNEL
    assert lines[-1].seconds == pytest.approx(14.1)


def test_ipxe_asks_for_an_address_of_its_own_and_goes_on() -> None:
    steps: list[Step] = [
        *HAS_ADDRESS,
        (3.0, Kind.LOADER_SENT, {"path": "undionly.kpxe"}),
        (4.0, Kind.OFFERED, IPXE),
        (5.0, Kind.ACKNOWLEDGED, IPXE),
    ]
    state, lines = follow(steps)
    assert state.stage is Stage.LOADER
    assert not any("again" in line.text for line in lines)


def test_a_machine_that_begins_anew_after_its_loader_is_told_of_with_the_reason() -> None:
    steps: list[Step] = [*UEFI_ADDRESS, (3.0, Kind.LOADER_SENT, {"path": "shimx64.efi"}), (9.0, Kind.OFFERED, UEFI)]
    _, lines = follow(steps)
    [anew] = [line for line in lines if "begins anew" in line.text]
    assert anew.trouble and "Secure Boot" in anew.text
    assert lines[-1].seconds == 0.0


def test_what_comes_late_is_marked() -> None:
    state, lines = follow([*HAS_ADDRESS, (20.0, Kind.LOADER_SENT, {"path": "pxelinux.0"})])
    assert [line.trouble for line in lines] == [False, False, True, False]
    assert lines[-1].text.endswith("at last")
    assert state.stage is Stage.LOADER


def test_an_unknown_machine_is_told_how_to_become_a_node() -> None:
    state, lines = follow([(1.0, Kind.IGNORED, {"because": "unknown, and no discovery is open"})])
    assert lines[0].trouble and "insert-ethers" in lines[-1].text
    assert not state.ended


def test_a_failed_install_ends_it_without_having_arrived() -> None:
    state, lines = follow([*INSTALLING, (40.0, Kind.FAILED, {"why": "no disk"})])
    assert state.ended and not state.arrived
    assert lines[-1].trouble


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def administrator(tmp_path, template) -> Administrator:
    return Administrator(tmp_path, template)


def test_a_machine_that_nobody_knows_may_be_traced_and_a_name_must_be_a_nodes(administrator: Administrator) -> None:
    result = administrator.run("trace", "52:54:00:00:00:99", "--timeout", "0")
    assert result.exit_code == 1
    assert "silent" in result.stdout and "cable" in result.stdout
    assert "no" in administrator.fails("trace", "compute-9-9")


def test_what_was_told_of_a_machine_just_before_is_shown(administrator: Administrator) -> None:
    import time

    administrator.happened(Event(Kind.IGNORED, time.time(), None, mac(7), {"because": "unknown, and no discovery is open"}))
    result = administrator.run("trace", str(mac(7)), "--timeout", "0")
    assert "(before) ignored: unknown, and no discovery is open" in result.stdout
