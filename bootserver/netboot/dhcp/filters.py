"""Which frames the kernel hands to a socket: classic BPF programs (packet(7), socket(7), SO_ATTACH_FILTER).

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

# linux/filter.h: what the kernel knows of a frame beside its octets, as negative offsets.
_PACKET_TYPE, _INTERFACE = (0x1_0000_0000 - 0x1000 + offset for offset in (4, 8))

# linux/bpf_common.h: load word, half word, byte and index (of 4 * (low nibble)), jump if equal, jump if a bit is set, return.
_LD, _LDH, _LDB, _LDH_X, _LDX_MSH, _JEQ, _JSET, _RET = 0x20, 0x28, 0x30, 0x48, 0xB1, 0x15, 0x45, 0x06
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
# Of a UDP socket, whose filter sees datagrams from the UDP header on.
FROM_ROUTERS: Final[Program] = (
    (_LD, 0, 0, _PACKET_TYPE),
    (_JEQ, 0, 5, socket.PACKET_HOST),
    (_LD, 0, 0, 8 + 24),  # giaddr: a relay sent it
    (_JEQ, 0, 2, 0),
    (_LD, 0, 0, 8 + 12),  # ciaddr: a machine that has an address renews it
    (_JEQ, 1, 0, 0),
    (_RET, 0, 0, _ALL),
    (_RET, 0, 0, _NOTHING),
)


def attach(opened: socket.socket, program: Program) -> None:
    """:raises OSError: the kernel does not take it."""
    code = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*each) for each in program))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))


def _of_this_device(index: int) -> Program:
    """What must be true of a frame besides.

    A packet socket of a device gets the frames of its VLANs, too, the tag taken off (the kernel's __netif_receive_skb_core
    delivers by the original device): those of a VLAN device under that device's index, and those of VLANs that have none here
    as somebody else's. Neither is on this network.
    """
    return (
        (_LD, 0, 0, _INTERFACE),
        (_JEQ, 0, 2, index),
        (_LD, 0, 0, _PACKET_TYPE),
        (_JEQ, 0, 1, socket.PACKET_OTHERHOST),
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
        attach(opened, (*_of_this_device(socket.if_nametoindex(device)), *program))
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
