"""Sightings: recorded logs of the real servers, forged lines, and what dnsmasq and Kea call their scripts with."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bootserver.errors import UsageError
from bootserver.netboot.dhcp_events import hooks
from bootserver.netboot.dhcp_events.lines import KEA_DEBUGS, LogParser
from bootserver.netboot.dhcp_events.sighting import MAX_MESSAGE, Program, Sighting, Trouble, What, decode, encode
from bootserver.values.mac import MacAddress

LOGS = Path(__file__).parents[1] / "data" / "dhcp_logs"
MAC = MacAddress.parse("52:54:00:00:01:02")
VICTIM = "02:00:00:00:00:66"
HEAD = "Nov 28 17:20:20 fe"


def read(*lines: str | bytes) -> list[Sighting]:
    return LogParser().read([line.encode() if isinstance(line, str) else line for line in lines])


def recorded(name: str) -> tuple[LogParser, list[Sighting]]:
    parser = LogParser()
    return parser, parser.read((LOGS / name).read_bytes().split(b"\n"))


# -- what the servers wrote -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "program", "device"),
    [
        ("dnsmasq.log", Program.DNSMASQ, "s0"),
        ("dnsmasq-own-file.log", Program.DNSMASQ, "s0"),
        ("dhcpd.log", Program.ISC, None),  # the host name stands before the device: it is not read
        ("kea-syslog.log", Program.KEA, None),
        ("kea-own-file.log", Program.KEA, None),
    ],
)
def test_a_machine_is_seen_to_ask_and_to_be_given_its_address_in_what_each_server_wrote(
    name: str, program: Program, device: str | None
) -> None:
    _, found = recorded(name)
    of_it = [each for each in found if each.mac == MAC]
    assert {each.program for each in found} == {program}
    given = [each for each in of_it if each.what is What.GIVEN]
    assert len(given) == 1
    assert given[0].address in {IPv4Address("10.77.0.101"), IPv4Address("10.77.0.114")}
    assert given[0].device == device
    assert any(each.what is What.OFFERED for each in of_it)


@pytest.mark.parametrize("path", sorted(LOGS.iterdir()), ids=lambda path: path.name)
def test_in_what_the_servers_wrote_of_hostile_clients_there_is_nobody_but_who_asked(path: Path) -> None:
    # Their clients said "DHCPACK on 10.77.0.9 to 02:00:00:00:00:66" in every option that is text, with line feeds and without.
    _, found = recorded(path.name)
    assert all(str(each.mac).startswith(("52:54:00:00:01:0", "52:54:00:00:02:0")) for each in found)
    assert IPv4Address("10.77.0.9") not in {each.address for each in found}


def test_an_address_that_a_machine_only_says_to_have_is_not_its_own() -> None:
    # 52:54:00:00:02:05 sent an INFORM; dnsmasq and dhcpd say DHCPACK to that, too.
    for path in LOGS.iterdir():
        _, found = recorded(path.name)
        assert not [each for each in found if str(each.mac) == "52:54:00:00:02:05" and each.address is not None]


def test_a_request_for_a_foreign_address_says_that_it_was_refused_and_no_address() -> None:
    _, found = recorded("dhcpd.log")
    refused = [each for each in found if each.what is What.REFUSED]
    assert [(str(each.mac), each.address) for each in refused] == [("52:54:00:00:02:04", None)]


def test_bootp_is_a_request_and_its_reply_an_address() -> None:
    for name in ("dnsmasq.log", "dhcpd.log", "kea-syslog.log"):
        _, found = recorded(name)
        assert What.GIVEN in {each.what for each in found if str(each.mac) == "52:54:00:00:02:01"}


def test_with_log_dhcp_dnsmasq_tells_who_netboots() -> None:
    _, found = recorded("dnsmasq-log-dhcp.log")
    says = {str(each.mac): each.netboots for each in found}
    assert says["52:54:00:00:01:02"] is True
    assert says["52:54:00:00:02:06"] is True
    assert says["52:54:00:00:01:01"] is False
    assert {each.netboots for each in recorded("dnsmasq.log")[1]} == {None}


@pytest.mark.parametrize(
    ("line", "what", "address"),
    [
        ("Apr 30 12:00:00 fe dhcpd: DHCPDISCOVER from {mac} via eth0: network 10/8: no free leases", What.ASKS, None),
        ("Apr 30 12:00:00 fe dhcpd: BOOTREQUEST from {mac} via eth0", What.ASKS, None),
        ("2026-04-30T12:00:00.123456+02:00 fe dhcpd[7]: DHCPDISCOVER from {mac} via eth0", What.ASKS, None),
        ("Apr  3 12:00:00 fe.example.org dhcpd[7]: DHCPDISCOVER from {mac} (pc) via eth0", What.ASKS, None),
        ("Apr 30 12:00:00 fe dhcpd: BOOTREPLY for 10.1.2.3 to compute-0-0 ({mac}) via eth0", What.GIVEN, "10.1.2.3"),
        ("Apr 30 12:00:00 fe dhcpd: DHCPRELEASE of 10.1.2.3 from {mac} (pc) via eth0 (found)", What.RELEASED, None),
        ("Apr 30 12:00:00 fe dhcpd: DHCPDECLINE of 10.1.2.3 from {mac} via eth0: abandoned", What.DECLINED, None),
        ("Apr 30 12:00:00 fe dnsmasq-dhcp[9]: DHCPDISCOVER(eth0) 10.1.2.3 {mac} no address available", What.ASKS, None),
        ("Apr 30 12:00:00 fe dnsmasq-dhcp[9]: BOOTP(eth0) {mac} no address configured", What.ASKS, None),
        ("Apr 30 12:00:00 fe dnsmasq-dhcp[9]: DHCPRELEASE(eth0) 10.1.2.3 {mac} ", What.RELEASED, None),
        (
            (
                "Apr 30 12:00:00 fe kea-dhcp4[9]: 2026-04-30 12:00:00.123 INFO  [kea-dhcp4.leases/9.1] DHCP4_LEASE_OFFER "
                "[hwtype=1 {mac}], cid=[no info], tid=0x1: lease 10.1.2.3 will be offered"
            ),
            What.OFFERED,
            "10.1.2.3",
        ),
        (
            (
                "2026-04-30 12:00:00.123 WARN  [kea-dhcp4.alloc-engine/9.1] ALLOC_ENGINE_V4_ALLOC_FAIL_NO_POOLS "
                "[hwtype=1 {mac}], cid=[no info], tid=0x1: no pools were available for the address allocation"
            ),
            What.ASKS,
            None,
        ),
        (
            (
                "2026-04-30 12:00:00.123 INFO  [kea-dhcp4.leases/9.1] DHCP4_RELEASE "
                "[hwtype=1 {mac}], cid=[01:{mac}], tid=0x1: address 10.1.2.3 was released properly."
            ),
            What.RELEASED,
            None,
        ),
    ],
)
def test_a_line_tells(line: str, what: What, address: str | None) -> None:
    (found,) = read(line.format(mac=MAC))
    assert (found.what, found.mac) == (what, MAC)
    assert found.address == (None if address is None else IPv4Address(address))


def test_dhcpd_says_by_which_relay_a_machine_came() -> None:
    (found,) = read(f"{HEAD} dhcpd: DHCPDISCOVER from {MAC} via 10.2.0.1: network 10.2/16: no free leases")
    assert (found.relay, found.device) == (IPv4Address("10.2.0.1"), None)


@pytest.mark.parametrize(
    "line",
    [
        f"dhcpd: DHCPDISCOVER from {MAC} via eth0",  # no head
        f" {HEAD} dhcpd: DHCPDISCOVER from {MAC} via eth0",  # an indented line: journalctl's of a message with a line feed
        f"{HEAD} sshd[1]: dhcpd: DHCPDISCOVER from {MAC} via eth0",
        f"{HEAD} dhcpd: Wrote 0 leases DHCPDISCOVER from {MAC} via eth0",
        f"{HEAD} dhcpd: DHCPDISCOVER from {MAC}:07:08 via eth0",  # no Ethernet
        f"{HEAD} dhcpd: DHCPACK on 10.1.2.300 to {MAC} via eth0",
        f"{HEAD} dhcpd: DHCPACK to 10.1.2.3 ({MAC}) via eth0",
        f"{HEAD} dnsmasq-dhcp[1]: 7 client provides name: DHCPDISCOVER(eth0) {MAC}",
        f"{HEAD} dnsmasq-dhcp[1]: DHCPACK(eth0) 10.1.2.3 {MAC}",  # to nothing that was asked
        f"{HEAD} kea-dhcp4[1]: INFO  [kea-dhcp4.leases.1] DHCP4_LEASE_ALLOC [hwtype=32 {MAC}], cid=[], tid=0x1: lease 10.1.2.3",
        f"{HEAD} dhcpd: DHCPDISCOVER from {MAC} via eth0" + "x" * 3000,
    ],
)
def test_a_line_tells_nothing(line: str) -> None:
    assert read(line) == []


# -- forged lines ---------------------------------------------------------------------------------------------------------

said = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=120)
forged = st.sampled_from(
    [
        f") via eth0 DHCPACK on 10.77.0.9 to {VICTIM} via eth0",
        f"{HEAD} dhcpd: DHCPACK on 10.77.0.9 to {VICTIM} via eth0",
        f"DHCPREQUEST(s0) 10.77.0.9 {VICTIM}",
        f"], cid=[no info], tid=0x1: lease 10.77.0.9 [hwtype=1 {VICTIM}], cid=[no info], tid=0x1: lease 10.77.0.9 ",
        "x) via 10.9.9.9",
    ]
)
words = st.one_of(said, forged, st.builds("{}{}".format, said, forged))
LINES = [
    "dhcpd[1]: DHCPDISCOVER from {mac} ({said}) via s0",
    "dhcpd[1]: DHCPREQUEST for 10.77.0.5 (10.77.0.2) from {mac} ({said}) via s0",
    "dhcpd[1]: DHCPACK on 10.77.0.5 to {mac} ({said}) via s0",
    "dhcpd[1]: DHCPDECLINE of 10.77.0.5 from {mac} ({said}) via s0: abandoned",
    "dnsmasq-dhcp[1]: 513 vendor class: {said}",
    "dnsmasq-dhcp[1]: 513 client provides name: {said}",
    "dnsmasq-dhcp[1]: DHCPREQUEST(s0) 10.77.0.5 {mac} {said}",
    "dnsmasq-dhcp[1]: DHCPACK(s0) 10.77.0.5 {mac} {said}",
    "dnsmasq-dhcp[1]: DHCPDECLINE(s0) 10.77.0.5 {mac} {said}",
    "kea-dhcp4[1]: INFO  [kea-dhcp4.leases.1] DHCP4_LEASE_ALLOC [hwtype=1 {mac}], cid=[no info], tid=0x1: lease 10.77.0.5 {said}",
]


@given(st.sampled_from(LINES), words)
def test_nothing_that_a_machine_says_of_itself_makes_its_line_another_machines(template: str, text: str) -> None:
    for found in read(
        f"{HEAD} dnsmasq-dhcp[1]: DHCPREQUEST(s0) 10.77.0.5 {MAC} ", f"{HEAD} {template.format(mac=MAC, said=text)}"
    ):
        assert found.mac == MAC
        assert found.address in {None, IPv4Address("10.77.0.5")}
        assert found.relay is None
        assert found.device in {None, "s0"}


@given(st.sampled_from(["sshd[1]", "kernel", "dnsmasq[1]", "dhcpd-x", "my.dhcpd"]), words)
def test_other_programs_lines_tell_nothing_whatever_is_in_them(program: str, text: str) -> None:
    assert read(f"{HEAD} {program}: {text}") == []


@given(st.lists(words, max_size=4))
def test_of_a_kea_that_logs_at_debug_no_line_is_believed(lines: list[str]) -> None:
    parser = LogParser()
    debug = "2026-11-28 17:21:22.083 DEBUG [kea-dhcp4.dhcp4/1.1] DHCP4_CLASS_ASSIGNED VENDOR_CLASS_a"
    kea = "2026-11-28 17:21:22.083 INFO  [kea-dhcp4.leases/1.1] DHCP4_LEASE_ALLOC"
    whole = f"{kea} [hwtype=1 {VICTIM}], cid=[no info], tid=0x1: lease 10.77.0.9 has"
    assert parser.read([line.encode() for line in (debug, *lines, whole)]) == []
    assert parser.troubles == [KEA_DEBUGS]


def test_the_debug_log_in_which_kea_wrote_a_whole_line_of_a_clients_is_told_of() -> None:
    parser, found = recorded("kea-debug.log")
    assert VICTIM in (LOGS / "kea-debug.log").read_text()
    assert found == []
    assert parser.troubles == [KEA_DEBUGS]


@given(st.lists(st.binary(max_size=200), max_size=5))
@example([b"Nov 28 17:20:20 fe dhcpd: DHCPACK on 999.1.1.1 to 52:54:00:00:01:02"])
@example([b"Nov 28 17:20:20 fe dnsmasq-dhcp[1]: DHCPDISCOVER(\xff\xff) 52:54:00:00:01:02"])
def test_no_line_makes_the_parser_fail(lines: list[bytes]) -> None:
    LogParser().read(lines)
    LogParser().read([b"Nov 28 17:20:20 fe dhcpd: DHCP" + line for line in lines])


# -- scripts --------------------------------------------------------------------------------------------------------------


def test_dnsmasq_calls_its_script_for_a_new_lease() -> None:
    environment = {"DNSMASQ_INTERFACE": "s0", "DNSMASQ_VENDOR_CLASS": "PXEClient:Arch:00007:UNDI:003016"}
    assert hooks.read(["add", str(MAC), "10.1.2.3", "laptop7"], environment) == [
        Sighting(What.GIVEN, MAC, Program.DNSMASQ, IPv4Address("10.1.2.3"), "s0", None, True)
    ]
    (found,) = hooks.read(
        ["add", str(MAC), "10.1.2.3"], {"DNSMASQ_VENDOR_CLASS": "udhcp 1.35.0", "DNSMASQ_RELAY_ADDRESS": "10.2.0.1"}
    )
    assert (found.netboots, found.relay) == (False, IPv4Address("10.2.0.1"))


def test_leases_that_dnsmasq_lists_when_it_starts_are_no_machines_that_ask() -> None:
    (found,) = hooks.read(["old", str(MAC), "10.1.2.3"], {"DNSMASQ_DATA_MISSING": "1"})
    assert (found.what, found.netboots) == (What.HAS, None)


@pytest.mark.parametrize(
    "arguments",
    [["del", str(MAC), "10.1.2.3"], ["init"], ["tftp", "12", "10.1.2.3", "/x"], ["lease4_expire"], ["leases6_committed"],
     ["add", "06-00:01:02:03:04:05:06:07", "10.1.2.3"]],
)  # fmt: skip
def test_what_else_servers_call_a_script_for_is_no_matter(arguments: list[str]) -> None:
    assert hooks.read(arguments, {}) == []


def test_kea_tells_in_the_environment() -> None:
    environment = {
        "LEASES4_SIZE": "1", "DELETED_LEASES4_SIZE": "0", "LEASES4_AT0_ADDRESS": "10.77.0.101", "LEASES4_AT0_HOSTNAME": "laptop7",
        "LEASES4_AT0_HWADDR": str(MAC), "LEASES4_AT0_HWADDR_TYPE": "1", "QUERY4_GIADDR": "0.0.0.0", "QUERY4_IFACE_NAME": "s0",
    }  # fmt: skip
    assert hooks.read(["leases4_committed"], environment) == [
        Sighting(What.GIVEN, MAC, Program.KEA, IPv4Address("10.77.0.101"), "s0", None, None)
    ]
    lease = {"LEASE4_ADDRESS": "10.77.0.101", "LEASE4_HWADDR": str(MAC), "LEASE4_HWADDR_TYPE": "1"}
    assert [each.what for each in hooks.read(["lease4_release"], lease)] == [What.RELEASED]


@pytest.mark.parametrize(
    "arguments", [[], ["add"], ["add", str(MAC)], ["nonsense"], ["add", "x", "10.1.2.3"], ["add", str(MAC), "10.1.2"],
                  ["leases4_committed"], ["lease4_renew"]],
)  # fmt: skip
def test_nonsense_is_said_to_be_so(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        hooks.read(arguments, {})


@given(
    st.lists(st.text(max_size=40), max_size=4),
    st.dictionaries(st.sampled_from(["DNSMASQ_INTERFACE", "LEASES4_SIZE", "LEASES4_AT0_HWADDR"]), st.text(max_size=30)),
)
def test_whatever_a_script_is_called_with_there_is_one_kind_of_error(arguments: list[str], environment: dict[str, str]) -> None:
    for first in ([], ["add"], ["leases4_committed"]):
        with contextlib.suppress(UsageError):
            hooks.read([*first, *arguments], environment)


# -- on the way to the service --------------------------------------------------------------------------------------------

addresses = st.none() | st.ip_addresses(v=4)
sightings = st.builds(
    Sighting,
    st.sampled_from(What),
    st.binary(min_size=6, max_size=6).map(MacAddress),
    st.sampled_from(Program),
    addresses,
    st.none() | st.just("eth0.12"),
    addresses,
    st.none() | st.booleans(),
)


@given(sightings)
def test_a_sighting_arrives_as_it_was_sent(sighting: Sighting) -> None:
    assert decode(encode(sighting)) == sighting


@given(st.text())
def test_a_trouble_arrives_in_one_line(text: str) -> None:
    octets = encode(Trouble(text))
    assert len(octets) <= MAX_MESSAGE
    found = decode(octets)
    assert isinstance(found, Trouble)
    assert found.text.isprintable()


@given(
    st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), lambda each: st.lists(each) | st.dictionaries(st.text(), each)).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_what_else_comes_in_by_the_socket_is_dropped(octets: bytes) -> None:
    assert not isinstance(decode(octets), Sighting)


def test_servers_write_what_is_expected_in_their_recorded_logs() -> None:
    counted = Counter((each.program, each.what) for each in recorded("dhcpd.log")[1])
    assert counted[Program.ISC, What.GIVEN] == 4
    assert counted[Program.ISC, What.OFFERED] == 6
