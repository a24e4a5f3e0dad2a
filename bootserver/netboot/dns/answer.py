"""What a query gets: read, refused, or answered from the cluster's names. Pure; no socket is seen here.

RFC 1034 section 4.3.2 for a server that has all of its zones and no delegation; RFC 2308 for what does not exist, RFC 6891 for
EDNS, RFC 8482 for ANY, RFC 8945 for signatures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.NS
import dns.rdtypes.ANY.PTR
import dns.rdtypes.ANY.SOA
import dns.rdtypes.ANY.TSIG
import dns.rdtypes.IN.A
import dns.rrset
import dns.tsig

from bootserver.netboot.dns.names import Entry, Kind, Names, Zone

IN: Final = dns.rdataclass.IN
HEADER: Final = 12  # RFC 1035 section 4.1.1
UDP_PAYLOAD: Final = 1232
"""Octets in a datagram that no path fragments (DNS flag day 2020)."""
SMALLEST: Final = 512
REFRESH, RETRY, EXPIRE = 300, 60, 1_209_600
"""Seconds, of the SOA: how often secondaries ask by themselves (they are notified anyway), and for how long they go on alone."""

_QR, _OPCODE = 0x80, 0x78
_TRANSFERS: Final = frozenset({dns.rdatatype.AXFR, dns.rdatatype.IXFR})
_NEVER: Final = frozenset({dns.rdatatype.MAILA, dns.rdatatype.MAILB, dns.rdatatype.TSIG, dns.rdatatype.TKEY, dns.rdatatype.OPT})
_PLAIN: Final = frozenset({dns.rdatatype.A, dns.rdatatype.AAAA})
_TYPES: Final = {Kind.ADDRESS: dns.rdatatype.A, Kind.POINTER: dns.rdatatype.PTR, Kind.ALIAS: dns.rdatatype.CNAME}

# dnspython's constructors have no types.
_Make = Callable[..., dns.rdata.Rdata]
_A: _Make = dns.rdtypes.IN.A.A
_CNAME: _Make = dns.rdtypes.ANY.CNAME.CNAME
_NS: _Make = dns.rdtypes.ANY.NS.NS
_PTR: _Make = dns.rdtypes.ANY.PTR.PTR
_SOA: _Make = dns.rdtypes.ANY.SOA.SOA
_TSIG: _Make = dns.rdtypes.ANY.TSIG.TSIG

Keyring = Mapping[dns.name.Name, dns.tsig.Key]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that can be sent."""

    message: dns.message.Message
    trouble: str = ""  # what a person should hear of


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A name that is none of ours: it is forwarded for the cluster's machines, and refused to others."""

    query: dns.message.Message


@dataclass(frozen=True, slots=True)
class Transfer:
    """A zone is asked for as a whole (RFC 5936, RFC 1995)."""

    query: dns.message.Message
    zone: Zone | None


Outcome = Reply | Elsewhere | Transfer


