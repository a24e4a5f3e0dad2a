"""Fixtures that rooms share: a cluster in a real database."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster, make

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
