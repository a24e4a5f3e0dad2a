"""Which loader a machine gets, and how loaders come to lie below tftpboot."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bootserver.netboot import loaders, placing
from bootserver.netboot.loaders import GRUB_IMAGES, LOADERS, NoLoader, boot_file
from bootserver.values.firmware import Firmware
from bootserver.values.mac import MacAddress

MAC = MacAddress.parse("52:54:00:00:00:01")
FRONTEND = IPv4Address("10.1.1.1")


def choose(loader: str | None, firmware: Firmware, *, ipxe: bool = False, **changed: object) -> str:
    facts: dict[str, object] = {"mac": MAC, "is_ipxe": ipxe, "ipxe_http": True, "frontend": FRONTEND}
    return boot_file({} if loader is None else {"loader": loader}, firmware, **(facts | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("loader", "firmware", "ipxe", "chosen"),
    [
        (None, Firmware.BIOS, False, "pxelinux.0"),
        ("auto", Firmware.BIOS, False, "pxelinux.0"),
        ("pxelinux", Firmware.BIOS, False, "pxelinux.0"),
        ("ipxe", Firmware.BIOS, False, "undionly.kpxe"),
        ("grub", Firmware.BIOS, False, "grubpc.0"),
        (None, Firmware.UEFI_X64, False, "shimx64.efi"),
        ("grub", Firmware.UEFI_X64, False, "shimx64.efi"),
        ("ipxe", Firmware.UEFI_X64, False, "snponly.efi"),
        (None, Firmware.UEFI_IA32, False, "grubia32.efi"),
        (None, Firmware.UEFI_ARM64, False, "grubaa64.efi"),
        (None, Firmware.UEFI_X64_HTTP, False, "http://10.1.1.1/grubnetx64.efi"),
        ("ipxe", Firmware.UEFI_X64_HTTP, False, "http://10.1.1.1/ipxe.efi"),
        # iPXE goes on with its script, whether it was asked for or is in the card's ROM ...
        (None, Firmware.BIOS, True, "http://10.1.1.1/ipxe/pcbios/01-52-54-00-00-00-01"),
        ("ipxe", Firmware.BIOS, True, "http://10.1.1.1/ipxe/pcbios/01-52-54-00-00-00-01"),
        ("ipxe", Firmware.UEFI_X64, True, "http://10.1.1.1/ipxe/efi/01-52-54-00-00-00-01"),
        (None, Firmware.UEFI_IA32, True, "http://10.1.1.1/ipxe/efi-i386/01-52-54-00-00-00-01"),
        (None, Firmware.UEFI_ARM64, True, "http://10.1.1.1/ipxe/efi-arm64/01-52-54-00-00-00-01"),
        # ... unless it is told to be a mere PXE stack.
        ("pxelinux", Firmware.BIOS, True, "pxelinux.0"),
        ("grub", Firmware.UEFI_X64, True, "shimx64.efi"),
    ],
)
def test_each_firmware_gets_the_loader_that_it_can_start(loader: str | None, firmware: Firmware, ipxe: bool, chosen: str):
    assert choose(loader, firmware, ipxe=ipxe) == chosen


@pytest.mark.parametrize(
    ("changed", "chosen"),
    [
        ({"http_port": 8080}, "http://10.1.1.1:8080/ipxe/efi/01-52-54-00-00-00-01"),
        ({"by_http": False}, "tftp://10.1.1.1/ipxe/efi/tftp/01-52-54-00-00-00-01"),
        ({"ipxe_http": False}, "tftp://10.1.1.1/ipxe/efi/tftp/01-52-54-00-00-00-01"),
    ],
)
def test_ipxe_fetches_its_script_by_http_where_both_sides_can(changed: dict[str, object], chosen: str):
    assert choose(None, Firmware.UEFI_X64, ipxe=True, **changed) == chosen


def test_http_boot_gets_a_url_even_where_boot_files_go_by_tftp():
    assert choose(None, Firmware.UEFI_X64_HTTP, by_http=False, http_port=81) == "http://10.1.1.1:81/grubnetx64.efi"


@pytest.mark.parametrize(
    ("loader", "firmware", "says"),
    [
        ("lilo", Firmware.BIOS, "allowed are auto, pxelinux, grub, ipxe"),
        ("pxelinux", Firmware.UEFI_X64, "no loader pxelinux for UEFI_X64"),
        ("ipxe", Firmware.UEFI_IA32, "no loader ipxe for UEFI_IA32"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(loader: str, firmware: Firmware, says: str):
    with pytest.raises(NoLoader, match=says):
        choose(loader, firmware)


def test_a_loader_that_was_not_supplied_is_refused_with_its_package():
    assert choose(None, Firmware.BIOS, supplied={"pxelinux.0"}) == "pxelinux.0"
    with pytest.raises(NoLoader, match="grub-efi-arm64-signed"):
        choose(None, Firmware.UEFI_ARM64, supplied={"pxelinux.0"})


def test_every_loader_that_is_ever_chosen_is_one_that_we_place():
    assert set(loaders._FILES.values()) <= {entry.name for entry in (*LOADERS, *GRUB_IMAGES)}


# ---- placing ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution of two loaders, one of them not installed, and no GRUB."""
    there = tmp_path / "usr" / "pxelinux.0"
    there.parent.mkdir()
    there.write_bytes(b"one")
    entries = (
        loaders.LoaderFile("pxelinux.0", "pxelinux", (str(tmp_path / "nowhere"), str(there))),
        loaders.LoaderFile("sub/ipxe.efi", "ipxe", (str(tmp_path / "absent.efi"),)),
        loaders.LoaderFile("grubaa64.efi", "grub-efi-arm64-signed", (str(tmp_path / "absent"),), optional=True),
    )
    monkeypatch.setattr(placing, "LOADERS", entries)
    monkeypatch.setattr(
        placing, "GRUB_MODULES", loaders.LoaderFile("grub/x86_64-efi", "grub-efi-amd64-bin", (str(tmp_path / "no"),))
    )
    monkeypatch.setattr(placing, "MKIMAGES", (str(tmp_path / "no-grub-mkimage"),))
    return there


