"""A real image from real packages: created, found wanting, mended. Made once, and again when what makes it was altered."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bootserver.cluster.change import open_change
from bootserver.db.rows import ImageRow
from bootserver.images import confined
from bootserver.images.store import ImageStore
from bootserver.tree.facts import gather
from tests import trees
from tests.administrator import Administrator
from tests.lab.cache import cached, fingerprint
from tests.lab.process import REPOSITORY

NEEDS = {"mmdebstrap": "mmdebstrap", "cpio": "cpio", **{name: name for name in ("apt-get", "rsync")}}
PACKAGES = "# what the test wants\nrsync\ninitramfs-tools  # for the kernel\n"
PREPARE = """\
#!/bin/sh
set -e
echo "prepared in $(. /etc/os-release; echo $ID)" > /etc/site
/usr/sbin/policy-rc.d ssh start && exit 1
echo "policy $?" >> /etc/site
echo root:secret | chpasswd
"""
SOURCES = ("creating", "mending", "chroot", "confined", "program", "bootable", "identity", "store", "apt", "frontend_apt")


def _what_is_missing() -> str | None:
    if (missing := trees.what_is_missing()) is not None:
        return missing
    packages = sorted(package for program, package in NEEDS.items() if not shutil.which(program))
    return f"needs: apt-get install {' '.join(packages)}" if packages else None


pytestmark = [
    pytest.mark.skipif(bool(_what_is_missing()), reason=str(_what_is_missing())),
    pytest.mark.timeout(900),  # the first time; half a minute of it is the network's
]


def _make(folder: Path) -> None:
    """An administrator creates a small image, clones it, breaks the clone's initrd and has it mended."""
    admin = Administrator(folder)
    (folder / "packages").write_text(PACKAGES)
    (folder / "prepare").write_text(PREPARE)
    options = ["--distribution", "debian-12", "--only", "--packages", str(folder / "packages")]
    options += ["--kernel", "linux-image-cloud-amd64", "--prepare", str(folder / "prepare")]
    said = {"create": admin.run("image", "create", "small", *options).output}
    said["clone"] = admin.run("image", "clone", "small", "mended").output
    tree = ImageStore(folder).tree("mended")
    ramdisk = gather(tree).kernels[0].ramdisk
    assert ramdisk is not None
    (tree / ramdisk.lstrip("/")).write_bytes(
        subprocess.run(["cpio", "-o", "-H", "newc"], input=b"", capture_output=True, check=True).stdout
    )
    (tree / "etc/initramfs-tools/conf.d/site").write_text("MODULES=dep\n")
    said["check"] = admin.run("image", "check", "mended").output
    said["mend"] = admin.run("image", "check", "mended", "--mend").output
    (folder / "said.json").write_text(json.dumps(said))


@pytest.fixture(scope="module")
def state() -> Path:
    inputs = [REPOSITORY / f"bootserver/images/{name}.py" for name in SOURCES]
    return cached(f"image-create-{fingerprint(Path(__file__), *inputs)}", _make)


@pytest.fixture(scope="module")
def said(state: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((state / "said.json").read_text())
    return found


@pytest.fixture(scope="module")
def small(state: Path) -> Path:
    return ImageStore(state).tree("small")


@pytest.fixture(scope="module")
def mended(state: Path) -> Path:
    return ImageStore(state).tree("mended")


def test_it_is_described_as_what_it_is(state: Path, said: dict[str, str]) -> None:
    described = ImageStore(state).describe("small")
    assert (described.distribution, described.architecture) == ("debian-12", "amd64")
    assert described.title == "Debian GNU/Linux 12 (bookworm)"
    assert described.kernel is not None
    assert "cloud-amd64" in described.kernel
    assert described.source == "created with mmdebstrap from bookworm"
    assert "Created small: Debian GNU/Linux 12 (bookworm), " in said["create"]


def test_progress_was_told_in_steps(said: dict[str, str]) -> None:
    lines = [line for line in said["create"].splitlines() if line.startswith("image small: ")]
    assert [line for line in lines if "fetching" in line]
    assert [line for line in lines if "unpacking the base system" in line]
    assert [line for line in lines if "installing" in line and line.endswith("%")]


def test_what_it_lacks_was_said_at_once(said: dict[str, str]) -> None:
    assert "Image small can't boot:\n" in said["create"]
    assert "it has no boot loader: there is no grub-install" in said["create"]
    assert "`bootserver image check small --mend` mends that" in said["create"]
    assert "made for one machine" not in said["create"], "the initrd was built with all drivers"


def test_the_packages_of_the_list_are_in_it_and_no_package_lists_are(small: Path) -> None:
    assert (small / "usr/bin/rsync").is_file()
    assert (small / "etc/initramfs-tools/conf.d/bootserver").read_text().endswith("MODULES=most\n")
    assert [path.name for path in (small / "var/cache/apt/archives").glob("*.deb")] == []
    assert [path.name for path in (small / "var/lib/apt/lists").iterdir() if path.is_file() and path.name != "lock"] == []


def test_it_is_nobody_in_particular(small: Path) -> None:
    assert (small / "etc/machine-id").read_bytes() == b""
    assert (small / "etc/hostname").read_bytes() == b""
    assert (small / "etc/resolv.conf").read_bytes() == b"", "the frontend's name servers are not the nodes'"
    assert b"UUID" not in (small / "etc/fstab").read_bytes()


def test_the_site_s_own_program_ran_in_it_last_and_is_gone(small: Path) -> None:
    assert (small / "etc/site").read_text() == "prepared in debian\npolicy 101\n"
    assert list((small / "root").glob(".boot*")) == []
    assert not (small / confined.POLICY.lstrip("/")).exists()
    shadow = (small / "etc/shadow").read_text()
    assert shadow.startswith("root:$"), "a password is a site's own business, if its program sets one"


def test_an_initrd_for_one_machine_is_found(said: dict[str, str]) -> None:
    assert "was made for one machine's drivers: it lacks virtio_blk" in said["check"]
    assert "/etc/initramfs-tools/conf.d/site says MODULES=dep" in said["check"]


def test_a_mended_image_can_boot(state: Path, mended: Path, said: dict[str, str]) -> None:
    assert "Image mended can boot\n" in said["mend"], said["mend"]
    for name in (
        "usr/sbin/grub-install",
        "usr/lib/grub/i386-pc/normal.mod",
        "usr/lib/grub/x86_64-efi/normal.mod",
        "usr/sbin/sshd",
    ):
        assert (mended / name).is_file(), name
    assert list((mended / "etc/ssh").glob("ssh_host_*")) == []
    assert ImageStore(state).describe("mended").parent == "small"


def test_a_shell_works_in_it_and_what_it_altered_is_written_down(state: Path, tmp_path: Path) -> None:
    """In an image of this test's own: the cached ones stay as they are."""
    admin = Administrator(tmp_path)
    subprocess.run(["cp", "-a", "--reflink=auto", state / "images", tmp_path / "images"], check=True)
    with open_change(admin.databases.cluster, "test", "copied") as change:
        change.insert(ImageRow(0, "small"))
    before = ImageStore(tmp_path).describe("small").checksum
    result = admin.run("image", "shell", "small", "sh", "-c", "dpkg --version > /etc/seen; exit 3")
    assert result.exit_code == 3
    assert "dpkg" in (tmp_path / "images/small/tree/etc/seen").read_text()
    assert ImageStore(tmp_path).describe("small").checksum != before
    assert {"path": "/etc/seen", "change": "removed", "what": []} in admin.lists("image", "diff", "small", "mended")
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert os.listdir(tmp_path / "images/small/tree/proc") == []
