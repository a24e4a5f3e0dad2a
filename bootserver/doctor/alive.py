"""Does the service run, with all its parts, and by the configuration as it is now?"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from bootserver.config import Config, DhcpMode
from bootserver.doctor.finding import Finding, failure, ok, warning
from bootserver.doctor.site import Site

_SLACK = 1.0  # seconds; process times have a resolution of 10 ms, and a file is read some time after the start


def service(site: Site) -> Iterator[Finding]:
    """The supervisor and its parts."""
    if site.service is None:
        yield failure(
            "the service does not run",
            "no node gets an address or a boot file; what only a running service can show is left out below",
            "systemctl start bootserver (journalctl -u bootserver tells why it ended)",
        )
        return
    present = {re.sub(r"-\d+$", "", name) for name in site.service.parts.values()}
    missing = sorted(wanted_parts(site.config) - present)
    if missing:
        yield failure(
            f"of the service (pid {site.service.pid}) these parts don't run: {', '.join(missing)}",
            "a part that dies is started again: so it dies at once each time, or the service began with other settings",
            "journalctl -u bootserver -n 50 tells why; systemctl restart bootserver",
        )
    if _is_newer(site.config.path, site.service.pid):
        yield warning(
            f"{site.config.path} was written after the service started",
            "what was changed may not be in use, and what is checked here is the file",
            "systemctl reload bootserver (a change of [frontend]: restart)",
        )
    if not missing:
        yield ok(f"the service runs (pid {site.service.pid}, {len(site.service.parts)} processes)")


def wanted_parts(config: Config) -> set[str]:
    """The names of the parts that a configuration asks for, without their numbers."""
    parts = {"recorder", "tftp", "web", "rsync-gate", "rsync"}
    if config.dhcp.mode is not DhcpMode.OFF:
        parts.add("dhcp")
    if config.dns.enabled:
        parts.add("dns")
    if config.http.tls_port:
        parts.add("web-tls")
    return parts


def _is_newer(path: Path, pid: int) -> bool:
    """A reload makes all parts anew, so the newest of them says when the configuration was read last."""
    try:
        return path.stat().st_mtime > max(map(_started, (pid, *_children(pid)))) + _SLACK
    except (OSError, ValueError):
        return False


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _started(pid: int) -> float:
    """When a process began, seconds since the epoch (proc(5), field 22: clock ticks since boot)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    up = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - up + int(fields[19]) / os.sysconf("SC_CLK_TCK")
