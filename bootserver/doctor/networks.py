"""Networks beyond the frontend's own cable: those behind routers, tagged ones, and what nodes have on each (iproute2's JSON)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bootserver.cluster import pairing
from bootserver.cluster.view import NetworkView, NodeView, View
from bootserver.config import DhcpMode
from bootserver.doctor.finding import Finding, note, ok, several, warning
from bootserver.doctor.site import Site
from bootserver.errors import UsageError
from bootserver.service import iproute
from bootserver.values.interfaces import ATTRIBUTE, Wanted, wanted


def networks(site: Site) -> Iterator[Finding]:
    """Each network, and what nodes lack on them."""
    assert site.view is not None
    serves = site.config.dhcp.mode is DhcpMode.SERVER
    booted_from = {node.interfaces[0].network.id for node in site.view.nodes.values() if node.interfaces}
    if iproute.is_there():
        devices = {each.get("ifname", ""): each for each in iproute.ask("-details", "link", "show")}
        for network in site.view.networks:
            if network.device is None:
                routes = iproute.ask("route", "get", str(network.subnet.network_address + 1))
                yield from judge_route(network, routes, serves=serves, nodes_boot=network.id in booted_from)
            else:
                yield from judge_tag(network, devices.get(network.device, {}))
    yield from _lacking(site.view)
    yield from _unpaired(site.view)


def judge_route(
    network: NetworkView, routes: list[dict[str, Any]], *, serves: bool, nodes_boot: bool = True
) -> Iterator[Finding]:
    """A network behind a router, by what ``ip -json route get`` says of an address in it.

    :param serves: we are its DHCP server, and no other tells its nodes their router.
    :param nodes_boot: some node's first card is on it; else it may be one that nodes have among themselves.
    """
    named = f"network {network.name} ({network.subnet})"
    device = routes[0].get("dev", "") if routes else ""
    if (not device or device == "lo") and not nodes_boot:
        yield note(
            f"the frontend is not on {named}, and has no route to it",
            "right for a network that nodes have among themselves; none can boot from it",
            f"ip route add {network.subnet} via ROUTER, if it is behind a relay",
        )
    elif not device or device == "lo":
        yield warning(
            f"the frontend has no route to {named}",
            "its relay asks, and our answers find no way back",
            f"ip route add {network.subnet} via ROUTER, and where routes are configured",
        )
    elif serves and network.gateway is None:
        yield warning(
            f"nodes of {named} are told of no router",
            f"they get an address, and don't reach the frontend ({network.frontend})",
            f"bootserver network set {network.name} --gateway ADDRESS",
        )
    else:
        yield ok(f"{named} is reached by {device}")


def judge_tag(network: NetworkView, device: dict[str, Any]) -> Iterator[Finding]:
    """Whether the frontend's device tags its frames as nodes are told to (``ip -details -json link show``)."""
    about = device.get("linkinfo", {})
    tag = about.get("info_data", {}).get("id") if about.get("info_kind") == "vlan" else None
    if network.vlan is not None and tag is not None and tag != network.vlan:
        yield warning(
            f"nodes of network {network.name} are told VLAN {network.vlan}, and {network.device} is in VLAN {tag}",
            "they don't hear each other",
            f"bootserver network set {network.name} --vlan {tag} (or `none`, where the switch takes the tag off)",
        )


def _lacking(view: View) -> Iterator[Finding]:
    """Nodes that were there before their attribute `interfaces` said what they have."""
    lacking: dict[Wanted, list[str]] = {}
    for node in view.nodes.values():
        devices = {each.device for each in node.interfaces}
        for each in _wanted(node):
            if each.device not in devices:
                lacking.setdefault(each, []).append(node.name)
    for each, names in lacking.items():
        has = "has" if len(names) == 1 else "have"
        yield note(
            f"{several(names)} {has} no interface {each.device}, as the attribute {ATTRIBUTE} says",
            "it is given to nodes when they are added",
            f"bootserver node set NODE... --add-interface {each.device} --network {each.network}",
        )


def _wanted(node: NodeView) -> tuple[Wanted, ...]:
    try:
        return wanted(node.attributes.get(ATTRIBUTE, ""))
    except UsageError:  # of an old dump
        return ()


def _unpaired(view: View) -> Iterator[Finding]:
    pairs = pairing.of_view(view)
    names = [node.name for node in view.nodes.values() if node.appliance.name == pairing.APPLIANCE and node.name not in pairs]
    if names:
        yield note(
            f"no node is the one of the BMC{'s' if len(names) > 1 else ''} {several(names)}",
            "a BMC is of the machine at its rack and rank, or of the one whose name it has with -bmc at the end",
            "bootserver node rename BMC NODE-bmc",
        )
