"""Builds the installer: kernel, ramdisk, and a description of both, below ``tftpboot``.

The ramdisk is two archives in one file. The first is not compressed, and what is in it is packed one by one: drivers and
programs that most machines never touch, so that unpacking them costs those machines nothing. The second is compressed as
a whole: what every install runs. The same inputs give the same bytes.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootserver import data
from bootserver.errors import Unavailable
from bootserver.install.ramdisk import firmware
from bootserver.install.ramdisk.architecture import X86_64, Architecture
from bootserver.install.ramdisk.cpio import Tree
from bootserver.install.ramdisk.inputs import Inputs, stamp, unchanged
from bootserver.install.ramdisk.kernel import Choice, Kernel, Say, choose_kernel
from bootserver.install.ramdisk.modules import ModuleTree, Selection, aliases, buses, dependencies, read_list, select
from bootserver.install.ramdisk.programs import Collector, Lacking, compress

KERNEL, RAMDISK, DESCRIPTION = "vmlinuz", "initrd.img", "build.json"
LIMIT = 40_000_000
"""Bytes that a ramdisk should stay below: a machine of 512 MB holds it twice while it boots."""

_LEVEL = 6
"""gzip: every kernel unpacks it. Of power-on to /init in QEMU without KVM (7.0 s) zstd and lz4 save 0.1 s, nothing at all saves
0.4 s and costs 12 MB, xz loses 2.5 s. Level 9 takes four times as long as 6 and saves 1 %."""

_SETTINGS = {
    # No udev runs in the ramdisk: whoever waits for it waits for ever.
    "/etc/lvm/lvm.conf": "activation { udev_sync = 0 udev_rules = 0 }\ndevices { obtain_device_list_from_udev = 0 }\n"
    "global { locking_type = 1 }\nbackup { backup = 0 archive = 0 }\n",
    "/etc/mdadm.conf": "",
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "/etc/group": "root:x:0:\n",
    "/etc/hosts": "127.0.0.1 localhost\n",
    # busybox' mount without a type tries these: the kernel itself knows a file system only once its driver is loaded.
    "/etc/filesystems": "ext4\nxfs\nvfat\niso9660\n",
}
_MKE2FS_CONF = "etc/mke2fs.conf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """An installer that was built, as ``build.json`` describes it.

    :ivar kernel: version, as ``uname -r`` says it. :ivar kernel_origin: ``installed``, or packages.
    :ivar kernel_size: bytes, as :ivar ramdisk_size: and :ivar unpacked_size: (of its files; packed programs stay packed).
    :ivar modules: how many. :ivar missing_modules: names that the kernel does not have.
    :ivar missing_programs: what the frontend does not have; nodes have to do without.
    :ivar firmware: how many files. :ivar missing_firmware: how many that drivers ask for and the frontend does not have.
    :ivar built: when, ISO 8601. :ivar seconds: how long it took.
    :ivar fresh: it was built just now; False: what was there is up to date.
    """

    architecture: str
    kernel: str
    kernel_origin: str
    kernel_size: int
    ramdisk_size: int
    unpacked_size: int
    modules: int
    missing_modules: tuple[str, ...]
    missing_programs: tuple[Lacking, ...]
    firmware: int
    missing_firmware: int
    built: str
    seconds: float
    fresh: bool = True


def build(
    tftpboot: Path,
    cache: Path,
    architecture: Architecture = X86_64,
    *,
    drivers: Path | None = None,
    force: bool = False,
    say: Say = lambda _: None,
    root: Path = Path("/"),
) -> Report:
    """Build the installer, unless the one that is there was built of the same.

    :param tftpboot: the kernel and the ramdisk come into its folder ``installer``.
    :param cache: where a kernel that apt fetches is kept, such as ``<state>/cache/installer``.
    :param drivers: a site's own list, like ``installer/modules``; it may be missing.
    :param force: build in any case.
    :param say: told of what takes time.
    :param root: whose kernel, programs and firmware are taken.
    :raises Unavailable: a part that is needed can't be had; the text names the package to install.
    """
    began = time.monotonic()
    folder = tftpboot / architecture.folder
    choice = choose_kernel(architecture, cache, root)
    fingerprint = _fingerprint(architecture, choice)
    if not force and (kept := _up_to_date(folder, fingerprint)) is not None:
        return kept
    kernel = choice.obtain(cache, say)
    inputs = Inputs()
    image = Inputs().read(kernel.image)
    parts = _assemble(architecture, kernel, inputs, root, drivers)
    ramdisk = parts.packed.archive() + gzip.compress(parts.ready.archive(), _LEVEL, mtime=0)
    if len(ramdisk) > LIMIT:
        say(f"the ramdisk has {len(ramdisk) / 1e6:.0f} MB: shorten installer/modules, or leave out firmware packages")
    report = Report(
        architecture=architecture.name,
        kernel=kernel.version,
        kernel_origin=kernel.origin,
        kernel_size=len(image),
        ramdisk_size=len(ramdisk),
        unpacked_size=parts.unpacked_size,
        modules=len(parts.selection.modules),
        missing_modules=parts.selection.missing,
        missing_programs=parts.lacking,
        firmware=parts.firmware,
        missing_firmware=parts.missing_firmware,
        built=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        seconds=round(time.monotonic() - began, 1),
    )
    description = {**dataclasses.asdict(report), "fingerprint": fingerprint, "inputs": inputs.stamps}
    del description["fresh"]
    text = json.dumps(description, indent=1) + "\n"
    _put(folder, {RAMDISK: ramdisk, KERNEL: image, DESCRIPTION: text.encode()})
    return report


def describe(tftpboot: Path, architecture: Architecture = X86_64) -> Report | None:
    """The installer that is there; None where there is none."""
    kept = _read(tftpboot / architecture.folder)
    return None if kept is None else _report(kept)


# -- what is in it -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Parts:
    ready: Tree
    packed: Tree
    selection: Selection
    lacking: tuple[Lacking, ...]
    firmware: int
    missing_firmware: int

    @property
    def unpacked_size(self) -> int:
        drivers = sum(len(module.content) for name, module in self.selection.modules.items() if name not in self.selection.ready)
        return self.ready.size + drivers


def _assemble(architecture: Architecture, kernel: Kernel, inputs: Inputs, root: Path, drivers: Path | None) -> _Parts:
    ready, packed = Tree(), Tree()
    ready.merge_usr()
    for name in ("/dev", "/proc", "/run", "/sys", "/mnt"):
        ready.folder(name)
    ready.folder("/root", 0o700)
    ready.folder("/tmp", 0o1777)  # noqa: S108  # the ramdisk's own
    # The kernel opens the console for /init before anything is mounted on /dev.
    ready.character_device("/dev/console", 5, 1, 0o600)
    ready.character_device("/dev/null", 1, 3, 0o666)
    lacking = Collector(architecture, inputs, root).collect(ready, packed)
    _scripts(ready, inputs)
    listed = inputs.read(data.folder("installer") / "modules").decode()
    if drivers is not None and inputs.exists(drivers):
        listed += inputs.read(drivers).decode(errors="replace")  # its last section goes on
    selection = select(read_list(listed), ModuleTree(kernel.modules, Inputs()))
    _drivers(kernel, selection, ready, packed)
    wanted = (name for module in selection.modules.values() for name in module.firmware)
    files, missing = firmware.find(wanted, inputs, [root / folder.relative_to("/") for folder in firmware.FOLDERS])
    for name, content in files.items():
        packed.file(f"/lib/firmware/{name}", content)
    for name, text in _SETTINGS.items():
        ready.file(name, text.encode())
    if inputs.exists(root / _MKE2FS_CONF):  # the distribution's choice of an ext4's features
        ready.file(f"/{_MKE2FS_CONF}", inputs.read(root / _MKE2FS_CONF))
    return _Parts(ready, packed, selection, lacking, len(files), len(missing))


def _scripts(ready: Tree, inputs: Inputs) -> None:
    for path in _sources():
        content = inputs.read(path)
        mode = 0o755 if content.startswith(b"#!") else 0o644
        ready.file("/init" if path.name == "init" else f"/lib/bootserver/{path.name}", content, mode)


def _sources() -> list[Path]:
    folder = data.folder("installer")
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".") and path.name[-1] != "~")


def _drivers(kernel: Kernel, selection: Selection, ready: Tree, packed: Tree) -> None:
    folder = f"/lib/modules/{kernel.version}"
    files = {}
    for name, module in selection.modules.items():
        if name in selection.ready:
            files[name] = f"{name}.ko"
            ready.file(f"{folder}/{name}.ko", module.content)
        else:
            files[name] = f"{name}.ko.xz"
            packed.file(f"{folder}/{name}.ko.xz", compress(module.content))
    ready.file(f"{folder}/modules.dep", dependencies(selection.modules, files).encode())
    ready.file(f"{folder}/modules.alias", aliases(selection.modules).encode())
    ready.file("/lib/bootserver/buses", buses(selection.modules).encode())


# -- what is there already ---------------------------------------------------------------------------------------


def _fingerprint(architecture: Architecture, choice: Choice) -> str:
    """What a ramdisk depends on beside the content of its inputs: the kernel, which scripts there are, and our own code."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    # An installed kernel's files may be built anew under the same name; a package's version says it all.
    stamps = () if choice.kernel is None else (stamp(choice.kernel.image), stamp(choice.kernel.modules / "modules.builtin"))
    digest.update("\n".join(map(str, (architecture.name, choice.origin, *stamps, *_sources()))).encode())
    return digest.hexdigest()


