"""One machine's boot, step by step: what came, what comes next for its firmware, and where it stops.

A pure state machine: it is fed events and the time, and says lines. What a silence means is written down here, by what was seen
with SeaBIOS, iPXE, OVMF, shim and GRUB.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from bootserver.cluster.events import Event, Kind
from bootserver.netboot.loaders import GRUB_PLATFORMS


class Stage(enum.IntEnum):
    """How far a boot is."""

    SILENT = 0
    SEEN = 1
    OFFERED = 2
    ADDRESSED = 3
    LOADER = 4
    MENU = 5
    KERNEL = 6
    INSTALLING = 7
    INSTALLED = 8
    UP = 9
    LOCAL_DISK = 10
    FAILED = 11


class Boots(enum.Enum):
    """What its menu says."""

    LOCAL_DISK = "local disk"
    INSTALLER = "installer"  # one that tells of itself
    OTHER = "other"  # a kernel or a program that tells nothing
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Line:
    """:ivar seconds: since power-on (the first that was heard of this boot). :ivar trouble: it stops here, or may."""

    seconds: float
    text: str
    trouble: bool = False


@dataclass(frozen=True, slots=True)
class Expectation:
    """:ivar seconds: how long it may take. :ivar what: that should come. :ivar why: what mostly keeps it away."""

    seconds: float
    what: str
    why: str


Say = Callable[[Event], str]
ENDED: Final = frozenset({Stage.UP, Stage.LOCAL_DISK, Stage.FAILED})

_FROM_DHCP: Final = frozenset(
    {Kind.SEEN, Kind.IGNORED, Kind.ASKS, Kind.REGISTERED, Kind.OFFERED, Kind.ACKNOWLEDGED, Kind.REFUSED}
)
_FIREWALL: Final = "a firewall between (bootserver doctor), or the other DHCP server's offer won and it fetches from there"
_STAGES: Final = {
    Kind.SEEN: Stage.SEEN,
    Kind.ASKS: Stage.SEEN,
    Kind.REGISTERED: Stage.SEEN,
    Kind.OFFERED: Stage.OFFERED,
    Kind.ACKNOWLEDGED: Stage.ADDRESSED,
    Kind.LOADER_SENT: Stage.LOADER,
    Kind.MENU_SENT: Stage.MENU,
    Kind.KERNEL_SENT: Stage.KERNEL,
    Kind.RAMDISK_SENT: Stage.KERNEL,
    Kind.EXCHANGED: Stage.INSTALLING,
    Kind.SCRIPT_SENT: Stage.INSTALLING,
    Kind.KICKSTART_SENT: Stage.INSTALLING,
    Kind.INVENTORY: Stage.INSTALLING,
    Kind.PHASE: Stage.INSTALLING,
    Kind.INSTALLED: Stage.INSTALLED,
    Kind.UP: Stage.UP,
    Kind.FAILED: Stage.FAILED,
    Kind.PARKED: Stage.FAILED,
}


class Trace:
    """:ivar stage: how far it is.

    :param say: an event in words.
    :param boots: what its menu says now; asked when a menu was sent.
    :param now: seconds since the epoch.
    """

    def __init__(self, say: Say, boots: Callable[[], Boots], now: float) -> None:
        self.stage = Stage.SILENT
        self._say = say
        self._boots = boots
        self._menu: Boots | None = None
        self._began: float | None = None
        self._last = now  # what the silence is counted from
        self._told = False
        self._firmware = ""
        self._file = ""
        self._loader = ""

    @property
    def ended(self) -> bool:
        return self.stage in ENDED

    @property
    def arrived(self) -> bool:
        """It boots what it should."""
        return self.stage in (Stage.UP, Stage.LOCAL_DISK)

    def feed(self, event: Event) -> Iterator[Line]:
        """An event of this machine's."""
        if self._is_new_boot(event):
            yield from self._begin_anew(event)
        if self._began is None:
            self._began = event.at
        late = self._told
        self._last, self._told = event.at, False
        self._learn(event)
        trouble = event.kind in (Kind.IGNORED, Kind.REFUSED, Kind.DECLINED, Kind.NOT_SENT, Kind.DENIED, Kind.UNANSWERED,
                                 Kind.FAILED, Kind.PARKED, Kind.ALARM)  # fmt: skip
        yield Line(
            self._since(event.at), f"{event.kind.value}: {self._say(event)}".rstrip(": ") + (", at last" if late else ""), trouble
        )
        stage = _STAGES.get(event.kind)
        # A loader's further files, an installer's own request for an address: a boot does not go back by them.
        if stage is not None and (stage > self.stage or stage is Stage.FAILED):
            self.stage = stage
        if hint := self._hint(event):
            yield Line(self._since(event.at), hint, trouble)
        if event.kind is Kind.MENU_SENT:
            yield from self._after_menu(event)

    def tick(self, now: float) -> Iterator[Line]:
        """Time goes by. What does not come is said once."""
        wanted = self.expects()
        if wanted is None or self._told or now - self._last < wanted.seconds:
            return
        self._told = True
        yield Line(self._since(now), f"no {wanted.what} for {wanted.seconds:.0f} s: {wanted.why}", trouble=True)

    def expects(self) -> Expectation | None:
        """What comes next; None where nothing must."""
        match self.stage:
            case Stage.SILENT:
                return Expectation(
                    30, "sign of it", "is it on, does it boot by network first, is its cable in this network (bootserver doctor)?"
                )
            case Stage.SEEN:
                return Expectation(10, "offer to it", "it is not registered (yet): bootserver insert-ethers on the frontend")
            case Stage.OFFERED:
                return Expectation(
                    10,
                    "request for the address that it was offered",
                    "it took another DHCP server's offer (bootserver doctor asks for them), or the offer did not reach it "
                    "(a switch port that learns for 30 s: portfast; a firewall)",
                )
            case Stage.ADDRESSED:
                return self._after_address()
            case Stage.LOADER:
                return self._after_loader()
            case Stage.MENU if self._menu in (Boots.INSTALLER, Boots.OTHER):
                return Expectation(
                    20,
                    "kernel fetched",
                    "its loader can't fetch what its menu names: by HTTP, most likely a firewall (bootserver doctor)",
                )
            case Stage.KERNEL if self._menu is Boots.INSTALLER:
                return Expectation(
                    180,
                    "sign of the installer",
                    "its kernel has no driver for the card, or too little memory for the ramdisk (1 GB); its console says which",
                )
            case Stage.INSTALLING:
                return Expectation(
                    600, "news of the install", "it hangs, or unpacks packages and tells nothing; its console shows it"
                )
            case Stage.INSTALLED:
                return Expectation(
                    600, "sign after the install", "it does not boot again, or its firmware's boot order has changed"
                )
            case _:
                return None

    def seconds(self, now: float) -> float:
        """Since power-on."""
        return self._since(now)

    # -- what the firmware does next ---------------------------------------------------------------------------------

    def _after_address(self) -> Expectation | None:
        if not self._firmware and not self._file:
            return None  # an operating system's own request: it boots no more
        if not self._file:
            return Expectation(
                10,
                "boot file asked for",
                "it was told none: its appliance boots no loader, or the loader is missing (bootserver doctor)",
            )
        if self._file.startswith("http"):
            return Expectation(10, f"HTTP request for {self._file}", f"port 80 is not reached: {_FIREWALL}")
        return Expectation(10, f"TFTP request for {self._file}", f"most likely {_FIREWALL}")

    def _after_loader(self) -> Expectation:
        match self._loader:
            case "shimx64.efi":
                return Expectation(
                    15, "request of shim for grubx64.efi", "shim was refused by Secure Boot, or crashed: its screen shows it"
                )
            case "pxelinux.0":
                return Expectation(
                    15, "request of pxelinux for ldlinux.c32", "some BIOSes' PXE stack fails: bootserver attr set loader ipxe"
                )
            case "undionly.kpxe" | "snponly.efi" | "ipxe.efi":
                return Expectation(30, "request of iPXE", "it has no driver for this card, or its own DHCP request got no answer")
            case _:
                return Expectation(20, "request for a menu", "the loader hangs: its screen shows where")

    def _after_menu(self, event: Event) -> Iterator[Line]:
        self._menu = self._boots()
        since = self._since(event.at)
        if self._menu is Boots.LOCAL_DISK:
            # A stub only says where the true menu is; the loader asks for that at once.
            if not _is_stub(str(event.detail.get("path", ""))):
                self.stage = Stage.LOCAL_DISK
                yield Line(since, "its menu says: local disk; the rest is the disk's")
        elif self._menu is Boots.NOTHING:
            yield Line(since, "its menu says: nothing, and to wait (bootserver why tells the reason)", trouble=True)

    # -- one boot and the next ---------------------------------------------------------------------------------------

    def _is_new_boot(self, event: Event) -> bool:
        """Firmware asks for an address when it begins; iPXE and systems ask again later, and say so or say no firmware."""
        by_firmware = bool(event.detail.get("firmware")) and not event.detail.get("ipxe")
        return event.kind in _FROM_DHCP and event.kind is not Kind.ACKNOWLEDGED and by_firmware and self.stage >= Stage.LOADER

    def _begin_anew(self, event: Event) -> Iterator[Line]:
        since, reached = self._since(event.at), self.stage
        if reached in (Stage.LOADER, Stage.MENU, Stage.KERNEL) and (wanted := self.expects()) is not None:
            yield Line(since, f"it begins anew, and there was no {wanted.what}: {wanted.why}", trouble=True)
        else:
            yield Line(since, "it boots again")
        self._began = event.at
        self.stage, self._menu = Stage.SILENT, None
        self._file = self._loader = self._firmware = ""

    def _learn(self, event: Event) -> None:
        detail = event.detail
        if event.kind in (Kind.OFFERED, Kind.ACKNOWLEDGED):
            self._firmware = str(detail.get("firmware") or "")
            self._file = str(detail.get("file") or "")
        elif event.kind is Kind.LOADER_SENT:
            self._loader = str(detail.get("path", "")).rpartition("/")[2]

    def _hint(self, event: Event) -> str:
        """What to do about it."""
        because = str(event.detail.get("because", ""))
        match event.kind:
            case Kind.IGNORED if "no discovery is open" in because:
                return "to make it a node: bootserver insert-ethers"
            case Kind.IGNORED if "another" in because and "server" in because:
                return "another DHCP server answers here: bootserver doctor names it"
            case Kind.NOT_SENT:
                return "it broke off; firmware asks again, a bad cable or a full switch does not"
            case Kind.FAILED | Kind.PARKED:
                return "bootserver events and its console tell more; bootserver pxe set arms it again"
            case Kind.KERNEL_SENT if self._menu is Boots.OTHER:
                return "what it boots tells nothing more of itself (Ctrl-C ends)"
            case Kind.ASKS:
                return "insert-ethers asks a person about it"
            case _:
                return ""

    def _since(self, at: float) -> float:
        return 0.0 if self._began is None else max(0.0, at - self._began)


def _is_stub(path: str) -> bool:
    """A menu by the name that every machine asks for alike (:mod:`bootserver.netboot.resolver`)."""
    return path == "autoexec.ipxe" or (path.endswith("grub.cfg") and not any(f"{name}/" in path for name in GRUB_PLATFORMS))
