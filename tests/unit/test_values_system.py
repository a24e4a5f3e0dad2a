"""What attributes say of a system, in a few words: read, or refused in one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.errors import UsageError
from bootserver.values import system
from bootserver.values.system import Bond, Firewall, Packages, Repository, Services, User
from tests.administrator import Administrator


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("packages", "vim g++ -nano @core @^minimal", Packages(("vim", "g++"), ("core", "^minimal"), ("nano",))),
        ("packages", "", Packages()),
        ("services", "chronyd getty@ttyS0 -postfix", Services(("chronyd", "getty@ttyS0"), ("postfix",))),
        ("users", "alice:1001:wheel,video bob carl:::/bin/zsh",
         (User("alice", 1001, ("wheel", "video")), User("bob"), User("carl", None, (), "/bin/zsh"))),
        ("firewall", "off", Firewall(False, (), ())),
        ("firewall", "ssh 8080/tcp 6000-6010/udp", Firewall(True, ("ssh",), ("8080/tcp", "6000-6010/udp"))),
        ("repositories", "a=http://m/a b=https://m/b,stable,main,contrib",
         (Repository("a", "http://m/a"), Repository("b", "https://m/b", "stable", ("main", "contrib")))),
        ("timezone", "America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("language", "sr_RS.UTF-8@latin", "sr_RS.UTF-8@latin"),
        ("post", "a.sh.j2 site/b.sh.j2", ("a.sh.j2", "site/b.sh.j2")),
    ],
)  # fmt: skip
def test_what_is_meant(key: str, text: str, value: object) -> None:
    assert system.READERS[key](text) == value


def test_a_bond() -> None:
    assert system.bond("eth0 eth1 mode=802.3ad xmit_hash_policy=layer3+4") == Bond(
        ("eth0", "eth1"), {"mode": "802.3ad", "xmit_hash_policy": "layer3+4"}
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("packages", "a;b"), ("packages", "-"), ("packages", "@"), ("packages", "a`id`"), ("packages", "$x"),
        ("services", "a/b"), ("services", "-"),
        ("users", "Alice"), ("users", "root"), ("users", "a:0"), ("users", "a:x"), ("users", "a:1:b:c:d"), ("users", "a a"),
        ("users", "a:1:b;c"), ("users", "a:1::bin/sh"), ("users", "a:99999999999"),
        ("keys.alice", "ssh-ed25519 x"), ("keys.alice", 'command="id" ssh-ed25519 ' + "A" * 68), ("keys.A b", "x"),
        ("timezone", "../etc"), ("timezone", "Europe/Berlin x"), ("language", "de DE"), ("keyboard", "us'"),
        ("firewall", "0/tcp"), ("firewall", "70000/tcp"), ("firewall", "9-1/tcp"), ("firewall", "ssh;"),
        ("mirror", "ftp://x/y"), ("mirror", "http://x/a b"), ("mirror", "http://user@x/"), ("mirror", "tftp://x/y"),
        ("repositories", "http://x"), ("repositories", "a=x"), ("repositories", "a=http://x,b c=d"),
        ("post", "../x"), ("selinux", "off"),
        ("bond.bond0", ""), ("bond.bond0", "mode=1"), ("bond.bond0", "eth0 eth0"), ("bond.bond0", "eth0 evil=1"),
        ("bond.bond0", "eth0 primary=eth1"), ("bond.bond0", "eth0 mode=$x"), ("bond.averyveryverylongname", "eth0"),
    ],
)  # fmt: skip
def test_what_can_not_be_meant_is_refused_where_it_is_set(admin: Administrator, key: str, value: str) -> None:
    admin.fails("attr", "set", key, value, status=2)


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Administrator:
    return Administrator(tmp_path_factory.mktemp("frontend"))


@given(st.sampled_from(sorted(system.READERS)), st.text(max_size=60))
def test_whatever_is_written_is_a_value_or_refused(key: str, text: str) -> None:
    try:
        system.check(key, text)
    except UsageError as error:
        assert "\n" not in str(error)
