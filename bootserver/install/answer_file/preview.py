"""What nodes would get now, for people: the same files, from the database, the session token masked (there is none yet)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bootserver.cluster.change import MASK, Reader
from bootserver.cluster.load import load_view
from bootserver.cluster.passwords import Passwords
from bootserver.cluster.status import frontend_url
from bootserver.cluster.view import NodeView
from bootserver.db.rows import DistributionRow, NodeRow
from bootserver.errors import NotFound, Refused
from bootserver.install import answer_file
from bootserver.install.answer_file.facts import Given
from bootserver.install.checking.finding import Rendered
from bootserver.values.secret import Secret


@dataclass(frozen=True, slots=True)
class Preview:
    """:ivar given: what a node's file is made of."""

    node: NodeView
    distribution: DistributionRow
    given: Given

    def rendered(self, templates: Sequence[Path], name: str = "") -> Rendered:
        """:raises BootserverError: why it can't be made."""
        return Rendered(*answer_file.annotated(self.given, templates, name))


class Previews:
    """The cluster as it is now. :ivar port: by which nodes reach the web server."""

    def __init__(self, reader: Reader, port: int, authorized_keys: str, *, masked: bool = True) -> None:
        self._view = load_view(reader, 0)
        self._passwords = Passwords(reader)
        self._distributions = {row.name: row for row in reader.rows(DistributionRow)}
        self._port, self._keys, self._masked = port, authorized_keys, masked

    def of(self, row: NodeRow) -> Preview:
        """:raises Refused: it installs no distribution; the text says how it would."""
        node = self._view.nodes[row.name]
        wanted = node.attributes.get("distribution")
        if not wanted:
            image = node.attributes.get("image")
            why = f"it installs image {image}" if image else f"`bootserver attr set distribution NAME {row.name}`"
            raise NoDistribution(f"{row.name} has no distribution: {why}")
        distribution = self._distributions.get(wanted)
        if distribution is None:
            raise NotFound(
                f"{row.name}: there is no distribution {wanted!r}: `bootserver distro list` shows those that there are"
            )
        interface = next((nic for nic in node.interfaces if nic.ip is not None), None)
        if interface is None:
            raise Refused(f"{row.name} has no interface with an address, so it can't ask for anything")
        url = frontend_url(interface.network.frontend, self._port)
        password = self._passwords.of(row.id, row.appliance_id)
        return Preview(node, distribution, Given(node, distribution, url, Secret(MASK), self._keys, password, self._masked))


class NoDistribution(Refused):
    """The node installs nothing by a distribution's own installer."""
