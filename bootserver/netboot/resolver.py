"""What a path is answered with: a boot menu rendered just now, or a file below ``tftpboot``.

TFTP and HTTP both ask here, so a loader finds the same under both. Which menu a machine gets is decided by its name, UUID or
address in the path; *whether* it gets one that holds a ticket is decided by the address that it asks from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

from bootserver.cluster.plan import EfiApplication, FloppyBoot, LinuxBoot, Plan, Wait
from bootserver.cluster.view import InterfaceView, NodeView, View
from bootserver.netboot.content import Content, Denied, Missing, Resolution, Served
from bootserver.netboot.files import normalise
from bootserver.netboot.loaders import GRUB_PLATFORMS, IPXE_PLATFORMS, LOADER_FILES
from bootserver.netboot.menus import MenuContext, Unencodable, grub, ipxe, pxelinux
from bootserver.values.firmware import Firmware
from bootserver.values.mac import MacAddress

MAX_CACHED: Final = 1 << 16
"""Menus kept ready. A reboot of everything asks for each of them a few times, within seconds."""

_MAC = r"(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}"
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# Where GRUB's prefix may point: Debian's signed image says /grub, grub-mknetdir /boot/grub, Red Hat's image its own folder.
_GRUB_FOLDER = r"(?:boot/)? (?:grub2?/|EFI/[A-Z0-9_-]+/)?"

# One expression finds out whether a path is a menu at all: most requests are, or are not, at its first character.
# pxelinux asks for its hexadecimal address with one digit less each time; only the whole one is a machine's.
_MENU = re.compile(
    rf"""
      pxelinux\.cfg/(?P<pxelinux> default | (?P<px_uuid>{_UUID}) | 01-(?P<px_mac>{_MAC}) | (?P<px_ip>(?-i:[0-9A-F]{{8}})) )
    | ipxe/(?P<ipxe>{"|".join(map(re.escape, IPXE_PLATFORMS))})/(?P<tftp>tftp/)?(?: 01-(?P<ipxe_mac>{_MAC}) | default )(?:\.ipxe)?
    | (?P<autoexec> autoexec\.ipxe )
    | (?P<by_http> grub/by-http\.cfg )
    | {_GRUB_FOLDER} (?P<grub_stub> grub\.cfg )
    | {_GRUB_FOLDER} (?: (?P<grub> {"|".join(map(re.escape, GRUB_PLATFORMS))} )/ )?
      grub\.cfg (?: -01-(?P<grub_mac>{_MAC}) | -(?P<grub_ip>(?-i:[0-9A-F]{{8}})) )?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_MODULE_LIST = re.compile(r"(?:.*/)?grub2?/(?:.*/)?(?P<which>[a-z]+)\.lst")


class Files(Protocol):
    """Where static files are: :class:`bootserver.netboot.files.FileStore`."""

    def resolve(self, name: str) -> Path | None: ...


Render = Callable[[Plan, MenuContext], str]
_NOBODY: tuple[None, None] = (None, None)


@dataclass(frozen=True, slots=True)
class _Asker:
    """Whoever asks, by the address that the request came from: the one thing that a path can't lie about."""

    address: IPv4Address | IPv6Address
    node: NodeView | None
    interface: InterfaceView | None

    def gets(self, body: bytes | Path, what: Served) -> Content:
        return Content(body, what, self.node.name if self.node else None, self.interface.mac if self.interface else None)

    def denied(self, why: str) -> Denied:
        return Denied(why, self.node.name if self.node else None, self.interface.mac if self.interface else None)


def _asker(view: View, client: IPv4Address | IPv6Address) -> _Asker:
    # A dual-stack socket shows IPv4 clients as ::ffff:10.1.1.2.
    address = client if isinstance(client, IPv4Address) else client.ipv4_mapped
    if address is None:
        return _Asker(client, None, None)
    node, interface = view.by_ip.get(address, _NOBODY)
    return _Asker(address, node, interface)


@dataclass(frozen=True, slots=True)
class _Request:
    """A menu that is asked for.

    :ivar node: whose it is, or None for a machine that the cluster does not know.
    :ivar interface: of that node, the one that it boots by, where it is known.
    :ivar name: how the menu calls the machine.
    :ivar named: the path says whose menu it is (else it is that of whoever asks).
    :ivar card: the network card that the machine boots by, where it is known.
    :ivar by_tftp: the loader has no HTTP.
    """

    render: Render
    firmware: Firmware
    node: NodeView | None
    interface: InterfaceView | None
    name: str
    named: bool
    card: MacAddress | None
    by_tftp: bool


