"""Makes an image from a distribution's packages: ``mmdebstrap``(1), or ``debootstrap``(8) where that is not there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bootserver.errors import NotFound, Unavailable, UsageError
from bootserver.images import chroot, identity, program
from bootserver.images.apt import Reading
from bootserver.images.frontend_apt import Source, own_sources
from bootserver.images.mending import DRIVERS, DRIVERS_FILE, GRUB_PACKAGES, forget_package_lists, kernel_package
from bootserver.tree.inside import Inside
from bootserver.values.progress import Progress, quiet

SUITES = {
    "debian-11": "bullseye",
    "debian-12": "bookworm",
    "debian-13": "trixie",
    "ubuntu-20.04": "focal",
    "ubuntu-22.04": "jammy",
    "ubuntu-24.04": "noble",
    "ubuntu-25.10": "questing",
    "ubuntu-26.04": "resolute",
}
"""The distributions that can be made, and what their archives call them."""

_COMPONENTS = {"debian": "main", "ubuntu": "main,universe"}
_KEYRINGS = {
    "debian": ("debian-archive-keyring", "/usr/share/keyrings/debian-archive-keyring.gpg"),
    "ubuntu": ("ubuntu-keyring", "/usr/share/keyrings/ubuntu-archive-keyring.gpg"),
}
ARCHITECTURES = ("amd64", "arm64")

PACKAGES = (
    "initramfs-tools",
    "systemd-sysv",
    "udev",
    "dbus",
    "kmod",
    "bash",
    "openssh-server",
    "rsync",
    "iproute2",
    "iputils-ping",
    "e2fsprogs",
    "dosfstools",
    "efibootmgr",
    "ca-certificates",
)
"""What a node needs besides a kernel and GRUB, small: a site adds what its work needs."""

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?([=/][A-Za-z0-9.+:~-]+)?")
_HOOK = f'mkdir -p "$1/etc/initramfs-tools/conf.d" && printf %s "$BOOTSERVER_DRIVERS" > "$1{DRIVERS_FILE}"'
"""Run by mmdebstrap before the kernel is installed, with the tree as its argument: the first initrd has all drivers already."""

_STEPS = {
    "running apt-get update": "fetching package lists",
    "downloading packages": "fetching the base system",
    "extracting archives": "unpacking the base system",
    "installing essential packages": "installing the base system",
    "installing remaining packages": "installing packages",
    "cleaning package lists": "cleaning up",
    # debootstrap
    "Retrieving Packages": "fetching package lists",
    "Extracting": "unpacking the base system",
    "Configuring": "installing packages",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an image is made of.

    :ivar distribution: ``debian-12``; one of :data:`SUITES`.
    :ivar mirrors: URLs or whole ``deb ...`` lines; none: the frontend's own, or those that mmdebstrap knows.
    :ivar packages: beside the default ones.
    :ivar defaults: install :data:`PACKAGES`, a kernel and GRUB.
    :ivar kernel: the kernel's package, where it is not the usual one.
    :ivar prepare: a program of the site's, run in the tree at the end.
    """

    distribution: str
    architecture: str = "amd64"
    mirrors: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    defaults: bool = True
    kernel: str | None = None
    prepare: Path | None = None

    def __post_init__(self) -> None:
        """:raises UsageError: it can't be made."""
        if self.distribution not in SUITES:
            raise UsageError(f"no distribution {self.distribution!r} that an image can be made of; there are {', '.join(SUITES)}")
        if self.architecture not in ARCHITECTURES:
            raise UsageError(f"no architecture {self.architecture!r}; there are {', '.join(ARCHITECTURES)}")
        for name in (*self.packages, *([self.kernel] if self.kernel else [])):
            if not _PACKAGE.fullmatch(name):
                raise UsageError(f"{name!r} is no package's name")
        for mirror in self.mirrors:
            _check_mirror(mirror)

    @property
    def family(self) -> str:
        return self.distribution.partition("-")[0]

    @property
    def suite(self) -> str:
        return SUITES[self.distribution]

    @property
    def wanted(self) -> list[str]:
        """All packages to be installed, each once."""
        names = list(self.packages)
        if self.defaults:
            kernel = self.kernel or kernel_package(self.distribution, self.architecture)
            names = [kernel, *GRUB_PACKAGES[self.architecture], *PACKAGES, *names]
        elif self.kernel:
            names = [self.kernel, *names]
        return list(dict.fromkeys(names))


