"""The node API of the running service: token, address and state must agree; anything else is 403 and an event."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

import pytest

from bootserver.cluster import journal
from bootserver.cluster.events import Kind
from bootserver.cluster.installs import PHASES
from bootserver.cluster.tickets import make
from bootserver.values.secret import Secret
from tests.cluster import wait_until
from tests.frontend import STRANGER, Answer, Frontend, with_token

numbers = itertools.count(1)
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Node:
    """A node of the cluster, and what its installer asks.

    :ivar other: the address of another node of the same cluster.
    """

    frontend: Frontend
    name: str
    address: str
    other: str

    def ask(self, method: str, what: str, token: str = "", source: str | None = None, **form: object) -> Answer:
        headers = with_token(token) if token else {}
        body = urlencode(form) if form else None
        return self.frontend.http(method, f"/node/{what}", source=source or self.address, body=body, headers=headers)

    def ticket(self) -> str:
        return self.frontend.ticket(self.name, time.time())

    def exchange(self) -> str:
        answer = self.ask("POST", "exchange", ticket=self.ticket())
        assert answer.status == 200, answer.text
        return answer.text

    def denials(self) -> int:
        return len(self.frontend.events(Kind.DENIED))

    def story(self) -> list[Kind]:
        return [event.kind for event in self.frontend.events() if event.node == self.name]


@pytest.fixture(scope="module")
def other(frontend: Frontend) -> str:
    """The address of a node that is nobody's concern."""
    frontend.make_installable()
    return frontend.add_node(next(numbers))[1]


@pytest.fixture
def node(frontend: Frontend, other: str) -> Node:
    """A node that is told to install."""
    name, address = frontend.add_node(next(numbers))
    frontend.set_action(name, "install")
    return Node(frontend, name, address, other)


def test_the_way_of_an_install(node: Node) -> None:
    token = node.exchange()
    script = node.ask("GET", "script", token)
    assert script.status == 200 and f"NODE={node.name}\n" in script.body.decode()
    inventory = {"disks": [{"name": "sda", "bytes": 1 << 40}], "model": "é"}
    body = json.dumps(inventory).encode()
    answer = node.frontend.http("POST", "/node/inventory", source=node.address, body=body, headers=with_token(token))
    assert answer.status == 200
    for phase in PHASES:
        assert node.ask("POST", "phase", token, phase=phase, percent=50, message="so far").status == 200
    key = node.ask("POST", "key", token)
    assert key.status == 200 and len(key.text) == 64
    assert node.ask("POST", "installed", token).status == 200
    assert node.frontend.node(node.name).action is None, "its next boot is from its disk"
    assert node.ask("POST", "up", key.text).status == 200
    wait_until("its story is written", lambda: node.story()[-1:] == [Kind.UP])
    story = [kind for kind in node.story() if kind is not Kind.MENU_SENT]
    assert story == [
        Kind.EXCHANGED, Kind.SCRIPT_SENT, Kind.INVENTORY, *[Kind.PHASE] * len(PHASES), Kind.INSTALLED, Kind.ACTION, Kind.UP,
    ]  # fmt: skip
    told = " ".join(str(event.detail) for event in node.frontend.events())
    for secret in (token, key.text):
        assert secret not in told + node.frontend.log()
    with node.frontend.databases.journal.read() as connection:
        assert journal.inventory(connection, node.name) == inventory


def test_a_node_is_told_its_name_and_a_stranger_is_not(node: Node) -> None:
    assert node.ask("GET", "whoami").text == node.name
    assert node.ask("GET", "whoami", source=STRANGER).status == 403


# -- whoever asks, and whatever they hold -------------------------------------------------------------------------

