"""A machine whose disks are partitioned by our installer's own ramdisk, plan after plan, and looked at from within.

Kernel and ramdisk are started by QEMU itself, as a rescue system; what is to be done comes on a disk more, the mailbox, and
what came of it goes back the same way: a serial line would take longer than the work.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bootserver.install import inventory
from bootserver.install.inventory import FirmwareKind, Inventory
from bootserver.install.partition import shell
from bootserver.install.partition.plan import Plan, PlannedFileSystem
from tests.e2e.imaging import installer
from tests.lab.disk import blank_disk
from tests.lab.guest import DiskBus, Firmware, Guest, Machine
from tests.lab.namespace import Namespace
from tests.lab.process import patience

DISK_MB, MAILBOX_MB = 16_384, 8
_MIB = 1 << 20
_ROOM = 1 << 20
"""Octets of the mailbox for what is to be done; the rest is for what came of it."""

# What the machine does for each message. Its caches know nothing of what is written on the other side.
_SERVE = (
    "go() { blockdev --flushbufs $M; dd if=$M of=/tmp/do bs=1M count=1 2>/dev/null; sh /tmp/do >/tmp/did 2>&1; "
    'echo "=== status $?" >>/tmp/did; dd if=/tmp/did of=$M bs=1M seek=1 conv=fsync 2>/dev/null; echo did $1; }'
)

# Plays the installer's library. CUT=5 pulls the plug before the fifth step that writes.
_STEP = """
steps=0
step() {
    words=$1
    shift
    case $1 in free_target | release_disk | check_* | wait_*) ;; *) steps=$((steps + 1)) ;; esac
    [ "$steps" != "${CUT:-}" ] || { echo "cut off"; exit 0; }
    "$@" >/tmp/step 2>&1 && return
    cat /tmp/step
    echo "FAILED: $words: $(grep -v '^ *$' /tmp/step | tail -n 1)"
    exit 1
}
"""
_PREPARED = ". /lib/bootserver/real-names\n. /lib/bootserver/disks.sh\n"
_LVM = "lvm_ {verb} --reportformat json --units b --nosuffix --options {fields} 2>/dev/null"


class _Started(Guest):
    """:ivar machine: boots no firmware's way, but is given its kernel."""

    def _command(self) -> list[str]:
        folder = installer()
        words = "bootserver.rescue console=ttyS0 quiet"
        boot = ["-kernel", str(folder / "vmlinuz"), "-initrd", str(folder / "initrd.img"), "-append", words]
        nvme = ["-drive", f"if=none,id=nvme0,format=raw,cache=unsafe,file={self.nvme}", "-device", "nvme,serial=fast,drive=nvme0"]
        return [*super()._command(), *boot, *nvme]

    nvme: Path


@dataclass(frozen=True, slots=True)
class Seen:
    """What a machine's disks are when a plan was done.

    :ivar tables: by disk, as sfdisk has them. :ivar arrays: by name, as mdadm has them. :ivar sizes: of arrays, bytes.
    :ivar volumes: bytes by group and name. :ivar physical: group by physical volume. :ivar systems: kind and UUID by path.
    :ivar mounts: path by mount point. :ivar kinds: what lsblk calls each device.
    """

    tables: Mapping[str, list[dict[str, Any]]]
    arrays: Mapping[str, Mapping[str, str]]
    sizes: Mapping[str, int]
    volumes: Mapping[tuple[str, str], int]
    physical: Mapping[str, str]
    systems: Mapping[str, tuple[str, str]]
    mounts: Mapping[str, str]
    kinds: Mapping[str, str]


