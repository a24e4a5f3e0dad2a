"""A zone as text: a master file (RFC 1035 section 5) for any server, or hosts(5)."""

from __future__ import annotations

from collections.abc import Iterator

from bootserver.netboot.dns.answer import EXPIRE, REFRESH, RETRY
from bootserver.netboot.dns.names import Kind, Names, Zone


def zone_file(names: Names, zone: Zone, ttl: int) -> Iterator[str]:
    """The lines of a zone's master file. Names are of our own grammar: nothing in them need be quoted.

    :param ttl: seconds.
    """
    yield f"$ORIGIN {zone.apex}."
    yield f"$TTL {ttl}"
    numbers = f"{names.serial} {REFRESH} {RETRY} {EXPIRE} {ttl}"
    yield f"@ IN SOA {names.primary}. hostmaster.{names.domain}. {numbers}"
    yield f"@ IN NS {names.primary}."
    for name, entry in names.of_zone(zone):
        owner = name.removesuffix(f".{zone.apex}")
        for value in entry.values:
            yield f"{owner} IN {entry.kind.value} {value if entry.kind is Kind.ADDRESS else f'{value}.'}"


def hosts_file(names: Names) -> Iterator[str]:
    """The lines of an /etc/hosts: each address with its names, the short one last."""
    aliases: dict[str, list[str]] = {}
    for name, entry in names.entries.items():
        if entry.kind is Kind.ALIAS:
            aliases.setdefault(entry.values[0], []).append(name)
    for name, entry in names.entries.items():
        if entry.kind is Kind.ADDRESS:
            words = [name, *_short(name, names.domain)]
            for alias in aliases.get(name, ()):
                words += [alias, *_short(alias, names.domain)]
            for value in entry.values:
                yield f"{value}\t{' '.join(words)}"


def _short(name: str, domain: str) -> list[str]:
    label = name.removesuffix(f".{domain}")
    return [label] if label != name and "." not in label else []
