"""Attributes: global < appliance < rack < node, and where a value comes from."""

from __future__ import annotations

import pytest

from bootserver.cluster import appliances, attributes, nodes
from bootserver.cluster.attributes import EVERYWHERE, Place
from bootserver.db.rows import AttributeRow, Scope
from bootserver.errors import NotFound, UsageError
from tests.cluster import Cluster


@pytest.fixture
def places(cluster: Cluster) -> dict[str, Place]:
    """The places that compute-0-0 inherits from, the least specific first."""
    node = cluster.add(1)
    cluster.add(2)
    return {
        "global": EVERYWHERE,
        "appliance compute": Place(Scope.APPLIANCE, node.appliance_id),
        "rack 0": Place(Scope.RACK, 0),
        "node compute-0-0": Place(Scope.NODE, node.id),
    }


def effective(cluster: Cluster, name: str) -> dict[str, str]:
    with cluster.read() as reader:
        return attributes.effective(reader, nodes.get(reader, name))


def why(cluster: Cluster, name: str, key: str) -> list[tuple[str, str]]:
    with cluster.read() as reader:
        return attributes.why(reader, nodes.get(reader, name), appliances.get(reader, "compute"), key)


def test_the_most_specific_place_wins(cluster: Cluster, places: dict[str, Place]) -> None:
    told: list[tuple[str, str]] = []
    for name, place in places.items():
        with cluster.change() as change:
            attributes.set_attribute(change, place, "color", f"of {name}")
        told.insert(0, (name, f"of {name}"))
        assert effective(cluster, "compute-0-0") == {"color": f"of {name}"}
        assert cluster.seen("compute-0-0").attributes == {"color": f"of {name}"}, "and the view agrees"
        assert why(cluster, "compute-0-0", "color") == told
    assert effective(cluster, "compute-0-1") == {"color": "of rack 0"}


def test_what_is_removed_is_inherited_again(cluster: Cluster, places: dict[str, Place]) -> None:
    with cluster.change() as change:
        for name, place in places.items():
            attributes.set_attribute(change, place, "color", name)
    for name, place in reversed(places.items()):
        assert effective(cluster, "compute-0-0")["color"] == name
        with cluster.change() as change:
            attributes.remove_attribute(change, place, "color")
    assert effective(cluster, "compute-0-0") == {}


def test_a_neighbour_inherits_nothing_of_a_node_s_own(cluster: Cluster, places: dict[str, Place]) -> None:
    with cluster.change() as change:
        attributes.set_attribute(change, EVERYWHERE, "shared", "yes")
        attributes.set_attribute(change, places["node compute-0-0"], "own", "yes")
    view = cluster.view()
    assert view.nodes["compute-0-0"].attributes == {"shared": "yes", "own": "yes"}
    assert view.nodes["compute-0-1"].attributes == {"shared": "yes"}


def test_attributes_go_with_their_node(cluster: Cluster, places: dict[str, Place]) -> None:
    with cluster.change() as change:
        attributes.set_attribute(change, places["node compute-0-0"], "color", "red")
        nodes.remove(change, nodes.get(change, "compute-0-0"))
        assert change.rows(AttributeRow) == []


def test_a_renamed_node_keeps_its_attributes(cluster: Cluster, places: dict[str, Place]) -> None:
    with cluster.change() as change:
        attributes.set_attribute(change, places["node compute-0-0"], "color", "red")
        nodes.rename(change, nodes.get(change, "compute-0-0"), "login-0-0")
    assert effective(cluster, "login-0-0") == {"color": "red"}


def test_what_is_not_set_can_not_be_removed(cluster: Cluster) -> None:
    with pytest.raises(NotFound, match="not set there"), cluster.change() as change:
        attributes.remove_attribute(change, EVERYWHERE, "color")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("a b", "x"),
        ("color", "two\nlines"),
        ("color", "a\0b"),
        ("bootflags", "init=$(reboot)"),
        ("bootflags", 'a="b"'),
        ("loader", "lilo"),
    ],
)
def test_what_would_harm_is_refused_at_the_door(cluster: Cluster, key: str, value: str) -> None:
    with pytest.raises(UsageError), cluster.change() as change:
        attributes.set_attribute(change, EVERYWHERE, key, value)
    with cluster.read() as reader:
        assert reader.rows(AttributeRow) == []


def test_bootflags_are_kept_as_kernel_arguments(cluster: Cluster) -> None:
    with cluster.change() as change:
        attributes.set_attribute(change, EVERYWHERE, "bootflags", "  quiet   console=ttyS0 ")
        [row] = change.rows(AttributeRow)
    assert row.value == "quiet console=ttyS0"
