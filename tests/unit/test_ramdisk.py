"""What the installer's ramdisk is made of: archives, ELF files, drivers, kernels, each held against the real program."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from bootserver import data
from bootserver.errors import Unavailable
from bootserver.install.ramdisk import firmware
from bootserver.install.ramdisk.architecture import X86_64
from bootserver.install.ramdisk.cpio import Tree
from bootserver.install.ramdisk.elf import NotElf, linking, module_info
from bootserver.install.ramdisk.inputs import Inputs
from bootserver.install.ramdisk.kernel import choose_kernel
from bootserver.install.ramdisk.modules import ListError, ModuleTree, aliases, buses, dependencies, read_list, select
from bootserver.install.ramdisk.programs import PROGRAMS, Collector

DEBIAN = """\
Package: linux-image-amd64
Version: 6.1.192-2
Depends: linux-image-6.1.0-56-amd64 (= 6.1.192-2)
Description: Linux for 64-bit PCs (meta-package)

Package: linux-image-6.1.0-56-amd64
Version: 6.1.192-2
Depends: kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120+deb8u2) | linux-initramfs-tool
"""
UBUNTU = """\
Package: linux-image-generic
Version: 6.8.0-45.45
Depends: linux-image-6.8.0-45-generic, linux-modules-extra-6.8.0-45-generic, linux-firmware, intel-microcode

Package: linux-image-6.8.0-45-generic
Version: 6.8.0-45.45
Depends: kmod, linux-base (>= 4.5ubuntu1~16.04.1), linux-modules-6.8.0-45-generic

Package: linux-modules-6.8.0-45-generic
Version: 6.8.0-45.45

