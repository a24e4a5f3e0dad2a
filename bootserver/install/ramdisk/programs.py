"""The programs of the ramdisk: the frontend's own, each with its shared libraries.

Those that every install runs are there as they are. The others are *packed*: what stands in their place is a line of shell
that unpacks them when they are first called (``installer/unpack``), so that no machine waits for what it does not use.
"""

from __future__ import annotations

import lzma
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bootserver.errors import Unavailable
from bootserver.install.ramdisk.architecture import Architecture
from bootserver.install.ramdisk.cpio import Tree
from bootserver.install.ramdisk.elf import Linking, NotElf, linking
from bootserver.install.ramdisk.inputs import Inputs

PACKS = "/lib/bootserver/packs"
REAL_NAMES = "/lib/bootserver/real-names"
"""Shell functions for programs of which busybox has an applet of the same name: its shell would run that one."""

_FOLDERS = ("usr/sbin", "usr/bin", "sbin", "bin")
_LIBRARIES = ("lib", "usr/lib", "lib64", "usr/lib64")
_SHELL = "#!/bin/busybox sh\n"


@dataclass(frozen=True, slots=True)
class Program:
    """A program that the ramdisk takes.

    :ivar package: where it comes from.
    :ivar required: no ramdisk without it.
    :ivar pack: it is packed, together with those of the same pack.
    :ivar links: other names of it.
    """

    name: str
    package: str
    required: bool = False
    pack: str | None = None
    links: tuple[str, ...] = ()


PROGRAMS = (
    Program("rsync", "rsync", required=True),
    Program("sfdisk", "fdisk", required=True),
    Program("lsblk", "util-linux", required=True),
    Program("blkid", "util-linux"),
    Program("wipefs", "util-linux", required=True),
    Program("mke2fs", "e2fsprogs", required=True, links=("mkfs.ext2", "mkfs.ext3", "mkfs.ext4")),
    Program("mkfs.fat", "dosfstools", required=True, links=("mkfs.vfat",)),
    Program("mkswap", "util-linux", required=True),
    Program("efibootmgr", "efibootmgr", pack="efi"),
    Program("e2fsck", "e2fsprogs", pack="check", links=("fsck.ext2", "fsck.ext3", "fsck.ext4")),
    Program("tune2fs", "e2fsprogs", pack="check"),
    Program("resize2fs", "e2fsprogs", pack="check"),
    Program("fsck.fat", "dosfstools", pack="check", links=("fsck.vfat",)),
    Program("mkfs.xfs", "xfsprogs", pack="xfs"),
    Program("xfs_repair", "xfsprogs", pack="xfs"),
    Program("mdadm", "mdadm", pack="mdadm"),
    Program(
        "lvm",
        "lvm2",
        pack="lvm",
        links=(
            *(f"pv{verb}" for verb in ("change", "create", "display", "remove", "resize", "s", "scan")),
            *(f"vg{verb}" for verb in ("change", "create", "display", "extend", "reduce", "remove", "rename", "s", "scan")),
            *(f"lv{verb}" for verb in ("change", "create", "convert", "display", "extend", "remove", "rename", "s", "scan")),
        ),
    ),
    Program("dmsetup", "dmsetup", pack="lvm"),
    Program("kexec", "kexec-tools", pack="kexec"),
)

_APPLETS = """
    [ awk basename blockdev cat chmod chroot cp cpio cut dmesg find grep head hostname ip kill ln losetup ls mkdir mkfifo mknod
    modprobe mount mv nc od poweroff printf readlink reboot rm sed setsid sh sleep sort sync tail tar tee timeout touch tr udhcpc
    umount uname wc wget xargs xzcat
"""
# What our scripts call. The package `busybox` of some distributions lacks part of it, `busybox-static` none.


@dataclass(frozen=True, slots=True)
class Lacking:
    """A program that the frontend does not have."""

    name: str
    package: str

    def __str__(self) -> str:
        return f"{self.name} (package {self.package})"


