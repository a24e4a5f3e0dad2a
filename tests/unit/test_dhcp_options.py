"""Settings ``dhcp.NAME``: what is allowed, which octets it makes, who is told it, and that it never harms an answer."""

from __future__ import annotations

import logging
import socket
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.cluster.view import ApplianceView, NodeView
from bootserver.errors import UsageError
from bootserver.netboot.dhcp import request, wire
from bootserver.netboot.dhcp.site_options import NONE, SiteOptions, SiteOptionsReader
from bootserver.netboot.dhcp.tail import BootFile, Form, Names, Ready, prepare
from bootserver.netboot.dhcp.wire import DhcpPacket
from bootserver.values import dhcp_options
from bootserver.values.dhcp_options import SETTINGS, Machine, check, encode
from bootserver.values.mac import MacAddress
from tests import views
from tests.administrator import Administrator

SWITCH = Machine("switch-0-3", IPv4Address("10.4.1.1"), MacAddress.parse("52:54:00:00:00:01"))
BMC = ApplianceView(3, "bmc", installs=False)


@pytest.mark.parametrize(
    ("name", "value", "octets"),
    [
        ("ntp-servers", "10.1.1.1 10.1.1.2", "0a010101 0a010102"),
        ("ntp-servers", "@frontend@,10.1.1.2", "0a040101 0a010102"),
        ("log-servers", "10.1.1.1", "0a010101"),
        ("www-server", "@frontend@", "0a040101"),
        ("tftp-server-address", "@frontend@ 10.9.9.9", "0a040101 0a090909"),
        ("tftp-server-name", "@frontend@", b"10.4.1.1"),
        ("tftp-server-name", "tftp.example.org", b"tftp.example.org"),
        ("boot-file", "switches/@name@.cfg", b"switches/switch-0-3.cfg"),
        ("boot-file", "/switches/@mac@.cfg", b"/switches/52-54-00-00-00-01.cfg"),
        ("boot-file", "http://@frontend@/switches/ztp.json", b"http://10.4.1.1/switches/ztp.json"),
        ("default-url", "http://@frontend@:8080/onie?who=@name@&x=1", b"http://10.4.1.1:8080/onie?who=switch-0-3&x=1"),
        ("cumulus-provision-url", "http://@frontend@/ztp.sh", b"http://10.4.1.1/ztp.sh"),
        ("ztd-provision-url", "sftp://10.4.1.9/ztd.sh", b"sftp://10.4.1.9/ztd.sh"),
        ("config-file", "ftp://10.4.1.9/x.conf", b"ftp://10.4.1.9/x.conf"),
        ("vendor-class-identifier", "iDRAC", b"iDRAC"),
        ("vendor-specific", "-f @name@.xml -i @frontend@ -s 5", b"-f switch-0-3.xml -i 10.4.1.1 -s 5"),
        ("vendor-specific", "5A1N;B2;K4;I@frontend@;J80", b"5A1N;B2;K4;I10.4.1.1;J80"),
        ("vendor-specific", "1=switches/@name@.conf 3=http", b"\x01\x18switches/switch-0-3.conf\x03\x04http"),
        ("vendor-specific", "0=image.tgz 128=0x0000", b"\x00\x09image.tgz\x80\x02\0\0"),
        ("vendor-specific", "0x01:04:0a01ffff", "01040a01ffff"),
        ("vivso", "42623 1=http://@frontend@/nos", b"\0\0\xa6\x7f\x15\x01\x13http://10.4.1.1/nos"),
        ("mtu", "9000", "2328"),
        ("time-offset", "-18000", "ffffb9b0"),
        ("time-offset", "3600", "00000e10"),
        ("timezone", "Europe/Berlin", b"Europe/Berlin"),
        ("posix-timezone", "CET-1CEST,M3.5.0,M10.5.0/3", b"CET-1CEST,M3.5.0,M10.5.0/3"),
        # RFC 3442's own examples of descriptors
        ("static-routes", "10.0.0.0/8=10.4.0.1", "080a 0a040001"),
        ("static-routes", "10.17.0.0/16=10.4.0.1 10.27.129.0/24=0.0.0.0", "100a11 0a040001 180a1b81 00000000"),
        ("static-routes", "10.198.122.47/32=@frontend@ default=10.4.0.1", "200ac67a2f 0a040101 00 0a040001"),
        ("sztp-redirect", "https://a.example https://10.4.1.9:444", b"\0\x11https://a.example\0\x14https://10.4.1.9:444"),
    ],
)
def test_a_value_is_encoded(name, value, octets):
    check(f"dhcp.{name}", value)
    assert encode(name, value, SWITCH) == (octets if isinstance(octets, bytes) else bytes.fromhex(octets))


