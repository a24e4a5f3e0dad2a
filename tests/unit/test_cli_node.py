"""``bootserver node``, ``appliance``, ``network``: an administrator describes a cluster."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bootserver.cluster.change import open_change
from bootserver.cluster.events import Event, Kind
from bootserver.db.rows import InterfaceRow, SecretRow
from bootserver.values.mac import MacAddress
from tests.administrator import Administrator


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Administrator(tmp_path_factory.mktemp("template")).folder


@pytest.fixture
def admin(tmp_path: Path, template: Path) -> Administrator:
    return Administrator(tmp_path, template)


def test_a_node_added_by_its_mac_gets_the_next_name_and_the_highest_address(admin: Administrator) -> None:
    assert admin.does("node", "add", "--mac", "52-54-00-00-00-01") == "Added node compute-0-0 (10.1.255.254)\n"
    assert admin.does("node", "add", "--mac", "525400000002") == "Added node compute-0-1 (10.1.255.253)\n"
    assert admin.lists("node", "list") == [
        {"node": "compute-0-0", "appliance": "compute", "rack": 0, "rank": 0, "cpus": 1, "mac": "52:54:00:00:00:01",
         "ip": "10.1.255.254", "action": "os", "state": "new"},
        {"node": "compute-0-1", "appliance": "compute", "rack": 0, "rank": 1, "cpus": 1, "mac": "52:54:00:00:00:02",
         "ip": "10.1.255.253", "action": "os", "state": "new"},
    ]  # fmt: skip


def test_a_name_tells_appliance_rack_and_rank(admin: Administrator) -> None:
    admin.does("node", "add", "login-2-7")
    row = admin.node("login-2-7")
    assert (row.rack, row.rank) == (2, 7)
    assert admin.lists("node", "list")[0]["appliance"] == "login"


def test_a_rank_that_is_taken_is_refused_and_not_silently_another_one(admin: Administrator) -> None:
    admin.does("node", "add", "--rank", "3")
    text = admin.fails("node", "add", "--rank", "3")
    assert text == "Node compute-0-3 already exists. Select another name, rack or rank."
    assert len(admin.lists("node", "list")) == 1


def test_a_dry_run_shows_the_rows_and_changes_nothing(admin: Administrator) -> None:
    before = admin.changes()
    printed = admin.does("node", "add", "--mac", "52:54:00:00:00:01", "--dry-run")
    assert "+ node" in printed
    assert "mac=52:54:00:00:00:01" in printed
    assert printed.endswith("nothing was changed\n")
    assert "Added node" not in printed
    assert admin.lists("node", "list") == []
    assert admin.changes() == before


def test_all_or_nothing_when_one_of_many_words_means_no_node(admin: Administrator) -> None:
    for rank in range(3):
        admin.does("node", "add", "--rank", str(rank))
    text = admin.fails("node", "set", "compute-0-[0-5]", "--comment", "x")
    assert "no node compute-0-[3-5]" in text
    assert all(row.comment == "" for row in (admin.node("compute-0-0"), admin.node("compute-0-1")))


def test_a_range_a_rack_an_appliance_an_address_and_a_mac_mean_the_same_node(admin: Administrator) -> None:
    admin.does("node", "add", "compute-4-2", "--mac", "52:54:00:00:00:01", "--ip", "10.1.0.9")
    for word in ("compute-4-2", "compute-4-[2]", "rack4", "compute", "10.1.0.9", "52:54:00:00:00:01", "5254.0000.0001"):
        assert [row["node"] for row in admin.lists("node", "list", word)] == ["compute-4-2"], word


def test_interfaces_are_added_altered_and_removed(admin: Administrator) -> None:
    admin.does("network", "add", "storage", "10.2.0.0/24", "--frontend", "10.2.0.1", "--device", "eth2")
    admin.does("node", "add", "compute-0-0", "--mac", "52:54:00:00:00:01")
    admin.does("node", "set", "compute-0-0", "--add-interface", "eth1", "--network", "storage")
    admin.does("node", "set", "compute-0-0", "--device", "eth1", "--mac", "52:54:00:00:00:02", "--ip", "10.2.0.7")
    first, second = admin.rows(InterfaceRow)
    assert (first.device, str(first.ip)) == ("eth0", "10.1.255.254")
    assert (second.device, str(second.mac), str(second.ip)) == ("eth1", "52:54:00:00:00:02", "10.2.0.7")
    assert "in use" in admin.fails("network", "remove", "storage", "--yes")
    admin.does("node", "set", "compute-0-0", "--remove-interface", "eth1")
    assert [row.device for row in admin.rows(InterfaceRow)] == ["eth0"]
    admin.does("network", "remove", "storage", "--yes")


def test_a_mac_or_address_of_another_node_is_refused(admin: Administrator) -> None:
    admin.does("node", "add", "compute-0-0", "--mac", "52:54:00:00:00:01")
    admin.does("node", "add", "compute-0-1", "--mac", "52:54:00:00:00:02")
    text = admin.fails("node", "set", "compute-0-1", "--mac", "52:54:00:00:00:01")
    assert text == "Duplicate MAC '52:54:00:00:00:01' Specified: it is compute-0-0's"
    assert "Duplicate IP '10.1.255.254'" in admin.fails("node", "set", "compute-0-1", "--ip", "10.1.255.254")


def test_one_mac_is_not_set_on_many_nodes(admin: Administrator) -> None:
    admin.does("node", "add")
    admin.does("node", "add")
    assert "one node at a time" in admin.fails("node", "set", "compute", "--mac", "52:54:00:00:00:01", status=2)


def test_removing_needs_a_yes_where_nobody_can_be_asked(admin: Administrator) -> None:
    admin.does("node", "add")
    assert "--yes" in admin.fails("node", "remove", "compute-0-0")
    assert len(admin.lists("node", "list")) == 1
    assert admin.does("node", "remove", "compute-0-0", "--yes") == "Removed node compute-0-0\n"
    assert admin.lists("node", "list") == []


def test_an_appliance_that_a_discovery_once_used_can_be_removed(admin: Administrator) -> None:
    from bootserver.cluster import discovery

    with open_change(admin.databases.cluster, "root", "insert-ethers") as change:
        row = discovery.open_discovery(change, discovery.Request(appliance="nas"), "root")
    assert "a discovery is open" in admin.fails("appliance", "remove", "nas", "--yes")
    with open_change(admin.databases.cluster, "root", "insert-ethers --close") as change:
        discovery.close(change, row)
    admin.does("appliance", "remove", "nas", "--yes")
    assert "nas" not in [each["appliance"] for each in admin.lists("appliance", "list")]


def test_a_renamed_node_keeps_its_address(admin: Administrator) -> None:
    admin.does("node", "add", "compute-0-0", "--mac", "52:54:00:00:00:01")
    admin.does("node", "rename", "compute-0-0", "login-0-0")
    (row,) = admin.lists("node", "list")
    assert (row["node"], row["ip"]) == ("login-0-0", "10.1.255.254")


def test_the_state_of_a_node_is_read_off_its_events(admin: Administrator) -> None:
    admin.has_image()
    admin.does("attr", "set", "image", "golden")
    admin.does("node", "add", "compute-0-0", "--mac", "52:54:00:00:00:01")

    def state() -> str:
        (row,) = admin.lists("node", "list")
        return str(row["state"])

    assert state() == "new"
    admin.does("pxe", "set", "compute-0-0", "install")
    assert state() == "armed"
    with admin.databases.cluster.write() as connection:
        connection.execute("UPDATE install SET state = 'running', phase = 'sync'")
    admin.happened(Event(Kind.PHASE, time.time(), "compute-0-0", detail={"phase": "sync", "percent": 41.6}))
    assert state() == "installing (sync 42%)"
    admin.happened(Event(Kind.FAILED, time.time(), "compute-0-0", detail={"why": "no disk"}))
    assert state() == "failed"
    with admin.databases.cluster.write() as connection:
        connection.execute("UPDATE install SET state = 'parked', parked = 'somebody else'")
    assert state() == "parked"
    admin.does("pxe", "set", "compute-0-0", "os")
    admin.happened(Event(Kind.INSTALLED, time.time(), "compute-0-0"))
    assert state() == "installed"
    admin.happened(Event(Kind.UP, time.time(), "compute-0-0"), Event(Kind.ACKNOWLEDGED, time.time(), "compute-0-0"))
    assert state() == "up"


def test_a_new_node_does_not_inherit_the_state_of_an_older_one_of_its_name(admin: Administrator) -> None:
    admin.happened(Event(Kind.UP, time.time() - 3600, "compute-0-0"))
    admin.does("node", "add", "compute-0-0")
    assert admin.lists("node", "list")[0]["state"] == "new"


def test_nodes_are_listed_without_states_while_the_journal_is_away(admin: Administrator) -> None:
    admin.does("node", "add")
    (admin.folder / "db" / "journal.sqlite").rename(admin.folder / "db" / "journal.away")
    result = admin.run("node", "list")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].endswith("?")
    assert "no states" in result.stderr


def test_show_tells_where_each_attribute_comes_from_and_never_a_secret(admin: Administrator) -> None:
    admin.has_image()
    admin.does("node", "add", "compute-0-0", "--mac", "52:54:00:00:00:01", "--comment", "the first")
    admin.does("attr", "set", "image", "golden", "--appliance", "compute")
    admin.does("attr", "set", "timezone", "Europe/Berlin", "--rack", "0")
    admin.does("pxe", "set", "compute-0-0", "install", "--wipe")
    mac = MacAddress.parse("52:54:00:00:00:01")
    admin.happened(Event(Kind.ACKNOWLEDGED, 0.0, "compute-0-0", mac, {"address": "10.1.255.254", "lease": 60}))
    text = admin.does("node", "show", "compute-0-0")
    for part in (
        "the first",
        "image = golden (appliance compute)",
        "timezone = Europe/Berlin (rack 0)",
        "image golden",
        "may wipe data partitions",
        "installer/vmlinuz installer/initrd.img",
        "10.1.255.254 for 52:54:00:00:00:01",
    ):
        assert part in text
    (secret,) = admin.rows(SecretRow)
    assert secret.value not in text + admin.does("node", "show", "compute-0-0", "--format", "json")


@pytest.mark.parametrize("name", ["a\nb", "a'b", 'a"b', "${x}", "../etc", "-x-", "COMPUTE", "a b", "", "x" * 64, "\x1b[31mred"])
def test_a_hostile_name_is_refused_in_one_line(admin: Administrator, name: str) -> None:
    admin.does("node", "add", "compute-0-0")
    admin.fails("node", "rename", "compute-0-0", "--", name, status=2)
    admin.fails("node", "add", "--", name, status=2)
    admin.fails("appliance", "add", "--", name, status=2)
    assert [row["node"] for row in admin.lists("node", "list")] == ["compute-0-0"]


def test_an_address_outside_of_the_network_or_no_address_at_all(admin: Administrator) -> None:
    assert "is in no network" in admin.fails("node", "add", "--ip", "192.168.0.1")
    assert "is no IPv4 address" in admin.fails("node", "add", "--ip", "10.1.0.999", status=2)
    assert "is no MAC address" in admin.fails("node", "add", "--mac", "52:54", status=2)
    assert "group address" in admin.fails("node", "add", "--mac", "ff:ff:ff:ff:ff:ff", status=2)
    assert "overlaps" in admin.fails("network", "add", "other", "10.1.2.0/24", "--frontend", "10.1.2.1")
    assert "no host bits" in admin.fails("network", "add", "other", "10.9.0.1/24", "--frontend", "10.9.0.1", status=2)
