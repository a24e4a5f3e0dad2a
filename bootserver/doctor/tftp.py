"""tftpy's client, asking as real firmware does: an independent judge of our TFTP server (RFC 1350, 2347-2349, 7440).

tftpy 0.8 knows no windowsize (RFC 7440) and refuses a server's OACK with one; so what it lacks of that is added here: the option
is taken out of the OACK, and blocks are acknowledged by windows.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from tftpy.TftpContexts import TftpContextClientDownload
from tftpy.TftpPacketTypes import TftpPacketOACK
from tftpy.TftpShared import TftpException, TftpFileNotFoundError, TftpTimeout
from tftpy.TftpStates import TftpStateExpectDAT

TIMEOUT: Final = 2
RETRIES: Final = 3

# What each asks with, as seen on the wire.
PXE_ROM: Final[Mapping[str, int]] = MappingProxyType({"blksize": 1432, "tsize": 0})
PXELINUX: Final[Mapping[str, int]] = MappingProxyType({"tsize": 0, "blksize": 1408})
OVMF: Final[Mapping[str, int]] = MappingProxyType({"tsize": 0, "blksize": 1468, "windowsize": 4})
SHIM: Final[Mapping[str, int]] = MappingProxyType({"blksize": 512, "windowsize": 4})
GRUB: Final[Mapping[str, int]] = MappingProxyType({"blksize": 1024, "tsize": 0})

# It tells of each packet, and of each time-out as an error; what matters of that comes as an exception.
logging.getLogger("tftpy").setLevel(logging.CRITICAL + 1)


class Silent(Exception):
    """Nothing came back: no server, or something drops its packets."""


class Broken(Exception):
    """The transfer ended with an error, which the text says."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """:ivar options: what the server agreed to. :ivar repeated: packets that had to be sent again."""

    content: bytes
    options: Mapping[str, int]
    repeated: int


def fetch(address: str, port: int, name: str, options: Mapping[str, int]) -> Fetched:
    """Fetch a file.

    :raises Silent: nothing came back. :raises Broken: an error, or too little.
    """
    output = io.BytesIO()
    agreed: dict[str, int] = {}
    context = _Download(address, port, name, output, dict(options), agreed)
    try:
        context.start()
    except TftpTimeout as error:
        if not agreed and not output.tell():
            raise Silent(f"no answer from {address} port {port}") from error
        raise Broken(f"it ended after {output.tell()} bytes: nothing more came") from error
    except TftpFileNotFoundError as error:
        raise Broken("the server says that there is no such file") from error
    except (TftpException, OSError, ValueError) as error:
        raise Broken(str(error) or type(error).__name__) from error
    finally:
        context.end()
    return Fetched(output.getvalue(), agreed, context.metrics.dupcount)


class _Download(TftpContextClientDownload):  # type: ignore[misc]  # tftpy has no types
    """A download with windows."""

    def __init__(
        self, address: str, port: int, name: str, output: io.BytesIO, options: dict[str, int], agreed: dict[str, int]
    ) -> None:
        self._agreed = agreed
        super().__init__(address, port, name, output, options, self._hook, TIMEOUT, retries=RETRIES)

    def _hook(self, packet: Any) -> None:
        if isinstance(packet, TftpPacketOACK):
            self._agreed.update({key: int(value) for key, value in packet.options.items()})
            packet.options.pop("windowsize", None)
            if not packet.options:  # tftpy wants one at least
                packet.options["blksize"] = 512

    def cycle(self) -> None:
        super().cycle()
        window = self._agreed.get("windowsize", 1)
        if window > 1 and type(self.state) is TftpStateExpectDAT:
            self.state: Any = _ExpectWindow(self, window)


class _ExpectWindow(TftpStateExpectDAT):  # type: ignore[misc]  # likewise
    """Acknowledges the last block of each window (RFC 7440 section 4), and the last of all."""

    def __init__(self, context: _Download, window: int) -> None:
        super().__init__(context)
        self._window = window
        self._waiting = 0
        self._is_last = False

    def handle(self, packet: Any, address: str, port: int) -> Any:
        self._is_last = len(getattr(packet, "data", b"") or b"") < self.context.getBlocksize()
        return None if super().handle(packet, address, port) is None else self

    def sendACK(self, blocknumber: int | None = None) -> None:  # noqa: N802  # tftpy's name
        self._waiting += 1
        if blocknumber is not None or self._is_last or self._waiting >= self._window:
            self._waiting = 0
            super().sendACK(blocknumber)
