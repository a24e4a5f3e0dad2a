"""The install script and the files of a node, from a machine that was recorded: what a busybox shell makes of them."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootserver import data
from bootserver.cluster.view import NodeView
from bootserver.errors import BootserverError
from bootserver.install import inventory, material
from bootserver.install.material import Case
from bootserver.values import grammar
from bootserver.values.secret import Secret
from tests import views

RECORDED = Path(__file__).parent.parent / "data" / "inventory"
MEBIBYTE = 1 << 20
BUSYBOX = shutil.which("busybox")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An image as far as the installer looks at it."""
    tree = tmp_path / "tree"
    for path in ("boot/vmlinuz-6.1.0-9-amd64", "boot/initrd.img-6.1.0-9-amd64", "usr/sbin/sshd", "usr/bin/ssh-keygen", "etc/x"):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).touch()
    return tree


@pytest.fixture
def case(tmp_path: Path, tree: Path) -> Callable[..., Case]:
    def make(recorded: str = "qemu-bios-virtio", **changes: Any) -> Case:
        found = Case(
            node=views.node(), image="golden", title="Debian GNU/Linux 12 (bookworm)",
            tree=tree, size=300 * MEBIBYTE, var_size=MEBIBYTE,
            inventory=inventory.parse(json.loads((RECORDED / f"{recorded}.json").read_text())), wipe=True, seed=b"seed",
            host_keys={}, authorized_keys="ssh-ed25519 AAAA root@frontend\n", state=tmp_path,
            templates=(tmp_path / "kickstart", data.folder("kickstart")), frontend_url="http://10.1.1.1/", rsync_port=873,
            service_group=None,
        )  # fmt: skip
        return dataclasses.replace(found, **changes)

    return make


def node(**attributes: str) -> NodeView:
    return dataclasses.replace(views.node(), attributes=attributes)


def calls(script: str, tmp_path: Path) -> list[list[str]]:
    """What the script calls of the installer's functions, with their arguments, when busybox' shell runs it."""
    names = [
        "say",
        "fetch_scripts",
        "pre_install",
        "phase",
        "step",
        "sync_image",
        "enter_target",
        "own_files",
        "host_keys",
        "node_key",
        "post_install",
        "grub_bios",
        "grub_uefi",
        "load_kernel",
        "leave_target",
        "ask",
        "the_end",
    ]
    library = tmp_path / "functions.sh"
    record = 'for word in "$@"; do printf "%s\\037" "$word"; done; printf "\\036"'
    library.write_text("".join(f'{name}() {{ set -- {name} "$@"; {record}; }}\n' for name in names))
    # The functions of disks.sh are arguments of `step`, and are not run.
    text = re.sub(r"^\. \S*disks\.sh$", ":", script, flags=re.MULTILINE)
    file = tmp_path / "script.sh"
    file.write_text(f". {library}\n{text}")
    assert BUSYBOX is not None
    done = subprocess.run([BUSYBOX, "sh", "-u", str(file)], capture_output=True, text=True, check=True, env={})
    assert done.stderr == ""
    return [call.split("\037")[:-1] for call in done.stdout.split("\036")[:-1]]


needs_busybox = pytest.mark.skipif(BUSYBOX is None, reason="needs: apt-get install busybox-static")


@needs_busybox
def test_a_script_goes_through_the_phases_in_their_order(case: Callable[..., Case], tmp_path: Path) -> None:
    found = calls(material.script(case()), tmp_path)
    story = [call[1] if call[0] == "phase" else call[0] for call in found if call[0] not in ("say", "step")]
    assert story == [
        "fetch_scripts", "pre_install", "partition", "format", "sync", "sync_image", "configure", "enter_target", "own_files",
        "host_keys", "node_key", "post_install", "bootloader", "grub_bios", "done", "leave_target", "ask", "the_end",
    ]  # fmt: skip
    assert ["grub_bios", "/dev/vda"] in found
    assert found[-1] == ["the_end", "reboot"] and ["ask", "POST", "installed"] in found
    steps = [call[2] for call in found if call[0] == "step"]
    assert (
        steps.index("check_disk") < steps.index("write_table") < steps.index("format_partition") < steps.index("mount_partition")
    )


@needs_busybox
def test_a_machine_with_uefi_gets_its_boot_loader_on_the_esp(case: Callable[..., Case], tmp_path: Path) -> None:
    made = case("qemu-uefi-nvme-4k-sata")
    found = calls(material.script(made), tmp_path)
    [uefi] = [call for call in found if call[0] == "grub_uefi"]
    esp = made.plan.esp
    assert esp is not None and uefi[1:] == [esp.disk, str(esp.number), "bootserver"]
    assert not any(call[0] == "grub_bios" for call in found)
    fstab = next(entry for entry in material.files(made) if entry.path == "etc/fstab").content
    assert isinstance(fstab, bytes) and b" /boot/efi vfat umask=0077 " in fstab


