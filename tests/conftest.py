"""Fixtures that rooms share: a cluster in a real database, and a service in a network of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.cluster import Cluster, make
from tests.frontend import Frontend, serving, what_is_missing

# How long an example takes says how busy the machine is, and nothing of the product.
hypothesis.settings.register_profile("bootserver", deadline=None)
hypothesis.settings.load_profile("bootserver")

_MEMORY = Path("/dev/shm")  # every change is synced to the disk, which a test need not wait for


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new cluster's databases, made once by the migrations and copied for each test."""
    state = tmp_path_factory.mktemp("template")
    make(state)
    return state


@pytest.fixture
def cluster(template: Path) -> Iterator[Cluster]:
    """A cluster with its appliances and one network, and nothing else."""
    folder = tempfile.mkdtemp(prefix="bootserver-test-", dir=_MEMORY if _MEMORY.is_dir() else None)
    yield Cluster(Path(folder), template)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def own_network() -> None:
    """What a service in a network of its own needs of this machine."""
    if missing := what_is_missing():
        pytest.skip(missing)


@pytest.fixture(scope="module")
def frontend(own_network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frontend]:
    """A service at work, for the tests of one module; each leaves it serving."""
    with serving(tmp_path_factory.mktemp("frontend")) as running:
        yield running
