"""Undo: a change backwards. It restores what was, refuses what changed since, and never arms an install."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address

import pytest

from bootserver.cluster import attributes, boot_actions, installs, networks, nodes
from bootserver.cluster.actions import BootAction
from bootserver.cluster.attributes import EVERYWHERE, Place
from bootserver.cluster.change import Change
from bootserver.cluster.undo import log, undo
from bootserver.db.rows import CLUSTER_ROWS, InstallRow, Scope, SecretRow
from bootserver.errors import NotFound, Refused
from tests.cluster import Cluster, mac, machine


def contents(cluster: Cluster) -> dict[str, list[object]]:
    """All rows but the change log's, and but past discoveries, which are history too."""
    with cluster.read() as reader:
        return {kind.table: list(reader.rows(kind)) for kind in CLUSTER_ROWS if kind.table != "discovery"}


def last(cluster: Cluster) -> int:
    with cluster.read() as reader:
        return log(reader, 1)[0].sequence


def take_back(cluster: Cluster, sequence: int) -> None:
    with cluster.change(f"undo {sequence}", undoes=sequence) as change:
        undo(change, sequence)


@pytest.fixture
def lived_in(cluster: Cluster) -> Cluster:
    """compute-0-0 and compute-0-1, with attributes and an action of their own."""
    cluster.add(1)
    cluster.add(2)
    with cluster.change() as change:
        node = nodes.get(change, "compute-0-0")
        attributes.set_attribute(change, Place(Scope.NODE, node.id), "color", "red")
        attributes.set_attribute(change, Place(Scope.NODE, node.id), "size", "big")
        attributes.set_attribute(change, EVERYWHERE, "color", "white")
        boot_actions.add(change, BootAction("own", kernel="own/vmlinuz", args="quiet"), node)
    return cluster


def node_of(change: Change) -> attributes.NodeRow:
    return nodes.get(change, "compute-0-0")


CHANGES: dict[str, Callable[[Change], object]] = {
    "a node removed": lambda change: nodes.remove(change, node_of(change)),
    "a node renamed": lambda change: nodes.rename(change, node_of(change), "login-0-0"),
    "a node altered": lambda change: change.update(node_of(change), cpus=64, comment="old"),
    "an interface added": lambda change: nodes.add_interface(
        change, node_of(change), mac=mac(9), ip=IPv4Address("10.1.0.9"), network=networks.first(change)
    ),
    "an interface moved": lambda change: change.update(nodes.interfaces(change, node_of(change))[0], ip=IPv4Address("10.1.0.9")),
    "an attribute set": lambda change: attributes.set_attribute(change, EVERYWHERE, "new", "x"),
    "an attribute altered": lambda change: attributes.set_attribute(change, EVERYWHERE, "color", "blue"),
    "an attribute removed": lambda change: attributes.remove_attribute(change, EVERYWHERE, "color"),
    "an action replaced": lambda change: boot_actions.add(change, BootAction("own", kernel="new/vmlinuz"), node_of(change)),
    "an action removed": lambda change: boot_actions.remove(change, "own", node_of(change)),
    "an action chosen": lambda change: installs.set_action(change, node_of(change), "rescue"),
    "two nodes swapped": lambda change: [
        nodes.rename(change, node_of(change), "aside"),
        nodes.rename(change, nodes.get(change, "compute-0-1"), "compute-0-0"),
        nodes.rename(change, nodes.get(change, "aside"), "compute-0-1"),
    ],
    "many things at once": lambda change: [
        change.update(node_of(change), cpus=2),
        nodes.rename(change, node_of(change), "login-0-0"),
        attributes.remove_attribute(change, EVERYWHERE, "color"),
        nodes.remove(change, nodes.get(change, "compute-0-1")),
    ],
}  # fmt: skip


@pytest.mark.parametrize("alter", CHANGES.values(), ids=CHANGES.keys())
def test_undo_restores_everything_as_it_was(lived_in: Cluster, alter: Callable[[Change], object]) -> None:
    before = contents(lived_in)
    with lived_in.change() as change:
        alter(change)
    assert contents(lived_in) != before
    take_back(lived_in, last(lived_in))
    assert contents(lived_in) == before


