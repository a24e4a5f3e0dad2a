"""What may pass the door: names, kernel arguments, paths, attributes, MAC addresses, secrets."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bootserver.errors import UsageError
from bootserver.values import grammar
from bootserver.values.firmware import Firmware
from bootserver.values.mac import MacAddress
from bootserver.values.secret import Secret

Check = Callable[[str], str]
NAMES: tuple[Check, ...] = (
    grammar.host_label,
    grammar.domain_name,
    grammar.device_name,
    grammar.action_name,
    grammar.attribute_key,
)
BOOTED: tuple[Check, ...] = (grammar.kernel_args, grammar.boot_path, grammar.boot_url, grammar.boot_file)
EVERY = (*NAMES, *BOOTED, grammar.attribute_value)

# Texts that someone who wants a second line in a menu would type: each is tried whole, and spliced into good ones.
EVIL = (
    "\n", "\r", "\0", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u2029", "\u202e", "\t", "\v", "\f",
    '"', "'", "`", "$", "${net0/mac}", "$(reboot)", "\\", ";", "&", "|", "<", ">", "#", "{", "}", "..", "../", " ", "é", "\ud800",
)  # fmt: skip
GOOD = {
    grammar.host_label: "compute-0-0",
    grammar.domain_name: "cluster.example.org",
    grammar.device_name: "eth0.100",
    grammar.action_name: "install headless",
    grammar.attribute_key: "Kickstart_Lang.x-1",
    grammar.kernel_args: "console=ttyS0,115200n8 root=/dev/sda1 ip=dhcp",
    grammar.boot_path: "images/debian-12/vmlinuz",
    grammar.boot_url: "http://10.1.1.1:8080/vmlinuz",
    grammar.boot_file: "vmlinuz",
    grammar.attribute_value: "any one line of text: $x `y` \"z\" é",
}  # fmt: skip

# What a text that passed may never hold, by what it is for.
MENU_BREAKERS = set("\"'`$\\;&|<>#{}") | {chr(code) for code in range(32)} | {"\x7f"}


def passes(check: Check, text: str) -> str | None:
    try:
        return check(text)
    except UsageError:
        return None


def is_one_printable_line(text: str) -> bool:
    return text.isprintable() and len(text.splitlines()) <= 1


texts = st.one_of(
    st.text(max_size=40),
    st.text(st.sampled_from("abz09-._/:+@=, \n\r\t\0${}\"'`\\#;|&<>%~^[]()!*?é\u2028"), max_size=60),
    st.builds(lambda good, evil, at: good[: at % (len(good) + 1)] + evil + good[at % (len(good) + 1) :],
              st.sampled_from(sorted(GOOD.values())), st.sampled_from(EVIL), st.integers(0, 80)),
)  # fmt: skip


@pytest.mark.parametrize(("check", "text"), GOOD.items(), ids=lambda each: getattr(each, "__name__", each))
def test_what_people_type_passes_unchanged(check: Check, text: str) -> None:
    assert check(text) == text


@given(texts)
@example("compute-0-0\n")
@example("a b\n")
def test_whatever_passes_is_one_printable_line(text: str) -> None:
    for check in EVERY:
        passed = passes(check, text)
        assert passed is None or is_one_printable_line(passed), check.__name__


@given(texts)
@example("quiet\x1finit=/bin/sh")
@example("http://a\n/b")
@example("http://[::1/a")
def test_whatever_a_loader_reads_holds_nothing_that_it_would_interpret(text: str) -> None:
    for check in (*NAMES, *BOOTED):
        passed = passes(check, text)
        assert passed is None or not MENU_BREAKERS & set(passed), check.__name__
        assert passed is None or passed.isascii(), check.__name__


@given(texts)
@example("../etc/passwd")
@example("a/../b")
@example("//etc/passwd")
@example("a//b")
@example("./a")
@example("...")
def test_a_path_never_leaves_tftpboot(text: str) -> None:
    passed = passes(grammar.boot_path, text)
    if passed is not None:
        assert not passed.startswith("/")
        assert all(part and not part.startswith(".") for part in passed.split("/"))


@given(texts)
def test_kernel_arguments_are_words_with_single_spaces(text: str) -> None:
    passed = passes(grammar.kernel_args, text)
    if passed is not None:
        assert passed == " ".join(passed.split())
        assert len(passed) <= grammar.MAX_KERNEL_ARGS


@pytest.mark.parametrize("check", [*NAMES, grammar.boot_path, grammar.boot_url], ids=lambda check: check.__name__)
def test_nothing_evil_is_spliced_into_a_good_name(check: Check) -> None:
    good = GOOD[check]
    for evil in EVIL:
        if evil in ("..", "../", " "):  # dots and words are some names' right; paths have a test of their own
            continue
        for spliced in (good + evil, evil + good, good[:3] + evil + good[3:]):
            assert passes(check, spliced) is None, ascii(spliced)


REFUSED = [
    (grammar.host_label, "Compute-0-0"),
    (grammar.host_label, "-a"),
    (grammar.host_label, "a-"),
    (grammar.host_label, "a" * 64),
    (grammar.host_label, "a.b"),
    (grammar.host_label, ""),
    (grammar.domain_name, "a..b"),
    (grammar.domain_name, ".a"),
    (grammar.domain_name, "a." * 127 + "b"),
    (grammar.action_name, "install  twice"),
    (grammar.action_name, " install"),
    (grammar.action_name, "a" * 65),
    (grammar.attribute_key, "1a"),
    (grammar.attribute_key, "a" * 129),
    (grammar.attribute_value, "a" * 4097),
    (grammar.attribute_value, "a\nb"),
    (grammar.device_name, "eth0/1"),
    (grammar.device_name, "a" * 16),
    (grammar.kernel_args, "a" * 1501),
    (grammar.kernel_args, "init=$(reboot)"),
    (grammar.boot_path, ""),
    (grammar.boot_path, "/"),
    (grammar.boot_path, "a" * 256),
    (grammar.boot_path, ".hidden"),
    (grammar.boot_url, "ftp://host/a"),
    (grammar.boot_url, "http:///a"),
    (grammar.boot_url, "http://user@host/a"),
    (grammar.boot_url, "http://host:0/a"),
    (grammar.boot_url, "http://host:65536/a"),
    (grammar.boot_url, "http://host:port/a"),
    (grammar.boot_file, "file:///etc/passwd"),
]


@pytest.mark.parametrize(("check", "text"), REFUSED, ids=lambda each: getattr(each, "__name__", ascii(each)[:30]))
def test_what_is_no_such_thing_is_refused(check: Check, text: str) -> None:
    with pytest.raises(UsageError):
        check(text)


def test_a_leading_slash_means_tftpboot_itself() -> None:
    assert grammar.boot_path("/installer/vmlinuz") == "installer/vmlinuz"


# -- MAC addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["52:54:00:ab:cd:ef", "52-54-00-AB-CD-EF", "525400abcdef", "5254.00ab.cdef", "52:54:00:AB:cd:EF"]
)
def test_a_mac_address_is_read_as_people_write_it(text: str) -> None:
    address = MacAddress.parse(text)
    assert (str(address), address.dashed) == ("52:54:00:ab:cd:ef", "52-54-00-ab-cd-ef")


@pytest.mark.parametrize(
    "text", ["", "52:54:00:ab:cd", "52:54:00:ab:cd:ef:01", "52-54:00:ab:cd:ef", "52:54:00:ab:cd:eg", "52:54:00:ab:cd:ef\n"]
)
def test_what_is_no_mac_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no MAC address"):
        MacAddress.parse(text)


@given(st.binary(min_size=6, max_size=6))
def test_a_mac_address_is_its_octets_and_reads_back(octets: bytes) -> None:
    address = MacAddress(octets)
    assert address == octets
    assert {address: 1}[octets] == 1, "a server looks it up by what was on the wire"
    assert MacAddress.parse(str(address)) == MacAddress.parse(address.dashed) == address


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("ff:ff:ff:ff:ff:ff", True),
        ("01:00:5e:00:00:01", True),
        ("00:00:00:00:00:00", True),
        ("52:54:00:00:00:00", False),
        ("02:00:00:00:00:01", False),
    ],
)
def test_group_addresses_are_no_machines(text: str, group: bool) -> None:
    assert MacAddress.parse(text).is_group is group


def test_six_octets_or_none() -> None:
    with pytest.raises(UsageError):
        MacAddress(b"12345")


# -- secrets and firmware ----------------------------------------------------------------------------------------


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret("hunter2")
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r}", "%s" % secret, str([secret]), str({"key": secret})]  # noqa: UP031
    assert not any("hunter2" in each for each in shown)
    assert not hasattr(secret, "__dict__")
    assert secret.reveal() == "hunter2"


def test_secrets_are_compared_by_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("é").matches("é") and not Secret("a").matches("")


@pytest.mark.parametrize(
    ("code", "firmware"),
    [
        (0, Firmware.BIOS),
        (7, Firmware.UEFI_X64),
        (9, Firmware.UEFI_X64),
        (16, Firmware.UEFI_X64_HTTP),
        (6, Firmware.UEFI_IA32),
        (11, Firmware.UEFI_ARM64),
        (1, None),
        (65535, None),
    ],
)
def test_firmware_is_known_by_its_registered_number(code: int, firmware: Firmware | None) -> None:
    assert Firmware.from_code(code) is firmware


def test_only_http_boot_wants_a_url() -> None:
    assert {each for each in Firmware if each.is_http} == {
        Firmware.UEFI_IA32_HTTP,
        Firmware.UEFI_X64_HTTP,
        Firmware.UEFI_ARM64_HTTP,
    }
    assert [each for each in Firmware if not each.is_uefi] == [Firmware.BIOS]
