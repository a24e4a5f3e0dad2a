"""TSIG keys (RFC 8945) in files, as ``tsig-keygen`` and ``keymgr -t`` print them: BIND's form or Knot's.

The configuration names a file and never holds a secret. dnspython's own key shows its secret when it is printed: ours is
never printed.
"""

from __future__ import annotations

import base64
import binascii
import re
import stat
from pathlib import Path
from typing import Final

import dns.exception
import dns.name
import dns.tsig

from bootserver.errors import BootserverError

_MOST: Final = 65_536  # bytes; a key has some hundred

# key "name" { algorithm hmac-sha256; secret "..."; };
_BIND = re.compile(
    r'key\s+"?(?P<name>[^\s"{};]+)"?\s*\{\s*algorithm\s+"?(?P<algorithm>[^\s";]+)"?\s*;\s*secret\s+"?(?P<secret>[^\s";]+)"?\s*;\s*\}'
)
# # hmac-sha256:name:secret, the first line of what keymgr -t prints, and what kdig -y takes
_KNOT = re.compile(r"#?\s*(?P<algorithm>hmac-[a-z0-9-]+):(?P<name>[^\s:]+):(?P<secret>[A-Za-z0-9+/=]+)")


class BadKeyFile(BootserverError):
    """A key's file can't be used; the text says why, and never what is in it."""


def read_key(path: Path) -> dns.tsig.Key:
    """The key in a file.

    :raises BadKeyFile: it can't be read, others can read it too, or there is none in it.
    """
    try:
        with path.open("rb") as file:
            mode = path.stat().st_mode
            text = file.read(_MOST).decode("ascii", "replace")
    except OSError as error:
        raise BadKeyFile(f"TSIG key {path} can't be read: {error.strerror}") from error
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise BadKeyFile(f"TSIG key {path} is readable for everybody: chmod o= {path}")
    found = _BIND.search(text) or _KNOT.match(text.lstrip())
    if found is None:
        raise BadKeyFile(f"there is no TSIG key in {path}: `tsig-keygen -a hmac-sha256 NAME` prints one")
    try:
        name = dns.name.from_text(found["name"].lower())
        algorithm = dns.name.from_text(found["algorithm"].lower())
        secret = base64.b64decode(found["secret"], validate=True)
    except (dns.exception.DNSException, binascii.Error, ValueError):
        raise BadKeyFile(f"TSIG key {path} is damaged: name or secret is none") from None
    if algorithm not in dns.tsig.mac_sizes or algorithm == dns.tsig.GSS_TSIG:
        raise BadKeyFile(f"TSIG key {path} has algorithm {algorithm.to_text(True)}; hmac-sha256 is what everybody knows")
    if not secret:
        raise BadKeyFile(f"TSIG key {path} is damaged: its secret is empty")
    return dns.tsig.Key(name, secret, algorithm)