def test_search_domains_are_what_a_name_server_would_write():
    octets = encode("domain-search", "cluster.example.org, local", SWITCH)
    first, used = dns.name.from_wire(octets, 0)
    second, rest = dns.name.from_wire(octets, used)
    assert [str(first), str(second), used + rest] == ["cluster.example.org.", "local.", len(octets)]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ntp-servers", "ntp.example.org", "no room for a name"),
        ("ntp-servers", "", "addresses are wanted"),
        ("ntp-servers", "127.0.0.1", "no address of another machine"),
        ("ntp-servers", "0.0.0.0", "no address of another machine"),
        ("ntp-servers", " ".join(["10.1.1.1"] * 64), "at most 255 octets, this one 256"),
        ("tftp-server-name", "10.1.1", "no IPv4 address"),
        ("tftp-server-name", "a b", "no domain name"),
        ("boot-file", "../secret", "no path below tftpboot"),
        ("boot-file", "a b", "no path below tftpboot"),
        ("boot-file", "switches/@nmae@.cfg", "@nmae@ is none of @name@, @frontend@, @mac@"),
        ("boot-file", "http://admin:secret@10.1.1.1/x", "no user and no password"),
        ("default-url", "onie-installer", "is no URL"),
        ("default-url", "http://10.1.1.1/$(reboot)", "is no URL"),
        ("default-url", "http://10.1.1.1:99999/", "is no URL"),
        ("default-url", "http://[::1", "is no URL"),
        ("default-url", "javascript:alert(1)", "is no URL"),
        ("sztp-redirect", "http://10.1.1.1", "begin with https"),
        ("vendor-specific", "0x123", "are no octets"),
        ("vendor-specific", "0x", "are no octets"),
        ("vendor-specific", "1=a 255=b", "no sub-option"),
        ("vendor-specific", "schön", "no printable ASCII"),
        ("vendor-specific", "", "no sub-option"),
        ("vivso", "ONIE 1=x", "no enterprise number"),
        ("vivso", "42623", "no sub-option is there"),
        ("vivso", f"42623 1={'x' * 254}", "at most 255 octets together"),
        ("mtu", "67", "no number from 68 to 65535"),
        ("mtu", "9k", "no number"),
        ("time-offset", "+1", "no number"),
        ("timezone", "Berlin; reboot", "no time zone"),
        ("posix-timezone", "CET 1", "no time zone as POSIX writes it"),
        ("domain-search", "..", "no domain name"),
        ("domain-search", " ", "domains are wanted"),
        ("static-routes", "10.2.0.0/16", "is no route"),
        ("static-routes", "10.2.0.1/16=10.1.0.1", "has host bits set"),
        ("static-routes", "", "routes are wanted"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(name, value, says):
    with pytest.raises(UsageError, match=f"^dhcp.{name}: ") as refused:
        check(f"dhcp.{name}", value)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("subnet-mask", "its network says it"),
        ("routers", "its network says it"),
        ("51", "its network says it"),
        ("host-name", "it is the node's name"),
        ("dhcp-message-type", "it is how DHCP itself works"),
        ("82", "it is how DHCP itself works"),
        ("255", "it is how DHCP itself works"),
        ("150", "is set by its name: dhcp.tftp-server-address"),
        ("ntp-server", "is no DHCP setting; there are boot-file, "),
        ("", "is no DHCP setting"),
    ],
)
def test_what_is_no_setting_is_refused(name, says):
    with pytest.raises(UsageError, match=f"{says}"):
        check(f"dhcp.{name}", "10.1.1.1")


