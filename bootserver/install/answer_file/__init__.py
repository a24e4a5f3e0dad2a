"""The file that a distribution's own installer is told by: kickstart, preseed, autoinstall, AutoYaST, or one of a site's own.

It is a template's, ``KIND.j2``, or the one that the node's attribute ``kickstart`` names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bootserver.cluster.passwords import Password
from bootserver.cluster.view import NodeView
from bootserver.db.rows import DistributionRow
from bootserver.errors import NotFound
from bootserver.install import marked, render
from bootserver.install.answer_file.facts import Given, facts
from bootserver.values.secret import Secret

USER_DATA = "user-data"
NOCLOUD = (USER_DATA, "meta-data", "vendor-data", "network-config")
"""The files that cloud-init's NoCloud asks for below its seed's URL."""

_OWN_INSTALLER = DistributionRow(0, "", "", (), "")
"""For a boot action of a site's own, which boots no distribution."""


def answer_file(
    node: NodeView,
    distribution: DistributionRow | None,
    templates: Sequence[Path],
    frontend_url: str,
    *,
    token: Secret,
    authorized_keys: str,
    password: Password | None,
    name: str = "",
) -> str:
    """What the node's installer is told.

    :param distribution: whose installer it is; None for that of a site's own boot action.
    :param templates: folders, the site's first. :param frontend_url: such as ``http://10.1.1.1/``.
    :param token: the session token, by which the installer's stages go on.
    :param authorized_keys: public keys of who may log in as root.
    :param password: root's; None: it is locked.
    :param name: one of NOCLOUD; empty: the kind's one file.
    :raises TemplateMissing: there is no template. :raises TemplateFault: it is wrong. :raises Refused: an attribute is.
    """
    given = Given(node, distribution or _OWN_INSTALLER, frontend_url, token, authorized_keys, password)
    return render.render_file(template_of(given, name), node, templates, frontend_url, facts(given))


def annotated(given: Given, templates: Sequence[Path], name: str = "") -> tuple[str, list[str]]:
    """The same, and for each line the template's block that it comes from."""
    template = template_of(given, name)
    text = render.render_file(template, given.node, templates, given.frontend_url, facts(given), marked=True)
    return marked.unmarked(text)


def template_of(given: Given, name: str = "") -> str:
    """The template's name. :raises NotFound: no such file is ever asked for. :raises TemplateMissing: none is named."""
    if name not in ("", *NOCLOUD):
        raise NotFound(f"{name[:60]!r} is none of {', '.join(NOCLOUD)}")
    if name not in ("", USER_DATA):
        return f"{name}.j2"
    wanted = given.node.attributes.get("kickstart")
    if wanted:
        return wanted
    if not given.distribution.kind:
        raise render.TemplateMissing(
            f"{given.node.name} has no attribute 'kickstart' that names a template, and no distribution whose kind does"
        )
    return f"{given.distribution.kind}.j2"
