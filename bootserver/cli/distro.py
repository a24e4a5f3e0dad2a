"""``bootserver distro``: distributions, whose own installers install nodes. Its commands are in modules of their own."""

from __future__ import annotations

from bootserver.cli.lazy import Late, LateGroup

SECTIONS = {
    "Distributions": {
        "add": Late("bootserver.cli.distro_alter:add", "Add a tree or an ISO; what it is, is found out."),
        "list": Late("bootserver.cli.distro_look:list_", "List distributions."),
        "show": Late("bootserver.cli.distro_look:show_distribution", "Show a distribution, how it is booted, and who uses it."),
        "remove": Late("bootserver.cli.distro_alter:remove", "Remove a distribution."),
    },
}

distro = LateGroup(name="distro", sections=SECTIONS, help="Distributions: install trees for distributions' own installers.")