def test_other_attributes_are_a_site_s_own():
    check("dhcpd", "anything")
    check("site.dhcp.mtu", "anything")


@given(
    name=st.sampled_from(sorted(SETTINGS)),
    value=st.text(max_size=300) | st.from_regex(r"[0-9a-z.=:/@ ,x]{0,300}", fullmatch=True),
)
def test_whatever_the_text_is_it_makes_an_option_or_a_refusal(name, value):
    try:
        octets = encode(name, value, SWITCH)
    except UsageError as refused:
        assert "\n" not in str(refused)
    else:
        assert 0 < len(octets) <= 255


def test_no_two_settings_are_the_same_option_and_none_is_the_protocol_s():
    codes = [setting.code for setting in SETTINGS.values()]
    assert len(set(codes)) == len(codes)
    assert not {0, 1, 3, 6, 12, 15, 28, *range(50, 60), 61, 82, 255} & set(codes)


# --- by the command line -----------------------------------------------------------------------------------------------------


@pytest.fixture
def administrator(tmp_path: Path, template: Path) -> Administrator:
    return Administrator(tmp_path, template)


def test_a_setting_is_an_attribute_and_the_narrowest_scope_wins(administrator):
    administrator.does("attr", "set", "dhcp.ntp-servers", "10.1.1.1")
    administrator.does("attr", "set", "dhcp.ntp-servers", "10.1.1.2", "--appliance", "bmc")
    assert [row["value"] for row in administrator.lists("attr", "list") if row["key"] == "dhcp.ntp-servers"] == [
        "10.1.1.1",
        "10.1.1.2",
    ]


def test_what_is_wrong_with_a_setting_is_said_when_it_is_set(administrator):
    assert "no room for a name" in administrator.fails("attr", "set", "dhcp.ntp-servers", "ntp.example.org", status=2)
    assert "how DHCP itself works" in administrator.fails("attr", "set", "dhcp.dhcp-message-type", "5", status=2)


# --- for one node ------------------------------------------------------------------------------------------------------------


def node(appliance: ApplianceView = views.SWITCH, **attributes: str) -> NodeView:
    settings = {f"dhcp.{name.replace('_', '-')}": value for name, value in attributes.items()}
    return replace(views.node(appliance=appliance), attributes={"image": "golden", **settings})


def read(one: NodeView, *, reader: SiteOptionsReader | None = None, gateway: str | None = None) -> SiteOptions:
    return (reader or SiteOptionsReader())(one, views.network(gateway=gateway), views.MAC)


def codes(options: SiteOptions) -> list[int]:
    return [code for code, _, _ in options.options]


def test_a_node_without_settings_costs_nothing():
    assert read(node()) is NONE


def test_the_most_important_come_first_however_they_were_set():
    one = node(ntp_servers="10.1.1.1", default_url="http://10.1.1.1/x", tftp_server_address="10.1.1.1", boot_file="x")
    assert codes(read(one)) == [67, 150, 114, 42]


def test_a_boot_file_without_a_server_is_the_frontend_s_for_those_who_ask():
    options = read(node(boot_file="switches/@name@.cfg"))
    assert options == SiteOptions(
        ((67, b"switches/switch-0-0.cfg", True), (150, b"\x0a\1\1\1", False), (66, b"10.1.1.1", False)),
        b"switches/switch-0-0.cfg",
    )