class Bench:
    """The machine. Six disks, ``vda`` to ``vdf``, and ``nvme0n1``."""

    def __init__(self, guest: Guest, mailbox: Path) -> None:
        self._guest = guest
        self._mailbox = mailbox
        self._messages = 0
        guest.wait("This is bootserver's rescue system", patience(60))
        guest.wait("# ", patience(5))
        guest.send("stty cols 600; M=/dev/$(basename $(dirname $(grep -lx 16384 /sys/block/vd*/size)))\n")
        guest.wait("# $", patience(5))
        guest.send(f"{_SERVE}\n")
        guest.wait("# $", patience(5))
        # That mirrors become equal in the background costs a slow machine more than all the rest.
        self.do("modprobe md_mod && echo 500 >/proc/sys/dev/raid/speed_limit_max")

    def do(self, script: str, *, seconds: float = 60) -> str:
        """Run a script. :returns: all that it said. :raises AssertionError: it failed."""
        data = f"{_PREPARED}{script}\nexit 0\n".encode()
        assert len(data) <= _ROOM
        self._messages += 1
        with self._mailbox.open("r+b") as mailbox:
            mailbox.write(data.ljust(_ROOM, b"\n"))
            mailbox.write(bytes((MAILBOX_MB << 20) - _ROOM))
        self._guest.send(f"go {self._messages}\n")
        self._guest.wait(f"^did {self._messages}$", patience(seconds))
        said = self._mailbox.read_bytes()[_ROOM:].rstrip(b"\0").decode(errors="replace")
        said, _, status = said.rpartition("=== status ")
        assert status.strip() == "0", said[-3000:]
        return said

    def empty(self, *disks: str) -> None:
        """New disks in the place of the old ones, as far as anybody can see who reads tables."""
        wipe = "".join(
            f"wipefs --all --quiet /dev/{disk}; dd if=/dev/zero of=/dev/{disk} bs=1M count=2; blockdev --rereadpt /dev/{disk}\n"
            for disk in disks
        )
        self.do(f"{_release()}{wipe}")

    def document(self) -> dict[str, Any]:
        """What ``installer/inventory`` says of the machine when it was just switched on; the mailbox is nobody's business."""
        said = self.do(f"{_release()}sh /lib/bootserver/inventory 2>/tmp/errors\n")
        document = inventory.decode(said.encode())
        devices = document["lsblk"]["blockdevices"]
        document["lsblk"]["blockdevices"] = [each for each in devices if each["size"] != MAILBOX_MB << 20]
        return document

    def inventory(self, firmware: FirmwareKind = FirmwareKind.BIOS) -> Inventory:
        return replace(inventory.parse(self.document()), firmware=firmware)

    def does(self, plan: Plan, *, then: str = "") -> Seen:
        """Do a plan as the installer would, and look. :param then: a script to run at its end."""
        return _seen(self.do(f"{_script(plan)}{then}\n{_look(plan)}", seconds=120))

    def is_cut_off(self, plan: Plan, step: int) -> bool:
        """Pull the plug before a step of a plan. :param step: from 1. :returns: False: it has not so many."""
        return "cut off" in self.do(f"CUT={step}\n{_script(plan)}", seconds=120)

    def says(self, plan: Plan, script: str) -> str:
        """What a script says when all that the plan kept is mounted, too, below /kept."""
        kept = [each for each in plan.mounted if each.kept]
        mounts = "".join(f"mkdir -p /kept{each.mount_point}; mount {each.path} /kept{each.mount_point}\n" for each in kept)
        off = "".join(f"umount /kept{each.mount_point}\n" for each in reversed(kept))
        return self.do(f"{mounts}{script}\n{off}")


@contextlib.contextmanager
def bench(namespace: Namespace, folder: Path) -> Iterator[Bench]:
    """Switch the machine on."""
    mailbox = blank_disk(folder / "mailbox.disk", MAILBOX_MB)
    disks = [blank_disk(folder / f"{name}.disk", DISK_MB) for name in "abcdef"]
    machine = Machine(firmware=Firmware.BIOS, macs=(), memory=640, disks=(*disks, mailbox), bus=DiskBus.VIRTIO)
    _Started.nvme = blank_disk(folder / "nvme.disk", DISK_MB)
    with _Started(namespace, "bench", machine, folder) as guest:
        yield Bench(guest, mailbox)


