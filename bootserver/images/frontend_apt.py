"""The frontend's own package sources (sources.list(5)): where it runs what an image is made of, they are near and trusted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

APT = Path("/etc/apt")


@dataclass(frozen=True, slots=True)
class Source:
    """:ivar line: as a line of ``sources.list``."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str | None = None

    @property
    def line(self) -> str:
        options = f" [signed-by={self.signed_by}]" if self.signed_by else ""
        return f"deb{options} {self.uri} {self.suite} {' '.join(self.components)}"


def own_sources(suite: str, apt: Path = APT) -> tuple[Source, ...]:
    """The frontend's sources of a suite, its updates and its security; the suite itself first, none where it has none.

    Sources of other suites (a vendor's own packages) are not what a distribution is made of.
    """
    found: list[Source] = []
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]:
        found += _lines(_text(path))
    for path in sorted((apt / "sources.list.d").glob("*.sources")):
        found += _stanzas(_text(path))
    mine = [source for source in found if re.fullmatch(rf"{re.escape(suite)}(-updates|-security|/updates)?", source.suite)]
    mine = [source for source in mine if re.match(r"(https?|file|copy):", source.uri) and "@" not in source.uri]
    if not any(source.suite == suite for source in mine):
        return ()
    return tuple(sorted(dict.fromkeys(mine), key=lambda source: source.suite != suite))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _lines(text: str) -> list[Source]:
    found = []
    for line in text.splitlines():
        matched = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line)
        if matched:
            options = dict(option.partition("=")[::2] for option in (matched.group(1) or "").split())
            found.append(Source(matched.group(2), matched.group(3), tuple(matched.group(4).split()), options.get("signed-by")))
    return found


def _stanzas(text: str) -> list[Source]:
    found = []
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[key] = f"{fields.get(key, '')} {line.strip()}"
            else:
                key, _, value = line.partition(":")
                fields[key := key.strip().lower()] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        signed_by = fields.get("signed-by", "")
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                key_file = signed_by if signed_by.startswith("/") and " " not in signed_by else None
                found.append(Source(uri, suite, tuple(fields.get("components", "").split()), key_file))
    return found
