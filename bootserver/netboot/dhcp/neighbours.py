"""Who has an address by the kernel's own neighbour table, asked by rtnetlink(7), which anybody may.

Where a site's DHCP server gives addresses, the one that we know for a node may be another machine's by now. Whoever asks us for
a menu has been asked for its MAC by the kernel (else nothing could be sent to it), so the table knows who it is.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from bootserver.cluster.view import InterfaceView, NodeView, View
from bootserver.netboot.content import Resolution, Resolve
from bootserver.values.mac import MacAddress

NOBODY: Final = IPv4Address("0.0.0.0")  # noqa: S104
_HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr
_NEIGHBOUR: Final = struct.Struct("=BxxxiHBB")  # struct ndmsg
_ATTRIBUTE: Final = struct.Struct("=HH")
_RTM_NEWNEIGH, _RTM_GETNEIGH, _NLMSG_ERROR = 28, 30, 2
_NLM_F_REQUEST: Final = 1
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_INCOMPLETE, _NUD_FAILED = 0x01, 0x20


def mac_of(address: IPv4Address, device: str) -> MacAddress | None:
    """Who has an address on a device; None where the kernel does not know."""
    try:
        index = socket.if_nametoindex(device)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as netlink:
            netlink.settimeout(1)
            body = _NEIGHBOUR.pack(socket.AF_INET, index, 0, 0, 0) + _ATTRIBUTE.pack(8, _NDA_DST) + address.packed
            netlink.send(_HEADER.pack(_HEADER.size + len(body), _RTM_GETNEIGH, _NLM_F_REQUEST, 1, 0) + body)
            answer = netlink.recv(4096)
    except OSError:
        return None
    return _read(answer, address, device)


def _read(answer: bytes, address: IPv4Address, device: str) -> MacAddress | None:
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        (number,) = struct.unpack_from("=i", answer, _HEADER.size)
        # Kernels before 5.0 can't be asked for one neighbour (EOPNOTSUPP), but show all.
        return _from_table(address, device) if number == -errno.EOPNOTSUPP else None
    if kind != _RTM_NEWNEIGH:
        return None
    _, _, state, _, _ = _NEIGHBOUR.unpack_from(answer, _HEADER.size)
    position = _HEADER.size + _NEIGHBOUR.size
    while position + _ATTRIBUTE.size <= len(answer):
        length, what = _ATTRIBUTE.unpack_from(answer, position)
        value = answer[position + _ATTRIBUTE.size : position + length]
        if what == _NDA_LLADDR and len(value) == 6 and not state & (_NUD_INCOMPLETE | _NUD_FAILED):
            return MacAddress(value)
        position += max(length + 3 & ~3, _ATTRIBUTE.size)
    return None


def _from_table(address: IPv4Address, device: str) -> MacAddress | None:
    for line in Path("/proc/net/arp").read_text().splitlines()[1:]:
        words = line.split()
        if words[0] == str(address) and words[-1] == device and int(words[2], 16) & 2:  # ATF_COM: complete
            return MacAddress.parse(words[3])
    return None


class OwnAddress:
    """A resolver's door: who asks from a node's address and is not that node is nobody, and gets nobody's files and menus.

    It looks where a ticket is at stake only: while the node has an install.

    :param resolve: what answers.
    :param view: gives the view as it is now.
    :param holder: who has an address on a device.
    """

    def __init__(
        self,
        resolve: Resolve,
        view: Callable[[], View],
        holder: Callable[[IPv4Address, str], MacAddress | None] = mac_of,
    ) -> None:
        self._resolve = resolve
        self._view = view
        self._holder = holder

    def __call__(self, path: str, client: IPv4Address | IPv6Address) -> Resolution:
        address = client if isinstance(client, IPv4Address) else client.ipv4_mapped
        found = None if address is None else self._view().by_ip.get(address)
        if address is None or found is None or self._is(found, address):
            return self._resolve(path, client)
        return self._resolve(path, NOBODY)

    def _is(self, found: tuple[NodeView, InterfaceView], address: IPv4Address) -> bool:
        node, interface = found
        device = interface.network.device
        if node.install is None or device is None:  # behind a relay there is no table to look at
            return True
        holder = self._holder(address, device)
        return holder is not None and any(holder == each.mac for each in node.interfaces)
