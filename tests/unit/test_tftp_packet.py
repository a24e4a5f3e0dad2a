"""TFTP on the wire (bootserver/netboot/tftp/packet.py). The requests of real firmware were taken from captures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.netboot.tftp.packet import (
    Ack,
    Agreed,
    Data,
    Error,
    Mode,
    Opcode,
    OptionsAck,
    Packet,
    PacketError,
    Request,
    decode,
    negotiate,
    netascii,
)


def read_request(options: dict[str, str], mode: Mode = Mode.OCTET) -> Request:
    return Request(Opcode.RRQ, "vmlinuz", mode, options)


def agreed(options: dict[str, str], size: int = 14_200_000, mode: Mode = Mode.OCTET) -> Agreed:
    return negotiate(read_request(options, mode), size, max_windowsize=64, max_burst=128 * 1024)


@pytest.mark.parametrize(
    ("datagram", "filename", "options"),
    [
        (b"\0\1undionly.kpxe\0octet\0blksize\x001432\0tsize\x000\0", "undionly.kpxe", {"blksize": "1432", "tsize": "0"}),
        (b"\0\1ldlinux.c32\0octet\0tsize\x000\0blksize\x001408\0", "ldlinux.c32", {"tsize": "0", "blksize": "1408"}),
        (
            b"\0\1shimx64.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0",
            "shimx64.efi",
            {"tsize": "0", "blksize": "1468", "windowsize": "4"},
        ),
        (b"\0\1/boot//grub.cfg\0octet\0blksize\x001024\0tsize\x000\0", "/boot//grub.cfg", {"blksize": "1024", "tsize": "0"}),
        (b"\0\1motd\0NETASCII\0", "motd", {}),
        (b"\0\1motd\0octet\0BlkSize\x001024\0\0\0\0\0", "motd", {"blksize": "1024"}),
    ],
    ids=["ipxe", "pxelinux", "ovmf", "grub", "tftp-hpa's default mode", "zero padding"],
)
def test_requests_of_real_firmware_are_understood(datagram, filename, options):
    request = decode(datagram)
    assert isinstance(request, Request)
    assert (request.opcode, request.filename, dict(request.options)) == (Opcode.RRQ, filename, options)


@pytest.mark.parametrize(
    ("datagram", "where", "why"),
    [
        (b"", "byte 0", "opcode"),
        (b"\0", "byte 1", "opcode"),
        (b"\0\7", "byte 0", "no such opcode"),
        (b"\0\4\0", "byte 3", "header"),
        (b"\0\1vmlinuz", "byte 9", "file name"),
        (b"\0\1\0octet\0", "byte 2", "empty"),
        (b"\0\1vm\nlinuz\0octet\0", "byte 2", "unprintable"),
        (b"\0\1vm\xfflinuz\0octet\0", "byte 4", "UTF-8"),
        (b"\0\1vmlinuz\0mail\0", "byte 10", "mode"),
        (b"\0\1vmlinuz\0octet", "byte 15", "mode"),
        (b"\0\1vmlinuz\0octet\0blksize\0", "byte 24", "option value"),
        (b"\0\1vmlinuz\0octet\0tsize\x000\0TSIZE\x000\0", "byte 24", "twice"),
        (b"\0\1" + b"a" * 1100 + b"\0octet\0", "byte 1024", "too long"),
        (b"\0\1a\0octet\0" + b"".join(b"%d\x000\0" % n for n in range(40)), "byte", "too many options"),
    ],
)
def test_what_is_no_packet_is_refused_with_the_byte_and_the_reason(datagram, where, why):
    with pytest.raises(PacketError) as refused:
        decode(datagram)
    assert str(refused.value).startswith(where)
    assert why in str(refused.value)
    assert str(refused.value).isascii()


@given(st.binary(max_size=600))
def test_any_bytes_are_a_packet_or_a_packet_error(datagram):
    try:
        decode(datagram)
    except PacketError as error:
        assert str(error).isascii()


opcodes = st.sampled_from([b"\0\1", b"\0\2", b"\0\6"])
fragments = st.lists(st.sampled_from([b"\0", b"octet", b"blksize", b"9", b"\xff", b"tsize"]))


@given(opcodes, fragments)
def test_any_pieces_of_a_request_are_a_packet_or_a_packet_error(opcode, pieces):
    try:
        decode(opcode + b"".join(pieces))
    except PacketError as error:
        assert str(error).startswith("byte ")


words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
options = st.dictionaries(words.map(str.lower), words, max_size=8)
names = st.text(min_size=1, max_size=60).filter(str.isprintable)
packets: st.SearchStrategy[Packet] = st.one_of(
    st.builds(Request, st.sampled_from([Opcode.RRQ, Opcode.WRQ]), names, st.sampled_from(Mode), options),
    st.builds(Data, st.integers(0, 65535), st.binary(max_size=1468)),
    st.builds(Ack, st.integers(0, 65535)),
    st.builds(Error, st.integers(0, 65535), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80)),
    st.builds(OptionsAck, options),
)


@given(packets)
def test_what_is_encoded_is_decoded_as_the_same(packet):
    assert decode(packet.encode()) == packet


def test_a_peers_error_text_can_write_no_log_line_of_its_own():
    error = decode(b"\0\5\0\0bye\r\nroot logged in\x1b[2J\0")
    assert error == Error(0, "bye??root logged in?[2J")


@pytest.mark.parametrize(
    ("asked", "acknowledged"),
    [
        ({}, {}),
        ({"blksize": "1468"}, {"blksize": "1468"}),
        ({"blksize": "8"}, {"blksize": "8"}),
        ({"blksize": "7"}, {}),
        ({"blksize": "65464"}, {"blksize": "65464"}),
        ({"blksize": "65465"}, {"blksize": "65464"}),
        ({"blksize": "abc"}, {}),
        ({"blksize": "-1468"}, {}),
        ({"blksize": " 1468"}, {}),
        ({"blksize": "١٤٦٨"}, {}),
        ({"blksize": "9" * 400}, {}),
        ({"tsize": "0"}, {"tsize": "14200000"}),
        ({"tsize": "5"}, {}),
        ({"timeout": "1"}, {"timeout": "1"}),
        ({"timeout": "255"}, {"timeout": "255"}),
        ({"timeout": "0"}, {}),
        ({"timeout": "256"}, {}),
        ({"windowsize": "4"}, {"windowsize": "4"}),
        ({"windowsize": "0"}, {}),
        ({"windowsize": "65535"}, {"windowsize": "64"}),
        ({"windowsize": "65536"}, {}),
        ({"windowsize": "64", "blksize": "65464"}, {"windowsize": "2", "blksize": "65464"}),
        ({"multicast": "", "utimeout": "5000", "rollover": "0"}, {}),
        ({"tsize": "0", "blksize": "1468", "windowsize": "4"}, {"tsize": "14200000", "blksize": "1468", "windowsize": "4"}),
    ],
)
def test_a_good_option_is_acknowledged_and_a_bad_one_is_passed_over(asked, acknowledged):
    assert dict(agreed(asked).options) == acknowledged


def test_without_an_acknowledged_option_everything_is_as_in_rfc_1350():
    plain = agreed({"blksize": "abc", "multicast": ""})
    assert (plain.blksize, plain.windowsize, plain.timeout, plain.oack) == (512, 1, None, b"")


def test_netascii_has_no_size_that_could_be_told():
    assert dict(agreed({"tsize": "0", "blksize": "1024"}, mode=Mode.NETASCII).options) == {"blksize": "1024"}


def test_the_options_are_acknowledged_in_the_order_of_the_request():
    assert agreed({"tsize": "0", "blksize": "1408"}, 5).oack == b"\0\6tsize\x005\0blksize\x001408\0"


@pytest.mark.parametrize(
    ("text", "wire"),
    [(b"", b""), (b"a\nb\n", b"a\r\nb\r\n"), (b"a\rb", b"a\r\0b"), (b"a\r\nb", b"a\r\0\r\nb"), (b"\n\n", b"\r\n\r\n")],
)
def test_netascii_ends_lines_with_cr_lf_and_marks_a_bare_cr(text, wire):
    assert netascii(text) == wire


@given(st.binary(), st.binary())
def test_netascii_can_be_encoded_piece_by_piece(first, second):
    assert netascii(first) + netascii(second) == netascii(first + second)
