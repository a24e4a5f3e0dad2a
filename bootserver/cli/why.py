"""``bootserver why``: why a node boots what it boots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bootserver.cli.arguments import complete_nodes
from bootserver.cli.session import Session, pass_session
from bootserver.cli.table import plain
from bootserver.errors import NotFound

if TYPE_CHECKING:
    from bootserver.cluster.change import Reader
    from bootserver.cluster.plan import Plan
    from bootserver.db.rows import ApplianceRow, InstallRow, NodeRow


@click.command()
@click.argument("node", shell_complete=complete_nodes)
@click.argument("attribute", required=False)
@pass_session
def why(session: Session, node: str, attribute: str | None) -> None:
    """Why NODE boots what it boots; with ATTRIBUTE, where its value of that comes from.

    \b
    bootserver why compute-0-0
    bootserver why compute-0-0 image
    """
    from bootserver.cluster import selection
    from bootserver.db.rows import ApplianceRow

    with session.read() as reader:
        found = selection.select(reader, [node])
        appliances = {row.id: row for row in reader.rows(ApplianceRow)}
        lines: list[str] = []
        for row in found:
            appliance = appliances[row.appliance_id]
            lines += _attribute(reader, row, appliance, attribute) if attribute else _boot(session, reader, row, appliance)
    click.echo("\n".join(map(plain, lines)))


def _attribute(reader: Reader, node: NodeRow, appliance: ApplianceRow, key: str) -> list[str]:
    from bootserver.cluster import attributes

    found = attributes.why(reader, node, appliance, key)
    if not found:
        raise NotFound(f"{node.name} has no attribute {key!r}: `bootserver attr list {node.name}` shows what it has")
    (where, value), *others = found
    return [f"{node.name}: {key} = {value} ({where})", *(f"  instead of {value} ({where})" for where, value in others)]


def _boot(session: Session, reader: Reader, node: NodeRow, appliance: ApplianceRow) -> list[str]:
    from bootserver.cluster import attributes, networks, nodes, status
    from bootserver.cluster.boot import Way
    from bootserver.db.rows import InstallRow, NetworkRow
    from bootserver.values.firmware import Firmware

    following = status.Nexts(reader).of(node)
    install = reader.one(InstallRow, "node_id = :node", node=node.id)
    nics = nodes.interfaces(reader, node)
    network = (reader.one(NetworkRow, "id = :id", id=nics[0].network_id) if nics else None) or networks.first(reader)
    way = Way(status.frontend_url(network.frontend, session.config.http.seen_port), vlan=network.vlan)
    bios, uefi = (
        status.plan(node, following, install, appliance, firmware, way) for firmware in (Firmware.BIOS, Firmware.UEFI_X64)
    )
    lines = [f"{node.name} boots {_plan(bios)}"]
    if uefi != bios:
        lines.append(f"  with UEFI    {_plan(uefi)}")
    lines.append(f"  action       {following.action.name}: {following.because}")
    if following.source:
        lines.append(f"  install      {following.source if following.resolved else f'can not be: {following.source}'}")
    if following.action.installs:
        for key in ("image", "distribution", "partition"):
            for where, value in attributes.why(reader, node, appliance, key)[:1]:
                lines.append(f"  {key:<12} {value} ({where})")
    lines += _install(install)
    lines += _loader(reader, node, appliance)
    if not nics:
        lines.append("  interface    none: it is not known by any MAC address, and gets no answer")
    return lines


def _install(install: InstallRow | None) -> list[str]:
    if install is None:
        return []
    told = f"{install.state.value} since {install.armed}" if install.phase is None else f"{install.state.value}, {install.phase}"
    return [f"  ticket       {told}{', may wipe data partitions' if install.wipe else ''}"]


def _loader(reader: Reader, node: NodeRow, appliance: ApplianceRow) -> list[str]:
    from bootserver.cluster import attributes

    return [f"  loader       {value} ({where})" for where, value in attributes.why(reader, node, appliance, "loader")[:1]]


def _plan(plan: Plan) -> str:
    from bootserver.cluster.plan import EfiApplication, FloppyBoot, LinuxBoot, LocalDisk, Wait

    match plan:
        case LocalDisk():
            return "its disk"
        case LinuxBoot():
            return " ".join([plan.kernel, *plan.initrds, plan.args]).strip()
        case FloppyBoot():
            return f"the floppy image {plan.image} {plan.args}".strip()
        case EfiApplication():
            return f"the UEFI program {plan.path} {plan.args}".strip()
        case Wait():
            return f"nothing, and waits: {plan.because}"
