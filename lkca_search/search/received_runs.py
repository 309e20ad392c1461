"""Note of a search on what MLflow has received, so that a run with nothing to send need not import MLflow."""

import hashlib
from contextlib import suppress

from lkca_search import __version__
from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import AnyPath, sqlite_file, write_atomically
from lkca_search.records.record import RecordReader
from lkca_search.records.rounds import read_rounds
from lkca_search.spec.base import FrozenModel
from lkca_search.tracking.connection import experiment_name, tracking_uri


class ReceivedRuns(FrozenModel):
    """Runs of a finished search that an MLflow store has received, with the end of the search and its models."""

    store: str
    """Hash of the store's URI, and of the identity of its file if it is a database on disk."""
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


def _present(folder: SearchFolder, home: Home, reader: RecordReader) -> ReceivedRuns | None:
    """Return the note of everything that the search has now; None if the store is a file that is missing."""
    if (store := _identify_store(home)) is None:
        return None
    return ReceivedRuns(
        store=store,
        name=folder.name,
        version=__version__,
        num_trials=len(reader.trials()),
        num_replicates=len(reader.replicates()),
        num_rounds=len(read_rounds(folder)),
    )


def _file(folder: SearchFolder) -> AnyPath:
    return folder.root / "mlflow.json"


def _identify_store(home: Home) -> str | None:
    """Return a hash by which a store is recognized; None for a database on disk that is missing.

    A database that was removed and made again has another inode, and runs must be sent to it again.
    """
    uri = tracking_uri(home)
    identity = ""
    if (file := sqlite_file(uri)) is not None:
        try:
            stat = file.stat()
        except OSError:
            return None
        identity = f"{stat.st_dev} {stat.st_ino}"
    return hashlib.sha256(f"{uri}\n{experiment_name()}\n{identity}".encode()).hexdigest()[:16]