class Resolver:
    """Answers a path for a client's address (:data:`bootserver.netboot.content.Resolve`).

    :param view: gives the view as it is now.
    :param boot_plan: what a node boots by one of its interfaces, or what a machine that is none does.
    :param files: what lies below ``tftpboot``.
    :param frontend: the frontend's address for clients that are in none of the view's networks.
    :param http_port: where the frontend's HTTP server is.
    :param by_http: kernels and ramdisks go by HTTP to the loaders that can.
    """

    def __init__(
        self,
        view: Callable[[], View],
        boot_plan: Callable[[NodeView | None, InterfaceView | None, Firmware], Plan],
        files: Files,
        *,
        frontend: IPv4Address,
        http_port: int = 80,
        by_http: bool = True,
    ) -> None:
        self._view = view
        self._boot_plan = boot_plan
        self._files = files
        self._frontend = frontend
        self._http_port = http_port
        self._by_http = by_http
        self._cache = _Cache(view())

    def __call__(self, path: str, client: IPv4Address | IPv6Address) -> Resolution:
        view = self._view()
        cache = self._cache
        if cache.view is not view:
            # One assignment: a thread that still renders from the old view fills the old cache, which nobody asks any more.
            cache = self._cache = _Cache(view)
        menu = cache.menus.get((path, client))
        if menu is not None:
            return menu
        return self._resolve(cache, path, client)

    def _resolve(self, cache: _Cache, path: str, client: IPv4Address | IPv6Address) -> Resolution:
        name = normalise(path)
        if name is None:
            return Missing(f"{path!r} is no path below tftpboot")
        asker = _asker(cache.view, client)
        match = _MENU.fullmatch(name)
        if match is None:
            return self._file(cache, name, asker)
        # A menu by the name that every machine asks for alike says only where to go on.
        if match["autoexec"]:
            return asker.gets(ipxe.stub().encode(), Served.MENU)
        if match["by_http"]:
            where = MenuContext("", Firmware.UEFI_X64, self._server(cache.view, asker), name, self._http_port)
            return asker.gets(grub.by_http(where).encode(), Served.FILE)
        if match["grub_stub"]:
            return asker.gets(grub.stub().encode(), Served.MENU)
        request = _request(match, cache.view, asker)
        if request.node is None:
            # A site's own menu for a machine that is no node of ours goes before our telling it so.
            static = self._file(cache, name, asker)
            if isinstance(static, Content):
                return static
            if request.named and request.render is pxelinux.render:
                return Missing(f"no node has {name}")  # pxelinux asks on, and ends with "default"
        resolution, keep = self._menu(cache.view, request, name, asker)
        if keep:
            cache.keep(path, client, resolution)
        return resolution

    def _menu(self, view: View, request: _Request, name: str, asker: _Asker) -> tuple[Resolution, bool]:
        """A menu, and whether it may be kept for the next time."""
        plan = self._boot_plan(request.node, request.interface, request.firmware)
        has_ticket = isinstance(plan, LinuxBoot) and plan.has_ticket
        if has_ticket and (request.node is None or asker.node is None or request.node.id != asker.node.id):
            return asker.denied(f"the menu of {request.name} holds a ticket and goes to its own address only"), False
        if isinstance(plan, LinuxBoot):
            plan = plan.by_card(request.card)
        where = MenuContext(
            name=request.name,
            firmware=request.firmware,
            server=self._server(view, asker),
            again=name,
            http_port=self._http_port,
            by_http=self._by_http and not request.by_tftp,
        )
        try:
            text = request.render(plan, where)
        except Unencodable as error:
            text = request.render(Wait(f"{plan.because}: {error}"), where)
        return asker.gets(text.encode(), Served.MENU), request.node is not None and not has_ticket

    def _server(self, view: View, asker: _Asker) -> IPv4Address:
        if asker.interface is not None:
            return asker.interface.network.frontend
        network = view.network_of(asker.address) if isinstance(asker.address, IPv4Address) else None
        return network.frontend if network else self._frontend

    def _file(self, cache: _Cache, name: str, asker: _Asker) -> Content | Missing:
        lists = _MODULE_LIST.fullmatch(name)
        # With the true fs.lst GRUB fetches each of its 31 file system modules to see whether one knows the disk (Debian's
        # 2.06, at `search` and `[ -f (hd0,gpt1)/... ]`). Our menus load what they need by name.
        if lists and lists["which"] == "fs":
            return asker.gets(b"", Served.FILE)
        path = self._files.resolve(name)
        if path is not None:
            return asker.gets(path, self._kind(cache, name, asker.node))
        # Some versions of GRUB stop where command.lst, crypto.lst or terminal.lst is missing; over HTTP, 2.06 reads the
        # text of a 404 as if it were the file.
        return asker.gets(b"", Served.FILE) if lists else Missing(f"no file {name} below tftpboot")

    def _kind(self, cache: _Cache, name: str, asker: NodeView | None) -> Served:
        """What a file is for: what it is in the plan of the node that asks, or a loader by its name."""
        if asker is not None:
            kinds = cache.kinds.get(asker.id)
            if kinds is None:
                plans = (self._boot_plan(asker, None, firmware) for firmware in (Firmware.BIOS, Firmware.UEFI_X64))
                kinds = cache.kinds[asker.id] = dict(kind for plan in plans for kind in _kinds(plan))
            if name in kinds:
                return kinds[name]
        return Served.LOADER if name in LOADER_FILES or name.startswith("grub/") else Served.FILE


