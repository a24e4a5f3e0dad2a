"""Links for ifupdown: interfaces(5), with what iproute2 can do, whether the packages vlan and ifenslave are there or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bootserver.install.entries import Entry
from bootserver.install.links import Link

CARD = "usr/lib/bootserver/card"
"""Below ``/``: prints what the system calls a card."""

_CARD_SCRIPT = """\
#!/bin/sh
# What this system calls the network card with a MAC address (bonds and VLANs are made of cards' names). A card in a bond
# shows the bond's address, and its own in perm_hwaddr. Put here by bootserver's installer.
for card in /sys/class/net/*; do
    [ -e "$card/device" ] || continue
    has=$(cat "$card/bonding_slave/perm_hwaddr" 2>/dev/null || cat "$card/address")
    [ "$has" != "$1" ] || { echo "${card##*/}"; exit 0; }
done
echo "bootserver: this machine has no network card $1" >&2
exit 1
"""


def files(made: Sequence[Link]) -> list[Entry]:
    """:param made: each after what it is made of."""
    lines = ["auto lo", "iface lo inet loopback"]
    for number, link in enumerate(made):
        if link.members:
            lines += _stanza(link.device, link, *_bond(link))
        elif link.parent is not None:
            lines += _stanza(link.device, link, *_vlan(link, link.parent))
        elif link.address is not None and link.mac is not None:
            # "mac/ADDRESS=NAME" matches an interface and calls it by a logical name (interfaces(5), PATTERN MATCHING).
            lines += _stanza(f"mac/{link.mac}=bootserver{number}", link)
        elif link.address is not None:
            lines += _stanza(link.device, link)
    entries = [Entry.text("etc/network/interfaces", "\n".join(lines) + "\n")]
    if any(not link.is_card for link in made):
        entries.append(Entry.text(CARD, _CARD_SCRIPT, 0o755))
    return entries


def _stanza(pattern: str, link: Link, *options: str) -> list[str]:
    method = "manual" if link.address is None else "static"
    lines = ["", f"auto {pattern}", f"iface {pattern.rpartition('=')[2]} inet {method}"]
    if link.address is not None:
        lines.append(f"\taddress {link.address}")
    if link.gateway is not None:
        lines.append(f"\tgateway {link.gateway}")
    return lines + [f"\t{option}" for option in options]


def _vlan(link: Link, parent: Link) -> Iterator[str]:
    # Before this, ifupdown (0.8) makes eth0.40 itself, on what this system calls eth0, which may be another card.
    yield from _anew(link.device)
    make = f'ip link set dev "$card" up && ip link add link "$card" name {link.device} type vlan id {link.vlan}'
    yield f"pre-up card={_name(parent)} && {make}"
    yield from _up_and_away(link)


def _bond(link: Link) -> Iterator[str]:
    # Else the driver makes a bond0 as soon as it is loaded; systemd forbids that, too.
    yield "pre-up modprobe -q bonding max_bonds=0 || :"
    yield from _anew(link.device)
    options = "".join(f" {key} {value}" for key, value in link.options.items() if key != "primary")
    # The first card's address, as the kernel has it where udev makes up none (systemd.link(5), MACAddressPolicy).
    address = f" address {link.members[0].mac}"
    yield f"pre-up ip link add {link.device}{address} type bond{options}"
    for member in link.members:
        # The kernel takes only a card that is down.
        yield f'pre-up card={_name(member)} && ip link set dev "$card" down && ip link set dev "$card" master {link.device}'
        if link.options.get("primary") == member.device:
            yield f'pre-up card={_name(member)} && ip link set dev {link.device} type bond primary "$card"'
    yield from _up_and_away(link)


def _anew(device: str) -> Iterator[str]:
    yield f"pre-up ip link del dev {device} 2>/dev/null || :"


def _up_and_away(link: Link) -> Iterator[str]:
    if link.address is None:
        yield f"up ip link set dev {link.device} up"
    yield f"post-down ip link del dev {link.device} 2>/dev/null || :"


def _name(link: Link) -> str:
    """A word of shell."""
    return link.device if link.mac is None else f"$(/{CARD} {link.mac})"