@pytest.mark.parametrize(
    ("settings", "server"),
    [
        ({"tftp_server_address": "10.9.9.9 10.9.9.8"}, "10.9.9.9"),
        ({"tftp_server_name": "10.9.9.7"}, "10.9.9.7"),
        ({"tftp_server_name": "10.9.9.7", "tftp_server_address": "10.9.9.9"}, "10.9.9.9"),
        ({"tftp_server_name": "tftp.example.org"}, None),
        ({}, None),
    ],
)
def test_another_tftp_server_is_the_next_server_where_its_address_is_known(settings, server):
    options = read(node(boot_file="x", **settings))
    assert options.next_server == (None if server is None else IPv4Address(server))
    assert codes(options).count(150) <= 1 and codes(options).count(66) <= 1


def test_a_url_needs_no_tftp_server():
    assert codes(read(node(boot_file="http://10.1.1.1/ztp.json"))) == [67]


@pytest.mark.parametrize(
    ("routes", "gateway", "octets"),
    [
        ("10.2.0.0/16=10.1.0.9", "10.1.0.1", "100a02 0a010009 00 0a010001"),
        ("10.2.0.0/16=10.1.0.9", None, "100a02 0a010009"),
        ("default=10.1.0.2", "10.1.0.1", "00 0a010002"),
        ("0.0.0.0/0=10.1.0.2", "10.1.0.1", "00 0a010002"),
    ],
)
def test_routes_keep_the_default_route_that_their_receiver_no_longer_looks_for(routes, gateway, octets):
    assert read(node(static_routes=routes), gateway=gateway).options == ((121, bytes.fromhex(octets), False),)


def test_what_a_node_that_installs_boots_is_not_a_setting_and_that_is_said_once_for_its_appliance(caplog):
    reader = SiteOptionsReader()
    one = node(views.COMPUTE, boot_file="x", vendor_specific="x", config_file="x", ntp_servers="10.1.1.1")
    for name in ("compute-0-0", "compute-0-1"):
        assert read(replace(one, name=name), reader=reader) == SiteOptions(((42, b"\x0a\1\1\1", False),))
    assert [record.getMessage() for record in caplog.records] == [
        f"DHCP setting left out: dhcp.{name} is not for appliance compute: "
        "what nodes that install boot is decided by their action"
        for name in ("boot-file", "vendor-specific", "config-file")
    ]
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_what_an_old_database_holds_is_left_out_and_told_once(caplog):
    reader = SiteOptionsReader()
    for rank in range(3):
        one = replace(node(mtu="big", colour="red", ntp_servers="10.1.1.1"), name=f"switch-0-{rank}")
        assert codes(read(one, reader=reader)) == [42]
    assert len(caplog.records) == 2
    assert "'big' is no number" in caplog.text and "dhcp.colour is no DHCP setting" in caplog.text


def test_a_database_full_of_nonsense_does_not_fill_the_log(caplog):
    reader = SiteOptionsReader()
    for number in range(2000):
        read(node(mtu=f"x{number}"), reader=reader)
    assert len(caplog.records) == 1024


# --- in a message ------------------------------------------------------------------------------------------------------------


def told(
    site: SiteOptions, *, form: Form = Form.LEASE, boot: BootFile | None = None, **options: bytes
) -> tuple[DhcpPacket, Ready]:
    """A message and how it was made. :param options: what the client says, as in ``o55=b"\\x01"``."""
    said = {int(name[1:]): value for name, value in options.items()} | ({} if form is Form.BOOTP else {53: b"\3"})
    none = bytes(4)
    packet = DhcpPacket(1, 1, 6, 0, 1, 0, 0, none, none, none, none, views.MAC.ljust(16, b"\0"), bytes(64), bytes(128), said)
    names = Names("switch-0-0", views.network())
    asked = request.read(packet)
    ready = prepare(form, names, IPv4Address("10.1.255.254"), packet, asked, boot, no_proxy_wait=True, site=site)
    return wire.decode(bytes(wire.SNAME_AT) + ready.answer), ready