class Answerer:
    """Answers from one state of the names.

    :param ttl: seconds, of all records. :param recursion: other names are forwarded, for those who may have it.
    """

    def __init__(self, names: Names, *, ttl: int, recursion: bool, keys: Keyring | None = None) -> None:
        self.names = names
        self.ttl = ttl
        self._recursion = recursion
        self._keys = dict(keys or {})
        self._primary = absolute(names.primary)

    def __call__(self, datagram: bytes) -> Outcome | None:
        """:returns: None: silence is the answer (it is no query, or not even a header)."""
        if len(datagram) < HEADER or datagram[2] & _QR:
            return None
        if datagram[2] & _OPCODE:
            return Reply(bare(datagram, dns.rcode.NOTIMP))
        if datagram[4:6] != b"\0\1":
            return Reply(bare(datagram, dns.rcode.FORMERR))
        try:
            query = dns.message.from_wire(datagram, keyring=False)
        except Exception:  # whatever dnspython makes of it: it is no query
            return Reply(bare(datagram, dns.rcode.FORMERR))
        if query.had_tsig:
            checked = self._check_signature(datagram, query)
            if isinstance(checked, Reply):
                return checked
            query = checked
        return self.answer(query)

    def answer(self, query: dns.message.Message) -> Outcome:
        """The same for a message that was read: one question in it, and its signature, if any, is right."""
        question = query.question[0]
        if query.edns > 0:
            return Reply(self.refuse(query, dns.rcode.BADVERS))
        if question.rdclass != IN or question.rdtype in _NEVER:  # version.bind and the like: nobody's business
            return Reply(self.refuse(query, dns.rcode.REFUSED))
        name = text(question.name)
        zone = self.names.zone_of(name)
        if question.rdtype in _TRANSFERS:
            return Transfer(query, zone if zone is not None and zone.apex == name else None)
        found = self.names.find(name)
        if zone is None and found is None:
            if question.rdtype in _PLAIN and "." not in name and name:
                # A name without dots is the cluster's or nobody's: no server of the world's is bothered with it.
                return Reply(self.refuse(query, dns.rcode.NXDOMAIN))
            return Elsewhere(query)
        return Reply(self._ours(query, name, zone, found))

    def refuse(self, query: dns.message.Message, rcode: dns.rcode.Rcode) -> dns.message.Message:
        """An answer that holds a code and nothing else."""
        response = dns.message.make_response(query, our_payload=UDP_PAYLOAD)
        response.set_rcode(rcode)
        return response

    def soa(self, zone: Zone) -> dns.rrset.RRset:
        """A zone's start of authority."""
        rdata = _SOA(
            IN,
            dns.rdatatype.SOA,
            self._primary,
            absolute(f"hostmaster.{self.names.domain}"),
            self.names.serial & 0xFFFFFFFF,
            REFRESH,
            RETRY,
            EXPIRE,
            self.ttl,
        )
        return _rrset(absolute(zone.apex), self.ttl, rdata)

    def ns(self, zone: Zone) -> dns.rrset.RRset:
        """A zone's name server: the frontend."""
        return _rrset(absolute(zone.apex), self.ttl, _NS(IN, dns.rdatatype.NS, self._primary))

    def records(self, name: str, entry: Entry, owner: dns.name.Name | None = None) -> dns.rrset.RRset:
        """The records of one name. :param owner: the name as it was asked for, which may be spelled in capitals."""
        made: list[dns.rdata.Rdata] = []
        for value in entry.values:
            match entry.kind:
                case Kind.ADDRESS:
                    made.append(_A(IN, dns.rdatatype.A, value))
                case Kind.POINTER:
                    made.append(_PTR(IN, dns.rdatatype.PTR, absolute(value)))
                case Kind.ALIAS:
                    made.append(_CNAME(IN, dns.rdatatype.CNAME, absolute(value)))
        return _rrset(owner or absolute(name), self.ttl, *made)

    def _ours(
        self, query: dns.message.Message, name: str, zone: Zone | None, found: tuple[str, Entry] | None
    ) -> dns.message.Message:
        question = query.question[0]
        response = dns.message.make_response(query, recursion_available=self._recursion, our_payload=UDP_PAYLOAD)
        response.flags |= dns.flags.AA
        wanted = question.rdtype
        if zone is not None and zone.apex == name:
            if wanted in (dns.rdatatype.SOA, dns.rdatatype.ANY):
                response.answer.append(self.soa(zone))
            elif wanted == dns.rdatatype.NS:
                response.answer.append(self.ns(zone))
                primary = self.names.entries.get(self.names.primary)
                if primary is not None:
                    response.additional.append(self.records(self.names.primary, primary))
        if found is not None:
            self._add(response, question.name, wanted, *found)
        if not response.answer:
            exists = found is not None or name in self.names.inner or (zone is not None and zone.apex == name)
            if not exists:
                response.set_rcode(dns.rcode.NXDOMAIN)
            if zone is not None:
                response.authority.append(self.soa(zone))
        return response

    def _add(
        self, response: dns.message.Message, owner: dns.name.Name, wanted: dns.rdatatype.RdataType, name: str, entry: Entry
    ) -> None:
        kind = _TYPES[entry.kind]
        if wanted in (kind, dns.rdatatype.ANY):  # all that there is is one set: what RFC 8482 section 4.1 asks for
            response.answer.append(self.records(name, entry, owner))
        elif entry.kind is Kind.ALIAS:
            response.answer.append(self.records(name, entry, owner))
            target = entry.values[0]
            behind = self.names.entries.get(target)
            if behind is not None and _TYPES[behind.kind] == wanted:
                response.answer.append(self.records(target, behind))
            elif (zone := self.names.zone_of(target)) is not None:
                response.authority.append(self.soa(zone))

    def _check_signature(self, datagram: bytes, query: dns.message.Message) -> dns.message.Message | Reply:
        """The query with its signature checked, or what one with a wrong signature gets (RFC 8945 section 5.2)."""
        key_name = query.keyname
        assert key_name is not None
        try:
            return dns.message.from_wire(datagram, keyring=self._keys)
        except dns.message.UnknownTSIGKey:
            error, why = dns.rcode.BADKEY, f"nobody here knows key {printable(key_name)}"
        except (dns.tsig.BadKey, dns.tsig.BadAlgorithm):
            error, why = dns.rcode.BADKEY, f"key {printable(key_name)} has another algorithm"
        except dns.tsig.BadTime:
            error, why = dns.rcode.BADTIME, f"signed by key {printable(key_name)} at another time: compare both clocks"
        except Exception:  # dnspython raises many kinds for a signature that is wrong or damaged: none of them is a right one
            error, why = dns.rcode.BADSIG, f"key {printable(key_name)} has another secret than here"
        response = dns.message.make_response(query, our_payload=UDP_PAYLOAD)
        response.set_rcode(dns.rcode.NOTAUTH)
        rdata = _TSIG(
            dns.rdataclass.ANY,
            dns.rdatatype.TSIG,
            query.keyalgorithm or dns.tsig.default_algorithm,
            int(time.time()),
            300,
            b"",  # an answer to such a query is not signed
            query.id,
            error,
            b"",
        )
        response.tsig = dns.rrset.from_rdata(key_name, 0, rdata)
        return Reply(response, why)


