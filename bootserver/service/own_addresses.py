"""Which of this machine's devices has which IPv4 address: netdevice(7), SIOCGIFCONF."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from ipaddress import IPv4Address
from typing import Final

_SIOCGIFCONF: Final = 0x8912
_CONF: Final = struct.Struct("@iP")  # struct ifconf
_NAME, _ADDRESS_AT = 16, 20  # of struct ifreq: a name, then a struct sockaddr_in
_ENTRY: Final = _NAME + (24 if struct.calcsize("P") == 8 else 16)  # the union's largest member is a struct ifmap
_MOST: Final = 4_096


def devices() -> dict[IPv4Address, str]:
    """Each address, and its device; one that several have is that of the first."""
    room = ctypes.create_string_buffer(_MOST * _ENTRY)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asks:
        answer = fcntl.ioctl(asks, _SIOCGIFCONF, _CONF.pack(len(room), ctypes.addressof(room)))
    length, _ = _CONF.unpack(answer)
    found: dict[IPv4Address, str] = {}
    for start in range(0, length, _ENTRY):
        entry = room.raw[start : start + _ENTRY]
        name = entry[:_NAME].partition(b"\0")[0].decode(errors="replace")
        # A second address may have a label of its own: "eth0:1" is on eth0 (ip-address(8)).
        found.setdefault(IPv4Address(entry[_ADDRESS_AT : _ADDRESS_AT + 4]), name.partition(":")[0])
    return found