NEEDS_SESSION = {
    "script": lambda node, token, source: node.ask("GET", "script", token, source),
    "early": lambda node, token, source: node.ask("GET", "early", token, source),
    "partitions": lambda node, token, source: node.ask("POST", "partitions", token, source),
    "late": lambda node, token, source: node.ask("GET", "late", token, source),
    "late-files": lambda node, token, source: node.ask("GET", "late-files", token, source),
    "inventory": lambda node, token, source: node.ask("POST", "inventory", token, source, disks="{}"),
    "phase": lambda node, token, source: node.ask("POST", "phase", token, source, phase="sync"),
    "failed": lambda node, token, source: node.ask("POST", "failed", token, source, why="no disk"),
    "key": lambda node, token, source: node.ask("POST", "key", token, source),
    "installed": lambda node, token, source: node.ask("POST", "installed", token, source),
}
Asks = Callable[[Node, str, str | None], Answer]
TOKENS = {
    "none": lambda _token: "",
    "forged": lambda token: token[:-1] + ("0" if token[-1] != "0" else "1"),
    "truncated": lambda token: token[:-1],
    "longer": lambda token: token + "0",
    "no text of ours": lambda _token: "\x80\xff'; --",
}


def is_denied(node: Node, answer: Answer, before: int) -> None:
    assert answer.status == 403, answer
    wait_until("it is an event", lambda: node.denials() > before)
    assert node.frontend.events(Kind.DENIED)[-1].detail["status"] == 403


@pytest.mark.parametrize("ask", NEEDS_SESSION.values(), ids=NEEDS_SESSION.keys())
def test_a_wrong_token_a_wrong_address_and_a_wrong_state_are_403_and_an_event(node: Node, ask: Asks) -> None:
    before = node.denials()
    is_denied(node, ask(node, node.ticket(), None), before)  # nothing is running yet
    token = node.exchange()
    for spoil in TOKENS.values():
        before = node.denials()
        is_denied(node, ask(node, spoil(token), None), before)
    for source in (STRANGER, node.other):
        before = node.denials()
        is_denied(node, ask(node, token, source), before)
    assert node.story().count(Kind.DENIED) == 1 + len(TOKENS), "and it is told of whose address it was"
    assert node.ask("POST", "phase", token, phase="partition").status == 200, "the install itself goes on"
    assert node.ask("POST", "installed", token).status == 200
    before = node.denials()
    is_denied(node, ask(node, token, None), before)  # and ends


WRONG_TICKETS: dict[str, Callable[[Node], str]] = {
    "none": lambda _node: "",
    "forged": lambda node: make(int(node.ticket().split(".")[0]), Secret("0" * 64), time.time()),
    "truncated": lambda node: node.ticket()[:-1],
    "too old": lambda node: node.frontend.ticket(node.name, time.time() - 7200),
    "for another install": lambda node: "999." + node.ticket().partition(".")[2],
    "very long": lambda node: node.ticket() + "0" * 100_000,
    "no text of ours": lambda _node: "\0\n${x}é",
}


@pytest.mark.parametrize("spoil", WRONG_TICKETS.values(), ids=WRONG_TICKETS.keys())
def test_a_wrong_ticket_is_403_and_an_event(node: Node, spoil: Callable[[Node], str]) -> None:
    before = node.denials()
    is_denied(node, node.ask("POST", "exchange", ticket=spoil(node)), before)
    assert node.exchange(), "and the node's own is still good"


def test_a_ticket_from_another_address_is_worth_nothing(node: Node) -> None:
    for source in (STRANGER, node.other):
        before = node.denials()
        is_denied(node, node.ask("POST", "exchange", source=source, ticket=node.ticket()), before)
    assert node.exchange()


def test_a_second_exchange_is_an_alarm_and_parks_the_install(node: Node) -> None:
    ticket = node.ticket()
    first = node.ask("POST", "exchange", ticket=ticket)
    second = node.ask("POST", "exchange", ticket=ticket)
    assert (first.status, second.status) == (200, 403)
    assert node.ask("GET", "script", first.text).status == 403
    wait_until("it is told", lambda: {Kind.ALARM, Kind.PARKED, Kind.DENIED} <= set(node.story()))
    seen = node.frontend.seen(node.name).install
    assert seen is not None and seen.parked is not None


