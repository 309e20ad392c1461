"""A small search with every kind of file: on two disks, with its ledger on PostgreSQL, or with its home in S3 too."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.local.ports import free_port
from lkca_search.layout import Home, SearchFolder
from tests.support.object_store import running_object_store
from tests.support.postgres import Postgres, running_postgres
from tests.support.search.stored import make_stored_search

PLACES = ("disk and another disk", "PostgreSQL", "object store")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres(Path("/tmp") / f"lkca-pg-housekeeping-{os.getpid()}", free_port()) as server:
        yield server


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Return the URL of a bucket for one file: tests of other files reset all stores of this process."""
    with pytest.MonkeyPatch.context() as patch, running_object_store(patch) as url:
        yield url


@pytest.fixture(params=PLACES)
def make(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], SearchFolder]:
    """Return a function that makes a search with a name in the home of the environment."""
    overrides: list[str] = []
    unique = f"{tmp_path.parent.name}-{tmp_path.name}"
    if request.param in ("PostgreSQL", "object store"):
        server: Postgres = request.getfixturevalue("postgres")
        monkeypatch.setenv("LKCA_SEARCH_LEDGER", server.create_database(f"ledgers_{time.monotonic_ns()}"))
    if "another disk" in request.param:
        overrides = [f"storage={tmp_path / 'other ü #1'}"]
    elif request.param == "object store":
        url = request.getfixturevalue("bucket").replace("?", f"/{unique}?")
        monkeypatch.setenv("LKCA_SEARCH_HOME", url)
    return lambda name: make_stored_search(name, *overrides)


@pytest.fixture
def home(make: Callable[[str], SearchFolder]) -> Home:
    return Home.from_environment()
