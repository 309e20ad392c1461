"""A database server, and the folder of a search whose ledger is in SQLite or on that server."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.local.ports import free_port
from lkca_search.layout import Home, SearchFolder
from tests.support.postgres import Postgres, running_postgres


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    # In /tmp, because a server that is not root must be able to read it.
    folder = Path("/tmp") / f"lkca-pg-{os.getpid()}"
    with running_postgres(folder, free_port()) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchFolder:
    name = f"search-{abs(hash(request.node.name))}"
    if request.param == "postgresql":
        monkeypatch.setenv("LKCA_SEARCH_LEDGER", request.getfixturevalue("postgres").url)
    return Home(root=tmp_path / "home").search(name)
