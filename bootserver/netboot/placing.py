"""Puts the boot loaders in place below ``tftpboot``: copied out of the distribution's packages, or made by ``grub-mkimage``.

It can be run again at any time: what is up to date stays, a package's newer file replaces the older one in one step (a
machine that fetches it meanwhile gets the one or the other), and nothing of a site's own is touched.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from bootserver.netboot.loaders import GRUB_IMAGES, GRUB_MODULES, GRUB_PLATFORMS, LOADERS, GrubImage
from bootserver.netboot.menus import grub

MKIMAGES = ("grub-mkimage", "grub2-mkimage")
"""The program that makes GRUB images, as Debian (package grub-common) and Red Hat's family call it."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """A loader that could not be put in place."""

    name: str
    package: str
    why: str

    def __str__(self) -> str:
        return f"{self.name}: {self.why}; install {self.package}"


@dataclass(slots=True)
class Report:
    """What :func:`place_loaders` did; names below the root."""

    placed: list[str] = field(default_factory=list)
    up_to_date: list[str] = field(default_factory=list)
    missing: list[Lacking] = field(default_factory=list)

    @property
    def packages(self) -> list[str]:
        """The packages to install for what is missing."""
        return sorted({lacking.package for lacking in self.missing})


def place_loaders(root: Path) -> Report:
    """Put every loader of :mod:`bootserver.netboot.loaders` in place.

    :param root: ``tftpboot``; made if it is not there.
    :raises OSError: it can't be written.
    """
    report = Report()
    for entry in LOADERS:
        source = next((path for path in map(Path, entry.sources) if path.is_file()), None)
        if source is not None:
            _place(root, entry.name, source.read_bytes(), report)
        elif not entry.optional and not (root / entry.name).is_file():
            report.missing.append(Lacking(entry.name, entry.package, f"there is no {entry.sources[0]}"))
    _place_modules(root, report)
    for image in GRUB_IMAGES:
        _place_image(root, image, report)
    return report


def _place_modules(root: Path, report: Report) -> None:
    folder = next((path for path in map(Path, GRUB_MODULES.sources) if path.is_dir()), None)
    if folder is None:
        report.missing.append(Lacking(GRUB_MODULES.name, GRUB_MODULES.package, f"there is no {GRUB_MODULES.sources[0]}"))
        return
    for source in sorted(path for path in folder.iterdir() if path.suffix in {".mod", ".lst"}):
        _place(root, f"{GRUB_MODULES.name}/{source.name}", source.read_bytes(), report)


def _place_image(root: Path, image: GrubImage, report: Report) -> None:
    try:
        _place(root, image.name, make_image(image), report)
    except FileNotFoundError:
        report.missing.append(Lacking(image.name, "grub-common", f"there is no program {MKIMAGES[0]}"))
    except subprocess.CalledProcessError as error:
        said = (error.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"])[-1]
        report.missing.append(Lacking(image.name, image.package, f"{MKIMAGES[0]} failed ({said})"))


def make_image(image: GrubImage) -> bytes:
    """A GRUB core image; the same bytes from the same modules.

    :raises FileNotFoundError: there is no ``grub-mkimage``.
    :raises subprocess.CalledProcessError: it failed, most likely for want of its modules.
    """
    program = next((found for name in MKIMAGES if (found := shutil.which(name))), MKIMAGES[0])
    with tempfile.TemporaryDirectory(prefix="bootserver-grub-") as folder:
        output = Path(folder, "image")
        command = [program, f"--format={image.format}", f"--output={output}", f"--prefix={image.prefix}"]
        if image.local:
            # A configuration embedded by --config is read by a parser that knows neither `for` nor `if`; one in a
            # memdisk is read by the true one.
            disk = Path(folder, "memdisk.tar")
            disk.write_bytes(_memdisk(_local_config(image)))
            command.append(f"--memdisk={disk}")
        subprocess.run([*command, *image.modules], check=True, capture_output=True)
        return output.read_bytes()


def _local_config(image: GrubImage) -> str:
    # At its end it goes back to iPXE, whose script asks for its menu again.
    return "\n".join([*grub.local_disk(GRUB_PLATFORMS[image.format], "this machine"), "exit", ""])


def _memdisk(config: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo("boot/grub/grub.cfg")  # owner 0, time 0: the same bytes each time
        content = config.encode()
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _place(root: Path, name: str, content: bytes, report: Report) -> None:
    """Write a file aside and rename it, unless it is there already."""
    target = root / name
    try:
        # A link is never served (netboot/files.py), so one that was put here is replaced by a copy.
        if not target.is_symlink() and target.read_bytes() == content:
            report.up_to_date.append(name)
            return
    except FileNotFoundError:
        pass
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, aside = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.replace(aside, target)  # noqa: PTH105 (a name from mkstemp)
    except BaseException:
        os.unlink(aside)  # noqa: PTH108
        raise
    report.placed.append(name)