class Collector:
    """Puts the frontend's programs and their libraries into a tree."""

    def __init__(self, architecture: Architecture, inputs: Inputs, root: Path = Path("/")) -> None:
        """
        :param root: whose programs these are.
        """
        self._architecture = architecture
        self._inputs = inputs
        self._root = root

    def collect(self, ready: Tree, packed: Tree) -> tuple[Lacking, ...]:
        """
        :param ready: takes what every install runs.
        :param packed: takes the packs.
        :returns: what the frontend lacks and the ramdisk can do without.
        :raises Unavailable: a required program is missing.
        """
        paths = {program: self._find(program.name) for program in PROGRAMS}
        lacking = tuple(Lacking(program.name, program.package) for program, path in paths.items() if path is None)
        self._require(paths)
        applets = self._busybox(ready)
        taken = [name for program, path in paths.items() if path is not None for name in (program.name, *program.links)]
        for name, place in applets.items():
            if name not in taken:
                ready.link(place, "/bin/busybox")
        packs: dict[str, list[tuple[Program, Path]]] = {}
        for program, path in paths.items():
            if path is None:
                continue
            for link in program.links:
                ready.link(f"/usr/sbin/{link}", program.name)
            if program.pack is None:
                self._add(ready, f"/usr/sbin/{program.name}", path)
            else:
                packs.setdefault(program.pack, []).append((program, path))
        for pack, members in sorted(packs.items()):
            self._pack(pack, members, ready, packed)
        names = sorted(set(taken) & applets.keys())
        ready.file(REAL_NAMES, "".join(f'{name}() {{ /usr/sbin/{name} "$@"; }}\n' for name in names).encode())
        return lacking

    def _find(self, name: str) -> Path | None:
        return next((path for folder in _FOLDERS if self._inputs.exists(path := self._root / folder / name)), None)

    def _require(self, paths: dict[Program, Path | None]) -> None:
        needed = [Lacking(program.name, program.package) for program, path in paths.items() if program.required and path is None]
        if self._find("busybox") is None:
            needed.append(Lacking("busybox", "busybox-static"))
        if needed:
            names = ", ".join(lacking.name for lacking in needed)
            packages = " ".join(dict.fromkeys(lacking.package for lacking in needed))
            raise Unavailable(f"the installer's ramdisk can't be made without {names}: apt-get install {packages}")

    def _busybox(self, ready: Tree) -> dict[str, str]:
        """Add busybox. :returns: where its applets belong, by name."""
        path = self._find("busybox")
        assert path is not None  # _require saw it
        self._add(ready, "/bin/busybox", path)
        done = subprocess.run([str(path), "--list-full"], capture_output=True, text=True, check=False)
        places = {line.rpartition("/")[2]: f"/{line}" for line in done.stdout.split()}
        if missing := sorted(set(_APPLETS.split()) - places.keys()):
            raise Unavailable(f"{path} has no {', '.join(missing)}: apt-get install busybox-static")
        return {name: place for name, place in places.items() if name != "busybox"}

    def _pack(self, pack: str, members: list[tuple[Program, Path]], ready: Tree, packed: Tree) -> None:
        tree = Tree()
        for program, path in members:
            self._add(tree, f"/usr/sbin/{program.name}", path, besides=ready)
            ready.file(f"/usr/sbin/{program.name}", f'{_SHELL}exec /lib/bootserver/unpack {pack} "$0" "$@"\n'.encode(), 0o755)
        packed.file(f"{PACKS}/{pack}.cpio.xz", compress(tree.archive()))

    def _add(self, tree: Tree, place: str, path: Path, besides: Tree | None = None) -> None:
        """Add a program and its libraries; those that are in the tree `besides` are left out."""
        content = self._inputs.read(path)
        tree.file(place, content, 0o755)
        todo = [(path, content)]
        while todo:
            user, content = todo.pop()
            for library in self._libraries(user, content):
                here = "/" + str(library.relative_to(self._root))
                if here in tree or (besides is not None and here in besides):
                    continue
                real = library.resolve()
                if real.name == library.name and real.parent != library.parent.resolve() and self._root in real.parents:
                    # The loader: its name in /lib64 is fixed for all programs, and it is a library like all others, too.
                    tree.link(here, f"/{real.relative_to(self._root)}")
                    library, here = real, f"/{real.relative_to(self._root)}"
                data = self._inputs.read(library)
                tree.file(here, data, 0o755)
                todo.append((library, data))

    def _libraries(self, user: Path, content: bytes) -> Iterator[Path]:
        try:
            link = linking(content)
        except NotElf as error:
            raise Unavailable(f"{user} can't be taken into the installer's ramdisk: {error}") from error
        if link.machine != self._architecture.elf_machine:
            raise Unavailable(
                f"{user} is no program for {self._architecture.name}: build on a frontend that is {self._architecture.name}"
            )
        if link.interpreter is not None:
            yield self._root / link.interpreter.lstrip("/")
        for name in link.needed:
            yield self._library(name, user, link)

    def _library(self, name: str, user: Path, link: Linking) -> Path:
        own = [
            Path(folder.replace("$ORIGIN", str(user.parent)).replace("${ORIGIN}", str(user.parent))) for folder in link.run_path
        ]
        triplet = f"{self._architecture.name}-linux-gnu"
        usual = [self._root / folder / below for below in (triplet, "") for folder in _LIBRARIES]
        for folder in (*own, *usual):
            path = folder / name
            if path.is_file() and self._is_ours(path):
                return path
        raise Unavailable(f"{user} needs {name}, which is not there: reinstall the package of {user.name}")

    def _is_ours(self, path: Path) -> bool:
        """Is it of our architecture? /usr/lib may hold another one's."""
        with path.open("rb") as file:
            head = file.read(20)
        return head[:4] == b"\x7fELF" and int.from_bytes(head[18:20], "little") == self._architecture.elf_machine


def compress(data: bytes) -> bytes:
    """Pack for busybox' xzcat and modprobe, which know no other check than CRC32.

    Level 1 makes it smaller than gzip's best, in a tenth of its time.
    """
    return lzma.compress(data, preset=1, check=lzma.CHECK_CRC32)
