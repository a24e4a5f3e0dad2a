"""``bootserver network``: where nodes are."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import click

from bootserver.cli.arguments import IP, NO_VLAN, SUBNET, VLAN, complete_networks
from bootserver.cli.session import Session, change_options, confirm_options, pass_session
from bootserver.cli.table import format_option, show
from bootserver.errors import UsageError

_RELOAD = "a service that runs already listens on {device} after a `systemctl reload bootserver` (or SIGHUP)"


@click.group()
def network() -> None:
    """Networks that nodes are on. The first one comes from the configuration, and is where nodes boot."""


@network.command("list")
@format_option
@pass_session
def list_(session: Session, format_: str) -> None:
    """List networks.

    \b
    bootserver network list
    """
    from bootserver.db.rows import NetworkRow

    with session.read() as reader:
        rows = reader.rows(NetworkRow)
    show(
        ("NETWORK", "SUBNET", "DEVICE", "VLAN", "FRONTEND", "GATEWAY", "NAMESERVERS", "DOMAIN"),
        [
            (
                row.name,
                str(row.subnet),
                row.device,
                row.vlan,
                str(row.frontend),
                None if row.gateway is None else str(row.gateway),
                row.nameservers.split(),
                row.domain,
            )
            for row in rows
        ],
        format_,
    )


@network.command("add")
@click.argument("name")
@click.argument("subnet", type=SUBNET)
@click.option("--frontend", type=IP, required=True, help="The frontend's address, as nodes of this network reach it.")
@click.option("--device", metavar="DEVICE", help="The frontend's interface on it; leave it out for one behind a relay.")
@click.option("--vlan", type=VLAN, metavar="N", help="Nodes' own frames carry this tag there [they carry none].")
@click.option("--gateway", type=IP)
@click.option("--nameserver", "nameservers", type=IP, multiple=True, help="[the frontend]")
@click.option("--domain", help="[the frontend's]")
@change_options
@pass_session
def add(
    session: Session,
    name: str,
    subnet: IPv4Network,
    frontend: IPv4Address,
    device: str | None,
    vlan: int | None,
    gateway: IPv4Address | None,
    nameservers: tuple[IPv4Address, ...],
    domain: str | None,
) -> None:
    """Add a network that nodes have interfaces on.

    Without --device it is one that only relays and routers reach. A VLAN that the switch takes the tag off for nodes, as for
    most, needs no --vlan: that is for nodes whose firmware puts the tag on itself.

    \b
    bootserver network add storage 10.2.0.0/16 --frontend 10.2.1.1 --device eth2
    bootserver network add mgmt 10.4.0.0/16 --frontend 10.4.1.1 --device eth1.40
    bootserver network add far 10.3.0.0/24 --frontend 10.1.1.1 --gateway 10.3.0.1
    """
    from bootserver.cluster import networks

    with session.change() as change:
        served = networks.devices(change)
        networks.add(
            change,
            name,
            subnet,
            frontend=frontend,
            device=device,
            gateway=gateway,
            nameservers=list(nameservers),
            domain=domain or session.config.frontend.domain,
            vlan=vlan,
        )
        session.tell(f"Added network {name}")
        if device is not None and device not in served:
            session.tell(_RELOAD.format(device=device))


@network.command("set")
@click.argument("name", shell_complete=complete_networks)
@click.option("--frontend", type=IP, help="The frontend's address, as nodes of this network reach it.")
@click.option("--device", metavar="DEVICE", help="The frontend's interface on it.")
@click.option("--vlan", type=NO_VLAN, metavar="N", help="Nodes' own frames carry this tag there; `none`: they carry none.")
@click.option("--gateway", type=IP)
@click.option("--nameserver", "nameservers", type=IP, multiple=True, help="All of them: those that were are replaced.")
@click.option("--domain")
@change_options
@pass_session
def set_(
    session: Session,
    name: str,
    frontend: IPv4Address | None,
    device: str | None,
    vlan: int | None,
    gateway: IPv4Address | None,
    nameservers: tuple[IPv4Address, ...],
    domain: str | None,
) -> None:
    """Alter a network. Its subnet stays: nodes have addresses in it.

    \b
    bootserver network set private --gateway 10.1.1.254 --nameserver 10.1.1.1 --nameserver 10.1.1.2
    """
    from bootserver.cluster import networks

    if not any((frontend, device, vlan is not None, gateway, nameservers, domain)):
        raise UsageError("say what to set: --frontend, --device, --vlan, --gateway, --nameserver or --domain")
    with session.change() as change:
        served = networks.devices(change)
        networks.alter(
            change,
            name,
            frontend=frontend,
            device=device,
            gateway=gateway,
            nameservers=list(nameservers) or None,
            domain=domain,
            vlan=vlan,
        )
        session.tell(f"network {name}: set" if change.records else f"network {name}: was so already")
        if device is not None and device not in served:
            session.tell(_RELOAD.format(device=device))


@network.command("remove")
@click.argument("name", shell_complete=complete_networks)
@confirm_options
@change_options
@pass_session
def remove(session: Session, name: str) -> None:
    """Remove a network that no node has an interface on.

    \b
    bootserver network remove storage
    """
    from bootserver.cluster import networks

    session.confirm(f"Remove network {name}?")
    with session.change() as change:
        networks.remove(change, name)
        session.tell(f"Removed network {name}")
