"""gunicorn, with a socket that is open already and an application that is made in each worker.

Why gthread with so many threads: a slow download holds a thread, and a thousand slow nodes must not keep a menu waiting
(bench/http.py). Waiting threads cost some kilobytes each.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.config import KNOWN_SETTINGS as _SETTINGS

from bootserver.service.supervisor import GRACE_SECONDS

_KNOWN = frozenset(setting.name for setting in _SETTINGS)  # newer releases have more of them
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # gunicorn's heartbeat file; on a slow disk it would look dead


class WebServer(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """:param application: makes the WSGI application, in each worker.
    :param listening: the file descriptor of the socket.
    :param ready: called once the first worker answers.
    :param tls: certificate and key, for HTTPS.
    """

    def __init__(
        self,
        application: Callable[[], object],
        listening: int,
        workers: int,
        threads: int,
        ready: Callable[[], None],
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self._application = application
        self._settings: dict[str, Any] = {
            "bind": f"fd://{listening}",
            "workers": workers,
            "worker_class": "gthread",
            "threads": threads,
            "worker_connections": threads * 2,
            "timeout": 60,
            "graceful_timeout": int(GRACE_SECONDS),
            "keepalive": 2,
            "loglevel": "warning",
            "worker_tmp_dir": str(_SHARED_MEMORY) if _SHARED_MEMORY.is_dir() else tempfile.gettempdir(),
            "proc_name": "bootserver-web",
            # Its administrators' socket: the supervisor is who starts and stops here.
            **({"control_socket_disable": True} if "control_socket_disable" in _KNOWN else {}),
            "post_worker_init": lambda _worker: ready(),
            # A slow node sends its request in one packet: who takes longer than this is no node.
            "limit_request_line": 2048,
            "limit_request_fields": 64,
            "limit_request_field_size": 4096,
        }
        if tls is not None:
            self._settings |= {"certfile": str(tls[0]), "keyfile": str(tls[1]), "ssl_context": _context}
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._settings.items():
            self.cfg.set(name, value)

    def load(self) -> object:
        return self._application()


def _context(_config: object, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # what the curl of RHEL 7's installer speaks (RFC 9325)
    return context
