"""Install trees where nginx is in front, and where the database is away; the rest is asked of a running service."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from flask import Flask
from flask.testing import FlaskClient

from bootserver.cluster import distributions
from bootserver.db.connection import DatabaseError
from bootserver.db.rows import DistributionRow
from bootserver.web import distro_files
from bootserver.web.site import Site
from tests import distributions as trees
from tests.cluster import Cluster, configuration


class Front:
    """The blueprint alone, with a site that has just what it needs."""

    def __init__(self, cluster: Cluster, *, behind_nginx: bool) -> None:
        self.view = SimpleNamespace(sequence=1)
        site = SimpleNamespace(
            config=configuration(cluster.state),
            databases=cluster.databases,
            keeper=SimpleNamespace(view=self.view),
            behind_nginx=behind_nginx,
        )
        app = Flask("test", static_folder=None)
        app.register_blueprint(distro_files.blueprint(cast("Site", site)))
        self.client: FlaskClient = app.test_client()


def put(cluster: Cluster, name: str, tree: Path) -> None:
    with cluster.change() as change:
        row = DistributionRow(0, name, f"distro/{name}/linux", (), "", "preseed", tree=str(tree))
        distributions.put(change, row, replace=True)


def test_nginx_is_handed_unpacked_trees_and_no_others(cluster: Cluster, tmp_path: Path) -> None:
    files = {"pool/größe%.deb": "deb", "stable": "-> pool", "out": "-> /../../db"}
    unpacked = trees.make(cluster.state.resolve() / "distributions/debian", files)
    put(cluster, "debian", unpacked)
    put(cluster, "elsewhere", trees.make(tmp_path / "tree", files))
    client = Front(cluster, behind_nginx=True).client
    answer = client.get("/distro/debian/stable/gr%C3%B6%C3%9Fe%25.deb")
    assert (answer.status_code, answer.data) == (200, b"")
    # by its real name: nginx follows no links
    assert answer.headers["X-Accel-Redirect"] == "/bootserver-distro/debian/pool/gr%C3%B6%C3%9Fe%25.deb"
    assert client.get("/distro/debian/out/cluster.sqlite").status_code == 404
    other = client.get("/distro/elsewhere/stable/gr%C3%B6%C3%9Fe%25.deb")
    assert (other.data, other.headers.get("X-Accel-Redirect")) == (b"deb", None)


def test_trees_are_read_once_a_change_and_stay_while_the_database_is_away(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cluster, "debian", trees.make(tmp_path / "tree", {"file": "x"}))
    front = Front(cluster, behind_nginx=False)
    assert front.client.get("/distro/debian/file").data == b"x"

    def away(database: object) -> object:
        raise DatabaseError("it is away")

    monkeypatch.setattr(distro_files, "open_reader", away)
    assert front.client.get("/distro/debian/file").data == b"x"  # nothing was read
    front.view.sequence = 2
    assert front.client.get("/distro/debian/file").data == b"x"
