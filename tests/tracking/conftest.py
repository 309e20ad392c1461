"""Fixtures of the tracking tests: a shared home, and one search per test."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lkca_search.layout import Home, SearchFolder
from lkca_search.tracking.mlflow_store import MLflowStore
from tests.support.tracking.recorded import open_store


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home shared by the tests of a file, each with its own uid: creating a database takes a second."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def uid(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@pytest.fixture
def uri(root: Path) -> str:
    return f"sqlite:///{root / 'mlflow.db'}"


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    return Home(root=tmp_path).search("study")


@pytest.fixture
def opener(root: Path, uid: str) -> Callable[[], MLflowStore]:
    return lambda: open_store(root, uid=uid)
