"""A node's links as Ubuntu's installer is told them: netplan-yaml(5), version 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bootserver.install.links import Link
from bootserver.values.system import BondOption


def netplan(made: Sequence[Link]) -> dict[str, Any]:
    """The installed system's network. Its keys are the cluster's names; cards are matched by MAC address where it is known."""
    kinds: dict[str, dict[str, Any]] = {"ethernets": {}, "bonds": {}, "vlans": {}}
    for link in made:
        facts: dict[str, Any] = {}
        if link.address is not None:
            facts["addresses"] = [str(link.address)]
            if link.gateway is not None:
                facts["routes"] = [{"to": "default", "via": link.gateway}]
            if link.nameservers:
                facts["nameservers"] = {"addresses": list(link.nameservers), "search": [link.domain]}
        else:
            facts["dhcp4"] = False
        if link.members:
            facts["interfaces"] = [member.device for member in link.members]
            facts["parameters"] = {BondOption[key].value: _number(value) for key, value in link.options.items()}
        elif link.parent is not None:
            facts |= {"id": link.vlan, "link": link.parent.device}
        elif link.mac is not None:
            facts["match"] = {"macaddress": link.mac}
        kinds["bonds" if link.members else "vlans" if link.parent is not None else "ethernets"][link.device] = facts
    return {"version": 2, **{kind: each for kind, each in kinds.items() if each}}


def asking(made: Sequence[Link]) -> dict[str, Any]:
    """What the installer itself asks by DHCP on: its first card, or the VLAN on that which has the card's address."""
    card = next((link for link in made if link.is_card and link.mac is not None), None)
    if card is None:
        return {"version": 2, "ethernets": {"all": {"match": {"name": "e*"}, "dhcp4": True}}}
    ethernets = {
        link.device: {"match": {"macaddress": link.mac}, "dhcp4": False} for link in made if link.is_card and link.mac is not None
    }
    tagged = next((link for link in made if link.parent is card and card.address is None), None)
    if tagged is None:
        ethernets[card.device]["dhcp4"] = True
        return {"version": 2, "ethernets": ethernets}
    return {
        "version": 2,
        "ethernets": ethernets,
        "vlans": {tagged.device: {"id": tagged.vlan, "link": card.device, "dhcp4": True}},
    }


def _number(value: str) -> int | str:
    return int(value) if value.isdecimal() else value
