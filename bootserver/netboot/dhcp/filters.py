"""Which frames the kernel hands to a packet socket: classic BPF programs (packet(7), socket(7), SO_ATTACH_FILTER).

A packet socket sees every frame of its device. These wake the server only for the few that it wants.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct
from typing import Final

ETHERNET_ARP: Final = 0x0806
ETHERNET_IPV4: Final = 0x0800

_SO_ATTACH_FILTER: Final = 26  # Linux asm-generic/socket.h
_SIOCGIFHWADDR: Final = 0x8927
_ARPHRD_ETHER: Final = 1
_INSTRUCTION: Final = struct.Struct("=HBBI")

# linux/bpf_common.h: load half word, byte and index (of 4 * (low nibble)), jump if equal, jump if a bit is set, return.
_LDH, _LDB, _LDH_X, _LDX_MSH, _JEQ, _JSET, _RET = 0x28, 0x30, 0x48, 0xB1, 0x15, 0x45, 0x06
_ALL, _NOTHING = 0xFFFF, 0

Program = tuple[tuple[int, int, int, int], ...]

ARP_REPLIES: Final[Program] = (
    (_LDH, 0, 0, 12),
    (_JEQ, 0, 3, ETHERNET_ARP),
    (_LDH, 0, 0, 20),  # RFC 826: the operation
    (_JEQ, 0, 1, 2),
    (_RET, 0, 0, _ALL),
    (_RET, 0, 0, _NOTHING),
)
DHCP_REPLIES: Final[Program] = (
    (_LDH, 0, 0, 12),
    (_JEQ, 0, 10, ETHERNET_IPV4),
    (_LDB, 0, 0, 23),
    (_JEQ, 0, 8, socket.IPPROTO_UDP),
    (_LDH, 0, 0, 20),
    (_JSET, 6, 0, 0x1FFF),  # a later fragment
    (_LDX_MSH, 0, 0, 14),  # the IPv4 header's length
    (_LDH_X, 0, 0, 14),
    (_JEQ, 0, 3, 67),  # from a server's port
    (_LDH_X, 0, 0, 16),
    (_JEQ, 0, 1, 68),  # to a client's
    (_RET, 0, 0, _ALL),
    (_RET, 0, 0, _NOTHING),
)


def open_filtered(device: str, protocol: int, program: Program) -> socket.socket:
    """A packet socket that gets what `program` lets through, and nothing that this machine sends.

    :param protocol: an Ethernet type.
    :raises OSError: it needs CAP_NET_RAW, the device, and a kernel with packet sockets.
    """
    # Protocol 0 until the filter is in place: nothing comes in before.
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        code = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*each) for each in program))
        opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))
        opened.bind((device, protocol))
    except OSError:
        opened.close()
        raise
    return opened


def hardware_address(opened: socket.socket, device: str) -> bytes:
    """:raises OSError: the device is gone, or no Ethernet."""
    answer = fcntl.ioctl(opened, _SIOCGIFHWADDR, struct.pack("16s16x", device.encode()))
    (family,) = struct.unpack_from("=H", answer, 16)
    if family != _ARPHRD_ETHER:
        raise OSError(errno.EOPNOTSUPP, "no Ethernet device")
    return answer[18:24]
