"""Checks the files of many nodes: each text that differs in more than a node's own name and addresses is checked once.

A thousand nodes of one template are one text to a validator; what it finds in it is told for each of them, in its own words.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from bootserver.cluster.view import NodeView
from bootserver.db.rows import DistributionRow
from bootserver.install.checking import documents, kickstart, preseed
from bootserver.install.checking.finding import Problem, Rendered
from bootserver.values.progress import Progress

AUTOINSTALL_UNVALIDATED = "what is below autoinstall: is unvalidated: its schema is the installer's own"
XML_UNVALIDATED = "unvalidated but for being well-formed XML"

_CHUNKS = {"kickstart": kickstart.BATCH, "preseed": 100, "autoinstall": 100, "autoyast": 500}
"""Texts that one validator is given: as many as make its start cheap, and few enough for all processors to have some."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What one node would get. :ivar own: what stands in it and is this node's alone, by what it is."""

    node: str
    distribution: DistributionRow
    rendered: Rendered
    own: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Finding:
    """:ivar where: ``line 31 (%packages, block packages)``; empty where nobody knows."""

    node: str
    line: int | None
    section: str
    block: str
    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """:ivar unvalidated: what was not checked, and why; empty where all was."""

    findings: tuple[Finding, ...]
    unvalidated: tuple[str, ...]
    texts: int


def own_values(node: NodeView) -> dict[str, str]:
    """The values that make one node's file another one than its neighbour's."""
    found = {"name": node.name}
    for number, nic in enumerate(node.interfaces):
        if nic.mac is not None:
            found[f"mac{number}"] = str(nic.mac)
        if nic.ip is not None:
            found[f"ip{number}"] = str(nic.ip)
    return found


def check(subjects: Sequence[Subject], progress: Progress) -> Verdict:
    """:raises Unavailable: a validator is missing; the text says how to get it."""
    groups: dict[tuple[str, str, str], list[list[Subject]]] = {}  # one kind and version: subjects of one shape each
    shapes: dict[tuple[str, str, str, str], list[Subject]] = {}
    for subject in subjects:
        row = subject.distribution
        kind = _language(row.kind, subject.rendered.text)
        key = (kind, row.family, row.version)
        shape = (*key, _shape(subject.rendered.text, subject.own))
        if shape not in shapes:
            shapes[shape] = []
            groups.setdefault(key, []).append(shapes[shape])
        shapes[shape].append(subject)
    jobs = [
        (key[0], alike[start : start + size])
        for key, alike in groups.items()
        for size in (_CHUNKS.get(key[0], 1000),)
        for start in range(0, len(alike), size)
    ]
    findings: list[Finding] = []
    done, total = 0, max(1, len(subjects))
    with ThreadPoolExecutor(os.cpu_count() or 1) as workers:
        running = {workers.submit(_check, kind, [alike[0] for alike in part]): part for kind, part in jobs}
        try:
            for future in as_completed(running):
                part = running[future]
                for alike, problems in zip(part, future.result(), strict=True):
                    findings += _told(alike, problems)
                done += sum(map(len, part))
                progress(f"checking {total} nodes, {len(shapes)} different texts", done / total)
        except BaseException:
            workers.shutdown(cancel_futures=True)
            raise
    order = {subject.node: number for number, subject in enumerate(subjects)}
    findings.sort(key=lambda found: (order[found.node], found.line or 0))
    kinds = {key[0]: True for key in groups}
    return Verdict(tuple(findings), tuple(_unvalidated(kind) for kind in kinds if _unvalidated(kind)), len(shapes))


def _check(kind: str, subjects: Sequence[Subject]) -> list[list[Problem]]:
    texts = [subject.rendered.text for subject in subjects]
    checks: dict[str, Callable[[Sequence[str]], list[list[Problem]]]] = {
        "preseed": preseed.check,
        "autoinstall": documents.cloud_config,
        "cloud-config": documents.cloud_config,
        "autoyast": documents.xml,
    }
    if kind == "kickstart":
        return kickstart.check(texts, kickstart.version_of(subjects[0].distribution, kickstart.versions()))
    return checks[kind](texts) if kind in checks else [[] for _ in texts]


def _language(kind: str, text: str) -> str:
    """What a file is written in; one of a site's own kind may be cloud-config all the same."""
    if kind not in ("kickstart", "preseed", "autoinstall", "autoyast") and text.startswith("#cloud-config"):
        return "cloud-config"
    return kind


def _unvalidated(kind: str) -> str:
    match kind:
        case "kickstart" | "preseed" | "cloud-config":
            return ""
        case "autoinstall":
            return f"autoinstall: {AUTOINSTALL_UNVALIDATED}"
        case "autoyast":
            return f"autoyast: {XML_UNVALIDATED}"
        case _:
            return f"{kind or 'a template of its own'}: unvalidated: there is no validator for it"


def _shape(text: str, own: Mapping[str, str]) -> str:
    names = {value: key for key, value in own.items()}
    return _any_of(names).sub(lambda match: f"\0{names[match[0]]}\0", text)


def _told(alike: Sequence[Subject], problems: Sequence[Problem]) -> list[Finding]:
    first, found = alike[0], []
    names = {value: key for key, value in first.own.items()}
    for subject in alike:
        for problem in problems:
            own = subject.own
            text = _any_of(names).sub(lambda match, own=own: own[names[match[0]]], problem.text)  # type: ignore[misc]
            rendered, line = subject.rendered, problem.line
            section, block = (rendered.section(line), rendered.block(line)) if line is not None else ("", "")
            found.append(Finding(subject.node, line, section, block, rendered.where(line), text))
    return found


def _any_of(values: Mapping[str, str]) -> re.Pattern[str]:
    """Whole ones only, the longest first."""
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, sorted(values, key=len, reverse=True))) + r")(?!\w)")
