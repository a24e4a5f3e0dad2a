"""What a packet filter would do to a packet: rules of nft or iptables as values, and one packet walked through them.

Only what can be decided by looking is decided. A rule with a condition that is not known here (a limit, a set of addresses that
is elsewhere) *may* match: what it would accept is then not called dropped, and what it would drop is not called dropped either.
"""

from __future__ import annotations

import enum
import ipaddress
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

_DEEPEST = 16


class Match(enum.Enum):
    NO = 0
    MAYBE = 1
    YES = 2


class Verdict(enum.Enum):
    ACCEPT = "accept"
    DROP = "drop"
    MAYBE = "maybe"  # a rule that can't be judged may accept it
    RETURN = "return"


@dataclass(frozen=True, slots=True)
class Packet:
    """A first packet of a node's to the frontend."""

    device: str
    protocol: str
    port: int
    source: IPv4Address
    to: IPv4Address


@dataclass(frozen=True, slots=True)
class Rule:
    """:ivar matches: all of them must hold. :ivar does: accept, drop, return, or the name of a chain behind ``>``.
    :ivar text: for people.
    """

    matches: tuple[Test, ...]
    does: str
    text: str


@dataclass(frozen=True, slots=True)
class Test:
    """:ivar what: ``iifname``, ``protocol``, ``dport``, ``saddr``, ``daddr``, ``state``, or ``?`` for what is not known.
    :ivar values: any of them.
    """

    what: str
    values: tuple[Any, ...] = ()
    negated: bool = False

    def of(self, packet: Packet) -> Match:
        facts: Mapping[str, Any] = {
            "iifname": packet.device,
            "protocol": packet.protocol,
            "dport": packet.port,
            "saddr": packet.source,
            "daddr": packet.to,
            "state": "new",
        }
        if self.what not in facts or "?" in self.values:
            return Match.MAYBE
        holds = any(_fits(facts[self.what], value) for value in self.values)
        return Match.YES if holds != self.negated else Match.NO


def _fits(fact: Any, value: Any) -> bool:
    if isinstance(value, range):
        return fact in value
    if isinstance(value, ipaddress.IPv4Network):
        return fact in value
    if isinstance(value, str) and value.endswith(("*", "+")):  # nft's and iptables' wildcards of interfaces
        return str(fact).startswith(value[:-1])
    return bool(fact == value)


@dataclass(frozen=True, slots=True)
class Chain:
    """:ivar policy: what becomes of what no rule decides; None: it is called by others only."""

    name: str
    rules: tuple[Rule, ...]
    policy: str | None = None


@dataclass(frozen=True, slots=True)
class Fate:
    """:ivar by: the rule, or the policy, that decided."""

    verdict: Verdict
    by: str = ""


def walk(chains: Mapping[str, Chain], base: str, packet: Packet) -> Fate:
    """One packet through a base chain."""
    fate, maybe = _walk(chains, base, packet, 0)
    if fate is None:
        chain = chains[base]
        fate = Fate(Verdict.DROP if chain.policy == "drop" else Verdict.ACCEPT, f"policy {chain.policy} of {base}")
    if fate.verdict is Verdict.DROP and maybe:
        return Fate(Verdict.MAYBE, maybe)
    return fate


def _walk(chains: Mapping[str, Chain], name: str, packet: Packet, depth: int) -> tuple[Fate | None, str]:
    """What the chain decides, and a rule that may have accepted it before."""
    maybe = ""
    chain = chains.get(name)
    if chain is None or depth > _DEEPEST:
        return None, f"chain {name}"
    for rule in chain.rules:
        results = [test.of(packet) for test in rule.matches]
        if Match.NO in results:
            continue
        fate, perhaps = _follow(chains, rule, packet, depth)
        maybe = maybe or perhaps
        if fate is None:
            continue
        if Match.MAYBE not in results:
            return (None if fate.verdict is Verdict.RETURN else fate), maybe
        if fate.verdict is not Verdict.DROP:  # it may be accepted; or what follows may be skipped
            maybe = maybe or rule.text
    return None, maybe


