"""What administrators type for nodes: one parser for all commands."""

from __future__ import annotations

import pytest

from bootserver.cluster import appliances, networks, nodes, selection
from bootserver.errors import NotFound, UsageError
from tests.cluster import Cluster, mac


@pytest.fixture
def many(cluster: Cluster) -> Cluster:
    """compute-0-0 to 11, compute-1-0 and 1, login-0-0, and one that is called rack7."""
    with cluster.change() as change:
        network = networks.first(change)
        places = [("compute", 0)] * 12 + [("compute", 1)] * 2 + [("login", 0)]
        for number, (appliance, rack) in enumerate(places, 1):
            node = nodes.add(change, nodes.Position(appliances.get(change, appliance), rack))
            nodes.add_interface(change, node, mac=mac(number), ip=None, network=network)
        nodes.add(change, nodes.Position(appliances.get(change, "nas"), 5), name="rack7")
    return cluster


def select(cluster: Cluster, *words: str) -> list[str]:
    with cluster.read() as reader:
        return [row.name for row in selection.select(reader, words)]


RACK_0 = [f"compute-0-{rank}" for rank in range(12)]
MEANT = {
    "compute-0-3": ["compute-0-3"],
    "compute-0-[0-2]": RACK_0[:3],
    "compute-0-[9-10,0]": ["compute-0-0", "compute-0-9", "compute-0-10"],
    "compute-[0-1]-1": ["compute-0-1", "compute-1-1"],
    "compute-0-1,login-0-0": ["compute-0-1", "login-0-0"],
    "compute-0-[0,2],login-0-0": ["compute-0-0", "compute-0-2", "login-0-0"],
    "rack1": ["compute-1-0", "compute-1-1"],
    "login": ["login-0-0"],
    "compute": [*RACK_0, "compute-1-0", "compute-1-1"],
    "10.1.255.254": ["compute-0-0"],
    "52:54:00:00:00:02": ["compute-0-1"],
    "52-54-00-00-00-02": ["compute-0-1"],
    "525400000002": ["compute-0-1"],
    "rack7": ["rack7"],  # a node's own name goes before all else
    "rack5": ["rack7"],
}


@pytest.mark.parametrize(("word", "names"), MEANT.items(), ids=MEANT.keys())
def test_a_word_means_these_nodes(many: Cluster, word: str, names: list[str]) -> None:
    assert select(many, word) == names


def test_several_words_mean_each_node_once_in_natural_order(many: Cluster) -> None:
    assert select(many, "compute-0-10", "compute-0-2", "compute-0-[1-2]", "52:54:00:00:00:03") == [
        "compute-0-1",
        "compute-0-2",
        "compute-0-10",
    ]


def test_no_word_means_all(many: Cluster) -> None:
    assert select(many) == [*RACK_0, "compute-1-0", "compute-1-1", "login-0-0", "rack7"]


@pytest.mark.parametrize(
    "word", ["compute-9-9", "rack3", "10.1.0.77", "52:54:00:00:00:77", "no such node", "'; DROP TABLE node; --"]
)
def test_a_word_that_means_no_node_is_named(many: Cluster, word: str) -> None:
    with pytest.raises(NotFound, match="no node"):
        select(many, "compute-0-0", word)


def test_a_range_with_holes_names_what_is_missing(many: Cluster) -> None:
    with pytest.raises(NotFound, match=r"no node compute-0-\[12-14\]"):
        select(many, "compute-0-[10-14]")


@pytest.mark.parametrize(
    "word", ["compute-0-[", "compute-0-[a-b]", "compute-0-[3-1]", "compute-0-[0-9999999]", "a[0-1000]b[0-1000]"]
)
def test_a_range_that_can_not_be_read_is_wrong_usage(many: Cluster, word: str) -> None:
    with pytest.raises(UsageError):
        select(many, word)


def test_an_appliance_without_nodes_means_nobody(many: Cluster) -> None:
    with pytest.raises(NotFound):
        select(many, "switch")


def test_many_names_are_folded_as_people_write_them() -> None:
    assert selection.fold(["compute-0-2", "compute-0-0", "compute-0-1"]) == "compute-0-[0-2]"