def test_a_node_that_lost_power_comes_again(node: Node) -> None:
    first = node.exchange()
    node.ask("POST", "phase", first, phase="sync")
    second = node.exchange()
    assert node.ask("GET", "script", first).status == 403
    assert node.ask("POST", "phase", second, phase="partition").status == 200


def test_a_phase_that_comes_too_late_or_is_none_is_403(node: Node) -> None:
    token = node.exchange()
    assert node.ask("POST", "phase", token, phase="sync").status == 200
    for phase in ("partition", "reboot", "", "sync\n", "x" * 5000):
        before = node.denials()
        is_denied(node, node.ask("POST", "phase", token, phase=phase), before)


def test_a_node_key_is_good_at_its_own_address_until_the_next_install_makes_another(node: Node) -> None:
    token = node.exchange()
    old = node.ask("POST", "key", token).text
    new = node.ask("POST", "key", token).text
    for key, source, status in (
        (new, None, 200),
        (old, None, 403),
        (new, node.other, 403),
        (new, STRANGER, 403),
        ("", None, 403),
    ):
        assert node.ask("POST", "up", key, source).status == status


# -- what is too much or makes no sense ---------------------------------------------------------------------------


def send_inventory(node: Node, token: str, body: bytes, **how: bool) -> Answer:
    return node.frontend.http("POST", "/node/inventory", source=node.address, body=body, headers=with_token(token), **how)


@pytest.mark.parametrize("chunked", [False, True])
def test_an_inventory_has_at_most_a_mebibyte(node: Node, chunked: bool) -> None:
    token = node.exchange()
    frame = b'{"a": ""}'
    whole = b'{"a": "' + b"x" * (MEBIBYTE - len(frame)) + b'"}'
    assert len(whole) == MEBIBYTE
    assert send_inventory(node, token, whole[:-3] + b'"}', chunked=chunked).status == 200
    answer = send_inventory(node, token, whole[:-2] + b'y"}', chunked=chunked)
    assert answer.status == 413


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[1]", b"1", b"null", b'"x"', b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 10_000], ids=range(10)
)
def test_what_is_no_json_object_is_400(node: Node, body: bytes) -> None:
    assert send_inventory(node, node.exchange(), body).status == 400


def test_a_stranger_s_nonsense_is_403_like_all_else(node: Node) -> None:
    answer = node.frontend.http("POST", "/node/inventory", source=STRANGER, body=b"nonsense")
    assert answer.status == 403


@pytest.mark.parametrize("percent", ["101", "-1", "nan", "inf", "many"])
def test_a_percentage_that_is_none_is_left_out(node: Node, percent: str) -> None:
    assert node.ask("POST", "phase", node.exchange(), phase="sync", percent=percent).status == 200
    wait_until("it is told", lambda: Kind.PHASE in node.story())
    assert "percent" not in [event for event in node.frontend.events(Kind.PHASE) if event.node == node.name][-1].detail


def test_a_node_s_words_are_one_short_line(node: Node) -> None:
    token = node.exchange()
    assert node.ask("POST", "failed", token, why="no disk\nroot:x:0\x1b[2J" + "x" * 1000).status == 200
    wait_until("it is told", lambda: Kind.FAILED in node.story())
    [failed] = [event for event in node.frontend.events(Kind.FAILED) if event.node == node.name]
    why = str(failed.detail["why"])
    assert why.startswith("no disk root:x:0 [2Jxxx") and len(why) <= 300 and why.isprintable()


def test_a_kickstart_that_there_is_no_template_for_is_404(node: Node) -> None:
    answer = node.ask("GET", f"kickstart/{node.ticket()}")
    assert answer.status == 404 and "kickstart" in answer.text


@pytest.mark.parametrize("path", ["/node/nothing", "/node", "/node/script/x", "/node//script"])
def test_what_the_api_does_not_have_is_404(node: Node, path: str) -> None:
    assert node.frontend.http("GET", path, source=node.address).status == 404
