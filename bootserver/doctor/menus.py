"""The boot menu of each node, as its address would get it: refused, waiting, unwritable, or naming files that are not there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from bootserver.cluster import journal
from bootserver.cluster.events import Kind
from bootserver.cluster.plan import EfiApplication, FloppyBoot, LinuxBoot, Plan, Wait
from bootserver.cluster.view import NodeView, View
from bootserver.config import Config
from bootserver.db.connection import DatabaseError, open_databases
from bootserver.doctor.finding import Finding, failure, note, ok, several, warning
from bootserver.doctor.site import Site
from bootserver.netboot import loaders
from bootserver.netboot.content import Content
from bootserver.netboot.files import FileStore
from bootserver.netboot.loaders import Loader, NoLoader, wanted_loader
from bootserver.netboot.menus import MenuContext, Unencodable, grub, ipxe, pxelinux
from bootserver.netboot.resolver import Render, Resolver
from bootserver.service.planning import planner
from bootserver.values.firmware import Firmware
from bootserver.values.mac import MacAddress

MOST = 200
"""Nodes that boot their disk and are looked at; they are all alike."""


@dataclass(frozen=True, slots=True)
class Menu:
    """What a node's firmware leads to. :ivar path: what its loader asks for."""

    firmware: Firmware
    path: str
    render: Render


def menus(site: Site) -> Iterator[Finding]:
    """Nodes that install or boot by network."""
    view, config = site.view, site.config
    assert view is not None
    nodes = chosen([node for node in view.nodes.values() if node.appliance.installs], quick=site.quick)
    if not nodes:
        yield note("no node boots by network yet", mend="bootserver insert-ethers, and power nodes on")
        return
    firmwares = _seen_firmware(config)
    examiner = _Examiner(config, view)
    problems: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
    for number, node in enumerate(nodes):
        site.progress("rendering menus", number / len(nodes))
        if all(interface.ip is None or interface.mac is None for interface in node.interfaces):
            problems["it has no MAC address or no address: it gets no answer", "bootserver node set NODE --mac MAC", True].append(
                node.name
            )
            continue
        known = firmwares.get(node.name)
        for what, mend, sure in examiner.problems(node, known):
            problems[what, mend, sure].append(node.name)
    for (what, mend, sure), names in problems.items():
        names = list(dict.fromkeys(names))
        make = failure if sure else warning
        who = names[0] if len(names) == 1 else f"{len(names)} nodes ({several(names)})"
        mend = mend.replace("NODE", names[0])
        yield make(
            f"menu of {who}: {what}",
            "it does not boot what it should" if len(names) == 1 else "they don't boot what they should",
            mend,
        )
    bad = {name for names in problems.values() for name in names}
    if len(nodes) > len(bad):
        yield ok(f"menus: of {len(nodes)} nodes looked at (of {len(view.nodes)}) {len(nodes) - len(bad)} boot what they should")


def chosen(nodes: list[NodeView], *, quick: bool = False) -> list[NodeView]:
    """All that do anything but boot their disk (in a hurry: some), and some of the others."""
    plain = [node for node in nodes if node.action.local_disk]
    others = [node for node in nodes if not node.action.local_disk]
    return (_some(others) if quick else others) + _some(plain)


