"""Nodes and distributions that answer files are rendered for: one card, four with a bond and VLANs, no gateway, many wishes."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from bootserver import data
from bootserver.cluster.passwords import Password
from bootserver.cluster.view import InterfaceView, NodeView
from bootserver.db.rows import DistributionRow
from bootserver.install.answer_file import answer_file
from bootserver.values.mac import MacAddress
from bootserver.values.secret import Secret
from tests import views

URL = "http://10.1.1.1/"
TOKEN = "1.0123456789abcdef"
SHIPPED = (data.folder("kickstart"),)
FRONTEND_KEY = f"ssh-ed25519 {'B' * 68} root@frontend"
KEY = f"ssh-ed25519 {'A' * 68}"
HASH = Secret("$6$rounds=500000$SskiVwWaNhesKLkb$" + "R" * 86)

WISHES = {
    "packages": "vim tmux htop -nano @development",
    "services": "chronyd -postfix",
    "users": "alice:1001:wheel,video bob::users:/bin/sh",
    "keys.alice": f"{KEY} alice's",
    "keys.root.laptop": f"{KEY} laptop",
    "timezone": "Europe/Berlin",
    "language": "de_DE.UTF-8",
    "keyboard": "de",
    "selinux": "permissive",
    "firewall": "ssh nfs 6000-6010/tcp",
    "repositories": "extra=http://10.1.1.1/extra,stable,main,contrib",
    "bootflags": "console=ttyS0,115200 quiet",
    "after_install": "poweroff",
    "on_failure": "shell",
}
BOND = {"bond.bond0": "eth1 eth2 mode=802.3ad miimon=100 lacp_rate=fast primary=eth2"}

VERSIONS = (
    *(("kickstart", "rhel", version) for version in ("7.9", "8.10", "9.4", "10.0")),
    *(("kickstart", "fedora", version) for version in ("40", "41", "42", "43")),
    *(("preseed", "debian", version) for version in ("11", "12", "13")),
    ("preseed", "ubuntu", "20.04"),
    *(("autoinstall", "ubuntu", version) for version in ("22.04", "24.04", "25.10", "26.04")),
    ("autoyast", "suse", "15.6"),
)
"""Kind, family and version: all that the shipped templates claim."""


def distribution(kind: str, family: str, version: str) -> DistributionRow:
    title = {"rhel": "Rocky Linux", "fedora": "Fedora", "debian": "Debian", "ubuntu": "Ubuntu", "suse": "openSUSE Leap"}[family]
    return DistributionRow(1, f"{family}-{version}", "k", ("i",), "", kind, family, f"{title} {version}", version, "x86_64", "/t")


def one_card(**attributes: str) -> NodeView:
    return dataclasses.replace(views.node(), attributes=attributes)


def no_gateway() -> NodeView:
    return views.node(on=views.network(gateway=None, nameservers=()))


def four_cards(**attributes: str) -> NodeView:
    """Two in a bond with a VLAN on it, a VLAN on the first one, and one that nothing is told of."""
    data_network = views.network(2, name="data", subnet="10.2.0.0/16", gateway="10.2.0.1", domain="data.local")
    node = one_card(**BOND, **attributes)

    def nic(device: str, mac: str | None, ip: str | None) -> InterfaceView:
        address = None if mac is None else MacAddress.parse(mac)
        return InterfaceView(device, address, None if ip is None else IPv4Address(ip), data_network)

    return dataclasses.replace(
        node,
        interfaces=(
            *node.interfaces,
            nic("eth1", "52:54:00:00:00:02", None),
            nic("eth2", "52:54:00:00:00:03", None),
            nic("eth3", "52:54:00:00:00:04", None),
            nic("bond0", None, "10.2.0.9"),
            nic("bond0.100", None, "10.2.1.9"),
            nic("eth0.7", None, "10.2.2.9"),
        ),
    )


def tagged() -> NodeView:
    """Its frames carry a tag on the network that it boots from, and another one on the same card."""
    private, data_network = views.network(vlan=100), views.network(2, name="data", subnet="10.2.0.0/16", gateway=None)
    own = views.node(on=private)
    vlan = InterfaceView("eth0.7", None, IPv4Address("10.2.2.9"), data_network)
    fabric = InterfaceView("ib0", None, IPv4Address("10.2.3.9"), data_network)
    return dataclasses.replace(own, interfaces=(*own.interfaces, vlan, fabric))


def nodes() -> Mapping[str, NodeView]:
    return {
        "one card": one_card(),
        "no gateway": no_gateway(),
        "many wishes": one_card(**WISHES),
        "four cards": four_cards(**WISHES),
        "a tag": tagged(),
        "a bond that its first card's address goes to": dataclasses.replace(four_cards(), interfaces=_bonded_boot_card()),
    }


def _bonded_boot_card() -> tuple[InterfaceView, ...]:
    first, second, third, *_ = four_cards().interfaces
    return (dataclasses.replace(first, device="eth1"), dataclasses.replace(second, device="eth2"), third)[:2]


def render(
    node: NodeView,
    row: DistributionRow,
    *,
    templates: Sequence[Path] = SHIPPED,
    password: Password | None = None,
    name: str = "",
    keys: str = f"# the frontend's\n{FRONTEND_KEY}\n",
) -> str:
    return answer_file(node, row, templates, URL, token=Secret(TOKEN), authorized_keys=keys, password=password, name=name)


ROCKY, DEBIAN, UBUNTU, SUSE = (
    distribution(*each)
    for each in (
        ("kickstart", "rhel", "9.4"),
        ("preseed", "debian", "12"),
        ("autoinstall", "ubuntu", "24.04"),
        ("autoyast", "suse", "15.6"),
    )
)

NASTY = (
    "'", '"', "`id`", "$(touch /tmp/bootserver-was-here)", "${IFS}", "\\", "a\\", "%end", "%include /etc/passwd",
    "%ksappend http://x/y", "{{ 7 * 7 }}", "{% raw %}", "{#", "]]>", "<!--", "-->", "&amp;", "&", "# x", " #", "; reboot",
    "| sh", "&& id", "d-i x/y string z", ": - [", "- a: b", "@x", "!!python/object", "*a", "&a", "END_OF_POST", "END",
    "END_OF_STAGE", "~", "null", "''", "$'\\n'", "\\n", "é€😀",
)  # fmt: skip
"""Printable, so that an attribute may be it."""


def commented(comment: str) -> NodeView:
    """The free text that a node's attributes have: a key's comment."""
    return four_cards(**{**WISHES, "keys.alice": f"{KEY} {comment}".strip(), "keys.root": f"{KEY} {comment}".strip()})


def nasty_node() -> NodeView:
    return four_cards(**WISHES, **{f"keys.alice.{number}": f"{KEY} {text}" for number, text in enumerate(NASTY)})


def script_of(answer: str) -> str:
    """The script in a preseed's value: words of a shell, printed one a line."""
    listed = shlex.split(answer)
    assert listed[:2] == ["printf", "%s\\n"] and listed[-4].startswith(">/tmp/bootserver-") and listed[-3:-1] == ["&&", "sh"]
    return "\n".join(listed[2:-4])
