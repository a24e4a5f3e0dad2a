"""Does this machine's packet filter drop what nodes send? Nodes' first packets are walked through its rules (nft, iptables).

The frontend's own packets to itself don't come in by the interface, so fetching its own files shows nothing of that.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address

from bootserver.config import DhcpMode
from bootserver.doctor.finding import Finding, failure, note, ok, several
from bootserver.doctor.ports import wanted
from bootserver.doctor.ruleset import Chain, Packet, Verdict, from_iptables, from_nft, walk
from bootserver.doctor.site import Site

_NOBODY, _EVERYBODY = IPv4Address(0), IPv4Address("255.255.255.255")
_SECONDS = 20.0


def firewall(site: Site) -> Iterator[Finding]:
    """Both families of rules; a packet must pass all of them."""
    filters = list(_filters())
    if not filters:
        yield ok("no packet filter is installed (nft, iptables)")
        return
    if not site.is_root:
        yield note("firewall rules can be read by root alone", mend="sudo bootserver doctor")
        return
    bases = 0
    findings: list[Finding] = []
    for program, argv in filters:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=_SECONDS, env={**os.environ, "LC_ALL": "C"}
        )
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["it says nothing"])[0]
            findings.append(note(f"{program} can't list its rules ({reason})", mend=f"{' '.join(argv)} shows it"))
            continue
        if program == "nft":
            chains, names = from_nft(json.loads(done.stdout or "{}"))
        else:
            chains = from_iptables(done.stdout)
            names = [name for name in ("INPUT",) if name in chains]
        bases += len(names)
        findings += judge(site, program, chains, names)
    yield from findings
    if not [finding for finding in findings if finding.mend]:
        yield ok("no firewall rule drops what nodes send" if bases else "there are no firewall rules for what comes in")


def judge(site: Site, program: str, chains: dict[str, Chain], names: list[str]) -> Iterator[Finding]:
    """What a filter does to each kind of first packet."""
    dropped: dict[tuple[str, str], list[str]] = {}
    unsure: dict[str, list[str]] = {}
    rules: list[str] = []
    for what, packet in packets(site):
        for name in names:
            fate = walk(chains, name, packet)
            if fate.verdict is Verdict.DROP:
                dropped.setdefault((packet.device, fate.by), []).append(what)
                rules.append(_way_out(program, name, packet))
            elif fate.verdict is Verdict.MAYBE:
                unsure.setdefault(fate.by, []).append(what)
    for (device, by), kinds in dropped.items():
        yield failure(
            f"the firewall ({program}) drops what nodes send on {device}: {', '.join(dict.fromkeys(kinds))} ({by})",
            "they get no answer, and the frontend's logs show nothing of them",
            "; ".join(dict.fromkeys(rules)) + " (and in the firewall's own configuration)",
        )
    for by, kinds in unsure.items():
        if not dropped:
            yield note(
                f"whether the firewall ({program}) lets nodes in can't be told for {several(dict.fromkeys(kinds))} ({by})",
                "that rule has a condition that is not known here",
                "bootserver trace MAC, while a node boots, shows it",
            )


def packets(site: Site) -> Iterator[tuple[str, Packet]]:
    """Nodes' first packets: to each port, by each interface."""
    config = site.config
    for link in site.links:
        own = link.address.ip
        node = next((host for host in _hosts(link.address.network) if host != own), own)
        for port in wanted(config, frozenset({own})):
            source, to = (_NOBODY, _EVERYBODY) if port.what == "DHCP" else (node, own)
            number = config.http.seen_port if port.what == "HTTP" else port.number
            yield port.what, Packet(link.device, port.kind, number, source, to)
        if config.dhcp.mode is DhcpMode.SERVER:  # a lease is renewed by unicast
            yield "DHCP", Packet(link.device, "udp", config.dhcp.port, node, own)


def _hosts(network: object) -> Iterator[IPv4Address]:
    from ipaddress import IPv4Network

    assert isinstance(network, IPv4Network)
    first = int(network.network_address)
    return (IPv4Address(first + number) for number in range(1, min(4, network.num_addresses)))


def _way_out(program: str, base: str, packet: Packet) -> str:
    if program == "nft":
        return f"nft insert rule {base} iifname {packet.device} {packet.protocol} dport {packet.port} accept"
    return f"{program.removesuffix('-save')} -I INPUT -i {packet.device} -p {packet.protocol} --dport {packet.port} -j ACCEPT"


def _filters() -> Iterator[tuple[str, list[str]]]:
    """What can list rules. iptables over nft is seen by nft itself; the old iptables is not."""
    if shutil.which("nft"):
        yield "nft", ["nft", "-j", "list", "ruleset"]
        if shutil.which("iptables-legacy-save"):
            yield "iptables-legacy-save", ["iptables-legacy-save", "-t", "filter"]
    elif shutil.which("iptables-save"):
        yield "iptables-save", ["iptables-save", "-t", "filter"]
