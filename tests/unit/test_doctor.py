"""What ``bootserver doctor`` makes of what it sees: one thing wrong, exactly that finding, with its mend."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

import pytest

from bootserver.cluster import boot_actions, discovery, nodes
from bootserver.cluster.actions import BootAction
from bootserver.cluster.change import Change, open_change
from bootserver.cluster.discovery import Machine, Request
from bootserver.cluster.events import Event, Kind
from bootserver.cluster.installs import set_action
from bootserver.config import Config, Dhcp, DhcpMode
from bootserver.db.rows import ImageRow
from bootserver.doctor import clock, data, efi, examine, firewall, links, loaders, menus, neighbours, networks, ports, site, state
from bootserver.doctor.finding import Finding, Severity, exit_status, failure, note, ok, several, warning
from bootserver.doctor.neighbours import Offer
from bootserver.doctor.ruleset import Packet, Verdict, from_iptables, from_nft, walk
from bootserver.doctor.site import Link, Site
from bootserver.install.ramdisk.kernel import Choice, Kernel
from tests import views
from tests.administrator import Administrator
from tests.cluster import mac

ETH1 = Link("network", "eth1", IPv4Interface("10.1.1.1/16"))
SHIM, GRUB = Path("/usr/lib/shim/shimx64.efi.signed"), Path("/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed")


@pytest.fixture
def administrator(tmp_path, template) -> Administrator:
    return Administrator(tmp_path, template)


def survey(administrator: Administrator, *, quick: bool = True) -> Site:
    return site.survey(administrator.config, quick=quick, progress=lambda words, fraction=None: None)


def worst(findings: Any) -> list[Finding]:
    return [finding for finding in findings if finding.severity >= Severity.WARNING]


# -- findings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("findings", "status"),
    [
        ([], 0),
        ([ok("x"), note("x")], 0),
        ([note("x"), warning("x", "y", "z")], 1),
        ([warning("x", "y", "z"), failure("x", "y", "z"), ok("x")], 2),
    ],
)
def test_the_worst_finding_is_the_exit_status(findings: list[Finding], status: int) -> None:
    assert exit_status(findings) == status


def test_a_few_of_many_names_are_said() -> None:
    assert several("abcd") == "a, b, c, d"
    assert several("abcdefg") == "a, b, c, d and 3 more"


# -- the interface -----------------------------------------------------------------------------------------------------


def device(*addresses: str, flags: tuple[str, ...] = ("UP", "LOWER_UP"), **more: object) -> dict[str, Any]:
    parts = [address.partition("/") for address in addresses]
    info = [{"family": "inet", "local": local, "prefixlen": int(length)} for local, _, length in parts]
    return {"flags": list(flags), "mtu": 1500, "operstate": "UP", "addr_info": info, **more}


@pytest.mark.parametrize(
    ("found", "severity", "words"),
    [
        ({"eth1": device("10.1.1.1/16")}, Severity.OK, ["10.1.1.1/16"]),
        ({"eth0": device("192.0.2.1/24")}, Severity.FAILURE, ["no interface eth1", "eth0"]),
        ({"eth1": device("10.1.1.1/16", flags=())}, Severity.FAILURE, ["ip link set eth1 up"]),
        ({"eth1": device("10.1.1.1/16", flags=("UP", "NO-CARRIER"))}, Severity.FAILURE, ["no carrier", "cable"]),
        ({"eth1": device("10.1.1.1/16", mtu=1280)}, Severity.WARNING, ["1280", "mtu 1500"]),
        ({"eth1": device("10.1.1.2/16")}, Severity.FAILURE, ["10.1.1.2/16", "ip addr add 10.1.1.1/16 dev eth1"]),
        ({"eth1": device(), "eth0": device("10.1.1.1/16")}, Severity.FAILURE, ["it is on eth0", "it has none"]),
        ({"eth1": device("10.1.1.1/24")}, Severity.WARNING, ["10.1.1.1/24", "10.1.0.0/16"]),
    ],
)
def test_an_interface_is_judged_by_what_nodes_need_of_it(found: dict[str, Any], severity: Severity, words: list[str]) -> None:
    findings = list(links.judge(ETH1, found, is_configured=True))
    assert max(finding.severity for finding in findings) is severity
    text = " ".join(f"{finding.what} {finding.mend}" for finding in findings if finding.severity is severity)
    for word in words:
        assert word in text


def test_nodes_that_are_told_another_address_than_the_configurations_are_found(administrator: Administrator) -> None:
    administrator.config_path.write_text(administrator.config_path.read_text() + 'address = "10.1.1.9"\n')
    [finding] = list(links._told(survey(administrator)))
    assert finding.mend == "bootserver network set private --frontend 10.1.1.9"


# -- ports -------------------------------------------------------------------------------------------------------------


def test_a_port_in_use_is_found_with_its_address_and_holder() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held, socket.create_server(("127.0.0.1", 0)) as listens:
        held.bind(("127.0.0.2", 0))
        found = {(each.kind, each.address, each.number) for each in ports.in_use()}
        assert ("udp", IPv4Address("127.0.0.2"), held.getsockname()[1]) in found
        assert ("tcp", IPv4Address("127.0.0.1"), listens.getsockname()[1]) in found
        assert ports.answers(IPv4Address("127.0.0.1"), listens.getsockname()[1])


def test_another_program_on_a_port_of_ours_is_named_with_the_way_out(administrator: Administrator) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("", 0))
        number = held.getsockname()[1]
        config = dataclasses.replace(administrator.config, tftp=dataclasses.replace(administrator.config.tftp, port=number))
        found = list(ports.ports(Site(config, None, None)))
    [finding] = [each for each in found if f"port {number} " in each.what]
    assert finding.severity is Severity.FAILURE
    assert f"(pid {os.getpid()})" in finding.what and "tftp.port" in finding.mend


def test_a_resolver_of_the_frontends_own_on_loopback_takes_no_port_of_ours() -> None:
    port = ports.Port("udp", 53, "DNS", "dns.port", addresses=frozenset({IPv4Address("10.1.1.1")}))
    assert not ports._meets(ports.Held("udp", IPv4Address("127.0.0.53"), 53, "1"), port)
    assert ports._meets(ports.Held("udp", None, 53, "1"), port)


# -- other DHCP servers ------------------------------------------------------------------------------------------------

OTHER = Offer(IPv4Address("10.1.0.66"), mac(66), IPv4Address("10.1.3.1"), IPv4Address("10.1.0.66"), "")
PROXY = Offer(IPv4Address("10.1.0.67"), mac(67), None, None, "pxelinux.0 of 10.1.0.67")


@pytest.mark.parametrize(
    ("mode", "allowed", "offers", "severities", "words"),
    [
        (DhcpMode.SERVER, (), [], [Severity.OK], "no other"),
        (DhcpMode.SERVER, (), [OTHER], [Severity.FAILURE], "10.1.0.66 (MAC 52:54:00:00:00:42)"),
        (DhcpMode.SERVER, ("10.1.0.66",), [OTHER], [Severity.OK], "the address 10.1.3.1, the router 10.1.0.66"),
        (DhcpMode.PROXY, (), [], [Severity.FAILURE], "no DHCP server of the site"),
        (DhcpMode.PROXY, (), [OTHER], [Severity.OK], "10.1.0.66"),
        (DhcpMode.OFF, (), [PROXY], [Severity.OK, Severity.FAILURE], "no address, the boot file pxelinux.0 of 10.1.0.67"),
        (DhcpMode.OFF, ("10.1.0.1",), [OTHER], [Severity.FAILURE, Severity.FAILURE], "another DHCP server"),
    ],
)
def test_another_dhcp_server_is_an_alarm_or_expected_by_the_mode(
    mode: DhcpMode, allowed: tuple[str, ...], offers: list[Offer], severities: list[Severity], words: str
) -> None:
    config = Config(dhcp=Dhcp(mode=mode, site_servers=tuple(map(IPv4Address, allowed))))
    findings = list(neighbours.judge(Site(config, None, None), "eth1", offers))
    assert [finding.severity for finding in findings] == severities
    assert words in findings[0].what


# -- the firewall ------------------------------------------------------------------------------------------------------


def nft(*rules: list[dict[str, Any]], policy: str = "accept", others: dict[str, list[list[dict[str, Any]]]] | None = None) -> Any:
    """A ruleset as ``nft -j list ruleset`` prints it."""
    chain = {"family": "inet", "table": "filter"}
    items: list[dict[str, Any]] = [
        {"metainfo": {"json_schema_version": 1}},
        {"chain": {**chain, "name": "input", "type": "filter", "hook": "input", "prio": 0, "policy": policy}},
        {"chain": {**chain, "name": "forward", "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}},
    ]
    items += [{"chain": {**chain, "name": name}} for name in others or {}]
    for name, several_rules in {"input": list(rules), **(others or {})}.items():
        items += [{"rule": {**chain, "chain": name, "handle": 7, "expr": expr}} for expr in several_rules]
    return {"nftables": items}


def matches(left: dict[str, Any], right: object, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def dport(protocol: str, right: object) -> dict[str, Any]:
    return matches({"payload": {"protocol": protocol, "field": "dport"}}, right)


def vmap(elements: list[list[Any]]) -> dict[str, Any]:
    return {"vmap": {"key": {"payload": {"protocol": "udp", "field": "dport"}}, "data": {"set": elements}}}


IIF = matches({"meta": {"key": "iifname"}}, "eth1")
SADDR = matches({"payload": {"protocol": "ip", "field": "saddr"}}, {"prefix": {"addr": "10.1.0.0", "len": 16}})
KNOWN = matches({"ct": {"key": "state"}}, ["established", "related"], "in")
ACCEPT, DROP, LIMIT, COUNT = (
    {"accept": None},
    {"drop": None},
    {"limit": {"rate": 9, "per": "second"}},
    {"counter": {"packets": 0}},
)
TO_TFTP = Packet("eth1", "udp", 69, IPv4Address("10.1.0.2"), IPv4Address("10.1.1.1"))


@pytest.mark.parametrize(
    ("ruleset", "verdict"),
    [
        (nft(), Verdict.ACCEPT),
        (nft(policy="drop"), Verdict.DROP),
        (nft([KNOWN, ACCEPT], policy="drop"), Verdict.DROP),
        (nft([dport("udp", 69), COUNT, ACCEPT], policy="drop"), Verdict.ACCEPT),
        (nft([dport("udp", {"set": [67, {"range": [68, 70]}]}), ACCEPT], policy="drop"), Verdict.ACCEPT),
        (nft([dport("tcp", 69), ACCEPT], policy="drop"), Verdict.DROP),
        (nft([IIF, ACCEPT], policy="drop"), Verdict.ACCEPT),
        (nft([matches({"meta": {"key": "iifname"}}, "eth0"), ACCEPT], policy="drop"), Verdict.DROP),
        (nft([matches({"meta": {"key": "iifname"}}, "eth0", "!="), ACCEPT], policy="drop"), Verdict.ACCEPT),
        (nft([SADDR, ACCEPT], policy="drop"), Verdict.ACCEPT),
        (nft([SADDR, dport("udp", 69), DROP]), Verdict.DROP),
        (nft([dport("udp", 69), {"reject": {"type": "icmp"}}]), Verdict.DROP),
        (nft([dport("udp", 69), LIMIT, ACCEPT], policy="drop"), Verdict.MAYBE),
        (nft([dport("udp", 69), LIMIT, DROP]), Verdict.ACCEPT),
        (nft([dport("udp", "@allowed"), ACCEPT], policy="drop"), Verdict.MAYBE),
        (nft([IIF, {"jump": {"target": "lan"}}], policy="drop", others={"lan": [[dport("udp", 69), ACCEPT]]}), Verdict.ACCEPT),
        (nft([IIF, {"jump": {"target": "lan"}}], policy="drop", others={"lan": [[{"return": None}], [ACCEPT]]}), Verdict.DROP),
        (nft([vmap([[69, ACCEPT]])], policy="drop"), Verdict.ACCEPT),
        (nft([vmap([[67, ACCEPT]])], policy="drop"), Verdict.DROP),
        (nft([{"jump": {"target": "loop"}}], policy="drop", others={"loop": [[{"jump": {"target": "loop"}}]]}), Verdict.MAYBE),
    ],
)  # fmt: skip
def test_a_packet_is_walked_through_nfts_rules(ruleset: Any, verdict: Verdict) -> None:
    chains, bases = from_nft(ruleset)
    assert bases == ["inet filter input"]
    assert walk(chains, bases[0], TO_TFTP).verdict is verdict


@pytest.mark.parametrize(
    ("rules", "policy", "verdict"),
    [
        ("", "ACCEPT", Verdict.ACCEPT),
        ("", "DROP", Verdict.DROP),
        ("-A INPUT -i eth1 -p udp -m udp --dport 69 -j ACCEPT", "DROP", Verdict.ACCEPT),
        ("-A INPUT -i eth+ -j ACCEPT", "DROP", Verdict.ACCEPT),
        ("-A INPUT ! -i eth1 -j ACCEPT", "DROP", Verdict.DROP),
        ("-A INPUT -p udp -m multiport --dports 67:69,80 -j ACCEPT", "DROP", Verdict.ACCEPT),
        ("-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "DROP", Verdict.DROP),
        ('-A INPUT -s 10.1.0.0/16 -m comment --comment "the nodes" -j DROP', "ACCEPT", Verdict.DROP),
        ("-A INPUT -m limit --limit 5/min -j ACCEPT", "DROP", Verdict.MAYBE),
        ("-A INPUT -j LOG --log-prefix x", "ACCEPT", Verdict.ACCEPT),
        ("-A INPUT -j mine\n-A mine -p udp -j REJECT --reject-with icmp-port-unreachable", "ACCEPT", Verdict.DROP),
    ],
)
def test_a_packet_is_walked_through_iptables_rules(rules: str, policy: str, verdict: Verdict) -> None:
    text = f"*nat\n:INPUT DROP [0:0]\nCOMMIT\n*filter\n:INPUT {policy} [0:0]\n:mine - [0:0]\n{rules}\nCOMMIT\n"
    assert walk(from_iptables(text), "INPUT", TO_TFTP).verdict is verdict


def test_what_a_firewall_drops_is_one_finding_with_the_rule_that_lets_it_in() -> None:
    chains, bases = from_nft(nft([KNOWN, ACCEPT], [dport("tcp", {"set": [80, 53, 873]}), ACCEPT], policy="drop"))
    [finding] = list(firewall.judge(Site(Config(), None, None), "nft", chains, bases))
    assert finding.severity is Severity.FAILURE
    assert "TFTP, DHCP, DNS" in finding.what and "HTTP" not in finding.what
    assert "nft insert rule inet filter input iifname eth1 udp dport 69 accept" in finding.mend


# -- loaders and Secure Boot -------------------------------------------------------------------------------------------


def place(administrator: Administrator, *names: str) -> None:
    for name in names:
        administrator.has_file(name)


def test_a_loader_that_nodes_need_and_is_not_there_is_a_failure_and_others_are_a_note(administrator: Administrator) -> None:
    place(administrator, "ldlinux.c32", "shimx64.efi", "grubx64.efi")
    found = list(loaders.boot_loaders(survey(administrator)))
    [missing] = [each for each in found if each.severity is Severity.FAILURE]
    assert "pxelinux.0" in missing.what
    assert missing.mend == "apt-get install pxelinux; bootserver init"
    assert any(each.severity is Severity.NOTE and "chain.c32" in each.what for each in found)


def test_a_loader_that_some_node_wishes_for_is_needed(administrator: Administrator) -> None:
    add_node(administrator, 1)
    assert "undionly.kpxe" not in loaders.needed(survey(administrator))
    administrator.does("attr", "set", "loader", "ipxe", "compute-0-0")
    assert {"undionly.kpxe", "snponly.efi", "pxelinux.0"} <= loaders.needed(survey(administrator))


@pytest.mark.skipif(not Path("/usr/lib/PXELINUX/pxelinux.0").exists(), reason="needs: apt-get install pxelinux")
def test_a_loader_older_than_its_package_and_one_that_is_a_link_are_found(administrator: Administrator) -> None:
    place(administrator, "pxelinux.0")
    (administrator.tftpboot / "ldlinux.c32").symlink_to("/usr/lib/syslinux/modules/bios/ldlinux.c32")
    found = worst(loaders.boot_loaders(survey(administrator)))
    assert any("others than, in their packages: pxelinux.0" in each.what and each.mend == "bootserver init" for each in found)
    assert any("ldlinux.c32 is a link" in each.what for each in found)


needs_signed = pytest.mark.skipif(
    not (SHIM.exists() and GRUB.exists()), reason="needs: apt-get install shim-signed grub-efi-amd64-signed"
)


@needs_signed
def test_debians_shim_starts_debians_grub_and_no_other() -> None:
    shim, grub = efi.read(SHIM.read_bytes()), efi.read(GRUB.read_bytes())
    assert efi.trusts(shim, grub)
    assert not efi.trusts(shim, shim), "Microsoft signed it"
    assert "Debian" in efi.common_name(efi.subject(shim.vendor))


@needs_signed
@pytest.mark.parametrize(
    ("grub", "words"),
    [
        (lambda: GRUB.read_bytes(), None),
        (lambda: SHIM.read_bytes(), "did not sign grubx64.efi"),
        (lambda: GRUB.read_bytes()[:600], "can't be judged"),
        (lambda: b"no program", "can't be judged"),
        (lambda: SHIM.with_suffix("").read_bytes(), "not signed"),
    ],
)
def test_a_broken_secure_boot_chain_is_found(administrator: Administrator, grub: Any, words: str | None) -> None:
    administrator.has_file("shimx64.efi", SHIM.read_bytes())
    administrator.has_file("grubx64.efi", grub())
    [finding] = list(loaders.secure_boot(survey(administrator)))
    if words is None:
        assert finding.severity is Severity.OK
    else:
        assert finding.severity >= Severity.WARNING and words in finding.what and "shim-signed" in finding.mend


def test_a_missing_installer_matters_once_a_node_boots_it(administrator: Administrator) -> None:
    [finding] = list(loaders.installer(survey(administrator)))
    assert (finding.severity, finding.mend) == (Severity.NOTE, "bootserver installer build")
    add_node(administrator, 1)
    alter(administrator, lambda change: set_action(change, nodes.get(change, "compute-0-0"), "rescue"))
    [finding] = list(loaders.installer(survey(administrator)))
    assert finding.severity is Severity.FAILURE


@pytest.mark.parametrize(("installed", "severity"), [("6.1.0-99-amd64", Severity.WARNING), ("6.1.0-10-amd64", Severity.OK)])
def test_an_installer_of_an_older_kernel_than_the_frontends_is_found(
    administrator: Administrator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: str, severity: Severity
) -> None:
    lists = {"missing_modules": [], "missing_programs": []}
    sizes = dict.fromkeys(("unpacked_size", "modules", "firmware", "missing_firmware"), 1)
    names = {"architecture": "x86_64", "kernel": "6.1.0-10-amd64", "kernel_origin": "installed", "built": "", "seconds": 1.0}
    folder = administrator.tftpboot / "installer"
    administrator.has_file("installer/vmlinuz")
    administrator.has_file("installer/initrd.img")
    (folder / "build.json").write_text(json.dumps({**names, **sizes, **lists, "kernel_size": 1, "ramdisk_size": 1}))
    newest = Choice(f"installed {installed}", Kernel(installed, tmp_path, tmp_path, "installed"))
    monkeypatch.setattr(loaders, "choose_kernel", lambda *_: newest)
    [finding] = list(loaders.installer(survey(administrator, quick=False)))
    assert finding.severity is severity and "6.1.0-10-amd64" in finding.what
    assert severity is Severity.OK or (installed in finding.what and finding.mend == "bootserver installer build")


# -- menus -------------------------------------------------------------------------------------------------------------


def alter(administrator: Administrator, what: Any) -> None:
    with open_change(administrator.databases.cluster, "test", "test") as change:
        what(change)


def add_node(administrator: Administrator, number: int, action: str = "os") -> str:
    added: list[str] = []

    def add(change: Change) -> None:
        machine = Machine(mac(number), None, "private", netboots=True)
        name = discovery.register_at_once(change, Request(), machine, ip=None, name=None, cpus=1).name
        set_action(change, nodes.get(change, name), action)
        added.append(name)

    alter(administrator, add)
    return added[0]


def add_action(administrator: Administrator, action: BootAction) -> None:
    alter(administrator, lambda change: boot_actions.add(change, action, None))


def test_nodes_that_boot_their_disk_are_well(administrator: Administrator) -> None:
    add_node(administrator, 1)
    [finding] = list(menus.menus(survey(administrator)))
    assert finding.severity is Severity.OK and "of 1 nodes" in finding.what


def test_a_file_that_a_menu_names_and_is_not_there_is_found_once_for_all_nodes(administrator: Administrator) -> None:
    add_action(administrator, BootAction("site", kernel="site/vmlinuz", initrds=("site/initrd.img",)))
    for number in (1, 2):
        add_node(administrator, number, "site")
    administrator.has_file("site/initrd.img")
    [finding] = worst(menus.menus(survey(administrator)))
    assert finding.severity is Severity.FAILURE
    assert finding.what.startswith("menu of 2 nodes (compute-0-0, compute-0-1): site/vmlinuz, which action site boots")


def test_a_node_that_only_waits_is_found_with_the_reason(administrator: Administrator) -> None:
    add_action(administrator, BootAction("dos", floppy="dos.img"))
    administrator.has_file("dos.img")
    name = add_node(administrator, 1, "dos")
    [maybe] = worst(menus.menus(survey(administrator)))
    assert maybe.severity is Severity.WARNING and "needs BIOS firmware" in maybe.what and "if it has UEFI" in maybe.what
    # What it said of its firmware decides.
    for firmware, count in (("BIOS", 0), ("UEFI_X64", 1)):
        administrator.happened(Event(Kind.ACKNOWLEDGED, 1.0, name, mac(1), {"address": "10.1.255.254", "firmware": firmware}))
        found = worst(menus.menus(survey(administrator)))
        assert len(found) == count
    assert found[0].severity is Severity.FAILURE and found[0].mend == f"bootserver why {name}"


def test_arguments_that_no_menu_can_hold_are_found(administrator: Administrator) -> None:
    add_action(administrator, BootAction("long", kernel="k"))
    administrator.has_file("k")
    add_node(administrator, 1, "long")
    with sqlite3.connect(administrator.folder / "db" / "cluster.sqlite") as connection:  # around every check at the door
        connection.execute("UPDATE boot_action SET args = ? WHERE name = 'long'", [" ".join(["x" * 50] * 50)])
    found = worst(menus.menus(survey(administrator)))
    assert found and all("too long" in each.what for each in found)


def test_of_thousands_of_nodes_those_that_do_something_are_all_looked_at(administrator: Administrator) -> None:
    add_action(administrator, BootAction("site", kernel="k"))
    add_node(administrator, 1)
    add_node(administrator, 2, "site")
    view = survey(administrator).view
    assert view is not None
    plain, other = view.nodes["compute-0-0"], view.nodes["compute-0-1"]
    hurried = menus.chosen([plain] * 5000 + [other] * 300, quick=True)
    assert 100 <= hurried.count(other) <= menus.MOST
    chosen = menus.chosen([plain] * 5000 + [other] * 300)
    assert chosen.count(other) == 300 and 100 <= chosen.count(plain) <= menus.MOST


# -- clock -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead", "kept", "severity", "words"),
    [
        (3600.0, True, Severity.FAILURE, "the clock went back"),
        (-5.0, False, Severity.WARNING, "nobody keeps the clock"),
        (-5.0, True, Severity.OK, "is kept"),
        (-5.0, None, Severity.OK, "the clock says"),
    ],
)
def test_a_clock_that_went_back_or_that_nobody_keeps_is_found(
    administrator: Administrator, monkeypatch: pytest.MonkeyPatch, ahead: float, kept: bool | None, severity: Severity, words: str
) -> None:
    monkeypatch.setattr(clock, "is_kept", lambda: kept)
    administrator.happened(Event(Kind.UP, time.time() + ahead, "compute-0-0", mac(1)))
    [finding] = list(clock.clock(survey(administrator)))
    assert finding.severity is severity and words in finding.what


def test_the_kernel_is_asked_whether_the_clock_is_kept() -> None:
    assert clock.is_kept() in (True, False)


# -- databases, disk, permissions, content -----------------------------------------------------------------------------


@pytest.mark.parametrize("schema", ["cluster", "journal"])
def test_an_old_revision_is_found(administrator: Administrator, schema: str) -> None:
    with sqlite3.connect(administrator.folder / "db" / f"{schema}.sqlite") as connection:
        connection.execute(f"UPDATE alembic_version_{schema} SET version_num = '0000'")
    [finding] = worst(data.databases(survey(administrator)))
    assert f"{schema} database is of revision 0000" in finding.what and data.head(schema) in finding.what
    assert finding.mend.startswith("bootserver init")


def test_a_damaged_database_is_found_with_the_way_back(administrator: Administrator) -> None:
    path = administrator.folder / "db" / "cluster.sqlite"
    path.write_bytes(b"SQLite format 3\0" + os.urandom(path.stat().st_size - 16))
    [finding] = worst(data.databases(survey(administrator)))
    assert "damaged" in finding.what and "restore --backup" in finding.mend


def test_sound_databases_are_well_and_missing_ones_are_made_by_init(administrator: Administrator) -> None:
    assert worst(data.databases(survey(administrator, quick=False))) == []
    (administrator.folder / "db" / "journal.sqlite").unlink()
    [finding] = worst(data.databases(survey(administrator)))
    assert "journal" in finding.what and "bootserver init" in finding.mend


def room(*, left: int, whole: int, inodes: int = 1000, free_inodes: int = 900) -> os.statvfs_result:
    return os.statvfs_result((4096, 4096, whole // 4096, left // 4096, left // 4096, inodes, free_inodes, free_inodes, 0, 255))


@pytest.mark.parametrize(
    ("size", "severity", "words"),
    [
        (room(left=500 << 30, whole=1000 << 30), Severity.OK, "left"),
        (room(left=0, whole=1000 << 30), Severity.FAILURE, "is full"),
        (room(left=900 << 20, whole=1000 << 30), Severity.WARNING, "nearly full"),
        (room(left=500 << 30, whole=1000 << 30, free_inodes=0), Severity.FAILURE, "no inodes"),
        (room(left=500 << 30, whole=1000 << 30, free_inodes=10), Severity.WARNING, "few inodes"),
        (room(left=500 << 30, whole=1000 << 30, inodes=0, free_inodes=0), Severity.OK, "left"),  # btrfs counts none
        (room(left=48 << 20, whole=64 << 20), Severity.OK, "left"),
    ],
)
def test_room_is_judged_in_bytes_and_in_inodes(size: os.statvfs_result, severity: Severity, words: str) -> None:
    [finding] = list(state.judge_room(Path("/srv/state"), size))
    assert finding.severity is severity and words in finding.what


def test_open_secrets_writable_folders_and_closed_boot_files_are_found(administrator: Administrator) -> None:
    key = administrator.folder / "keys" / "id_ed25519"
    key.parent.mkdir()
    key.write_text("secret")
    key.chmod(0o644)
    administrator.has_file("site/vmlinuz")
    (administrator.tftpboot / "site" / "vmlinuz").chmod(0o600)
    administrator.tftpboot.chmod(0o777)
    found = worst(state.permissions(survey(administrator)))
    mends = {finding.mend for finding in found}
    assert f"chmod o-rwx {key}" in mends
    assert f"chmod go-w {administrator.tftpboot}" in mends
    assert any("site/vmlinuz" in finding.what for finding in found)


def test_images_and_distributions_that_lost_their_files_are_found(administrator: Administrator) -> None:
    [nothing] = list(state.content(survey(administrator)))
    assert nothing.severity is Severity.NOTE
    administrator.has_distribution("bookworm", tree="/nonexistent/tree")
    alter(administrator, lambda change: change.insert(ImageRow(0, "golden")))
    found = {finding.what for finding in worst(state.content(survey(administrator)))}
    assert any("image golden" in each for each in found)
    assert any("bookworm/vmlinuz, bookworm/initrd.gz, /nonexistent/tree" in each for each in found)


# -- all of it ---------------------------------------------------------------------------------------------------------


def test_a_configuration_that_cannot_be_read_is_the_only_finding(tmp_path: Path) -> None:
    [finding] = list(examine.examine(tmp_path / "none.toml"))
    assert finding.severity is Severity.FAILURE and "bootserver init" in finding.mend
    (tmp_path / "bad.toml").write_text("[network]\ninterfaces = 1\n")
    [finding] = list(examine.examine(tmp_path / "bad.toml"))
    assert "interfaces is no setting" in finding.what and "bad.toml" in finding.mend


def test_a_service_that_is_down_is_said_once_and_what_needs_it_is_left_out(administrator: Administrator) -> None:
    result = administrator.run("doctor", "--quick", "--format", "json")
    found = json.loads(result.stdout)
    assert result.exit_code == 2
    assert [each["what"] for each in found if "does not run" in each["what"]] == ["the service does not run"]
    assert not {each["check"] for each in found} & {"tftp", "http", "image-server"}
    assert {"configuration", "database", "disk", "clock", "ports"} <= {each["check"] for each in found}
    assert all(each["mend"] for each in found if each["severity"] in ("warning", "failure"))


def test_one_check_can_be_done_alone_and_an_unknown_one_is_refused(administrator: Administrator) -> None:
    found = json.loads(administrator.run("doctor", "--check", "content", "--format", "json").stdout)
    assert [each["check"] for each in found] == ["configuration", "content"]
    assert "there are service, database" in administrator.fails("doctor", "--check", "weather", status=2)


def test_a_pid_file_that_a_power_cut_left_is_no_service(tmp_path: Path) -> None:
    (tmp_path / "bootserver.pid").write_text(f"{os.getppid()}\n")
    assert site.running(tmp_path / "bootserver.pid") is None
    (tmp_path / "bootserver.pid").write_text("nonsense")
    assert site.running(tmp_path / "bootserver.pid") is None


def test_a_check_that_breaks_ends_no_other(administrator: Administrator, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_site: Site) -> Any:
        raise OSError(5, "Input/output error", "/srv")
        yield

    monkeypatch.setattr(examine, "CHECKS", (examine.Check("first", breaks), examine.Check("second", lambda _: iter([ok("x")]))))
    _, first, second = examine.examine(administrator.config_path)
    assert first.severity is Severity.WARNING and "Input/output error" in first.what
    assert second == Finding(Severity.OK, "x", check="second")


def test_the_table_shows_the_worst_first_and_what_is_well_only_when_asked(administrator: Administrator) -> None:
    short, whole = (administrator.run("doctor", "--quick", *more).stdout for more in ((), ("--all",)))
    assert short.startswith("failure")
    assert "\nok " not in short and "\nok " in whole
    assert "mend: systemctl start bootserver" in short


# -- networks ----------------------------------------------------------------------------------------------------------

FAR = views.network(2, name="far", subnet="10.3.0.0/24", device=None, gateway="10.3.0.1")
ROUTE = [{"dst": "10.3.0.1", "gateway": "10.1.0.254", "dev": "eth1"}]


@pytest.mark.parametrize(
    ("network", "routes", "serves", "words"),
    [
        (FAR, ROUTE, True, ""),
        (FAR, [], True, "no route to network far"),
        (FAR, [{"dst": "10.3.0.1", "dev": "lo"}], True, "no route to network far"),
        (dataclasses.replace(FAR, gateway=None), ROUTE, True, "told of no router"),
        (dataclasses.replace(FAR, gateway=None), ROUTE, False, ""),
    ],
)
def test_a_network_behind_a_router_needs_a_way_there_and_back(
    network: Any, routes: list[dict[str, Any]], serves: bool, words: str
) -> None:
    (found,) = networks.judge_route(network, routes, serves=serves)
    assert (found.severity, words in found.what) == (Severity.WARNING if words else Severity.OK, True)


def test_a_network_that_nodes_have_among_themselves_needs_no_way_from_the_frontend() -> None:
    (found,) = networks.judge_route(FAR, [], serves=True, nodes_boot=False)
    assert (found.severity, found.what) == (
        Severity.NOTE,
        "the frontend is not on network far (10.3.0.0/24), and has no route to it",
    )


@pytest.mark.parametrize(
    ("told", "kind", "tag", "is_wrong"),
    [(100, "vlan", 100, False), (100, "vlan", 200, True), (100, None, None, False), (None, "vlan", 200, False)],
)
def test_nodes_and_frontend_put_the_same_tag_on(told: int | None, kind: str | None, tag: int | None, is_wrong: bool) -> None:
    device = {} if kind is None else {"linkinfo": {"info_kind": kind, "info_data": {"id": tag}}}
    found = list(networks.judge_tag(views.network(device="eth1.x", vlan=told), device))
    assert [f"--vlan {tag}" in each.mend for each in found] == ([True] if is_wrong else [])


def looked_at_inside(administrator: Administrator, script: str) -> list[str]:
    """What the check of networks finds in a namespace that a shell script has filled."""
    if os.geteuid() != 0:
        pytest.skip("a network namespace needs root")
    typed = [sys.executable, "-m", "bootserver", "--config", str(administrator.config_path), "doctor", "--check", "networks"]
    inside = ["unshare", "--net", "sh", "-ec", script + '; exec "$@"', "sh", *typed, "--all", "--format", "json"]
    done = subprocess.run(inside, capture_output=True, text=True, check=False)
    if "Unknown device type" in done.stderr:
        pytest.skip("this kernel has no VLAN devices (8021q)")
    return [each["what"] for each in json.loads(done.stdout) if each["check"] == "networks"]


def test_what_ip_says_of_a_vlan_device_is_read(administrator: Administrator) -> None:
    administrator.does("network", "add", "mgmt", "10.4.0.0/16", "--frontend", "10.4.1.1", "--device", "d0.40", "--vlan", "41")
    found = looked_at_inside(
        administrator, "ip link add d0 type veth peer name d1; ip link add link d0 name d0.40 type vlan id 40"
    )
    assert "nodes of network mgmt are told VLAN 41, and d0.40 is in VLAN 40" in found


def test_what_ip_says_of_a_route_is_read(administrator: Administrator) -> None:
    administrator.does("network", "add", "far", "10.3.0.0/24", "--frontend", "10.1.1.1", "--gateway", "10.3.0.1")
    administrator.does("node", "add", "compute-0-0", "--network", "far")
    assert looked_at_inside(administrator, "true") == ["the frontend has no route to network far (10.3.0.0/24)"]
    way = "ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up; ip addr add 10.1.1.1/16 dev d0"
    found = looked_at_inside(administrator, f"{way}; ip route add 10.3.0.0/24 via 10.1.0.254")
    assert found == ["network far (10.3.0.0/24) is reached by d0"]


def test_nodes_that_lack_a_card_and_bmcs_of_nobody_are_named(administrator: Administrator) -> None:
    for number, name in enumerate(("compute-0-0", "compute-0-1", "bmc-0-1", "bmc-0-7"), 10):
        administrator.does("node", "add", name, "--appliance", name.partition("-")[0], "--ip", f"10.1.0.{number}")
    administrator.does("network", "add", "storage", "10.2.0.0/16", "--frontend", "10.2.1.1", "--device", "lo")
    administrator.does("attr", "set", "interfaces", "eth1=storage", "--appliance", "compute")
    administrator.does("node", "set", "compute-0-0", "--add-interface", "eth1", "--network", "storage")
    found = {each.what: each.mend for each in networks.networks(survey(administrator)) if each.severity is Severity.NOTE}
    assert found == {
        "compute-0-1 has no interface eth1, as the attribute interfaces says": "bootserver node set NODE... --add-interface eth1"
        " --network storage",
        "no node is the one of the BMC bmc-0-7": "bootserver node rename BMC NODE-bmc",
    }
