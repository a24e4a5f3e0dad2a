"""What a query gets; and that an answer which was kept is the one that would be made."""

from __future__ import annotations

import dataclasses
import time
from ipaddress import IPv4Address

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.tsig
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.cluster.view import View
from bootserver.netboot.dns.answer import HEADER, Answerer, Elsewhere, Reply, Transfer, encode_udp, udp_size
from bootserver.netboot.dns.hot import Answers
from bootserver.netboot.dns.names import names
from tests import views

KEY = dns.tsig.Key("transfer.", b"secret" * 6, "hmac-sha256.")
OTHER = dns.tsig.Key("transfer.", b"wrong!" * 6, "hmac-sha256.")
STRANGE = dns.tsig.Key("nobody.", b"secret" * 6, "hmac-sha256.")


def a_view(ip: str = "10.1.255.254", sequence: int = 7) -> View:
    small = views.network(2, name="small", subnet="192.168.5.64/26", frontend="192.168.5.65")
    node = dataclasses.replace(views.node(ip=ip), attributes={"aliases": "www a.b"})
    return dataclasses.replace(views.view([node], networks=[views.network(), small]), sequence=sequence)


def answerer(view: View | None = None) -> Answerer:
    found = names(view or a_view(), frontend="frontend", domain="local", address=views.FRONTEND)
    return Answerer(found, ttl=60, recursion=True, keys={KEY.name: KEY})


ANSWER = answerer()


def ask(name: str, kind: str = "A", **options: object) -> dns.message.Message:
    outcome = ANSWER(dns.message.make_query(name, kind, **options).to_wire())
    assert isinstance(outcome, Reply), outcome
    return dns.message.from_wire(encode_udp(outcome.message, 512))


def records(message: dns.message.Message) -> list[str]:
    return [str(rrset) for rrset in message.answer]


# question -> the code, the answer, whether the zone's SOA says so
TABLE = {
    ("compute-0-0.local", "A"): ("NOERROR", ["compute-0-0.local. 60 IN A 10.1.255.254"], False),
    ("compute-0-0", "A"): ("NOERROR", ["compute-0-0. 60 IN A 10.1.255.254"], False),
    ("compute-0-0", "AAAA"): ("NOERROR", [], False),
    ("compute-0-0.local", "AAAA"): ("NOERROR", [], True),
    ("compute-0-0.local", "ANY"): ("NOERROR", ["compute-0-0.local. 60 IN A 10.1.255.254"], False),
    ("compute-0-0.local", "HTTPS"): ("NOERROR", [], True),
    ("254.255.1.10.in-addr.arpa", "PTR"): ("NOERROR", ["254.255.1.10.in-addr.arpa. 60 IN PTR compute-0-0.local."], False),
    ("254.255.1.10.in-addr.arpa", "A"): ("NOERROR", [], True),
    ("255.1.10.in-addr.arpa", "PTR"): ("NOERROR", [], True),
    ("9.9.1.10.in-addr.arpa", "PTR"): ("NXDOMAIN", [], True),
    ("www.local", "CNAME"): ("NOERROR", ["www.local. 60 IN CNAME compute-0-0.local."], False),
    ("www.local", "A"): (
        "NOERROR", ["www.local. 60 IN CNAME compute-0-0.local.", "compute-0-0.local. 60 IN A 10.1.255.254"], False,
    ),
    ("www.local", "AAAA"): ("NOERROR", ["www.local. 60 IN CNAME compute-0-0.local."], True),
    ("b.local", "A"): ("NOERROR", [], True),
    ("nobody.local", "A"): ("NXDOMAIN", [], True),
    ("x.compute-0-0.local", "A"): ("NXDOMAIN", [], True),
    ("nobody", "A"): ("NXDOMAIN", [], False),
    ("local", "SOA"): ("NOERROR", ["local. 60 IN SOA frontend.local. hostmaster.local. 7 300 60 1209600 60"], False),
    ("local", "NS"): ("NOERROR", ["local. 60 IN NS frontend.local."], False),
    ("local", "A"): ("NOERROR", [], True),
    ("5.168.192.in-addr.arpa", "NS"): ("NOERROR", ["5.168.192.in-addr.arpa. 60 IN NS frontend.local."], False),
    ("65.5.168.192.in-addr.arpa", "PTR"): ("NOERROR", ["65.5.168.192.in-addr.arpa. 60 IN PTR frontend-small.local."], False),
    ("66.5.168.192.in-addr.arpa", "PTR"): ("NXDOMAIN", [], True),
}  # fmt: skip


