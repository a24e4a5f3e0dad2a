"""A machine: QEMU without KVM, on taps of the lab's bridge, with firmware that boots from the network first."""

from __future__ import annotations

import contextlib
import enum
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from tests.lab.console import Console
from tests.lab.namespace import BRIDGE, Namespace
from tests.lab.process import DIE_WITH_PARENT, end

OVMF_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
GOES_WRONG = r"Kernel panic|No bootable device|LAB-ERROR.*"


class Firmware(enum.Enum):
    """What the machine runs before any boot loader."""

    BIOS = "SeaBIOS with QEMU's iPXE ROM for virtio"
    UEFI = "OVMF with its own PXE and HTTP clients"
    UEFI_HTTP = "OVMF with PXE switched off, so that only HTTP Boot is left"

    @property
    def is_uefi(self) -> bool:
        return self is not Firmware.BIOS


class DiskBus(enum.Enum):
    """What the machine's disks are behind.

    :ivar controller: QEMU's device that they are on; None where each disk is one of its own.
    """

    VIRTIO = (None, "virtio-blk-pci")
    AHCI = ("ich9-ahci,id=disks", "ide-hd,bus=disks.{number}")
    NVME = (None, "nvme,serial=lab-{number}")
    SCSI = ("virtio-scsi-pci,id=disks", "scsi-hd,bus=disks.0,scsi-id={number}")

    def __init__(self, controller: str | None, disk: str) -> None:
        self.controller = controller
        self._disk = disk

    def disk(self, number: int) -> str:
        """The device that a disk is, counted from 0."""
        return self._disk.format(number=number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a guest is made of.

    :ivar macs: one for each network card, in PCI order (so in the order of Linux' ``eth0``, ``eth1`` ...).
    :ivar bridges: which wire each card is on, where that is not the lab's one for all.
    :ivar boot_card: which of `macs` boots first; its disks come last.
    :ivar uuid: SMBIOS UUID; None leaves QEMU's all zeros, as cheap boards have.
    :ivar memory: MB. A UEFI guest that gets a 14 MB kernel by GRUB needs no more than a BIOS one.
    :ivar disks: raw images.
    :ivar bus: what they are behind.
    :ivar card: QEMU's name of what its network cards are, such as ``e1000e``.
    :ivar has_screen: it has a graphics card, as most have; only programs that will not run without one need it here.
    """

    firmware: Firmware
    macs: tuple[str, ...]
    bridges: tuple[str, ...] = ()
    boot_card: int = 0
    uuid: UUID | None = None
    memory: int = 320
    processors: int = 1
    disks: tuple[Path, ...] = ()
    bus: DiskBus = DiskBus.VIRTIO
    card: str = "virtio-net-pci"
    has_screen: bool = False


class Guest:
    """A machine that can be switched on and off; its disks and its firmware's variables outlive that.

    :ivar console: what it says on its serial line, over all its boots.
    """

    def __init__(self, namespace: Namespace, name: str, machine: Machine, directory: Path) -> None:
        self.name = name
        self.machine = machine
        self.console = Console(name, directory / f"{name}.console")
        self._namespace = namespace
        bridges = machine.bridges or (BRIDGE,) * len(machine.macs)
        self._taps = tuple(namespace.add_tap(bridge) for bridge in bridges)
        self._qmp = directory / f"{name}.qmp"
        self._errors = directory / f"{name}.qemu"
        self._variables = directory / f"{name}.nvram"
        self._qemu: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        if machine.firmware.is_uefi:
            shutil.copyfile(OVMF_VARIABLES, self._variables)

    def __enter__(self) -> Self:
        self.power_on()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.power_off()

    @property
    def is_on(self) -> bool:
        return self._qemu is not None and self._qemu.poll() is None

    def power_on(self) -> None:
        assert not self.is_on, f"{self.name} is on already"
        self.console.opened()
        with self._errors.open("ab") as errors:
            self._qemu = subprocess.Popen(
                [*DIE_WITH_PARENT, *self._namespace.command(self._command())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._listen, args=(self._qemu,), daemon=True)
        self._reader.start()

    def power_off(self) -> None:
        """Pull the plug; SIGTERM lets QEMU close its disk images."""
        if self._qemu is not None:
            end(self._qemu)
            assert self._reader is not None
            self._reader.join(5)
            for pipe in (self._qemu.stdin, self._qemu.stdout):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
            self._qemu = None

    def power_cycle(self, **changes: Any) -> None:
        """Off and on again, with the same disks and variables.

        :param changes: fields of :class:`Machine` to change while it is off, as in ``boot_card=1``.
        """
        self.power_off()
        self.machine = replace(self.machine, **changes)
        self.power_on()

    def reset(self) -> None:
        """The reset button; the next :meth:`wait` sees only what comes after it."""
        self.qmp("system_reset")
        self.console.forget()

    def wait(self, regex: str, seconds: float, *, fail: str | None = GOES_WRONG) -> re.Match[str]:
        """:meth:`Console.wait`; what QEMU itself had to say is in ``<name>.qemu``."""
        return self.console.wait(regex, seconds, fail=fail)

    def send(self, text: str) -> None:
        """Type on the serial console."""
        assert self._qemu is not None and self._qemu.stdin is not None, f"{self.name} is off"
        self._qemu.stdin.write(text.encode())
        self._qemu.stdin.flush()

    def qmp(self, command: str, **arguments: Any) -> Any:
        """One command to QEMU, as in ``qmp("set_link", name="card0", up=False)``.

        :returns: what it returned.
        :raises RuntimeError: QEMU refused.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self._qmp))
            with connection.makefile("rw") as lines:
                lines.readline()  # the greeting
                _ask(lines, {"execute": "qmp_capabilities"})
                return _ask(lines, {"execute": command, "arguments": arguments})

    def _listen(self, qemu: subprocess.Popen[bytes]) -> None:
        assert qemu.stdout is not None
        with contextlib.suppress(ValueError):  # the pipe was closed under us
            while chunk := os.read(qemu.stdout.fileno(), 65536):
                self.console.feed(chunk)
        if qemu.wait() != 0:  # it did not like its command line, or crashed; by SIGTERM it ends with 0
            self.console.feed(f"\n(QEMU: {self._errors.read_text(errors='replace')[-500:]})\n".encode())
        self.console.closed()

    def _command(self) -> list[str]:
        machine = self.machine
        uefi = machine.firmware.is_uefi
        command = ["qemu-system-x86_64", "-name", self.name, "-nodefaults", "-no-user-config", "-display", "none"]
        # Never KVM, even where it is there: not every machine's works. graphics=off sends what SeaBIOS, iPXE, pxelinux
        # and GRUB write on the screen to the serial line.
        command += ["-accel", "tcg,thread=multi,tb-size=256", "-machine", f"{'q35' if uefi else 'pc'},graphics=off"]
        command += ["-cpu", "max", "-smp", str(machine.processors), "-m", str(machine.memory)]
        command += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
        command += ["-qmp", f"unix:{self._qmp},server=on,wait=off"]
        command += ["-device", "virtio-rng-pci"]  # a guest without entropy waits for it
        if machine.has_screen:
            command += ["-device", "VGA"]
        if machine.uuid is not None:
            command += ["-uuid", str(machine.uuid)]
        if uefi:
            command += ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"]
            command += ["-drive", f"if=pflash,format=raw,unit=1,file={self._variables}"]
            # The lab has no IPv6 boot: OVMF would wait 70 s for it before it goes on to the next boot device.
            families = ("IPv4", "IPv6") if machine.firmware is Firmware.UEFI_HTTP else ("IPv6",)
            for family in families:
                command += ["-fw_cfg", f"name=opt/org.tianocore/{family}PXESupport,string=n"]
        order = [machine.boot_card, *(card for card in range(len(machine.macs)) if card != machine.boot_card)]
        for card, (mac, tap) in enumerate(zip(machine.macs, self._taps, strict=True)):
            device = f"{machine.card},id=card{card},netdev=net{card},mac={mac},bootindex={order.index(card)}"
            if uefi:
                device += ",romfile="  # OVMF's own PXE client is the one that is tested, not iPXE's
            command += ["-netdev", f"tap,id=net{card},ifname={tap},script=no,downscript=no,vhost=off", "-device", device]
        if machine.disks and machine.bus.controller is not None:
            command += ["-device", machine.bus.controller]
        for number, disk in enumerate(machine.disks):
            command += ["-drive", f"if=none,id=disk{number},format=raw,cache=unsafe,discard=unmap,file={disk}"]
            command += ["-device", f"{machine.bus.disk(number)},drive=disk{number},bootindex={len(order) + number}"]
        return command


def _ask(lines: Any, request: dict[str, Any]) -> Any:
    lines.write(json.dumps(request) + "\n")
    lines.flush()
    while True:  # events come in between
        answer = json.loads(lines.readline())
        if "error" in answer:
            raise RuntimeError(f"QEMU refused {request['execute']}: {answer['error']['desc']}")
        if "return" in answer:
            return answer["return"]
