"""Boot partitions for answers that have none: Rocks' programs are older than GPT and UEFI, and new ones need not care.

On each disk that the machine may have to start from both are made, whatever firmware it has: else one that changes from BIOS
to UEFI had no room for its boot partition, unless its data went.
"""

from __future__ import annotations

from dataclasses import replace

from bootserver.install.inventory import FirmwareKind, Inventory
from bootserver.install.partition.answered import Answered
from bootserver.install.partition.default import ESP, ESP_4K
from bootserver.install.partition.model import ESP_MOUNT_POINT, Answer, DiskAnswer, Partition, Role


def with_boot_partitions(answer: Answer, inventory: Inventory) -> tuple[Answer, tuple[str, ...]]:
    """
    :returns: the answer with what it lacks, in front of each disk's other partitions, and a line for people about each disk.
    """
    wanted = _disks(answer)
    is_uefi = inventory.firmware is FirmwareKind.UEFI
    has_mounted = any(part.role is Role.ESP and part.mount_point for each in answer.disks for part in each.partitions)
    notes, disks = [], []
    for each in answer.disks:
        if each.disk not in wanted:
            disks.append(each)
            continue
        parts, added = list(each.partitions), []
        esp = next((number for number, part in enumerate(parts) if part.role is Role.ESP), None)
        mount = is_uefi and not has_mounted
        has_mounted = has_mounted or mount
        if esp is None:
            size = _esp_size(inventory, each.disk)
            parts.insert(0, Partition.esp(size, mounted=mount))
            added.append(f"an EFI system partition ({size} MB)")
        elif mount:
            parts[esp] = replace(parts[esp], mount_point=ESP_MOUNT_POINT)
        if not any(part.role is Role.BIOS_BOOT for part in parts):
            parts.insert(0, Partition.bios_boot())
            added.insert(0, "a BIOS boot partition (1 MB)")
        disks.append(DiskAnswer(each.disk, tuple(parts)))
        if added:
            notes.append(f"{each.disk}: {' and '.join(added)} added, which the program does not have")
    return replace(answer, disks=tuple(disks)), tuple(notes)


def _disks(answer: Answer) -> frozenset[str]:
    """The disks that the machine has to start from."""
    answered = Answered(answer)
    point = "/boot" if answered.of("/boot") else "/"
    if found := answered.must_boot(point):
        return found
    of_system = answered.disks_of(point)
    return frozenset([each.disk for each in answer.disks if each.disk in of_system][:1])


def _esp_size(inventory: Inventory, name: str) -> int:
    disk = inventory.disk(name)
    return ESP if disk is None or disk.sector_size == 512 else ESP_4K