def absolute(name: str) -> dns.name.Name:
    """A full name of ours (plain letters, digits, hyphens) as dnspython has it."""
    return dns.name.Name((*name.encode("ascii").split(b"."), b""))


def text(name: dns.name.Name) -> str:
    """A name as :class:`~bootserver.netboot.dns.names.Names` knows names; what no name of ours can hold matches none."""
    return ".".join(label.decode("latin-1").replace(".", "\0") for label in name.labels[:-1]).lower()


def printable(name: dns.name.Name) -> str:
    """A name from the wire, for a line of a log."""
    return name.to_text(omit_final_dot=True)[:100]


def bare(datagram: bytes, rcode: dns.rcode.Rcode) -> dns.message.Message:
    """The answer to what could not be read: its number, its kind, and a code. No question: it may be none."""
    response = dns.message.Message(id=int.from_bytes(datagram[:2]))
    response.flags = dns.flags.Flag(dns.flags.QR | (int.from_bytes(datagram[2:4]) & (dns.flags.RD | _OPCODE << 8)))
    response.set_rcode(rcode)
    return response


def udp_size(query: dns.message.Message) -> int:
    """Octets that an answer by UDP may have."""
    return max(SMALLEST, min(query.payload, UDP_PAYLOAD)) if query.edns >= 0 else SMALLEST


def encode_udp(response: dns.message.Message, size: int) -> bytes:
    """:param size: what does not fit is left out and said so (TC): who wants it comes again by TCP."""
    return response.to_wire(max_size=size, prefer_truncation=True)


def _rrset(owner: dns.name.Name, ttl: int, *rdatas: dns.rdata.Rdata) -> dns.rrset.RRset:
    return dns.rrset.from_rdata(owner, ttl, *rdatas)