def _follow(chains: Mapping[str, Chain], rule: Rule, packet: Packet, depth: int) -> tuple[Fate | None, str]:
    """What a rule that matches does."""
    if rule.does.startswith(">"):
        return _walk(chains, rule.does[1:], packet, depth + 1)
    return Fate(Verdict(rule.does), rule.text), ""


# -- nft -----------------------------------------------------------------------------------------------------------


def from_nft(document: Mapping[str, Any]) -> tuple[dict[str, Chain], list[str]]:
    """What ``nft -j list ruleset`` printed (libnftables-json(5)).

    :returns: all chains, and the names of those that packets for this machine go through.
    """
    rules: dict[str, list[Rule]] = {}
    bases: dict[str, tuple[str, int]] = {}
    for item in document.get("nftables", ()):
        if (chain := item.get("chain")) and chain.get("family") in ("ip", "inet"):
            name = f"{chain['family']} {chain['table']} {chain['name']}"
            rules.setdefault(name, [])
            if chain.get("type") == "filter" and chain.get("hook") == "input":
                bases[name] = (str(chain.get("policy", "accept")), int(chain.get("prio", 0)))
        elif (rule := item.get("rule")) and rule.get("family") in ("ip", "inet"):
            place = f"{rule['family']} {rule['table']}"
            rules.setdefault(f"{place} {rule['chain']}", []).extend(_nft_rules(rule.get("expr", ()), place, rule))
    chains = {name: Chain(name, tuple(found), bases[name][0] if name in bases else None) for name, found in rules.items()}
    return chains, sorted(bases, key=lambda name: bases[name][1])


def _nft_rules(expressions: Sequence[Mapping[str, Any]], place: str, rule: Mapping[str, Any]) -> Iterable[Rule]:
    """One rule; a verdict map is one for each of its elements."""
    text = f"rule {rule.get('handle', '?')} of {place} {rule['chain']}"
    tests: list[Test] = []
    for expression in expressions:
        body: Any
        kind, body = next(iter(expression.items()), ("?", None))
        if kind == "match":
            tests += _nft_tests(body)
        elif kind in ("accept", "drop", "return"):
            yield Rule(tuple(tests), kind, text)
            return
        elif kind == "reject":
            yield Rule(tuple(tests), "drop", text)
            return
        elif kind in ("jump", "goto"):
            yield Rule(tuple(tests), f">{place} {body['target']}", text)
            return
        elif kind == "vmap":
            yield from _vmap(body, tests, place, text)
            return
        elif kind not in ("counter", "log", "comment", "meta", "mangle"):
            tests.append(Test("?"))


def _vmap(body: Mapping[str, Any], tests: list[Test], place: str, text: str) -> Iterable[Rule]:
    elements = body["data"].get("set", ()) if isinstance(body["data"], dict) else ()
    if not elements:  # a named map, which is elsewhere
        yield Rule((*tests, Test("?")), "accept", text)
    for key, verdict in elements:
        ((kind, target),) = verdict.items()
        does = f">{place} {target['target']}" if kind in ("jump", "goto") else kind
        if does.startswith(">") or does in ("accept", "drop", "return"):
            yield Rule((*tests, *_nft_tests({"op": "==", "left": body["key"], "right": key})), does, text)


_META = {"iifname": "iifname", "iif": "iifname", "l4proto": "protocol"}


def _nft_tests(match: Mapping[str, Any]) -> list[Test]:
    left, negated = match["left"], match.get("op") == "!="
    if match.get("op") not in ("==", "!=", "in") or not isinstance(left, dict):
        return [Test("?")]
    values = tuple(_nft_values(match["right"]))
    if "meta" in left:
        key = left["meta"]["key"]
        if key == "nfproto":
            return [] if ("ipv4" in values) != negated else [Test("protocol", ("ip6",))]
        return [Test(_META.get(key, "?"), values, negated)]
    if "ct" in left:
        return [Test("state" if left["ct"].get("key") == "state" else "?", values, negated)]
    if "payload" in left:
        return _nft_payload(left["payload"], values, negated)
    return [Test("?")]


