"""Installs: what one resolves to, when it is refused, and when a one-shot action is over."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootserver.cluster import attributes, boot_actions, installs, nodes
from bootserver.cluster.actions import INSTALLER_KERNEL, INSTALLER_RAMDISK, SHIPPED, BootAction
from bootserver.cluster.attributes import EVERYWHERE, Place
from bootserver.cluster.events import Kind
from bootserver.cluster.installs import Sources, resolve
from bootserver.db.rows import DistributionRow, ImageRow, InstallState, Scope
from bootserver.errors import BootserverError, NotFound, Refused, UsageError
from tests.cluster import Cluster

DEBIAN = DistributionRow(1, "debian", "distro/linux", ("distro/initrd.gz",), "auto=true")
SOURCES = Sources(frozenset({"golden"}), {"debian": DEBIAN})
INSTALL, HEADLESS = SHIPPED["install"], SHIPPED["install headless"]
OWN = BootAction("install", kernel="own/vmlinuz")

RESOLVED = {
    "an image": (INSTALL, {"image": "golden"}, (INSTALLER_KERNEL, (INSTALLER_RAMDISK,), "")),
    "an image, headless": (HEADLESS, {"image": "golden"}, (INSTALLER_KERNEL, (INSTALLER_RAMDISK,), "bootserver.headless")),
    "a distribution": (INSTALL, {"distribution": "debian"}, ("distro/linux", ("distro/initrd.gz",), "auto=true")),
    "a distribution, headless": (
        HEADLESS, {"distribution": "debian"}, ("distro/linux", ("distro/initrd.gz",), "auto=true bootserver.headless"),
    ),
    "an empty attribute is none": (
        INSTALL, {"image": "", "distribution": "debian"}, ("distro/linux", ("distro/initrd.gz",), "auto=true"),
    ),
    "an action with a kernel of its own": (OWN, {}, ("own/vmlinuz", (), "")),
    "which needs neither": (OWN, {"image": "no", "distribution": "no"}, ("own/vmlinuz", (), "")),
}  # fmt: skip


@pytest.mark.parametrize(("action", "given", "wanted"), RESOLVED.values(), ids=RESOLVED.keys())
def test_an_install_resolves_to_a_kernel(action: BootAction, given: dict[str, str], wanted: tuple[object, ...]) -> None:
    resolved = resolve(action, given, SOURCES)
    assert (resolved.kernel, resolved.initrds, resolved.args) == wanted
    assert resolved.name == action.name


UNRESOLVED = {
    "neither": ({}, "neither an image nor a distribution: `bootserver attr set image NAME`"),
    "both": ({"image": "golden", "distribution": "debian"}, "both an image (golden) and a distribution (debian)"),
    "an image that is not there": ({"image": "lost"}, "there is no image 'lost'"),
    "a distribution that is not there": ({"distribution": "lost"}, "there is no distribution 'lost'"),
}


@pytest.mark.parametrize(("given", "said"), UNRESOLVED.values(), ids=UNRESOLVED.keys())
def test_an_install_that_can_not_be_is_refused_with_what_is_missing(given: dict[str, str], said: str) -> None:
    with pytest.raises(Refused) as caught:
        resolve(INSTALL, given, SOURCES)
    assert said in str(caught.value)


@pytest.fixture
def sources(cluster: Cluster) -> Cluster:
    """compute-0-0, an image and a distribution."""
    cluster.add(1)
    with cluster.change() as change:
        change.insert(ImageRow(0, "golden"))
        change.insert(DistributionRow(0, "debian", "distro/linux", ("distro/initrd.gz",), ""))
    cluster.events.clear()
    return cluster


def test_the_most_specific_attribute_says_what_is_installed(sources: Cluster) -> None:
    with sources.change() as change:
        attributes.set_attribute(change, EVERYWHERE, "image", "golden")
    sources.set_action("compute-0-0", "install")
    assert sources.seen("compute-0-0").action.kernel == INSTALLER_KERNEL
    with sources.change() as change:  # a node that has another source of its own must not inherit the first
        node = nodes.get(change, "compute-0-0")
        attributes.set_attribute(change, Place(Scope.NODE, node.id), "distribution", "debian")
        attributes.set_attribute(change, Place(Scope.NODE, node.id), "image", "")
    assert sources.seen("compute-0-0").action.kernel == "distro/linux"


def test_an_install_that_can_not_be_resolved_is_not_armed(sources: Cluster) -> None:
    with pytest.raises(Refused, match="compute-0-0 can't install: it has neither"):
        sources.set_action("compute-0-0", "install")
    assert sources.node("compute-0-0").action is None
    assert sources.install("compute-0-0") is None
    assert sources.kinds() == []


def test_files_that_are_missing_refuse_it_too(sources: Cluster, tmp_path: Path) -> None:
    sources.make_installable()
    with (
        pytest.raises(Refused, match=f"compute-0-0 can't install: {tmp_path}/site/vmlinuz is not there"),
        sources.change() as change,
    ):
        installs.set_action(change, nodes.get(change, "compute-0-0"), "install", tftpboot=tmp_path)
    assert sources.install("compute-0-0") is None
    for name in ("site/vmlinuz", "site/initrd.img"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with sources.change() as change:
        installs.set_action(change, nodes.get(change, "compute-0-0"), "install", tftpboot=tmp_path)
    install = sources.install("compute-0-0")
    assert install is not None and install.state is InstallState.ARMED
    assert sources.kinds() == [Kind.ARMED]


def test_only_an_install_wipes(sources: Cluster) -> None:
    sources.make_installable()
    with pytest.raises(Refused, match="--wipe goes with an install"), sources.change() as change:
        installs.set_action(change, nodes.get(change, "compute-0-0"), "os", wipe=True)
    with sources.change() as change:
        installs.set_action(change, nodes.get(change, "compute-0-0"), "install", wipe=True)
    install = sources.install("compute-0-0")
    assert install is not None and install.wipe


def test_a_node_that_was_told_to_install_but_never_armed_waits(sources: Cluster) -> None:
    with sources.change() as change:
        change.update(nodes.get(change, "compute-0-0"), action="install")
    seen = sources.seen("compute-0-0")
    assert seen.install is None and seen.unresolved is not None and "neither an image nor" in seen.unresolved


# -- actions -----------------------------------------------------------------------------------------------------


def add(cluster: Cluster, action: BootAction, node: str | None = None) -> None:
    with cluster.change() as change:
        boot_actions.add(change, action, None if node is None else nodes.get(change, node))


def test_a_node_s_own_action_goes_before_the_site_s_and_that_before_the_shipped(sources: Cluster) -> None:
    sources.set_action("compute-0-0", "rescue")
    assert sources.seen("compute-0-0").action == SHIPPED["rescue"]
    add(sources, BootAction("rescue", kernel="site/rescue"))
    assert sources.seen("compute-0-0").action.kernel == "site/rescue"
    add(sources, BootAction("rescue", kernel="own/rescue"), "compute-0-0")
    assert sources.seen("compute-0-0").action.kernel == "own/rescue"
    with sources.change() as change:
        boot_actions.remove(change, "rescue", nodes.get(change, "compute-0-0"))
        boot_actions.remove(change, "rescue", None)
    assert sources.seen("compute-0-0").action == SHIPPED["rescue"]


WRONG_ACTIONS = {
    "nothing to boot": BootAction("a"),
    "two things to boot": BootAction("a", kernel="k", local_disk=True),
    "a ramdisk alone": BootAction("a", floppy="f", initrds=("i",)),
    "a floppy that installs": BootAction("install bios", floppy="f"),
    "a newline in the name": BootAction("a\nb", kernel="k"),
    "a newline in the arguments": BootAction("a", kernel="k", args="quiet\x00init=/bin/sh"),
    "a quote in the arguments": BootAction("a", kernel="k", args='a="b c"'),
    "an expansion in the arguments": BootAction("a", kernel="k", args="${net0/mac}"),
    "a kernel outside": BootAction("a", kernel="../vmlinuz"),
    "a ramdisk outside": BootAction("a", kernel="k", initrds=("i", "../i")),
    "a URL of elsewhere": BootAction("a", kernel="file:///etc/passwd"),
    "a floppy by URL": BootAction("a", floppy="http://host/f"),
}


@pytest.mark.parametrize("action", WRONG_ACTIONS.values(), ids=WRONG_ACTIONS.keys())
def test_an_action_that_can_not_be_booted_or_written_is_refused(cluster: Cluster, action: BootAction) -> None:
    with pytest.raises(UsageError):
        add(cluster, action)


def test_an_action_in_use_stays(sources: Cluster) -> None:
    add(sources, BootAction("live", kernel="live/vmlinuz"))
    sources.set_action("compute-0-0", "live")
    with pytest.raises(Refused, match="compute-0-0 boots 'live'"), sources.change() as change:
        boot_actions.remove(change, "live", None)


def test_shipped_actions_stay_and_unknown_ones_are_named(cluster: Cluster) -> None:
    for name, kind in (("os", Refused), ("never", NotFound)):
        with pytest.raises(kind), cluster.change() as change:
            boot_actions.remove(change, name, None)
    cluster.add(1)
    with pytest.raises(NotFound, match="no boot action 'never'; there are install, install headless, memtest, os"):
        cluster.set_action("compute-0-0", "never")


# -- one-shot actions --------------------------------------------------------------------------------------------


def flip(cluster: Cluster, path: str) -> bool:
    with cluster.change() as change:
        return installs.flip_one_shot(change, nodes.get(change, "compute-0-0"), path)


def test_a_one_shot_action_is_over_when_its_last_file_was_fetched(sources: Cluster) -> None:
    sources.set_action("compute-0-0", "pxeflash")
    assert not flip(sources, "memdisk"), "the loader of the image is not its last file"
    assert not flip(sources, "other.img")
    assert sources.node("compute-0-0").action == "pxeflash"
    assert flip(sources, "pxeflash.img")
    assert sources.node("compute-0-0").action is None
    assert sources.kinds() == [Kind.ACTION]
    assert not flip(sources, "pxeflash.img"), "and it is over once"


def test_other_actions_are_not_over_by_being_fetched(sources: Cluster) -> None:
    sources.set_action("compute-0-0", "rescue")
    assert not flip(sources, INSTALLER_RAMDISK)
    assert sources.node("compute-0-0").action == "rescue"


def test_errors_are_one_family() -> None:
    assert issubclass(Refused, BootserverError) and issubclass(UsageError, BootserverError)
    assert UsageError.exit_status == 2 and Refused.exit_status == 1
