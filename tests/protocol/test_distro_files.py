"""Install trees by HTTP, from the running service: as Anaconda, dnf, apt and casper fetch them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootserver.cluster import distributions
from bootserver.cluster.events import Kind
from bootserver.db.rows import DistributionRow
from tests import distributions as trees
from tests.cluster import wait_until
from tests.frontend import ADDRESS, STRANGER, Frontend

PACKAGE = "BaseOS/Packages/b/bash-5.1.8-9.el9.x86_64.rpm"
URL = "/distro/rocky-9"
BIG = 24 << 20  # more than all buffers on the way take


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bootserver-test-"))
    folder.chmod(0o755)
    yield trees.make(
        folder / "tree",
        trees.rocky() | {
            "README": "0123456789",
            "pool/größe + 100%?.deb": "odd",
            "dists/stable": "-> nine",
            "dists/nine/Release": "release",
            "evil": "-> /etc/passwd",
            "up": "-> ../../../../../../etc/passwd",
            "absolute": "-> /README",
        },
    )  # fmt: skip
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def site(frontend: Frontend, tree: Path) -> Frontend:
    os.mkfifo(tree / "pipe")
    (tree / "images/install.img").write_bytes(bytes(range(256)) * (BIG // 256))
    (tree / "unreadable").write_text("x")
    (tree / "unreadable").chmod(0)
    frontend.file("distro/rocky-9/vmlinuz", b"kernel" * 1000)
    put(frontend, row(tree))
    wait_until("the service knows the tree", lambda: frontend.http("GET", f"{URL}/README").status == 200)
    return frontend


def row(tree: Path | str, name: str = "rocky-9") -> DistributionRow:
    return DistributionRow(0, name, f"distro/{name}/vmlinuz", (), "", "kickstart", "rhel", "Rocky", "9.4", "x86_64", str(tree))


def put(frontend: Frontend, *rows: DistributionRow) -> None:
    with frontend.change() as change:
        for each in rows:
            distributions.put(change, each, replace=True)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("README", "0123456789"),
        (".treeinfo", trees.rocky()[".treeinfo"]),
        (PACKAGE, "rpm " * 1000),
        (f"/{PACKAGE}", "rpm " * 1000),
        ("BaseOS//Packages/./b/bash-5.1.8-9.el9.x86_64.rpm", "rpm " * 1000),
        ("pool/gr%C3%B6%C3%9Fe%20+%20100%25%3F.deb", "odd"),
        ("dists/stable/Release", "release"),
        ("absolute", "0123456789"),
    ],
)
def test_files_of_a_tree_come_whole_to_whoever_asks(site: Frontend, path: str, body: str) -> None:
    for source in (STRANGER, ADDRESS):
        answer = site.http("GET", f"{URL}/{path}", source=source)
        assert (answer.status, answer.body.decode()) == (200, body)
        assert answer.headers["Content-Length"] == str(len(answer.body))


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "nothing", "BaseOS", "BaseOS/", "dists/stable", "README/", "README/x", "evil", "up", "pipe", "unreadable",
        "../secret", "..%2f..%2f..%2fetc/passwd", "../../../../../../etc/passwd", "dists/../../secret", "README%00", "x" * 1500,
        "a/" * 600,
    ],
)  # fmt: skip
def test_all_else_is_404_and_no_redirect(site: Frontend, path: str) -> None:
    (site.state / "secret").write_text("secret")
    answer = site.http("GET", f"{URL}/{path}")
    assert answer.status == 404
    assert b"root:" not in answer.body and b"secret" not in answer.body


@pytest.mark.parametrize("path", ["/distro/rocky-8/README", "/distro/", "/distro", "/distro/rocky-9"])
def test_what_names_no_file_of_a_distribution_is_404(site: Frontend, path: str) -> None:
    assert site.http("GET", path).status == 404


@pytest.mark.parametrize(
    ("wanted", "status", "body", "told"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=50-60", 416, None, None),
    ],
)
def test_a_file_comes_in_parts(site: Frontend, wanted: str, status: int, body: bytes | None, told: str | None) -> None:
    answer = site.http("GET", f"{URL}/README", headers={"Range": wanted})
    assert answer.status == status
    assert body is None or answer.body == body
    assert told is None or answer.headers["Content-Range"] == told


def test_a_big_file_comes_byte_for_byte_and_its_size_by_head(site: Frontend, tree: Path) -> None:
    image = (tree / "images/install.img").read_bytes()
    assert site.http("GET", f"{URL}/images/install.img").body == image
    head = site.http("HEAD", f"{URL}/images/install.img")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(BIG), b"")
    part = site.http("GET", f"{URL}/images/install.img", headers={"Range": f"bytes={BIG - 300}-"})
    assert part.body == image[-300:]


def test_curl_goes_on_where_it_stopped(site: Frontend, tree: Path, tmp_path: Path) -> None:
    image = (tree / "images/install.img").read_bytes()
    (tmp_path / "img").write_bytes(image[: BIG // 3])
    fetch = ["curl", "--silent", "--show-error", "--fail", "--continue-at", "-", "--output", str(tmp_path / "img")]
    done = site.namespace.run([*fetch, f"http://{ADDRESS}{URL}/images/install.img"])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "img").read_bytes() == image


def test_what_a_client_has_already_is_not_sent_again(site: Frontend) -> None:
    first = site.http("GET", f"{URL}/README")
    for headers in (
        {"If-None-Match": first.headers["ETag"]},
        {"If-Modified-Since": first.headers["Last-Modified"]},
    ):
        answer = site.http("GET", f"{URL}/README", headers=headers)
        assert (answer.status, answer.body) == (304, b"")
    other = site.http("GET", f"{URL}/README", headers={"If-Range": '"another"', "Range": "bytes=2-4"})
    assert (other.status, other.body) == (200, b"0123456789")


def test_a_kernel_is_an_event_and_a_package_is_none(site: Frontend) -> None:
    assert site.http("GET", f"{URL}/{PACKAGE}").status == 200
    assert site.http("GET", f"{URL}/vmlinuz").body == b"kernel" * 1000
    wait_until("the kernel is written down", lambda: bool(site.events(path="distro/rocky-9/vmlinuz")))
    assert {event.kind for event in site.events(path="distro/rocky-9/vmlinuz")} <= {Kind.KERNEL_SENT, Kind.FILE_SENT}
    assert site.events(path=f"distro/rocky-9/{PACKAGE}") == []


def test_a_tree_is_another_one_as_soon_as_the_cluster_says_so(site: Frontend, tree: Path) -> None:
    trees.make(tree.parent / "new", {"README": "new"})
    put(site, row(tree.parent / "new", "changing"))
    wait_until("it is there", lambda: site.http("GET", "/distro/changing/README").body == b"new")
    with site.change() as change:
        distributions.remove(change, "changing")
    wait_until("it is gone", lambda: site.http("GET", "/distro/changing/README").status == 404)


def test_the_frontends_own_is_not_served_whatever_a_row_says(site: Frontend, tree: Path) -> None:
    """As a dump from elsewhere may say, or the owner of a folder that was replaced by a link."""
    (tree.parent / "link").symlink_to(site.state)
    wrong: dict[str, Path | str] = {
        "root": "/",
        "etc": "/etc",
        "state": site.state,
        "db": site.state / "db",
        "link": tree.parent / "link",
    }
    put(site, *(row(folder, name) for name, folder in wrong.items()), row(tree, "good"))
    wait_until("the rows are seen", lambda: site.http("GET", "/distro/good/README").status == 200)
    for path in (
        "root/etc/passwd",
        "etc/passwd",
        "state/db/cluster.sqlite",
        "db/cluster.sqlite",
        "link/db/cluster.sqlite",
        "link/secret",
    ):
        assert site.http("GET", f"/distro/{path}").status == 404, path
