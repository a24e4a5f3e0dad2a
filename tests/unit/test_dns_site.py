"""What surrounds the DNS server: keys, shares of a flood, the outbox for a site's server, settings, the view's name servers."""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.cluster import networks
from bootserver.cluster.change import open_reader
from bootserver.cluster.load import load_view
from bootserver.config import Config, ConfigError, parse
from bootserver.errors import Unavailable
from bootserver.netboot.dns.keys import BadKeyFile, read_key
from bootserver.netboot.dns.limits import STRANGER, Members, Sayings, Shares
from bootserver.netboot.dns.names import Kind
from bootserver.netboot.dns.outbox import Difference, Outbox, differences
from tests.cluster import Cluster

SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
BIND = f'key "Transfer" {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n'
KNOT = f"# hmac-sha512:transfer:{SECRET}\nkey:\n  - id: transfer\n"
SERVER = IPv4Address("192.0.2.53")


def key_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "a.key"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(("text", "algorithm"), [(BIND, "hmac-sha256."), (KNOT, "hmac-sha512.")])
def test_a_key_is_read_as_bind_and_knot_print_it(tmp_path: Path, text: str, algorithm: str) -> None:
    key = read_key(key_file(tmp_path, text))
    assert (key.name.to_text(), key.algorithm.to_text(), key.secret) == ("transfer.", algorithm, b"secretsecretsecretsecret")


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (BIND, 0o644, "is readable for everybody: chmod o= "),
        ("", 0o600, "there is no TSIG key in "),
        ("\xff\x00key", 0o600, "there is no TSIG key in "),
        (BIND.replace(SECRET, SECRET[1:]), 0o600, "is damaged"),
        (BIND.replace("Transfer", "a..b"), 0o600, "is damaged"),
        (BIND.replace("sha256", "crc32"), 0o600, "has algorithm hmac-crc32"),
    ],
)
def test_what_is_no_key_is_said_without_its_secret(tmp_path: Path, text: str, mode: int, said: str) -> None:
    with pytest.raises(BadKeyFile, match=said) as caught:
        read_key(key_file(tmp_path, text, mode))
    assert SECRET[4:] not in str(caught.value) and "\n" not in str(caught.value)


def test_a_key_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadKeyFile, match=r"none\.key can't be read: No such file"):
        read_key(tmp_path / "none.key")


# -- a flood ------------------------------------------------------------------------------------------------------


def test_each_address_has_its_share_of_a_second() -> None:
    shares = Shares(100)
    shares.members = Members([IPv4Network("10.1.0.0/16")])
    assert sum(shares.take("10.1.0.5") >= 0 for _ in range(500)) == 100
    assert shares.take("10.1.0.6") >= 0
    assert sum(shares.take("192.0.2.9") >= 0 for _ in range(500)) == STRANGER
    shares.begin()
    assert shares.take("10.1.0.5") >= 0 and shares.take("192.0.2.9") >= 0


def test_a_flood_of_forged_addresses_costs_the_clusters_machines_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bootserver.netboot.dns.limits.MAX_HEARD", 50)
    shares = Shares(100)
    shares.members = Members([IPv4Network("10.1.0.0/16")])
    forged = [shares.take(f"192.0.{number >> 8}.{number & 255}") >= 0 for number in range(1000)]
    assert sum(forged) == 50
    assert all(shares.take(f"10.1.{number >> 8}.{number & 255}") >= 0 for number in range(1000))


def test_members_are_those_of_the_networks() -> None:
    members = Members([IPv4Network("10.1.0.0/16"), IPv4Network("192.168.5.64/26")])
    assert [host in members for host in ("10.1.255.255", "192.168.5.64", "192.168.5.127")] == [True] * 3
    assert [host in members for host in ("10.2.0.0", "192.168.5.128", "127.0.0.1", "0.0.0.0")] == [False] * 4
    assert "10.1.0.1" not in Members([])


def test_a_trouble_is_told_once_in_a_while_and_not_too_many() -> None:
    sayings = Sayings()
    assert [sayings.is_news("10.1.0.1", "x", now) for now in (0.0, 1.0, 299.0, 301.0)] == [True, False, False, True]
    assert sum(sayings.is_news(f"192.0.2.{number}", "x", 600.0) for number in range(200)) == 20


# -- the outbox ---------------------------------------------------------------------------------------------------

names = st.sampled_from([f"n{number}.local" for number in range(6)])
records = st.one_of(
    st.tuples(st.just(Kind.ADDRESS), st.sampled_from([("10.1.0.1",), ("10.1.0.2",), ("10.1.0.1", "10.1.0.2")])),
    st.tuples(st.just(Kind.ALIAS), st.just(("n0.local",))),
)
states = st.dictionaries(names, records)


