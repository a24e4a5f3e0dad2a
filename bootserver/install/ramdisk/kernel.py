"""The kernel of the installer: the newest one of the distribution that is installed here, else the newest that apt knows.

A kernel for clouds is none: it has no drivers for real machines. What apt fetches is unpacked into a folder of ours and not
installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bootserver.errors import Unavailable
from bootserver.install.ramdisk.architecture import Architecture

Say = Callable[[str], None]

_PACKAGE = re.compile(r"(linux-(?:image|modules|modules-extra)-\d\S*)")
_SPECIAL = ("cloud", "kvm", "rt", "azure", "aws", "gcp", "oracle", "virtual")  # flavours without drivers of real machines, or odd

# Three quarters of a kernel package that no installer has a use for.
_NEVER = (
    "sound",
    "drivers/gpu",
    "drivers/iio",
    "drivers/isdn",
    "drivers/media",
    "drivers/net/wireless",
    "drivers/staging",
    "net/bluetooth",
    "net/mac80211",
    "net/wireless",
)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel and its modules.

    :ivar version: as ``uname -r`` says it.
    :ivar modules: its folder of ``/lib/modules``.
    :ivar origin: ``installed``, or the packages that it was unpacked from.
    """

    version: str
    image: Path
    modules: Path
    origin: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The kernel to take; what must be fetched first is not fetched yet.

    :ivar origin: :attr:`Kernel.origin`, with the version where it is installed: another kernel has another one.
    """

    origin: str
    kernel: Kernel | None
    packages: tuple[str, ...] = ()

    def obtain(self, cache: Path, say: Say) -> Kernel:
        """The kernel, fetched if need be.

        :param cache: a folder for what apt fetches.
        :param say: told of what takes time.
        :raises Unavailable: it can't be fetched.
        """
        if self.kernel is not None:
            return self.kernel
        folder = cache / self.origin
        if not folder.is_dir():
            say(f"fetching {' and '.join(self.packages)}")
            _fetch(self.packages, cache, folder)
        _forget_others(folder)
        return _unpacked(folder)


def choose_kernel(architecture: Architecture, cache: Path, root: Path = Path("/")) -> Choice:
    """
    :param cache: where those are that were fetched before.
    :param root: where the frontend's own ``/boot`` and ``/lib/modules`` are.
    :raises Unavailable: there is none, and apt knows none.
    """
    installed = _newest_installed(root)
    if installed is not None:
        return Choice(f"{installed.origin} {installed.version}", installed)
    try:
        packages = newest_packages(_metapackage(architecture, root))
    except Unavailable:
        if (kept := _newest_kept(cache)) is not None:  # without a network it is good enough
            return Choice(kept.origin, kept)
        raise
    return Choice("+".join(packages).replace("/", "_"), None, packages)


def _newest_installed(root: Path) -> Kernel | None:
    found = []
    for image in (root / "boot").glob("vmlinuz-*"):
        version = image.name.removeprefix("vmlinuz-")
        modules = root / "lib" / "modules" / version
        if (modules / "kernel").is_dir() and os.access(image, os.R_OK) and _is_general(version) and _is_packaged(image):
            found.append(Kernel(version, image, modules, "installed"))
    return max(found, key=lambda kernel: _sortable(kernel.version), default=None)


def _is_general(version: str) -> bool:
    return not set(re.split(r"[-.+_]", version)) & set(_SPECIAL)


def _is_packaged(image: Path) -> bool:
    """Does it come from the distribution? One that a person built may lack any driver."""
    return subprocess.run(["dpkg-query", "-S", f"/boot/{image.name}"], capture_output=True, check=False).returncode == 0


def _sortable(version: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|[^\d]+", version)]


# -- from packages -----------------------------------------------------------------------------------------------


def _metapackage(architecture: Architecture, root: Path) -> str:
    try:
        text = (root / "etc" / "os-release").read_text()
    except OSError:
        text = ""
    words = dict(re.findall(r'^(ID|ID_LIKE)="?([^"\n]*)"?$', text, re.MULTILINE))
    for name in f"{words.get('ID', '')} {words.get('ID_LIKE', '')}".split():
        if name in architecture.kernels:
            return architecture.kernels[name]
    raise Unavailable(
        f"there is no kernel for the installer: install one, so that /boot/vmlinuz-VERSION and /lib/modules/VERSION are there "
        f"(on Debian and Ubuntu it would be fetched, and this is {words.get('ID', 'neither')})"
    )


def newest_packages(metapackage: str) -> tuple[str, ...]:
    """The packages of the newest kernel and of its modules, each as ``name=version``.

    :raises Unavailable: apt knows none, or is not there.
    """
    found: dict[str, str] = {}
    todo = [metapackage]
    while todo:
        # Ubuntu's modules are packages of their own: the image's package depends on the one, the metapackage on the other.
        stanzas = [_fields(stanza) for stanza in _apt_cache_show(todo).split("\n\n")]
        known = {stanza["Package"]: stanza for stanza in stanzas if "Package" in stanza and "Version" in stanza}
        for name in todo:
            if name not in known:
                raise Unavailable(f"there is no kernel for the installer, and apt knows no {name}: apt-get update")
        found |= {name: known[name]["Version"] for name in todo if name != metapackage}
        words = [word for name in todo for word in re.split(r"[,|]\s*", known[name].get("Depends", ""))]
        needed = dict.fromkeys(match[1] for word in words if (match := _PACKAGE.match(word.strip())))
        todo = [name for name in needed if name not in found]
    if not found:
        raise Unavailable(f"there is no kernel for the installer, and {metapackage} depends on none: apt-get update")
    return tuple(f"{name}={version}" for name, version in found.items())


def _fields(stanza: str) -> dict[str, str]:
    return {key: value.strip() for key, colon, value in (line.partition(":") for line in stanza.splitlines()) if colon}


def _apt_cache_show(names: list[str]) -> str:
    try:
        command = ["apt-cache", "show", "--no-all-versions", *names]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        raise Unavailable("there is no kernel for the installer, and no apt to fetch one: install a kernel") from None


def _fetch(packages: tuple[str, ...], cache: Path, folder: Path) -> None:
    """Fill `folder`; it appears whole or not at all."""
    try:
        cache.mkdir(mode=0o755, parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".kernel-", dir=cache))
    except OSError as error:
        raise Unavailable(f"{cache} can't be written: {error.strerror}") from error
    try:
        # apt's own sandbox user can't write into our folder.
        as_root = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
        _run(["apt-get", "download", "-q", *as_root, *packages], draft, packages)
        for archive in sorted(draft.glob("*.deb")):
            _run(["dpkg-deb", "-x", str(archive), str(draft)], draft, packages)
            archive.unlink()
        for modules in _module_folders(draft):
            for name in _NEVER:
                shutil.rmtree(modules / "kernel" / name, ignore_errors=True)
        _unpacked(draft)  # is all of it there?
        draft.chmod(0o755)
        draft.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # somebody else was faster
            raise Unavailable(f"{folder} can't be written: {error.strerror}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _run(command: list[str], folder: Path, packages: tuple[str, ...]) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        names = " ".join(package.partition("=")[0] for package in packages)
        raise Unavailable(
            f"the installer's kernel can't be fetched ({command[0]}: {why}): apt-get update, or apt-get install {names}, "
            f"then `bootserver installer build`"
        )


def _module_folders(folder: Path) -> list[Path]:
    return [each for top in ("lib", "usr/lib") for each in (folder / top / "modules").glob("*") if (each / "kernel").is_dir()]


def _unpacked(folder: Path) -> Kernel:
    """The kernel in a folder of the cache. :raises Unavailable: there is none."""
    for modules in _module_folders(folder):
        image = folder / "boot" / f"vmlinuz-{modules.name}"
        if image.is_file():
            return Kernel(modules.name, image, modules, folder.name)
    raise Unavailable(f"there is no kernel with its modules in {folder}: remove it, then `bootserver installer build`")


def _newest_kept(cache: Path) -> Kernel | None:
    """The newest of those that were fetched before."""
    folders = sorted((each for each in cache.glob("linux-*") if each.is_dir()), key=lambda each: _sortable(each.name))
    return _unpacked(folders[-1]) if folders else None


def _forget_others(folder: Path) -> None:
    for each in folder.parent.glob("linux-*"):
        if each != folder:
            shutil.rmtree(each, ignore_errors=True)