Package: linux-modules-extra-6.8.0-45-generic
Version: 6.8.0-45.45
Depends: linux-modules-6.8.0-45-generic
"""


# -- the archive -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("cpio") is None, reason="needs cpio")
def test_cpio_reads_what_we_write() -> None:
    tree = Tree()
    tree.merge_usr()
    tree.file("/sbin/odd", b"12345", 0o755)
    tree.link("/etc/mtab", "/proc/mounts")
    tree.character_device("/dev/console", 5, 1, 0o600)
    tree.folder("/tmp", 0o1777)
    archive = tree.archive()

    listed = subprocess.run(["cpio", "-itnv", "--quiet"], input=archive, capture_output=True, check=True).stdout.decode()

    rows = {row.split(None, 8)[8]: row.split() for row in listed.splitlines() if row.split()[4] != "5,"}
    assert rows["usr/sbin/odd"][0] == "-rwxr-xr-x"
    assert rows["usr/sbin/odd"][4] == "5"
    assert rows["etc/mtab -> /proc/mounts"][0] == "lrwxrwxrwx"
    assert rows["sbin -> usr/sbin"][0] == "lrwxrwxrwx"
    assert rows["tmp"][0] == "drwxrwxrwt"
    assert {(row[2], row[3]) for row in rows.values()} == {("0", "0")}, "all of it is root's"
    [console] = [row.split() for row in listed.splitlines() if row.endswith("dev/console")]
    assert (console[0], console[4:6]) == ("crw-------", ["5,", "1"])
    assert len(archive) % 512 == 0


def test_an_archive_is_the_same_whatever_the_order_was() -> None:
    one, other = Tree(), Tree()
    for tree, names in ((one, ("/a/b", "/a/c", "/b")), (other, ("/b", "/a/c", "/a/b"))):
        for name in names:
            tree.file(name, name.encode())
    assert one.archive() == other.archive()


def test_a_path_has_one_name_in_an_archive() -> None:
    tree = Tree()
    tree.file("/lib/x", b"old")
    tree.file("/usr/lib/x", b"new")
    assert "/lib/x" in tree
    assert tree.size == 3
    assert b"old" not in tree.archive()


# -- programs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [program.name for program in PROGRAMS])
def test_a_program_comes_with_the_libraries_that_ldd_names(name: str) -> None:
    path = shutil.which(name)
    if path is None or shutil.which("ldd") is None:
        pytest.skip(f"needs {name} and ldd")
    named = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    wanted = {Path(line.split()[0]).name for line in named.splitlines() if "linux-vdso" not in line}

    tree = Tree()
    Collector(X86_64, Inputs())._add(tree, f"/usr/sbin/{name}", Path(path))

    assert {Path(each).name for each in tree._entries if ".so" in each} == wanted


def test_a_program_of_another_machine_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "rsync"
    content = bytearray(elf({}))
    content[18:20] = (183).to_bytes(2, "little")  # AArch64
    program.write_bytes(content)
    with pytest.raises(Unavailable, match="rsync is no program for x86_64"):
        Collector(X86_64, Inputs())._add(Tree(), "/usr/sbin/rsync", program)


def test_a_damaged_program_is_no_traceback() -> None:
    whole = Path(os.path.realpath("/bin/sh")).read_bytes()
    assert linking(whole).needed
    for length in (*range(0, 600, 7), len(whole) // 2, len(whole) - 40):
        try:
            linking(whole[:length])
        except NotElf:
            continue
        assert length > 64, "a header alone is no program"


# -- drivers -----------------------------------------------------------------------------------------------------


def test_the_list_that_comes_with_us_is_in_order() -> None:
    wanted = read_list((data.folder("installer") / "modules").read_text())
    names = [*wanted.ready, *wanted.packed]
    assert "virtio_net" in wanted.ready
    assert {"ahci", "nvme", "megaraid_sas", "mpt3sas", "e1000e", "mlx5_core", "tg3", "xfs", "raid1"} <= set(wanted.packed)
    assert len(names) == len(set(names)), "a name stands in it twice"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("ahci\n", "list:1: one module a line, below"),
        ("[ready]\n\nahci nvme\n", "list:3: one module a line"),
        ("[ready]\n[later]\n", r"list:2: \[later\] is no section; there are \[ready\] and \[packed\]"),
        ("[ready\n", r"list:1: \[ready is no section"),
    ],
)
def test_what_is_wrong_in_a_list_is_said_with_its_line(text: str, what: str) -> None:
    with pytest.raises(ListError, match=what):
        read_list(text, "list")


def test_a_driver_comes_with_all_that_it_needs(tmp_path: Path) -> None:
    tree = modules(
        tmp_path,
        {
            "virtio_net": {"depends": ["net-failover,virtio"], "alias": ["virtio:d00000001v*"]},
            "net_failover": {"depends": ["failover"]},
            "failover": {},
            "virtio": {},
            "virtio_blk": {"depends": ["virtio"]},
            "e1000": {"alias": ["pci:v00008086d0000100Esv*sd*bc*sc*i*"]},
            "unwanted": {},
        },
        builtin=["kernel/drivers/rtc/rtc-cmos.ko"],
    )
    wanted = read_list("[ready]\nvirtio-net # dashes are underscores\n[packed]\nvirtio_b*\ne1000\nrtc_cmos\nno-such\n")

    chosen = select(wanted, tree)

    assert set(chosen.modules) == {"virtio_net", "net_failover", "failover", "virtio", "virtio_blk", "e1000"}
    assert chosen.ready == {"virtio_net", "net_failover", "failover", "virtio"}
    assert chosen.missing == ("no_such",), "what is built in is not missing"
    needed = dict(line.split(":") for line in dependencies(chosen.modules, {name: name for name in chosen.modules}).splitlines())
    order = needed["virtio_net"].split()
    assert set(order) == {"net_failover", "failover", "virtio"}
    assert order.index("failover") > order.index("net_failover"), "modprobe loads the last one first"
    assert needed["e1000"] == ""
    assert "alias virtio:d00000001v* virtio_net\n" in aliases(chosen.modules)
    assert buses(chosen.modules) == "pci|virtio"


def test_what_a_driver_prefers_comes_first_and_leads_in_no_circle(tmp_path: Path) -> None:
    tree = modules(tmp_path, {"r8169": {"softdep": ["pre: realtek crc32c"]}, "realtek": {"softdep": ["pre: r8169"]}})
    chosen = select(read_list("[packed]\nr8169\n"), tree)
    assert dependencies(chosen.modules, {"r8169": "a.ko", "realtek": "b.ko"}) == "a.ko: b.ko\nb.ko: a.ko\n"


@pytest.mark.parametrize("packer", ["xz", "gzip", "zstd"])
def test_a_distribution_may_pack_its_drivers(packer: str, tmp_path: Path) -> None:
    if shutil.which(packer) is None:
        pytest.skip(f"needs {packer}")
    plain = elf({"alias": ["pci:v1d2"]})
    (tmp_path / "kernel").mkdir()
    packed = subprocess.run([packer, "-c"], input=plain, capture_output=True, check=True).stdout
    (tmp_path / "kernel" / f"nvme.ko.{ {'gzip': 'gz', 'zstd': 'zst'}.get(packer, packer) }").write_bytes(packed)
    module = ModuleTree(tmp_path, Inputs()).read("nvme")
    assert module.content == plain
    assert module.aliases == ("pci:v1d2",)


def test_firmware_is_taken_where_the_frontend_has_it(tmp_path: Path) -> None:
    for name in ("tigon/tg3.bin", "bnx2/x.fw.xz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path.parent / "secret").write_text("not a firmware")

    found, missing = firmware.find(["bnx2/x.fw", "tigon/tg3.bin", "no/such", "../secret"], Inputs(), [tmp_path])

    assert found == {"bnx2/x.fw.xz": b"bnx2/x.fw.xz", "tigon/tg3.bin": b"tigon/tg3.bin"}
    assert missing == ("no/such",)


# -- the kernel --------------------------------------------------------------------------------------------------


def test_the_newest_full_kernel_of_the_distribution_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("6.1.0-9-amd64", "6.1.0-10-amd64", "6.1.0-11-cloud-amd64", "6.1.0-12-rt-amd64", "7.0.0-mine"):
        installed(tmp_path, version)
    (tmp_path / "boot" / "vmlinuz-9.0.0-1-amd64").write_bytes(b"without modules")
    program(tmp_path / "bin" / "dpkg-query", 'case $2 in *-mine) exit 1 ;; esac; [ "$1" = -S ]')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    chosen = choose_kernel(X86_64, tmp_path / "cache", tmp_path)

    assert chosen.origin == "installed 6.1.0-10-amd64"
    kernel = chosen.obtain(tmp_path / "cache", print)
    assert kernel.modules == tmp_path / "lib" / "modules" / "6.1.0-10-amd64"


@pytest.mark.parametrize(
    ("distribution", "known", "packages"),
    [
        ("debian", DEBIAN, ["linux-image-6.1.0-56-amd64=6.1.192-2"]),
        (
            "ubuntu",
            UBUNTU,
            [
                "linux-image-6.8.0-45-generic=6.8.0-45.45",
                "linux-modules-extra-6.8.0-45-generic=6.8.0-45.45",
                "linux-modules-6.8.0-45-generic=6.8.0-45.45",
            ],
        ),
    ],
)
def test_without_a_kernel_here_the_newest_packages_are_found(
    distribution: str, known: str, packages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frontend(tmp_path, monkeypatch, distribution, known)
    assert list(choose_kernel(X86_64, tmp_path / "cache", tmp_path).packages) == packages


def test_a_kernel_that_can_not_be_fetched_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frontend(tmp_path, monkeypatch, "debian", DEBIAN)
    program(tmp_path / "bin" / "apt-get", "echo 'E: the mirror is away' >&2; exit 100")
    cache = tmp_path / "cache"
    with pytest.raises(Unavailable, match=r"the mirror is away.*apt-get install linux-image-6.1.0-56-amd64"):
        choose_kernel(X86_64, cache, tmp_path).obtain(cache, lambda _: None)
    assert list(cache.iterdir()) == [], "nothing half made is left"


def test_without_apt_a_kernel_that_was_fetched_before_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frontend(tmp_path, monkeypatch, "debian", "")
    cache = tmp_path / "cache"
    with pytest.raises(Unavailable, match="apt knows no linux-image-amd64: apt-get update"):
        choose_kernel(X86_64, cache, tmp_path)
    for version in ("6.1.0-9-amd64", "6.1.0-10-amd64"):
        installed(cache / f"linux-image-{version}=6.1.1-1", version)
    chosen = choose_kernel(X86_64, cache, tmp_path)
    assert chosen.obtain(cache, print).version == "6.1.0-10-amd64"


def test_a_frontend_of_another_family_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "os-release").write_text('ID="rocky"\nID_LIKE="rhel centos fedora"\n')
    with pytest.raises(Unavailable, match=r"install one.*and this is rocky"):
        choose_kernel(X86_64, tmp_path / "cache", tmp_path)


# -- parts to test with ------------------------------------------------------------------------------------------


def elf(info: Mapping[str, Sequence[str]]) -> bytes:
    """A kernel module with nothing but its ``.modinfo``."""
    section = b"".join(f"{key}={value}".encode() + b"\0" for key, values in info.items() for value in values)
    names = b"\0.modinfo\0.shstrtab\0"
    header = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, 64 + len(section) + len(names), 0, 64, 0, 0, 64, 3, 2)
    )
    table = bytes(64)
    table += struct.pack("<IIQQQQIIQQ", 1, 1, 0, 0, 64, len(section), 0, 0, 1, 0)
    table += struct.pack("<IIQQQQIIQQ", 10, 3, 0, 0, 64 + len(section), len(names), 0, 0, 1, 0)
    module = header + section + names + table
    assert module_info(module) == {key: list(values) for key, values in info.items()}
    return module


def modules(folder: Path, infos: Mapping[str, Mapping[str, Sequence[str]]], builtin: Sequence[str] = ()) -> ModuleTree:
    for name, info in infos.items():
        path = folder / "kernel" / "drivers" / f"{name}.ko"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(elf(info))
    (folder / "modules.builtin").write_text("\n".join(builtin) + "\n")
    return ModuleTree(folder, Inputs())


def installed(root: Path, version: str) -> None:
    """A kernel as its package leaves it."""
    (root / "lib" / "modules" / version / "kernel").mkdir(parents=True)
    (root / "boot").mkdir(exist_ok=True)
    (root / "boot" / f"vmlinuz-{version}").write_bytes(b"kernel " + version.encode())


def frontend(root: Path, monkeypatch: pytest.MonkeyPatch, distribution: str, known: str) -> None:
    """A distribution of which apt knows these packages, and no more."""
    (root / "etc").mkdir()
    (root / "etc" / "os-release").write_text(f"NAME=x\nID={distribution}\n")
    (root / "known").write_text(known)
    show = 'for name in "$@"; do awk -v RS= -v ORS="\\n\\n" -v line="Package: $name" \'index($0 "\\n", line "\\n") == 1\' '
    program(root / "bin" / "apt-cache", f'[ "$1" = show ] || exit 1; shift 2; {show} {root / "known"}; done')
    monkeypatch.setenv("PATH", f"{root / 'bin'}:{os.environ['PATH']}")


def program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
