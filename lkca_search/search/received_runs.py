"""Notes of a search on the MLflow store that has its runs, and on what that store has received.

A run with nothing to send need not import MLflow: the runs in a store on this disk are counted without it.
"""

import hashlib
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from lkca_search import __version__
from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import AnyPath, sqlite_file, write_atomically
from lkca_search.records.record import RecordReader
from lkca_search.records.rounds import read_rounds
from lkca_search.records.search.uid import SEARCH_UID, uid_or_name
from lkca_search.spec.base import FrozenModel
from lkca_search.tracking.connection import experiment_name, has_store, is_default_store, tracking_uri, without_login

_COUNT_RUNS = """
SELECT experiments.lifecycle_stage, runs.lifecycle_stage, COUNT(*)
FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid JOIN experiments ON experiments.experiment_id = runs.experiment_id
WHERE tags.key = ? AND tags.value = ? GROUP BY 1, 2
"""


class ReceivedRuns(FrozenModel):
    """Runs of a finished search that an MLflow store has received, with the end of the search and its models."""

    store: str
    """Hash of the store's URI, and of the identity of its file."""
    runs: dict[str, int]
    """Number of runs of the search in the store by their state: active or deleted, the experiment's first."""
    name: str
    """Name of the search."""
    version: str
    """Version of this package: another one may name metrics differently."""
    num_trials: int
    num_replicates: int
    num_rounds: int


def note_received(folder: SearchFolder, home: Home, reader: RecordReader) -> None:
    """Write that MLflow has received everything of a finished search. A note that cannot be written costs time only."""
    with suppress(OSError):
        if (received := _present(folder, home, reader)) is not None:
            write_atomically(_file(folder), received.model_dump_json(indent=1).encode())


def has_received(folder: SearchFolder, home: Home, reader: RecordReader) -> bool:
    """Return True if the MLflow store of this process has received everything of a finished search."""
    try:
        noted = ReceivedRuns.model_validate_json(_file(folder).read_bytes())
    except (OSError, ValueError):
        return False
    return noted == _present(folder, home, reader)


class LoggedStore(FrozenModel):
    """MLflow store that has received runs of a search."""

    uri: str | None
    """URI without user and password; None for the database in the home."""


def note_store(folder: SearchFolder, home: Home) -> None:
    """Write the store of this process as the one that has the search's runs. Without the note, no store is named."""
    present = _present_store(home)
    if _read_store(folder) != present:
        with suppress(OSError):
            write_atomically(_store_file(folder), present.model_dump_json().encode())


def explain_no_run(folder: SearchFolder, home: Home) -> str:
    """Return the reason why the store of this process has no run of a search, and the commands that mend it."""
    noted = _read_store(folder)
    if noted is None or noted == _present_store(home):  # an earlier version has noted no store
        other = "" if noted else ", or set MLFLOW_TRACKING_URI to the store that has its runs"
        return f"it has no run of this search; run `lkca-search sync {folder.name}`{other}"
    place, step = "the database of the home", "unset MLFLOW_TRACKING_URI"
    if noted.uri is not None:
        is_server = noted.uri.startswith(("http://", "https://"))
        place = f"the MLflow server {noted.uri}" if is_server else noted.uri
        step = f"{'start it again, and ' if is_server else ''}set MLFLOW_TRACKING_URI={noted.uri}"
    return (
        f"it has no run of this search, whose runs are in {place}. Either {step}; or send all runs and models to this "
        f"store too, by `lkca-search sync {folder.name}`"
    )


def _present(folder: SearchFolder, home: Home, reader: RecordReader) -> ReceivedRuns | None:
    """Return the note of everything that the search has now; None if the store is no readable file."""
    if not has_store(home) or (file := sqlite_file(uri := tracking_uri(home))) is None:
        return None
    try:
        stat = file.stat()
        runs = _count_runs(file, uid_or_name(folder))
    except (OSError, sqlite3.Error):
        return None
    identity = f"{uri}\n{experiment_name()}\n{stat.st_dev} {stat.st_ino}"  # a file that is made again has another inode
    return ReceivedRuns(
        store=hashlib.sha256(identity.encode()).hexdigest()[:16],
        runs=runs,
        name=folder.name,
        version=__version__,
        num_trials=len(reader.trials()),
        num_replicates=len(reader.replicates()),
        num_rounds=len(read_rounds(folder)),
    )


def _count_runs(file: Path, uid: str) -> dict[str, int]:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
        rows = database.execute(_COUNT_RUNS, [SEARCH_UID, uid]).fetchall()
    return {f"{experiment} {run}": count for experiment, run, count in rows}


def _file(folder: SearchFolder) -> AnyPath:
    return folder.root / "mlflow.json"


def _present_store(home: Home) -> LoggedStore:
    return LoggedStore(uri=None if is_default_store() else without_login(tracking_uri(home)))


def _read_store(folder: SearchFolder) -> LoggedStore | None:
    try:
        return LoggedStore.model_validate_json(_store_file(folder).read_bytes())
    except (OSError, ValueError):
        return None


def _store_file(folder: SearchFolder) -> AnyPath:
    return folder.root / "mlflow_store.json"
