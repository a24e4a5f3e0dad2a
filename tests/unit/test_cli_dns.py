"""``bootserver dns``: what administrators see of the cluster's names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.administrator import Administrator
from tests.nameservers import Key


@pytest.fixture
def admin(tmp_path: Path, template: Path) -> Administrator:
    made = Administrator(tmp_path, template)
    made.does("node", "add", "--mac", "52:54:00:00:00:01", "--ip", "10.1.0.5")
    made.does("node", "add", "--mac", "52:54:00:00:00:02", "--ip", "10.1.0.6")
    made.does("attr", "set", "aliases", "www", "compute-0-0")
    return made


def test_all_names_are_listed_with_whose_they_are(admin: Administrator) -> None:
    rows = {(row["name"], row["type"], row["value"], row["owner"]) for row in admin.lists("dns", "list")}
    assert rows == {
        ("frontend.local", "A", "10.1.1.1", "frontend"),
        ("1.1.1.10.in-addr.arpa", "PTR", "frontend.local", "frontend"),
        ("compute-0-0.local", "A", "10.1.0.5", "compute-0-0"),
        ("compute-0-1.local", "A", "10.1.0.6", "compute-0-1"),
        ("5.0.1.10.in-addr.arpa", "PTR", "compute-0-0.local", "compute-0-0"),
        ("6.0.1.10.in-addr.arpa", "PTR", "compute-0-1.local", "compute-0-1"),
        ("www.local", "CNAME", "compute-0-0.local", "compute-0-0"),
    }
    assert {row["type"] for row in admin.lists("dns", "list", "--zone", "1.10.in-addr.arpa")} == {"PTR"}
    assert admin.fails("dns", "list", "--zone", "x") == "no zone 'x'; there are local, 1.10.in-addr.arpa"


def test_a_name_an_address_and_a_node_are_shown(admin: Administrator) -> None:
    def shown(*words: str) -> set[str]:
        return {row["name"] for row in admin.lists("dns", "show", *words)}

    assert shown("compute-0-0") == {"compute-0-0.local", "5.0.1.10.in-addr.arpa", "www.local"}
    assert shown("WWW.local.") == shown("www") == {"www.local"}
    assert shown("10.1.0.6") == {"6.0.1.10.in-addr.arpa"}
    assert admin.fails("dns", "show", "nobody") == "nobody is called 'nobody': `bootserver dns list` shows all names"


def test_what_can_not_be_as_it_was_asked_for_is_said(admin: Administrator) -> None:
    admin.does("attr", "set", "aliases", "frontend", "compute-0-1")
    result = admin.run("dns", "list")
    assert result.exit_code == 0
    assert result.stderr == "bootserver: alias frontend of compute-0-1 is a name of frontend's already\n"


def test_zones_are_listed(admin: Administrator) -> None:
    serial = admin.changes()
    assert [(row["zone"], row["names"]) for row in admin.lists("dns", "zones")] == [("local", 4), ("1.10.in-addr.arpa", 3)]
    assert {row["serial"] for row in admin.lists("dns", "zones")} == {serial}


def test_a_zone_is_exported_as_a_master_file_and_all_names_as_hosts(admin: Administrator) -> None:
    lines = admin.does("dns", "export").splitlines()
    assert lines[0] == "$ORIGIN local." and "compute-0-0 IN A 10.1.0.5" in lines and "www IN CNAME compute-0-0.local." in lines
    assert "5.0 IN PTR compute-0-0.local." in admin.does("dns", "export", "1.10.in-addr.arpa").splitlines()
    assert (
        "10.1.0.5\tcompute-0-0.local compute-0-0 www.local www" in admin.does("dns", "export", "--format", "hosts").splitlines()
    )
    assert "leave out the zone" in admin.fails("dns", "export", "local", "--format", "hosts", status=2)


def test_there_must_be_a_server_to_tell(admin: Administrator) -> None:
    assert admin.fails("dns", "sync").startswith("there is no server to tell: set dns.update_server and dns.update_key in ")


def test_a_server_that_is_away_is_told_in_one_line(admin: Administrator) -> None:
    key = admin.folder / "update.key"
    key.write_text(Key("update").bind)
    key.chmod(0o600)
    (admin.folder / "dns").mkdir()
    settings = f'[dns]\nupdate_server = "127.0.0.1"\nupdate_port = 1\nupdate_key = "{key}"\n'
    admin.config_path.write_text(admin.config_path.read_text() + settings)
    said = admin.fails("dns", "sync")
    assert said == "DNS server 127.0.0.1 port 1 does not answer (Connection refused): what has changed waits; 7 names wait"