def _read(folder: Path) -> dict[str, Any] | None:
    """The description in a folder, where it fits the files beside it."""
    try:
        kept: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text())
        sizes = {KERNEL: kept["kernel_size"], RAMDISK: kept["ramdisk_size"]}
        fits = all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kept if fits else None


def _report(kept: dict[str, Any]) -> Report:
    names = {field.name for field in dataclasses.fields(Report)} - {"fresh"}
    facts: dict[str, Any] = {name: tuple(value) if isinstance(value := kept[name], list) else value for name in names}
    facts["missing_programs"] = tuple(Lacking(**each) for each in facts["missing_programs"])
    return Report(**facts, fresh=False)


def _up_to_date(folder: Path, fingerprint: str) -> Report | None:
    kept = _read(folder)
    if kept is None or kept.get("fingerprint") != fingerprint or not unchanged(kept["inputs"]):
        return None
    return _report(kept)


def _put(folder: Path, files: dict[str, bytes]) -> None:
    """Put files in place, all of them written before the first one takes its place.

    A node that boots at this very moment may get a kernel and a ramdisk that don't fit; ``/init`` sees it and boots again.
    """
    drafts = {name: folder / f".{name}.{os.getpid()}" for name in files}
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name, content in files.items():
            with drafts[name].open("wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), 0o644)  # the service reads it as another user
                file.flush()
                os.fsync(file.fileno())
        for name, draft in drafts.items():
            draft.replace(folder / name)
    except OSError as error:
        raise Unavailable(f"the installer can't be put into {folder}: {error.strerror}") from error
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
