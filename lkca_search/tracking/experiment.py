"""Experiment of all searches in an MLflow store: opened, checked and, if needed, created."""

import logging
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from mlflow import MlflowClient

from lkca_search.layout import Home
from lkca_search.paths import file_url, sqlite_file
from lkca_search.tracking.connection import (
    experiment_name,
    is_default_store,
    mlflow_command,
    set_client_variables,
    tracking_uri,
)
from lkca_search.tracking.database import prepare_database
from lkca_search.tracking.faults import StoreError
from lkca_search.tracking.moved_home import relocate_artifacts
from lkca_search.tracking.search_run.search_run import EXPERIMENT_KIND, TRAINING

_CONNECT_SECONDS = 10.0
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


@dataclass(frozen=True, kw_only=True)
class OpenedStore:
    """MLflow store that responds."""

    client: MlflowClient
    notices: tuple[str, ...]
    """Lines for the user about changes in the store: a database made again, artifacts of a moved home."""


def open_client(home: Home) -> OpenedStore:
    """Open the store. A SQLite database is created if it is missing, and checked.

    Raises:
        StoreError: The database has the schema of another version of MLflow.
        Exception: Any other error of the store; `describe_fault` explains it.
    """
    for logger in ("mlflow", "alembic"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)  # MLflow logs errors that it also raises
    set_client_variables()
    uri = tracking_uri(home)
    notices = []
    file = sqlite_file(uri)
    if file is None:
        _check_database_server(uri)
    elif copy := prepare_database(file):
        notices.append(f"MLflow's database was half-made and is made again; the half-made one is kept: {copy}")
    if is_default_store():
        for former in relocate_artifacts(home):
            notices.append(f"the home was moved: MLflow now finds the artifacts of {former} in {home.mlflow_artifacts}")
    return OpenedStore(client=MlflowClient(tracking_uri=uri), notices=tuple(notices))


def open_existing(home: Home) -> MlflowClient:
    """Open the store to read it; StoreError if it is a database on disk that does not exist. Otherwise as above."""
    if is_not_made(home):
        step = "set MLFLOW_TRACKING_URI to the store that has it (`rerun`: --tracking-uri), or LKCA_SEARCH_HOME"
        raise StoreError(f"there is no store {sqlite_file(tracking_uri(home))}", step)
    return open_client(home).client


def is_not_made(home: Home) -> bool:
    """Return True if the store is a database on disk that does not exist; `open_client` would create it."""
    file = sqlite_file(tracking_uri(home))
    return file is not None and not file.exists()


def find_experiment(client: MlflowClient, home: Home) -> str | None:
    """Return the id of the experiment, or None if there is none; StoreError if it was deleted."""
    experiment = client.get_experiment_by_name(experiment_name())
    if experiment is None:
        return None
    if experiment.lifecycle_stage != "active":
        restore = mlflow_command(home, f"experiments restore --experiment-id {experiment.experiment_id}")
        raise StoreError(
            f"the experiment {experiment_name()!r} was deleted in MLflow",
            f"restore it: {restore} (or set MLFLOW_EXPERIMENT_NAME to another name)",
        )
    return str(experiment.experiment_id)


def open_experiment(client: MlflowClient, home: Home) -> str:
    """Return the id of the experiment, created if needed; StoreError if it was deleted."""
    found = find_experiment(client, home)
    if found is not None:
        return found
    artifacts = file_url(home.mlflow_artifacts) if is_default_store() else None
    try:
        return str(client.create_experiment(experiment_name(), artifacts, {EXPERIMENT_KIND: TRAINING}))
    except Exception:
        # Another search may have created it, or the response was lost.
        found = find_experiment(client, home)
        if found is None:
            raise
        return found


def _check_database_server(uri: str) -> None:
    """Connect to the port of a database server once. MLflow itself would try for 100 s in silence."""
    parts = urlsplit(uri)
    port = _PORTS.get(parts.scheme.partition("+")[0])
    if port is not None and parts.hostname:
        socket.create_connection((parts.hostname, parts.port or port), timeout=_CONNECT_SECONDS).close()
