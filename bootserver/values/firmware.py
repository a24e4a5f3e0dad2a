"""What kind of firmware asks to boot."""

from __future__ import annotations

import enum


class Firmware(enum.Enum):
    """DHCP option 93: RFC 4578 section 2.1, IANA registry "Processor Architecture Types".

    UEFI clients in the wild say 7 (x64, by the registry) or 9 (EBC, what early firmware sent for x64).
    """

    BIOS = 0x00
    UEFI_IA32 = 0x06
    UEFI_X64 = 0x07
    UEFI_ARM64 = 0x0B
    UEFI_IA32_HTTP = 0x0F
    UEFI_X64_HTTP = 0x10
    UEFI_ARM64_HTTP = 0x13

    @classmethod
    def from_code(cls, code: int) -> Firmware | None:
        """The firmware for an option 93 value, or None for one that we have no loader for."""
        return _BY_CODE.get(code)

    @property
    def is_uefi(self) -> bool:
        return self is not Firmware.BIOS

    @property
    def is_http(self) -> bool:
        """UEFI HTTP Boot (UEFI 2.5 section 24.7): it wants a URL, and fetches no file by TFTP."""
        return self in _HTTP


_HTTP = frozenset({Firmware.UEFI_IA32_HTTP, Firmware.UEFI_X64_HTTP, Firmware.UEFI_ARM64_HTTP})
_BY_CODE = {member.value: member for member in Firmware} | {0x09: Firmware.UEFI_X64}
