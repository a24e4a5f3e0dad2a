"""The same by HTTPS: for installers that trust the site's own authority."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootserver.cluster import attributes
from bootserver.cluster.attributes import EVERYWHERE
from tests.frontend import ADDRESS, Frontend, prepared
from tests.protocol.test_kickstart import TREES, started, token_in

_SETTINGS = """
[http]
tls_port = 8443
tls_installers = true
tls_certificate = "{folder}/frontend.crt"
tls_key = "{folder}/frontend.key"
"""


def certify(folder: Path, *, mode: int = 0o644) -> None:
    """A certificate for the frontend's address, which is its own authority."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=frontend", "-addext", f"subjectAltName=IP:{ADDRESS}"]
    files = ["-keyout", f"{folder}/frontend.key", "-out", f"{folder}/frontend.crt"]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    (folder / "frontend.key").chmod(mode)


@pytest.fixture
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frontend]:
    with prepared(tmp_path_factory.mktemp("https")) as frontend:
        with frontend.config.open("a") as file:
            file.write(_SETTINGS.format(folder=frontend.state.parent))
        yield frontend


def test_a_kickstart_goes_by_https_and_so_do_the_stages_that_follow(secure: Frontend) -> None:
    certify(secure.state.parent)
    secure.start()
    rocky = TREES[0]
    for path in (rocky.kernel, *rocky.initrds):
        secure.file(path, b"x")
    with secure.change() as change:
        change.insert(rocky)
        attributes.set_attribute(change, EVERYWHERE, "distribution", rocky.name)
    node = started(secure, rocky.name)
    menu = node.get(f"/pxelinux.cfg/{node.hex_address}").text
    assert f"inst.ks=https://{ADDRESS}:8443/node/kickstart/" in menu
    url = f"https://{ADDRESS}:8443/node/kickstart/{node.ticket()}"
    curl = ["curl", "-sS", "--interface", node.address, "--cacert", f"{secure.state.parent}/frontend.crt", url]
    got = secure.namespace.run(curl)
    assert got.returncode == 0, got.stderr
    token_in(got.stdout)
    assert f"FRONTEND=https://{ADDRESS}:8443/" in got.stdout
    stranger = secure.namespace.run(["curl", "-sS", "--interface", node.address, url])
    assert stranger.returncode == 60, "who does not trust the certificate asks nothing"


def test_a_key_that_the_service_can_not_read_is_said_at_the_start(secure: Frontend) -> None:
    certify(secure.state.parent, mode=0o600)
    refused = secure.cli("serve", status=1)
    assert f"user bootserver can't read {secure.state.parent}/frontend.key: `chgrp bootserver" in refused.stderr
