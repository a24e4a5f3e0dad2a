"""All checks, from the outside in: what the service is, the wire, what is fetched over it, then what is on the disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bootserver import config as configuration
from bootserver.doctor import alive, clock, data, fetching, firewall, links, loaders, menus, neighbours, networks, ports, state
from bootserver.doctor.finding import Finding, failure, note, ok, warning
from bootserver.doctor.site import Site, survey
from bootserver.errors import BootserverError
from bootserver.values.progress import Progress, quiet


@dataclass(frozen=True, slots=True)
class Check:
    """:ivar by_service: nothing can be seen while the service is down, which is said once.
    :ivar by_view: nothing can be seen while the cluster's database can't be read, likewise.
    """

    name: str
    look: Callable[[Site], Iterator[Finding]]
    by_service: bool = False
    by_view: bool = False


CHECKS = (
    Check("service", alive.service),
    Check("database", data.databases),
    Check("interface", links.links),
    Check("networks", networks.networks, by_view=True),
    Check("ports", ports.ports),
    Check("firewall", firewall.firewall),
    Check("dhcp-servers", neighbours.dhcp_servers),
    Check("tftp", fetching.tftp_loaders, by_service=True),
    Check("http", fetching.http_loaders, by_service=True),
    Check("image-server", fetching.image_server, by_service=True),
    Check("menus", menus.menus, by_view=True),
    Check("loaders", loaders.boot_loaders),
    Check("secure-boot", loaders.secure_boot),
    Check("installer", loaders.installer),
    Check("content", state.content, by_view=True),
    Check("disk", state.disk_space),
    Check("permissions", state.permissions),
    Check("clock", clock.clock),
)


def examine(path: Path, *, quick: bool = False, only: Collection[str] = (), progress: Progress = quiet) -> Iterator[Finding]:
    """Look at an installation.

    :param path: its configuration.
    :param quick: leave out what takes more than a moment.
    :param only: the names of the checks to do; none: all.
    :returns: what was found, as it is found; each finding says by which check.
    """
    try:
        config = configuration.load(path)
    except BootserverError as error:
        mend = "bootserver init --interface IF" if not path.exists() else f"mend it in {path} (docs/reference/configuration.md)"
        yield replace(failure(str(error), "nothing can start, and nothing else can be looked at", mend), check="configuration")
        return
    yield replace(ok(f"{path} can be read"), check="configuration")
    site = survey(config, quick=quick, progress=progress)
    for check in CHECKS:
        if only and check.name not in only:
            continue
        if (check.by_service and site.service is None) or (check.by_view and site.view is None):
            continue
        for finding in _looked(check, site):
            yield replace(finding, check=check.name)


def _looked(check: Check, site: Site) -> Iterator[Finding]:
    """A check that can't be done is a finding, and no end of the others."""
    try:
        yield from check.look(site)
    except PermissionError as error:
        yield note(f"not for this user to look at: {error.filename or error}", mend="sudo bootserver doctor")
    except (BootserverError, OSError) as error:
        yield warning(f"it can't be looked at: {error}", "what it would show is not known", "bootserver --verbose doctor")
