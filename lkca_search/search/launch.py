"""From a space file to a finished search: what `run` does."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from lkca_search.records import read_records, write_tables
from lkca_search.search.continuation import commit_space_file
from lkca_search.search.design import data_problems, design_problems
from lkca_search.search.ledger import Ledger
from lkca_search.search.manifests import write_manifests
from lkca_search.search.runner import run_search
from lkca_search.search.standings import SearchStanding, best_record, search_standing
from lkca_search.search.stopping import Brake
from lkca_search.space_file import SpaceFile
from lkca_search.storage import Home, SearchFolder, write_atomically
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.tracking.mlflow_tracker import MLflowTracker
from lkca_search.tracking.tracker import Tracker, Trackers
from lkca_search.training.assembly import DataPlace, open_train_images

_PATIENCE_SECONDS = 60.0
_HURRIED_SECONDS = 5.0
"""How long MLflow is waited for at the end: as a rule, and by a driver that is to end at once."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a driver left when it ended by itself."""

    standing: SearchStanding
    halted: str | None
    """Why it started no further trial though some are due."""
    num_untracked: int
    """Finished trials that MLflow lacks."""
    tracking_error: Exception | None
    """Why it lacks them."""


def launch(
    space_file: SpaceFile,
    folder: SearchFolder,
    *,
    home: Home,
    place: DataPlace,
    console: Tracker,
    say: Callable[[str], None] = lambda _: None,
    address: str | None = None,
    num_cpus: int | None = None,
) -> Outcome:
    """Start a search, or continue it, and drive it to its end, or to where a limit, a request or a signal ends it.

    `console` hears of every trial, and `say` of what becomes of a driver that is told to end.
    Raises SpaceFileError for a configuration that cannot be trained, DataError for data that cannot be had, and
    SearchError where the search is held by another driver, was started otherwise, or cannot be placed.
    """
    spec = space_file.spec
    images = open_train_images(spec.data, place)
    num_classes = len(images.class_names)
    problems = [*design_problems(spec, images.shape, num_classes), *data_problems(spec, images.labels)]
    if problems:
        raise space_file.error(problems)
    with folder.lock():
        commit_space_file(folder, space_file)
        write_manifests(spec, images, folder)
        mlflow = MLflowTracker(lambda: _open_store(folder, home), folder)
        ledger = Ledger(folder, spec, images.shape, num_classes, Trackers([mlflow, console]))
        brake = Brake(folder, halt=ledger.halt, say=say)
        try:
            if ledger.may_assign:
                run_search(ledger, place, brake, address=address, num_cpus=num_cpus)
        finally:
            records = read_records(folder)
            write_tables(records, folder.root)
            untracked = mlflow.close(
                complete=ledger.num_due == 0,
                best=best_record(records, spec.search),
                patience_seconds=_HURRIED_SECONDS if brake.at_once else _PATIENCE_SECONDS,
            )
    return Outcome(
        standing=search_standing(folder, records),
        halted=ledger.halted if ledger.num_due else None,
        num_untracked=untracked,
        tracking_error=mlflow.last_error,
    )


def _open_store(folder: SearchFolder, home: Home) -> MLflowStore:
    texts = {path.name: path.read_text() for path in (folder.space_file, folder.spec)}
    return MLflowStore(home, uid=_uid(folder), name=folder.name, texts=texts)


def _uid(folder: SearchFolder) -> str:
    if not folder.uid.exists():
        write_atomically(folder.uid, uuid.uuid4().hex.encode())
    return folder.uid.read_text()
