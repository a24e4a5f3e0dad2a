"""Boot menus: a boot plan, encoded for each boot loader.

Each encoder has one quoting function of its own; everything that came from outside goes through it, even what passed
:mod:`bootserver.values.grammar` at the door. What can't be written for a loader raises :class:`Unencodable` - it is never
written down almost right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address
from urllib.parse import quote

from bootserver.cluster.plan import EfiApplication, FloppyBoot, LinuxBoot, LocalDisk, Plan, Wait
from bootserver.errors import BootserverError
from bootserver.values.firmware import Firmware

MAX_LINE = 2000
"""Characters of one console line or argument list. pxelinux reads 2,047 to a line (syslinux, core/include: FILENAME_MAX,
MAX_CMDLINE_LEN), and an x86 kernel takes as many."""
MAX_CONSOLE = 240

# What no loader interprets in a text that is only shown: no $ { } ' " \ ; & | < > # `, no control or other characters.
_NOT_SHOWN = re.compile(r"[^A-Za-z0-9 .,:=/+@_()\[\]%!*~^-]")


class Unencodable(BootserverError):
    """A plan that this boot loader can't carry out, or a value that can't be written for it; its text says which."""


@dataclass(frozen=True, slots=True)
class MenuContext:
    """Whom a menu is for, and where the files that it names are fetched.

    :ivar name: the node's name, or a MAC or an address for a machine that the cluster does not know.
    :ivar server: the frontend's address as this machine reaches it.
    :ivar again: path below the root of the menu that a waiting machine asks for again.
    :ivar by_http: kernels and ramdisks go by HTTP where the loader can; else by TFTP.
    """

    name: str
    firmware: Firmware
    server: IPv4Address
    again: str
    http_port: int = 80
    by_http: bool = True

    @property
    def authority(self) -> str:
        """Host, and port if it is not 80: as in a URL."""
        return str(self.server) if self.http_port == 80 else f"{self.server}:{self.http_port}"

    def url(self, path: str) -> str:
        """Where a path below the root (or a URL, as it is) is fetched.

        :raises Unencodable: it is not printable ASCII; how another character was meant, no loader could tell.
        """
        if not (path.isascii() and path.isprintable()):
            raise Unencodable(f"{path!r} can't be written in a boot menu")
        if "://" in path:
            return path
        scheme = f"http://{self.authority}" if self.by_http else f"tftp://{self.server}"
        return f"{scheme}/{quote(path.lstrip('/'), safe='/+@=,~:')}"


def shown(text: str) -> str:
    """A text for a person before the machine: anything that a loader might interpret is shown as ``?``.

    It is the one thing in a menu that is not refused when it can't be written: a menu is better off with a blemish in its
    comment than not at all.
    """
    return _NOT_SHOWN.sub("?", text)[:MAX_CONSOLE]


def console_line(plan: Plan, where: MenuContext) -> str:
    """What the machine is doing and why: ``compute-0-0: action os, local disk``."""
    match plan:
        case LocalDisk():
            what = "local disk"
        case LinuxBoot(kernel=path):
            what = f"kernel {path}"
        case FloppyBoot(image=path):
            what = f"floppy {path}"
        case EfiApplication(path=path):
            what = f"program {path}"
        case Wait(seconds=seconds):
            what = f"asking again every {seconds} seconds"
    because = plan.because if what in plan.because else f"{plan.because}, {what}"
    return shown(f"{where.name}: {because}")


def words(args: str, allowed: re.Pattern[str], loader: str) -> list[str]:
    """A kernel's arguments as words, each of them wholly of `allowed` characters.

    Only a space separates words here: any other white space is a character that no loader is given.

    :raises Unencodable: a word is not.
    """
    split = [word for word in args.split(" ") if word]
    for word in split:
        if not allowed.fullmatch(word):
            raise Unencodable(f"{word!r} can't be written in a {loader} menu")
    if sum(map(len, split)) + len(split) > MAX_LINE:
        raise Unencodable(f"kernel arguments of {len(args)} characters are too long for a {loader} menu (at most {MAX_LINE})")
    return split