def _nft_payload(payload: Mapping[str, Any], values: tuple[Any, ...], negated: bool) -> list[Test]:
    protocol, field = payload.get("protocol"), payload.get("field")
    if protocol in ("udp", "tcp", "th") and field == "dport":
        return [*([] if protocol == "th" else [Test("protocol", (protocol,))]), Test("dport", values, negated)]
    if protocol == "ip" and field in ("saddr", "daddr", "protocol"):
        return [Test(field, values, negated)]
    if protocol in ("udp", "tcp", "icmp", "icmpv6", "sctp"):
        return [Test("protocol", (protocol,)), Test("?")]
    return [Test("protocol", ("ip6",))] if protocol == "ip6" else [Test("?")]


def _nft_values(right: Any) -> Iterable[Any]:
    for each in right if isinstance(right, list) else [right]:
        if isinstance(each, dict):
            if "set" in each:
                yield from _nft_values(each["set"])
            elif "range" in each and all(isinstance(end, int) for end in each["range"]):
                yield range(each["range"][0], each["range"][1] + 1)
            elif "prefix" in each:
                yield _network(f"{each['prefix']['addr']}/{each['prefix']['len']}")
            else:
                yield "?"
        elif isinstance(each, str) and each.startswith("@"):
            yield "?"
        elif isinstance(each, str):
            yield _network(each) if each[:1].isdecimal() else each
        else:
            yield each


def _network(text: str) -> Any:
    try:
        return ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        return "?" if ":" not in text else text


# -- iptables ------------------------------------------------------------------------------------------------------


def from_iptables(text: str) -> dict[str, Chain]:
    """The table ``filter`` of what ``iptables-save`` printed."""
    rules: dict[str, list[Rule]] = {}
    policies: dict[str, str] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif table == "filter" and line.startswith(":"):
            name, policy = line[1:].split()[:2]
            rules.setdefault(name, [])
            if policy != "-":
                policies[name] = policy.lower()
        elif table == "filter" and line.startswith("-A "):
            words = shlex.split(line)
            rules.setdefault(words[1], []).append(_iptables_rule(words[2:], line))
    return {name: Chain(name, tuple(found), policies.get(name)) for name, found in rules.items()}


_ITSELF = {"-m", "--comment"}
_KNOWN = {"-i": "iifname", "-p": "protocol", "-s": "saddr", "-d": "daddr", "--dport": "dport", "--dports": "dport",
          "--destination-port": "dport", "--state": "state", "--ctstate": "state"}  # fmt: skip


def _iptables_rule(words: list[str], line: str) -> Rule:
    tests: list[Test] = []
    does = "none"
    rest = iter(words)
    negated = False
    for word in rest:
        if word == "!":
            negated = True
            continue
        if word in ("-j", "-g"):
            target = next(rest, "")
            does = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "RETURN": "return"}.get(target, f">{target}")
            if target in ("LOG", "NFLOG", "MARK", "CONNMARK", "TRACE"):
                does = "none"
            break
        if word in _KNOWN:
            tests.append(Test(_KNOWN[word], tuple(_iptables_values(_KNOWN[word], next(rest, ""))), negated))
        elif word in _ITSELF:
            next(rest, None)
        elif word.startswith("-"):
            tests.append(Test("?"))
        negated = False
    if does == "none":
        tests, does = [Test("state", ("never",))], "return"  # it decides nothing
    return Rule(tuple(tests), does, line)


def _iptables_values(what: str, text: str) -> Iterable[Any]:
    for each in text.split(","):
        if what == "dport":
            first, _, last = each.partition(":")
            yield range(int(first or 0), int(last or 65535) + 1) if ":" in each else int(first)
        elif what in ("saddr", "daddr"):
            yield _network(each)
        else:
            yield each.lower() if what == "state" else each