def _some(nodes: list[NodeView]) -> list[NodeView]:
    return nodes[:: max(1, -(-len(nodes) // MOST))]


def _seen_firmware(config: Config) -> Mapping[str, Firmware]:
    """What nodes said of their firmware when they asked for an address last."""
    try:
        with open_databases(config).journal.read() as connection:
            told = journal.latest(connection, [Kind.ACKNOWLEDGED])
    except DatabaseError:
        return {}
    named = {firmware.name: firmware for firmware in Firmware}
    found = ((name, named.get(str(entry.event.detail.get("firmware")))) for name, entry in told.items())
    return {name: firmware for name, firmware in found if firmware is not None}


class _Examiner:
    def __init__(self, config: Config, view: View) -> None:
        self._config = config
        self._plan = planner(config)  # as the service does it; nobody is given the tickets
        self._files = FileStore(config.frontend.tftpboot)
        self._resolver = Resolver(
            lambda: view,
            self._plan,
            self._files,
            frontend=config.network.address,
            http_port=config.http.seen_port,
            by_http=config.http.boot_files,
        )
        self._missing: dict[str, bool] = {}

    def problems(self, node: NodeView, known: Firmware | None) -> list[tuple[str, str, bool]]:
        """What is wrong with a node's menus: what, the way out, whether it is sure that the node meets it."""
        found: list[tuple[str, str, bool]] = []
        interface = next(each for each in node.interfaces if each.ip is not None and each.mac is not None)
        assert interface.ip is not None and interface.mac is not None
        for firmware in (known,) if known else (Firmware.BIOS, Firmware.UEFI_X64):
            under = "" if known else f" (if it has {'UEFI' if firmware.is_uefi else 'BIOS'})"
            try:
                menu = self._menu(node, firmware, interface.ip, interface.mac)
            except NoLoader as error:
                found.append((f"{error}{under}", "bootserver attr set loader auto NODE", known is not None))
                continue
            plan = self._plan(node, interface, firmware)
            answer = self._resolver(menu.path, interface.ip)
            if not isinstance(answer, Content):
                found.append(
                    (f"{menu.path.replace(node.name, 'NODE')} is refused: {answer.why}{under}", "bootserver why NODE", True)
                )
                continue
            if isinstance(plan, Wait):
                because = plan.because.replace(node.name, "NODE")
                found.append(
                    (f"it boots nothing and waits: {because}{under}", "bootserver why NODE", known is not None and not under)
                )
                continue
            if why := self._unwritable(plan, menu, node, interface.network.frontend):
                found.append((f"{why}{under}", "bootserver pxe action list", True))
            found += [
                (f"{path}, which action {node.action.name} boots, is not below tftpboot", _way_to(path), True)
                for path in self._missing_files(plan)
            ]
        # The same trouble with both kinds of firmware is one.
        both = {what.partition(" (if it has ")[0] for what, _, _ in found}
        if len(found) == 2 and len(both) == 1 and found[0][0] != found[1][0]:
            return [(both.pop(), found[0][1], True)]
        return list(dict.fromkeys(found))

    def _menu(self, node: NodeView, firmware: Firmware, address: IPv4Address, mac: MacAddress) -> Menu:
        loader = wanted_loader(node.attributes)
        # Refuses what does not fit.
        loaders.boot_file(
            node.attributes,
            firmware,
            mac=mac,
            is_ipxe=False,
            ipxe_http=True,
            frontend=self._config.network.address,
            supplied=None,
        )
        if loader is Loader.IPXE:
            return Menu(firmware, f"ipxe/{'efi' if firmware.is_uefi else 'pcbios'}/01-{mac.dashed}", ipxe.render)
        if firmware.is_uefi or loader is Loader.GRUB:
            platform = next(name for name, each in loaders.GRUB_PLATFORMS.items() if each is _plain(firmware))
            return Menu(firmware, f"grub/{platform}/grub.cfg-01-{mac.dashed}", grub.render)
        return Menu(firmware, f"pxelinux.cfg/{address.packed.hex().upper()}", pxelinux.render)

    def _unwritable(self, plan: Plan, menu: Menu, node: NodeView, server: IPv4Address) -> str:
        http = self._config.http
        where = MenuContext(node.name, menu.firmware, server, menu.path, http.seen_port, http.boot_files)
        try:
            menu.render(plan, where)
        except Unencodable as error:
            return str(error)
        return ""

    def _missing_files(self, plan: Plan) -> list[str]:
        match plan:
            case LinuxBoot():
                paths = [plan.kernel, *plan.initrds]
            case FloppyBoot():
                paths = [plan.image]
            case EfiApplication():
                paths = [plan.path]
            case _:
                return []
        return [path for path in paths if "://" not in path and self._is_missing(path)]

    def _is_missing(self, path: str) -> bool:
        if path not in self._missing:
            self._missing[path] = self._files.resolve(path.lstrip("/")) is None
        return self._missing[path]


def _plain(firmware: Firmware) -> Firmware:
    """The same machine without HTTP Boot."""
    return {
        Firmware.UEFI_X64_HTTP: Firmware.UEFI_X64,
        Firmware.UEFI_IA32_HTTP: Firmware.UEFI_IA32,
        Firmware.UEFI_ARM64_HTTP: Firmware.UEFI_ARM64,
    }.get(firmware, firmware)


def _way_to(path: str) -> str:
    if path.startswith("installer/"):
        return "bootserver installer build"
    if path.startswith("memtest86+"):
        return "apt-get install memtest86+, then bootserver init"
    return "bootserver distro list and bootserver pxe action list show what should be there; put it there, or add it again"
