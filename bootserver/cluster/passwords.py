"""Root's password of systems that are installed: kept as a hash only, for all, an appliance or a node; there is no default one.

Hashes are yescrypt's or SHA-512's (crypt(5)), made by libcrypt, with a salt of its own. They are secrets: no log, dump or event
has them. Whoever has none is locked out of a password, and logs in by SSH key.
"""

from __future__ import annotations

import ctypes
import functools
import re
import secrets
from dataclasses import dataclass
from enum import Enum

from bootserver.cluster.attributes import EVERYWHERE, Place
from bootserver.cluster.change import Change, Reader
from bootserver.db.rows import NodeRow, Scope, SecretRow
from bootserver.errors import NotFound, Unavailable, UsageError
from bootserver.values.secret import Secret

MAX_PASSWORD = 511
"""Octets (CRYPT_MAX_PASSPHRASE_SIZE of libxcrypt, less its end)."""

_ONE_TIME = "one-time "
_WORDS = 4
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # none that is taken for another one on a console
_HASH = re.compile(r"\$(?:y|6)\$[A-Za-z0-9./$=,]{20,200}")


class Method(Enum):
    """How a password is hashed: crypt(5)'s prefix, and the cost that crypt_gensalt(3) is asked for (0: its own default)."""

    YESCRYPT = ("$y$", 0)
    SHA512 = ("$6$", 500_000)


@dataclass(frozen=True, slots=True)
class Password:
    """:ivar one_time: the system wants another one at the first login."""

    hashed: Secret
    one_time: bool = False


def hash_password(text: str, method: Method = Method.YESCRYPT) -> Secret:
    """:raises UsageError: it can't be a password. :raises Unavailable: this machine's libcrypt can't do it."""
    octets = text.encode()
    if not octets or len(octets) > MAX_PASSWORD or not text.isprintable():
        raise UsageError(f"a password has 1 to {MAX_PASSWORD} printable characters, in one line")
    library = _libcrypt()
    prefix, cost = method.value
    salt = library.crypt_gensalt(prefix.encode(), cost, None, 0)  # without octets of ours it takes the kernel's random ones
    hashed = (library.crypt(octets, salt) or b"").decode() if salt else ""
    if not hashed.startswith(prefix) or not _HASH.fullmatch(hashed):
        raise Unavailable(f"this machine's libcrypt makes no {method.name.lower()}: `--method sha512`, or a newer libcrypt")
    return Secret(hashed)


def new_one_time() -> Secret:
    """A password to be typed once: 16 letters in groups, 80 bits."""
    return Secret("-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(_WORDS)))


def set_password(change: Change, place: Place, password: Password) -> None:
    """The one of a place; a newer one takes the older one's place."""
    row = _row(change, place)
    if row is not None:
        change.delete(row)  # not altered: an undo takes a password away, and never brings an old one back
    value = password.hashed.reveal()
    change.insert(SecretRow(0, secret_name(place), f"{_ONE_TIME}{value}" if password.one_time else value))


def remove(change: Change, place: Place) -> None:
    """:raises NotFound: there is none."""
    row = _row(change, place)
    if row is None:
        raise NotFound("no password is set there")
    change.delete(row)


def effective(reader: Reader, node: NodeRow) -> Password | None:
    """A node's: its own, else its appliance's, else that of all. None: root is locked."""
    for place in (Place(Scope.NODE, node.id), Place(Scope.APPLIANCE, node.appliance_id), EVERYWHERE):
        row = _row(reader, place)
        if row is not None:
            return _password(row.value)
    return None


class Passwords:
    """The same for many nodes, read once."""

    def __init__(self, reader: Reader) -> None:
        rows = reader.rows(SecretRow, "name LIKE '%/password'")
        self._kept = {row.name: row.value for row in rows}

    def of(self, node_id: int, appliance_id: int) -> Password | None:
        for place in (Place(Scope.NODE, node_id), Place(Scope.APPLIANCE, appliance_id), EVERYWHERE):
            kept = self._kept.get(secret_name(place))
            if kept is not None:
                return _password(kept)
        return None


def secret_name(place: Place) -> str:
    """Its name in the table of secrets. A node's goes with the node (``node/ID/...``)."""
    return f"{place.scope.value}/{place.owner}/password"


def _password(kept: str) -> Password:
    hashed = kept.removeprefix(_ONE_TIME)
    return Password(Secret(hashed), one_time=hashed != kept)


def _row(reader: Reader, place: Place) -> SecretRow | None:
    return reader.one(SecretRow, "name = :name", name=secret_name(place))


@functools.cache
def _libcrypt() -> ctypes.CDLL:
    for name in ("libcrypt.so.1", "libcrypt.so.2"):  # libxcrypt with and without what old programs need
        try:
            library = ctypes.CDLL(name, use_errno=True)
            library.crypt_gensalt.argtypes = [ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_int]
            library.crypt_gensalt.restype = ctypes.c_char_p
            library.crypt.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
            library.crypt.restype = ctypes.c_char_p
        except (OSError, AttributeError):
            continue
        return library
    raise Unavailable("passwords are hashed by libcrypt (libxcrypt), which this machine lacks: `apt-get install libcrypt1`")