@given(states, states)
def test_the_differences_make_one_state_the_other(have: dict, want: dict) -> None:  # type: ignore[type-arg]
    told = dict(have)
    due = differences(have, want)
    for each in due:
        assert each.before == have.get(each.name)
        if each.after is None:
            del told[each.name]
        else:
            told[each.name] = each.after
    assert told == want
    assert len({each.name for each in due}) == len(due), "each name is told once"
    assert not differences(want, want)


@given(states)
def test_what_is_written_is_read(have: dict) -> None:  # type: ignore[type-arg]
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder), SERVER)
        with outbox.locked():
            outbox.write(have)
            assert outbox.read() == have
        assert (Path(folder) / f"update-{SERVER}.json").stat().st_mode & 0o777 == 0o600
        assert sorted(os.listdir(folder)) == ["lock", f"update-{SERVER}.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"a.local": ["A", "x"]}',
        '{"a.local": ["MX", "10.1.0.1"]}',
        '{"a b": ["A", "10.1.0.1"]}',
        '{"a.local": []}',
    ],
)
def test_a_damaged_outbox_counts_as_empty(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / f"update-{SERVER}.json").write_text(text)
    assert Outbox(tmp_path, SERVER).read() == {}
    assert text == "[]" or "all names are sent again" in caplog.text


def test_an_outbox_is_no_link_to_elsewhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text('{"a.local": ["A", "10.1.0.1"]}')
    folder = tmp_path / "dns"
    folder.mkdir()
    (folder / f"update-{SERVER}.json").symlink_to(victim)
    outbox = Outbox(folder, SERVER)
    assert outbox.read() == {}
    outbox.write({"b.local": (Kind.ADDRESS, ("10.1.0.2",))})
    assert "b.local" not in victim.read_text() and not (folder / f"update-{SERVER}.json").is_symlink()
    (folder / "lock").symlink_to(victim)
    with pytest.raises(Unavailable, match="can't be written"), outbox.locked():
        pass


def test_a_name_that_becomes_an_alias_says_what_it_was() -> None:
    before = {"a.local": (Kind.ADDRESS, ("10.1.0.1",))}
    after = {"a.local": (Kind.ALIAS, ("b.local",))}
    assert differences(before, after) == [Difference("a.local", before["a.local"], after["a.local"])]


# -- settings -----------------------------------------------------------------------------------------------------

WRONG = {
    "an address that is none": ('forwarders = ["192.0.2.256"]', "dns.forwarders: "),
    "a text for a list": ('forwarders = "192.0.2.1"', "dns.forwarders: must be a list in brackets, not '192.0.2.1'"),
    "a number in a list": ("secondaries = [1]", "dns.secondaries: must be a text in quotes, not 1"),
    "secondaries without a key": ('secondaries = ["192.0.2.1"]', "dns.secondaries wants dns.transfer_key"),
    "updates without a key": ('update_server = "192.0.2.1"', "dns.update_server wants dns.update_key"),
    "a key that is no whole path": ('transfer_key = "key"', "dns.transfer_key: must be an absolute path"),
    "itself as forwarder": ('forwarders = ["10.1.1.1"]', "dns.forwarders names this server itself"),
    "no time": ("ttl = 0", "dns.ttl: must be from 1"),
    "a secret": ('secret = "x"', "dns.secret is no setting; [dns] has enabled, port, listen"),
}  # fmt: skip


@pytest.mark.parametrize(("line", "said"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_in_dns_is_said_with_its_line(line: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"[dns]\nport = 53\n{line}\n", Path("/etc/x.toml"))
    assert str(caught.value).startswith("/etc/x.toml:3: ") and said in str(caught.value)


def test_lists_of_addresses_are_read() -> None:
    dns = parse('[dns]\nforwarders = ["192.0.2.1", "192.0.2.2"]\nlisten = []\n', Path("x")).dns
    assert dns.forwarders == (IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")) and dns.listen == ()


def test_nodes_are_told_to_ask_the_frontend_where_it_answers_at_the_usual_port() -> None:
    assert Config().dns.for_nodes
    assert not parse("[dns]\nenabled = false\n", Path("x")).dns.for_nodes
    assert not parse("[dns]\nport = 5353\n", Path("x")).dns.for_nodes


def test_a_network_without_name_servers_of_its_own_asks_the_frontend(cluster: Cluster) -> None:
    def servers(*, frontend_resolves: bool) -> tuple[IPv4Address, ...]:
        with open_reader(cluster.database) as reader:
            [network] = load_view(reader, 60, frontend_resolves=frontend_resolves).networks
        return network.nameservers

    assert servers(frontend_resolves=True) == (IPv4Address("10.1.1.1"),)
    assert servers(frontend_resolves=False) == ()
    with cluster.change() as change:
        networks.alter(change, "private", nameservers=[IPv4Address("192.0.2.53")])
    assert servers(frontend_resolves=True) == (IPv4Address("192.0.2.53"),)
