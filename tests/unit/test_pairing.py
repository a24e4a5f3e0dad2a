"""Whose BMC is which: by names alone."""

from __future__ import annotations

import json

import pytest

from bootserver.cluster.change import open_reader
from bootserver.cluster.pairing import Named, of_cluster, pairs
from bootserver.netboot.dns.names import Entry, Kind
from tests import views
from tests.administrator import Administrator
from tests.unit.test_dns_names import of

#  nodes,                                              whose each BMC is
TABLE = [
    ("compute-0-0 bmc-0-0",                            {"bmc-0-0": "compute-0-0"}),
    ("compute-0-0 bmc-0-1",                            {}),
    ("bmc-0-0",                                        {}),
    ("compute-0-0 login-0-0 bmc-0-0",                  {"bmc-0-0": "compute-0-0"}),
    ("compute-0-0 login-0-0 bmc-0-0 login-0-0-bmc",    {"bmc-0-0": "compute-0-0", "login-0-0-bmc": "login-0-0"}),
    ("compute-0-0 login-0-0 bmc-0-0 compute-0-0-bmc",  {"bmc-0-0": "login-0-0", "compute-0-0-bmc": "compute-0-0"}),
    ("login-0-0 nas-0-0 bmc-0-0",                      {}),
    ("compute-1-12 compute-11-2 bmc-1-12 bmc-11-2",    {"bmc-1-12": "compute-1-12", "bmc-11-2": "compute-11-2"}),
    ("head head-bmc",                                  {"head-bmc": "head"}),
    ("switch-0-0 bmc-0-0",                             {}),
    ("compute-0-0 switch-0-0 switch-0-0-bmc",          {}),
]  # fmt: skip


def named(name: str) -> Named:
    appliance = "bmc" if "bmc" in name else name.partition("-")[0]
    return Named(name, appliance, appliance not in ("bmc", "switch"))


@pytest.mark.parametrize(("names", "wanted"), TABLE, ids=[row[0] for row in TABLE])
def test_a_bmc_is_of_the_node_that_its_name_says(names: str, wanted: dict[str, str]) -> None:
    assert pairs(map(named, names.split())) == wanted
    assert pairs(map(named, reversed(names.split()))) == wanted, "whoever was added first"


@pytest.fixture
def admin(tmp_path, template) -> Administrator:
    admin = Administrator(tmp_path, template)
    admin.does("network", "add", "mgmt", "10.4.0.0/16", "--frontend", "10.4.1.1", "--device", "eth1.40")
    admin.does("node", "add", "compute-0-0", "--ip", "10.1.0.7")
    admin.does("node", "add", "bmc-0-0", "--appliance", "bmc", "--network", "mgmt", "--mac", "52:54:00:00:00:0b")
    return admin


def test_an_administrator_sees_whose_it_is_and_a_rename_pairs_it_otherwise(admin: Administrator) -> None:
    shown = json.loads(admin.does("node", "show", "compute-0-0", "bmc-0-0", "--format", "json"))
    assert [(each["bmc"], each["bmc_of"]) for each in shown] == [(None, "compute-0-0"), ("bmc-0-0", None)]
    assert "bmc        bmc-0-0" in admin.does("node", "show", "compute-0-0")
    admin.does("node", "add", "login-0-0", "--appliance", "login", "--ip", "10.1.0.8")
    admin.does("node", "rename", "bmc-0-0", "login-0-0-bmc")
    with open_reader(admin.databases.cluster) as reader:
        assert of_cluster(reader) == {"login-0-0-bmc": "login-0-0"}


def test_dns_has_the_bmc_by_its_node_s_name_and_no_name_twice() -> None:
    bmc = views.ApplianceView(9, "bmc", installs=False)
    nodes = [views.node(0), views.node(0, mac=None, ip="10.1.0.9", appliance=bmc)]
    found = of(views.view(nodes))
    assert found.entries["compute-0-0-bmc.local"] == Entry(Kind.ALIAS, ("bmc-0-0.local",), "bmc-0-0")
    assert not found.troubles
