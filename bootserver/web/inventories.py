"""What a machine says that it is made of: kept for people and for the partition program, and its cards are known from then on."""

from __future__ import annotations

import json
import logging
from typing import Any

from flask import request

from bootserver.cluster import interfaces, journal, nodes
from bootserver.cluster.events import Kind
from bootserver.errors import BootserverError
from bootserver.install import inventory
from bootserver.values.mac import MacAddress
from bootserver.web.asker import Asker

logger = logging.getLogger(__name__)


def keep(asker: Asker, document: dict[str, Any]) -> None:
    """:param document: of a node whose session was looked at."""
    with asker.site.databases.journal.write() as connection:
        journal.keep_inventory(connection, asker.node.name, json.dumps(document))
    asker.report(Kind.INVENTORY, {"bytes": len(request.get_data())})
    cards = _cards(document)
    with asker.look() as (reader, row, _):
        waits = interfaces.waits_for_mac(nodes.interfaces(reader, row), cards)
    if waits:
        with asker.session("inventory") as (change, row, _):
            interfaces.learn_macs(change, row, cards)


def _cards(document: dict[str, Any]) -> dict[str, MacAddress]:
    """Its cards by their names. What makes no sense is told by who needs it: the script's or the partition program's maker."""
    found: dict[str, MacAddress] = {}
    try:
        for card in inventory.parse(document).cards:
            if card.mac:
                found[card.name] = MacAddress.parse(card.mac)
    except BootserverError as error:
        logger.info("no cards are learned from an inventory: %s", error)
    return found