@pytest.mark.parametrize(("question", "wanted"), TABLE.items(), ids=[f"{name} {kind}" for name, kind in TABLE])
def test_what_is_ours_is_answered_with_authority(question: tuple[str, str], wanted: tuple[str, list[str], bool]) -> None:
    message = ask(*question)
    code, answer, soa = wanted
    assert (dns.rcode.to_text(message.rcode()), records(message)) == (code, answer)
    assert [rrset.rdtype for rrset in message.authority] == ([dns.rdatatype.SOA] if soa else [])
    assert bool(message.flags & dns.flags.AA) is (question[0] != "nobody")


def test_capitals_are_the_same_name_and_are_kept_in_the_answer() -> None:
    message = ask("CoMpUtE-0-0.LOCAL")
    assert records(message) == ["CoMpUtE-0-0.LOCAL. 60 IN A 10.1.255.254"]


@pytest.mark.parametrize(
    "name", ["example.org", "5.5.168.192.in-addr.arpa", "2.10.in-addr.arpa", "org", ".", "a\\.local", "x.localx"]
)
def test_what_is_not_ours_is_somebody_elses(name: str) -> None:
    kind = "NS" if name in ("org", ".", "a\\.local") else "A"
    assert isinstance(ANSWER(dns.message.make_query(name, kind).to_wire()), Elsewhere)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (dns.message.make_query("version.bind", "TXT", "CH"), dns.rcode.REFUSED),
        (dns.message.make_query("compute-0-0.local", "A", "ANY"), dns.rcode.REFUSED),
        (dns.message.make_query("local", "MAILB"), dns.rcode.REFUSED),
        (dns.message.make_query("local", "A", use_edns=1), dns.rcode.BADVERS),
    ],
)
def test_nobodys_business_is_refused(query: dns.message.Message, code: dns.rcode.Rcode) -> None:
    outcome = ANSWER(query.to_wire())
    assert isinstance(outcome, Reply) and outcome.message.rcode() == code and not outcome.message.answer


def test_other_operations_are_not_implemented() -> None:
    for opcode in (dns.opcode.NOTIFY, dns.opcode.UPDATE, dns.opcode.STATUS, dns.opcode.IQUERY):
        query = dns.message.make_query("local", "SOA")
        query.set_opcode(opcode)
        outcome = ANSWER(query.to_wire())
        assert isinstance(outcome, Reply)
        read = dns.message.from_wire(outcome.message.to_wire())
        assert (read.id, read.opcode(), read.rcode()) == (query.id, opcode, dns.rcode.NOTIMP)


def test_two_questions_or_none_are_malformed() -> None:
    query = dns.message.make_query("compute-0-0.local", "A").to_wire()
    for count in (b"\0\0", b"\0\2", b"\xff\xff"):
        outcome = ANSWER(query[:4] + count + query[6:])
        assert isinstance(outcome, Reply) and outcome.message.rcode() == dns.rcode.FORMERR


def test_an_answer_is_never_answered() -> None:
    response = dns.message.make_response(dns.message.make_query("compute-0-0.local", "A"))
    assert ANSWER(response.to_wire()) is None
    assert ANSWER(b"\0" * (HEADER - 1)) is None


def test_edns_is_answered_with_edns_and_its_absence_without() -> None:
    assert ask("compute-0-0.local").edns == -1
    with_it = ask("compute-0-0.local", use_edns=0, payload=4096)
    assert (with_it.edns, with_it.payload) == (0, 1232)
    assert udp_size(dns.message.make_query("x", "A", use_edns=0, payload=100)) == 512
    assert udp_size(dns.message.make_query("x", "A", use_edns=0, payload=65535)) == 1232


def test_what_does_not_fit_is_said() -> None:
    first = views.node().interfaces[0]
    devices = ["eth0"] + ["ib_0"] * 100
    nics = [dataclasses.replace(first, device=device, ip=IPv4Address(f"10.1.7.{last}")) for last, device in enumerate(devices)]
    many = dataclasses.replace(views.node(), interfaces=tuple(nics))
    big = answerer(views.view([many]))
    outcome = big(dns.message.make_query("compute-0-0-ib-0.local", "A").to_wire())
    assert isinstance(outcome, Reply)
    wire = encode_udp(outcome.message, 512)
    read = dns.message.from_wire(wire)
    assert len(wire) <= 512 and read.flags & dns.flags.TC
    assert len(dns.message.from_wire(outcome.message.to_wire(max_size=65535)).answer[0]) == 100


