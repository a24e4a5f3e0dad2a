"""What a site's DNS server has taken of the cluster's names, on disk: the difference to what there is waits to be sent.

So nothing is ever lost: a change that could not be sent is found again by comparing, after a restart, too.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from bootserver.errors import BootserverError, Unavailable
from bootserver.netboot.dns.names import Kind, Names
from bootserver.values import grammar

log = logging.getLogger(__name__)

Records = tuple[Kind, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Difference:
    """One name that is to be told. :ivar before: what the server was told of it. :ivar after: None: that it is gone."""

    name: str
    before: Records | None
    after: Records | None


def wanted(names: Names, *, reverse: bool) -> dict[str, Records]:
    """All that the server should have. :param reverse: reverse names, too."""
    return {
        name: (entry.kind, entry.values) for name, entry in names.entries.items() if reverse or entry.kind is not Kind.POINTER
    }


def differences(have: Mapping[str, Records], want: Mapping[str, Records]) -> list[Difference]:
    """What is to be told, what is gone first: an address may have gone to another name."""
    gone = [Difference(name, records, None) for name, records in have.items() if name not in want]
    new = [Difference(name, have.get(name), records) for name, records in want.items() if have.get(name) != records]
    return gone + new


class Outbox:
    """The file of one server.

    :param folder: the service's own.
    """

    def __init__(self, folder: Path, server: IPv4Address) -> None:
        self._folder = folder
        self._path = folder / f"update-{server}.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time: ``bootserver dns sync`` and the service.

        :raises Unavailable: the folder is not there, or not ours to write in.
        """
        try:
            descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(f"{self._folder} can't be written: {error.strerror}; `bootserver init` makes it") from error
        try:
            self._give(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def read(self) -> dict[str, Records]:
        """What the server has taken. A damaged file counts as none: all is told again, which does no harm."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:  # noqa: PTH123  # of a descriptor
                document = json.load(file)
            return {str(grammar.domain_name(name)): _records(*fields) for name, fields in document.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError, BootserverError) as error:
            log.warning("%s can't be used, all names are sent again: %s", self._path, error)
            return {}

    def write(self, have: Mapping[str, Records]) -> None:
        """:raises Unavailable: it can't be written."""
        aside = self._folder / f".{self._path.name}.{secrets.token_hex(8)}"
        document = {name: (kind.value, *values) for name, (kind, values) in have.items()}
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(descriptor, "w") as file:  # noqa: PTH123
                self._give(descriptor)
                json.dump(document, file)
                file.flush()
                os.fsync(descriptor)
            aside.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise Unavailable(f"{self._path} can't be written: {error.strerror}") from error

    def _give(self, descriptor: int) -> None:
        """What root wrote must be the service's to read."""
        if os.geteuid() == 0:
            owner = self._folder.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _records(kind: str, *values: str) -> Records:
    """:raises ValueError: the file was not written by us."""
    found = Kind(kind)
    for value in values:
        if found is Kind.ADDRESS:
            IPv4Address(value)
        else:
            grammar.domain_name(value)
    return found, tuple(values)
