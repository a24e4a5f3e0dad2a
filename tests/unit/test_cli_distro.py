"""``bootserver distro``: distributions as an administrator handles them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootserver.cluster.change import open_change
from bootserver.cluster.undo import log
from bootserver.db.rows import DistributionRow
from bootserver.errors import Refused
from tests import distributions as trees
from tests.administrator import Administrator
from tests.cluster import wait_until

needs_iso = pytest.mark.skipif(bool(trees.what_is_missing()), reason=str(trees.what_is_missing()))

# Reads the real one's output, lets part of it through, and waits: an ISO that takes long.
SLOW = """\
#!{python}
import subprocess, sys, time
output = subprocess.run(["{program}", *sys.argv[1:]], stdout=subprocess.PIPE).stdout
sys.stdout.buffer.write(output if "--include=casper/initrd" in sys.argv else output[: len(output) // 2])
sys.stdout.flush()
if "--include=casper/initrd" not in sys.argv:
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Administrator(tmp_path_factory.mktemp("template")).folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can get to, as /srv is: pytest's own can't be entered by the service's."""
    with tempfile.TemporaryDirectory(prefix="bootserver-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def admin(folder: Path, template: Path) -> Administrator:
    (folder / "state").mkdir()
    administrator = Administrator(folder / "state", template)
    for index, name in enumerate(("compute-0-0", "compute-0-1")):
        administrator.does("node", "add", name, "--mac", f"52:54:00:00:00:0{index}")
    return administrator


@pytest.fixture
def rocky(folder: Path) -> Path:
    return trees.make(folder / "rocky", trees.rocky())


def only(admin: Administrator) -> DistributionRow:
    (row,) = admin.rows(DistributionRow)
    assert isinstance(row, DistributionRow)
    return row


def left_below(admin: Administrator) -> list[str]:
    """What lies in the two folders of distributions, drafts too."""
    folders = (admin.folder / "distributions", admin.tftpboot / "distro")
    return sorted(f"{each.name}/{name}" for each in folders if each.is_dir() for name in os.listdir(each))


# -- a tree ------------------------------------------------------------------------------------------------------


def test_a_tree_is_served_where_it_is_and_its_kernel_is_copied(admin: Administrator, rocky: Path) -> None:
    said = admin.does("distro", "add", "rocky-9", str(rocky))
    assert said == f"Added distribution rocky-9: Rocky Linux 9.4 (kickstart, x86_64), served from {rocky}\n"
    row = only(admin)
    assert (row.kernel, row.initrds) == ("distro/rocky-9/vmlinuz", ("distro/rocky-9/initrd.img",))
    assert (row.tree, row.kind, row.family, row.version) == (str(rocky), "kickstart", "rhel", "9.4")
    assert row.args == (
        "inst.repo=@frontend@distro/rocky-9 inst.ks=@frontend@node/kickstart/@ticket@ inst.ks.sendmac "
        "ip=dhcp@untagged@ ifname=boot@vlan@:@card@ vlan=boot@vlan@.@vlan@:boot@vlan@ ip=boot@vlan@.@vlan@:dhcp"
    )
    assert (admin.tftpboot / row.kernel).read_text() == "kernel"
    assert (admin.tftpboot / row.kernel).stat().st_mode & 0o777 == 0o644
    assert left_below(admin) == ["distro/rocky-9"]


def test_nodes_can_be_installed_from_it(admin: Administrator, rocky: Path) -> None:
    admin.does("distro", "add", "rocky-9", str(rocky))
    admin.does("attr", "set", "distribution", "rocky-9", "--appliance", "compute")
    assert admin.does("pxe", "set", "compute-0-0", "install") == "compute-0-0: install\n"


@pytest.mark.skipif(not trees.NETBOOT.is_dir(), reason="needs: apt-get install debian-installer-12-netboot-amd64")
def test_debians_netboot_package_is_added_and_nothing_of_it_is_served(admin: Administrator) -> None:
    said = admin.does("distro", "add", "debian-12", str(trees.NETBOOT))
    assert said == "Added distribution debian-12: Debian GNU/Linux 12 (bookworm) (preseed, x86_64)\n"
    row = only(admin)
    assert row.tree == ""
    kernel = admin.tftpboot / row.kernel
    assert kernel.read_bytes() == (trees.NETBOOT / "debian-installer/amd64/linux").read_bytes()
    assert row.initrds == ("distro/debian-12/initrd.gz",)


def test_a_dry_run_finds_out_all_and_leaves_nothing(admin: Administrator, rocky: Path) -> None:
    said = admin.does("distro", "add", "rocky-9", str(rocky), "--dry-run")
    assert "name=rocky-9 kernel=distro/rocky-9/vmlinuz" in said
    assert "dry run: nothing was changed" in said
    assert admin.rows(DistributionRow) == []
    assert left_below(admin) == []


def test_one_of_that_name_is_replaced_only_when_told(admin: Administrator, rocky: Path, folder: Path) -> None:
    admin.does("distro", "add", "linux", str(rocky))
    leap = trees.make(folder / "leap", trees.leap())
    assert "exists already: --replace" in admin.fails("distro", "add", "linux", str(leap))
    assert (admin.tftpboot / "distro/linux/vmlinuz").is_file()
    admin.does("distro", "add", "linux", str(leap), "--replace")
    assert only(admin).kind == "autoyast"
    assert sorted(os.listdir(admin.tftpboot / "distro/linux")) == ["initrd", "linux"]


def test_a_tree_by_way_of_a_link_is_kept_by_its_real_name(admin: Administrator, rocky: Path, folder: Path) -> None:
    (folder / "link").symlink_to(rocky)
    admin.does("distro", "add", "rocky-9", str(folder / "link"))
    assert only(admin).tree == str(rocky)


# -- what is refused ---------------------------------------------------------------------------------------------


def test_what_is_refused_leaves_nothing(admin: Administrator, rocky: Path, folder: Path) -> None:
    (folder / "nonsense.iso").write_bytes(b"MZ")
    (folder / "empty").mkdir()
    disc = trees.make(folder / "disc", trees.debian_disc())
    live = trees.make(folder / "live", trees.live_server())
    (rocky / "images/pxeboot/initrd.img").unlink()
    cases = {
        str(folder / "nothing"): "there is no ",
        str(folder / "nonsense.iso"): "is no ISO 9660 image",
        str(folder / "empty"): "is no tree of a distribution: looked for .treeinfo",
        str(rocky): "without images/pxeboot/initrd.img",
        str(disc): "apt-get install debian-installer-12-netboot-amd64",
        str(live): "give the ISO file",
        str(admin.folder): "is no tree of a distribution",
    }
    for path, says in cases.items():
        assert says in admin.fails("distro", "add", "it", path)
    assert "is no name of a distribution" in admin.fails("distro", "add", "../x", str(rocky), status=2)
    assert "is no kind" in admin.fails("distro", "add", "it", str(rocky), "--kind", "../x", status=2)
    assert "can't be written for every boot loader" in admin.fails("distro", "add", "it", str(disc), "--args", "a|b", status=2)
    assert admin.rows(DistributionRow) == []
    assert left_below(admin) == []


def test_the_frontends_own_folders_are_never_served(admin: Administrator, folder: Path) -> None:
    inside = trees.make(admin.folder / "tree", trees.rocky())
    assert "can't be served to nodes" in admin.fails("distro", "add", "it", str(inside))
    around = trees.make(folder, trees.rocky())  # holds the state directory
    assert "can't be served to nodes" in admin.fails("distro", "add", "it", str(around))
    (folder / "link").symlink_to(inside)
    assert "can't be served to nodes" in admin.fails("distro", "add", "it", str(folder / "link"))


def test_a_tree_that_the_service_can_not_read_is_refused(admin: Administrator, rocky: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    admin.config_path.write_text(admin.config_path.read_text().replace("[network]", 'user = "nobody"\n[network]'))
    (rocky / "AppStream").chmod(0o700)
    assert f"user nobody, who the service runs as, can't read {rocky}/AppStream" in admin.fails(
        "distro", "add", "rocky-9", str(rocky)
    )
    assert left_below(admin) == []


def test_a_version_that_is_no_number_is_asked_for(admin: Administrator, folder: Path) -> None:
    rawhide = trees.make(folder / "rawhide", trees.rocky("Rawhide", family="Fedora"))
    assert "say with --version" in admin.fails("distro", "add", "rawhide", str(rawhide))
    admin.does("distro", "add", "rawhide", str(rawhide), "--version", "43")
    assert (only(admin).version, only(admin).family) == ("43", "fedora")


# -- trees that are not known ------------------------------------------------------------------------------------


def test_a_tree_that_is_not_known_is_added_by_saying_how_it_boots(admin: Administrator, folder: Path) -> None:
    coreos = trees.make(folder / "coreos", {"vmlinuz": "kernel", "a/initrd": "one", "b/initrd": "two"})
    args = "ignition.firstboot ignition.config.url=@frontend@node/kickstart/@ticket@"
    assert "--kind, --kernel, --initrd and --args" in admin.fails("distro", "add", "coreos", str(coreos), "--kind", "ignition")
    words = ("--kind", "ignition", "--kernel", "vmlinuz", "--initrd", "a/initrd", "--initrd", "b/initrd", "--args", args)
    result = admin.run("distro", "add", "coreos", str(coreos), *words)
    assert result.exit_code == 0, result.output
    assert "there is no template ignition.j2 yet" in result.stderr
    row = only(admin)
    assert (row.kind, row.args, row.tree) == ("ignition", args, str(coreos))
    assert row.initrds == ("distro/coreos/initrd", "distro/coreos/2-initrd")
    assert [(admin.tftpboot / each).read_text() for each in row.initrds] == ["one", "two"]


def test_a_kernel_may_come_from_elsewhere_but_by_no_link_out_of_the_tree(admin: Administrator, folder: Path) -> None:
    disc = trees.make(folder / "disc", trees.debian_disc() | {"evil": "-> /etc/passwd"})
    netboot = trees.make(folder / "netboot", trees.netboot()) / "debian-installer/amd64"
    admin.does("distro", "add", "it", str(disc), "--kernel", str(netboot / "linux"), "--initrd", str(netboot / "initrd.gz"))
    row = only(admin)
    assert (row.tree, row.kernel, row.kind) == (str(disc), "distro/it/linux", "preseed")
    assert (admin.tftpboot / "distro/it/initrd.gz").read_text() == "ramdisk"
    says = admin.fails("distro", "add", "it", str(disc), "--kernel", "evil", "--replace")
    assert says == "there is no file 'evil' in the tree"
    assert "there is no file" in admin.fails("distro", "add", "it", str(disc), "--kernel", "../netboot/linux", "--replace")
    admin.does("distro", "add", "it", str(disc), "--kernel", "http://mirror.example.org/linux", "--replace")
    assert (only(admin).kernel, only(admin).initrds) == ("http://mirror.example.org/linux", ())


# -- ISOs --------------------------------------------------------------------------------------------------------


@needs_iso
def test_an_iso_is_unpacked_below_the_state_directory(admin: Administrator, rocky: Path, folder: Path) -> None:
    iso = trees.make_iso(folder / "rocky.iso", rocky)
    tree = admin.folder / "distributions/rocky-9"
    said = admin.does("distro", "add", "rocky-9", str(iso))
    assert said == f"Added distribution rocky-9: Rocky Linux 9.4 (kickstart, x86_64), served from {tree}\n"
    assert (tree / "BaseOS/Packages/b/bash-5.1.8-9.el9.x86_64.rpm").read_text() == "rpm " * 1000
    assert tree.stat().st_mode & 0o777 == 0o755
    assert left_below(admin) == ["distributions/rocky-9", "distro/rocky-9"]
    iso.unlink()
    assert [each["state"] for each in admin.lists("distro", "list")] == ["ok"]


@needs_iso
def test_of_a_live_server_the_iso_itself_is_kept(admin: Administrator, folder: Path) -> None:
    iso = trees.make_iso(folder / "noble.iso", trees.make(folder / "noble", trees.live_server()))
    admin.does("distro", "add", "noble", str(iso))
    tree = admin.folder / "distributions/noble"
    assert (tree / "noble.iso").read_bytes() == iso.read_bytes()
    assert (tree / "noble.iso").stat().st_mode & 0o777 == 0o644
    assert not (tree / "casper/ubuntu-server-minimal.squashfs").exists()  # it is in the ISO, which is fetched as a whole
    assert " url=@frontend@distro/noble/noble.iso " in only(admin).args
    assert (admin.tftpboot / "distro/noble/vmlinuz").read_text() == "kernel"


@needs_iso
def test_a_dry_run_of_an_iso_unpacks_nothing_that_stays(admin: Administrator, rocky: Path, folder: Path) -> None:
    iso = trees.make_iso(folder / "rocky.iso", rocky)
    assert "title=Rocky Linux 9.4" in admin.does("distro", "add", "rocky-9", str(iso), "--dry-run")
    assert left_below(admin) == []


@needs_iso
def test_an_iso_that_is_no_tree_is_refused_and_one_that_leads_out_is_told(
    admin: Administrator, rocky: Path, folder: Path
) -> None:
    plain = trees.make_iso(folder / "plain.iso", trees.make(folder / "plain", {"readme": "x"}))
    assert f"{plain} is no tree of a distribution: looked for" in admin.fails("distro", "add", "it", str(plain))
    assert left_below(admin) == []
    (rocky / "evil").symlink_to("/etc/passwd")
    result = admin.run("distro", "add", "it", str(trees.make_iso(folder / "rocky.iso", rocky)))
    assert result.exit_code == 0, result.output
    assert "left out of the ISO: evil (a link to /etc/passwd, which is outside)" in result.stderr


@needs_iso
def test_without_room_nothing_is_unpacked(
    admin: Administrator, rocky: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iso = trees.make_iso(folder / "rocky.iso", rocky)
    real = os.statvfs

    def full(path: str) -> os.statvfs_result:
        return os.statvfs_result([*real(path)[:4], 1, *real(path)[5:]])

    monkeypatch.setattr(os, "statvfs", full)
    assert "MB are free" in admin.fails("distro", "add", "it", str(iso))
    assert left_below(admin) == []


@needs_iso
def test_no_space_left_in_the_middle_leaves_nothing(admin: Administrator, folder: Path) -> None:
    """RLIMIT_FSIZE stands for the full disk: the write fails as it goes."""
    iso = trees.make_iso(folder / "x.iso", trees.make(folder / "x", trees.rocky() | {"zz-big": "x" * 3_000_000}))
    done = subprocess.run(
        ["prlimit", "--fsize=2000000", "--", *command(admin, "distro", "add", "it", str(iso))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "can't be unpacked to" in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert left_below(admin) == []


@needs_iso
def test_replacing_an_iso_by_a_tree_removes_what_was_unpacked(admin: Administrator, rocky: Path, folder: Path) -> None:
    admin.does("distro", "add", "rocky-9", str(trees.make_iso(folder / "rocky.iso", rocky)))
    admin.does("distro", "add", "rocky-9", str(rocky), "--replace")
    assert left_below(admin) == ["distro/rocky-9"]
    admin.does("distro", "add", "rocky-9", str(folder / "rocky.iso"), "--replace")
    assert left_below(admin) == ["distributions/rocky-9", "distro/rocky-9"]
    admin.does("distro", "add", "rocky-9", str(admin.folder / "distributions/rocky-9"), "--replace")  # the very same tree
    assert left_below(admin) == ["distributions/rocky-9", "distro/rocky-9"]
    (rocky / "new").write_text("x")
    trees.make_iso(folder / "new.iso", rocky)
    admin.does("distro", "add", "rocky-9", str(folder / "new.iso"), "--replace")
    assert (admin.folder / "distributions/rocky-9/new").is_file()


@needs_iso
def test_when_the_database_can_not_take_it_all_is_as_before(
    admin: Administrator, rocky: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bootserver.cli.session import Session

    iso = str(trees.make_iso(folder / "rocky.iso", rocky))
    admin.does("distro", "add", "rocky-9", iso)
    (admin.folder / "distributions/rocky-9/mark").write_text("the old one")

    def refuse(self: Session, line: str) -> None:  # what comes after the files are put in place
        raise Refused("the database is full")

    monkeypatch.setattr(Session, "tell", refuse)
    assert admin.fails("distro", "add", "rocky-9", iso, "--replace") == "the database is full"
    assert admin.fails("distro", "add", "rocky-10", iso) == "the database is full"
    assert (admin.folder / "distributions/rocky-9/mark").is_file()
    assert left_below(admin) == ["distributions/rocky-9", "distro/rocky-9"]


@needs_iso
def test_a_command_that_is_killed_leaves_nothing_listed_and_the_next_one_cleans_up(admin: Administrator, folder: Path) -> None:
    import shutil

    iso = trees.make_iso(folder / "x.iso", trees.make(folder / "x", trees.rocky() | {"zz-big": "x" * 3_000_000}))
    programs = folder / "programs"
    programs.mkdir()
    (programs / "bsdtar").write_text(SLOW.format(python="/usr/bin/python3", program=shutil.which("bsdtar")))
    (programs / "bsdtar").chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    with subprocess.Popen(command(admin, "distro", "add", "it", str(iso)), env=environment) as process:
        distributions = admin.folder / "distributions"
        wait_until("a package is unpacked", lambda: any(distributions.glob(".draft-it-*/BaseOS/Packages/b/*.rpm")))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_until("its program is gone, too", lambda: not any(Path(f"/proc/{child}/exe").exists() for child in children))
    assert children
    assert admin.lists("distro", "list") == []
    assert any(name.startswith("distributions/.draft-it") for name in left_below(admin))
    admin.does("distro", "add", "it", str(iso))
    assert left_below(admin) == ["distributions/it", "distro/it"]


# -- looking and removing ----------------------------------------------------------------------------------------


def test_a_list_shows_what_there_is_and_who_uses_it(admin: Administrator, rocky: Path, folder: Path) -> None:
    assert admin.lists("distro", "list") == []
    admin.does("distro", "add", "rocky-9", str(rocky))
    admin.does("distro", "add", "leap", str(trees.make(folder / "leap", trees.leap())))
    admin.does("attr", "set", "distribution", "rocky-9", "compute-0-0")
    first, second = admin.lists("distro", "list")
    assert list(first) == ["name", "kind", "title", "version", "architecture", "tree", "nodes", "state"]
    assert (first["name"], first["kind"], first["nodes"], first["state"]) == ("leap", "autoyast", 0, "ok")
    assert (second["name"], second["tree"], second["nodes"]) == ("rocky-9", str(rocky), 1)


def test_one_is_shown_with_how_it_boots_and_who_uses_it(admin: Administrator, rocky: Path) -> None:
    admin.does("distro", "add", "rocky-9", str(rocky))
    admin.does("attr", "set", "distribution", "rocky-9", "--appliance", "compute")
    said = admin.does("distro", "show", "rocky-9").splitlines()
    assert f"tree:         {rocky}" in said and "served at:    /distro/rocky-9/" in said
    assert "set for:      appliance compute" in said and "nodes:        compute-0-[0-1]" in said
    assert "state:        ok" in said
    assert "no distribution 'x'; there are rocky-9" in admin.fails("distro", "show", "x")


@needs_iso
def test_removing_takes_what_was_made_for_it_and_leaves_the_tree(admin: Administrator, rocky: Path, folder: Path) -> None:
    admin.does("distro", "add", "tree", str(rocky))
    admin.does("distro", "add", "iso", str(trees.make_iso(folder / "rocky.iso", rocky)))
    assert f"{rocky} stays" in admin.fails("distro", "remove", "tree")  # nobody can be asked
    assert "name=iso kernel=" in admin.does("distro", "remove", "iso", "--dry-run")
    assert left_below(admin) == ["distributions/iso", "distro/iso", "distro/tree"]
    admin.does("distro", "remove", "tree", "--yes")
    assert admin.does("distro", "remove", "iso", "--yes") == "Removed distribution iso\n"
    assert left_below(admin) == []
    assert (rocky / ".treeinfo").is_file()
    assert "`bootserver distro add` makes one" in admin.fails("distro", "remove", "iso", "--yes")


def test_one_that_is_used_stays_with_its_files(admin: Administrator, rocky: Path) -> None:
    admin.does("distro", "add", "rocky-9", str(rocky))
    admin.does("attr", "set", "distribution", "rocky-9", "--rack", "0")
    assert "`bootserver attr remove distribution --rack 0` first" in admin.fails("distro", "remove", "rocky-9", "--yes")
    assert left_below(admin) == ["distro/rocky-9"]
    admin.does("distro", "remove", "rocky-9", "--yes", "--used")
    assert left_below(admin) == []
    assert "no distribution 'rocky-9'" in admin.run("pxe", "set", "compute-0-0", "install").stderr


def test_undoing_a_removal_does_not_pretend_that_the_files_are_back(admin: Administrator, rocky: Path) -> None:
    admin.does("distro", "add", "rocky-9", str(rocky))
    admin.does("distro", "remove", "rocky-9", "--yes")
    with admin.databases.cluster.read() as connection:
        from bootserver.cluster.change import Reader

        (last,) = log(Reader(connection), 1)
    admin.does("undo", str(last.sequence))
    assert [each["state"] for each in admin.lists("distro", "list")] == ["distro/rocky-9/vmlinuz is missing"]
    assert "`bootserver distro add rocky-9 PATH --replace`" in admin.does("distro", "show", "rocky-9")
    admin.does("attr", "set", "distribution", "rocky-9")
    assert "distro/rocky-9/vmlinuz is not there" in admin.fails("pxe", "set", "compute-0-0", "install")
    admin.does("distro", "add", "rocky-9", str(rocky), "--replace")
    admin.does("pxe", "set", "compute-0-0", "install")


def test_files_that_belong_to_none_are_told_and_can_be_removed(admin: Administrator, rocky: Path) -> None:
    admin.does("distro", "add", "rocky-9", str(rocky))
    with open_change(admin.databases.cluster, "test", "lost") as change:
        change.delete(only(admin))
    result = admin.run("distro", "list")
    assert "belongs to no distribution: `bootserver distro remove rocky-9` removes it" in result.stderr
    assert "which was not in the database" in admin.does("distro", "remove", "rocky-9", "--yes")
    assert left_below(admin) == []


# -- dump and restore --------------------------------------------------------------------------------------------


def test_all_that_a_row_says_survives_dump_and_restore(admin: Administrator, rocky: Path, folder: Path, template: Path) -> None:
    admin.does("distro", "add", "rocky-9", str(rocky))
    admin.does("distro", "add", "noble", str(trees.make(folder / "noble", trees.live_server() | {"n.iso": "iso"})))
    admin.does("dump", str(folder / "dump"))
    (folder / "other").mkdir()
    other = Administrator(folder / "other", template)
    other.does("restore", str(folder / "dump"))
    assert [row.to_db() for row in other.rows(DistributionRow, "id > 0 ORDER BY name")] == [
        row.to_db() | {"id": number} for number, row in enumerate(admin.rows(DistributionRow, "id > 0 ORDER BY name"), 1)
    ]
    assert other.does("dump") == (folder / "dump").read_text()
    assert all("is missing" in each["state"] for each in other.lists("distro", "list"))


def test_a_dump_of_before_is_still_read(admin: Administrator) -> None:
    text = admin.does("dump") + 'distribution "Debian 12" kernel=deb/linux initrd=deb/initrd.gz args="auto=true"\n'
    (admin.folder / "old.dump").write_text(text)
    admin.does("restore", str(admin.folder / "old.dump"), "--merge")
    row = only(admin)
    assert (row.name, row.kernel, row.kind, row.tree) == ("Debian 12", "deb/linux", "", "")


@pytest.mark.parametrize("wrong", ["tree=srv", "tree=/srv/../etc", "kind=../x", 'version="9 x"', "title=a title=b", "colour=red"])
def test_a_dump_with_nonsense_in_it_is_refused_with_its_line(admin: Administrator, wrong: str) -> None:
    (admin.folder / "bad.dump").write_text(f"dump 1\ndistribution x kernel=x/linux {wrong}\n")
    assert "bad.dump:2: " in admin.fails("restore", str(admin.folder / "bad.dump"), "--merge", status=2)


def command(admin: Administrator, *words: str) -> list[str]:
    return [sys.executable, "-m", "bootserver", "--config", str(admin.config_path), *words]
