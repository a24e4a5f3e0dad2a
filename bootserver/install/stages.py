"""The two stages of a distribution's own installer that are ours: scripts for it, and the files that it lays over the new system.

They are POSIX sh, put together of ``installer/stages/*.sh``, and need curl or wget (debian-installer has busybox' only). The
*early* stage tells what the machine has and gets its partition lines; the *late* stage makes the new system one of the cluster
and reports "installed". Both are fetched with the session token, and hold it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bootserver import data
from bootserver.cluster.view import NodeView
from bootserver.install import material, render
from bootserver.install.entries import Entry
from bootserver.install.system import host_key_files, reporter
from bootserver.values.secret import Secret

_END = "end of this file, says bootserver"  # of a here-document: no line of what is in one is this


def early(frontend_url: str, token: Secret) -> str:
    """The script of the early stage, to be run as ``sh early FILE``. :param frontend_url: such as ``http://10.1.1.1/``."""
    scripts = data.folder("installer")
    return "".join(
        [
            _head(frontend_url, token),
            _written("disks.sh", scripts / "disks.sh"),
            _written("inventory", scripts / "inventory"),
            _script("early.sh"),
        ]
    )


def late(frontend_url: str, token: Secret, functions: str) -> str:
    """The script of the late stage, to be run as ``sh late ROOT``.

    :param functions: shell functions ``name_partitions ROOT`` and ``further_disks ROOT`` for this machine
        (:mod:`bootserver.install.partition.late`).
    """
    return "".join([_head(frontend_url, token), functions, _script("late.sh")])


def ask_script() -> str:
    """How what runs in an installer speaks to the frontend: shell functions, to stand behind FRONTEND and TOKEN."""
    return _script("ask.sh")


@dataclass(frozen=True, slots=True)
class Own:
    """What the new system of a node is made one of the cluster by; see :class:`bootserver.install.material.Case`."""

    node: NodeView
    host_keys: Mapping[str, Secret]
    authorized_keys: str
    state: Path
    templates: tuple[Path, ...]
    frontend_url: str
    service_group: int | None


def late_files(own: Own) -> list[Entry]:
    """What is laid over the new system: who it reports to, its keys, and the site's overrides.

    :raises BootserverError: an override can't be read or rendered.
    """
    report_up = render.plain_text(render.REPORTER, own.templates)
    found = {entry.path: entry for entry in (*reporter(own.frontend_url, report_up), *host_key_files(own.host_keys))}
    found[material.AUTHORIZED_KEYS] = Entry.text(material.AUTHORIZED_KEYS, own.authorized_keys, 0o600)
    for entry in material.site_files(own.state, own.node, own.templates, own.frontend_url, own.service_group):
        found[entry.path] = entry
    return [found[path] for path in sorted(found)]


def _head(frontend_url: str, token: Secret) -> str:
    facts = f"FRONTEND={shlex.quote(frontend_url)}\nTOKEN={shlex.quote(token.reveal())}\n"
    return f"#!/bin/sh\n{facts}{ask_script()}{_script('stage.sh')}"


def _script(name: str) -> str:
    return (data.folder("installer") / "stages" / name).read_text(encoding="utf-8")


def _written(name: str, source: Path) -> str:
    """Shell that writes a file into the stage's own folder."""
    return f"cat >\"$WORK/{name}\" <<'{_END}'\n{source.read_text(encoding='utf-8')}{_END}\n"
