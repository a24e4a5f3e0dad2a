"""Turns at copying: so many at once, in the order in which they asked, and nobody waits for who is gone."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.cluster import transfers
from bootserver.cluster.transfers import Go, Transfer, Wait, decide
from tests.cluster import Cluster

STALLED = 60.0


class Case(NamedTuple):
    """:ivar others: (asked, opened) of the others. :ivar wanted: how many are before it, and after how many seconds it goes."""

    others: list[tuple[float, float | None]]
    slots: int
    wanted: tuple[int, float] | None


# The node asked at second 10, it is second 20, and a transfer takes 30.
CASES = {
    "nobody else": Case([], 1, None),
    "one copies, and there is room for two": Case([(0, 5)], 2, None),
    "one copies, since 5 seconds": Case([(0, 15)], 1, (1, 25)),
    "one copies for longer than usual": Case([(0, -50)], 1, (1, 0)),
    "one copies, one waits before it": Case([(0, 15), (5, None)], 1, (2, 55)),
    "one that asked later waits": Case([(0, 15), (12, None)], 1, (1, 25)),
    "there is room for it and for who is before it": Case([(0, 15), (5, None)], 3, None),
    "two copy, two wait before it": Case([(0, 10), (0, 16), (3, None), (4, None)], 2, (3, 50)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_whose_turn_it_is(case: Case) -> None:
    others = [Transfer(f"n{number}", number, asked, 20, opened) for number, (asked, opened) in enumerate(case.others)]
    turn = decide(Transfer("me", 99, 10, 20, None), others, 20, case.slots, 30)
    match turn:
        case Go():
            assert case.wanted is None
        case Wait():
            assert (turn.ahead, turn.estimate) == case.wanted
            assert transfers.SOONEST <= turn.again <= transfers.LATEST


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20, unique=True), st.integers(1, 5))
def test_whoever_asked_first_goes_first_and_never_more_than_there_are_slots(asked: list[float], slots: int) -> None:
    waiting = [Transfer(f"n{number}", number, at, 100, None) for number, at in enumerate(asked)]
    go = [
        each.asked
        for each in waiting
        if isinstance(decide(each, [one for one in waiting if one is not each], 100, slots, 30), Go)
    ]
    assert sorted(go) == sorted(asked)[:slots]


def ask(cluster: Cluster, node: str, now: float, slots: int = 1, install: int = 1) -> Go | Wait:
    with cluster.databases.journal.write() as connection:
        return transfers.ask(connection, node, install, now, running={1, 2}, slots=slots, stalled=STALLED)


def test_a_turn_passes_on_when_it_is_over(cluster: Cluster) -> None:
    assert isinstance(ask(cluster, "a", 0), Go)
    assert isinstance(ask(cluster, "b", 1), Wait)
    assert isinstance(ask(cluster, "a", 2), Go), "it may ask again: its connection broke"
    with cluster.databases.journal.write() as connection:
        assert transfers.is_open(connection, "a", 1)
        assert not transfers.is_open(connection, "a", 2), "another install of the same node"
        assert not transfers.is_open(connection, "b", 1)
        transfers.close(connection, "a", 10)
        assert not transfers.is_open(connection, "a", 1)
    assert isinstance(ask(cluster, "b", 11), Go)


def test_who_falls_silent_loses_its_turn_and_queues_again(cluster: Cluster) -> None:
    assert isinstance(ask(cluster, "a", 0), Go)
    assert isinstance(ask(cluster, "b", 30), Wait)
    with cluster.databases.journal.write() as connection:
        transfers.heard_of(connection, "a", 50)
    assert isinstance(ask(cluster, "b", 100), Wait), "a was heard of 50 s ago"
    assert isinstance(ask(cluster, "b", 50 + STALLED + 1), Go)
    assert isinstance(ask(cluster, "a", 50 + STALLED + 2), Wait)


def test_who_waits_silently_is_passed_over(cluster: Cluster) -> None:
    assert isinstance(ask(cluster, "a", 0), Go)
    assert isinstance(ask(cluster, "gone", 1), Wait)
    with cluster.databases.journal.write() as connection:
        transfers.close(connection, "a", 100)
    assert isinstance(ask(cluster, "b", 101), Go)


def test_an_estimate_comes_of_transfers_that_ended(cluster: Cluster) -> None:
    for number, seconds in enumerate((10, 20)):
        assert isinstance(ask(cluster, f"old{number}", 100 * number), Go)
        with cluster.databases.journal.write() as connection:
            transfers.close(connection, f"old{number}", 100 * number + seconds)
    assert isinstance(ask(cluster, "a", 1000), Go)
    turn = ask(cluster, "b", 1000)
    assert isinstance(turn, Wait) and turn.estimate == 15


def test_a_new_install_of_a_node_begins_at_the_end_of_the_queue(cluster: Cluster) -> None:
    assert isinstance(ask(cluster, "a", 0, install=1), Go)
    assert isinstance(ask(cluster, "b", 1), Wait)
    assert isinstance(ask(cluster, "a", 2, install=2), Wait)


def test_the_turn_of_an_install_that_was_called_off_is_over(cluster: Cluster) -> None:
    assert isinstance(ask(cluster, "a", 0, install=3), Go), "install 3 runs no more when the next one asks"
    assert isinstance(ask(cluster, "b", 1), Go)