def test_zones_are_asked_for_as_a_whole_with_their_names() -> None:
    for kind in ("AXFR", "IXFR"):
        outcome = ANSWER(dns.message.make_query("LOCAL", kind).to_wire())
        assert isinstance(outcome, Transfer) and outcome.zone is not None and outcome.zone.apex == "local"
        inside = ANSWER(dns.message.make_query("compute-0-0.local", kind).to_wire())
        assert isinstance(inside, Transfer) and inside.zone is None


def test_a_right_signature_is_answered_with_one() -> None:
    query = dns.message.make_query("local", "SOA")
    query.use_tsig(KEY)
    outcome = ANSWER(query.to_wire())
    assert isinstance(outcome, Reply) and not outcome.trouble
    read = dns.message.from_wire(outcome.message.to_wire(), keyring={KEY.name: KEY}, request_mac=query.mac)
    assert read.had_tsig and read.answer


@pytest.mark.parametrize(
    ("key", "said", "error"),
    [
        (OTHER, "key transfer has another secret than here", dns.tsig.PeerBadSignature),
        (STRANGE, "nobody here knows key nobody", dns.tsig.PeerBadKey),
        (dns.tsig.Key("transfer.", b"secret" * 6, "hmac-sha512."), "key transfer has another algorithm", dns.tsig.PeerBadKey),
    ],
)
def test_a_wrong_signature_is_told_to_both_sides(key: dns.tsig.Key, said: str, error: type[Exception]) -> None:
    query = dns.message.make_query("local", "AXFR")
    query.use_tsig(key)
    outcome = ANSWER(query.to_wire())
    assert isinstance(outcome, Reply) and outcome.trouble == said
    assert outcome.message.rcode() == dns.rcode.NOTAUTH
    with pytest.raises(error):
        dns.message.from_wire(outcome.message.to_wire(), keyring={key.name: key}, request_mac=query.mac)


def test_a_signature_of_yesterday_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    query = dns.message.make_query("local", "AXFR")
    query.use_tsig(KEY)
    wire = query.to_wire()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86400)
    outcome = ANSWER(wire)
    assert isinstance(outcome, Reply) and "compare both clocks" in outcome.trouble


@given(st.binary(max_size=300))
def test_whatever_comes_is_answered_or_ignored(datagram: bytes) -> None:
    outcome = ANSWER(datagram)
    if isinstance(outcome, Reply):
        assert len(encode_udp(outcome.message, 512)) <= 512


QUERIES = [
    dns.message.make_query("compute-0-0.local", kind, **options).to_wire()
    for kind in ("A", "SOA", "AXFR", "ANY")
    for options in ({}, {"use_edns": 0})
]


@given(st.sampled_from(QUERIES), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=6), st.integers(0, 70))
def test_a_damaged_query_is_answered_or_ignored(query: bytes, damage: list[tuple[int, int]], length: int) -> None:
    octets = bytearray(query)
    for position, value in damage:
        octets[position % len(octets)] = value
    outcome = ANSWER(bytes(octets[:length] if length < 60 else octets))
    if isinstance(outcome, Reply):
        encode_udp(outcome.message, 512)


# -- answers that are kept ----------------------------------------------------------------------------------------


def serve(answers: Answers, datagram: bytes) -> tuple[bytes | None, bool]:
    """As the loop does it. :returns: the answer, and whether it was ready."""
    key = datagram[2:].lower()
    ready = answers.ready.get(key) or answers.again(key)
    if ready is not None:
        return datagram[:2] + ready.head + datagram[HEADER : ready.end] + ready.tail, True
    outcome = answers.answerer(datagram)
    if not isinstance(outcome, Reply):
        return None, False
    wire = encode_udp(
        outcome.message, 512 if outcome.message.opt is None else max(512, min(1232, outcome.message.request_payload))
    )
    if not outcome.trouble and len(outcome.message.question) == 1:
        answers.keep(datagram, outcome.message, wire)
    return wire, False


def test_the_second_time_it_is_ready_in_any_spelling() -> None:
    answers = Answers(ANSWER)
    _, ready = serve(answers, dns.message.make_query("compute-0-0.local", "A").to_wire())
    assert not ready
    query = dns.message.make_query("COMPUTE-0-0.local", "A")
    wire, ready = serve(answers, query.to_wire())
    assert ready and wire is not None
    read = dns.message.from_wire(wire)
    assert query.is_response(read) and records(read) == ["COMPUTE-0-0.local. 60 IN A 10.1.255.254"]


