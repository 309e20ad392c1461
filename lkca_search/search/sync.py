"""Command `sync`: send MLflow the recorded runs and the confirmed models that it lacks.

It is separate from `run` because it needs no Ray.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from lkca_search.layout import Home, SearchFolder
from lkca_search.records.provenance import provenance_folder
from lkca_search.records.record import RecordReader
from lkca_search.records.search.dataset import read_search_datasets
from lkca_search.records.search.uid import uid_or_name
from lkca_search.records.stored_spec import read_spec
from lkca_search.search.description import describe_search
from lkca_search.search.received_runs import note_received, note_store
from lkca_search.search.registration import register_confirmed
from lkca_search.search.state.best_trials import best_of_search
from lkca_search.search.state.lease import hold_lease
from lkca_search.search.state.status import read_status
from lkca_search.tracking.mlflow_tracker import SyncResult, send_missing

if TYPE_CHECKING:
    from lkca_search.tracking.mlflow_store import MLflowStore

_MLFLOW_SECONDS = 3600.0
"""Time for MLflow to receive everything."""


def sync(
    folder: SearchFolder, home: Home, *, again: bool = False, notify: Callable[[str], None] = lambda _: None
) -> SyncResult:
    """Send MLflow the runs of a search and the models of its confirmation that it lacks.

    Args:
        folder: Folder of the search.
        home: Home of the search; without MLFLOW_TRACKING_URI, MLflow's database is there.
        again: True to register models again that a user has deleted in MLflow.
        notify: Function that prints a line for the user: changes in the store, and faults while trials are sent.

    Returns:
        The numbers of trials that were sent and that MLflow may still lack, and the last fault.

    Raises:
        SearchError: A driver holds the search; it sends the runs itself.
    """
    with hold_lease(folder, notify=notify):
        reader = RecordReader(folder)
        with reader.listed_once():
            complete = not read_status(folder, reader).num_left
            best = best_of_search(reader.trials(), read_spec(folder))
        result = send_missing(
            lambda: open_store(folder, home),
            folder,
            reader,
            complete=complete,
            best=best,
            patience_seconds=_MLFLOW_SECONDS,
            notify=notify,
            register=lambda store: register_confirmed(store, folder, reader, again=again),
            describe=partial(describe_search, folder, reader),
        )
        if complete and result.fault is None and not result.num_missing:
            note_received(folder, home, reader)
        return result


def open_store(folder: SearchFolder, home: Home, *, trusts_mark: bool = False) -> "MLflowStore":
    """Open the runs of a search in MLflow; create the parent run if needed.

    With `trusts_mark`, the runs of trials are not read if the search's run is marked as sent with all finished trials,
    and no run is deleted. To read 10,000 of them takes most of a minute. The first call imports MLflow, which takes a
    second: a driver calls it in the thread of its tracker.
    """
    from lkca_search.tracking.mlflow_store import MLflowStore
    from lkca_search.tracking.registry.search_entities import rename_if_outdated

    texts = {}
    for path in (folder.space_file, folder.spec):
        with suppress(FileNotFoundError, IsADirectoryError):  # only information for the reader of the run
            texts[path.name] = path.read_bytes().decode(errors="replace")

    def read_provenance(name: str) -> str | None:
        try:
            return (provenance_folder(folder) / name).read_bytes().decode(errors="replace")
        except (FileNotFoundError, IsADirectoryError):
            return None

    listing = folder.list_trials() if trusts_mark else None
    store = MLflowStore(  # the first connection to the store, which prints what it has mended
        home,
        uid=uid_or_name(folder),
        name=folder.name,
        texts=texts,
        read_provenance=read_provenance,
        datasets=read_search_datasets(folder).values(),
        finished=None if listing is None else [*listing.trials.records, *listing.replicates.records],
    )
    note_store(folder, home)
    rename_if_outdated(home, uid_or_name(folder), folder.name)
    return store
