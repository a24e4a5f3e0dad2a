"""Renders what an installing node fetches, from templates that a site edits (Jinja2, sandboxed; a misspelt name is an error).

A template is looked for in the site's own folder first (``<state>/kickstart``), then among those that came with bootserver.
Attributes are data: a filter for each target (:mod:`bootserver.install.writing`) makes a value a word of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError, TemplateNotFound, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bootserver.cluster.view import NodeView
from bootserver.errors import BootserverError, NotFound, Refused, UsageError
from bootserver.install.marked import MarkedTemplate
from bootserver.install.writing import FILTERS
from bootserver.values import grammar

FACTS = "node.sh.j2"
"""What a node is told that installs by a ramdisk of the site's own: who it is."""
INSTALL = "install.sh.j2"
"""What our installer does."""
REPORTER = "report-up.sh"
"""What an installed node says its first word with."""

_DEFAULTS = {"script": FACTS}


class TemplateMissing(NotFound):
    """There is nothing of that kind for this node."""


class TemplateFault(BootserverError):
    """A template can't be rendered; the text names file and line."""


def render(
    node: NodeView, what: str, folders: Sequence[Path], frontend_url: str, *, default: str | None = None, **facts: object
) -> str:
    """What a node fetches: the template that its attribute `what` names.

    :param what: ``script`` or ``kickstart``.
    :param frontend_url: where it reaches the frontend, such as ``http://10.1.1.1/``.
    :param default: the template of a node without that attribute.
    :param facts: what the template may use beside the node, its attributes and the frontend.
    :raises TemplateMissing: the node has no template for it. :raises TemplateFault: the template is wrong.
    """
    name = node.attributes.get(what) or default or _DEFAULTS.get(what)
    if name is None:
        raise TemplateMissing(f"{node.name} has no attribute {what!r} that names a template")
    return render_file(name, node, folders, frontend_url, facts)


def render_file(
    name: str, node: NodeView, folders: Sequence[Path], frontend_url: str, facts: Mapping[str, object], *, marked: bool = False
) -> str:
    """The template of that name.

    :param facts: what it may use beside the node, its attributes and the frontend.
    :param marked: with marks that tell its blocks apart (:func:`bootserver.install.marked.unmarked`).
    :raises TemplateMissing: there is none. :raises TemplateFault: it is wrong.
    """
    try:
        grammar.boot_path(name)
        template = _environment(tuple(folders), marked).get_template(name)
    except UsageError as error:
        raise TemplateFault(str(error)) from error
    except TemplateNotFound as error:
        raise TemplateMissing(f"there is no template {error} in {' or '.join(map(str, folders))}") from error
    except TemplateError as error:
        raise _fault(error, name, folders) from error
    return _render(template, name, node, folders, frontend_url, facts)


def render_text(text: str, name: str, node: NodeView, folders: Sequence[Path], frontend_url: str) -> str:
    """The same for a template that is no file of the folders: an override.

    :param name: for messages.
    :raises TemplateFault: the template is wrong.
    """
    try:
        template = _environment(tuple(folders), False).from_string(text)
    except TemplateError as error:
        raise _fault(error, name, folders) from error
    return _render(template, name, node, folders, frontend_url, {})


def plain_text(name: str, folders: Sequence[Path]) -> str:
    """A file of the folders as it is. :raises TemplateMissing: there is none."""
    for folder in folders:
        if (folder / name).is_file():
            return (folder / name).read_text(encoding="utf-8")
    raise TemplateMissing(f"there is no {name} in {' or '.join(map(str, folders))}")


def _render(
    template: Template, name: str, node: NodeView, folders: Sequence[Path], frontend_url: str, facts: Mapping[str, object]
) -> str:
    try:
        shown = dataclasses.replace(node, install=None)  # no template ever sees what tickets are signed with
        return template.render(node=shown, attributes=node.attributes, frontend=frontend_url, **facts)
    except TemplateNotFound as error:
        raise TemplateMissing(f"{name}: there is no template {error}") from error
    except Refused:
        raise  # the template itself says what is missing, with refuse()
    except Exception as error:  # a template is a site's program: it may fail in any way that a program can
        raise _fault(error, name, folders) from error


def _fault(error: Exception, name: str, folders: Sequence[Path]) -> TemplateFault:
    if isinstance(error, TemplateSyntaxError):  # of this template, or of one that it includes
        return TemplateFault(f"{error.name or name}:{error.lineno}: {error}")
    return TemplateFault(f"{_place(error, name, folders)}: {error}")


@lru_cache(maxsize=8)
def _environment(folders: tuple[Path, ...], marked: bool) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(folders),
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.globals["refuse"] = _refuse
    if marked:
        environment.template_class = MarkedTemplate
    return environment


def _refuse(why: str) -> NoReturn:
    """``{{ refuse("the attribute color is not set") }}``: this node can't be given this file, and why."""
    raise Refused(why)


def _place(error: Exception, name: str, folders: Sequence[Path]) -> str:
    """``FILE:LINE`` of the innermost template in a traceback: Jinja2 compiles templates to code that keeps their lines."""
    trace, place = error.__traceback__, f"{name}:?"
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file == "<template>":
            place = f"{name}:{trace.tb_lineno}"
        for folder in folders:
            if Path(file).is_relative_to(folder):
                place = f"{Path(file).relative_to(folder)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