@needs_busybox
@pytest.mark.parametrize("after", ["reboot", "kexec", "poweroff", "shell"])
def test_what_follows_an_install_is_an_attribute(after: str, case: Callable[..., Case], tmp_path: Path) -> None:
    made = case(node=node(after_install=after, bootflags="quiet console=ttyS0"))
    found = calls(material.script(made), tmp_path)
    assert found[-1] == ["the_end", after]
    loaded = [call for call in found if call[0] == "load_kernel"]
    root = made.plan.root.filesystem_uuid
    line = f"root=UUID={root} ro quiet console=ttyS0"
    wanted = ["load_kernel", "/boot/vmlinuz-6.1.0-9-amd64", "/boot/initrd.img-6.1.0-9-amd64", line]
    assert loaded == ([wanted] if after == "kexec" else [])


def test_script_and_files_speak_of_the_same_disks_and_another_try_of_others(case: Callable[..., Case]) -> None:
    def uuids(seed: bytes) -> tuple[set[str], set[str]]:
        pattern = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
        fstab = next(entry for entry in material.files(case(seed=seed)) if entry.path == "etc/fstab").content
        assert isinstance(fstab, bytes)
        return set(re.findall(pattern, material.script(case(seed=seed)))), set(re.findall(pattern, fstab.decode()))

    script, fstab = uuids(b"one")
    assert fstab and fstab <= script
    assert uuids(b"one") == (script, fstab)
    assert not script & uuids(b"two")[0]


def test_overrides_go_before_our_own_files_and_an_image_s_folders_keep_their_modes(
    case: Callable[..., Case], tmp_path: Path
) -> None:
    own = tmp_path / "overrides" / "all" / "etc"
    own.mkdir(parents=True)
    (own / "hosts.j2").write_text("{{ node.name }} is at {{ attributes.place }}\n")
    (own / "new").mkdir(mode=0o700)
    found = {entry.path: entry for entry in material.files(case(node=node(place="home")))}
    assert found["etc/hosts"].content == b"compute-0-0 is at home\n"
    assert "etc" not in found, "the image has it"
    assert found["etc/new"].folder and found["etc/new"].mode == 0o700
    assert found["etc/bootserver/authorized_keys"].mode == 0o600


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ({"override": "{{ attributes.missing }}"}, r"etc/motd\.j2:1: .*missing"),
        ({"override": "{% if %}"}, r"etc/motd\.j2:1: "),
        ({"script": "all.x"}, "a script is called NNscope"),
        ({"size": 40_000 * MEBIBYTE}, "disk too small"),
        ({"recorded": "qemu-bios-no-disk"}, "no disk found"),
        ({"kernel": None}, "has no kernel"),
    ],
)
def test_what_can_not_be_is_refused_before_a_disk_is_touched(
    spoil: dict[str, Any], said: str, case: Callable[..., Case], tmp_path: Path, tree: Path
) -> None:
    if "override" in spoil:
        (tmp_path / "overrides/all/etc").mkdir(parents=True)
        (tmp_path / "overrides/all/etc/motd.j2").write_text(spoil.pop("override"))
    if "script" in spoil:
        (tmp_path / "scripts/post-install").mkdir(parents=True)
        (tmp_path / "scripts/post-install" / spoil.pop("script")).touch()
    if "kernel" in spoil:
        (tree / "boot/vmlinuz-6.1.0-9-amd64").unlink()
        del spoil["kernel"]
    with pytest.raises(BootserverError, match=said) as caught:
        material.script(case(**spoil))
    assert "\n" not in str(caught.value)


@needs_busybox
def test_a_site_s_template_may_change_one_part_of_it(case: Callable[..., Case], tmp_path: Path) -> None:
    (tmp_path / "kickstart").mkdir()
    text = '{% extends "install.sh.j2" %}{% block before %}step "no battery" check_battery{% endblock %}'
    (tmp_path / "kickstart/ours.sh.j2").write_text(text)
    found = calls(material.script(case(node=node(script="ours.sh.j2"))), tmp_path)
    assert ["step", "no battery", "check_battery"] in found and ["phase", "partition"] in found
    assert not any(call[0] == "fetch_scripts" for call in found)


TITLES = st.text(st.characters(codec="utf-8", exclude_characters="\x1e\x1f\0\r"), max_size=30)  # what `calls` separates by
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=40)


@needs_busybox
@given(st.dictionaries(st.sampled_from(["color", "x", "image_note", "IFS", "PATH"]), WORDS, max_size=4), TITLES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_attribute_and_no_title_becomes_a_command(
    case: Callable[..., Case], tmp_path: Path, given_attributes: dict[str, str], title: str
) -> None:
    attributes = {key: value for key, value in given_attributes.items() if value.isprintable()}
    for value in attributes.values():
        grammar.attribute_value(value)
    plain = [call for call in calls(material.script(case()), tmp_path) if call[0] != "say"]
    made = case(node=node(**attributes), title=title)
    try:
        script = material.script(made)
    except BootserverError:
        return
    assert [call for call in calls(script, tmp_path) if call[0] != "say"] == plain


def test_secrets_are_in_files_of_root_alone(case: Callable[..., Case]) -> None:
    made = case(host_keys={"ssh_host_ed25519_key": Secret("PRIVATE")})
    assert "PRIVATE" not in material.script(made) and "seed" not in material.script(made)
    [entry] = [entry for entry in material.files(made) if entry.content == b"PRIVATE"]
    assert entry.mode == 0o600
