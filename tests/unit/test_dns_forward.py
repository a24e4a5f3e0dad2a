"""Forwarding, against servers on loopback that lie, are silent, or tell the truth late."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from bootserver.netboot.dns import forward
from bootserver.netboot.dns.forward import Forwarder

Says = Callable[[dns.message.Message], list[dns.message.Message]]


class Server:
    """:ivar heard: what it was asked, with the ports that it was asked from."""

    def __init__(self, udp: socket.socket, says: Says) -> None:
        self.says = says
        self.heard: list[tuple[dns.message.Message, int]] = []
        self._udp = udp
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                datagram, peer = self._udp.recvfrom(4096)
            except OSError:
                return
            query = dns.message.from_wire(datagram)
            self.heard.append((query, peer[1]))
            for each in self.says(query):
                self._udp.sendto(each.to_wire(), peer)


@contextmanager
def served(*says: Says, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Server]]:
    """Servers at 127.0.0.1, 127.0.0.2 ..., all at one port."""
    sockets = []
    port = 0
    for number in range(len(says)):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((f"127.0.0.{number + 1}", port))
        port = udp.getsockname()[1]
        sockets.append(udp)
    monkeypatch.setattr(forward, "PORT", port)
    try:
        yield [Server(udp, each) for udp, each in zip(sockets, says, strict=True)]
    finally:
        for udp in sockets:
            udp.close()


def truth(query: dns.message.Message) -> list[dns.message.Message]:
    response = dns.message.make_response(query, recursion_available=True)
    response.answer.append(dns.rrset.from_text(query.question[0].name, 300, "IN", "A", "198.51.100.7"))
    return [response]


def silence(_query: dns.message.Message) -> list[dns.message.Message]:
    return []


def no(query: dns.message.Message) -> list[dns.message.Message]:
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.REFUSED)
    return [response]


def lies_first(query: dns.message.Message) -> list[dns.message.Message]:
    """Another number, another name, no answer at all; then the truth."""
    [other_number], [other_name] = truth(query), truth(query)
    other_number.id = query.id ^ 1
    wrong = dns.rrset.from_text("evil.test.", 300, "IN", "A", "203.0.113.66")
    other_number.answer = [wrong]
    other_name.question = [dns.rrset.RRset(wrong.name, query.question[0].rdclass, query.question[0].rdtype)]
    other_name.answer = [wrong]
    question = dns.message.make_query("www.example.org", "A")
    question.id = query.id
    return [other_number, other_name, question, *truth(query)]


def nothing_there(query: dns.message.Message) -> list[dns.message.Message]:
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.NXDOMAIN)
    response.authority.append(dns.rrset.from_text("example.org.", 600, "IN", "SOA", "ns.example.org. h.example.org. 1 1 1 1 120"))
    return [response]


def servers(count: int) -> list[IPv4Address]:
    return [IPv4Address(f"127.0.0.{number + 1}") for number in range(count)]


def ask(forwarder: Forwarder, name: str = "www.example.org", **options: object) -> dns.message.Message:
    return asyncio.run(forwarder(dns.message.make_query(name, "A", **options)))


def addresses(message: dns.message.Message) -> list[str]:
    return [str(rdata) for rrset in message.answer for rdata in rrset]


def test_an_answer_is_remembered_in_any_spelling_and_gets_older(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(truth, monkeypatch=monkeypatch) as [server]:
        forwarder = Forwarder(servers(1), 2, 10)
        first = ask(forwarder)
        assert addresses(first) == ["198.51.100.7"] and first.flags & dns.flags.RA and not first.flags & dns.flags.AA
        now = forward.time.monotonic()
        monkeypatch.setattr(forward.time, "monotonic", lambda: now + 100)
        later = ask(forwarder, "WWW.example.ORG")
        assert addresses(later) == ["198.51.100.7"] and 199 <= later.answer[0].ttl <= 200
        assert len(server.heard) == 1
        monkeypatch.setattr(forward.time, "monotonic", lambda: now + 301)
        ask(forwarder)
        assert len(server.heard) == 2


def test_what_is_not_the_answer_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(lies_first, monkeypatch=monkeypatch):
        assert addresses(ask(Forwarder(servers(1), 2, 10))) == ["198.51.100.7"]


def test_numbers_and_ports_are_not_to_be_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(truth, monkeypatch=monkeypatch) as [server]:
        forwarder = Forwarder(servers(1), 2, 100)
        for number in range(20):
            ask(forwarder, f"host{number}.example.org")
        assert len({query.id for query, _ in server.heard}) > 15
        assert len({port for _, port in server.heard}) > 10


def test_a_silent_server_is_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "PER_TRY", 0.2)
    with served(silence, truth, monkeypatch=monkeypatch) as [silent, good]:
        forwarder = Forwarder(servers(2), 3, 100)
        assert addresses(ask(forwarder)) == ["198.51.100.7"]
        assert addresses(ask(forwarder, "other.example.org")) == ["198.51.100.7"]
        assert (len(silent.heard), len(good.heard)) == (1, 2)


def test_when_nobody_answers_it_is_said_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "PER_TRY", 0.1)
    with served(silence, silence, monkeypatch=monkeypatch) as [first, second]:
        assert ask(Forwarder(servers(2), 0.5, 10)).rcode() == dns.rcode.SERVFAIL
        assert first.heard and second.heard


def test_a_server_that_refuses_is_no_answer_and_the_next_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(no, truth, monkeypatch=monkeypatch):
        assert addresses(ask(Forwarder(servers(2), 2, 10))) == ["198.51.100.7"]
    with served(no, no, monkeypatch=monkeypatch) as both:
        assert ask(Forwarder(servers(2), 5, 10)).rcode() == dns.rcode.SERVFAIL
        assert [len(each.heard) for each in both] == [1, 1]


def test_what_does_not_exist_is_remembered_as_long_as_its_soa_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(nothing_there, monkeypatch=monkeypatch) as [server]:
        forwarder = Forwarder(servers(1), 2, 10)
        now = forward.time.monotonic()
        for seconds, asked in ((0, 1), (119, 1), (122, 2)):
            monkeypatch.setattr(forward.time, "monotonic", lambda later=seconds: now + later)
            answer = ask(forwarder)
            assert answer.rcode() == dns.rcode.NXDOMAIN and answer.authority
            assert len(server.heard) == asked


def test_the_same_question_of_many_goes_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def many(forwarder: Forwarder) -> list[dns.message.Message]:
        return await asyncio.gather(*(forwarder(dns.message.make_query("www.example.org", "A")) for _ in range(50)))

    with served(truth, monkeypatch=monkeypatch) as [server]:
        answers = asyncio.run(many(Forwarder(servers(1), 2, 10)))
        assert all(addresses(each) == ["198.51.100.7"] for each in answers)
        assert len({each.id for each in answers}) > 40
        assert len(server.heard) == 1


def test_the_cache_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(truth, monkeypatch=monkeypatch) as [server]:
        forwarder = Forwarder(servers(1), 2, 2)
        for name in ("a.test", "b.test", "c.test", "b.test", "c.test", "a.test"):
            ask(forwarder, name)
        assert [str(query.question[0].name) for query, _ in server.heard] == ["a.test.", "b.test.", "c.test.", "a.test."]


def test_one_who_wants_signatures_gets_an_answer_of_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(truth, monkeypatch=monkeypatch) as [server]:
        forwarder = Forwarder(servers(1), 2, 10)
        plain, signed = ask(forwarder), ask(forwarder, want_dnssec=True)
        assert not plain.ednsflags & dns.flags.DO and signed.ednsflags & dns.flags.DO
        assert [bool(query.ednsflags & dns.flags.DO) for query, _ in server.heard] == [False, True]