def test_loaders_are_copied_and_what_is_missing_is_named_with_its_package(tmp_path: Path, packages: Path):
    root = tmp_path / "tftpboot"
    report = placing.place_loaders(root)
    assert report.placed == ["pxelinux.0"]
    assert (root / "pxelinux.0").read_bytes() == b"one"
    assert (root / "pxelinux.0").stat().st_mode & 0o777 == 0o644
    assert report.packages == ["grub-common", "grub-efi-amd64-bin", "ipxe"]
    assert str(report.missing[0]).endswith("absent.efi; install ipxe")


def test_placing_again_changes_nothing_and_follows_the_package(tmp_path: Path, packages: Path):
    root = tmp_path / "tftpboot"
    placing.place_loaders(root)
    before = (root / "pxelinux.0").stat()
    again = placing.place_loaders(root)
    assert (again.placed, again.up_to_date) == ([], ["pxelinux.0"])
    assert (root / "pxelinux.0").stat().st_mtime_ns == before.st_mtime_ns
    packages.write_bytes(b"two")
    assert placing.place_loaders(root).placed == ["pxelinux.0"]
    assert (root / "pxelinux.0").read_bytes() == b"two"


def test_a_sites_own_files_stay_and_may_stand_in_for_a_package(tmp_path: Path, packages: Path):
    root = tmp_path / "tftpboot"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "ipxe.efi").write_bytes(b"ours")
    (root / "notes").write_bytes(b"keep")
    report = placing.place_loaders(root)
    assert "ipxe" not in report.packages
    assert (root / "sub" / "ipxe.efi").read_bytes() == b"ours"
    assert sorted(path.name for path in root.iterdir()) == ["notes", "pxelinux.0", "sub"]


def test_a_link_is_replaced_by_a_copy_since_no_link_is_served(tmp_path: Path, packages: Path):
    root = tmp_path / "tftpboot"
    root.mkdir()
    (root / "pxelinux.0").symlink_to(packages)
    placing.place_loaders(root)
    assert not (root / "pxelinux.0").is_symlink()
    assert packages.read_bytes() == b"one"


@pytest.mark.parametrize("image", GRUB_IMAGES, ids=lambda image: image.name)
def test_grub_images_are_the_same_bytes_each_time(image: loaders.GrubImage):
    if not Path("/usr/lib/grub", image.format.removesuffix("-pxe")).is_dir():
        pytest.skip(f"{image.package} is not installed")
    assert placing.make_image(image) == placing.make_image(image)
