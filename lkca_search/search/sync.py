"""Bringing MLflow up to date with what a search has on record, without training anything: what `sync` does."""

from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import RecordReader
from lkca_search.search.state.best_trials import best_record
from lkca_search.search.state.lease import hold_lease
from lkca_search.search.state.resume import read_spec
from lkca_search.search.state.status import read_status
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.tracking.mlflow_tracker import SyncResult, send_missing

_PATIENCE_SECONDS = 3600.0


def sync(folder: SearchFolder, home: Home, *, patience_seconds: float = _PATIENCE_SECONDS) -> SyncResult:
    """Send MLflow what it lacks of a search; SearchError if a driver is at work, which does so by itself."""
    with hold_lease(folder):
        reader = RecordReader(folder)
        return send_missing(
            lambda: open_store(folder, home),
            folder,
            complete=not read_status(folder, reader).num_left,
            best=best_record(reader.trials(), read_spec(folder).search),
            patience_seconds=patience_seconds,
        )


def open_store(folder: SearchFolder, home: Home) -> MLflowStore:
    """Open a search's runs in MLflow, made if they are not there."""
    texts = {path.name: path.read_text() for path in (folder.space_file, folder.spec)}
    return MLflowStore(home, uid=folder.uid.read_text(), name=folder.name, texts=texts)