@pytest.mark.parametrize("form", Form)
def test_what_devices_do_not_ask_for_is_told_them_all_the_same(form):
    site = read(node(boot_file="x.cfg", vendor_specific="1=a", default_url="http://10.1.1.1/x", ntp_servers="10.1.1.1"))
    asks_little, ready = told(site, form=form, o55=bytes((1, 3)))
    assert {67: b"x.cfg", 43: b"\1\1a", 114: b"http://10.1.1.1/x"}.items() <= asks_little.options.items()
    assert not {42, 66, 150} & asks_little.options.keys()
    assert asks_little.file.rstrip(b"\0") == b"x.cfg"
    assert ready.detail["file"] == "x.cfg"
    asks_more, _ = told(site, form=form, o55=bytes((1, 3, 42, 150)))
    assert (asks_more.options[42], asks_more.options[150]) == (socket.inet_aton("10.1.1.1"),) * 2


def test_who_asks_for_nothing_in_particular_is_told_all():
    reply, _ = told(read(node(boot_file="x.cfg", ntp_servers="10.1.1.1")))
    assert {42, 66, 67, 150} <= reply.options.keys()


def test_the_next_server_is_the_frontend_or_who_has_the_file():
    assert told(read(node(boot_file="x")))[1].next_server == socket.inet_aton("10.1.1.1")
    assert told(read(node(boot_file="x", tftp_server_address="10.9.9.9")))[1].next_server == socket.inet_aton("10.9.9.9")


def test_a_file_name_that_is_too_long_for_its_field_is_in_the_option_alone():
    name = f"switches/{'x' * 100}/{'y' * 100}"
    reply, _ = told(read(node(boot_file=name)))
    assert reply.options[67] == name.encode()
    assert not reply.file.startswith(b"switches")


def test_long_settings_never_push_out_what_a_client_needs_and_it_is_told_that_they_had_no_room():
    url = f"http://10.1.1.1/{'x' * 180}"
    site = read(node(vendor_specific="v" * 100, default_url=url, cumulus_provision_url=url, mtu="9000"))
    uuid, client = b"\0" + bytes(range(1, 17)), b"\1" + views.MAC
    reply, ready = told(site, o97=uuid, o61=client, o82=b"\1\4eth7")
    assert reply.options.keys() >= {1, 3, 6, 12, 15, 28, 51, 53, 54, 58, 59, 61, 82, 97, 43, 26}
    assert (reply.options[97], reply.options[61], reply.options[43]) == (uuid, client, b"v" * 100)
    assert ready.detail["no room for"] == "options 114, 239"
    assert wire.SNAME_AT + len(ready.answer) <= wire.DEFAULT_LIMIT
    roomy, ready = told(site, o57=(1500).to_bytes(2))
    assert roomy.options[114] == roomy.options[239] == url.encode()
    assert "no room for" not in ready.detail


def test_a_node_that_installs_keeps_its_loader_whatever_is_set():
    site = read(node(views.COMPUTE, boot_file="evil", tftp_server_address="10.9.9.9", ntp_servers="10.1.1.1"))
    reply, ready = told(site, boot=BootFile("pxelinux.0"), o55=bytes((42, 66, 67)))
    assert (reply.file.rstrip(b"\0"), reply.options[67], reply.options[66]) == (b"pxelinux.0", b"pxelinux.0\0", b"10.1.1.1\0")
    assert ready.next_server == socket.inet_aton("10.1.1.1")
    assert reply.options[42] == socket.inet_aton("10.1.1.1")


def test_a_device_s_host_name_is_read_as_it_may_stand_in_a_log():
    packet = DhcpPacket(
        1, 1, 6, 0, 1, 0, 0, *[bytes(4)] * 4, views.MAC.ljust(16, b"\0"), bytes(64), bytes(128),
        {53: b"\1", 12: b"idrac-\x1b[2J\nABC1234\0", 60: b"iDRAC"},
    )  # fmt: skip
    asked = request.read(packet)
    assert (asked.host_name, asked.vendor_class) == ("idrac-.[2J.ABC1234", "iDRAC")
    assert dhcp_options.PREFIX == "dhcp."
