"""A switch's port whose frames carry a tag (IEEE 802.1Q), for a guest: ``python -m tests.lab.trunk TAG TAP LISTEN PEER``.

Between the guest (QEMU's ``-netdev socket,udp=...``, a frame in each datagram) and a tap on the lab's bridge, where frames have
no tag, as on a port of the frontend's. Not every kernel has VLAN devices, and this needs none.

Debian's iPXE can't tag (it has no ``vcreate``), so this plays the firmware's part as well: frames without a tag are taken until
the first one with it comes. From then on they go nowhere, as those with another tag; each is told on the standard output.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import sys

_TUNSETIFF = 0x400454CA  # linux/if_tun.h
_IFF_TAP_NO_PI = 0x0002 | 0x1000
_TAGGED = 0x8100
_LONGEST = 65_536


def main(tag: int, tap: str, listen: int, peer: int) -> None:
    """:param tap: its name. :param listen: the UDP port on 127.0.0.1 that the guest sends to. :param peer: the guest's own."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", tap.encode(), _IFF_TAP_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as guest:
        guest.bind(("127.0.0.1", listen))
        print("ready", flush=True)
        tags = False
        while True:
            ready, _, _ = select.select([device, guest.fileno()], [], [])
            if guest.fileno() in ready:
                frame = guest.recv(_LONGEST)
                number = tag_of(frame)
                if number == tag:
                    tags = True
                    os.write(device, frame[:12] + frame[16:])
                elif number is None and not tags:
                    os.write(device, frame)
                else:
                    print(f"dropped {'untagged' if number is None else f'VLAN {number}'} {frame[6:12].hex(':')}", flush=True)
            if device in ready:
                frame = os.read(device, _LONGEST)
                if tags:
                    frame = frame[:12] + struct.pack("!HH", _TAGGED, tag) + frame[12:]
                with contextlib.suppress(ConnectionRefusedError):  # the guest is off
                    guest.sendto(frame, ("127.0.0.1", peer))


def tag_of(frame: bytes) -> int | None:
    """The number of its VLAN; None of a frame without a tag."""
    kind, control = struct.unpack_from("!HH", frame, 12)
    return control & 0xFFF if kind == _TAGGED else None


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
