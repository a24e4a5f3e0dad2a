"""The codec: what real clients send is read, what it writes it reads again, and nothing else than WireError comes out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.netboot.dhcp import request, wire
from bootserver.netboot.dhcp.request import DhcpRequest, MessageType
from bootserver.netboot.dhcp.wire import DhcpPacket, Reader, WireError
from bootserver.values.firmware import Firmware

CAPTURED = Path(__file__).parent.parent / "data" / "dhcp"
UUID_OF_LAB = bytes.fromhex("ff19966f868b11d0b42d00c04fc964ff")


def captured(name: str) -> bytes:
    return bytes.fromhex((CAPTURED / f"{name}.hex").read_text())


def read(name: str) -> DhcpRequest:
    return request.read(wire.decode(captured(name)))


def packet(options: dict[int, bytes] | None = None, *, file: bytes = b"", sname: bytes = b"") -> DhcpPacket:
    none = bytes(4)
    mac = bytes.fromhex("525400000001").ljust(16, b"\0")
    return DhcpPacket(
        1, 1, 6, 0, 0x01020304, 0, 0, none, none, none, none, mac, sname.ljust(64, b"\0"), file.ljust(128, b"\0"), options or {}
    )


def datagram(options: bytes, *, file: bytes = b"", sname: bytes = b"") -> bytes:
    """A message whose option area is written by hand."""
    return wire.FIXED.pack(*packet(file=file, sname=sname)[:14]) + wire.MAGIC + options


# --- what real clients send: captured in a network of QEMU guests (dnsmasq was the server) ---------------------------


@pytest.mark.parametrize("path", sorted(CAPTURED.glob("*.hex")), ids=lambda path: path.stem)
def test_what_a_real_client_sends_is_read_and_written_again(path: Path):
    packet = wire.decode(bytes.fromhex(path.read_text()))
    assert wire.decode(wire.encode(packet)) == packet
    expected = MessageType.DISCOVER if path.stem.endswith("discover") else MessageType.REQUEST
    assert request.message_type(packet) is expected


@pytest.mark.parametrize(
    ("client", "firmware", "is_ipxe", "netboots", "broadcast", "max_size", "asks_for_file", "uuid"),
    [
        ("ipxe-rom-bios", Firmware.BIOS, True, True, False, 1472, True, UUID_OF_LAB),
        ("ipxe-rom-e1000-no-uuid", Firmware.BIOS, True, True, False, 1472, True, None),
        ("snponly-efi", Firmware.UEFI_X64, True, True, False, 1472, True, UUID_OF_LAB),
        ("ovmf-pxe", Firmware.UEFI_X64, False, True, True, 1472, True, UUID_OF_LAB),
        ("ovmf-http-boot", Firmware.UEFI_X64_HTTP, False, True, True, 1472, True, UUID_OF_LAB),
        ("syslinux-efi", None, False, False, True, 65280, False, None),
        ("udhcpc", None, False, False, False, 576, False, None),
        ("dhclient", None, False, False, False, None, False, None),
    ],
)
def test_a_real_client_is_recognised(client, firmware, is_ipxe, netboots, broadcast, max_size, asks_for_file, uuid):
    seen = read(f"{client}-discover")
    assert (seen.firmware, seen.is_ipxe, seen.netboots, seen.broadcast) == (firmware, is_ipxe, netboots, broadcast)
    assert (seen.max_size, seen.asks_for(request.BOOT_FILE), seen.uuid) == (max_size, asks_for_file, uuid)


def test_ipxe_tells_what_it_was_built_with():
    assert read("ipxe-rom-bios-discover").ipxe_http
    assert read("ipxe-rom-bios-discover").ipxe_features > read("snponly-efi-discover").ipxe_features - {36}
    assert not read("ovmf-pxe-discover").ipxe_features


def test_a_request_says_which_server_and_which_address_it_took():
    seen = read("ovmf-pxe-request")
    assert (str(seen.server_id), str(seen.requested), seen.ciaddr) == ("10.77.0.1", "10.77.0.130", None)


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "classes"),
    [
        (b"iPXE", (b"iPXE",)),  # as iPXE, gPXE and udhcpc send it
        (b"\x04iPXE", (b"iPXE",)),  # as RFC 3004 has it
        (b"\x04iPXE\x03lab", (b"iPXE", b"lab")),
        (b"\x04iPX", (b"\x04iPX",)),  # too short for its prefix
        (b"\x00", (b"\x00",)),
        (b"", ()),
    ],
)
def test_user_classes_are_read_with_and_without_their_lengths(value, classes):
    assert wire.user_classes(value) == classes
    assert request.read(packet({77: value})).is_ipxe == (b"iPXE" in classes)


@pytest.mark.parametrize(
    ("value", "uuid"),
    [
        (b"\0" + UUID_OF_LAB, UUID_OF_LAB),
        (b"\1" + UUID_OF_LAB, None),
        (UUID_OF_LAB, None),
        (b"\0" + bytes(16), None),
        (b"\0" + b"\xff" * 16, None),
        (b"\0" + bytes.fromhex("03000200040005000006000700080009"), None),
        (b"\0" + bytes.fromhex("00020003000400050006000700080009"), None),
        (b"", None),
    ],
)
def test_a_factory_default_uuid_is_none(value, uuid):
    assert request.read(packet({97: value})).uuid == uuid


def test_an_architecture_without_a_loader_of_ours_keeps_its_code():
    seen = request.read(packet({93: b"\x00\x21\x00\x07"}))
    assert (seen.architecture, seen.firmware, seen.netboots) == (0x21, None, True)


def test_early_uefi_x64_says_ebc():
    assert request.read(packet({93: b"\x00\x09"})).firmware is Firmware.UEFI_X64


def test_a_vendor_class_is_printable_whatever_it_was():
    assert request.read(packet({60: b"PXE\nkernel\x1b[0m\xff"})).vendor_class == "PXE.kernel.[0m."
    assert len(request.read(packet({60: b"x" * 255})).vendor_class) == 64


def test_options_are_read_from_file_and_sname_where_option_52_says_so():
    message = datagram(b"\x34\x01\x03\x0c\x02ab\xff", file=b"\x0c\x02cd\xff", sname=b"\x0c\x02ef\x0f\x01x\xff")
    assert wire.decode(message).options == {52: b"\x03", 12: b"abcdef", 15: b"x"}


def test_an_overload_inside_an_overload_is_not_followed():
    message = datagram(b"\x34\x01\x01\xff", file=b"\x34\x01\x02\xff", sname=b"\x0c\x02no\xff")
    assert 12 not in wire.decode(message).options


def test_a_long_option_is_split_and_joined():
    value = bytes(range(256)) * 2
    whole = wire.encode(packet({60: value}))
    assert wire.decode(whole).options == {60: value}
    assert whole[wire.OPTIONS_AT + 1] == 255


def test_a_message_without_the_cookie_is_bootp_and_has_no_options():
    assert wire.decode(wire.FIXED.pack(*packet()[:14]) + bytes(64)).options == {}
    assert wire.decode(wire.FIXED.pack(*packet()[:14])).options == {}


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (b"", "ends at byte 0"),
        (bytes(235), "ends at byte 235"),
        (datagram(b"\x35"), "option 53 at byte 240 has no length"),
        (datagram(b"\x00\x35\x02\x01"), "option 53 at byte 241 has 2 octets, 1 are there"),
        (datagram(b"\x34\x01\x04"), "option 52"),
        (datagram(b"\x34\x00"), "option 52"),
        (datagram(b"\x34\x01\x01", file=b"\x0c\xf0"), "option 12 at byte 108 has 240 octets, 126 are there"),
    ],
)
def test_an_error_says_at_which_byte_and_why(message, says):
    with pytest.raises(WireError, match=says):
        wire.decode(message)


def test_a_reader_never_reads_over_the_end():
    reader = Reader(b"\x01\x02\x03", "test")
    assert reader.uint16() == 0x0102
    with pytest.raises(WireError, match="test: 2 octets wanted at byte 2, 1 are there"):
        reader.uint16()
    assert reader.left == 1


# --- the encoder's limits --------------------------------------------------------------------------------------------


def reply(tail: wire.Tail) -> bytes:
    return wire.FIXED.pack(*packet()[:14])[: wire.SNAME_AT] + tail.octets


def test_a_short_message_is_padded_to_300_octets():
    assert len(reply(wire.encode_tail([(53, b"\x02")]))) == 300


def test_options_go_into_file_and_sname_only_when_they_must():
    fitting = wire.encode_tail([(12, b"x" * 200)], limit=548)
    assert 52 not in wire.decode(reply(fitting)).options
    crowded = wire.encode_tail([(12, b"a" * 250), (60, b"b" * 100), (15, b"c" * 50)], limit=548)
    message = reply(crowded)
    assert len(message) <= 548
    assert wire.decode(message).options == {12: b"a" * 250, 60: b"b" * 100, 15: b"c" * 50} | {
        52: wire.decode(message).options[52]
    }
    assert not crowded.dropped


def test_a_boot_file_in_its_field_is_never_overwritten_by_options():
    tail = wire.encode_tail([(12, b"a" * 200), (60, b"b" * 90), (15, b"c" * 40)], file=b"pxelinux.0", limit=548)
    read_again = wire.decode(reply(tail))
    assert read_again.file.rstrip(b"\0") == b"pxelinux.0"
    assert read_again.options[52] == b"\x02"


def test_what_finds_no_room_is_left_out_from_the_end():
    tail = wire.encode_tail([(12, b"a" * 250), (60, b"b" * 250), (15, b"c")], file=b"x", limit=548)
    assert tail.dropped == (60,)
    assert wire.decode(reply(tail)).options[15] == b"c"


def test_relay_information_is_the_last_option_even_when_it_is_crowded():
    for size in (1, 300):
        tail = wire.encode_tail([(12, b"a" * 200), (60, b"b" * size)], limit=548, relay_information=b"\x01\x02ab")
        message = reply(tail)
        assert message.rstrip(b"\0").endswith(b"\x52\x04\x01\x02ab\xff")


# --- any bytes -------------------------------------------------------------------------------------------------------

options = st.dictionaries(
    st.integers(1, 254).filter(lambda code: code not in {wire.OVERLOAD, wire.RELAY_INFORMATION}),
    st.binary(max_size=300),
    max_size=8,
)


@given(st.binary(max_size=700))
def test_any_bytes_are_a_message_or_a_wire_error(octets):
    try:
        request.read(wire.decode(octets))
    except WireError as error:
        assert "\n" not in str(error)


@given(st.binary(max_size=400), st.binary(max_size=128), st.binary(max_size=64))
def test_any_options_are_a_message_or_a_wire_error(octets, file, sname):
    try:
        decoded = wire.decode(datagram(octets, file=file, sname=sname))
        assert isinstance(request.read(decoded), DhcpRequest)
    except WireError as error:
        assert "\n" not in str(error)


@given(st.data())
def test_a_real_message_with_some_bytes_changed_is_a_message_or_a_wire_error(data):
    octets = bytearray(captured(data.draw(st.sampled_from(sorted(path.stem for path in CAPTURED.glob("*.hex"))))))
    for _ in range(data.draw(st.integers(1, 8))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        request.read(wire.decode(bytes(octets)))
    except WireError as error:
        assert "\n" not in str(error)


@given(options, st.binary(max_size=100).filter(lambda name: not name.endswith(b"\0")))
def test_what_is_written_is_read_again(options, file):
    original = packet(options, file=file)
    written = wire.encode(original, limit=4096)
    again = wire.decode(written)
    assert again._replace(options={}) == original._replace(options={})
    assert again.options == options


@given(options, st.integers(300, 1472), st.none() | st.binary(max_size=40))
def test_a_reply_never_exceeds_its_limit_and_reads_as_what_was_not_dropped(options, limit, relay_information):
    tail = wire.encode_tail(options.items(), limit=limit, relay_information=relay_information)
    message = reply(tail)
    assert 300 <= len(message) <= max(limit, 300)
    again = dict(wire.decode(message).options)
    again.pop(52, None)
    if relay_information is not None:
        assert again.pop(82) == relay_information
    assert again == {code: value for code, value in options.items() if code not in tail.dropped}