spelling = st.text("lLoOcCaA-0.wW", min_size=1, max_size=12)
question = st.one_of(
    st.sampled_from(["compute-0-0.local", "www.local", "local", "nobody.local", "254.255.1.10.in-addr.arpa", "a.b.local", "www"]),
    spelling.filter(lambda text: ".." not in text and not text.startswith(".")),
)
options = st.fixed_dictionaries(
    {}, optional={"use_edns": st.just(0), "payload": st.sampled_from([512, 1232, 1345, 1377, 4096]), "want_dnssec": st.booleans()}
)
asking = st.tuples(
    question, st.sampled_from(["A", "AAAA", "PTR", "SOA", "NS", "ANY", "CNAME", "TYPE65", "TYPE97"]), options, st.booleans()
)


@given(st.lists(asking, min_size=1, max_size=30))
def test_a_kept_answer_is_the_one_that_would_be_made(asked: list[tuple[str, str, dict[str, object], bool]]) -> None:
    answers = Answers(ANSWER)
    for name, kind, how, capitals in asked * 2:
        query = dns.message.make_query(name.upper() if capitals else name, kind, **how).to_wire()
        wire, _ = serve(answers, query)
        fresh, _ = serve(Answers(ANSWER), query)
        assert wire == fresh


@given(st.sampled_from(QUERIES), st.lists(st.tuples(st.integers(2, 60), st.integers(0, 255)), max_size=4))
def test_a_damaged_query_gets_no_answer_that_was_kept_for_another(query: bytes, damage: list[tuple[int, int]]) -> None:
    octets = bytearray(query)
    for position, value in damage:
        octets[position % len(octets)] = value
    answers = Answers(ANSWER)
    for each in (*QUERIES, bytes(octets), query):
        wire, _ = serve(answers, each)
        fresh, _ = serve(Answers(ANSWER), each)
        if wire != fresh and wire is not None and fresh is not None:  # spelled in capitals: the same name
            assert wire.lower() == fresh.lower()
        else:
            assert wire == fresh


def test_a_question_that_points_into_the_header_is_never_kept() -> None:
    """Its name is the query's number, which is no part of the key."""
    for position in range(12):
        query = bytes.fromhex("0161000000010000 00000000".replace(" ", "")) + bytes((0xC0, position)) + b"\0\1\0\1"
        answers = Answers(ANSWER)
        serve(answers, query)
        assert not answers.ready


def test_options_that_differ_each_time_fill_no_memory() -> None:
    answers = Answers(ANSWER)
    for number in range(20):
        cookie = dns.edns.GenericOption(10, number.to_bytes(8))
        serve(answers, dns.message.make_query("compute-0-0.local", "A", use_edns=0, options=[cookie]).to_wire())
    assert not answers.ready


def test_names_that_do_not_exist_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bootserver.netboot.dns.hot.MOST", 10)
    answers = Answers(ANSWER)
    for number in range(35):
        serve(answers, dns.message.make_query(f"no{number}.local", "A").to_wire())
        assert len(answers.ready) <= 10


def test_what_has_not_changed_is_ready_in_the_next_view_and_what_has_is_made_anew() -> None:
    answers = Answers(ANSWER)
    wanted = {"compute-0-0.local": "A", "frontend.local": "A", "local": "SOA", "nobody.local": "A", "www.local": "A"}
    asked = [dns.message.make_query(name, kind).to_wire() for name, kind in wanted.items()]
    for query in asked:
        serve(answers, query)
    later = Answers(answerer(a_view("10.1.0.77", 8)), answers)
    told = [serve(later, query) for query in asked]
    assert [ready for _, ready in told] == [False, True, False, False, False]
    read = [dns.message.from_wire(wire) for wire, _ in told if wire is not None]
    assert records(read[0]) == ["compute-0-0.local. 60 IN A 10.1.0.77"]
    assert "10.1.0.77" in records(read[4])[1]
    assert read[2].answer[0][0].serial == read[3].authority[0][0].serial == 8
    gone = Answers(answerer(views.view([], networks=[views.network()])), later)
    wire, ready = serve(gone, asked[0])
    assert not ready and wire is not None and dns.message.from_wire(wire).rcode() == dns.rcode.NXDOMAIN
