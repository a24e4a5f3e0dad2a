"""Links for systemd-networkd: systemd.network(5), systemd.netdev(5).

A card's file says which bond it is in and which VLANs are on it, so that no file needs a card's name.
"""

from __future__ import annotations

from collections.abc import Sequence

from bootserver.errors import Refused
from bootserver.install.entries import Entry
from bootserver.install.links import Link

_FOLDER = "etc/systemd/network"
_UNIT = "systemd-networkd.service"

_BOND_KEYS = {
    "mode": "Mode",
    "lacp_rate": "LACPTransmitRate",
    "xmit_hash_policy": "TransmitHashPolicy",
    "ad_select": "AdSelect",
    "min_links": "MinLinks",
    "primary_reselect": "PrimaryReselectPolicy",
    "fail_over_mac": "FailOverMACPolicy",
}
_BOND_MILLISECONDS = {
    "miimon": "MIIMonitorSec",
    "updelay": "UpDelaySec",
    "downdelay": "DownDelaySec",
    "arp_interval": "ARPIntervalSec",
}


def files(made: Sequence[Link]) -> list[Entry]:
    """:param made: each after what it is made of. :raises Refused: a bond's option is none of systemd's."""
    entries = []
    for link in made:
        if not link.is_card:
            entries.append(_entry(link, "netdev", _netdev(link)))
        lines = _network(link, made)
        if lines:
            entries.append(_entry(link, "network", lines))
    entries.append(Entry(f"etc/systemd/system/multi-user.target.wants/{_UNIT}", link=f"/usr/lib/systemd/system/{_UNIT}"))
    return entries


def _entry(link: Link, kind: str, lines: list[str]) -> Entry:
    return Entry.text(f"{_FOLDER}/10-bootserver-{link.device}.{kind}", "\n".join(lines) + "\n")


def _network(link: Link, made: Sequence[Link]) -> list[str]:
    """Empty for a card that is told nothing of."""
    bond = next((each for each in made if link in each.members), None)
    vlans = [each.device for each in made if each.parent == link]
    if link.address is None and bond is None and not vlans and link.is_card:
        return []
    lines = ["[Match]"]
    if bond is not None and "primary" in bond.options:
        # A card in a bond shows the bond's address, and would be taken for another one, which is not the primary; systemd
        # before 245 does not know this word.
        lines.append(f"PermanentMACAddress={link.mac}")
    elif link.mac is not None:
        # What is made of a card has its MAC address, too: a VLAN on it, the bond that it is in, a bridge that a site adds.
        lines += [f"MACAddress={link.mac}", "Type=!vlan bond bridge macvlan"]
    else:
        lines.append(f"Name={link.device}")
    if link.address is None:
        # systemd-networkd-wait-online would wait for an address that never comes.
        lines += ["", "[Link]", "RequiredForOnline=no"]
    lines += ["", "[Network]"]
    if link.address is None:
        lines.append("LinkLocalAddressing=no")
    else:
        lines += [f"Address={link.address}", f"Domains={link.domain}"]
        lines += [f"Gateway={link.gateway}"] if link.gateway is not None else []
        lines += [f"DNS={server}" for server in link.nameservers]
    if bond is not None:
        lines.append(f"Bond={bond.device}")
        if bond.options.get("primary") == link.device:
            lines.append("PrimarySlave=true")
    return lines + [f"VLAN={each}" for each in vlans]


def _netdev(link: Link) -> list[str]:
    lines = ["[NetDev]", f"Name={link.device}"]
    if link.parent is not None:
        return [*lines, "Kind=vlan", "", "[VLAN]", f"Id={link.vlan}"]
    # As the kernel has it where nobody says otherwise; udev would make up an address (systemd.link(5), MACAddressPolicy).
    lines += ["Kind=bond", f"MACAddress={link.members[0].mac}", "", "[Bond]"]
    for key, value in link.options.items():
        if key in _BOND_MILLISECONDS:
            lines.append(f"{_BOND_MILLISECONDS[key]}={value}ms")
        elif key in _BOND_KEYS:
            lines.append(f"{_BOND_KEYS[key]}={value}")
        elif key != "primary":  # which is its card's
            raise Refused(f"systemd-networkd knows no option {key} of a bond, which bond.{link.device} names")
    return lines