@pytest.mark.parametrize("alter", CHANGES.values(), ids=CHANGES.keys())
def test_an_undo_can_be_undone(lived_in: Cluster, alter: Callable[[Change], object]) -> None:
    with lived_in.change() as change:
        alter(change)
    after = contents(lived_in)
    take_back(lived_in, last(lived_in))
    take_back(lived_in, last(lived_in))
    assert contents(lived_in) == after


def test_an_undo_is_a_change_that_says_what_it_takes_back(lived_in: Cluster) -> None:
    with lived_in.change() as change:
        attributes.set_attribute(change, EVERYWHERE, "new", "x")
    number = last(lived_in)
    take_back(lived_in, number)
    with lived_in.read() as reader:
        [entry] = log(reader, 1)
    assert (entry.what, entry.undoes) == (f"undo {number}", number)


LATER: dict[str, Callable[[Change], object]] = {
    "altered again": lambda change: change.update(node_of(change), cpus=16),
    "removed since": lambda change: nodes.remove(change, node_of(change)),
    "renamed since": lambda change: nodes.rename(change, node_of(change), "login-0-0"),
}


@pytest.mark.parametrize("later", LATER.values(), ids=LATER.keys())
def test_undo_refuses_what_was_changed_again_since(lived_in: Cluster, later: Callable[[Change], object]) -> None:
    with lived_in.change() as change:
        change.update(node_of(change), cpus=8)
    number = last(lived_in)
    with lived_in.change() as change:
        later(change)
    before = contents(lived_in)
    with pytest.raises(Refused, match=f"change {number} can't be undone: node .* was changed again since"):
        take_back(lived_in, number)
    assert contents(lived_in) == before


def test_undo_refuses_to_bring_a_node_back_where_its_name_is_taken(lived_in: Cluster) -> None:
    with lived_in.change() as change:
        nodes.remove(change, nodes.get(change, "compute-0-1"))
    number = last(lived_in)
    lived_in.add(7, rank=1)
    with pytest.raises(Refused, match=r"changed again since|exists already"):
        take_back(lived_in, number)
    assert [str(row.mac) for row in lived_in.interfaces("compute-0-1")] == [str(mac(7))]


def test_what_never_was_can_not_be_undone(cluster: Cluster) -> None:
    with pytest.raises(NotFound, match="no change 999"):
        take_back(cluster, 999)


# -- installs ----------------------------------------------------------------------------------------------------


def secrets_of_installs(cluster: Cluster) -> list[str]:
    with cluster.read() as reader:
        return [row.name for row in reader.rows(SecretRow, "name LIKE 'install/%'")]


def test_undo_disarms_an_install(lived_in: Cluster) -> None:
    lived_in.make_installable()
    lived_in.set_action("compute-0-0", "install")
    take_back(lived_in, last(lived_in))
    assert lived_in.node("compute-0-0").action is None
    assert lived_in.install("compute-0-0") is None
    assert secrets_of_installs(lived_in) == []


@pytest.mark.parametrize("how", ["called off", "installed", "removed", "undone"])
def test_undo_never_arms_an_install(lived_in: Cluster, how: str) -> None:
    lived_in.make_installable()
    lived_in.set_action("compute-0-0", "install")
    if how == "called off":
        lived_in.set_action("compute-0-0", "os")
    elif how == "installed":
        with lived_in.change() as change:
            installs.finish(change, node_of(change))
    elif how == "removed":
        with lived_in.change() as change:
            nodes.remove(change, node_of(change))
    else:
        take_back(lived_in, last(lived_in))
    take_back(lived_in, last(lived_in))
    assert lived_in.node("compute-0-0").action is None, "it boots its disk"
    assert lived_in.seen("compute-0-0").action.local_disk
    with lived_in.read() as reader:
        assert reader.rows(InstallRow) == []
    assert secrets_of_installs(lived_in) == []


def test_a_registration_is_undone_whole(cluster: Cluster) -> None:
    cluster.make_installable()
    before = contents(cluster)
    cluster.open_discovery()
    cluster.register(machine(1))
    assert cluster.names() == ["compute-0-0"]
    take_back(cluster, last(cluster))
    assert contents(cluster) == before
