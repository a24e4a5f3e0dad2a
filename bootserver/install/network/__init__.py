"""A node's links, as its image's own tool wants to be told: systemd-networkd, ifupdown, or NetworkManager.

Nothing here gives a card a name. A site's ``eth0`` is not the kernel's, and renaming cards to names that the kernel gives away
itself is a race that udev may lose (systemd.link(5), ``Name=``): a card is called what the system calls it, and is found by its
MAC address. Only what is made of cards, bonds and VLANs, is called as the cluster does.
Addresses are static: a node keeps its own while the frontend is away.
"""

from __future__ import annotations

from collections.abc import Sequence

from bootserver.cluster.view import NodeView
from bootserver.install.entries import Entry
from bootserver.install.links import Link, links
from bootserver.install.network import ifupdown, keyfiles, networkd
from bootserver.install.target import Network, Target


def network_files(node: NodeView, target: Target) -> list[Entry]:
    """The files for all of a node's links. :raises Refused: an attribute or a name is wrong, or the tool can't do it."""
    made = links(node)
    match target.network:
        case Network.NETWORKD:
            return [*networkd.files(made), *_resolv_conf(made)]
        case Network.IFUPDOWN:
            return [*ifupdown.files(made), *_resolv_conf(made)]
        case Network.NETWORK_MANAGER:
            return keyfiles.files(made, node.name)


def _resolv_conf(made: Sequence[Link]) -> list[Entry]:
    servers = dict.fromkeys(server for link in made for server in link.nameservers)
    if not servers:
        return []
    domain = next((link.domain for link in made if link.domain), "local")
    lines = [f"search {domain}", *(f"nameserver {server}" for server in servers)]
    return [Entry.text("etc/resolv.conf", "\n".join(lines) + "\n")]
