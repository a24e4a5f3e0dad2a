"""Discovery: unknown machines become nodes, each in one transaction, with names and addresses of their own."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from bootserver.cluster import discovery, networks, nodes
from bootserver.cluster.change import open_change
from bootserver.cluster.discovery import Request
from bootserver.cluster.events import Kind
from bootserver.db.connection import SqliteDatabase
from bootserver.db.rows import CLUSTER_ROWS, NodeRow, SecretRow
from bootserver.errors import BootserverError, NotFound, Refused, UsageError
from bootserver.values.mac import MacAddress
from tests.cluster import Cluster, mac, machine, uuid, wait_until


def register(cluster: Cluster, *numbers: int) -> list[str]:
    return [cluster.register(machine(number)).name for number in numbers]


def test_machines_are_named_and_numbered_as_they_come(cluster: Cluster) -> None:
    cluster.open_discovery()
    assert register(cluster, 5, 3, 9) == ["compute-0-0", "compute-0-1", "compute-0-2"]
    assert [cluster.addresses(f"compute-0-{rank}") for rank in range(3)] == [["10.1.255.254"], ["10.1.255.253"], ["10.1.255.252"]]
    assert cluster.kinds().count(Kind.REGISTERED) == 3
    told = next(event for event in cluster.events if event.kind is Kind.REGISTERED)
    assert (told.node, told.mac, told.detail["address"], told.detail["firmware"]) == (
        "compute-0-0",
        mac(5),
        "10.1.255.254",
        "BIOS",
    )


GIVEN = {
    "an appliance": (Request(appliance="login"), ["login-0-0", "login-0-1"], ["10.1.255.254", "10.1.255.253"]),
    "a rack": (Request(rack=7), ["compute-7-0", "compute-7-1"], ["10.1.255.254", "10.1.255.253"]),
    "a rank": (Request(rank=40), ["compute-0-40", "compute-0-41"], ["10.1.255.254", "10.1.255.253"]),
    "a base name": (Request(base_name="gpu"), ["gpu-0-0", "gpu-0-1"], ["10.1.255.254", "10.1.255.253"]),
    "a base address": (Request(base_ip=IPv4Address("10.1.0.9")), ["compute-0-0", "compute-0-1"], ["10.1.0.9", "10.1.0.8"]),
    "a step": (Request(step=4), ["compute-0-0", "compute-0-1"], ["10.1.255.254", "10.1.255.250"]),
    "both": (Request(base_ip=IPv4Address("10.1.0.9"), step=4), ["compute-0-0", "compute-0-1"], ["10.1.0.9", "10.1.0.5"]),
    "the broadcast address": (
        Request(base_ip=IPv4Address("10.1.255.255")), ["compute-0-0", "compute-0-1"], ["10.1.255.254", "10.1.255.253"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "names", "addresses"), GIVEN.values(), ids=GIVEN.keys())
def test_names_and_addresses_are_given_as_asked(
    cluster: Cluster, request_: Request, names: list[str], addresses: list[str]
) -> None:
    cluster.open_discovery(request_)
    assert register(cluster, 1, 2) == names
    assert [cluster.addresses(name)[0] for name in names] == addresses


def test_addresses_that_are_taken_are_passed_over(cluster: Cluster) -> None:
    cluster.add(100, ip="10.1.255.253", rank=50)
    cluster.open_discovery(Request(appliance="login"))
    register(cluster, 1, 2)
    assert (cluster.addresses("login-0-0"), cluster.addresses("login-0-1")) == (["10.1.255.254"], ["10.1.255.252"])


def test_a_rank_that_is_taken_meanwhile_is_passed_over(cluster: Cluster) -> None:
    cluster.open_discovery(Request(rank=3))
    cluster.add(100, rank=4)
    assert register(cluster, 1, 2) == ["compute-0-3", "compute-0-5"]


def test_a_full_network_takes_nobody_more_and_leaves_no_half_of_one(cluster: Cluster) -> None:
    with cluster.change() as change:
        networks.add(
            change, "small", IPv4Network("10.9.0.0/29"), frontend=IPv4Address("10.9.0.1"), device=None, gateway=None,
            nameservers=[], domain="local",
        )  # fmt: skip
    cluster.open_discovery(Request(network="small"))
    for number in range(5):
        cluster.register(machine(number, network="small"))
    before = rows_of(cluster)
    with pytest.raises(Refused, match=r"network small .* has no free address left"):
        cluster.register(machine(99, network="small"))
    assert rows_of(cluster) == before
    assert cluster.names() == [f"compute-0-{rank}" for rank in range(5)]


def rows_of(cluster: Cluster) -> list[object]:
    with cluster.read() as reader:
        return [row for kind in CLUSTER_ROWS for row in reader.rows(kind)]


WRONG = {
    "a base address of elsewhere": (Request(base_ip=IPv4Address("192.0.2.1")), UsageError),
    "a step of nothing": (Request(step=0), UsageError),
    "a count of nothing": (Request(count=0), UsageError),
    "none at all": (Request(max_new=0), UsageError),
    "a rack below": (Request(rack=-1), UsageError),
    "a rack too high": (Request(rack=10_000), UsageError),
    "a rank below": (Request(rank=-1), UsageError),
    "a rank too high": (Request(rank=100_000), UsageError),
    "a rank that is taken": (Request(rank=0), Refused),
    "a base name with a newline": (Request(base_name="gpu\n"), UsageError),
    "a base name too long": (Request(base_name="g" * 63), UsageError),
    "an unknown appliance": (Request(appliance="toaster"), NotFound),
    "an unknown network": (Request(network="nowhere"), NotFound),
    "an unknown node to replace": (Request(replace="compute-9-9"), NotFound),
}


@pytest.mark.parametrize(("request_", "error"), WRONG.values(), ids=WRONG.keys())
def test_what_can_not_be_is_refused_before_a_machine_is_powered_on(
    cluster: Cluster, request_: Request, error: type[BootserverError]
) -> None:
    cluster.add(100)
    with pytest.raises(error):
        cluster.open_discovery(request_)
    assert cluster.discovery() is None


# -- its end -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_", [Request(count=2), Request(max_new=2), Request(count=5, max_new=2), Request(count=2, max_new=9)]
)
def test_it_ends_by_itself_after_so_many(cluster: Cluster, request_: Request) -> None:
    cluster.open_discovery(request_)
    register(cluster, 1, 2)
    assert cluster.discovery() is None
    assert cluster.view().discovery is None


def test_it_ends_by_time_and_the_next_one_can_be_opened(cluster: Cluster) -> None:
    cluster.open_discovery(Request(seconds=-1), by="alice")
    assert cluster.discovery() is None
    row = cluster.open_discovery(by="bob")
    assert row.by == "bob"


def test_a_second_one_is_refused_with_who_has_the_first(cluster: Cluster) -> None:
    cluster.open_discovery(by="alice")
    with pytest.raises(Refused, match=r"alice has had a discovery open since .*--attach.*--close"):
        cluster.open_discovery(by="bob")
    open_one = cluster.discovery()
    assert open_one is not None and open_one.by == "alice"


def test_of_two_opened_at_once_one_wins(cluster: Cluster) -> None:
    start, won, lost = threading.Barrier(2), [], []

    def race(who: str) -> None:
        database = SqliteDatabase(cluster.database.path)
        start.wait()
        try:
            with open_change(database, who, "insert-ethers") as change:
                won.append(discovery.open_discovery(change, Request(), who).by)
        except Refused as error:
            lost.append(str(error))

    threads = [threading.Thread(target=race, args=(who,)) for who in ("alice", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == len(lost) == 1
    assert lost[0].startswith(f"{won[0]} has had a discovery open")


# -- who is taken ------------------------------------------------------------------------------------------------


def test_a_machine_that_asks_again_is_the_node_that_it_is(cluster: Cluster) -> None:
    cluster.open_discovery(Request(count=2))
    assert register(cluster, 1, 1, 1) == ["compute-0-0"] * 3
    row = cluster.discovery()
    assert row is not None and row.inserted == 1
    assert cluster.kinds().count(Kind.REGISTERED) == 1


def test_only_the_named_mac_is_taken(cluster: Cluster) -> None:
    cluster.open_discovery(Request(mac=mac(7)))
    with pytest.raises(Refused, match=f"takes only {mac(7)}"):
        register(cluster, 1)
    assert register(cluster, 7) == ["compute-0-0"]


def test_a_group_address_is_no_machine(cluster: Cluster) -> None:
    cluster.open_discovery()
    with pytest.raises(Refused, match="group address"):
        cluster.register(dataclasses.replace(machine(1), mac=MacAddress.parse("01:00:5e:00:00:01")))


def test_who_does_not_netboot_is_taken_only_for_what_never_installs(cluster: Cluster) -> None:
    row = cluster.open_discovery()
    with pytest.raises(Refused, match="does not ask to netboot, and appliance compute installs"):
        cluster.register(machine(1, netboots=False))
    with cluster.change() as change:
        discovery.close(change, row)
    cluster.open_discovery(Request(appliance="switch"))
    assert cluster.register(machine(1, netboots=False)).name == "switch-0-0"
    assert cluster.node("switch-0-0").action is None


def test_a_second_nic_of_a_machine_is_the_same_node_s(cluster: Cluster) -> None:
    cluster.open_discovery(Request(count=2))
    assert cluster.register(machine(1, uuid=uuid(1))).name == "compute-0-0"
    assert cluster.register(machine(2, uuid=uuid(1))).name == "compute-0-0"
    assert cluster.register(machine(3, uuid=uuid(3))).name == "compute-0-1"
    assert [(row.device, row.mac, str(row.ip)) for row in cluster.interfaces("compute-0-0")] == [
        ("eth0", mac(1), "10.1.255.254"),
        ("eth1", mac(2), "10.1.255.253"),
    ]


# -- arming ------------------------------------------------------------------------------------------------------


def test_a_new_node_s_install_is_armed(cluster: Cluster) -> None:
    cluster.make_installable()
    cluster.open_discovery()
    register(cluster, 1)
    seen = cluster.seen("compute-0-0")
    assert seen.action.installs and seen.install is not None
    assert {Kind.ARMED, Kind.REGISTERED} == set(cluster.kinds())


def test_one_whose_install_can_not_be_resolved_is_a_node_all_the_same_and_waits(cluster: Cluster) -> None:
    cluster.open_discovery()
    register(cluster, 1)
    seen = cluster.seen("compute-0-0")
    assert seen.action.name == "install" and seen.install is None
    failed = next(event for event in cluster.events if event.kind is Kind.FAILED)
    assert "neither an image nor a distribution" in str(failed.detail["why"])


# -- replacing ---------------------------------------------------------------------------------------------------


def test_a_machine_that_replaces_a_node_takes_its_name_place_and_address(cluster: Cluster) -> None:
    cluster.make_installable()
    cluster.open_discovery()
    for number in (1, 2):
        cluster.register(machine(number, uuid=uuid(number)))
    with cluster.change() as change:
        discovery.close(change, cluster.discovery() or pytest.fail("none is open"))
        node = nodes.get(change, "compute-0-0")
        nodes.add_interface(change, node, mac=mac(50), ip=IPv4Address("10.1.0.50"), network=networks.first(change))
    before = cluster.node("compute-0-0")
    cluster.open_discovery(Request(replace="compute-0-0"))
    assert cluster.register(machine(9, uuid=uuid(9))).name == "compute-0-0"
    after = cluster.node("compute-0-0")
    assert (after.id, after.rack, after.rank) == (before.id, before.rack, before.rank)
    assert after.uuid == uuid(9).hex()
    assert [(row.mac, str(row.ip)) for row in cluster.interfaces("compute-0-0")] == [
        (mac(9), "10.1.255.254"),
        (None, "10.1.0.50"),
    ]
    assert cluster.seen("compute-0-0").install is not None, "it is installed"
    assert cluster.discovery() is None, "one is replaced, then it ends"
    assert mac(1) not in cluster.view().by_mac, "the old machine is nobody"


def test_a_new_network_card_in_the_same_machine_takes_the_old_one_s_place(cluster: Cluster) -> None:
    cluster.open_discovery(Request(count=1))
    cluster.register(machine(1, uuid=uuid(1)))
    cluster.open_discovery(Request(replace="compute-0-0"))
    cluster.register(machine(2, uuid=uuid(1)))
    assert [(row.device, row.mac, str(row.ip)) for row in cluster.interfaces("compute-0-0")] == [("eth0", mac(2), "10.1.255.254")]
    assert cluster.discovery() is None


# -- at once -----------------------------------------------------------------------------------------------------


def at_once(cluster: Cluster, number: int, *, ip: str | None = None, name: str | None = None, **asked: object) -> str:
    with cluster.change() as change:
        address = None if ip is None else IPv4Address(ip)
        request = Request(**asked)  # type: ignore[arg-type]
        found = machine(number, network=discovery.network_of(change, request, address).name)
        return discovery.register_at_once(change, request, found, ip=address, name=name, cpus=4).name


def test_a_mac_is_made_a_node_without_a_discovery(cluster: Cluster) -> None:
    assert at_once(cluster, 1) == "compute-0-0"
    assert at_once(cluster, 2, ip="10.1.0.2", name="fatnode", appliance="login") == "fatnode"
    assert cluster.addresses("fatnode") == ["10.1.0.2"]
    assert cluster.node("fatnode").cpus == 4
    for said, wrong in (("Duplicate MAC", {"number": 1}), ("Duplicate IP", {"number": 3, "ip": "10.1.0.2"})):
        with pytest.raises(Refused, match=said):
            at_once(cluster, **wrong)  # type: ignore[arg-type]
    assert cluster.names() == ["compute-0-0", "fatnode"]


# -- many at once ------------------------------------------------------------------------------------------------

MACHINES, PROCESSES = 64, 8


def register_some(path: Path, numbers: range) -> None:
    """In a process of its own."""
    database = SqliteDatabase(path)
    for number in numbers:
        with open_change(database, "discovery", f"register {mac(number)}") as change:
            row = discovery.current(change)
            assert row is not None
            discovery.register(change, row, machine(number, uuid=uuid(number)))


def test_64_machines_from_8_processes_at_once_are_64_nodes(cluster: Cluster) -> None:
    cluster.open_discovery()
    spawn = multiprocessing.get_context("fork")
    share = MACHINES // PROCESSES
    workers = [
        spawn.Process(target=register_some, args=(cluster.database.path, range(first, first + share)))
        for first in range(0, MACHINES, share)
    ]
    for worker in workers:
        worker.start()
    for number in range(1000, 1004):  # while an administrator adds some by hand
        cluster.add(number)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    with cluster.read() as reader:
        found = reader.rows(NodeRow)
    everybody = MACHINES + 4
    view = cluster.view()
    assert sorted(row.rank for row in found) == list(range(everybody)), "no rank is left out or given twice"
    assert {row.name for row in found} == {f"compute-0-{rank}" for rank in range(everybody)}
    assert len(view.by_ip) == len(view.by_mac) == everybody
    assert {mac(number) for number in range(MACHINES)} <= set(view.by_mac)
    top = IPv4Address("10.1.255.254")
    assert set(view.by_ip) == {top - below for below in range(everybody)}
    assert view.discovery is None, "64 are as many as it takes"


def register_and_wait(path: Path, pipe: int) -> None:
    with open_change(SqliteDatabase(path), "discovery", "register") as change:
        row = discovery.current(change)
        assert row is not None
        discovery.register(change, row, machine(1, uuid=uuid(1)))
        os.write(pipe, b"!")
        time.sleep(600)


def test_a_registration_that_is_killed_in_the_middle_leaves_nothing(cluster: Cluster) -> None:
    cluster.make_installable()
    cluster.open_discovery()
    before = cluster.dump()
    reading, writing = os.pipe()
    worker = multiprocessing.get_context("fork").Process(target=register_and_wait, args=(cluster.database.path, writing))
    worker.start()
    assert os.read(reading, 1) == b"!", "all of its rows are written, and none is committed"
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    wait_until("the lock goes with its process", lambda: cluster.dump() == before)
    assert register(cluster, 1) == ["compute-0-0"]
    with cluster.read() as reader:
        assert len(reader.rows(SecretRow)) == 1
