"""What in an answer stands on what: the disks below a mount point, the members of an array or a group."""

from __future__ import annotations

from collections.abc import Iterator

from bootserver.install.partition.model import Answer, LogicalVolume, Partition, Raid, RaidLevel, Role


class Answered:
    """Looks at an answer; one that makes no sense has an answer to each question, too."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def of(self, mount_point: str) -> Partition | Raid | LogicalVolume | None:
        """What holds a mount point."""
        answer = self._answer
        systems: list[Partition | Raid | LogicalVolume] = [
            *(partition for each in answer.disks for partition in each.partitions),
            *answer.raids,
            *(volume for group in answer.groups for volume in group.volumes),
        ]
        return next((each for each in systems if each.mount_point == mount_point), None)

    def disks_of(self, mount_point: str) -> frozenset[str]:
        """The disks that a file system is on."""
        return frozenset(self._disks(self.of(mount_point)))

    def arrays_of(self, mount_point: str) -> tuple[Raid, ...]:
        """The arrays below a file system."""
        match self.of(mount_point):
            case Raid() as raid:
                return (raid,)
            case LogicalVolume() as volume:
                names = {group.name for group in self._answer.groups if volume in group.volumes}
                return tuple(raid for raid in self._answer.raids if raid.member in names)
        return ()

    def must_boot(self, mount_point: str) -> frozenset[str]:
        """The disks that a machine has to start from each: those of arrays that do with one less."""
        redundant = [each for each in self.arrays_of(mount_point) if each.level is not RaidLevel.RAID0]
        return frozenset(disk for raid in redundant for disk in self._members(Role.RAID, raid.name))

    def _disks(self, system: Partition | Raid | LogicalVolume | None) -> Iterator[str]:
        match system:
            case Partition():
                yield from (each.disk for each in self._answer.disks if any(part is system for part in each.partitions))
            case Raid():
                yield from self._members(Role.RAID, system.name)
            case LogicalVolume():
                for group in self._answer.groups:
                    if any(volume is system for volume in group.volumes):
                        yield from self._members(Role.LVM, group.name)
                        for raid in self._answer.raids:
                            if raid.member == group.name:
                                yield from self._disks(raid)

    def _members(self, role: Role, name: str) -> Iterator[str]:
        for each in self._answer.disks:
            if any(part.role is role and part.member == name for part in each.partitions):
                yield each.disk