class _Cache:
    """What was worked out from one view, and ends with it: a change of the cluster makes a new view."""

    __slots__ = ("kinds", "menus", "view")

    def __init__(self, view: View) -> None:
        self.view = view
        self.menus: dict[tuple[str, IPv4Address | IPv6Address], Resolution] = {}
        self.kinds: dict[int, dict[str, Served]] = {}

    def keep(self, path: str, client: IPv4Address | IPv6Address, menu: Resolution) -> None:
        if len(self.menus) >= MAX_CACHED:
            self.menus.clear()
        self.menus[path, client] = menu


def _kinds(plan: Plan) -> Iterator[tuple[str, Served]]:
    match plan:
        case LinuxBoot():
            for path in plan.initrds:
                yield path.lstrip("/"), Served.RAMDISK
            yield plan.kernel.lstrip("/"), Served.KERNEL
        case FloppyBoot():
            yield plan.image.lstrip("/"), Served.RAMDISK
        case EfiApplication():
            yield plan.path.lstrip("/"), Served.KERNEL


def _request(match: re.Match[str], view: View, asker: _Asker) -> _Request:
    """Whose menu a path is."""
    node, interface, name, named = asker.node, asker.interface, str(asker.address), False
    card = None if asker.interface is None else asker.interface.mac
    if mac_text := match["px_mac"] or match["ipxe_mac"] or match["grub_mac"]:
        card = mac = MacAddress.parse(mac_text.replace("-", ":"))
        (node, interface), name, named = view.by_mac.get(mac, _NOBODY), str(mac), True
    elif uuid_text := match["px_uuid"]:
        uuid = UUID(uuid_text)
        # pxelinux prints the octets as they are on the wire; people and iPXE write the first three fields the other way.
        node, name, named = view.by_uuid.get(uuid.bytes) or view.by_uuid.get(uuid.bytes_le), str(uuid), True
        interface = interface if node is asker.node else None
    elif ip_text := match["px_ip"] or match["grub_ip"]:
        address = IPv4Address(bytes.fromhex(ip_text))
        (node, interface), name, named = view.by_ip.get(address, _NOBODY), str(address), True
    if match["pxelinux"]:
        render, firmware = pxelinux.render, Firmware.BIOS
    elif match["ipxe"]:
        render, firmware = ipxe.render, IPXE_PLATFORMS[match["ipxe"].lower()]
    else:
        render, firmware = grub.render, GRUB_PLATFORMS[(match["grub"] or "x86_64-efi").lower()]
    if node is None and render is not pxelinux.render:
        # A node may boot by a card that the cluster does not know by its MAC, but has an address of its own.
        node, interface = asker.node, asker.interface
    return _Request(
        render, firmware, node, interface, node.name if node else name, named, card, by_tftp=match["tftp"] is not None
    )
