"""Waits until the service answers by TFTP and by HTTP, with any answer; run inside the namespace.

``python -m tests.lab.probe ADDRESS TFTP-PORT HTTP-PORT SECONDS``: status 0, or 1 with the name of who is silent.
"""

from __future__ import annotations

import http.client
import socket
import sys
import time
from collections.abc import Callable

_READ_REQUEST = b"\0\1no-such-file\0octet\0"


def tftp_answers(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        try:
            client.sendto(_READ_REQUEST, (address, port))
            return client.recv(1500)[:2] == b"\0\5"  # ERROR: file not found, as it should
        except OSError:
            return False


def http_answers(address: str, port: int) -> bool:
    connection = http.client.HTTPConnection(address, port, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status > 0
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main(address: str, tftp_port: int, http_port: int, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    waiting: dict[str, Callable[[], bool]] = {
        "TFTP": lambda: tftp_answers(address, tftp_port),
        "HTTP": lambda: http_answers(address, http_port),
    }
    while waiting := {name: answers for name, answers in waiting.items() if not answers()}:
        if time.monotonic() > deadline:
            print(f"no answer by {' nor '.join(waiting)} from {address} in {seconds:.0f} s")
            return 1
        time.sleep(0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