def agrees(seen: Seen, plan: Plan) -> None:
    """What is on the disks is what the plan says."""
    for each in plan.disks:
        sector = each.disk.sector_size
        wanted = {part.device: (part.start // sector, part.size // sector, part.type, part.name) for part in each.partitions}
        assert {
            entry["node"].removeprefix("/dev/"): (entry["start"], entry["size"], entry["type"], entry["name"])
            for entry in seen.tables[each.disk.name]
        } == wanted
    for array in plan.arrays:
        found = seen.arrays[array.name]
        assert (found["MD_LEVEL"], found["MD_NAME"]) == (f"raid{array.level.value}", f"any:{array.name}")
        assert found["MD_UUID"] == shell.md_uuid(array.uuid)
        assert int(found["MD_DEVICES"]) == len(array.devices) - array.spares
        members = {value for key, value in found.items() if re.fullmatch(r"MD_DEVICE_.*_DEV", key)}
        assert members == {f"/dev/{device}" for device in array.devices}
        assert seen.sizes[array.name] >= array.size, "no volume was planned on what is not there"
        assert seen.sizes[array.name] <= array.size * 1.02 + 16 * _MIB, "and not much is lost"
    assert seen.volumes == {(each.group, each.name): each.size for each in plan.volumes}
    physical = {path: group.name for group in plan.groups for path in group.devices}
    assert seen.physical == physical
    assert {path: seen.systems[path] for path in seen.systems} == {
        each.path: (each.filesystem, each.filesystem_uuid) for each in plan.file_systems
    }
    assert seen.mounts == {(each.mount_point or ""): each.path for each in plan.mounted if not each.kept}
    # An array that was stopped may leave a name behind that nothing has (of kind `md`).
    kinds = sorted(kind for kind in seen.kinds.values() if kind.startswith("raid"))
    assert kinds == sorted(f"raid{each.level.value}" for each in plan.arrays)
    assert sum(kind == "lvm" for kind in seen.kinds.values()) == len(plan.volumes)


def _script(plan: Plan) -> str:
    return f"{_STEP}{shell.functions(plan)}partition_disks\nformat_partitions\nmount_target\n"


def _release() -> str:
    return "{ free_target /target; for disk in /sys/block/vd* /sys/block/nvme*; do release_disk ${disk##*/}; done; } >/dev/null\n"


def _look(plan: Plan) -> str:
    """A script that says what there is, each part below a line ``=== WHAT NAME``."""
    lines = []
    for each in plan.disks:
        lines += [f"echo '=== table {each.disk.name}'", f"real sfdisk --json {each.disk.node}"]
    for array in plan.arrays:
        lines += [f"echo '=== array {array.name}'", f"real mdadm --detail --export {array.path}"]
        lines += [f"echo '=== size {array.name}'", f"blockdev --getsize64 {array.path}"]
    if plan.groups:
        lines += ["echo '=== volumes -'", _LVM.format(verb="lvs", fields="vg_name,lv_name,lv_size")]
        lines += ["echo '=== physical -'", _LVM.format(verb="pvs", fields="pv_name,vg_name")]
        lines += [f"echo '=== named {path}'\nreadlink -f {path}" for group in plan.groups for path in group.devices]
    for system in plan.file_systems:
        lines += [f"echo '=== system {system.path}'", f"real blkid -p -o export {system.path}"]
    for system in plan.mounted:
        lines += [f"echo '=== named {system.path}'", f"readlink -f {system.path}"]
    mounts = "while read -r d m _; do case $m in /target*) echo $(readlink -f $d) $m ;; esac; done </proc/mounts"
    lines += ["echo '=== mounts -'", mounts]
    lines += ["echo '=== kinds -'", "real lsblk -J -o NAME,TYPE", ""]
    return "\n".join(lines)


def _seen(said: str) -> Seen:
    found: dict[tuple[str, str], str] = {}
    for part in re.split(r"^=== ", said, flags=re.MULTILINE)[1:]:
        head, _, text = part.partition("\n")
        what, _, name = head.partition(" ")
        found[what, name] = text

    def of(kind: str) -> Iterator[tuple[str, str]]:
        return ((name, text) for (what, name), text in found.items() if what == kind)

    names = {text.strip(): name for name, text in of("named")}
    volumes, physical = ({}, {})
    if ("volumes", "-") in found:
        report = json.loads(found["volumes", "-"])["report"][0]["lv"]
        volumes = {(each["vg_name"], each["lv_name"]): int(each["lv_size"]) for each in report}
        report = json.loads(found["physical", "-"])["report"][0]["pv"]
        physical = {names.get(each["pv_name"], each["pv_name"]): each["vg_name"] for each in report}
    mounts = {point: path for path, point in (line.split() for line in found["mounts", "-"].splitlines())}
    return Seen(
        tables={name: json.loads(text)["partitiontable"].get("partitions", []) for name, text in of("table")},
        arrays={name: dict(line.split("=", 1) for line in text.splitlines() if "=" in line) for name, text in of("array")},
        sizes={name: int(text) for name, text in of("size")},
        volumes=volumes,
        physical=physical,
        systems={name: _system(text) for name, text in of("system")},
        mounts={(point.removeprefix("/target") or "/"): names[path] for point, path in mounts.items()},
        kinds=dict(_kinds(json.loads(found["kinds", "-"])["blockdevices"])),
    )


def _system(text: str) -> tuple[str, str]:
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return found.get("TYPE", ""), found.get("UUID", "")


def _kinds(devices: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for device in devices:
        yield device["name"], device["type"]
        yield from _kinds(device.get("children", []))


def data_of(plan: Plan) -> tuple[PlannedFileSystem, ...]:
    return tuple(each for each in plan.mounted if each.is_data)
