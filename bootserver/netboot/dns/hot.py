"""Encoded answers: the second time that a name is asked for, its answer is a dictionary look-up.

A query without its number (RFC 1035 section 4.1.1), in lower case, is the key; an answer is kept in two pieces between which
the question goes, spelled as this client spelled it. Names in an answer are pointers into the question (section 4.1.4), so its
spelling is theirs.

Lower case is of the whole query, since that is quickest. What it could confuse is sorted out before something is kept: header
and OPT record of a kept query have no capitals, and its answer fits into any datagram, whatever size the client takes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import dns.flags
import dns.message
import dns.rcode

from bootserver.netboot.dns.answer import HEADER, SMALLEST, Answerer, text
from bootserver.netboot.dns.names import Entry

MOST: Final = 200_000
"""Answers kept: of 10,000 nodes with two names each, asked for in several ways. Some 60 MB, if it ever comes to that."""
_OPT: Final = 11  # octets of an OPT record without options (RFC 6891 section 6.1.2)


class Ready(NamedTuple):
    """:ivar head: from the flags to the counts. :ivar end: where the question ends, in the query.
    :ivar name: whose it is; :ivar entry: what it said of it; both only of an answer that stays right while that does.
    """

    head: bytes
    end: int
    tail: bytes
    name: str
    entry: Entry | None


class Answers:
    """One state of the names, and the answers of it that were encoded so far.

    :ivar ready: what the loop looks into.
    """

    __slots__ = ("_old", "answerer", "ready")

    def __init__(self, answerer: Answerer, before: Answers | None = None) -> None:
        """:param before: the state before: what a name said there is said again, as long as it has the same records."""
        self.answerer = answerer
        self.ready: dict[bytes, Ready] = {}
        self._old: dict[bytes, Ready] = {}
        if before is not None:
            # Copied first, in one step: the loop goes on adding to it while this is another thread.
            old = {**before._old, **before.ready}
            self._old = {key: ready for key, ready in old.items() if ready.entry is not None} if len(old) < MOST else {}

    def again(self, key: bytes) -> Ready | None:
        """An answer of the state before, if it is right still."""
        old = self._old.pop(key, None)
        if old is None or old.entry is None:
            return None
        entries = self.answerer.names.entries
        if entries.get(old.name) != old.entry:
            return None
        self._keep(key, old)
        return old

    def keep(self, datagram: bytes, response: dns.message.Message, wire: bytes) -> None:
        """Remember an answer, if the same query will get the same one."""
        if len(wire) > SMALLEST or response.tsig is not None or len(response.question) != 1:
            return
        question = response.question[0].name.to_wire() or b""
        end = HEADER + len(question) + 4
        name, types = datagram[HEADER : end - 4], datagram[end - 4 : end]
        rest = datagram[2:HEADER] + types + datagram[end:]
        if name.lower() != question.lower() or rest != rest.lower() or len(datagram) not in (end, end + _OPT):
            return  # options that differ each time (cookies), a name that is a pointer, what is not as we read it
        if wire[HEADER:end] != datagram[HEADER:end]:
            return
        found = None
        if response.rcode() == dns.rcode.NOERROR and response.answer and not response.authority and not response.additional:
            found = self.answerer.names.find(text(response.question[0].name))
            if found is not None and len(response.answer) > 1:  # an alias: its node's address may change without it
                found = None
        owner, entry = found if found is not None else ("", None)
        self._keep(datagram[2:].lower(), Ready(wire[2:HEADER], end, wire[end:], owner, entry))

    def _keep(self, key: bytes, ready: Ready) -> None:
        if len(self.ready) >= MOST:
            self.ready.clear()  # names that do not exist, by the thousand: begin anew
        self.ready[key] = ready
