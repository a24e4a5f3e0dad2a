"""Renders what an installing node fetches, from templates that a site edits (Jinja2, sandboxed; a misspelt name is an error).

A template is looked for in the site's own folder first (``<state>/kickstart``), then among those that came with bootserver.
Attributes are data: the filter ``sh`` quotes a value for a POSIX shell.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from jinja2 import FileSystemLoader, StrictUndefined, TemplateNotFound
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bootserver.cluster.view import NodeView
from bootserver.errors import BootserverError, NotFound, UsageError
from bootserver.values import grammar

DEFAULTS = {"script": "node.sh.j2"}
"""What is rendered unless the node's attribute of that name (``script``, ``kickstart``) names another template."""


class TemplateMissing(NotFound):
    """There is nothing of that kind for this node."""


class TemplateFault(BootserverError):
    """A template can't be rendered; the text names file and line."""


def render(node: NodeView, what: str, folders: Sequence[Path], frontend_url: str) -> str:
    """What a node fetches.

    :param what: ``script`` or ``kickstart``.
    :param frontend_url: where it reaches the frontend, such as ``http://10.1.1.1/``.
    :raises TemplateMissing: the node has no template for it. :raises TemplateFault: the template is wrong.
    """
    name = node.attributes.get(what) or DEFAULTS.get(what)
    if name is None:
        raise TemplateMissing(f"{node.name} has no attribute {what!r} that names a template")
    try:
        grammar.boot_path(name)
        template = _environment(tuple(folders)).get_template(name)
        facts = dataclasses.replace(node, install=None)  # no template ever sees what tickets are signed with
        return template.render(node=facts, attributes=node.attributes, frontend=frontend_url)
    except UsageError as error:
        raise TemplateFault(str(error)) from error
    except TemplateNotFound as error:
        raise TemplateMissing(f"there is no template {error} in {' or '.join(map(str, folders))}") from error
    except Exception as error:  # a template is a site's program: it may fail in any way that a program can
        line = getattr(error, "lineno", None) or _line(error, name)
        raise TemplateFault(f"{name}:{line}: {error}") from error


@lru_cache(maxsize=4)
def _environment(folders: tuple[Path, ...]) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(folders),
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    environment.filters["sh"] = lambda value: shlex.quote(str(value))
    return environment


def _line(error: Exception, name: str) -> int | str:
    """The template's line in a traceback: Jinja2 compiles templates to code that keeps their line numbers."""
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith(name):
            line = trace.tb_lineno
        trace = trace.tb_next
    return "?" if line is None else line
