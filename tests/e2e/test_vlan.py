"""A machine whose frames carry a tag is discovered, and our installer goes on with the tag that it was told."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.imaging import DISK_MB, GOES_WRONG, ImageSite, golden, installer
from tests.lab.disk import blank_disk
from tests.lab.guest import Firmware, Guest, Machine
from tests.lab.namespace import Namespace
from tests.lab.process import patience
from tests.lab.product import Product

TAG, MAC, NODE = 100, "52:54:00:77:64:01", "compute-0-0"
LISTEN, PEER = 10_001, 10_002


class TaggedGuest(Guest):
    """A machine behind a port with a tag (:mod:`tests.lab.trunk`)."""

    def __init__(self, namespace: Namespace, name: str, machine: Machine, directory: Path) -> None:
        super().__init__(namespace, name, machine, directory)
        port = ["python3", "-m", "tests.lab.trunk", str(TAG), self._taps[0], str(LISTEN), str(PEER)]
        self.port = namespace.start("port", port)
        self.port.wait_for("ready", patience(10))

    def _command(self) -> list[str]:
        command = super()._command()
        wire = f"socket,id=net0,udp=127.0.0.1:{LISTEN},localaddr=127.0.0.1:{PEER}"
        command[command.index("-netdev") + 1] = wire
        return command


def test_a_machine_whose_frames_carry_a_tag_is_discovered_and_begins_its_install(
    product: Product, namespace: Namespace, tmp_path: Path
) -> None:
    golden(), installer()
    ImageSite(product).make_ready()
    product.cli("network", "set", "private", "--vlan", str(TAG))
    discovery = product.start_command("insert-ethers", "--batch", "--count", "1")
    machine = Machine(firmware=Firmware.BIOS, macs=(MAC,), memory=640, disks=(blank_disk(tmp_path / "disk", DISK_MB),))
    with TaggedGuest(namespace, "machine", machine, tmp_path) as guest:
        guest.wait(rf"network: eth0\.{TAG} has \S+, and is {NODE}", patience(60), fail=GOES_WRONG)
        product.wait_for_events(NODE, ("exchanged", "inventory", "script sent", "phase"), patience(30))
    assert discovery.wait(patience(10)) == 0
    assert not re.search("dropped VLAN", guest.port.text())