def read_packages(path: Path) -> tuple[str, ...]:
    """A list of packages: one a line; ``#`` begins a comment.

    :raises NotFound: there is no such file. :raises UsageError: a line is no package's name.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise NotFound(f"the list of packages {path} can't be read: {why}") from error
    names = []
    for number, line in enumerate(text.splitlines(), 1):
        name = line.partition("#")[0].strip()
        if name and not _PACKAGE.fullmatch(name):
            raise UsageError(f"{path}:{number}: {name!r} is no package's name")
        if name:
            names.append(name)
    return tuple(names)


def create(tree: Path, recipe: Recipe, progress: Progress = quiet) -> str:
    """Fill an empty tree with a distribution.

    :returns: how it was made, in words.
    :raises Unavailable: a program or a keyring is missing. :raises ProgramFailed: it could not be made.
    """
    if recipe.prepare is not None and not recipe.prepare.is_file():
        raise NotFound(f"there is no program {recipe.prepare} to prepare the image with")
    _check_keyring(recipe)
    sources = () if recipe.mirrors else own_sources(recipe.suite)
    progress("fetching package lists", None)
    if shutil.which("mmdebstrap"):
        _mmdebstrap(tree, recipe, sources, progress)
        how = "mmdebstrap"
    elif shutil.which("debootstrap"):
        _debootstrap(tree, recipe, sources, progress)
        how = "debootstrap"
    else:
        raise Unavailable("there is no program mmdebstrap: apt-get install mmdebstrap")
    _finish(tree)
    if recipe.prepare is not None:
        _prepare(tree, recipe.prepare, progress)
    identity.strip(tree)
    return f"created with {how} from {recipe.suite}"


def _mmdebstrap(tree: Path, recipe: Recipe, sources: Sequence[Source], progress: Progress) -> None:
    command = ["mmdebstrap", "--mode=root", "--variant=apt", "--format=directory", "--verbose", f"--essential-hook={_HOOK}"]
    command += [f"--architectures={recipe.architecture}", f"--components={_COMPONENTS[recipe.family]}"]
    if recipe.wanted:
        command.append(f"--include={','.join(recipe.wanted)}")
    command += [recipe.suite, str(tree), *recipe.mirrors, *(source.line for source in sources)]
    _watched(command, recipe, progress)


def _debootstrap(tree: Path, recipe: Recipe, sources: Sequence[Source], progress: Progress) -> None:
    """The base by debootstrap; packages then by the tree's own apt, which resolves what debootstrap can't."""
    mirrors = [*recipe.mirrors, *(source.uri for source in sources)]
    if mirrors and mirrors[0].startswith("deb "):
        raise Unavailable("debootstrap takes a mirror's URL, no whole line: apt-get install mmdebstrap, or give the URL")
    command = ["debootstrap", "--variant=minbase", f"--arch={recipe.architecture}"]
    command += [f"--components={_COMPONENTS[recipe.family]}", recipe.suite, str(tree), *mirrors[:1]]
    _watched(command, recipe, progress)
    with Inside(tree) as inside:
        if sources:
            lines = "".join(f"{source.line}\n" for source in sources)
            inside.write("/etc/apt/sources.list", lines.encode())
        inside.make_folder(str(Path(DRIVERS_FILE).parent))
        inside.write(DRIVERS_FILE, DRIVERS.encode())
    reading = Reading(progress)
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *recipe.wanted]
    for step in (["apt-get", "update"], *([install] if recipe.wanted else []), ["apt-get", "clean"]):
        chroot.run(tree, step, what=" ".join(step[:2]), watch=reading, environment=chroot.UNATTENDED)
    with Inside(tree) as inside:
        forget_package_lists(inside)


def _watched(command: list[str], recipe: Recipe, progress: Progress) -> None:
    reading = Reading(progress)

    def watch(line: str) -> None:
        if line.startswith("I: "):
            words = next((words for begins, words in _STEPS.items() if line[3:].startswith(begins)), None)
            if words is not None:
                progress(words, None)
        else:
            reading(line)

    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}
    environment |= {"DEBIAN_FRONTEND": "noninteractive", "BOOTSERVER_DRIVERS": DRIVERS}
    whole = [*program.TOGETHER, *program.NAMESPACES, *command]
    program.run(whole, what=f"creating {recipe.distribution}", watch=watch, environment=environment)


def _finish(tree: Path) -> None:
    """No password that anybody could know, and nothing of the frontend's network."""
    with Inside(tree) as inside:
        shadow = (inside.text("/etc/shadow") or "").splitlines(keepends=True)
        locked = [re.sub(r"^root:[^!*:][^:]*:|^root::", "root:*:", line) for line in shadow]
        if locked != shadow:
            inside.write("/etc/shadow", "".join(locked).encode(), 0o640)
        inside.write("/etc/resolv.conf", b"")


def _prepare(tree: Path, source: Path, progress: Progress) -> None:
    progress(f"running {source.name}", None)
    name = "/root/.bootserver-prepare"
    with Inside(tree) as inside:
        inside.make_folder("/root")
        inside.remove(name)
        inside.write(name, source.read_bytes(), 0o700)
        try:
            chroot.run(tree, [name], what=f"{source.name}", environment=chroot.UNATTENDED)
        finally:
            inside.remove(name)


def _check_keyring(recipe: Recipe) -> None:
    package, path = _KEYRINGS[recipe.family]
    trusted = Path("/etc/apt/trusted.gpg.d")
    if not Path(path).is_file() and not any(trusted.glob(f"{recipe.family}*")):
        raise Unavailable(f"there is no {path}, which {recipe.family}'s packages are checked by: apt-get install {package}")


def _check_mirror(text: str) -> None:
    if not text.isprintable():
        raise UsageError(f"{text!r} is no mirror")
    url = urlsplit(text.split()[-3] if text.startswith("deb ") and len(text.split()) >= 4 else text)
    if url.scheme not in {"http", "https", "file", "copy"} or not (url.netloc or url.path):
        raise UsageError(f"{text!r} is no mirror: a URL (http, https, file), or a whole line that begins with 'deb '")
    if url.password is not None:
        raise UsageError("a mirror's password would be seen by everybody in the list of processes: put it into apt_auth.conf(5)")
