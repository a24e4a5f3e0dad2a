"""Which kernel modules the ramdisk takes: those of the list ``installer/modules`` that the kernel has, and all that they need.

Dependencies and aliases are read from the modules themselves and written as depmod would write them (modules.dep(5)), for
these modules only: busybox' modprobe reads both files whole each time, and is the slower the longer they are.
"""

from __future__ import annotations

import fnmatch
import lzma
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bootserver.errors import BootserverError, Unavailable
from bootserver.install.ramdisk.elf import NotElf, module_info
from bootserver.install.ramdisk.inputs import Inputs

_SECTIONS = ("ready", "packed")
_SUFFIXES = (".ko", ".ko.xz", ".ko.gz", ".ko.zst")


class ListError(BootserverError):
    """The list of modules can't be understood; the text names file and line."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The list, as it is read.

    :ivar ready: what is kept unpacked; names or shell patterns.
    """

    ready: tuple[str, ...]
    packed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Module:
    """A kernel module.

    :ivar needs: the names of those that are loaded before it, and without which it can't be.
    """

    name: str
    content: bytes
    needs: tuple[str, ...]
    aliases: tuple[str, ...]
    firmware: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """What the ramdisk takes.

    :ivar ready: names of those that are kept unpacked.
    :ivar missing: what the list asks for and the kernel has neither as a module nor built in.
    """

    modules: Mapping[str, Module]
    ready: frozenset[str]
    missing: tuple[str, ...]


def read_list(text: str, name: str = "installer/modules") -> Wanted:
    """Read the list: one name or pattern a line below ``[ready]`` or ``[packed]``, comments behind ``#``.

    :raises ListError: a line is none of these.
    """
    found: dict[str, list[str]] = {section: [] for section in _SECTIONS}
    section = None
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        if word.startswith("["):
            section = word[1:-1]
            if section not in found or not word.endswith("]"):
                raise ListError(f"{name}:{number}: {word} is no section; there are [{'] and ['.join(_SECTIONS)}]")
        elif section is None or len(word.split()) != 1:
            raise ListError(f"{name}:{number}: one module a line, below [{'] or ['.join(_SECTIONS)}], not {word!r}")
        else:
            found[section].append(underscored(word))
    return Wanted(tuple(found["ready"]), tuple(found["packed"]))


def select(wanted: Wanted, tree: ModuleTree) -> Selection:
    """Find what the list asks for, and all that it needs."""
    ready = [name for word in wanted.ready for name in tree.matching(word)]
    packed = [name for word in wanted.packed for name in tree.matching(word)]
    missing = [word for word in (*wanted.ready, *wanted.packed) if not tree.matching(word) and not tree.is_built_in(word)]
    first = _closure(ready, tree, {})
    return Selection(_closure(packed, tree, dict(first)), frozenset(first), tuple(missing))


def dependencies(modules: Mapping[str, Module], files: Mapping[str, str]) -> str:
    """``modules.dep``.

    :param files: where each module is, by its name.
    """
    return "".join(
        f"{files[name]}:{''.join(f' {files[needed]}' for needed in _order(name, modules))}\n" for name in sorted(modules)
    )


def aliases(modules: Mapping[str, Module]) -> str:
    """``modules.alias``."""
    lines = [f"alias {alias} {name}\n" for name in sorted(modules) for alias in modules[name].aliases]
    return "".join(lines)


def buses(modules: Mapping[str, Module]) -> str:
    """The kinds of devices that any of these modules drives, as an extended regular expression: ``hid|pci|usb|virtio``."""
    kinds = (re.match(r"([a-z0-9]+)\W*:", alias) for module in modules.values() for alias in module.aliases)
    return "|".join(sorted({match[1] for match in kinds if match}))


class ModuleTree:
    """The modules of one kernel."""

    def __init__(self, folder: Path, inputs: Inputs) -> None:
        """
        :param folder: such as ``/lib/modules/6.1.0-56-amd64``.
        """
        self._inputs = inputs
        # Sorted, so that of two of one name (a site's own below updates/, as depmod prefers them) the choice is fixed.
        paths = sorted(folder.rglob("*.ko*"), key=lambda path: ("updates" in path.parts, str(path)))
        self._paths = {underscored(path.name.partition(".")[0]): path for path in paths if path.name.endswith(_SUFFIXES)}
        builtin = folder / "modules.builtin"
        lines = inputs.read(builtin).decode().split() if inputs.exists(builtin) else []
        self._builtin = frozenset(underscored(Path(line).stem) for line in lines)

    def matching(self, pattern: str) -> list[str]:
        """Names of modules, sorted."""
        if pattern in self._paths:
            return [pattern]
        return sorted(fnmatch.filter(self._paths, pattern))

    def is_built_in(self, pattern: str) -> bool:
        return pattern in self._builtin or bool(fnmatch.filter(self._builtin, pattern))

    def read(self, name: str) -> Module:
        """:raises Unavailable: it can't be read."""
        path = self._paths[name]
        content = _unpacked(path, self._inputs.read(path))
        try:
            info = module_info(content)
        except NotElf as error:
            raise Unavailable(f"{path} is no kernel module: {error}; reinstall the kernel's package") from error
        needs = [underscored(each) for field in info.get("depends", ()) for each in field.split(",") if each]
        # "pre: realtek": r8169 works without it, and badly. Most of these names are no modules, but algorithms that the
        # kernel asks for by alias when it comes to them.
        words = [underscored(word) for field in info.get("softdep", ()) for word in field.split("post:")[0].split()]
        needs += [word for word in words if word in self._paths and word not in needs]
        known = [each for each in needs if each in self._paths]
        return Module(name, content, tuple(known), tuple(info.get("alias", ())), tuple(info.get("firmware", ())))


def underscored(name: str) -> str:
    """The kernel's spelling: files are called ``virtio-rng.ko`` or ``virtio_net.ko`` as it pleases their authors."""
    return name.replace("-", "_")


def _closure(names: Iterable[str], tree: ModuleTree, found: dict[str, Module]) -> dict[str, Module]:
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = tree.read(name)
            todo += found[name].needs
    return found


def _order(name: str, modules: Mapping[str, Module]) -> list[str]:
    """All that `name` needs; what must be loaded first stands last, as modprobe reads it."""
    order: list[str] = []

    def visit(each: str, above: tuple[str, ...]) -> None:
        for needed in modules[each].needs:
            if needed not in order and needed not in above:  # a soft dependency may lead in a circle
                visit(needed, (*above, needed))
                order.append(needed)

    visit(name, (name,))
    return order[::-1]


def _unpacked(path: Path, content: bytes) -> bytes:
    match path.suffix:
        case ".ko":
            return content
        case ".xz":
            return lzma.decompress(content)
        case ".gz":
            import gzip

            return gzip.decompress(content)
        case _:
            try:
                return subprocess.run(["zstd", "-dcq"], input=content, capture_output=True, check=True).stdout
            except FileNotFoundError:
                raise Unavailable(f"{path.name} is packed with zstd: apt-get install zstd") from None
            except subprocess.CalledProcessError as error:
                raise Unavailable(f"{path} can't be unpacked: {error.stderr.decode(errors='replace').strip()}") from error
